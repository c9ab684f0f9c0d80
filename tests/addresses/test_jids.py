"""JIDs as text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.protocols.jabber import xmpp_stringprep

from gateway.addresses import jids
from gateway.errors import Malformed
from tests.profiles import steady
from tests.verdicts import BY_LABEL, DANGEROUS, SAME, VERDICTS, WIDER


class PartsTests(SynchronousTestCase):
    """RFC 7622 section 3.1: the first slash ends the bare JID; the first at sign in that ends the localpart."""

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
        """The bare JID, whatever the resource contains."""
        for jid in ("user@example.com", "user@example.com/", "user@example.com/a/b@c"):
            self.assertEqual(jids.bare(jid), "user@example.com")


def _byTwisted(text: str) -> str | None:
    """Return Twisted's result without a final dot of the domain; C{None} if it is refused, or a part is empty."""
    account, slash, resource = text.partition("/")
    local, at, domain = account.rpartition("@")
    try:
        local, domain, resource = (
            xmpp_stringprep.nodeprep.prepare(local),
            xmpp_stringprep.nameprep.prepare(domain).removesuffix("."),
            xmpp_stringprep.resourceprep.prepare(resource),
        )
    except (ValueError, IndexError):
        return None
    if not domain or bool(local) != bool(at) or bool(resource) != bool(slash):
        return None
    return local + at + domain + slash + resource


class VerdictTests(SynchronousTestCase):
    """An address that a server accepts as a sender is valid, unless it is dangerous."""

    def test_verdicts(self) -> None:
        """Each address of the table is prepared as by a server, or refused for a reason."""
        self.assertGreater(len(VERDICTS), 130)
        for written, *verdicts in VERDICTS:
            found = {written if each == SAME else each for each in verdicts} - {None}
            # If servers differ, one keeps what another prepares: a final dot, or a full-width separator.
            expected = (found - {written} or found).pop() if found else None
            if written in DANGEROUS:
                self.assertIsNotNone(expected, written)
                expected = None
            elif written in BY_LABEL:
                self.assertIsNone(expected, written)
                expected = written
            expected = WIDER.get(written, expected)
            with self.subTest(written):
                if expected is None:
                    self.assertRaises(ValueError, jids.prepared, written)
                else:
                    self.assertEqual(jids.prepared(written), expected)

    def test_noneIsMissing(self) -> None:
        """All exceptions are in the table."""
        self.assertLessEqual(DANGEROUS | BY_LABEL | WIDER.keys(), {row[0] for row in VERDICTS})

    def test_invisible(self) -> None:
        """A newer code point without a glyph is refused: the name would look like another one."""
        for point in (0x61C, 0x180F, 0x2064, 0x2065, 0x2069, 0xFFF0, 0x1BCA0, 0xE0002, 0xE0100, 0xE01EF, 0xE0FFF):
            for form in ("a%s@h", "a@h%s", "a@h/a%s"):
                self.assertRaises(ValueError, jids.prepared, form % chr(point))


class PreparedTests(SynchronousTestCase):
    """Addresses written by people."""

    def test_prepared(self) -> None:
        """Case, and the other changes that a server makes."""
        for written, meant in {
            "User@EXAMPLE.com/Resource": "user@example.com/Resource",
            "Example.COM": "example.com",
            "\uff55ser@example.com": "user@example.com",
            "STRASSE@example.com/\ufb01": "strasse@example.com/fi",
            "Alice@H.Example/Ä r": "alice@h.example/Ä r",
        }.items():
            self.assertEqual(jids.prepared(written), meant)

    def test_none(self) -> None:
        """Invalid JIDs raise Malformed, which is a ValueError as well."""
        for text in (
            "",
            "@",
            "/",
            "@example.com",
            "a@",
            "user@example.com/",
            "a b@c",
            "a@/r",
            "a@b@c",
            "a..b",
            ".a",
            "a'b@c",
            "a:5222",
            "a@[::1]b",
            "a@b/\x85",
        ):
            with self.subTest(text):
                self.assertRaises(Malformed, jids.prepared, text)
                self.assertRaises(ValueError, jids.prepared, text)

    def test_local(self) -> None:
        """A localpart alone; one that would become more than a localpart is invalid."""
        self.assertEqual(jids.preparedLocal("User"), "user")
        for text in ("", "a/b", "a@b", "a@b/c", "/a", "\u00ad", "a b"):
            with self.subTest(text):
                self.assertRaises(Malformed, jids.preparedLocal, text)

    @steady
    @given(st.text(st.sampled_from("aA@/.%-_\\40 \x00é\u2024İ👍א\ud800'\"<&x"), max_size=12))
    def test_anything(self, text: str) -> None:
        """Any text either raises ValueError or has a prepared form that is stable."""
        try:
            prepared = jids.prepared(text)
        except ValueError:
            return
        self.assertEqual(jids.prepared(prepared), prepared)

    def test_everyCharacter(self) -> None:
        """Each ASCII character, in each part, gives the result of Unicode's tables without using them."""
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

    @steady
    @given(st.lists(st.sampled_from(["a", "Z", "9", "-", "--", ".", "@", "/", "\\20", "_", "\n", "\x7f", "é"])))
    def test_structure(self, pieces: list[str]) -> None:
        """The same for each combination of separators and parts."""
        self.assertPreparedAlike("".join(pieces))

    def assertPreparedAlike(self, text: str) -> None:
        """Check that the fast path for ASCII and the tables agree; and also with Twisted, if Twisted accepts it."""
        try:
            expected = jids._preparedByUnicode.__wrapped__(text)
        except ValueError:
            self.assertRaises(ValueError, jids.prepared, text)
            self.assertIsNone(_byTwisted(text), text)
        else:
            self.assertEqual(jids.prepared(text), expected)
            self.assertIn(_byTwisted(text), (expected, None), text)

    def test_plain(self) -> None:
        """The tables are not used for a JID of ASCII characters."""
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
        """If a part is mapped to nothing, the rest does not become another address."""
        for text in ("\u00ad@h", "a@\u00ad", "a@h/\u00ad", "a@h.\u00ad"):
            self.assertRaises(ValueError, jids.prepared, text)

    def test_long(self) -> None:
        """A part has at most 1023 bytes, before and after its preparation (RFC 7622 section 3.1)."""
        for longest in ("a" * 1023 + "@h", "a" * 1023, "h/" + "a" * 1023, "é" * 511 + "@h/" + "é" * 511):
            self.assertEqual(jids.prepared(longest), longest)
        for text in (
            "a" * 1024 + "@h",
            "a" * 1024,
            "h/" + "a" * 1024,
            "é" * 512 + "@h",
            "a@h/" + "ä" * 512,
            "a@h/" + "\u00ad" * 9_999 + "r",
            "a@h/" + "\ufdfa" * 1_000,
            "a@h/" + "\ufdfa" * 100,
            "a" + "\u0301\u0316" * 1_000 + "@h",
            "a" * 4_000_000,
        ):
            with self.assertRaises(Malformed, msg=text[:10]):
                jids.prepared(text)


class EscapeTests(SynchronousTestCase):
    """XEP-0106."""

    def test_examples(self) -> None:
        """Section 5 of the specification: each character, and the backslash where it would begin an escape."""
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

    @steady
    @given(st.text(st.sampled_from("\\012345cdefa @&'/:<>\"é"), max_size=30))
    def test_thereAndBack(self, text: str) -> None:
        """Any text survives escaping, once and twice; the result has only characters of a localpart."""
        escaped = jids.escapeLocal(text)
        self.assertEqual(jids.unescapeLocal(escaped), text)
        self.assertFalse(set(escaped) & set(" \"&'/:<>@"))
        self.assertEqual(jids.unescapeLocal(jids.unescapeLocal(jids.escapeLocal(escaped))), text)
