"""Stanza errors, written and read."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.errors import ERRORS, BadRequest
from gateway.xml.context import CLIENT
from gateway.xml.cut import MAX_CHILDREN
from gateway.xml.errors import errorElement, errorParts, errorStanza, errorXml, readError
from gateway.xml.read import parse
from gateway.xml.write import route


class ErrorTests(SynchronousTestCase):
    """Errors keep their meaning."""

    def test_table(self) -> None:
        """Each error of the table is read as it was written."""
        for error, answer in ERRORS.items():
            stanza = parse(CLIENT.header, errorStanza("iq", route("a", "b"), "1", error))
            found, expected = readError(stanza), (answer.kind, answer.condition, answer.text)
            self.assertEqual((found.type, found.condition, found.text or ""), expected)
            self.assertEqual(errorParts(parse(CLIENT.header, errorElement(error))), expected)

    def test_bytes(self) -> None:
        """The condition comes first; the text is escaped, and left out if there is none."""
        condition = f"<gone xmlns='{ns.STANZA_ERRORS}'/>"
        self.assertEqual(errorXml("cancel", "gone"), f"<error type='cancel'>{condition}</error>")
        text = f"<text xmlns='{ns.STANZA_ERRORS}'>&lt;</text>"
        self.assertEqual(errorXml("cancel", "gone", "<"), f"<error type='cancel'>{condition}{text}</error>")

    def test_lenient(self) -> None:
        """Unknown types and missing conditions have a meaning; very many children have none."""
        self.assertEqual(errorParts(parse(CLIENT.header, b"<error/>")), ("cancel", "undefined-condition", ""))
        other = b"<error type='bad'><gone xmlns='urn:x'/></error>"
        self.assertEqual(errorParts(parse(CLIENT.header, other)), ("cancel", "undefined-condition", ""))
        many = parse(CLIENT.header, b"<error>" + b"<a/>" * (MAX_CHILDREN + 1) + b"</error>")
        self.assertRaises(BadRequest, errorParts, many)
