"""
The host's accounts, as twisted.cred checks them.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Mapping
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from zope.interface import Interface, implementer

from gateway import jids
from gateway.embedded.core import Router
from gateway.embedded.sasl import ITERATIONS, MECHANISM, IProof, Keys


class IAccount(Interface):
    """What a login is for: an L{Account}."""


@implementer(ICredentialsChecker)
class Passwords:
    """
    Who may log in.

    @param passwords: by user name, as it stands in a JID.
    """

    credentialInterfaces = (IUsernamePassword, IProof)

    def __init__(self, passwords: Mapping[str, str]) -> None:
        self._passwords = passwords
        self._keys: dict[str, Keys] = {}
        # Nobody shall learn who has an account from how a stranger is treated.
        self._disguise = secrets.token_bytes(32)

    def keys(self, username: str) -> Keys:
        """What SCRAM proves the password of this user with; keys that nobody has where there is no such user."""
        username = prepared(username)
        if username not in self._passwords:
            # As long as a real one.
            salt = hmac.digest(self._disguise, username.encode(), "sha256")
            return salt, self._disguise, self._disguise, ITERATIONS
        if username not in self._keys:
            self._keys[username] = MECHANISM.make_auth_info(self._passwords[username], iteration_count=ITERATIONS)
        return self._keys[username]

    def requestAvatarId(self, credentials: Any) -> Any:
        """
        @param credentials: of one of these interfaces.
        @return: the user's name, in bytes.
        @raise UnauthorizedLogin: if it is nobody, or somebody else.
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
    """Leads from a name to its account."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def requestAvatar(self, avatarId: Any, mind: object, *interfaces: object) -> Any:
        if IAccount not in interfaces:
            raise NotImplementedError
        return IAccount, self._router.accounts[f"{avatarId.decode()}@{self._router.domain}"], _nothing


def _nothing() -> None:
    """A logout is no news: the connection says when it is gone."""


def makePortal(router: Router, passwords: Passwords) -> Portal:
    """What a client's connection logs in at."""
    return Portal(Accounts(router), [passwords])


def prepared(username: str) -> str:
    """A user's name as it stands in a JID; as it is, if it cannot stand there."""
    try:
        local, *rest = jids.split(jids.prepared(f"{username}@h"))
    except ValueError:
        return username
    return local if rest == ["h", ""] else username
