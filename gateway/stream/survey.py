"""
The software of a link's server, and whether it loses the component's requests.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from wokkel.subprotocols import XMPPHandler
from zope.interface import implementer

from gateway import ns
from gateway.log.printable import printable
from gateway.reports import StatusItem
from gateway.requirements import ejabberd
from gateway.stream.interfaces import IStatusProvider
from gateway.stream.requests import pingOf

# Seconds from the connection until the server is asked: ejabberd has granted by then what it grants.
_ASK_AFTER = 1.0
# Seconds that the answer may come later than that of the ping, which was sent after it.
_TIMEOUT = 3.0
# Characters of the software's name and version that are shown.
_SHOWN = 60

# For --check, which does not connect: on ejabberd a second connection would take stanzas from the first.
NOTE = """server: an ejabberd of 24.10 or newer with mod_privilege drops requests of components without an error.
    The log and /status of a running gateway say within five seconds whether this server does, and what to grant:
    docs/privilege.md"""


@implementer(IStatusProvider)
class Survey(XMPPHandler):
    """
    Asks the server for its software (XEP-0092) after each connection, and pings it at an address with a resource.

    ejabberd 24.10 and newer, with mod_privilege, drops iqs of a component to addresses without a resource, unless
    it grants the component something. So if only the ping is answered, the component's requests are lost.

    @param domain: the server's own host.
    @param jid: the component's.

    @ivar software: name and version of the server, in its own words; empty if it does not say.
    @ivar isLossy: whether the server drops the component's requests.
    """

    _log = Logger()

    def __init__(self, domain: str, jid: str, clock: IReactorTime) -> None:
        super().__init__()
        self._domain = domain
        self._jid = jid
        self._clock = clock
        self._round = 0
        self._asking: IDelayedCall | None = None
        self._observers: list[Callable[[], object]] = []
        self.software = ""
        self.isLossy = False

    @property
    def isEjabberd(self) -> bool:
        """True if the server says so, or behaves as no other does."""
        return self.isLossy or self.software.lower().startswith("ejabberd")

    def watch(self, observer: Callable[[], object]) -> None:
        """Register a function that is called after each change of the results."""
        self._observers.append(observer)

    def connectionInitialized(self) -> None:
        self._round += 1
        self._asking = self._clock.callLater(_ASK_AFTER, self._ask, self._round)

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._round += 1
        if self._asking is not None and self._asking.active():
            self._asking.cancel()

    def report(self) -> Iterator[StatusItem]:
        if self.software:
            about = {"server": self._domain, "software": self.software}
            yield StatusItem("server.software", "{server} is {software}", about)
        if self.isLossy and not self._isInConflict:
            yield self._loss()

    @property
    def _isInConflict(self) -> bool:
        """True if another gateway is connected as this component, or may be: it gets a part of the answers."""
        link: Any = self.parent
        return link is not None and bool(link.conflict or link.shared)

    def _ask(self, turn: int) -> None:
        link: Any = self.parent
        if turn != self._round or link is None:
            return
        version = domish.Element((None, "iq"), attribs={"type": "get", "to": self._domain})
        version.addElement((ns.VERSION, "query"))
        told: Deferred[Any] = link.request(version)
        told.addCallbacks(self._told, self._refused, callbackArgs=(turn,), errbackArgs=(turn,))
        pinged: Deferred[Any] = link.request(pingOf(self._domain))
        pinged.addBoth(self._pinged, turn, told)

    def _told(self, answer: domish.Element, turn: int) -> None:
        about = [
            str(each)
            for query in answer.elements(ns.VERSION, "query")
            for name in ("name", "version")
            for each in query.elements(ns.VERSION, name)
        ]
        self._found(turn, printable(" ".join(about))[:_SHOWN].strip(), False)

    def _refused(self, failure: Failure, turn: int) -> None:
        """An error is an answer, too: the request has arrived."""
        if _isAnswer(failure.value):
            self._found(turn, "", False)

    def _pinged(self, outcome: object, turn: int, told: Deferred[Any]) -> None:
        isAnswered = not isinstance(outcome, Failure) or _isAnswer(outcome.value)
        if isAnswered and not told.called:
            self._clock.callLater(_TIMEOUT, self._judge, turn, told)

    def _judge(self, turn: int, told: Deferred[Any]) -> None:
        if not told.called:
            # Nobody has to wait for it when the link stops.
            told.cancel()
            # After a conflict, the link connects anew, and the server is asked again.
            if not self._isInConflict:
                self._found(turn, "", True)

    def _found(self, turn: int, software: str, isLossy: bool) -> None:
        if turn != self._round:
            return
        if isLossy and not self.isLossy:
            self._log.warn(
                "{component}: {loss}",
                event="link.server_drops_requests",
                component=self._jid,
                loss=str(self._loss()),
            )
        self.software, self.isLossy = software, isLossy
        link: Any = self.parent
        link.software = software or ("ejabberd" if isLossy else "")
        for observer in self._observers:
            observer()

    def _loss(self) -> StatusItem:
        return StatusItem(
            "server.drops_requests",
            """{server} drops requests of this component, as ejabberd 24.10 and newer with mod_privilege:
    to users and to {server} itself, until the modules have this entry, which grants nothing:
        {advice}
    to rooms, other components and other servers, whatever it grants. See docs/privilege.md.""",
            {"server": self._domain, "component": self._jid, "advice": ejabberd.PASSING},
            isProblem=True,
        )


def _isAnswer(error: BaseException | None) -> bool:
    """True if a request has failed by an error of the server: errors of the link itself have no stanza."""
    return isinstance(error, StanzaError) and getattr(error, "stanza", None) is not None
