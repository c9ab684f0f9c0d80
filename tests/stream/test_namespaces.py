"""Long namespaces, which expat copies for each attribute that has one."""

from __future__ import annotations

import contextlib

from gateway.errors import BadNamespace, TooLarge
from gateway.stream.refused import StanzaRefused
from gateway.stream.stanzas import Stanza
from gateway.xml.read import checkCost
from tests.quick import QuickCase
from tests.stream.memory import HEADER, split

_LONG = "u" * 131_000
_USES = "".join(f" p:a{number}=''" for number in range(10_500))


class LongNamespaceTests(QuickCase):
    """Such a stanza is refused before expat does the work."""

    def outcome(self, wrong: str, size: int) -> list[str]:
        """Return the events of a stanza between others, in pieces of so many bytes."""
        data = f"<iq id='1'><q/></iq>{wrong}<iq id='2'/>".encode()
        with self.quickly((wrong[:100], size)):
            events = split(HEADER + data, size)[1:]
        refused = [event.why for event in events if isinstance(event, StanzaRefused)]
        self.assertLessEqual(set(refused), {BadNamespace})
        return [event.id or "" if isinstance(event, Stanza) else type(event).__name__ for event in events]

    def test_expensive(self) -> None:
        """In any spelling, with any declaration, and in any pieces."""
        for wrong in (
            f"<iq id='n'><q xmlns:p='{_LONG}'{_USES}/></iq>",
            f'<iq id="n"><q a=">" xmlns:p = "{_LONG}"{_USES}/></iq>',
            f"<iq id='n' xmlns:p='{_LONG}'><q{_USES}/></iq>",
            f"<iq id='n' xmlns:p='{_LONG}'{_USES}/>",
            f"<iq id='n'><q>xmlns</q><q xmlns:p='{_LONG}'><q{_USES}/></q></iq>",
        ):
            for size in (0, 64 * 1024, 1_000):
                self.assertEqual(self.outcome(wrong, size), ["1", "StanzaRefused", "2"], wrong[:60])

    def test_pieces(self) -> None:
        """With pieces of any length."""
        wrong = f"<iq id='n'><q xmlns:p='{'u' * 1_024}' p:a=''/></iq>"
        for size in range(1, 60):
            self.assertEqual(self.outcome(wrong, size), ["1", "StanzaRefused", "2"], size)

    def test_bound(self) -> None:
        """1023 bytes are accepted; so is a longer one without a prefix, and text that only looks like one."""
        for right in (
            f"<iq id='n'><q xmlns:p='{'u' * 1_023}' p:a=''/></iq>",
            f"<iq id='n'><q xmlns='{_LONG}'/></iq>",
            f"<iq id='n'><q>xmlns:p={_LONG}</q></iq>",
            f"<iq id='n'><q>xmlns:p=&apos;{_LONG}&apos;</q></iq>",
            f"<iq id='n'><q a=''>xmlns:p='{_LONG}</q></iq>",
            f"<iq id='n'><q/><![CDATA[<q xmlns:p='{_LONG}']]></iq>",
            f"xmlns:='{_LONG}<iq id='n'/>",
            f"<iq id='n'/>xmlns:='{_LONG}",
        ):
            for size in (0, 1_000):
                self.assertEqual(self.outcome(right, size), ["1", "n", "2"], right[:60])

    def test_textFirst(self) -> None:
        """A text that only looks like one, right after the header."""
        for size in (0, 5, 1_000):
            _, found = split(HEADER + f"xmlns:='{_LONG}<iq/>".encode(), size)
            self.assertIsInstance(found, Stanza)

    def test_words(self) -> None:
        """The search takes no longer if much text begins in the same way."""
        for text in (
            "xmlns",
            "xmlns:",
            "xmlns:a",
            "xmlns:a=",
            "xmlns:a=&apos;",
            "xmlns:a='",
            "xmlns:a='xmlns:b=\"",
            "xmlns:a ",
        ):
            raw = f"<iq id='n'><q>{text * (250_000 // len(text))}</q></iq>"
            self.assertEqual(self.outcome(raw, 64 * 1024), ["1", "n", "2"], text)
            with self.quickly(text), contextlib.suppress(TooLarge):
                checkCost(raw.encode())

    def test_most(self) -> None:
        """The maximum number of attributes, with the longest namespace that is accepted."""
        uses = "".join(f" p:a{number}=''" for number in range(20_000))
        self.limit = 0.2
        found = self.outcome(f"<iq id='n'><q xmlns:p='{'u' * 1_000}'{uses}/></iq>", 64 * 1024)
        self.assertEqual(found, ["1", "n", "2"])
