"""Everybody in a room: their joins, what they say, and the books of who must get what.

All of them are addresses of one component, so that one connection carries all deliveries: to whoever plays the
server for the gateway, or from a server whose own rooms they are in.
"""

import hashlib
import re
import socket
import time

from fakeserver import Broken, FakeServer

SERVER = "localhost"
ROOMS = f"rooms.{SERVER}"
ROOM = f"bench@{ROOMS}"
OCCUPANTS = f"occupants.{SERVER}"
SECRET = "secret"

_BODY = "Double, double toil and trouble; fire burn and cauldron bubble."
# None of ours has one of its kind inside.
_STANZA = re.compile(rb"<(message|presence)\s([^>]*?)(?:/>|>(.*?)</\1>)", re.DOTALL)
_TO = re.compile(rb"""\sto=["']([^"']*)["']""")
_ERROR = re.compile(rb"""\stype=["']error["']""")
_NUMBER = re.compile(rb"<body>(\d+) ")


class Component(FakeServer):
    """The occupants' own end of a connection to a real server."""

    def __init__(self, port: int, seconds: float = 30.0) -> None:
        """Connect and authenticate, as soon as somebody listens and lets us."""
        self._outbox = bytearray()
        self.queued = self.written = 0
        deadline = time.monotonic() + seconds
        while True:
            try:
                self._connect(port)
            except (OSError, Broken) as error:
                if time.monotonic() > deadline:
                    raise Broken(f"the server does not let the component in: {error}") from None
                time.sleep(0.2)
            else:
                return

    def _connect(self, port: int) -> None:
        self._outbox.clear()
        self._socket = socket.create_connection(("127.0.0.1", port), 5)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self.send(
            f"<stream:stream xmlns='jabber:component:accept' xmlns:stream='http://etherx.jabber.org/streams' "
            f"to='{OCCUPANTS}'>".encode()
        )
        header = re.compile(rb"<stream:stream[^>]*\sid=['\"]([^'\"]*)['\"]")
        digest = hashlib.sha1(self._until(header)[1] + SECRET.encode()).hexdigest()  # noqa: S324  XEP-0114 wants it
        self.send(f"<handshake>{digest}</handshake>".encode())
        self._until(re.compile(rb"<handshake\s*/>|</handshake>"))

    def _until(self, mark: re.Pattern[bytes]) -> re.Match[bytes]:
        deadline = time.monotonic() + 5
        seen = b""
        while not (found := mark.search(seen)):
            if time.monotonic() > deadline:
                raise Broken(f"only {seen!r}")
            seen += self.step(0.1)
        return found

    def close(self) -> None:
        self._socket.close()


class Crowd:
    """The books: presence that is still to come, and the messages that are under way."""

    def __init__(self, link: FakeServer, size: int) -> None:
        self._link = link
        self.users = [f"user{n}@{OCCUPANTS}/desk" for n in range(size)]
        self._everybody = {user.encode() for user in self.users}
        self._rest = b""
        self._presences = 0
        self._subjects = 0
        self._heard: dict[int, set[bytes]] = {}
        self._said = 0

    def join(self, seconds: float = 300.0, window: int = 20) -> None:
        """Let all of them join, some at a time, and wait for all that it brings.

        @raise Broken: if somebody is not let in, or anything of it does not come.
        """
        joined = 0
        heard = time.monotonic()
        while self._subjects < len(self.users) or self._presences < len(self.users) ** 2:
            while joined < min(self._subjects + window, len(self.users)):
                self._link.send(
                    f"<presence from='{self.users[joined]}' to='{ROOM}/nick{joined}'>"
                    "<x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x></presence>".encode()
                )
                joined += 1
            if self._pump(0.2):
                heard = time.monotonic()
            if time.monotonic() - heard > min(seconds, 20):
                raise Broken(f"{self._presences} presences, {self._subjects} subjects")
        # ejabberd shows each his own twice.
        while self._pump(0.3):
            pass

    def talk(self, messages: int, open_: int = 4) -> None:
        """Say something so many times; all hear each of it, once.

        @raise Broken: if not.
        """
        last = self._said + messages
        heard = time.monotonic()
        while self._said < last or self._heard:
            while self._said < last and len(self._heard) < open_:
                self._heard[self._said] = set(self._everybody)
                sender = self.users[self._said * 7 % len(self.users)]
                self._link.send(
                    f"<message from='{sender}' to='{ROOM}' type='groupchat' id='m{self._said}'>"
                    f"<body>{self._said} {_BODY}</body></message>".encode()
                )
                self._said += 1
            if self._pump(0.2):
                heard = time.monotonic()
            if time.monotonic() - heard > 20:
                raise Broken(f"{len(self._heard)} messages are not with everybody")

    def _pump(self, seconds: float) -> bool:
        data = self._link.step(seconds)
        text = self._rest + data
        end = 0
        for stanza in _STANZA.finditer(text):
            end = stanza.end()
            self._take(stanza)
        self._rest = text[end:]
        return bool(data)

    def _take(self, stanza: re.Match[bytes]) -> None:
        kind, attributes, inside = stanza[1], b" " + stanza[2], stanza[3] or b""
        if _ERROR.search(attributes):
            raise Broken(f"an error: {stanza[0]!r}")
        if kind == b"presence":
            self._presences += 1
            return
        number = _NUMBER.search(inside)
        if number is None:
            self._subjects += b"<subject" in inside
            return
        waiting = self._heard.get(int(number[1]))
        to = _TO.search(attributes)
        if waiting is None or to is None or to[1] not in waiting:
            raise Broken(f"twice, or to nobody: {stanza[0]!r}")
        waiting.remove(to[1])
        if not waiting:
            del self._heard[int(number[1])]
