"""
A hostile user in a process of its own: logs in, and does for some seconds what must not affect others.

mallory.py CLIENT_PORT HTTP_PORT SECONDS

It prints how often it did each, and ends with status 0. It receives its input without looking at it.
"""

from __future__ import annotations

import base64
import contextlib
import socket
import sys
import threading
import time
from collections import Counter

DOMAIN, PASSWORD, USER = "localhost", "pencil", "mallory"
PROXY, ROOMS, STORAGE = f"proxy.{DOMAIN}", f"rooms.{DOMAIN}", f"storage.{DOMAIN}"
OWN = f"mallory@{ROOMS}"
HEADER = f"<stream:stream to='{DOMAIN}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
MUC_USER = "http://jabber.org/protocol/muc#user"
MUC = "<x xmlns='http://jabber.org/protocol/muc'/>"
PRIVATE = "<query xmlns='jabber:iq:private'><a xmlns='urn:mallory'>{}</a></query>"


class Stream:
    """One connection of mallory's; all input is dropped."""

    def __init__(self, port: int) -> None:
        self.taken = 0
        self._socket = socket.create_connection(("127.0.0.1", port), 10)
        secret = base64.b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
        self._ask(HEADER, "</stream:features>")
        self._ask(f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>", "<success")
        self._ask(HEADER, "</stream:features>")
        self._ask("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>", "</iq>")
        self.send("<presence/>")
        threading.Thread(target=self._take, daemon=True).start()

    def send(self, xml: str) -> None:
        self._socket.sendall(xml.encode())

    def close(self) -> None:
        """Cut the connection."""
        self._socket.close()

    def _ask(self, xml: str, mark: str) -> None:
        self.send(xml)
        seen = b""
        while mark.encode() not in seen:
            data = self._socket.recv(65536)
            if not data:
                raise ConnectionError(f"no {mark}: {seen!r}")
            seen += data

    def _take(self) -> None:
        with contextlib.suppress(OSError):
            self._socket.settimeout(None)
            while data := self._socket.recv(1 << 18):
                self.taken += len(data)


def stanzas(number: int) -> dict[str, str]:
    """Return mallory's stanzas by name; C{number} makes ids and names new."""
    item = "<item affiliation='member' jid='a@h{}/" + "\ufdfa" * 1_000 + "'/>"
    admin = "".join(item.format(each) for each in range(80))
    return {
        "apostrophes": f"<message to='{PROXY}'><body>{chr(39) * 60_000}</body></message>",
        "apostrophes in a room": f"<message to='{OWN}' type='groupchat'><body>{chr(39) * 60_000}</body></message>",
        "xml:q": "".join(f"<message to='{to}'><xml:q/></message>" for to in (PROXY, OWN, STORAGE)),
        "a space": f"<message to='{PROXY}'><q xmlns='a b'/></message>",
        "deep": f"<iq type='get' id='d{number}' to='{PROXY}'>{'<a>' * 100}{'</a>' * 100}</iq>",
        "rejoins": f"<presence to='{OWN}/m'>{MUC}</presence>" * 100,
        "disco#items": "".join(
            f"<iq type='get' id='i{number}-{each}' to='{ROOMS}'><query xmlns='http://jabber.org/protocol/disco#items'/></iq>"
            for each in range(400)
        ),
        "private gets": "".join(
            f"<iq type='get' id='p{number}-{each}'>{PRIVATE.format('')}</iq>" for each in range(400)
        ),
        "admin": f"<iq type='set' id='a{number}' to='x{number}@{ROOMS}'>"
        f"<query xmlns='http://jabber.org/protocol/muc#admin'>{admin}</query></iq>",
        "long rooms": "".join(
            f"<presence to='{'é' * 400}{number}-{each}@{ROOMS}/m'>{MUC}</presence>" for each in range(200)
        ),
        "items": f"<presence to='{OWN}/m'><x xmlns='{MUC_USER}'>{'<item/>' * 34_000}</x></presence>",
    }


def overHttp(port: int, until: float, done: Counter[str]) -> None:
    """Do the same to the HTTP port: forms, foreign pages, bodies that never end."""
    heads = {
        "forms": ("application/x-www-form-urlencoded", b"&" * 1_000_000, 1_000_000),
        "no end": ("application/json", b"[" * 1_000_000, 1_000_001),
    }
    open_: list[socket.socket] = []
    while time.monotonic() < until:
        for what, (kind, body, length) in heads.items():
            with contextlib.suppress(OSError):
                connection = socket.create_connection(("127.0.0.1", port), 5)
                open_.append(connection)
                connection.settimeout(2)
                head = f"POST /roster_admin/refresh HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: {kind}\r\n"
                connection.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode() + body)
                done[what] += 1
        for connection in open_[:-30]:
            connection.close()
        del open_[:-30]
        time.sleep(0.2)


def main(clients: int, http: int, seconds: float) -> int:
    """Do all of it repeatedly. Return the exit status."""
    done: Counter[str] = Counter()
    until = time.monotonic() + seconds
    web = threading.Thread(target=overHttp, args=(http, until, done), daemon=True)
    web.start()
    number = 0
    stream: Stream | None = None
    while time.monotonic() < until:
        try:
            if stream is None:
                stream = Stream(clients)
                prepare(stream)
            for what, xml in stanzas(number).items():
                number += 1
                stream.send(xml)
                done[what] += 1
                time.sleep(0.1)
                if time.monotonic() > until:
                    break
        except OSError as error:
            # The server has limits of its own.
            done[f"cut off: {error}"] += 1
            stream = None
            time.sleep(0.5)
    web.join(5)
    print(dict(done), "taken:", 0 if stream is None else stream.taken)
    return 0


def prepare(stream: Stream) -> None:
    """Make a room with a long history, and fill the private storage."""
    stream.send(f"<presence to='{OWN}/m'>{MUC}</presence>")
    stream.send(f"<message to='{OWN}' type='groupchat'><body>{'x' * 5_000}</body></message>" * 50)
    stream.send(f"<iq type='set' id='set'>{PRIVATE.format('x' * 220_000)}</iq>")


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
