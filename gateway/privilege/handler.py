"""
The privileged entity on a link's raw lane: reads advertisements, and carries out requests within the permissions.
"""

from __future__ import annotations

import secrets
from collections import OrderedDict
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from twisted.internet.defer import Deferred, inlineCallbacks
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.words.protocols.jabber.error import StanzaError
from twisted.words.xish import domish
from zope.interface import implementer

from gateway import ns
from gateway.addresses import jids
from gateway.errors import NotGranted
from gateway.interfaces import IPrivileges, IStatusProvider, RosterItem
from gateway.metrics import IMetrics, IMetricsProvider, names
from gateway.privilege import stanzas
from gateway.privilege.core import Permissions, PrivilegedIq
from gateway.reports import StatusItem
from gateway.requirements.servers import kindOf
from gateway.stream.grants import GrantWatch
from gateway.stream.latest import keepLatest
from gateway.stream.raw import RawHandler
from gateway.stream.stanzas import Stanza
from gateway.xml.errors import readError
from gateway.xml.write import route

# The remedy for missing grants; by the kind of the server, if it is known.
_SEE = "see docs/privilege.md for the lines that the server's configuration needs"
_ADVICE = {
    "openfire": "Openfire grants none to components, so this service needs Prosody or ejabberd",
    "embedded": "see [embedded.privileges] in docs/embedded.md",
}

# Roster pushes to clients whose answers are awaited.
_MAX_PUSHES = 1_000


@implementer(IMetricsProvider, IPrivileges, IStatusProvider)
class PrivilegeHandler(RawHandler):
    """
    The privileges of a component.

    @param servers: domains of the servers whose advertisements count.
    """

    # The link's own table bounds the requests, and ends them in time.
    _log = Logger()

    def __init__(self, servers: Iterable[str]) -> None:
        super().__init__()
        self._servers = frozenset(servers)
        self._granted: dict[str, Permissions] = {}
        self._used: set[str] = set()
        self._presenceObservers: list[Callable[[Stanza], object]] = []
        self._rosterObservers: list[Callable[[str, list[RosterItem]], object]] = []
        self._grantObservers: list[Callable[[], object]] = []
        self._grantWatch = GrantWatch(self._missing, self._logMissing)
        self._pushes = 0
        # Prosody drops a push whose id was used in the last two minutes, possibly by an earlier process.
        self._pushId = f"roster-push-{secrets.token_hex(4)}-"
        self._unanswered: OrderedDict[str, tuple[str, Callable[[], object]]] = OrderedDict()

    # As a handler.

    def connectionInitialized(self) -> None:
        self._grantWatch.connected(self._link.now)

    def connectionLost(self, reason: Failure) -> None:
        super().connectionLost(reason)
        self._granted.clear()
        self._unanswered.clear()
        self._grantWatch.disconnected()

    def tick(self, now: float) -> None:
        self._grantWatch.tick(now)

    def _logMissing(self, missing: StatusItem) -> None:
        self._log.warn(
            "{component}: {missing}", event="privileges.missing", component=self._link.jid, missing=str(missing)
        )

    def _missing(self) -> Iterator[StatusItem]:
        """Return an item for each server whose grants an observer needs; requests fail with L{NotGranted}."""
        if self._presenceObservers or self._rosterObservers:
            for server in sorted(self._servers - self._granted.keys()):
                advice = _ADVICE.get(kindOf(self._link.software), _SEE)
                yield StatusItem(
                    "privileges.missing",
                    "{server} grants no privileges, so presence and rosters of its users are not visible: "
                    "{advice}.",
                    {"server": server, "advice": advice},
                    isProblem=True,
                )

    def measure(self, metrics: IMetrics) -> None:
        granted = metrics.gauge(*names.PRIVILEGES_GRANTED)
        granted.setFunction(lambda: {server: server in self._granted for server in self._concerned()})

    def _concerned(self) -> Iterable[str]:
        """Return the servers that grant privileges, or should do so: a handler may have no use for any."""
        if self._presenceObservers or self._rosterObservers or self._grantObservers:
            return self._servers
        return self._granted.keys() | self._used

    def report(self) -> Iterator[StatusItem]:
        for server, granted in sorted(self._granted.items()):
            about = {"server": server, "roster": granted.roster, "pushes": granted.pushes}
            about |= {"message": granted.message, "presence": granted.feed, "permissions": granted.inWords()}
            yield StatusItem("privileges.granted", "{permissions}", about)
        if self._link.ready and self._grantWatch.isOver:
            yield from self._missing()

    def stanzaReceived(self, stanza: Stanza) -> bool:
        sender = stanza.sender or ""
        if stanza.recipient not in (None, "", self._link.jid):
            return False
        if stanza.name == "message":
            return sender in self._servers and b"privilege" in stanza.raw and self._messageReceived(sender, stanza)
        if stanza.name == "presence":
            return self._presenceReceived(sender, stanza)
        if stanza.type == "set":
            return self._pushReceived(sender, stanza)
        return bool(self._unanswered) and self._onPushAnswer(stanza)

    def _messageReceived(self, server: str, stanza: Stanza) -> bool:
        element = stanza.element
        if stanza.type == "error":
            return self._onMessageError(server, element)
        permissions = stanzas.readAdvertisement(server, element)
        if permissions is None:
            return False
        isNews = permissions != self._granted.get(server)
        self._granted[server] = permissions
        if isNews:
            self._log.info(
                "{component}: {grants}.",
                event="privileges.granted",
                component=self._link.jid,
                grants=permissions.inWords(),
            )
            for observer in self._grantObservers:
                self._notify(observer)
        return True

    def _onMessageError(self, server: str, element: domish.Element) -> bool:
        """Log an error from the server if it answers a message of L{sendAs}."""
        if not stanzas.hasPrivilegedId(element):
            return False
        self._log.warn(
            "{component}: {server} refused to send a message: {error}.",
            event="privileges.message_refused",
            component=self._link.jid,
            server=server,
            error=readError(element).condition,
        )
        return True

    def _presenceReceived(self, sender: str, stanza: Stanza) -> bool:
        if not self._presenceObservers or stanza.type not in (None, "unavailable"):
            return False
        own = self._granted.get(jids.split(sender)[1])
        # A contact may be on any server, so with a feed of contacts the sender's domain tells nothing.
        if (own is None or own.feed == "none") and all(each.feed != "roster" for each in self._granted.values()):
            return False
        for observer in self._presenceObservers:
            self._notify(observer, stanza)
        # Let other handlers see it: it may be the presence of a managing client.
        return False

    def _pushReceived(self, user: str, stanza: Stanza) -> bool:
        """
        Take a roster push.

        > the server MUST send roster pushes when there is a newly created, updated or deleted roster item for
        > roster of any managed entity  (section 4.4)
        """
        local, server, resource = jids.split(user)
        permissions = self._granted.get(server)
        if permissions is None or not (permissions.pushes and local) or resource:
            return False
        items = stanzas.readRoster(stanza) if ns.ROSTER.encode() in stanza.raw else None
        if items is None or not stanza.id:
            return False
        self._link.sendRaw(stanzas.acknowledgement(route(self._link.jid, user), stanza.id))
        for observer in self._rosterObservers:
            self._notify(observer, user, items)
        return True

    def _onPushAnswer(self, stanza: Stanza) -> bool:
        """Take the answer to a push of L{pushRoster}, from the user's bare JID."""
        identifier = stanza.id or ""
        user, refused = self._unanswered.get(identifier, ("", None))
        if refused is None or stanza.sender != user:
            return False
        del self._unanswered[identifier]
        if stanza.type == "error":
            self._notify(refused)
        return True

    def _notify(self, observer: Callable[..., object], *news: object) -> None:
        try:
            observer(*news)
        except Exception:
            self._log.failure(
                "{component}: {observer} failed.",
                event="privileges.observer_failed",
                component=self._link.jid,
                observer=observer,
            )

    # As a port.

    def permissions(self, server: str) -> Permissions:
        if server not in self._servers:
            raise NotGranted(f"{server} is not one of the configured servers")
        return self._granted.get(server) or Permissions(server)

    @inlineCallbacks
    def getRoster(self, user: str) -> Generator[Deferred[Any], Any, list[RosterItem]]:
        user, permissions = self.managed(user)
        permissions.checkRoster(user, "get")
        items: list[RosterItem] | None = yield self._link.ask(stanzas.rosterRequest(user), stanzas.readRoster)
        if items is None:
            # It must not pass for an empty roster: contacts would be removed, or all added again.
            raise StanzaError("undefined-condition", "cancel", "The answer has no roster.")
        return items

    @inlineCallbacks
    def setRoster(self, user: str, items: Iterable[RosterItem]) -> Generator[Deferred[Any], Any, None]:
        user, permissions = self.managed(user)
        permissions.checkRoster(user, "set")
        for item in items:
            # One at a time (RFC 6121 section 2.1.5): Prosody accepts several, and answers each with the same id.
            yield self._link.ask(stanzas.rosterRequest(user, item), lambda result: None)

    def sendAs(self, message: domish.Element) -> None:
        sender, permissions = self.managed(message.getAttribute("from", ""))
        permissions.checkMessage(sender)
        inner = stanzas.moved(message)
        inner["from"] = sender
        self._link.send(stanzas.wrapMessage(permissions.version, permissions.server, inner))

    @inlineCallbacks
    def requestAs(self, user: str, iq: domish.Element) -> Generator[Deferred[Any], Any, domish.Element]:
        user, permissions = self.managed(user)
        inner = stanzas.moved(iq)
        if not inner.getAttribute("id"):
            inner.addUniqueId()
        permissions.checkIq(stanzas.describeIq(user, inner.getAttribute("type", ""), inner))
        try:
            answer = yield self._link.request(stanzas.wrapIq(permissions.version, user, inner))
        except StanzaError as error:
            # An error without a stanza is the link's own.
            answer = getattr(error, "stanza", None)
            if answer is None or not stanzas.holdsAnswer(answer):
                raise
        return stanzas.unwrapAnswer(answer, user, inner)

    def pushRoster(self, user: str, resource: str, item: RosterItem, refused: Callable[[], object]) -> bool:
        user, permissions = self.managed(user)
        permissions.checkIq(PrivilegedIq(user, "set", ns.CLIENT, user, "set", ns.ROSTER))
        self._pushes += 1
        identifier = f"{self._pushId}{self._pushes}"
        # Nothing depends on the client's answer, so it has no deadline.
        keepLatest(self._unanswered, identifier, (user, refused), _MAX_PUSHES)
        return self._link.sendRaw(stanzas.push(self._link.jid, user, resource, item, identifier))

    def watchPresence(self, observer: Callable[[Stanza], object]) -> None:
        self._presenceObservers.append(observer)
        self._link.feeds.isUsed = True

    def watchRosters(self, observer: Callable[[str, list[RosterItem]], object]) -> None:
        self._rosterObservers.append(observer)

    def watchGrants(self, observer: Callable[[], object]) -> None:
        """Call an observer when the permissions of a server have changed."""
        self._grantObservers.append(observer)

    def managed(self, user: str) -> tuple[str, Permissions]:
        """
        Return a user's prepared JID, and the permissions on the user's server.

        @raise Malformed: if it is not a JID.
        @raise NotGranted: if the server is none of the configured ones.
        """
        user = jids.prepared(user)
        server = jids.split(user)[1]
        permissions = self.permissions(server)
        self._used.add(server)
        return user, permissions
