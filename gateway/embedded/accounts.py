"""
The host's accounts, checked by twisted.cred.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from zope.interface import Interface, implementer

from gateway.addresses import jids
from gateway.embedded.core import Router
from gateway.embedded.sasl import ITERATIONS, MECHANISM, IProof, Keys


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
        self._keys: dict[str, Keys] = {}
        # An unknown user gets made-up keys, so that the answers do not reveal which accounts exist.
        self._disguise = secrets.token_bytes(32)

    def keys(self, username: str) -> Keys:
        """Return the keys for SCRAM of a user; made-up keys if the user does not exist."""
        username = prepared(username)
        if username not in self._passwords:
            # The salt has the length of a real one.
            salt = hmac.digest(self._disguise, username.encode(), "sha256")
            return salt, self._disguise, self._disguise, ITERATIONS
        if username not in self._keys:
            self._keys[username] = MECHANISM.make_auth_info(self._passwords[username], iteration_count=ITERATIONS)
        return self._keys[username]

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
