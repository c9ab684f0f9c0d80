"""Rooms and mirrors on real servers: the common parts of their tests."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self
from xml.etree.ElementTree import Element, fromstring

from slixmpp import JID, ClientXMPP
from slixmpp.stanza import Message

from gateway.addresses.jids import escapeLocal
from tests.live.case import MIRRORS, ROOMS, LiveTests
from tests.live.clients import Client, local, stanza
from tests.live.gateway import Gateway
from tests.live.processes import Value, freePort
from tests.live.servers import DOMAIN, Server

MUC = "http://jabber.org/protocol/muc"
MUC_USER = f"{MUC}#user"
MUC_X = f"<x xmlns='{MUC}'/>"
# Opens a new room with the default configuration (XEP-0045 section 10.1.2).
INSTANT = "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>"
MIRROR = f"mirror.{DOMAIN}"

_START = re.compile(rb"""<(message|presence|iq)\b((?:[^'">]|'[^']*'|"[^"]*")*)>""")


def mirrored(room: str, mirror: str = MIRROR) -> str:
    """Return a room's address in a mirror."""
    return room.replace("@", r"\40") + f"@{mirror}"


class Wire:
    """
    A relay between a gateway and its server that counts stanzas.

    @ivar port: port for the gateway's connection.
    @ivar passed: number of stanzas, by C{"up"} (to a room's service) or C{"down"} (from it), kind, and room. Kinds
        are those of stanzas, and C{"report"} for a channel's confirmation of its own.
    """

    def __init__(self, port: int) -> None:
        self.port = freePort()
        self.passed: Counter[tuple[str, str, str]] = Counter()
        self._to = port
        self._server: asyncio.Server | None = None

    async def open(self) -> Self:
        """Listen."""
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", self.port)
        return self

    def close(self) -> None:
        """Stop listening; connections end with the gateway."""
        if self._server is not None:
            self._server.close()

    def count(self, room: str) -> int:
        """Return the number of stanzas of one room so far."""
        return sum(count for (_, _, which), count in self.passed.items() if which == room)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._to)
        except OSError:
            writer.close()
            return
        # The test may end before the gateway does.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.gather(
                self._carry(reader, back, "up", b"to"), self._carry(there, writer, "down", b"from")
            )

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str, attribute: bytes
    ) -> None:
        address = re.compile(rb"\s" + attribute + rb"=['\"]([^'\"/]*@" + ROOMS.encode() + rb")[/'\"]")
        kept = b""
        try:
            while data := await reader.read(65_536):
                kept += data
                end = 0
                for start in _START.finditer(kept):
                    end = start.end()
                    room = address.search(start.group(2))
                    if room:
                        # A message without a type only confirms what has arrived.
                        isReport = start.group(1) == b"message" and b"type=" not in start.group(2)
                        kind = "report" if isReport else start.group(1).decode()
                        self.passed[way, kind, room.group(1).decode()] += 1
                # A start tag that is still incomplete.
                kept = kept[max(end, kept.rfind(b"<")) :]
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass
        finally:
            writer.close()


_OCCUPANT_ID, _STANZA_ID = "{urn:xmpp:occupant-id:0}occupant-id", "{urn:xmpp:sid:0}stanza-id"


class Talker:
    """
    A user whose client is slixmpp with its own XEP-0045.

    @ivar said: received messages: from and body, or subject.
    @ivar ids: of a received message, by its body: occupant id, stanza id, and who has assigned the latter.
    @ivar came: presence of occupants: from, type and status codes.
    @ivar told: messages of rooms about their configuration: from, and status codes.
    @ivar declined: invitations: from, and reason.
    """

    def __init__(self, server: Server, user: str, resource: str = "talk") -> None:
        self.jid = f"{user}@{server.domain}/{resource}"
        config = {"feature_mechanisms": {"unencrypted_plain": True}}
        self.stream = ClientXMPP(self.jid, server.password(user), sasl_mech="PLAIN", plugin_config=config)
        self.stream.enable_direct_tls = False
        self.stream.ca_certs = server.certificate
        self.stream.enable_starttls = server.certificate is not None
        self.stream.enable_plaintext = server.certificate is None
        for plugin in ("xep_0045", "xep_0030", "xep_0199", "xep_0203"):
            self.stream.register_plugin(plugin)
        self._port = server.clientPort
        self.said: list[tuple[str, str, str]] = []
        self.ids: dict[str, tuple[str | None, ...]] = {}
        self.came: list[tuple[str, str | None, frozenset[str]]] = []
        self.told: list[tuple[str, frozenset[str]]] = []
        # slixmpp does not fire its own event for this in a client.
        self.declined: list[tuple[str, str]] = []
        for event in ("message", "groupchat_subject"):
            self.stream.add_event_handler(event, self._said)
        self.stream.add_filter("in", self._arrived)

    @property
    def muc(self) -> Any:
        return self.stream.plugin["xep_0045"]

    async def login(self) -> Self:
        begun: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.stream.add_event_handler("session_start", lambda _: begun.done() or begun.set_result(None))
        self.stream.connect("127.0.0.1", self._port)
        await asyncio.wait_for(begun, 10)
        self.stream.send_presence()
        return self

    async def close(self) -> None:
        await self.stream.disconnect(1)

    async def join(self, room: str, nick: str) -> Any:
        """
        Join; slixmpp waits for the subject. Return the own presence, the subject, the occupants and the history. A
        new room is opened for others.
        """
        joined = await self.muc.join_muc_wait(JID(room), nick, timeout=10)
        if 201 in joined[0]["muc"]["status_codes"] and r"\40" not in room:
            iq = self.stream.make_iq_set(ito=JID(room))
            iq.append(fromstring(INSTANT))
            await iq.send()
        return joined

    def say(self, room: str, body: str) -> None:
        self.stream.send_message(mto=JID(room), mbody=body, mtype="groupchat")

    def whisper(self, occupant: str, body: str) -> None:
        self.stream.send_message(mto=JID(occupant), mbody=body, mtype="chat")

    async def awaitMessage(self, sender: str, text: str) -> None:
        """Wait until an occupant has sent this message, or set this subject."""
        await _holds(lambda: any((who, what) == (sender, text) for who, _, what in self.said), f"{sender}: {text}")

    async def awaitPresence(self, sender: str, kind: str | None, *codes: str) -> None:
        """Wait for this presence, with these status codes at least."""
        await _holds(
            lambda: any((who, what) == (sender, kind) and set(codes) <= with_ for who, what, with_ in self.came),
            f"{self.jid} sees {sender} {kind} {codes}: {self.came}",
        )

    async def awaitCodes(self, room: str, *codes: str) -> None:
        """Wait until a message of the room itself has these status codes at least."""
        await _holds(
            lambda: any(who == room and set(codes) <= with_ for who, with_ in self.told),
            f"{room} tells {codes}: {self.told}",
        )

    async def awaitDecline(self, room: str, reason: str) -> None:
        """Wait until an invitation to a room is declined."""
        await _holds(lambda: (room, reason) in self.declined, f"an invitation is declined: {reason}")

    def _said(self, message: Message) -> None:
        self.said.append((str(message["from"]), str(message["type"]), str(message["body"] or message["subject"])))
        found = ((_OCCUPANT_ID, "id"), (_STANZA_ID, "id"), (_STANZA_ID, "by"))
        values = (next((each.get(key) for each in message.xml.findall(name)), None) for name, key in found)
        self.ids[str(message["body"])] = tuple(values)

    def _arrived(self, arrived: Any) -> Any:
        element = arrived.xml
        codes = frozenset(each.get("code") or "" for each in element.iter(f"{{{MUC_USER}}}status"))
        if local(element) == "presence":
            self.came.append((element.get("from") or "", element.get("type"), codes))
        elif codes:
            self.told.append((element.get("from") or "", codes))
        for decline in element.iter(f"{{{MUC_USER}}}decline"):
            self.declined.append((element.get("from") or "", decline.findtext(f"{{{MUC_USER}}}reason") or ""))
        return arrived


async def _holds(condition: Callable[[], bool], what: str, seconds: float = 8) -> None:
    try:
        async with asyncio.timeout(seconds):
            while not condition():
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None


class RoomsCase(LiveTests):
    """A mix-in: two gateways, one with rooms and one with mirrors of them, and the connection between them."""

    wire: Wire
    # The service whose rooms are mirrored; the ordinary service behind it, if there is one.
    service: ClassVar[str] = ROOMS
    backing: ClassVar[str] = ""
    # Mirrors whose users may administer rooms through them.
    administering: Sequence[str] = ()

    @property
    def rooms(self) -> str:
        """Service whose rooms those enter who use no mirror."""
        return self.backing or self.service

    @property
    def behind(self) -> dict[str, Value]:
        """Options of the service: with the ordinary service behind it, if there is one."""
        return {"backing": self.backing} if self.backing else {}

    def places(self, name: str, mirror: str = MIRROR) -> tuple[str, str]:
        """Return the addresses of a room and of its mirror."""
        return f"{name}@{self.rooms}", mirrored(f"{name}@{self.service}", mirror)

    def known(self, name: str) -> str:
        """Return the address by which a room knows a user who is in its mirror."""
        jid = f"{name}@{DOMAIN}"
        return f"{escapeLocal(jid)}@{self.service}" if self.backing else jid

    async def startSites(self) -> tuple[Gateway, Gateway]:
        """Start the gateway with the rooms, and that with the mirrors."""
        peers: dict[str, Value] = {"peers": list(MIRRORS), "administering_peers": list(self.administering)}
        rooms: dict[str, dict[str, Value]] = {f'rooms."{ROOMS}"': {**peers, **self.behind}}
        above = await self.startGateway(rooms)
        self.wire = await Wire(self.server.componentPort).open()
        self.stack.callback(self.wire.close)
        mirrors: dict[str, dict[str, Value]] = {
            f'mirror."{jid}"': {"allow": [ROOMS], "users": [DOMAIN], "protocol": protocol, "mode": mode}
            for jid, (protocol, mode) in MIRRORS.items()
        }
        below = self.newGateway(mirrors, port=self.wire.port)
        below.start()
        await below.ready()
        return above, below

    async def talker(self, user: str, resource: str = "talk") -> Talker:
        """Log in a client that uses slixmpp's own XEP-0045."""
        talker = await Talker(self.server, user, resource).login()
        self.stack.push_async_callback(talker.close)
        return talker

    async def configure(self, owner: Talker, room: str, **values: str) -> None:
        """Submit the form of the configuration."""
        form = owner.stream.plugin["xep_0004"].make_form(ftype="submit")
        form.add_field("FORM_TYPE", ftype="hidden", value=f"{MUC}#roomconfig")
        for name, value in values.items():
            form.add_field(f"muc#roomconfig_{name}", value=value)
        await owner.muc.set_room_config(JID(room), form)

    async def enter(self, client: Client, room: str, nick: str) -> None:
        """Let a client join, and wait for the subject. A new room is opened for others."""
        client.send(stanza("presence", MUC_X, to=f"{room}/{nick}"))
        await client.expect(
            lambda element: (
                local(element) == "message"
                and (element.get("from") or "").partition("/")[0] == room
                and any(local(child) == "subject" for child in element)
            ),
            f"the subject of {room}",
        )
        own = [each for each in client.received if each.get("from") == f"{room}/{nick}"]
        created = any(status.get("code") == "201" for each in own for status in each.iter(f"{{{MUC_USER}}}status"))
        if created and r"\40" not in room:
            await client.request(room, INSTANT, "set")

    def bodies(self, client: Client) -> list[tuple[str, str]]:
        """Return senders and bodies of the messages."""
        return [
            (element.get("from") or "", child.text or "")
            for element in client.received
            for child in element
            if local(element) == "message" and local(child) == "body"
        ]

    async def gone(self, client: Client, occupant: str, *codes: str) -> Element:
        """Wait for this occupant's leave, with these status codes."""

        def isIt(element: Element) -> bool:
            found = {each.get("code") for each in element.iter(f"{{{MUC_USER}}}status")}
            here = (local(element), element.get("from"), element.get("type"))
            return here == ("presence", occupant, "unavailable") and set(codes) <= found

        return await client.expect(isIt, f"{occupant} is gone")
