"""
Usual mistakes that show at run time, each with the log, the status and the answer that somebody gets: the source of
the second part of docs/mistakes.md. The whole gateway runs in memory.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

from attrs import frozen
from OpenSSL.SSL import Error as TlsError
from service_identity import VerificationError
from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure

from gateway import ns
from gateway.errors import ERRORS, GatewayError, StartFailed, StoreBroken, StoreFull
from gateway.http.listener import Listener
from gateway.state.faults import domainError
from gateway.testing import ComponentSide, MemoryGateway, MemoryTransport, Response
from gateway.testing.wire import HEADER

# The folder of the configuration in the texts.
FOLDER = "/etc/gateway"

PROXY = '[proxy."proxy.example.com"]\ntarget = "bot@example.com"\n'
PRIVATE = """[delegation."delegate.example.com"]
servers = ["example.com"]
namespaces."urn:example:notes".jid = "notes.example.com"
"""
ROSTER = """[roster."roster.example.com"]
domain = "example.com"
url = "http://127.0.0.1:8000/contacts/%s"
"""
TYPO = '[server]\nendpoint = "tcp:xmpp.exmaple.com:5347"\nsecret = "secret"\n'
TOKEN = '[http]\ntoken_file = "http.token"\n'
ROOMS = '[rooms."rooms.example.com"]\n'
MIRROR = '[mirror."mirror.example.com"]\nallow = ["rooms.example.net"]\nusers = ["example.com"]\n'

_MUC = f"<x xmlns='{ns.MUC}'/>"
_PRIVILEGES = (
    "<message from='example.com' to='roster.example.com'><privilege xmlns='urn:xmpp:privilege:2'>"
    "<perm access='roster' type='both'/></privilege></message>"
)
_SUBSCRIBED = "<presence type='subscribed' from='bot@example.com' to='proxy.example.com'/>"
_ONLINE = "<presence from='bot@example.com/b' to='proxy.example.com'/>"
_STREAMS = "urn:ietf:params:xml:ns:xmpp-streams"
_LARGE = 5 * 1024 * 1024


class Scene:
    """
    A gateway with the lines that it logs.

    @ivar gateway: its components are not connected yet.
    @ivar answer: the text that a user or a program gets.
    """

    def __init__(self, folder: Path, tables: str) -> None:
        self.gateway = MemoryGateway(folder, tables)
        self.answer = ""

    def attempt(self) -> tuple[Any, Any]:
        """Return factory and connector of the first attempt to connect, which is not accepted."""
        reactor = self.gateway.reactor
        # The later attempts are accepted.
        self.gateway._answered = len(reactor.tcpClients)
        return reactor.tcpClients[0][2], reactor.connectors[0]

    def server(self, component: str, first: str = "") -> ComponentSide:
        """
        Return the server of a component, some seconds after the connection.

        @param first: stanzas that it sends at once.
        """
        server = self.gateway.server(component)
        server.send(first)
        self.gateway.wait(12)
        server.received()
        return server

    def receive(self, elements: Iterable[Element]) -> None:
        """Show the error among stanzas for a user."""
        for each in elements:
            for fault in each.findall(f"{{{ns.COMPONENT_ACCEPT}}}error"):
                condition, *texts = [child.tag.partition("}")[2] + (child.text or "") for child in fault]
                self.answer = ": ".join([condition, *(text.removeprefix("text") for text in texts)])

    def respond(self, response: Response) -> None:
        """Show the answer to an HTTP request."""
        self.answer = f"{response.status} {response.text.strip()}"


Play = Callable[[Scene], None]


@frozen
class Trouble:
    """
    One mistake.

    @ivar group: heading above it.
    @ivar tables: the configuration.
    @ivar play: makes it happen.
    """

    group: str
    title: str
    tables: str
    play: Play


@frozen
class Seen:
    """
    Everything that people see of a mistake.

    @ivar log: lines of level warn and above.
    @ivar status: problems on /status.
    @ivar answer: the text for a user or a program; empty if nobody gets one.
    """

    log: tuple[str, ...]
    status: tuple[str, ...]
    answer: str


def seen(trouble: Trouble, folder: Path) -> Seen:
    """Return what is seen of a mistake."""
    with capturedLogs() as logged:
        scene = Scene(folder, trouble.tables)
        trouble.play(scene)
        gateway = scene.gateway
        gateway.reactor.advance(0)
        response = gateway.request("GET", "/status", Accept="application/json")
        document = response.body if response.status == 200 else {"links": [], "files": []}
        gateway.stop()
    status = [
        text
        for link in document["links"]
        for text in (
            *([link["state"]] if link["problem"] else []),
            *(item["text"] for item in link["items"] if item["problem"]),
        )
    ]
    status += [item["text"] for item in document["files"] if item["problem"]]
    log = [
        formatEvent(each)
        for each in logged
        if each["log_level"] >= LogLevel.warn
        and each["log_namespace"].startswith("gateway.")
        # The folder of a test is open to others.
        and "every user of this machine" not in formatEvent(each)
    ]
    shown = partial(_plain, str(folder.absolute()))
    return Seen(tuple(map(shown, log)), tuple(map(shown, status)), shown(scene.answer))


def _plain(folder: str, text: str) -> str:
    """Return a text without the folder of the test and without what is random."""
    return (
        re.sub(r"next try in [\d.]+ s", "next try in 1.0 s", text)
        .replace(folder, FOLDER)
        .replace(f"uid {os.getuid()}", "uid 990")
    )


# Connections.


def _fails(reason: BaseException, scene: Scene) -> None:
    factory, connector = scene.attempt()
    factory.clientConnectionFailed(connector, Failure(reason))


def _hears(data: bytes, scene: Scene) -> None:
    factory, _ = scene.attempt()
    transport = MemoryTransport(scene.gateway.reactor)
    transport.connect(factory.buildProtocol(IPv4Address("TCP", "127.0.0.1", 5347)))
    transport.say(data)
    scene.gateway.reactor.advance(0)
    scene.gateway.reactor.advance(0)


def _streamError(condition: str) -> Play:
    fault = f"<stream:error><{condition} xmlns='{_STREAMS}'/></stream:error></stream:stream>"
    return partial(_hears, (HEADER + fault).encode())


def _restart(scene: Scene) -> None:
    scene.server("proxy.example.com", _SUBSCRIBED + _ONLINE).transport.lose(error.ConnectionDone())
    scene.gateway.reactor.advance(0)


# Services.


def _delegation(scene: Scene) -> None:
    scene.server("delegate.example.com")


def _unseen(scene: Scene) -> None:
    server = scene.server("proxy.example.com")
    ask = "<iq type='get' id='1' from='ann@example.com/a' to='proxy.example.com'><query xmlns='urn:x'/></iq>"
    scene.receive(server.ask(ask))


def _large(scene: Scene) -> None:
    server = scene.server("proxy.example.com", _SUBSCRIBED + _ONLINE)
    payload = f"<query xmlns='urn:x'>{'x' * _LARGE}</query>"
    scene.receive(
        server.ask(f"<iq type='set' id='1' from='ann@example.com/a' to='proxy.example.com'>{payload}</iq>")
    )


def _nobody(scene: Scene) -> None:
    server = scene.server("proxy.example.com", _SUBSCRIBED)
    ask = "<iq type='get' id='1' from='ann@example.com/a' to='proxy.example.com'><query xmlns='urn:x'/></iq>"
    scene.receive(server.ask(ask))


def _refresh(scene: Scene, reply: Callable[[Any], object] | None, isGranted: bool = True) -> None:
    gateway = scene.gateway
    scene.server("roster.example.com", _PRIVILEGES if isGranted else "")
    response = gateway.request("POST", "/roster_admin/refresh", b'["ann"]')
    for _ in range(40):
        for call in gateway.calls():
            if reply is not None:
                reply(call)
        gateway.wait(1)
    scene.respond(response)


def _application(status: int) -> Play:
    return partial(_refresh, reply=lambda call: call.reply({}, status))


def _html(call: Any) -> None:
    page = b"<!DOCTYPE html><html><body>Log in</body></html>"
    call.transport.say(b"HTTP/1.1 200 x\r\nContent-Length: %d\r\n\r\n%b" % (len(page), page))


def _applicationDown(scene: Scene) -> None:
    scene.server("roster.example.com", _PRIVILEGES)
    scene.gateway.refuses = True
    response = scene.gateway.request("POST", "/roster_admin/refresh", b'["ann"]')
    scene.gateway.wait(20)
    scene.respond(response)


def _connected(scene: Scene, component: str, play: Play) -> None:
    scene.server(component, _SUBSCRIBED + _ONLINE if component.startswith("proxy.") else _PRIVILEGES)
    play(scene)


def _full(scene: Scene) -> None:
    _broken(scene, OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), StoreFull)


def _readOnly(scene: Scene) -> None:
    _broken(scene, OSError(errno.EROFS, os.strerror(errno.EROFS)), StoreBroken)


def _broken(scene: Scene, reason: OSError, answer: type[GatewayError]) -> None:
    """Let a file fail, as after a request; tests.state has real disks, and real answers."""
    scene.server("proxy.example.com", _SUBSCRIBED + _ONLINE)
    [file] = scene.gateway.service.databases
    file._failed(str(domainError(reason)))
    scene.answer = f"{ERRORS[answer].condition}: {ERRORS[answer].text}"


def _inUse(scene: Scene) -> None:
    """Start a second listener where the port is in use."""
    listener = Listener("http.listen", "tcp:5290:interface=127.0.0.1", Factory(), _Crowded())
    try:
        listener.startService()
    except StartFailed as failed:
        scene.answer = str(failed)


class _Crowded(MemoryReactorClock):
    """A machine whose ports are all in use."""

    def listenTCP(self, *arguments: Any, **others: Any) -> Any:
        raise error.CannotListenError("127.0.0.1", 5290, OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)))


def _http(scene: Scene, method: str, path: str, body: bytes = b"", **headers: str) -> None:
    scene.respond(scene.gateway.request(method, path, body, **headers))


def _mirrored(scene: Scene, condition: str = "") -> None:
    server = scene.server("mirror.example.com")
    room, mirror = "lobby@rooms.example.net/ann", r"lobby\40rooms.example.net@mirror.example.com/ann"
    server.send(f"<presence from='ann@example.com/a' to='{mirror}'>{_MUC}</presence>")
    if condition:
        fault = f"<error type='cancel'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error>"
        server.send(f"<presence type='error' from='{room}' to='{mirror}'>{fault}</presence>")
    else:
        scene.gateway.wait(40)
    scene.receive(server.received())


def _elsewhere(scene: Scene) -> None:
    to = r"lobby\40rooms.example.org@mirror.example.com/ann"
    scene.receive(
        scene.server("mirror.example.com").ask(f"<presence from='ann@example.com/a' to='{to}'>{_MUC}</presence>")
    )


def _nick(scene: Scene) -> None:
    server = scene.server("rooms.example.com")
    for user in ("tom@example.com/t", "ann@example.com/a"):
        presence = f"<presence from='{user}' to='lobby@rooms.example.com/ann'>{_MUC}</presence>"
        scene.receive(server.ask(presence))


def _proxied(**request: Any) -> Play:
    """Return a play with a request to a gateway with a proxy that works."""
    return partial(_connected, component="proxy.example.com", play=partial(_http, **request))


def _rostered(**request: Any) -> Play:
    """Return a play with a request to a gateway with rosters that work."""
    return partial(_connected, component="roster.example.com", play=partial(_http, **request))


def _group(name: str, *rows: tuple[str, str, Play]) -> Iterable[Trouble]:
    return [Trouble(name, *row) for row in rows]


TROUBLES = (
    *_group(
        "The connection to the server",
        ("The secret is wrong", PROXY, _streamError("not-authorized")),
        ("The server does not know the component", PROXY, _streamError("host-unknown")),
        ("The component is connected already", PROXY, _streamError("conflict")),
        ("The server does not run", PROXY, partial(_fails, error.ConnectionRefusedError())),
        ("The server restarts", PROXY, _restart),
        ("The host's name is wrong", PROXY + TYPO, partial(_fails, error.DNSLookupError())),
        ("A firewall drops the connection", PROXY, partial(_fails, error.TimeoutError())),
        ("A port for clients", PROXY, partial(_hears, HEADER.replace(ns.COMPONENT_ACCEPT, ns.CLIENT).encode())),
        ("A port of a web server", PROXY, partial(_hears, b"HTTP/1.1 400 Bad Request\r\n\r\n")),
        ("tcp: at a port with TLS", PROXY, partial(_hears, b"\x15\x03\x01\x00\x02\x02\x0a")),
        (
            "tls: at a port without TLS",
            PROXY,
            partial(_fails, TlsError([("SSL routines", "", "wrong version number")])),
        ),
        (
            "The certificate is not trusted",
            PROXY,
            partial(_fails, TlsError([("SSL routines", "", "certificate verify failed")])),
        ),
        ("The certificate is for another name", PROXY, partial(_fails, VerificationError([]))),
    ),
    *_group(
        "The services",
        ("The server does not delegate a namespace", PRIVATE, _delegation),
        (
            "The server does not grant a privilege",
            ROSTER,
            partial(_refresh, reply=lambda call: call.reply([]), isGranted=False),
        ),
        ("The implementing account has not accepted the subscription", PROXY, _unseen),
        ("No implementing client is online", PROXY, _nobody),
        ("A stanza is too large", PROXY, _large),
        ("A mirror's room cannot be reached", MIRROR, partial(_mirrored, condition="remote-server-not-found")),
        ("A mirror's room does not exist", MIRROR, partial(_mirrored, condition="item-not-found")),
        ("A mirror's room refuses the mirror", MIRROR, partial(_mirrored, condition="not-allowed")),
        (
            "A mirror's room does not support federation",
            MIRROR,
            partial(_mirrored, condition="feature-not-implemented"),
        ),
        ("A mirror's room does not answer", MIRROR, _mirrored),
        ("A room that may not be mirrored", MIRROR, _elsewhere),
        ("A nick that is in use", ROOMS, _nick),
    ),
    *_group(
        "The web application with the rosters",
        ("It does not run", ROSTER, _applicationDown),
        ("It answers 401 or 403", ROSTER, _application(401)),
        ("It answers 404", ROSTER, _application(404)),
        ("It answers with a redirection", ROSTER, _application(302)),
        ("It answers 500", ROSTER, _application(500)),
        ("It answers with a web page", ROSTER, partial(_refresh, reply=_html)),
        ("It does not answer", ROSTER, partial(_refresh, reply=None)),
    ),
    *_group(
        "Requests to the gateway's HTTP server",
        ("The port is in use", PROXY, partial(_connected, component="proxy.example.com", play=_inUse)),
        ("The token is wrong", PROXY + TOKEN, _proxied(method="GET", path="/status", Authorization="Bearer wrong")),
        (
            "The name of the host is unknown",
            PROXY,
            _proxied(method="GET", path="/status", Host="gateway.example.com"),
        ),
        ("The path is wrong", ROSTER, _rostered(method="GET", path="/rosteradmin/refresh/ann")),
        (
            "The content type is wrong",
            ROSTER,
            _rostered(method="POST", path="/roster_admin/refresh", body=b"ann", Content_Type="text/plain"),
        ),
        (
            "The body is no list of users",
            ROSTER,
            _rostered(method="POST", path="/roster_admin/refresh", body=b'{"user": "ann"}'),
        ),
    ),
    *_group(
        "The files in state_dir",
        ("The disk is full", PROXY, _full),
        ("The disk is read-only", PROXY, _readOnly),
    ),
)
