"""
Read-through of private storage: fetches the elements that users had stored with their server before it delegated
C{jabber:iq:private}.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Iterator
from typing import Any

from twisted.internet.defer import TimeoutError as Overdue
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from zope.interface import implementer

from gateway import ns
from gateway.addresses import jids
from gateway.delegation.advice import GUIDE, importAdvice
from gateway.delegation.private import Key
from gateway.errors import CannotAsk, NoAnswer, NotGranted
from gateway.interfaces import IDelegatedRequest, IPrivileges, IStatusProvider
from gateway.log.seldom import Seldom
from gateway.reports import StatusItem
from gateway.stream.grants import GrantWatch
from gateway.stream.raw import RawHandler

# Seconds for the server's answer, well under the 25 seconds of the client's own request.
_TIMEOUT = 8.0

# Errors that mean: the server cannot be asked, or has no such storage. After any other error it is unknown whether
# there is an element.
_REFUSALS = frozenset({"service-unavailable", "feature-not-implemented", "forbidden", "not-allowed"})

_REFUSED = "the element is treated as missing; Prosody needs its module private for this"
_FAILED = "the user got an error and may try again"



@implementer(IStatusProvider)
class ReadThrough(RawHandler):
    """
    Asks servers by privileged iq (XEP-0356 section 6), in the user's name.

    @param servers: domains of the servers that delegate.
    @param reactor: its clock.
    """

    _log = Logger()

    def __init__(self, privileges: IPrivileges, servers: Iterable[str], reactor: IReactorTime) -> None:
        super().__init__()
        self._privileges = privileges
        self._servers = frozenset(servers)
        self._reactor = reactor
        # Users by the ids of open requests.
        self._asked: dict[str, str] = {}
        # Servers that delegate these requests to this component.
        self._returning: set[str] = set()
        self._grantWatch = GrantWatch(self._missing, self._logMissing)
        self._failures = Seldom()

    async def ask(self, user: str, key: Key) -> domish.Element | None:
        """
        See L{gateway.delegation.private.Source.ask}.
        """
        server = jids.split(user)[1]
        if server in self._returning:
            raise CannotAsk
        request = _request(user, key)
        self._asked[request["id"]] = user
        try:
            answer = await self._privileges.requestAs(user, request).addTimeout(_TIMEOUT, self._reactor)
        except NotGranted as error:
            raise CannotAsk from error
        except (StanzaError, Overdue) as error:
            condition = error.condition if isinstance(error, StanzaError) else "remote-server-timeout"
            if server in self._returning:
                raise CannotAsk from error
            refuses = condition in _REFUSALS
            self._failed(server, condition, _REFUSED if refuses else _FAILED)
            raise CannotAsk if refuses else NoAnswer from error
        finally:
            del self._asked[request["id"]]
        return _content(answer, key)

    def isOwn(self, request: IDelegatedRequest) -> bool:
        """
        See L{gateway.delegation.private.Source.isOwn}.
        """
        # Requests of clients come from a resource.
        isOwn = self._asked.get(request.id) == request.requester
        if isOwn:
            server = jids.split(request.requester)[1]
            if server not in self._returning:
                self._returning.add(server)
                self._logMissing(self._loop(server))
        return isOwn

    def _failed(self, server: str, condition: str, outcome: str) -> None:
        if (more := self._failures.more(self._link.now)) is not None:
            self._log.warn(
                "{component}: {server} answered a request for stored data of a user with {condition}: "
                "{outcome}{more}.",
                event="delegation.stored_data_unavailable",
                component=self._link.jid,
                server=server,
                condition=condition,
                outcome=outcome,
                more=more,
            )

    # As a handler of the link.

    def connectionInitialized(self) -> None:
        self._grantWatch.connected(self._link.now)
        # The server may have been reconfigured or replaced.
        self._returning.clear()

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._grantWatch.disconnected()

    def tick(self, now: float) -> None:
        self._grantWatch.tick(now)

    def report(self) -> Iterator[StatusItem]:
        if self._link.ready and self._grantWatch.isOver:
            yield from self._missing()
        yield from map(self._loop, sorted(self._returning))

    def _logMissing(self, missing: StatusItem) -> None:
        self._log.warn(
            "{component}: {missing}",
            event="delegation.stored_data_not_granted",
            component=self._link.jid,
            missing=str(missing),
        )

    def _missing(self) -> Iterator[StatusItem]:
        component = self._link.jid
        for server in sorted(self._servers):
            if self._privileges.permissions(server).iq.get(ns.PRIVATE) not in ("get", "both"):
                advice = importAdvice(component, server, self._link.software)
                yield StatusItem(
                    "import.not_granted",
                    """{server} does not grant requests for {namespace} in its users' names, so \
"import = true" has no effect, and the data that they have stored there stays hidden. {advice}""",
                    {"server": server, "namespace": ns.PRIVATE, "component": component, "advice": advice},
                    isProblem=True,
                )

    def _loop(self, server: str) -> StatusItem:
        return StatusItem(
            "import.loop",
            '{server} delegates the gateway\'s own requests for {namespace}, too, so "import = true" has no '
            "effect, and the data that its users have stored there stays hidden: see {guide}.",
            {"server": server, "namespace": ns.PRIVATE, "guide": GUIDE},
            isProblem=True,
        )


def _request(user: str, key: Key) -> domish.Element:
    """Return the request for one element, from a user to the user's own account."""
    iq: Any = domish.Element((None, "iq"), attribs={"type": "get", "to": user})
    iq.addUniqueId()
    query = iq.addElement((ns.PRIVATE, "query"))
    query.addElement(key)
    # Prosody's mod_delegation ignores an iq with anything but the payload, so Prosody itself answers. Another
    # server delegates the request to this component, and it is recognised when it comes back.
    iq.addContent(" ")
    return typing.cast(domish.Element, iq)


def _content(answer: domish.Element, key: Key) -> domish.Element | None:
    """
    Return the element in an answer; C{None} for an empty one, which means that nothing is stored (XEP-0049 section
    2).
    """
    for query in answer.elements(ns.PRIVATE, "query"):
        for element in query.elements(*key):
            if element.children or element.attributes:
                return typing.cast(domish.Element, element)
    return None
