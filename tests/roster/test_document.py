"""Documents and user names of an application."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.interfaces import RosterItem
from gateway.roster import document as reader
from gateway.roster.document import MAX_CONTACTS, Document, checkUser
from gateway.roster.failures import RefreshFailed
from tests.profiles import steady
from tests.roster.support import JOHN, MARIE, document, item, readDocument


class DocumentTests(SynchronousTestCase):
    """The application's answer."""

    def assertReads(self, about: Any, expected: RosterItem) -> None:
        found = readDocument(document({expected.jid: about}), JOHN)
        self.assertEqual((found.contacts, found.skipped), ({expected.jid: expected}, {}))

    def assertFails(self, value: Any, *parts: str) -> None:
        data = value if isinstance(value, bytes) else document(value)
        error = self.assertRaises(RefreshFailed, readDocument, data, JOHN)
        for part in parts:
            self.assertIn(part, str(error))

    def test_seed(self) -> None:
        """The example of mod_http_roster_admin."""
        found = readDocument(
            b'{"marie@example.com": {"name": "Marie"}, "michael@example.com": {"name": "M"}}', JOHN
        )
        self.assertEqual(
            found.contacts, {MARIE: item(name="Marie"), "michael@example.com": item("michael@example.com", "M")}
        )

    def test_nobody(self) -> None:
        """An empty object is a document without contacts; some languages write it as an empty list."""
        for empty in (b" {} ", b" [ ] "):
            self.assertEqual(readDocument(empty, JOHN), Document())

    def test_addresses(self) -> None:
        """Addresses that servers accept are valid."""
        for jid in ("max@chat_srv.lan", "u@[2001:db8::1]", "\U0001f44d@h.example"):
            self.assertEqual(list(readDocument(document({jid: {}}), JOHN).contacts), [jid])

    def test_right(self) -> None:
        """Every form of a contact."""
        self.assertReads({}, item())
        self.assertReads({"name": None, "groups": None}, item())
        self.assertReads({"name": "Ä & <b>", "subscription": "to"}, item(name="Ä & <b>", subscription="to"))
        self.assertReads({"groups": ["A", "B", "A"]}, item(groups=("A", "B")))
        self.assertReads({"groups": {"A": True, "B": False}}, item(groups=("A",)))
        self.assertReads({"groups": []}, item())
        self.assertReads({"groups": {}}, item())
        self.assertReads(None, item())
        self.assertReads([], item())
        self.assertReads("Marie", item(name="Marie"))
        self.assertReads({"nmae": "x", "id": 3}, item())

    def test_white(self) -> None:
        """
        White space becomes a space, as in an XML attribute (XML 1.0 section 3.3.3). Otherwise the name would differ
        for ever on a server that writes it unescaped.
        """
        self.assertReads({"name": "a\tb\r\nc\n"}, item(name="a b  c "))
        self.assertReads({"groups": ["a\nb", "a b"]}, item(groups=("a b",)))
        self.assertReads({"groups": {"a\r": True}}, item(groups=("a ",)))

    def test_normalised(self) -> None:
        """A contact is identified by its JID as servers write it; a domain may be a contact."""
        self.assertEqual(
            list(readDocument(document({"Marie@Example.COM": {}, "Proxy.example.com": {}}), JOHN).contacts),
            [MARIE, "proxy.example.com"],
        )
        # RFC 7622 section 3.2 removes the last dot.
        self.assertEqual(list(readDocument(document({f"{MARIE}.": {}}), JOHN).contacts), [MARIE])
        self.assertSkips(f"{JOHN}.", {}, "the user's own")

    def test_noDocument(self) -> None:
        """If a document is not an object of contacts, the error names its type and the place."""
        self.assertFails(b"", "not JSON")
        self.assertFails(b'{"a@b": {}', "not JSON", "line 1")
        self.assertFails(b"\xff{}", "not UTF-8: byte 0")
        self.assertFails(b'{"a@h.x":' + b"[" * 100_000, "too long in one place")
        self.assertFails([{}], "a list, not an object")
        self.assertFails(b"[", "not JSON")
        self.assertFails(None, "null, not an object")
        self.assertFails("x", "a string")
        self.assertFails(3, "a number")
        self.assertFails(b'{"a@b": {}, "a@b": {}}', '"a@b" occurs twice')
        self.assertFails(b'{"a@b": {"name": "x", "name": "y"}}', '"name" occurs twice')

    def assertSkips(self, contact: str, about: Any, *parts: str) -> Document:
        """A contact is skipped with this reason, and another contact is not."""
        found = readDocument(document({"ok@example.com": {}, contact: about}), JOHN)
        self.assertEqual(found.contacts, {"ok@example.com": item("ok@example.com")})
        [(written, reason)] = found.skipped.items()
        self.assertEqual(written, contact[:200])
        for part in parts:
            self.assertIn(part, reason)
        return found

    def test_oddContact(self) -> None:
        """
        An invalid contact is reported with the reason, affects no other one, and its item on the server stays.
        """
        for contact, about, kept, part in (
            ("a@b/c", {}, "a@b", "a resource"),
            (JOHN, {}, JOHN, "the user's own"),
            ("John@EXAMPLE.com", {}, JOHN, "the user's own"),
            ("contacts", {}, "contacts", "neither a user name nor a dot"),
            (MARIE, [1], MARIE, "a list, not an object"),
            (MARIE, 3, MARIE, "a number, not an object"),
            (MARIE, False, MARIE, "false, not an object"),
            ("Marie@Example.com", {"name": 3}, MARIE, "its name is a number"),
            (MARIE, {"name": "x" * 1024}, MARIE, "1024 characters"),
            (MARIE, "x" * 1024, MARIE, "1024 characters"),
            (MARIE, {"name": "a\x00"}, MARIE, "U+0000"),
            (MARIE, {"subscription": "friend"}, MARIE, '"friend", not one of none, to, from, both'),
            (MARIE, {"subscription": None}, MARIE, "null"),
            (MARIE, {"subscription": []}, MARIE, "[]"),
            (MARIE, {"subscription": "remove"}, MARIE, '"remove"'),
            (MARIE, {"groups": "A"}, MARIE, "its groups are a string"),
            (MARIE, {"groups": [3]}, MARIE, "one of its groups is a number"),
            (MARIE, {"groups": [""]}, MARIE, "no name"),
            (MARIE, {"groups": ["a\ud800"]}, MARIE, "U+D800"),
            (MARIE, {"groups": {"A": 1}}, MARIE, 'group "A" is a number'),
            (MARIE, {"groups": [str(number) for number in range(101)]}, MARIE, "101 groups"),
        ):
            found = self.assertSkips(contact, about, part)
            self.assertEqual((found.kept, found.isComplete), ({kept}, True), contact)

    def test_noAddress(self) -> None:
        """A key that is not an address may stand for any contact."""
        for contact, about, part in (
            ("@", {}, "not a JID"),
            ("", {}, "not a JID"),
            ("x" * 1024 + "@x", {}, "too long"),
            ("error", "timeout", "neither a user name nor a dot"),
            ("errors", [], "neither a user name nor a dot"),
        ):
            self.assertFalse(self.assertSkips(contact, about, part).isComplete, contact)

    def test_noContact(self) -> None:
        """A document without a valid contact is refused."""
        for value in ({"error": {}}, {"error": "x", "code": 3}, {"contacts": {MARIE: {}}}, {"": {}}, {MARIE: 3}):
            self.assertFails(value, f"contact {json.dumps(next(iter(value)))}: it")

    def test_onlyOdd(self) -> None:
        """A document with only the user's own JID, or a JID with a resource, is accepted."""
        for contact in (JOHN, f"{MARIE}/home"):
            found = readDocument(document({contact: {}}), JOHN)
            self.assertEqual((found.contacts, list(found.skipped)), ({}, [contact]))

    def test_twice(self) -> None:
        """Two spellings of a contact with the same values are one contact; otherwise both are skipped."""
        spellings = MARIE, "MARIE@example.com", f"{MARIE}."
        found = readDocument(document({each: {} for each in spellings}), JOHN)
        self.assertEqual((found.contacts, found.skipped), ({MARIE: item()}, {}))
        about = [{"name": "A"}, {"name": "B"}, {"name": "B"}]
        found = readDocument(document(dict(zip(spellings, about, strict=True))), JOHN)
        self.assertEqual((found.contacts, found.kept), ({}, {MARIE}))
        self.assertEqual(set(found.skipped), set(spellings[1:]))
        self.assertIn("two spellings of this JID", found.skipped[spellings[1]])

    def test_resourceBeside(self) -> None:
        """A contact with a resource does not affect the one without."""
        for names in ((MARIE, f"{MARIE}/home"), (f"{MARIE}/home", MARIE)):
            found = readDocument(document(dict.fromkeys(names)), JOHN)
            self.assertEqual((found.contacts, list(found.skipped)), ({MARIE: item()}, [f"{MARIE}/home"]))

    def test_unknown(self) -> None:
        """Some of the unknown keys are reported, in a form that can be logged."""
        found = readDocument(document({MARIE: {"nmae": 1, "\ud800\n": 2}, "a@x": {"nmae": {}}}), JOHN)
        self.assertEqual(found.unknown, {'"nmae"', '"\\ud800\\n"'})
        found = readDocument(document({MARIE: {f"key {number}": 1 for number in range(1_000)}}), JOHN)
        self.assertEqual(len(found.unknown), 20)

    def test_manyOdd(self) -> None:
        """The number of reported reasons is bounded; the number of further ones is reported."""
        odd = {f"c{number}@x": 3 for number in range(150)}
        found = readDocument(document({MARIE: {}, **odd}), JOHN)
        self.assertEqual((len(found.skipped), found.skipped["..."]), (101, "50 more"))
        self.assertEqual(found.kept, odd.keys())

    def test_twiceAmongMany(self) -> None:
        """Finding a repeated key compares each key once."""
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
        self.assertIn('"c199@x" occurs twice', str(error))
        self.assertLess(looks, 1_000)

    def test_unprintable(self) -> None:
        """Texts about an invalid document can be written into a log."""
        for value in ({"\ud800@h": {}}, {MARIE: {"subscription": "\udfff"}}):
            error = self.assertRaises(RefreshFailed, readDocument, document(value), JOHN)
            self.assertIn("\\ud", str(error))
            str(error).encode()

    def test_mark(self) -> None:
        """A byte order mark is ignored."""
        found = readDocument(b"\xef\xbb\xbf" + document({MARIE: {}}), JOHN)
        self.assertEqual(found.contacts, {MARIE: item()})

    def test_unreadableNames(self) -> None:
        """An error shows a name without characters that change how a line is displayed."""
        for name in ("\x85@h", "\u202e@h", "\u2028@h", "\x1b@h", "\ufeff@h/"):
            error = self.assertRaises(RefreshFailed, readDocument, document({name: 1}), JOHN)
            self.assertTrue(str(error).isprintable(), repr(str(error)))

    def test_longJids(self) -> None:
        """The length of an address is bounded, also before it is prepared; the reason says so."""
        for jid in ("x" * 1_024 + "@h.x", "é" * 512 + "@h.x", "a@" + "x" * 1_024, "\ufdfa" * 342 + "@h.x"):
            self.assertFails({jid: {}}, "too long for a JID")
        self.assertRaises(RefreshFailed, checkUser, "é" * 512)
        readDocument(document({"é" * 511 + "@h.x": {}}), JOHN)

    def test_tooLong(self) -> None:
        """An invalid document of megabytes is refused after its first part."""
        for nonsense in ("[" + "[]," * 2_000_000, '{"a":' * 900_000, '"' + "x" * 5_000_000, "[" + "1," * 3_000_000):
            self.assertFails(b'{"a@h.x": {}, "b@h.x": ' + nonsense.encode(), "document")

    def test_tooMany(self) -> None:
        """The number of contacts is bounded."""
        contacts = {f"c{number}@example.com": {} for number in range(MAX_CONTACTS + 1)}
        self.assertFails(contacts, "more than 20000 contacts")

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
        """Any JSON is read, or refused with a reason."""
        try:
            readDocument(document(value), JOHN)
        except RefreshFailed as failure:
            self.assertTrue(str(failure))

    @steady
    @given(st.binary(max_size=50))
    def test_anyBytes(self, data: bytes) -> None:
        """Any bytes are read, or refused with a reason."""
        try:
            readDocument(data, JOHN)
        except RefreshFailed as failure:
            self.assertTrue(str(failure))


class UserTests(SynchronousTestCase):
    """User names."""

    def test_right(self) -> None:
        """User names become localparts."""
        for name, local in (("john", "john"), ("John", "john"), ("jöhn", "jöhn"), ("a\\40b", "a\\40b")):
            self.assertEqual(checkUser(name), local)

    def test_wrong(self) -> None:
        """Invalid localparts are refused, and so are JIDs with more parts."""
        for name in ("", "a@b", "a/b", "@", " ", "a b", "a\x00", 3, None, ["a"], "x" * 2000):
            self.assertRaises(RefreshFailed, checkUser, name)

    def test_address(self) -> None:
        """In place of an address, the message names the user name to give, if there is one."""
        for name, end in (
            ("Alice@example.com", ': give "alice"'),
            ("alice@example.com/phone", ': give "alice"'),
            ("@example.com", '"@"'),
            ("a b@example.com", '"@"'),
            ("a@", '"@"'),
        ):
            error = self.assertRaises(RefreshFailed, checkUser, name)
            self.assertTrue(str(error).startswith("it is not a user name"), str(error))
            self.assertTrue(str(error).endswith(end), str(error))
