"""
Inputs that once blocked a gateway, similar ones, and the answers that must come back.

Each input is sent several times, with other addresses each time, so that no cache helps.
"""

import contextlib
import http.client
import json
import re
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

from fakeserver import Broken, FakeServer, Wire

SERVER = "example.com"
ROOMS, DELEGATE, ROSTER = "rooms.example.com", "delegate.example.com", "roster.example.com"
TOKEN = "benchmark-token"
# Seconds for all answers to one input.
TIMEOUT = 120.0

_DELEGATION = "urn:xmpp:delegation:2"
_MUC = "<x xmlns='http://jabber.org/protocol/muc'/>"
_USER = "<x xmlns='http://jabber.org/protocol/muc#user'>%s</x>"
_IQ = re.compile(rb"<iq\s([^>]*)>")
_JOINED = re.compile(rb"<subject\b|<presence\s[^>]*type=['\"]error")
_ANSWER_END = re.compile(b"</forwarded></delegation></iq>")
_ATTRIBUTE = re.compile(rb"""([\w:]+)=['"]([^'"]*)['"]""")
# The longest start tag that is searched.
_TAIL = 8_192


class World(NamedTuple):
    """
    Everything that an input may be sent to.

    @ivar http: the gateway's port.
    """

    rooms: FakeServer
    delegate: FakeServer
    roster: FakeServer
    application: "Application"
    http: int


class Input(NamedTuple):
    """
    One input.

    @ivar seen: its effect on an earlier version of the gateway.
    @ivar send: sends it for the given turn, and returns when all of it has been answered.
    @ivar prepare: makes the state that it needs.
    @ivar growth: MiB that the process may grow by meanwhile.
    """

    seen: str
    send: Callable[[World, int], None]
    prepare: Callable[[World], None] = lambda world: None
    growth: float = 256


# Reading answers.


def _count(wire: Wire, pattern: re.Pattern[bytes], count: int) -> None:
    """
    Wait for this number of matches.

    @raise Broken: if they do not come.
    """
    for _ in zip(range(count), _found(wire, pattern), strict=False):
        pass


def _found(wire: Wire, pattern: re.Pattern[bytes]) -> Iterator[re.Match[bytes]]:
    rest, deadline = b"", time.monotonic() + TIMEOUT
    while True:
        data = rest + wire.step(0.1)
        end = 0
        for match in pattern.finditer(data):
            end = match.end()
            yield match
        rest = data[max(end, len(data) - _TAIL) :]
        if time.monotonic() > deadline:
            raise Broken(f"no answer within {TIMEOUT:.0f} s; the last bytes are {rest!r:.300}")


def _ask(wire: Wire, requests: dict[str, str], *expected: str) -> None:
    """
    Send requests by id, and wait for the answer to each.

    @param expected: types and conditions, one of which each answer must have; empty for any answer.
    """
    wire.send("".join(requests.values()).encode())
    missing = {identifier.encode() for identifier in requests}
    pattern = re.compile(rb"<iq\s([^>]*)>(?:<error [^>]*><([\w-]+))?")
    for match in _found(wire, pattern):
        attributes = dict(_ATTRIBUTE.findall(match.group(1)))
        said = {attributes.get(b"type", b"").decode(), (match.group(2) or b"").decode()}
        if attributes.get(b"id") in missing:
            missing.remove(attributes[b"id"])
            if expected and not said & set(expected):
                raise Broken(f"the answer is {match.group()!r:.300}")
        if not missing:
            return


def _iq(to: str, identifier: str, inside: str, kind: str = "get", user: str = f"eve@{SERVER}/x") -> str:
    return f"<iq from='{user}' to='{to}' id='{identifier}' type='{kind}'>{inside}</iq>"


def _join(room: str, nick: str, user: str, inside: str = _MUC) -> str:
    return f"<presence from='{user}' to='{room}@{ROOMS}/{nick}'>{inside}</presence>"


# Rooms.


def _open(world: World) -> None:
    """Open a room whose owner is own@SERVER."""
    owner = f"own@{SERVER}/x"
    world.rooms.send(_join("room", "own", owner).encode())
    form = "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>"
    world.rooms.send(_iq(f"room@{ROOMS}", "open", form, "set", owner).encode())
    _count(world.rooms, _JOINED, 1)


def _administration(user: str, *expected: str) -> Callable[[World, int], None]:
    def send(world: World, turn: int) -> None:
        items = "".join(
            f"<item affiliation='member' jid='a@h{turn}-{n}/{chr(0xFDFA) * 1_000}'/>" for n in range(80)
        )
        query = f"<query xmlns='http://jabber.org/protocol/muc#admin'>{items}</query>"
        request = _iq(f"room@{ROOMS}", f"a{turn}", query, "set", f"{user}@{SERVER}/x")
        _ask(world.rooms, {f"a{turn}": request}, *expected)

    return send


def _longNames(world: World, turn: int) -> None:
    for n in range(200):
        world.rooms.send(_join(f"{'é' * 400}{turn}-{n}", "n", f"u{n}@{SERVER}/x").encode())
    _count(world.rooms, _JOINED, 200)


def _manyItems(world: World, turn: int) -> None:
    user = f"u{turn}@{SERVER}/x"
    world.rooms.send(_join("room", f"n{turn}", user, _MUC + _USER % ("<item/>" * 34_000)).encode())
    _count(world.rooms, _JOINED, 1)


def _large(inside: Callable[[], str]) -> Callable[[World, int], None]:
    """Send an iq of some size to the rooms; any answer will do."""

    def send(world: World, turn: int) -> None:
        query = f"<query xmlns='http://jabber.org/protocol/disco#info'{inside()}</query>"
        _ask(world.rooms, {f"l{turn}": _iq(f"room@{ROOMS}", f"l{turn}", query)})

    return send


def _attributes() -> str:
    return "".join(f" a{n}=''" for n in range(45_000)) + ">"


def _namespaces() -> str:
    return f" xmlns:p='{'u' * 131_000}'" + "".join(f" p:a{n}=''" for n in range(10_500)) + ">"


def _makeHistory(world: World) -> None:
    """Make a room with 250 kB of history."""
    _open(world)
    for n in range(50):
        body = f"{n} " + "x" * 5_000
        address = f"from='own@{SERVER}/x' to='room@{ROOMS}' type='groupchat'"
        world.rooms.send(f"<message {address}><body>{body}</body></message>".encode())
    _count(world.rooms, re.compile(rb"<body>"), 50)


def _rejoin(world: World, turn: int) -> None:
    world.rooms.send(_join("room", "own", f"own@{SERVER}/x").encode() * 100)
    _count(world.rooms, _JOINED, 100)


def _manyRooms(world: World) -> None:
    for n in range(1_000):
        world.rooms.send(_join(f"a-room-with-some-name-{n}", "own", f"own{n}@{SERVER}/x").encode())
    _count(world.rooms, _JOINED, 1_000)


def _items(world: World, turn: int) -> None:
    query = "<query xmlns='http://jabber.org/protocol/disco#items'/>"
    ids = [f"d{turn}-{n}" for n in range(400)]
    _ask(world.rooms, {each: _iq(ROOMS, each, query) for each in ids}, "result", "resource-constraint")


# Private storage.


def _forwarded(identifier: str, kind: str, inside: str) -> bytes:
    user = f"eve@{SERVER}/x"
    return (
        f"<iq from='{SERVER}' to='{DELEGATE}' id='o{identifier}' type='set'><delegation xmlns='{_DELEGATION}'>"
        f"<forwarded xmlns='urn:xmpp:forward:0'><iq xmlns='jabber:client' from='{user}' id='{identifier}' "
        f"type='{kind}'><query xmlns='jabber:iq:private'>{inside}</query></iq></forwarded></delegation></iq>"
    ).encode()


def _store(world: World) -> None:
    granted = "<delegated namespace='jabber:iq:private'/>"
    message = f"<message from='{SERVER}' to='{DELEGATE}'><delegation xmlns='{_DELEGATION}'>{granted}</delegation>"
    world.delegate.send(f"{message}</message>".encode())
    time.sleep(0.5)
    world.delegate.send(_forwarded("s", "set", f"<kept xmlns='urn:x'>{'x' * 220_000}</kept>"))
    _count(world.delegate, _ANSWER_END, 1)


def _fetch(world: World, turn: int) -> None:
    for n in range(400):
        world.delegate.send(_forwarded(f"g{turn}-{n}", "get", "<kept xmlns='urn:x'/>"))
    _count(world.delegate, _ANSWER_END, 400)


# HTTP.


def _request(head: str, body: bytes, port: int) -> tuple[int, bytes]:
    """Send one request on a connection of its own; return status and body."""
    with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as connection:
        # The gateway may close the connection before the body is sent.
        with contextlib.suppress(ConnectionError):
            rest = f"Host: 127.0.0.1:{port}\r\nConnection: close\r\nContent-Length: {len(body)}"
            connection.sendall(f"{head}\r\n{rest}\r\n\r\n".encode() + body)
        response = http.client.HTTPResponse(connection)
        try:
            response.begin()
            return response.status, response.read()
        except (http.client.HTTPException, OSError) as error:
            raise Broken(f"there is no answer: {error!r}") from error


def _refused(kind: str, body: bytes) -> Callable[[World, int], None]:
    """Send a POST without the token."""

    def send(world: World, turn: int) -> None:
        status, _ = _request(f"POST /roster_admin/refresh HTTP/1.1\r\nContent-Type: {kind}", body, world.http)
        if status not in (401, 413, 415):
            raise Broken(f"the status is {status}")

    return send


_MULTIPART = b"--b\r\nContent-Disposition: form-data; name=a\r\n\r\n\r\n" * 20_000 + b"--b--\r\n"


def _unfinished(world: World, turn: int) -> None:
    """Send 150 bodies without their last byte; each is accepted, or its connection is closed."""
    head = (
        f"POST /roster_admin/refresh HTTP/1.1\r\nHost: 127.0.0.1:{world.http}\r\nContent-Type: application/json\r\n"
    )
    data = f"{head}Content-Length: 1000001\r\n\r\n".encode() + b"[" + b" " * 999_999
    left = {socket.create_connection(("127.0.0.1", world.http)): memoryview(data) for _ in range(150)}
    connections = list(left)
    deadline = time.monotonic() + TIMEOUT
    while left:
        _, writable, _ = select.select([], list(left), [], 0.1)
        for connection in writable:
            connection.setblocking(False)
            try:
                left[connection] = left[connection][connection.send(left[connection][: 1 << 16]) :]
            except ConnectionError:
                left[connection] = memoryview(b"")
            if not left[connection]:
                del left[connection]
        if not writable and time.monotonic() > deadline - TIMEOUT + 5:
            # The gateway does not read a body that it refuses.
            break
    time.sleep(0.5)
    for connection in connections:
        connection.close()
    status, _ = _request("GET /status HTTP/1.1", b"", world.http)
    if status != 401:
        raise Broken(f"the status is {status}")


def _refresh(world: World, users: list[str], isAnswer: Callable[[int, dict[str, object]], bool]) -> None:
    """POST users' names, and act as the server meanwhile: every roster is empty, and every set succeeds."""
    found: list[tuple[int, bytes] | Exception] = []
    head = f"POST /roster_admin/refresh HTTP/1.1\r\nContent-Type: application/json\r\nAuthorization: Bearer {TOKEN}"
    body = json.dumps(users, separators=(",", ":")).encode()

    def post() -> None:
        try:
            found.append(_request(head, body, world.http))
        except (Broken, OSError) as error:
            found.append(error)

    posting = threading.Thread(target=post, daemon=True)
    posting.start()
    rest = b""
    while posting.is_alive():
        data = rest + world.roster.step(0.02)
        end = 0
        for match in _IQ.finditer(data):
            end = match.end()
            iq = dict(_ATTRIBUTE.findall(match.group(1)))
            if iq.get(b"type") in (b"get", b"set"):
                payload = b"<query xmlns='jabber:iq:roster'/>" if iq[b"type"] == b"get" else b""
                answer = b"<iq type='result' from='%b' to='%b' id='%b'>%b</iq>"
                world.roster.send(answer % (iq[b"to"], iq[b"from"], iq[b"id"], payload))
        rest = data[max(end, len(data) - _TAIL) :]
    [answer] = found
    if isinstance(answer, Exception):
        raise Broken(str(answer))
    status, content = answer
    isJson = content.startswith(b"{")
    if not isAnswer(status, json.loads(content) if isJson else {}):
        raise Broken(f"the answer is {status} {content!r:.300}")


def _grant(world: World) -> None:
    perm = "<perm access='roster' type='both' push='false'/>"
    message = f"<privilege xmlns='urn:xmpp:privilege:2'>{perm}</privilege>"
    world.roster.send(f"<message from='{SERVER}' to='{ROSTER}'>{message}</message>".encode())
    time.sleep(0.5)


def _document(world: World, turn: int) -> None:
    # This server stores no rosters, so the gateway would find that subscriptions are not stored.
    about = {"subscription": "none"}
    contacts = {f"{'é' * 300}{turn}-{n}@{SERVER}": {"name": f"{n}", **about} for n in range(4_000)}
    world.application.say(json.dumps(contacts).encode())
    _refresh(world, [f"user{turn}"], lambda status, answer: answer.get("updated") == 1)


def _names(world: World, turn: int) -> None:
    world.application.say(b"{}")
    names = [f"{turn}{n}" for n in range(99_000)]
    _refresh(world, names, lambda status, answer: status in (200, 400, 413, 500, 503))


def _headers(world: World, turn: int) -> None:
    world.application.say(None)
    _refresh(world, [f"headers{turn}"], lambda status, answer: answer.get("errors") == 1)


class Application:
    """A web application with one fixed answer, in a thread of its own."""

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._document: bytes | None = b"{}"
        threading.Thread(target=self._serve, daemon=True).start()

    def say(self, document: bytes | None) -> None:
        """Set the answer; C{None}: headers without an end."""
        self._document = document

    def close(self) -> None:
        """End the thread."""
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            connection.settimeout(TIMEOUT)
            seen = b""
            while data := connection.recv(1 << 16):
                seen += data
                while b"\r\n\r\n" in seen:
                    seen = seen.partition(b"\r\n\r\n")[2]
                    self._say(connection)

    def _say(self, connection: socket.socket) -> None:
        document = self._document
        if document is not None:
            head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(document)}\r\n\r\n"
            connection.sendall(head.encode() + document)
            return
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        lines = b"".join(b"X-%d: %b\r\n" % (n, b"x" * 1_000) for n in range(64))
        # 64 MB stand for an endless answer.
        for _ in range(1_000):
            connection.sendall(lines)


INPUTS = {
    "admin-outsider": Input("4 s", _administration("eve", "forbidden"), _open),
    "admin-owner": Input("4 s", _administration("own", "jid-malformed", "result"), _open),
    "long-rooms": Input("2.5-4.5 s", _longNames),
    "items": Input("1.7 s", _manyItems, _open),
    "elements": Input("", _large(lambda: ">" + "<a/>" * 900_000), _open),
    "attributes": Input("", _large(_attributes), _open),
    "namespaces": Input("", _large(_namespaces), _open),
    "text": Input("", _large(lambda: ">" + "x" * 4_000_000), _open),
    "entities": Input("", _large(lambda: ">" + "&lt;" * 900_000), _open),
    "rejoins": Input("link lost", _rejoin, _makeHistory),
    "disco-items": Input("link lost", _items, _manyRooms),
    "private": Input("link lost", _fetch, _store),
    "form": Input("2.4 s", _refused("application/x-www-form-urlencoded", b"&" * (1 << 20))),
    "multipart": Input("2.4 s", _refused("multipart/form-data; boundary=b", _MULTIPART)),
    "unfinished": Input("+150 MB", _unfinished, growth=50),
    "document": Input("19 s", _document, _grant),
    "names": Input("5 s", _names, _grant),
    "headers": Input("+1,694 MB", _headers, _grant, growth=50),
}
