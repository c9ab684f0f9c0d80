"""
Private XML Storage (XEP-0049): one element for each user, namespace and name.
"""

from __future__ import annotations

import typing
from collections.abc import Awaitable, Iterable
from typing import Any

from twisted.words.xish import domish
from zope.interface import implementer

from gateway import ns
from gateway.addresses import jids
from gateway.errors import (
    BadRequest,
    CannotAsk,
    Forbidden,
    NotAcceptable,
    RecipientUnavailable,
    ResourceLimit,
    TooLarge,
)
from gateway.interfaces import IDelegatedNamespace, IDelegatedRequest
from gateway.xml.context import CLIENT
from gateway.xml.read import parse
from gateway.xml.write import serialisedAll

# Bytes and elements that one user may store.
MAX_BYTES = 1024 * 1024
MAX_ELEMENTS = 1_000

# Bytes of one serialised element: it must fit into an answer, and quotes grow when they are escaped.
MAX_ELEMENT_SIZE = 224 * 1024

# An element's namespace and name.
Key = tuple[str, str]


class Store(typing.Protocol):
    """The storage."""

    def get(self, user: str, key: Key) -> Awaitable[str | None]:
        """Return a user's element."""

    def put(self, user: str, elements: dict[Key, str], maxBytes: int, maxElements: int) -> Awaitable[bool]:
        """Store all elements and return true, or none if there is no room."""

    def wasAsked(self, user: str, key: Key) -> Awaitable[bool]:
        """True if L{adopt} has recorded that the user's server does not have this element."""

    def adopt(self, user: str, key: Key, xml: str | None, maxBytes: int, maxElements: int) -> Awaitable[str | None]:
        """
        Keep the answer of the user's server, if there is room, unless the user has something there by now.

        @param xml: C{None} if the server has nothing there.
        @return: the user's element: what was there, or else C{xml}.
        """


class Source(typing.Protocol):
    """The server's own storage, which clients cannot reach once the namespace is delegated."""

    def ask(self, user: str, key: Key) -> Awaitable[domish.Element | None]:
        """
        Fetch a user's element; C{None} if there is none.

        @raise CannotAsk: if the server does not allow the request.
        @raise NoAnswer: if the server did not answer, so that nothing is known.
        """

    def isOwn(self, request: IDelegatedRequest) -> bool:
        """True for a request of L{ask} itself that the server has delegated."""


@implementer(IDelegatedNamespace)
class PrivateStorage:
    """
    Answers for C{jabber:iq:private}.

    @param source: fetches elements that are not stored here; C{None} for no such source.
    """

    namespaces = frozenset({ns.PRIVATE})
    features = (ns.PRIVATE,)
    identities: tuple[tuple[str, str, str], ...] = ()
    bareFeatures: tuple[str, ...] = ()
    bareIdentities: tuple[tuple[str, str, str], ...] = ()

    def __init__(self, store: Store, source: Source | None = None) -> None:
        self._store = store
        self._source = source

    async def answer(self, request: IDelegatedRequest) -> domish.Element | None:
        """
        @raise Forbidden: if the element belongs to another user (section 4).
        @raise BadRequest: if there is not exactly one element to get, or none to set.
        @raise NotAcceptable: if an element has no namespace of its own.
        @raise ResourceLimit: if there is no room.
        @raise NoAnswer: if the server may have stored the element and has not answered: a client that takes it for
            missing would replace it.
        @raise RecipientUnavailable: if the request is the gateway's own.
        """
        if self._source is not None and self._source.isOwn(request):
            raise RecipientUnavailable
        user = jids.bare(request.requester)
        if request.entity != user:
            raise Forbidden
        elements = list(request.payload.elements())
        if not elements or (request.type == "get" and len(elements) > 1):
            raise BadRequest
        for element in elements:
            if not element.uri or element.uri in (ns.CLIENT, ns.PRIVATE):
                raise NotAcceptable
        if request.type == "set":
            await self._set(user, elements)
            return None
        return await self._get(user, elements[0])

    async def _set(self, user: str, elements: list[domish.Element]) -> None:
        keys = ((element.uri, element.name) for element in elements)
        kept = dict(zip(keys, storable(elements), strict=True))
        if not await self._store.put(user, kept, MAX_BYTES, MAX_ELEMENTS):
            raise ResourceLimit

    async def _get(self, user: str, wanted: domish.Element) -> domish.Element:
        key = wanted.uri, wanted.name
        stored = await self._store.get(user, key)
        if stored is None and self._source is not None and not await self._store.wasAsked(user, key):
            stored = await self._imported(self._source, user, key)
        answer: Any = domish.Element((ns.PRIVATE, "query"))
        if stored is None:
            # Section 2: the requested element, empty.
            answer.addElement((wanted.uri, wanted.name))
        else:
            answer.addChild(parse(CLIENT.header, stored.encode()))
        return typing.cast(domish.Element, answer)

    async def _imported(self, source: Source, user: str, key: Key) -> str | None:
        """Fetch and store the element that the user has stored with the server."""
        try:
            found = await source.ask(user, key)
        except CannotAsk:
            return None
        [xml] = [None] if found is None else storable([found])
        return await self._store.adopt(user, key, xml, MAX_BYTES, MAX_ELEMENTS)


def storable(elements: Iterable[domish.Element]) -> list[str]:
    """
    Return elements in the form in which they are stored.

    @raise ResourceLimit: if one is too large, or all together are.
    """
    try:
        written = serialisedAll(elements, ns.CLIENT, MAX_BYTES)
    except TooLarge as error:
        raise ResourceLimit from error
    if any(len(xml.encode()) > MAX_ELEMENT_SIZE for xml in written):
        raise ResourceLimit
    return written
