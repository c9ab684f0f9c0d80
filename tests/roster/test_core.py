"""What an application may say, how rosters differ, and one refresh step by step."""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any, TypeVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.interfaces import RosterItem
from gateway.roster import document as reader
from gateway.roster.core import Fetch, Finished, Read, Refresh, Set, Summary, difference
from gateway.roster.document import MOST_CONTACTS, RefreshFailed, checkUser, readingDocument
from tests.stream.memory import steady

JOHN = "john@example.com"
MARIE = "marie@example.com"

T = TypeVar("T")


def whole(work: Generator[None, None, T]) -> T:
    """The value of a generator that is run to its end in one go."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            value: T = end.value
            return value


def readDocument(data: bytes, user: str) -> dict[str, RosterItem]:
    """The contacts in a document."""
    return whole(readingDocument(data, user))


def item(jid: str = MARIE, name: str = "", groups: tuple[str, ...] = (), subscription: str = "both") -> RosterItem:
    """A contact."""
    return RosterItem(jid=jid, name=name, groups=frozenset(groups), subscription=subscription)


def document(value: Any) -> bytes:
    """What an application sends."""
    return json.dumps(value).encode()


class DocumentTests(SynchronousTestCase):
    """The application's answer."""

    def assertReads(self, about: dict[str, Any], expected: RosterItem) -> None:
        self.assertEqual(readDocument(document({expected.jid: about}), JOHN), {expected.jid: expected})

    def assertFails(self, value: Any, *parts: str) -> None:
        data = value if isinstance(value, bytes) else document(value)
        error = self.assertRaises(RefreshFailed, readDocument, data, JOHN)
        for part in parts:
            self.assertIn(part, str(error))

    def test_seed(self) -> None:
        """The example of the module that this comes from."""
        found = readDocument(
            b'{"marie@example.com": {"name": "Marie"}, "michael@example.com": {"name": "M"}}', JOHN
        )
        self.assertEqual(
            found, {MARIE: item(name="Marie"), "michael@example.com": item("michael@example.com", "M")}
        )

    def test_nobody(self) -> None:
        """An empty object is a roster without contacts."""
        self.assertEqual(readDocument(b" {} ", JOHN), {})

    def test_right(self) -> None:
        """Every form that a contact may have."""
        self.assertReads({}, item())
        self.assertReads({"name": None, "groups": None}, item())
        self.assertReads({"name": "Ä & <b>", "subscription": "to"}, item(name="Ä & <b>", subscription="to"))
        self.assertReads({"groups": ["A", "B", "A"]}, item(groups=("A", "B")))
        self.assertReads({"groups": {"A": True, "B": False}}, item(groups=("A",)))
        self.assertReads({"groups": []}, item())
        self.assertReads({"groups": {}}, item())

    def test_white(self) -> None:
        """
        White space is a space, as who reads an attribute has it (XML 1.0 section 3.3.3): else a server that writes
        it as it stands has another name for ever.
        """
        self.assertReads({"name": "a\tb\r\nc\n"}, item(name="a b  c "))
        self.assertReads({"groups": ["a\nb", "a b"]}, item(groups=("a b",)))
        self.assertReads({"groups": {"a\r": True}}, item(groups=("a ",)))

    def test_normalised(self) -> None:
        """A contact is known by its JID as servers write it; a domain may be one."""
        self.assertEqual(
            list(readDocument(document({"Marie@Example.COM": {}, "Proxy.example.com": {}}), JOHN)),
            [MARIE, "proxy.example.com"],
        )
        # RFC 7622 section 3.2 takes the last dot away.
        self.assertEqual(list(readDocument(document({f"{MARIE}.": {}}), JOHN)), [MARIE])
        self.assertFails({f"{JOHN}.": {}}, "the user's own")
        self.assertFails({MARIE: {}, f"{MARIE}.": {}}, "twice, in other spellings")

    def test_noDocument(self) -> None:
        """What is no object of contacts says what it is instead, and where."""
        self.assertFails(b"", "not JSON")
        self.assertFails(b'{"a@b": {}', "not JSON", "line 1")
        self.assertFails(b"\xff{}", "not UTF-8: byte 0")
        self.assertFails(b'{"a@h.x":' + b"[" * 100_000, "too long in one place")
        self.assertFails([], "a list, not an object")
        self.assertFails(None, "null, not an object")
        self.assertFails("x", "a string")
        self.assertFails(3, "a number")
        self.assertFails(b'{"a@b": {}, "a@b": {}}', '"a@b" stands twice')
        self.assertFails(b'{"a@b": {"name": "x", "name": "y"}}', '"name" stands twice')

    def test_wrongContact(self) -> None:
        """One wrong contact is named, with what is wrong."""
        for contact, about, *parts in (
            ("a@b/c", {}, "a resource"),
            (JOHN, {}, "the user's own"),
            ("John@EXAMPLE.com", {}, "the user's own"),
            ("@", {}, "not a JID"),
            ("", {}, "not a JID"),
            ("x" * 1024 + "@x", {}, "longer"),
            ("contacts", {}, "neither a user name nor a dot"),
            (MARIE, [], "a list, not an object"),
            (MARIE, None, "null"),
            (MARIE, {"nmae": "x"}, '"nmae" is unknown', "groups, name, subscription"),
            (MARIE, {"name": 3}, "its name is a number"),
            (MARIE, {"name": "x" * 1024}, "1024 characters"),
            (MARIE, {"name": "a\x00"}, "U+0000"),
            (MARIE, {"subscription": "friend"}, '"friend"', "none, to, from, both"),
            (MARIE, {"subscription": None}, "null"),
            (MARIE, {"subscription": "remove"}, '"remove"'),
            (MARIE, {"groups": "A"}, "its groups are a string"),
            (MARIE, {"groups": [3]}, "one of its groups is a number"),
            (MARIE, {"groups": [""]}, "no name"),
            (MARIE, {"groups": ["a\ud800"]}, "U+D800"),
            (MARIE, {"groups": {"A": 1}}, 'group "A" is a number'),
            (MARIE, {"groups": [str(number) for number in range(101)]}, "101 groups"),
        ):
            self.assertFails({"ok@example.com": {}, contact: about}, json.dumps(contact)[:50], *parts)
        self.assertFails({MARIE: {}, "MARIE@example.com": {}}, "twice, in other spellings")

    def test_twiceAmongMany(self) -> None:
        """To find what stands twice takes one look at each."""
        looks = 0

        class Name(str):
            """Counts how often it is compared."""

            __slots__ = ()
            __hash__ = str.__hash__

            def __eq__(self, other: object) -> bool:
                nonlocal looks
                looks += 1
                return str.__eq__(self, other)

        names = [Name(f"c{number}@x") for number in range(200)]
        error = self.assertRaises(ValueError, reader._unique, [(name, {}) for name in [*names, Name("c199@x")]])
        self.assertIn('"c199@x" stands twice', str(error))
        self.assertLess(looks, 1_000)

    def test_unprintable(self) -> None:
        """What is shown of a wrong document can be written into a log."""
        for value in ({"\ud800@h": {}}, {MARIE: {"subscription": "\udfff"}}, {MARIE: {"\ud800": 1}}):
            error = self.assertRaises(RefreshFailed, readDocument, document(value), JOHN)
            self.assertIn("\\ud", str(error))
            str(error).encode()

    def test_mark(self) -> None:
        """A byte order mark is no part of a document."""
        self.assertEqual(readDocument(b"\xef\xbb\xbf" + document({MARIE: {}}), JOHN), {MARIE: item()})

    def test_unreadableNames(self) -> None:
        """An error shows a name without anything that changes how a line is read."""
        for name in ("\x85@h", "\u202e@h", "\u2028@h", "\x1b@h", "\ufeff@h/"):
            error = self.assertRaises(RefreshFailed, readDocument, document({name: 1}), JOHN)
            self.assertTrue(str(error).isprintable(), repr(str(error)))

    def test_longJids(self) -> None:
        """An address is as long as it may be, before it is prepared, too; the reason is given."""
        for jid in ("x" * 1_024 + "@h.x", "é" * 512 + "@h.x", "a@" + "x" * 1_024, "\ufdfa" * 342 + "@h.x"):
            self.assertFails({jid: {}}, "longer than a JID may be")
        self.assertRaises(RefreshFailed, checkUser, "é" * 512)
        readDocument(document({"é" * 511 + "@h.x": {}}), JOHN)

    def test_tooLong(self) -> None:
        """Nonsense of megabytes is refused after the first part of it."""
        for nonsense in ("[" + "[]," * 2_000_000, '{"a":' * 900_000, '"' + "x" * 5_000_000, "[" + "1," * 3_000_000):
            self.assertFails(b'{"a@h.x": {}, "b@h.x": ' + nonsense.encode(), "document")

    def test_tooMany(self) -> None:
        """There is a bound."""
        self.assertFails({f"c{number}@example.com": {} for number in range(MOST_CONTACTS + 1)}, "at most")

    @steady
    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(st.text(max_size=5) | st.just(MARIE), inner, max_size=3)
            ),
        )
    )
    def test_anything(self, value: Any) -> None:
        """Whatever JSON there is, it is read, or it is said what is wrong with it."""
        try:
            readDocument(document(value), JOHN)
        except RefreshFailed as failure:
            self.assertTrue(str(failure))

    @steady
    @given(st.binary(max_size=50))
    def test_anyBytes(self, data: bytes) -> None:
        """Nor do bytes matter."""
        try:
            readDocument(data, JOHN)
        except RefreshFailed as failure:
            self.assertTrue(str(failure))


ROSTERS = st.dictionaries(
    st.sampled_from([f"c{number}@example.com" for number in range(5)]),
    st.tuples(st.sampled_from(["", "N"]), st.sampled_from([(), ("G",)]), st.sampled_from(["none", "both"])),
)


class DifferenceTests(SynchronousTestCase):
    """What to set."""

    def test_none(self) -> None:
        """What is the same is not touched, nor is whether somebody has asked."""
        there = RosterItem(jid=MARIE, name="M", groups=frozenset("AB"), subscription="to", ask=True)
        wanted = item(name="M", groups=("B", "A"), subscription="to")
        self.assertEqual(difference([there], {MARIE: wanted}), [])

    def test_each(self) -> None:
        """New, renamed, regrouped and otherwise subscribed contacts are set, others removed; each once."""
        there = [item(f"c{number}@x") for number in range(5)]
        wanted = [
            item("new@x"),
            item("c0@x"),
            item("c1@x", name="N"),
            item("c2@x", groups=("G",)),
            item("c3@x", subscription="to"),
        ]
        changes = difference(there, {each.jid: each for each in wanted})
        removed = RosterItem(jid="c4@x", subscription="remove")
        self.assertEqual(changes, [wanted[0], *wanted[2:], removed])
        self.assertEqual(Summary.of(there, changes), Summary(1, 3, 1))

    def test_resource(self) -> None:
        """A contact is a bare JID; what a server has with a resource beside it (ejabberd) is that contact."""
        there = item("c0@x/home"), item("c1@x/home")
        removed = RosterItem(jid="c1@x", subscription="remove")
        changes = difference(there, {"c0@x": item("c0@x")})
        self.assertEqual(changes, [item("c0@x"), removed])
        self.assertEqual(Summary.of(there, changes), Summary(0, 1, 1))
        refresh = Refresh(JOHN)
        whole(refresh.fetched(document({"c0@x": {}})))
        self.assertEqual(whole(refresh.read(there)), Set(item("c0@x"), item("c0@x/home")))
        self.assertEqual(refresh.set(), Set(removed, item("c1@x/home")))

    @steady
    @given(ROSTERS, ROSTERS)
    def test_becomes(self, before: dict[str, Any], after: dict[str, Any]) -> None:
        """Whoever sets all of it has what is wanted, and nothing is set in vain or twice."""
        there = {jid: item(jid, *about) for jid, about in before.items()}
        wanted = {jid: item(jid, *about) for jid, about in after.items()}
        changes = difference(there.values(), wanted)
        self.assertEqual(len({each.jid for each in changes}), len(changes))
        for each in changes:
            self.assertNotEqual(there.get(each.jid), each)
            if each.subscription == "remove":
                del there[each.jid]
            else:
                there[each.jid] = each
        self.assertEqual(there, wanted)


class RefreshTests(SynchronousTestCase):
    """One refresh."""

    def test_whole(self) -> None:
        """Fetch, read, set each, finish."""
        refresh = Refresh(JOHN)
        self.assertEqual(refresh.begin(), Fetch())
        self.assertEqual(whole(refresh.fetched(document({MARIE: {}}))), Read())
        self.assertEqual(whole(refresh.read([item("old@x")])), Set(item(), RosterItem(jid=MARIE)))
        self.assertEqual(refresh.set(), Set(RosterItem(jid="old@x", subscription="remove"), item("old@x")))
        self.assertEqual(refresh.set(), Finished(Summary(1, 0, 1)))

    def test_unchanged(self) -> None:
        """What the application has not changed costs nothing; what the server has already, neither."""
        self.assertEqual(whole(Refresh(JOHN).fetched(None)), Finished())
        refresh = Refresh(JOHN)
        whole(refresh.fetched(document({MARIE: {}})))
        self.assertEqual(whole(refresh.read([item()])), Finished(Summary()))

    def test_bad(self) -> None:
        """A document that is wrong ends it before the server is asked."""
        finished = whole(Refresh(JOHN).fetched(b"[]"))
        assert isinstance(finished, Finished)
        self.assertIn("a list", finished.reason)

    def test_failed(self) -> None:
        """What fails ends it; how far it came is said."""
        refresh = Refresh(JOHN)
        self.assertEqual(refresh.failed("no answer"), Finished(reason="no answer"))
        whole(refresh.fetched(document({"a@x": {}, "b@x": {}})))
        whole(refresh.read([]))
        refresh.set()
        self.assertEqual(refresh.failed("no answer"), Finished(reason="1 of 2 changes were made, then: no answer"))

    def test_dry(self) -> None:
        """A dry run tells what it would set, and sets nothing; not even too many removals keep it from that."""
        refresh = Refresh(JOHN, mostRemovals=0, isDry=True)
        whole(refresh.fetched(document({MARIE: {}})))
        removal = RosterItem(jid="old@x", subscription="remove")
        self.assertEqual(whole(refresh.read([item("old@x")])), Finished(Summary(1, 0, 1), (item(), removal)))

    def test_removals(self) -> None:
        """More removals than are believable are refused, with how to force them."""
        there = [item(f"c{number}@x") for number in range(3)]
        refresh = Refresh(JOHN, mostRemovals=2)
        whole(refresh.fetched(b"{}"))
        finished = whole(refresh.read(there))
        assert isinstance(finished, Finished)
        for part in ("3 contacts", "max_removals (2)", "?force=1"):
            self.assertIn(part, finished.reason)
        refresh = Refresh(JOHN, mostRemovals=3)
        whole(refresh.fetched(b"{}"))
        self.assertIsInstance(whole(refresh.read(there)), Set)


class UserTests(SynchronousTestCase):
    """User names."""

    def test_right(self) -> None:
        """As they stand in JIDs."""
        for name, local in (("john", "john"), ("John", "john"), ("jöhn", "jöhn"), ("a\\40b", "a\\40b")):
            self.assertEqual(checkUser(name), local)

    def test_wrong(self) -> None:
        """What cannot stand there, or is more than that."""
        for name in ("", "a@b", "a/b", "@", " ", "a b", "a\x00", 3, None, ["a"], "x" * 2000):
            self.assertRaises(RefreshFailed, checkUser, name)
