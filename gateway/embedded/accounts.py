"""
The host's accounts, checked by twisted.cred.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from scramp import ScramMechanism
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from zope.interface import Interface, implementer

from gateway.addresses import jids
from gateway.embedded.core import Router
from gateway.embedded.sasl import ITERATIONS, SCRAM, IProof, Keys


class IAccount(Interface):
    """The interface that a login asks for: an L{Account}."""


@implementer(ICredentialsChecker)
class Passwords:
    """
    Checks passwords.

    @param passwords: by user name, the localpart of a JID.
    """

    credentialInterfaces = (IUsernamePassword, IProof)

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._passwords = passwords
        self._keys: dict[tuple[str, str], Keys] = {}
        # An unknown user gets made-up keys, so that the answers do not reveal which accounts exist.
        self._disguise = secrets.token_bytes(32)

    def keys(self, mechanism: str, username: str) -> Keys:
        """Return a user's keys for a mechanism of SCRAM; made-up keys if the user does not exist."""
        username = prepared(username)
        if username not in self._passwords:
            # The salt has the length of a real one.
            salt = hmac.digest(self._disguise, f"{mechanism} {username}".encode(), "sha256")
            key = hmac.digest(self._disguise, b"", SCRAM[mechanism])
            return salt, key, key, ITERATIONS
        found = self._keys.get((mechanism, username))
        if found is None:
            password = self._passwords[username]
            found = ScramMechanism(mechanism).make_auth_info(password, iteration_count=ITERATIONS)
            self._keys[mechanism, username] = found
        return found

    def requestAvatarId(self, credentials: Any) -> Any:
        """
        Check credentials.

        @param credentials: provides one of C{credentialInterfaces}.
        @return: the user's name, in bytes.
        @raise UnauthorizedLogin: if the user does not exist or the password is wrong.
        """
        username = prepared(credentials.username.decode())
        password = self._passwords.get(username)
        if IProof.providedBy(credentials):
            right = credentials.verified()
        else:
            right = hmac.compare_digest((password or "").encode(), credentials.password)
        if password is None or not right:
            raise UnauthorizedLogin
        return username.encode()


@implementer(IRealm)
class Accounts:
    """Finds the account of a user."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: object) -> Any:
        if IAccount not in interfaces:
            raise NotImplementedError
        account = self._router.accounts[f"{avatarId.decode()}@{self._router.domain}"]
        # A logout needs nothing: the connection itself reports when it is lost.
        return IAccount, account, lambda: None


def prepared(username: str) -> str:
    """Return a user's name in the form of a localpart; unchanged if it is not valid there."""
    try:
        return jids.preparedLocal(username)
    except ValueError:
        return username
