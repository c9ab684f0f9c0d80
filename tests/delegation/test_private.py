"""
Private XML Storage (XEP-0049 1.2): its examples, access to others' data, and limits; with a store in memory and
with one in a file.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults, inlineCallbacks, succeed
from twisted.trial.unittest import TestCase
from twisted.words.xish import domish
from zope.interface.verify import verifyObject

from gateway import ns
from gateway.delegation import private
from gateway.delegation.core import Request
from gateway.delegation.private import Key, PrivateStorage
from gateway.delegation.stanzas import xmlOf
from gateway.delegation.store import MIGRATIONS, PrivateFile
from gateway.errors import (
    ERRORS,
    BadRequest,
    CannotAsk,
    Forbidden,
    GatewayError,
    NoAnswer,
    NotAcceptable,
    RecipientUnavailable,
    ResourceLimit,
)
from gateway.interfaces import IDelegatedNamespace, IDelegatedRequest
from gateway.state.database import Database
from gateway.state.sqlite import SqliteBackend
from tests.delegation import support
from tests.delegation.support import meaning

ROOT = Path(__file__).resolve().parent.parent.parent
HAMLET, MACBETH = "hamlet@shakespeare.lit", "macbeth@shakespeare.lit"
EXODUS = "<exodus xmlns='exodus:prefs'><defaultnick>Hamlet</defaultnick></exodus>"


@define
class MemoryStore:
    """An implementation of the store in memory."""

    users: dict[str, dict[Key, str]] = field(factory=dict)
    asked: set[tuple[str, Key]] = field(factory=set)

    def get(self, user: str, key: Key) -> Deferred[str | None]:
        return succeed(self.users.get(user, {}).get(key))

    def put(self, user: str, elements: dict[Key, str], maxBytes: int, maxElements: int) -> Deferred[bool]:
        kept = {**self.users.get(user, {}), **elements}
        fits = len(kept) <= maxElements and sum(len(xml.encode()) for xml in kept.values()) <= maxBytes
        if fits:
            self.users[user] = kept
        return succeed(fits)

    def wasAsked(self, user: str, key: Key) -> Deferred[bool]:
        return succeed((user, key) in self.asked)

    def adopt(self, user: str, key: Key, xml: str | None, maxBytes: int, maxElements: int) -> Deferred[str | None]:
        there = self.users.get(user, {}).get(key)
        if there is None and xml is not None:
            self.put(user, {key: xml}, maxBytes, maxElements)
            return succeed(xml)
        short = sum(map(len, key)) <= 1_024
        if there is None and short and len([each for each, _ in self.asked if each == user]) < maxElements:
            self.asked.add((user, key))
        return succeed(there)


@define
class FakeSource:
    """
    A server's own storage.

    @ivar has: its elements, by name.
    @ivar asked: the names that were requested.
    @ivar meanwhile: called during each request.
    """

    has: dict[str, str | Exception] = field(factory=dict)
    asked: list[str] = field(factory=list)
    meanwhile: Callable[[], Deferred[Any]] = lambda: succeed(None)

    async def ask(self, user: str, key: Key) -> domish.Element | None:
        self.asked.append(key[1])
        await self.meanwhile()
        found = self.has.get(key[1])
        if isinstance(found, Exception):
            raise found
        return None if found is None else support.element(found)

    def isOwn(self, request: IDelegatedRequest) -> bool:
        return request.id == "own"


class PrivateMixin:
    """Tests for any store."""

    storage: PrivateStorage

    def ask(self: Any, content: str, kind: str = "get", user: str = HAMLET, to: str | None = None) -> Deferred[Any]:
        xml = f"<query xmlns='{ns.PRIVATE}'>{content}</query>".encode()
        request = Request(f"{user}/denmark", to, "1001", kind, ns.PRIVATE, {}, xml)
        return Deferred.fromCoroutine(self.storage.answer(request))

    def set(self: Any, content: str, user: str = HAMLET) -> Deferred[Any]:
        return self.ask(content, "set", user)  # type: ignore[no-any-return]  # untyped in its base

    @inlineCallbacks
    def assertStored(self: Any, wanted: str, expected: str, user: str = HAMLET) -> Any:
        """The user gets this element."""
        got = yield self.ask(wanted, user=user)
        self.assertEqual(meaning(xmlOf(got).decode()), meaning(f"<query xmlns='{ns.PRIVATE}'>{expected}</query>"))

    def test_interface(self: Any) -> None:
        """It provides the interface of handlers."""
        verifyObject(IDelegatedNamespace, self.storage)
        self.assertEqual((self.storage.namespaces, self.storage.features), ({ns.PRIVATE}, (ns.PRIVATE,)))

    @inlineCallbacks
    def test_examples1to4(self: Any) -> Any:
        """Examples 1 to 4: a client stores private data, and gets it."""
        self.assertIsNone((yield self.set(EXODUS)))
        yield self.assertStored("<exodus xmlns='exodus:prefs'/>", EXODUS)

    @inlineCallbacks
    def test_examples5and6(self: Any) -> Any:
        """
        Examples 5 and 6: "If a user attempts to get or set ... data that belongs to another user, the server MUST
        return a "Forbidden" or "Service Unavailable" error". This applies to the server as requester as well.
        """
        yield self.set(EXODUS)
        for to in (HAMLET, "shakespeare.lit"):
            yield self.assertFailure(self.ask(EXODUS, "set", MACBETH, to), Forbidden)
            yield self.assertFailure(self.ask("<exodus xmlns='exodus:prefs'/>", "get", MACBETH, to), Forbidden)
        yield self.assertStored("<exodus xmlns='exodus:prefs'/>", EXODUS)
        yield self.assertStored("<exodus xmlns='exodus:prefs'/>", "<exodus xmlns='exodus:prefs'/>", MACBETH)
        self.assertIsNone((yield self.ask(EXODUS, "set", MACBETH, MACBETH)))

    @inlineCallbacks
    def test_examples7and8(self: Any) -> Any:
        """
        Examples 7 and 8: "If a user attempts to perform an IQ get without providing a child element, the server
        SHOULD return a "Bad Format" error". A request with two elements gets an error as well.
        """
        yield self.assertFailure(self.ask(""), BadRequest)
        yield self.assertFailure(self.ask("text"), BadRequest)
        yield self.assertFailure(self.ask("", "set"), BadRequest)
        yield self.assertFailure(self.ask("<a xmlns='urn:a'/><b xmlns='urn:b'/>"), BadRequest)

    @inlineCallbacks
    def test_namespaces(self: Any) -> Any:
        """
        Section 2: each element "scoped by its own namespace": neither without a namespace, nor with an inherited
        one.
        """
        for element in ("<x xmlns=''/>", "<x/>", f"<x xmlns='{ns.CLIENT}'/>"):
            for kind in ("get", "set"):
                yield self.assertFailure(self.ask(element, kind), NotAcceptable)
            # Nothing of it is stored.
            yield self.assertFailure(self.set(EXODUS + element), NotAcceptable)
        yield self.assertStored("<exodus xmlns='exodus:prefs'/>", "<exodus xmlns='exodus:prefs'/>")

    @inlineCallbacks
    def test_nothing(self: Any) -> Any:
        """An element that was never stored is returned as it was requested, without content."""
        yield self.assertStored("<exodus xmlns='exodus:prefs' a='1'>x</exodus>", "<exodus xmlns='exodus:prefs'/>")

    @inlineCallbacks
    def test_several(self: Any) -> Any:
        """
        Several elements at once. Each is stored by namespace and name; a new one replaces only the old one of that
        name.
        """
        yield self.set("<a xmlns='urn:1'>1</a><b xmlns='urn:1'>2</b><a xmlns='urn:2'>3</a>")
        yield self.set("<a xmlns='urn:1'>new</a>")
        for name, namespace, content in (("a", "urn:1", "new"), ("b", "urn:1", "2"), ("a", "urn:2", "3")):
            start = f"<{name} xmlns='{namespace}'"
            yield self.assertStored(f"{start}/>", f"{start}>{content}</{name}>")

    @inlineCallbacks
    def test_meaning(self: Any) -> Any:
        """The element comes back with the same meaning."""
        for content in (
            "<p:x xmlns:p='urn:x' p:a='&lt;'><p:y/>&amp;\u20ac</p:x>",
            "<x xmlns='urn:x'><message xmlns='jabber:client'/><query xmlns='jabber:iq:private'/></x>",
            "<x xmlns='urn:x' xml:lang='de'/>",
            "<x xmlns='urn:x'><xml:y xml:z=''><z/></xml:y><y xmlns='a b'/></x>",
        ):
            yield self.set(content)
            yield self.assertStored("<x xmlns='urn:x'/>", content)

    @inlineCallbacks
    def test_xml(self: Any) -> Any:
        """XML's own namespace, which cannot be declared, is allowed."""
        yield self.set("<xml:q><a/></xml:q>")
        yield self.assertStored("<xml:q/>", "<xml:q><a/></xml:q>")

    @inlineCallbacks
    def test_swelling(self: Any) -> Any:
        """An element that exceeds the limit only when it is serialised is refused at once."""
        content = f"<a xmlns='urn:a' xmlns:p='{'p' * 1000}'>{'<b><p:a/></b>' * 1_500}</a>"
        yield self.assertFailure(self.set(content), ResourceLimit)

    @inlineCallbacks
    def test_bounds(self: Any) -> Any:
        """Limits for each user, in bytes and in elements. Above them nothing is changed."""
        self.patch(private, "MAX_BYTES", 100)
        self.patch(private, "MAX_ELEMENTS", 3)
        fits = f"<x xmlns='urn:x'>{'a' * (100 - len('<x xmlns=_urn:x_></x>'))}</x>"
        yield self.set(fits)
        yield self.assertFailure(self.set(fits.replace("a</x>", "\u00e9</x>")), ResourceLimit)
        yield self.assertFailure(self.set("<y xmlns='urn:y'/>"), ResourceLimit)
        yield self.assertStored("<x xmlns='urn:x'/>", fits)
        yield self.assertStored("<y xmlns='urn:y'/>", "<y xmlns='urn:y'/>")
        yield self.set("<y xmlns='urn:y'/>", MACBETH)
        yield self.set("<x xmlns='urn:x'/><y xmlns='urn:y'/><z xmlns='urn:z'/>")
        yield self.assertFailure(self.set("<x xmlns='urn:x'>new</x><w xmlns='urn:w'/>"), ResourceLimit)
        yield self.assertStored("<x xmlns='urn:x'/>", "<x xmlns='urn:x'/>")
        yield self.set("<x xmlns='urn:x'>new</x>")
        yield self.assertStored("<x xmlns='urn:x'/>", "<x xmlns='urn:x'>new</x>")

    @inlineCallbacks
    def test_growth(self: Any) -> Any:
        """
        An element that would not fit into one stanza is refused: quotes and line breaks get longer when they are
        escaped.
        """
        self.patch(private, "MAX_ELEMENT_SIZE", 100)
        quote = '"'
        yield self.set("<x xmlns='urn:x'>old</x>")
        yield self.assertFailure(self.set(f"<x xmlns='urn:x'>{quote * 20}</x>"), ResourceLimit)
        yield self.assertStored("<x xmlns='urn:x'/>", "<x xmlns='urn:x'>old</x>")
        yield self.set(f"<x xmlns='urn:x'>{quote * 10}</x>")

    @inlineCallbacks
    def test_order(self: Any) -> Any:
        """The requests of a user are handled in order, also if they come fast."""
        yield gatherResults([self.set(f"<x xmlns='urn:x'>{number}</x>") for number in range(20)])
        yield self.assertStored("<x xmlns='urn:x'/>", "<x xmlns='urn:x'>19</x>")

    @inlineCallbacks
    def test_injection(self: Any) -> Any:
        """Names with special characters are safe, in the database and in answers."""
        odd = '<x xmlns="urn:\');DROP/**/TABLE/**/private;--"/>'
        yield self.set(odd)
        yield self.set(EXODUS)
        yield self.assertStored(odd, odd)
        yield self.assertStored("<exodus xmlns='exodus:prefs'/>", EXODUS)


class ImportMixin(PrivateMixin):
    """The same with import from the server's own storage."""

    source: FakeSource

    @inlineCallbacks
    def test_imported(self: Any) -> Any:
        """A missing element is requested from the server, stored and returned; the server is asked once."""
        self.source.has = {"a": "<a xmlns='urn:1' b='2'>old</a>"}
        for _ in range(2):
            yield self.assertStored("<a xmlns='urn:1'/>", "<a xmlns='urn:1' b='2'>old</a>")
        self.assertEqual(self.source.asked, ["a"])
        self.source.has = {}
        yield self.assertStored("<a xmlns='urn:1'/>", "<a xmlns='urn:1' b='2'>old</a>")

    @inlineCallbacks
    def test_askedOnce(self: Any) -> Any:
        """A server without the element is asked once for each user and element."""
        for _ in range(2):
            yield self.assertStored("<a xmlns='urn:1'/>", "<a xmlns='urn:1'/>")
            yield self.assertStored("<b xmlns='urn:1'/>", "<b xmlns='urn:1'/>")
            yield self.assertStored("<a xmlns='urn:1'/>", "<a xmlns='urn:1'/>", MACBETH)
        self.assertEqual(self.source.asked, ["a", "b", "a"])

    @inlineCallbacks
    def test_setWins(self: Any) -> Any:
        """A user's set is not overwritten by the import, also if it comes while the server is asked."""
        self.source.has = dict.fromkeys("abc", "<a xmlns='urn:1'>old</a>")
        yield self.set("<a xmlns='urn:1'>new</a>")
        yield self.assertStored("<a xmlns='urn:1'/>", "<a xmlns='urn:1'>new</a>")
        self.assertEqual(self.source.asked, [])
        for name in ("b", "c"):
            # The server does not have the second one.
            self.source.has = {"b": "<b xmlns='urn:1'>old</b>"}
            self.source.meanwhile = lambda name=name: self.set(f"<{name} xmlns='urn:1'>new</{name}>")
            yield self.assertStored(f"<{name} xmlns='urn:1'/>", f"<{name} xmlns='urn:1'>new</{name}>")
        self.source.meanwhile = lambda: succeed(None)
        yield self.assertStored("<b xmlns='urn:1'/>", "<b xmlns='urn:1'>new</b>")

    @inlineCallbacks
    def test_failed(self: Any) -> Any:
        """
        If the server does not answer it may have the element: the user gets an error, and the server is asked
        again.
        """
        self.source.has = {"a": NoAnswer()}
        yield self.assertFailure(self.ask("<a xmlns='urn:1'/>"), NoAnswer)
        self.source.has = {"a": "<a xmlns='urn:1'>old</a>"}
        yield self.assertStored("<a xmlns='urn:1'/>", "<a xmlns='urn:1'>old</a>")
        self.assertEqual(self.source.asked, ["a", "a"])

    @inlineCallbacks
    def test_cannotAsk(self: Any) -> Any:
        """If the server cannot be asked the element is empty, and this is not remembered."""
        self.source.has = {"a": CannotAsk()}
        yield self.assertStored("<a xmlns='urn:1'/>", "<a xmlns='urn:1'/>")
        self.source.has = {"a": "<a xmlns='urn:1'>old</a>"}
        yield self.assertStored("<a xmlns='urn:1'/>", "<a xmlns='urn:1'>old</a>")

    @inlineCallbacks
    def test_own(self: Any) -> Any:
        """The gateway's own request, delegated back to it, does not ask again."""
        request = Request(HAMLET, None, "own", "get", ns.PRIVATE, {}, f"<query xmlns='{ns.PRIVATE}'/>".encode())
        yield self.assertFailure(Deferred.fromCoroutine(self.storage.answer(request)), RecipientUnavailable)
        self.assertEqual(self.source.asked, [])

    @inlineCallbacks
    def test_noRoom(self: Any) -> Any:
        """
        An element over the user's quota is returned, and not stored; one over the limit for elements is refused.
        """
        self.patch(private, "MAX_ELEMENTS", 1)
        yield self.set("<b xmlns='urn:1'/>")
        self.source.has = {"a": "<a xmlns='urn:1'>old</a>"}
        for _ in range(2):
            yield self.assertStored("<a xmlns='urn:1'/>", "<a xmlns='urn:1'>old</a>")
        self.assertEqual(self.source.asked, ["a", "a"])
        yield self.set("<b xmlns='urn:1'>2</b>")
        self.patch(private, "MAX_ELEMENT_SIZE", 10)
        yield self.assertFailure(self.ask("<a xmlns='urn:1'/>"), ResourceLimit)

    @inlineCallbacks
    def test_rememberedBounds(self: Any) -> Any:
        """For each user a limited number of missing elements is remembered; others are requested each time."""
        self.patch(private, "MAX_ELEMENTS", 1)
        for name in ("a", "b", "b"):
            yield self.assertStored(f"<{name} xmlns='urn:1'/>", f"<{name} xmlns='urn:1'/>")
        long = "n" * 1_024
        for _ in range(2):
            yield self.assertStored(f"<{long} xmlns='urn:1'/>", f"<{long} xmlns='urn:1'/>", MACBETH)
        self.assertEqual(self.source.asked, ["a", "b", "b", long, long])


class MemoryTests(PrivateMixin, TestCase):
    """With a store in memory."""

    def setUp(self) -> None:
        self.storage = PrivateStorage(MemoryStore())


class FileTests(PrivateMixin, TestCase):
    """With a store in a file."""

    def setUp(self) -> None:
        database = Database(SqliteBackend(Path(self.mktemp()), MIGRATIONS), reactor)
        self.addCleanup(database.close)
        self.storage = PrivateStorage(PrivateFile(database))


class MemoryImportTests(ImportMixin, TestCase):
    """With a store in memory, and import from a server."""

    def setUp(self) -> None:
        self.source = FakeSource()
        self.storage = PrivateStorage(MemoryStore(), self.source)


class FileImportTests(ImportMixin, TestCase):
    """With a store in a file, and import from a server."""

    def setUp(self) -> None:
        database = Database(SqliteBackend(Path(self.mktemp()), MIGRATIONS), reactor)
        self.addCleanup(database.close)
        self.source = FakeSource()
        self.storage = PrivateStorage(PrivateFile(database), self.source)


class ErrorTests(TestCase):
    """Its errors."""

    def test_conditions(self) -> None:
        """Each of its errors has a stanza error condition."""
        expected: dict[type[GatewayError], str] = {
            Forbidden: "forbidden",
            BadRequest: "bad-request",
            NotAcceptable: "not-acceptable",
            ResourceLimit: "resource-constraint",
        }
        self.assertEqual({error: ERRORS[error].condition for error in expected}, expected)

    def test_documented(self) -> None:
        """The limits are those of docs/delegation.md."""
        said = (ROOT / "docs" / "delegation.md").read_text()
        self.assertIn("keep 1,000 elements and 1 MiB", " ".join(said.split()))
        self.assertEqual((private.MAX_BYTES, private.MAX_ELEMENTS), (1024 * 1024, 1000))
