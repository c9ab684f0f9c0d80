"""
Outgoing iq requests: each is answered, or its deadline passes (RFC 6120 section 8.2.3).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from attrs import define
from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish

from gateway import ns
from gateway.errors import AlreadyOpen, TooManyPending
from gateway.stream.pending import PendingTable
from gateway.stream.stanzas import Stanza
from gateway.xml.errors import readError

Key = tuple[str, str]


@define(eq=False)
class _Request:
    deadline: float
    answer: Deferred[Any]
    read: Callable[[Stanza], Any]


def asElement(result: Stanza) -> domish.Element:
    """Return a result as a tree."""
    return result.element


class Requests:
    """
    The table of open requests, by the address that must answer and the id; bounded.
    """

    def __init__(self, bound: int = 1_000) -> None:
        self._open: PendingTable[Key, _Request] = PendingTable(bound)

    def __len__(self) -> int:
        return len(self._open)

    def add(
        self, recipient: str, identifier: str, deadline: float, read: Callable[[Stanza], Any] = asElement
    ) -> Deferred[Any]:
        """
        Expect an answer.

        @param recipient: the address that must answer, exactly as it was written.
        @param deadline: seconds on the clock that L{expire} is given.
        @param read: reads the result; it raises if that cannot be read.
        @return: fires with what was read; fails with a C{StanzaError}: the peer's own, or
            C{remote-server-timeout}, or C{resource-constraint} at once when too many are under way.
        """
        key = (recipient, identifier)
        answer: Deferred[Any] = Deferred(lambda _: self._forget(key))
        try:
            self._open.add(key, _Request(deadline, answer, read))
        except (AlreadyOpen, TooManyPending):
            answer.errback(StanzaError("resource-constraint"))
        return answer

    def answered(self, stanza: Stanza) -> bool:
        """
        Look at an iq of type result or error.

        @return: true if it answers one of these requests, which is then closed.
        """
        if not self._open:
            return False
        request = self._open.pop((stanza.sender or "", stanza.id or ""), None)
        if request is None:
            return False
        try:
            isError = stanza.type == "error"
            outcome = readError(stanza.element) if isError else request.read(stanza)
        except Exception:
            # The answer may be anything, for example too large a tree.
            outcome = StanzaError("undefined-condition", "cancel")
        # Fires with a failure if it is an exception.
        request.answer.callback(Failure(outcome) if isinstance(outcome, Exception) else outcome)
        return True

    def expire(self, now: float) -> None:
        """End the requests whose deadline has passed."""
        self._fail(self._open.expire(now), "remote-server-timeout")

    def fail(self, condition: str) -> None:
        """End all requests: the stream for the answers is gone."""
        self._fail(self._open.popAll(), condition)

    def _forget(self, key: Key) -> None:
        self._open.pop(key, None)

    def _fail(self, removed: list[tuple[Key, _Request]], condition: str) -> None:
        for _, request in removed:
            # The failure of another request may have cancelled this one.
            if not request.answer.called:
                request.answer.errback(StanzaError(condition))


def requestElement(request: Any) -> domish.Element:
    """
    Return the element of a C{wokkel.generic.Request}, or the element itself, with an id.

    @raise ValueError: if it is not a request.
    """
    element: domish.Element = request if isinstance(request, domish.Element) else request.toElement()
    if element.name != "iq" or element.getAttribute("type") not in ("get", "set"):
        raise ValueError("only an iq of type get or set is a request")
    if not element.getAttribute("id"):
        element.addUniqueId()
    return element


def pingOf(domain: str) -> domish.Element:
    """
    Return a ping (XEP-0199); every server answers it, some with an error.

    It goes to a resource: an ejabberd with mod_privilege may drop iqs of components to bare addresses.
    """
    ping = domish.Element((None, "iq"), attribs={"type": "get", "to": f"{domain}/ping"})
    ping.addElement((ns.PING, "ping"))
    return ping
