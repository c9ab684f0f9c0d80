"""A managing entity on a link in memory, and an embedded host with its components and clients in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from xml.etree import ElementTree

from attrs import define, field
from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from twisted.words.xish import domish
from wokkel.disco import DiscoHandler
from zope.interface import implementer

from gateway import ns
from gateway.delegation.client_mode import ClientMode
from gateway.delegation.delegations import Delegation
from gateway.delegation.forwarder import Forwarder
from gateway.delegation.handler import ManagingHandler
from gateway.delegation.managing import Route
from gateway.embedded.client import ClientConnection
from gateway.embedded.component import ComponentConnection
from gateway.embedded.handler import Services
from gateway.embedded.peer import CLIENTS
from gateway.errors import ERRORS, GatewayError
from gateway.interfaces import IDelegatedNamespace, IDelegatedRequest
from gateway.stream.component import handshake
from gateway.testing import MemoryServer, MemoryTransport
from gateway.xml.read import parse
from tests.stream.memory import Tree, children, tree

HOST = "capulet.lit"
COMPONENT = "pubsub.capulet.lit"
JULIET = "juliet@capulet.lit/balcony"
MOOD = "http://jabber.org/protocol/mood"
PUBSUB = "http://jabber.org/protocol/pubsub"

# Seconds; the gateway's own values.
TIMEOUT = 25.0
GRANT_TIMEOUT = 3.0


def meaning(xml: str, namespace: str = ns.CLIENT) -> list[Tree]:
    """Return stanzas as trees that do not depend on the stream's namespace, without white space for layout."""
    root = ElementTree.fromstring(f"<stream xmlns='{namespace}'>{xml}</stream>")
    return [_squeezed(tree(element), namespace) for element in root]


def _squeezed(found: Tree, namespace: str) -> Tree:
    """
    Replace the stream's namespace by C{jabber:client}, and drop white space.

    @param namespace: the stream's namespace. It applies to the stanza and to its children; below a child with
        another namespace nothing is replaced.
    """
    name, attributes, parts = found
    prefix = f"{{{namespace}}}"
    own = bool(namespace) and name.startswith(prefix)
    if own:
        name = f"{{{ns.CLIENT}}}{name.removeprefix(prefix)}"
    kept = [
        part.strip() if isinstance(part, str) else _squeezed(part, namespace if own else "")
        for part in parts
        if not isinstance(part, str) or part.strip()
    ]
    return name, attributes, kept


def element(xml: str) -> domish.Element:
    """Return an element, as a handler would make it."""
    return parse(f"<s:s xmlns:s='{ns.STREAMS}'>".encode(), xml.encode())


def wrapper(
    inner: str, identifier: str = "d1", version: str = ns.DELEGATION_2, server: str = HOST, to: str = COMPONENT
) -> str:
    """Return a forwarded iq, as servers write it."""
    return (
        f"<iq from='{server}' to='{to}' id='{identifier}' type='set'><delegation xmlns='{version}'>"
        f"<forwarded xmlns='{ns.FORWARD}'>{inner}</forwarded></delegation></iq>"
    )


def request(
    payload: str, kind: str = "get", requester: str = JULIET, identifier: str = "1", to: str | None = None
) -> str:
    """Return an iq for a wrapper."""
    written = "" if to is None else f" to='{to}'"
    return f"<iq xmlns='{ns.CLIENT}' from='{requester}'{written} id='{identifier}' type='{kind}'>{payload}</iq>"


def answer(
    inner: str, identifier: str = "d1", version: str = ns.DELEGATION_2, sender: str = COMPONENT, to: str = HOST
) -> str:
    """Return a wrapped answer."""
    return (
        f"<iq from='{sender}' to='{to}' id='{identifier}' type='result'><delegation xmlns='{version}'>"
        f"<forwarded xmlns='{ns.FORWARD}'>{inner}</forwarded></delegation></iq>"
    )


def reply(
    content: str = "",
    kind: str = "result",
    to: str = JULIET,
    identifier: str = "1",
    sender: str | None = "juliet@capulet.lit",
) -> str:
    """Return the iq for a wrapped answer."""
    written = "" if sender is None else f" from='{sender}'"
    return f"<iq xmlns='{ns.CLIENT}'{written} to='{to}' id='{identifier}' type='{kind}'>{content}</iq>"


def errorXml(error: type[GatewayError]) -> str:
    """Return the stanza error of a domain error."""
    said = ERRORS[error]
    text = f"<text xmlns='{ns.STANZA_ERRORS}'>{said.text}</text>" if said.text else ""
    return f"<error type='{said.kind}'><{said.condition} xmlns='{ns.STANZA_ERRORS}'/>{text}</error>"


@implementer(IDelegatedNamespace)
@define
class FakeNamespace:
    """A namespace that answers with a given function, and keeps its requests."""

    respond: Callable[[IDelegatedRequest], Any]
    namespaces: frozenset[str] = frozenset({PUBSUB})
    features: tuple[str, ...] = ()
    identities: tuple[tuple[str, str, str], ...] = ()
    bareFeatures: tuple[str, ...] = ()
    bareIdentities: tuple[tuple[str, str, str], ...] = ()
    asked: list[IDelegatedRequest] = field(factory=list)

    def answer(self, request: IDelegatedRequest) -> Any:
        self.asked.append(request)
        return self.respond(request)


class Case(SynchronousTestCase):
    """
    A managing entity with a connected link; its output is compared whole.

    @ivar logged: log lines of the gateway.
    """

    def setUp(self) -> None:
        self.logged: list[str] = []
        observer: Any = self._observe
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _observe(self, event: Any) -> None:
        if str(event.get("log_namespace", "")).startswith("gateway."):
            self.logged.append(formatEvent(event))

    def make(
        self,
        routes: dict[str, Route],
        servers: Iterable[str] = (HOST,),
        component: str = COMPONENT,
        users: Iterable[str] = (),
    ) -> None:
        self.server = MemoryServer(component)
        delegations = [route.delegation for route in routes.values() if route.delegation is not None]
        self.forwarder = Forwarder(delegations, self.server.link)
        domains = frozenset(users)
        clientMode = ClientMode(domains, routes, self.server.link)
        self.handler = ManagingHandler(frozenset(servers), routes, self.forwarder, clientMode, domains)
        self.handler.setHandlerParent(self.server.link)
        DiscoHandler().setHandlerParent(self.server.link)
        self.addCleanup(self.server.stop)
        self.server.start()

    def serve(self, respond: Callable[[IDelegatedRequest], Any], **more: Any) -> FakeNamespace:
        """Serve namespaces with one handler."""
        namespace = FakeNamespace(respond, **more)
        self.make({each: Route(namespace, None) for each in namespace.namespaces})
        return namespace

    def hand(self, *delegations: Delegation) -> None:
        """Forward namespaces to other managing entities."""
        self.make({each.namespace: Route(None, each) for each in delegations})

    def taken(self) -> list[Tree]:
        """Return the stanzas that were written since the last call."""
        return [_squeezed(each, ns.COMPONENT_ACCEPT) for each in takenFrom(self.server)]

    def assertSent(self, *expected: str) -> None:
        """Exactly these stanzas were written since the last call."""
        found = self.taken()
        self.assertEqual(found, [each for xml in expected for each in meaning(xml)])

    def assertQuiet(self) -> None:
        """No error was logged."""
        self.assertEqual(self.flushLoggedErrors(), [])


def takenFrom(server: MemoryServer) -> list[Tree]:
    """
    Return the stanzas that a link has written since the last call, read by another parser, without the stream's
    end.
    """
    return [tree(each) for each in server.received()]


class End:
    """
    A peer's end of a connection to an embedded host.

    @ivar id: the id of the last stanza that was taken.
    """

    def __init__(self, connection: Any, clock: Clock) -> None:
        self.connection = connection
        self.namespace: str = connection.namespace
        self.transport = MemoryTransport(clock)
        self.transport.protocol = connection
        connection.makeConnection(self.transport)
        self._seen = 0

    def say(self, xml: str) -> None:
        """Send."""
        self.transport.say(xml.encode())

    def taken(self) -> list[Tree]:
        """Return the stanzas that were received since the last call."""
        found = list(children(self.transport.value()))[self._seen :]
        self._seen += len(found)
        return [_squeezed(tree(each), self.namespace) for each in found]

    def gone(self) -> None:
        """Break the connection."""
        self.transport.lose(ConnectionError("gone"))


class Host:
    """
    An embedded host without listeners. Clients are authenticated from the start; components complete a handshake.
    """

    def __init__(self, delegations: Iterable[Delegation], *users: str) -> None:
        self.clock = Clock()
        self.secrets: dict[str, str] = {}
        self.services = Services(HOST, users or ("juliet", "romeo"), delegations, self.clock.seconds)

    def component(self, domain: str) -> End:
        """Connect a component."""
        self.secrets[domain] = "secret"
        end = End(ComponentConnection(self.services, self.secrets, self.clock), self.clock)
        end.say(f"<stream:stream xmlns='{ns.COMPONENT_ACCEPT}' xmlns:stream='{ns.STREAMS}' to='{domain}'>")
        end.say(f"<handshake>{handshake(end.connection._streamId, 'secret')}</handshake>")
        accepted = end.taken()[:1]
        assert accepted[0][0].endswith("handshake"), accepted
        end._seen = 1
        return end

    def client(self, jid: str, presence: bool = False) -> End:
        """Connect a client and bind its resource. Authentication is left out."""
        bare, _, resource = jid.partition("/")
        unused: Any = None
        end = End(ClientConnection(self.services, unused, unused, unused, self.clock), self.clock)
        end.connection._secure = True
        end.connection._account = self.services.router.accounts[bare]
        end.connection._restart(CLIENTS)
        end.say(f"<stream:stream xmlns='{ns.CLIENT}' xmlns:stream='{ns.STREAMS}' to='{HOST}' version='1.0'>")
        end.say(f"<iq type='set' id='b'><bind xmlns='{ns.BIND}'><resource>{resource}</resource></bind></iq>")
        if presence:
            end.say("<presence/>")
        end.taken()
        return end

    def wait(self, seconds: int) -> None:
        """Advance the clock; the host's timer runs once a second."""
        for _ in range(seconds):
            self.clock.advance(1.0)
            self.services.delegating.tick()
