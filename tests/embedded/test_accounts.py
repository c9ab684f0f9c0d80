"""Who may log in: passwords and proofs, as twisted.cred checks them."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from gateway.embedded.accounts import Accounts, IAccount, Passwords, makePortal, prepared
from gateway.embedded.sasl import IProof
from tests.embedded.support import Rules


@implementer(IProof)
class Proof:
    """A proof that is right, or not."""

    def __init__(self, username: bytes, right: bool) -> None:
        self.username = username
        self.right = right

    def verified(self) -> bool:
        return self.right


class PasswordsTests(SynchronousTestCase):
    """The checker."""

    def setUp(self) -> None:
        self.passwords = Passwords({"alice": "wönder", "bob": "b"})

    def check(self, credentials: Any) -> Any:
        return self.passwords.requestAvatarId(credentials)

    def test_interfaces(self) -> None:
        """It takes passwords and proofs."""
        verifyObject(ICredentialsChecker, self.passwords)
        self.assertEqual(set(self.passwords.credentialInterfaces), {IUsernamePassword, IProof})

    def test_password(self) -> None:
        """The right password, and the user's name however it is written."""
        for name in ("alice", "Alice", "ALICE"):
            self.assertEqual(self.check(UsernamePassword(name.encode(), "wönder".encode())), b"alice")

    def test_wrong(self) -> None:
        """A wrong password, another's, none; nobody, and nobody with the empty password that nobody has."""
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
        """A proof says of itself whether it is right; one of nobody's is wrong all the same."""
        self.assertEqual(self.check(Proof(b"Bob", True)), b"bob")
        self.assertRaises(UnauthorizedLogin, self.check, Proof(b"bob", False))
        self.assertRaises(UnauthorizedLogin, self.check, Proof(b"nobody", True))

    def test_keys(self) -> None:
        """The same keys each time, of another salt for each user."""
        self.assertEqual(self.passwords.keys("alice"), self.passwords.keys("Alice"))
        self.assertNotEqual(self.passwords.keys("alice")[0], self.passwords.keys("bob")[0])

    def test_disguise(self) -> None:
        """Keys of nobody's look like somebody's, and like themselves each time."""
        real, false, other = (self.passwords.keys(name) for name in ("alice", "nobody", "nobody2"))
        self.assertEqual([len(part) for part in false[:3]], [len(part) for part in real[:3]])
        self.assertEqual(false[3], real[3])
        self.assertEqual(self.passwords.keys("Nobody"), false)
        self.assertEqual(len({real[0], false[0], other[0]}), 3)
        self.assertNotEqual(Passwords({}).keys("nobody")[0], false[0])


class RealmTests(SynchronousTestCase):
    """From a name to an account."""

    def test_login(self) -> None:
        """A login leads to the account, for nothing else than that."""
        rules = Rules()
        verifyObject(IRealm, Accounts(rules.router))
        portal = makePortal(rules.router, Passwords({"alice": "a"}))
        login = portal.login(UsernamePassword(b"alice", b"a"), None, IAccount)
        interface, account, logout = self.successResultOf(login)
        self.assertEqual((interface, account), (IAccount, rules.account("alice@h")))
        self.assertIsNone(logout())
        self.failureResultOf(portal.login(UsernamePassword(b"alice", b"a"), None, IProof), NotImplementedError)
        self.failureResultOf(portal.login(UsernamePassword(b"alice", b"x"), None, IAccount), UnauthorizedLogin)

    def test_prepared(self) -> None:
        """A name as it stands in a JID; what cannot stand there is left as it is."""
        self.assertEqual(prepared("Ä"), "ä")
        for name in ("", "a b", "a@b", "a/b", "\x00"):
            self.assertEqual(prepared(name), name)
