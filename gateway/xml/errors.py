"""
Stanza errors (RFC 6120 section 8.3): read, and written from the table in L{gateway.errors}.
"""

from __future__ import annotations

from typing import Any

from twisted.words.protocols.jabber.error import StanzaError, exceptionFromStanza
from twisted.words.xish import domish

from gateway import ns
from gateway.errors import ERRORS, GatewayError
from gateway.xml.cut import children
from gateway.xml.write import tag, textTag, writeStanza

_TYPES = frozenset(("auth", "cancel", "continue", "modify", "wait"))


def readError(stanza: domish.Element) -> StanzaError:
    """
    Read the error of a stanza of type error. Without a readable error the condition is C{undefined-condition}.
    Condition and type are never C{None}, so that the error can be written again.
    """
    error: Any
    try:
        error = exceptionFromStanza(stanza)
    except Exception:
        # Twisted raises for unknown error codes.
        error = StanzaError(None)
    if not error.condition:
        error = StanzaError("undefined-condition", error.type, error.text)
        error.stanza = stanza
    # Twisted has no type for undefined-condition, nor for a condition that is not in RFC 6120.
    error.type = error.type or "cancel"
    found: StanzaError = error
    return found


def errorParts(element: domish.Element) -> tuple[str, str, str]:
    """
    Return type, condition and text of an element C{error}. Unknown types are C{cancel}, and an error without a
    condition is C{undefined-condition}.

    @raise BadRequest: if it has very many children.
    """
    condition, words = "undefined-condition", ""
    for child in children(element):
        if child.uri == ns.STANZA_ERRORS and child.name == "text":
            words = str(child)
        elif child.uri == ns.STANZA_ERRORS:
            condition = child.name
    kind = element.getAttribute("type", "")
    return kind if kind in _TYPES else "cancel", condition, words


def errorStanza(name: str, addresses: bytes, identifier: str | None, error: type[GatewayError]) -> bytes:
    """
    Return a stanza of type error.

    @param name: the kind of stanza.
    @param addresses: as L{route} returns them.
    """
    return writeStanza(name, addresses, errorElement(error), id=identifier, type="error")


def errorElement(error: type[GatewayError]) -> bytes:
    """Return the error element of a stanza, for a domain error."""
    answer = ERRORS[error]
    return errorXml(answer.kind, answer.condition, answer.text).encode()


def errorXml(kind: str, condition: str, words: str = "") -> str:
    """
    Return the error element of a stanza (RFC 6120 section 8.3.2), in the default namespace of the stream.

    @param kind: its type.
    @param words: its text; empty for none.
    """
    described = tag(condition, xmlns=ns.STANZA_ERRORS) + textTag("text", words, xmlns=ns.STANZA_ERRORS)
    return tag("error", described, type=kind)
