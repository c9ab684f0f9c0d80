"""Logins: passwords and proofs, checked by twisted.cred."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from gateway.embedded.accounts import Accounts, IAccount, Passwords, prepared
from gateway.embedded.sasl import SCRAM, IProof
from tests.embedded.support import Rules


@implementer(IProof)
class Proof:
    """A proof that is valid or not."""

    def __init__(self, username: bytes, right: bool) -> None:
        self.username = username
        self.right = right

    def verified(self) -> bool:
        return self.right


class PasswordsTests(SynchronousTestCase):
    """The checker of passwords."""

    def setUp(self) -> None:
        self.passwords = Passwords({"alice": "wönder", "bob": "b"})

    def check(self, credentials: Any) -> Any:
        return self.passwords.requestAvatarId(credentials)

    def test_interfaces(self) -> None:
        """It accepts passwords and proofs."""
        verifyObject(ICredentialsChecker, self.passwords)
        self.assertEqual(set(self.passwords.credentialInterfaces), {IUsernamePassword, IProof})

    def test_password(self) -> None:
        """The right password is accepted, with any spelling of the user's name."""
        for name in ("alice", "Alice", "ALICE"):
            self.assertEqual(self.check(UsernamePassword(name.encode(), "wönder".encode())), b"alice")

    def test_wrong(self) -> None:
        """Refused: a wrong password, another user's, none; an unknown user, also with the empty password."""
        for name, password in (
            ("alice", "wonder"),
            ("alice", "b"),
            ("alice", ""),
            ("nobody", "b"),
            ("nobody", ""),
            ("", ""),
            ("alice@h", "wönder"),
            ("alice/r", "wönder"),
            ("\u0000", ""),
        ):
            self.assertRaises(UnauthorizedLogin, self.check, UsernamePassword(name.encode(), password.encode()))

    def test_proof(self) -> None:
        """A valid proof is accepted; a proof of an unknown user is refused even if it is valid."""
        self.assertEqual(self.check(Proof(b"Bob", True)), b"bob")
        self.assertRaises(UnauthorizedLogin, self.check, Proof(b"bob", False))
        self.assertRaises(UnauthorizedLogin, self.check, Proof(b"nobody", True))

    def test_keys(self) -> None:
        """A user has the same keys each time; each user, and each mechanism, has another salt."""
        keys = self.passwords.keys
        for mechanism in SCRAM:
            self.assertEqual(keys(mechanism, "alice"), keys(mechanism, "Alice"))
        pairs = [(mechanism, user) for mechanism in SCRAM for user in ("alice", "bob", "nobody", "nobody2")]
        self.assertEqual(len({keys(*pair)[0] for pair in pairs}), len(pairs))

    def test_disguise(self) -> None:
        """The keys of an unknown user have the form of real ones, and are the same each time."""
        for mechanism in SCRAM:
            real, false = (self.passwords.keys(mechanism, name) for name in ("alice", "nobody"))
            self.assertEqual([len(part) for part in false[:3]], [len(part) for part in real[:3]])
            self.assertEqual(false[3], real[3])
            self.assertEqual(self.passwords.keys(mechanism, "Nobody"), false)
            self.assertNotEqual(Passwords({}).keys(mechanism, "nobody")[0], false[0])


class RealmTests(SynchronousTestCase):
    """The account of a user."""

    def test_login(self) -> None:
        """A login returns the account, and refuses other interfaces."""
        rules = Rules()
        verifyObject(IRealm, Accounts(rules.router))
        portal = Portal(Accounts(rules.router), [Passwords({"alice": "a"})])
        login = portal.login(UsernamePassword(b"alice", b"a"), None, IAccount)
        interface, account, logout = self.successResultOf(login)
        self.assertEqual((interface, account), (IAccount, rules.account("alice@h")))
        self.assertIsNone(logout())
        self.failureResultOf(portal.login(UsernamePassword(b"alice", b"a"), None, IProof), NotImplementedError)
        self.failureResultOf(portal.login(UsernamePassword(b"alice", b"x"), None, IAccount), UnauthorizedLogin)

    def test_prepared(self) -> None:
        """A name is prepared as a localpart; an invalid one is not changed."""
        self.assertEqual(prepared("Ä"), "ä")
        for name in ("", "a b", "a@b", "a/b", "\x00"):
            self.assertEqual(prepared(name), name)
