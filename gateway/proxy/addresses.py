"""
The translated address of a requester: readable, sealed, and the same after a restart. Pure.

A requester U who writes to the address A of the component C is, for the implementing client, C/TOKEN with
TOKEN = SEAL/U. The seal is a truncated HMAC over C, U and A, so that only the gateway can make a token. If A
is not C, A follows within the seal, so a token alone tells the recipient of an answer and its sender. A resource
may have 1023 bytes (RFC 7622 section 3.4). If a token is longer, it has a handle in place of U and A, which the
gateway remembers.
"""

from __future__ import annotations

import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from urllib.parse import quote, unquote

from gateway.stream.shares import Share, Shares

# 120 bits: a multiple of three bytes, so that the text behind it starts on a whole character.
_SEAL_BYTES = 15
_SEAL_LENGTH = 20

_MAX_RESOURCE = 1023

# All of printable ASCII but "%", which starts an escape, and "~", which marks a handle. Other characters would
# not survive a server's resourceprep: a mix of writing directions or a character newer than Unicode 3.2 is
# refused, others are replaced.
_KEPT = "!\"#$&'()*+,/:;<=>?@[\\]^`{|} "

_HANDLE = "~"


class BrokenSeal(Exception):
    """The token was not made by this gateway, or not for this component."""


class UnknownHandle(Exception):
    """The token's handle is unknown, or was forgotten."""


class Sealer:
    """
    Makes and opens the tokens of one component.

    @ivar component: its JID.
    """

    def __init__(self, component: str, key: bytes, rememberedHandles: int = 1_000) -> None:
        self.component = component
        self._key = key
        self._handles: dict[str, tuple[str, str, Share]] = {}
        self._shares = Shares(rememberedHandles)

    def seal(self, requester: str, address: str) -> str:
        """
        Return the token of a requester for the address that it wrote to.

        @param requester: full JID.
        @param address: the component's address, with any localpart and resource, exactly as it was written.
        """
        token = self._spell(requester, address)
        if len(token) <= _MAX_RESOURCE:
            return token
        handle = _HANDLE + _encode(self._digest(b"handle", requester, address))
        self._remember(handle, requester, address)
        return f"{self._mac(requester, address)}/{handle}"

    def unseal(self, token: str) -> tuple[str, str]:
        """
        Return the requester of a token, and the address that it wrote to.

        @raise BrokenSeal: if the gateway did not make this token.
        @raise UnknownHandle: if its handle is not remembered.
        """
        seal, slash, who = token.partition("/")
        if not slash or len(token) > _MAX_RESOURCE:
            raise BrokenSeal
        if who.startswith(_HANDLE):
            if who not in self._handles:
                raise UnknownHandle
            requester, address, _ = self._handles[who]
            expected = f"{self._mac(requester, address)}/{who}"
        else:
            requester = unquote(who, errors="replace")
            address = _decode(seal[_SEAL_LENGTH:]) or self.component
            try:
                # Only the spelling that was given out is valid.
                expected = self._spell(requester, address)
            except UnicodeError as error:
                raise BrokenSeal from error
        if not hmac.compare_digest(expected.encode(), token.encode(errors="replace")):
            raise BrokenSeal
        if who.startswith(_HANDLE):
            self._remember(who, requester, address)
        return requester, address

    def _spell(self, requester: str, address: str) -> str:
        """Return the token, of any length."""
        written = "" if address == self.component else _encode(address.encode())
        # quote() always keeps "~", so it is escaped by hand.
        return f"{self._mac(requester, address)}{written}/{quote(requester, safe=_KEPT).replace(_HANDLE, '%7E')}"

    def _remember(self, handle: str, requester: str, address: str) -> None:
        known = self._handles.pop(handle, None)
        share = self._shares.of(requester) if known is None else known[2]
        if known is None and not share.take():
            # A requester with many handles loses its own oldest one.
            own = (each for each, (_, _, owner) in self._handles.items() if owner is share)
            oldest = next(own, None) or next(iter(self._handles))
            self._handles.pop(oldest)[2].giveBack()
            share.keep(1)
        self._handles[handle] = (requester, address, share)

    def _mac(self, requester: str, address: str) -> str:
        return _encode(self._digest(b"seal", requester, address)[:_SEAL_BYTES])

    def _digest(self, purpose: bytes, requester: str, address: str) -> bytes:
        # No part can hold a NUL: XML has none.
        parts = (purpose, self.component.encode(), requester.encode(), address.encode())
        return hmac.digest(self._key, b"\0".join(parts), "sha256")


def _encode(data: bytes) -> str:
    return urlsafe_b64encode(data).decode().rstrip("=")


def _decode(text: str) -> str:
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except ValueError as error:
        raise BrokenSeal from error
