"""
Private XML Storage (XEP-0049): what a user's clients put there, one element for each namespace.
"""

from __future__ import annotations

import typing
from collections.abc import Awaitable
from typing import Any

from twisted.words.xish import domish
from zope.interface import implementer

from gateway import jids, ns
from gateway.delegation.core import CLIENT_HEADER
from gateway.errors import Forbidden, NotAcceptable, TooLarge, TooMuch, Unreadable
from gateway.interfaces import IDelegatedNamespace, IDelegatedRequest
from gateway.stream.stanzas import parse, serialisedAll

# Bytes and elements that one user may store.
MOST_BYTES = 1024 * 1024
MOST_ELEMENTS = 1_000

# Bytes of one element, as it is written: what was stored must fit into an answer, and quotes grow.
LARGEST_ELEMENT = 224 * 1024

# An element's namespace and name.
Key = tuple[str, str]


class Store(typing.Protocol):
    """What outlives the process."""

    def get(self, user: str, key: Key) -> Awaitable[str | None]:
        """What the user has there."""

    def put(self, user: str, elements: dict[Key, str], mostBytes: int, mostElements: int) -> Awaitable[bool]:
        """Keep all of them, or none if there is no room; return whether there was."""


@implementer(IDelegatedNamespace)
class PrivateStorage:
    """
    Answers for C{jabber:iq:private}.
    """

    namespaces = frozenset({ns.PRIVATE})
    features = (ns.PRIVATE,)
    identities: tuple[tuple[str, str, str], ...] = ()
    bareFeatures: tuple[str, ...] = ()
    bareIdentities: tuple[tuple[str, str, str], ...] = ()

    def __init__(self, store: Store) -> None:
        self._store = store

    async def answer(self, request: IDelegatedRequest) -> domish.Element | None:
        """
        @raise Forbidden: section 4: "a user ... is not allowed to" get at what is another's.
        @raise Unreadable: if there is not exactly one element to get, or none to set.
        @raise NotAcceptable: if an element has no namespace of its own.
        @raise TooMuch: if there is no room.
        """
        user = jids.bare(request.requester)
        if request.entity != user:
            raise Forbidden
        elements = list(request.payload.elements())
        if not elements or (request.type == "get" and len(elements) > 1):
            raise Unreadable
        for element in elements:
            if not element.uri or element.uri in (ns.CLIENT, ns.PRIVATE):
                raise NotAcceptable
        if request.type == "set":
            await self._set(user, elements)
            return None
        return await self._get(user, elements[0])

    async def _set(self, user: str, elements: list[domish.Element]) -> None:
        try:
            written = serialisedAll(elements, ns.CLIENT, MOST_BYTES)
        except TooLarge as error:
            raise TooMuch from error
        if any(len(xml.encode()) > LARGEST_ELEMENT for xml in written):
            raise TooMuch
        keys = ((element.uri, element.name) for element in elements)
        if not await self._store.put(user, dict(zip(keys, written, strict=True)), MOST_BYTES, MOST_ELEMENTS):
            raise TooMuch

    async def _get(self, user: str, wanted: domish.Element) -> domish.Element:
        stored = await self._store.get(user, (wanted.uri, wanted.name))
        answer: Any = domish.Element((ns.PRIVATE, "query"))
        if stored is None:
            # Section 2: as it was asked for, with nothing in it.
            answer.addElement((wanted.uri, wanted.name))
        else:
            answer.addChild(parse(CLIENT_HEADER, stored.encode()))
        return typing.cast(domish.Element, answer)
