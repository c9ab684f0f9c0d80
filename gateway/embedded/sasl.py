"""
Authentication of clients (RFC 6120 section 6): SASL PLAIN and SCRAM, as credentials for twisted.cred.
"""

from __future__ import annotations

import functools
import typing
from collections.abc import Callable

from scramp import ScramException, ScramMechanism
from twisted.cred.credentials import ICredentials, UsernamePassword
from zope.interface import Attribute, implementer

# The hash functions of SCRAM by mechanism, the stronger first; some clients do not have it.
SCRAM = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-1": "sha1"}
# RFC 7677 section 4, RFC 5802 section 5.1.
ITERATIONS = 4096
MECHANISMS = (*SCRAM, "PLAIN")

# Salt, stored key, server key and iteration count (RFC 5802 section 3).
Keys = tuple[bytes, bytes, bytes, int]


class SaslFailed(Exception):
    """
    The SASL exchange has failed.

    @ivar condition: the error condition (RFC 6120 section 6.5).
    """

    def __init__(self, condition: str) -> None:
        super().__init__(condition)
        self.condition = condition


class IProof(ICredentials):
    """Credentials that prove the knowledge of the password by themselves."""

    username: bytes = Attribute("The user's name.")

    def verified() -> bool:
        """True if the proof is valid."""


class Exchange(typing.Protocol):
    """One SASL exchange."""

    def step(self, message: bytes) -> bytes | ICredentials:
        """
        Handle the client's next message.

        @return: the next challenge, or the credentials to log in with.
        @raise SaslFailed: if the exchange has failed.
        """

    @property
    def last(self) -> bytes:
        """Additional data with success."""


def begin(mechanism: str, domain: str, keys: Callable[[str, str], Keys]) -> Exchange:
    """
    Start an exchange.

    @param keys: returns the keys for a mechanism and a user.
    @raise SaslFailed: if there is no such mechanism.
    """
    if mechanism == "PLAIN":
        return Plain(domain)
    if mechanism in SCRAM:
        return Scram(mechanism, functools.partial(keys, mechanism))
    raise SaslFailed("invalid-mechanism")


class Plain:
    """PLAIN (RFC 4616)."""

    last = b""

    def __init__(self, domain: str) -> None:
        self._domain = domain

    def step(self, message: bytes) -> ICredentials:
        try:
            acting, user, password = message.split(b"\0")
            message.decode()
        except ValueError as error:
            raise SaslFailed("malformed-request") from error
        if acting and acting != user + b"@" + self._domain.encode():
            raise SaslFailed("invalid-authzid")
        return UsernamePassword(user, password)


@implementer(IProof)
class Scram:
    """SCRAM (RFC 5802 and RFC 7677): the exchange, which is also the credentials at its end."""

    def __init__(self, mechanism: str, keys: Callable[[str], Keys]) -> None:
        self.username = b""
        self._server = ScramMechanism(mechanism).make_server(lambda username: self._keysOf(username, keys))
        self._final: str | None = None

    def step(self, message: bytes) -> bytes | ICredentials:
        try:
            text = message.decode()
            if self.username:
                self._final = text
                return typing.cast(ICredentials, self)
            self._server.set_client_first(text)
            first: str = self._server.get_server_first()
        except (ScramException, ValueError) as error:
            raise SaslFailed("malformed-request") from error
        return first.encode()

    def verified(self) -> bool:
        try:
            self._server.set_client_final(self._final)
        except (ScramException, ValueError):
            return False
        return True

    @property
    def last(self) -> bytes:
        final: str = self._server.get_server_final()
        return final.encode()

    def _keysOf(self, username: str, keys: Callable[[str], Keys]) -> Keys:
        self.username = username.encode()
        return keys(username)
