"""Voice requests, requests between occupants, and vCards, in a room with two mirrors and a mirror of one."""

from __future__ import annotations

from gateway import ns
from tests.fmuc.test_text import ANN, BEN, CAT, LOW, MIDDLE, OTHER, OWNER, TOP, WAYS, net
from tests.fmuc.wire import Net, WireCase
from tests.muc.test_voice import REQUEST, answer

VERSION = f"<query xmlns='{ns.VERSION}'/>"
CARD = f"<vCard xmlns='{ns.VCARD}'/>"
USERS = {OWNER: (TOP, "owner"), ANN: (MIDDLE, "ann"), BEN: (OTHER, "ben"), CAT: (LOW, "cat")}


class ChainTests(WireCase):
    """One user at each node."""

    def nets(self) -> list[Net]:
        found = []
        for dialect, replica in WAYS:
            of = net(dialect, replica)
            of.join(TOP, "owner", OWNER)
            of.wires[TOP].room(TOP).settings.moderated = True
            for user, (room, nick) in list(USERS.items())[1:]:
                of.join(room, nick, user)
            found.append(of)
        return found

    def test_iq(self) -> None:
        """Each user reaches each other one, and gets one answer; no node keeps anything."""
        for of in self.nets():
            for asker, (room, nick) in USERS.items():
                for other, (near, there) in USERS.items():
                    if asker == other:
                        continue
                    told = of.take(room, f"<iq from='{asker}' to='{room}/{there}' id='q' type='get'>{VERSION}</iq>")
                    self.assertTold(told, f"iq {near}/{nick} > {other} get")
                    addresses = f"from='{other}' to='{near}/{nick}'"
                    told = of.take(near, f"<iq {addresses} id='q' type='result'>{VERSION}</iq>")
                    self.assertTold(told, f"iq {room}/{there} > {asker} result")
            self.assertEqual([len(wire.rooms.iqs) for wire in of.wires.values()], [0, 0, 0, 0])

    def test_voice(self) -> None:
        """A request of the last node reaches the room, and an error comes back all the way."""
        for of in self.nets():
            told = of.take(LOW, f"<message from='{CAT}' to='{LOW}' id='v'>{REQUEST}</message>")
            self.assertTold(told, f"message {TOP} > {OWNER}")
            of.take(TOP, f"<message from='{OWNER}' to='{TOP}'>{answer('cat', CAT)}</message>")
            self.assertEqual(of.wires[LOW].room(LOW).occupants["cat"].standing.role, "participant")
            told = of.take(LOW, f"<message from='{CAT}' to='{LOW}' id='v'>{REQUEST}</message>")
            self.assertTold(told, f"message {LOW} > {CAT} error conflict")
            self.assertEqual(set(of.wires[LOW].room(LOW).users), {CAT})

    def test_card(self) -> None:
        """A vCard comes from the room."""
        for of in self.nets():
            told = of.take(LOW, f"<iq from='{CAT}' to='{LOW}' id='c' type='get'>{CARD}</iq>")
            self.assertTold(told, f"iq {LOW} > {CAT} result")
