"""Costs of a channel: bytes of a message, stanzas in silence, round trips of a join (docs/fmuc-resync.md)."""

from __future__ import annotations

from collections.abc import Callable
from xml.etree.ElementTree import tostring

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.fmuc.profiles import BROADBAND, HF, PROFILES, SATELLITE, Profile
from gateway.fmuc.values import Mode
from gateway.xml.write import route
from tests.fmuc.linked import ANN, BEN, DOWN, HERE, OWN, ROOM, TOP, Linked
from tests.fmuc.support import canonical
from tests.fmuc.test_linked import GONE, header
from tests.fmuc.test_profiles import ACTIVE, CAPS, MARKABLE

_SUBJECT = f"{{{ns.COMPONENT_ACCEPT}}}subject"
_UUID = "0b0ee0c7-2a3c-4c7c-9a3d-6f2d8f1f2a11"
_ORIGIN = f"<origin-id xmlns='{ns.SID}' id='{_UUID}'/>"
_BODY = "<body>We are at anchor off the harbour, and wait.</body>"
# As these clients write a message; only the texts and ids differ.
_CLIENTS = {
    "Dino": f"{_BODY}{_ORIGIN}{MARKABLE}",
    "Gajim": f"{_BODY}{ACTIVE}{_ORIGIN}",
    "Conversations": f"{_BODY}{ACTIVE}{_ORIGIN}{MARKABLE}",
}
# Without optional elements: the origin id and the text.
_BARE = f"{_BODY}{_ORIGIN}"


def _written(sender: str, recipient: str, content: str, identifier: str = _UUID) -> str:
    """Return a message to all."""
    addresses = route(sender, recipient).decode()
    return f"<message{addresses} id='{identifier}' type='groupchat'>{content}</message>"


class ChannelCase(SynchronousTestCase):
    """A room with its owner, and a mirror with two users."""

    maxDiff = None

    def linked(self, mode: Mode, profile: Profile, isEntered: bool = True) -> Linked:
        """Return both sides."""
        link = Linked(mode, profile=profile)
        if isEntered:
            link.join(OWN, ROOM, "own")
            link.join(ANN, HERE, "ann")
            link.join(BEN, HERE, "ben")
            link.wait(20)
            link.crossed.clear()
        return link


class BytesTests(ChannelCase):
    """Section 4.2, rules 27, 28, 29: the header of a message, and what it replaces."""

    def crossing(self, link: Linked, sender: str, content: str, identifier: str = _UUID) -> list[bytes]:
        """Return the messages with a body that cross when a user says something, byte for byte."""
        sent: list[bytes] = []
        for side in link.sides.values():
            inner = side.server.link.sendRaw

            def sendRaw(data: bytes, inner: Callable[[bytes], bool] = inner) -> bool:
                sent.append(data)
                return inner(data)

            self.patch(side.server.link, "sendRaw", sendRaw)
        domain, room = (TOP, ROOM) if sender == OWN else (DOWN, HERE)
        link.send(domain, _written(sender, room, content, identifier))
        nodes = (f" to='{ROOM}'".encode(), f" to='{HERE}'".encode())
        return [each for each in sent if b"<r xmlns=" in each and any(node in each for node in nodes)]

    def test_hf(self) -> None:
        """
        A message crosses as one stanza. With the number and the acknowledgement, it has at most 15 % more bytes
        than the bare message on the same link: with the addresses, the id, the origin id and the text, as the
        user's server sends it to the room; and as the room sends it to one user, with the room's two ids.
        """
        ids = (
            f"<occupant-id xmlns='urn:xmpp:occupant-id:0' id='{'x' * 22}'/>"
            f"<stanza-id xmlns='{ns.SID}' by='{ROOM}' id='{'x' * 16}'/>"
        )
        for mode in Mode:
            for client, content in _CLIENTS.items():
                for sender, expected in (
                    (ANN, _written("ann@a.example/gajim.0123ABCD", ROOM, _BARE)),
                    (OWN, _written(f"{ROOM}/own", "ann@a.example/gajim.0123ABCD", _BARE + ids)),
                ):
                    with self.subTest(mode=mode, client=client, sender=sender):
                        link = self.linked(mode, HF)
                        crossed = self.crossing(link, sender, content)
                        isReturned = mode is Mode.REPLICA and sender == ANN
                        self.assertEqual(len(crossed), 2 if isReturned else 1)
                        self.assertIn(b"<r xmlns='urn:xmpp:fr:0' n='379573 ", crossed[0])
                        # Numbers of four digits in the place of one.
                        self.assertLessEqual(len(crossed[0]) + 2 * 3, 1.15 * len(expected))

    def test_ids(self) -> None:
        """
        Rule 28, XEP-0359 sections 3 and 4: ids that a header tells are shown as elements: an origin id that is
        equal to the message's id, and the room's stanza id, the same at both nodes. Others cross as they are.
        """
        other = "<origin-id xmlns='urn:xmpp:sid:0' id='other'/>"
        quoted = f"<quote xmlns='urn:example'>{_ORIGIN}</quote>"
        for mode in Mode:
            for sender in (ANN, OWN):
                for content, isShort in (
                    (f"{_BODY}{_ORIGIN}{MARKABLE}", True),
                    (f"{_BODY}{other}", False),
                    (f"{quoted}{_BODY}", False),
                    (_BODY, False),
                ):
                    with self.subTest(mode=mode, sender=sender, content=content):
                        link = self.linked(mode, BROADBAND)
                        crossed = self.crossing(link, sender, content)
                        self.assertEqual([b" o='1'" in each for each in crossed], [isShort] * len(crossed))
                        self.assertFalse([each for each in crossed if b"<stanza-id" in each or b"<fmuc" in each])
                        shown = [link.shown[user][-1] for user in (OWN, ANN, BEN)]
                        ids = [each.find(f"{{{ns.SID}}}stanza-id") for each in shown]
                        self.assertEqual(len({each.get("id") for each in ids if each is not None}), 1)
                        self.assertEqual([each.get("by") for each in ids if each is not None], [ROOM, HERE, HERE])
                        for user, there in ((OWN, ROOM), (ANN, HERE), (BEN, HERE)):
                            nick = "own" if sender == OWN else "ann"
                            [found] = canonical(tostring(link.shown[user][-1]))
                            self.assertEqual(found, canonical(_written(f"{there}/{nick}", user, content))[0])

    def test_foreign(self) -> None:
        """Rule 28: a stanza id by another entity, which a client has quoted, crosses as an element."""
        quoted = f"<stanza-id xmlns='{ns.SID}' by='other@rooms.example' id='quoted'/>"
        for sender in (ANN, OWN):
            link = self.linked(Mode.PRIMARY, BROADBAND)
            self.crossing(link, sender, quoted + _BODY)
            for user, room in ((OWN, ROOM), (BEN, HERE)):
                found = link.shown[user][-1].findall(f"{{{ns.SID}}}stanza-id")
                self.assertEqual({each.get("by"): each.get("id") == "quoted" for each in found},
                                 {"other@rooms.example": True, room: False})

    def test_twoSessions(self) -> None:
        """Rule 27, primary mode: a message names its sender if the user is at both nodes, to tell them apart."""
        link = self.linked(Mode.PRIMARY, BROADBAND)
        link.join("ann@a.example/2", ROOM, "ann")
        link.say("ann@a.example/2", ROOM, "x")
        self.assertIn(f"<fmuc xmlns='{ns.FMUC}' from=", self.names(link.crossed[-1][1]))
        self.assertEqual([link.heard(each) for each in (OWN, ANN, BEN)], [["x"]] * 3)

    def test_hidden(self) -> None:
        """Rule 27: the mirror does not know a hidden occupant, so the message names its sender."""
        link = self.linked(Mode.PRIMARY, BROADBAND)
        field = "<field var='muc#roomconfig_presencebroadcast'><value>moderator</value></field>"
        form = f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='{ns.DATA}' type='submit'>{field}</x></query>"
        link.send(TOP, f"<iq type='set' id='c' from='{OWN}' to='{ROOM}'>{form}</iq>")
        link.join("cat@b.example/1", ROOM, "cat")
        link.say("cat@b.example/1", ROOM, "x")
        self.assertIn("from='cat@b.example/1'", self.names(link.crossed[-1][1]))
        self.assertEqual(link.heard(ANN), ["x"])

    @staticmethod
    def names(text: str) -> str:
        """Return a stanza without the prefixes of the tests' serialiser."""
        return canonical(text)[0].replace("n1:", "").replace("n2:", "").replace(":n2", "").replace('"', "'")

    def test_refused(self) -> None:
        """Rule 29: an id that is told twice, or is none, is a bad request, and an origin id without an id."""
        for attributes, inside, identifier in (
            (" o='2'", "", "m"),
            (" o='1'", "", ""),
            (" o='1'", "<origin-id xmlns='urn:xmpp:sid:0' id='m'/>", "m"),
            (f" i='{'x' * 257}'", "", "m"),
            (" i='x'", f"<stanza-id xmlns='urn:xmpp:sid:0' by='{HERE}' id='y'/>", "m"),
        ):
            with self.subTest(attributes=attributes, inside=inside):
                link = self.linked(Mode.PRIMARY, BROADBAND)
                given = f" id='{identifier}'" if identifier else ""
                head = f"<message type='groupchat' from='{HERE}/ann' to='{ROOM}'{given}>"
                numbers = header(2, 2)[:-2] + attributes + "/>"
                link.send(TOP, f"{head}<body>x</body>{inside}{numbers}</message>")
                self.assertTrue([text for sender, text in link.crossed if sender == TOP and "bad-request" in text])
                self.assertEqual(link.heard(OWN), [])


class SilenceTests(ChannelCase):
    """Rule 10: nothing is sent while there is nothing to tell, except by rule 19."""

    def test_silence(self) -> None:
        """
        In an hour in which nobody talks, only the probes of the profile cross: a request and its answer each time.
        Presence that the profile strips, or that is the same again in time, causes nothing.
        """
        for mode in Mode:
            for profile in PROFILES.values():
                with self.subTest(mode=mode, profile=profile.name):
                    link = self.linked(mode, profile)
                    if profile is HF:
                        # Its capabilities do not cross.
                        link.send(DOWN, f"<presence from='{ANN}' to='{HERE}/ann'>{CAPS}</presence>")
                        link.send(TOP, f"<presence from='{OWN}' to='{ROOM}/own'>{CAPS}</presence>")
                    if profile is not BROADBAND:
                        for inside in ("<show>away</show>", ""):
                            link.send(DOWN, f"<presence from='{ANN}' to='{HERE}/ann'>{inside}</presence>")
                            link.send(TOP, f"<presence from='{OWN}' to='{ROOM}/own'>{inside}</presence>")
                        link.send(DOWN, _written(ANN, HERE, ACTIVE))
                        link.send(TOP, _written(OWN, ROOM, ACTIVE))
                    link.wait(3_600)
                    kinds = {(domain, "<probe" in self.plain(text)) for domain, text in link.crossed}
                    self.assertEqual(kinds, {(DOWN, True), (TOP, True)})
                    self.assertLessEqual(len(link.crossed), 2 * 3_600 / profile.pace.silence)
                    self.assertEqual(len(link.crossed) % 2, 0)

    @staticmethod
    def plain(text: str) -> str:
        """Return a stanza without prefixes."""
        return text.replace("<ns1:", "<").replace("<ns0:", "<").replace("<ns2:", "<")


class RoundTripTests(ChannelCase):
    """Section 4.1: the negotiation takes no further round trip."""

    def flights(self, link: Linked, user: str, room: str, nick: str) -> int:
        """Return the number of times that something crosses before a user who joins sees the subject."""
        waiting = self.hold(link)
        link.join(user, room, nick)
        count = 0
        while not any(each.find(_SUBJECT) is not None for each in link.shown.get(user, [])):
            count += 1
            self.assertTrue(waiting)
            self.cross(link, waiting)
        return count

    @staticmethod
    def hold(link: Linked) -> list[tuple[str, str]]:
        """Hold what is sent between the nodes from here on."""
        waiting: list[tuple[str, str]] = []

        def take(sender: str, text: str) -> bool:
            waiting.append((sender, text))
            return True

        link.isLost = take
        return waiting

    @staticmethod
    def cross(link: Linked, waiting: list[tuple[str, str]]) -> None:
        """Deliver what is held."""
        batch, waiting[:] = waiting[:], []
        for sender, text in batch:
            link.packets.append((DOWN if sender == TOP else TOP, text.encode()))
        link.settle()

    def test_join(self) -> None:
        """XEP-0045 section 7.2: the first user, and each other one, is in after one round trip: under 1.5."""
        for mode in Mode:
            for profile in (BROADBAND, SATELLITE, HF):
                with self.subTest(mode=mode, profile=profile.name):
                    link = self.linked(mode, profile, isEntered=False)
                    link.join(OWN, ROOM, "own")
                    link.say(OWN, ROOM, "x")
                    self.assertEqual(self.flights(link, ANN, HERE, "ann"), 2)
                    self.assertEqual(self.flights(link, BEN, HERE, "ben"), 2)
                    self.assertEqual(link.occupants(), (["ann", "ben", "own"],) * 2)

    def test_again(self) -> None:
        """A user who has left, while others stay, joins again with the same presence, and is answered at once."""
        for mode in Mode:
            for profile in (BROADBAND, SATELLITE, HF):
                with self.subTest(mode=mode, profile=profile.name):
                    link = self.linked(mode, profile)
                    link.leave(ANN, HERE, "ann")
                    link.shown.clear()
                    self.assertEqual(self.flights(link, ANN, HERE, "ann"), 2)

    def rejoin(self, mode: Mode, isSlow: Callable[[str], bool]) -> None:
        """
        Let a room forget its mirror over a long outage, and let all join anew: nobody is put out.

        @param isSlow: is called with each stanza on its way; True if it takes longer than one wait.
        """
        link = self.linked(mode, BROADBAND)
        link.cut()
        link.say(OWN, ROOM, "x")
        link.wait(GONE + 300)
        self.assertEqual(link.occupants()[0], ["own"])
        link.shown.clear()
        waiting = self.hold(link)
        for _ in range(60):
            link.wait(45 if any(isSlow(text) for _, text in waiting) else 2)
            self.cross(link, waiting)
        own = [each for user in (ANN, BEN) for each in link.shown[user] if b"110" in tostring(each)]
        self.assertNotIn("unavailable", [each.get("type") for each in own])
        self.assertEqual(link.occupants(), (["ann", "ben", "own"],) * 2)

    def test_slowReturn(self) -> None:
        """Section 4.6: after a long outage of a slow link, the users of a mirror that was forgotten stay in."""
        for mode in Mode:
            with self.subTest(mode=mode):
                self.rejoin(mode, lambda text: False)

    def test_slowJoins(self) -> None:
        """Section 4.6: joins anew that take longer than one wait put nobody out, and leave no ghost."""
        for mode in Mode:
            with self.subTest(mode=mode):
                # The join of the second user takes long.
                self.rejoin(mode, lambda text: "/ben" in text)
