"""JIDs as text."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber.jid import JID, InvalidFormat

from gateway import jids

bounded = settings(max_examples=100, deadline=None, derandomize=True, database=None)


class PartsTests(SynchronousTestCase):
    """RFC 7622 section 3.1: the first slash ends the bare JID, the first at sign in that ends the localpart."""

    def test_split(self) -> None:
        """All forms, and separators within a resource."""
        for jid, parts in {
            "example.com": ("", "example.com", ""),
            "user@example.com": ("user", "example.com", ""),
            "user@example.com/r": ("user", "example.com", "r"),
            "example.com/r": ("", "example.com", "r"),
            "example.com/a@b/c": ("", "example.com", "a@b/c"),
            "user@example.com/a@b/c": ("user", "example.com", "a@b/c"),
            "": ("", "", ""),
        }.items():
            self.assertEqual(jids.split(jid), parts)

    def test_bare(self) -> None:
        """Without the resource, whatever that holds."""
        for jid in ("user@example.com", "user@example.com/", "user@example.com/a/b@c"):
            self.assertEqual(jids.bare(jid), "user@example.com")


class PreparedTests(SynchronousTestCase):
    """What people write."""

    def test_prepared(self) -> None:
        """Case, and whatever else a server makes one."""
        for written, meant in {
            "User@EXAMPLE.com/Resource": "user@example.com/Resource",
            "Example.COM": "example.com",
            "\uff55ser@example.com": "user@example.com",
            "STRASSE@example.com/\ufb01": "strasse@example.com/fi",
        }.items():
            self.assertEqual(jids.prepared(written), meant)

    def test_none(self) -> None:
        """What is no JID is a ValueError."""
        for text in (
            "",
            "@",
            "/",
            "@example.com",
            "a@",
            "user@example.com/",
            "a b@c",
            "a@b@c",
            "a..b",
            ".a",
            "a'b@c",
        ):
            with self.subTest(text):
                self.assertRaises(ValueError, jids.prepared, text)

    @bounded
    @given(st.text(st.sampled_from("aA@/.%-_\\40 \x00é\u2024İ👍א\ud800'\"<&x"), max_size=12))
    def test_anything(self, text: str) -> None:
        """Nothing but a ValueError comes of any text, and what is prepared is so for good."""
        try:
            prepared = jids.prepared(text)
        except ValueError:
            return
        self.assertEqual(jids.prepared(prepared), prepared)

    def test_everyCharacter(self) -> None:
        """Each of ASCII is treated as Unicode's tables have it, wherever it stands, without asking them."""
        for character in map(chr, range(128)):
            for form in (
                "%s",
                "a%s",
                "%sa",
                "%s@h",
                "a%sb@h",
                "a@%s",
                "a@b%s",
                "a@b%sc",
                "a@b.%s.c",
                "a@b/%s",
                "a@b/c%sd",
            ):
                self.assertPreparedAlike(form % character)

    @bounded
    @given(st.lists(st.sampled_from(["a", "Z", "9", "-", "--", ".", "@", "/", "\\20", "_", "\n", "\x7f", "é"])))
    def test_structure(self, pieces: list[str]) -> None:
        """So is each combination of what makes up a JID."""
        self.assertPreparedAlike("".join(pieces))

    def assertPreparedAlike(self, text: str) -> None:
        """As Twisted has it, error or not; but for the dot at a domain's end, and for separators of nothing."""
        try:
            expected = JID(text)
            account, slash, resource = text.partition("/")
            local, at, _ = account.rpartition("@")
            if bool(local) != bool(at) or bool(resource) != bool(slash):
                raise ValueError
        except (InvalidFormat, UnicodeError, IndexError, RuntimeError, ValueError):
            with self.assertRaises(ValueError, msg=repr(text)):
                jids.prepared(text)
        else:
            expected.host = expected.host.removesuffix(".")
            self.assertEqual(jids.prepared(text), expected.full())

    def test_plain(self) -> None:
        """The tables are not asked about a JID of ASCII."""
        self.patch(jids, "_preparedByUnicode", None)
        self.assertEqual(jids.prepared("John.O\\27Neill@Chat-2.EXAMPLE.com"), "john.o\\27neill@chat-2.example.com")
        self.assertEqual(jids.prepared("R@Chat.h/John @ Home / 1"), "r@chat.h/John @ Home / 1")

    def test_dot(self) -> None:
        """RFC 7622 section 3.2: a dot at the end of a domain "MUST be stripped" before addresses are compared."""
        for written in ("TOM@localhost./q", "tom@localhost/q", "tom@localhost\u3002/q", "Tom@LOCALHOST\uff0e/q"):
            self.assertEqual(jids.prepared(written), "tom@localhost/q")
        for none in ("a@localhost..", "a@.", ".", "a@localhost. "):
            self.assertRaises(ValueError, jids.prepared, none)

    def test_nothingLeft(self) -> None:
        """A part that is mapped to nothing makes no other address of the rest."""
        for text in ("\u00ad@h", "a@\u00ad", "a@h/\u00ad", "a@h.\u00ad"):
            self.assertRaises(ValueError, jids.prepared, text)

    def test_long(self) -> None:
        """A part has 1023 bytes at most, before it is prepared and after that (RFC 7622 section 3.1)."""
        for longest in ("a" * 1023 + "@h", "a" * 1023, "h/" + "a" * 1023, "é" * 511 + "@h/" + "é" * 511):
            self.assertEqual(jids.prepared(longest), longest)
        for text in (
            "a" * 1024 + "@h",
            "a" * 1024,
            "h/" + "a" * 1024,
            "é" * 512 + "@h",
            "a@h/" + "\ufdfa" * 1_000,
            "a@h/" + "\ufdfa" * 100,
            "a" + "\u0301\u0316" * 1_000 + "@h",
            "a" * 4_000_000,
        ):
            with self.assertRaises(ValueError, msg=text[:10]):
                jids.prepared(text)


class EscapeTests(SynchronousTestCase):
    """XEP-0106."""

    def test_examples(self) -> None:
        """Of section 5 of the specification: each character, and the backslash where it would mislead."""
        for text, escaped in {
            "space cadet": "space\\20cadet",
            'call me "ishmael"': "call\\20me\\20\\22ishmael\\22",
            "at&t guy": "at\\26t\\20guy",
            "d'artagnan": "d\\27artagnan",
            "/.fanboy": "\\2f.fanboy",
            "::foo::": "\\3a\\3afoo\\3a\\3a",
            "<foo>": "\\3cfoo\\3e",
            "user@host": "user\\40host",
            "c:\\net": "c\\3a\\net",
            "c:\\cool stuff": "c\\3a\\cool\\20stuff",
            "c:\\5commas": "c\\3a\\5c5commas",
            "\\3and\\2is\\5cool": "\\5c3and\\2is\\5c5cool",
        }.items():
            with self.subTest(text):
                self.assertEqual(jids.escapeLocal(text), escaped)
                self.assertEqual(jids.unescapeLocal(escaped), text)

    @bounded
    @given(st.text(st.sampled_from("\\012345cdefa @&'/:<>\"é"), max_size=30))
    def test_thereAndBack(self, text: str) -> None:
        """Any text survives, once and twice, and holds none of the characters that a localpart must not."""
        escaped = jids.escapeLocal(text)
        self.assertEqual(jids.unescapeLocal(escaped), text)
        self.assertFalse(set(escaped) & set(" \"&'/:<>@"))
        self.assertEqual(jids.unescapeLocal(jids.unescapeLocal(jids.escapeLocal(escaped))), text)
