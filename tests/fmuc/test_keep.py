"""Mirrors that stay in their room for a while when their last user has left (C{keep})."""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.fmuc.channel.values import MAX_KEEP
from gateway.fmuc.nodes import JoinedNode, JoiningNode
from gateway.fmuc.values import Mode
from gateway.testing import MemoryGateway
from tests.fmuc.linked import ANN, BELOW, BEN, DOWN, HERE, OWN, ROOM, TOP, Linked
from tests.fmuc.support import MUC, canonical
from tests.fmuc.test_linked import EPOCH, LinkedCase, header, stored
from tests.muc.test_local import user

KEEP = 300


def headerOf(text: str) -> str:
    """Return the element with the numbers of a stanza."""
    found = re.search(r' n="\d+( \d+)? (\d+)"', text)
    assert found is not None
    return header(None if found[1] is None else int(found[1]), int(found[2]))


class KeepCase(LinkedCase):
    """A mirror that stays for five minutes: its two users have left."""

    def setUp(self) -> None:
        self.link = Linked(self.mode, keep=KEEP)
        self.enter()
        self.leave()
        self.link.wait(3)
        self.link.crossed.clear()

    def leave(self) -> None:
        """The users of the mirror leave."""
        self.link.leave(BEN, HERE, "ben")
        self.link.leave(ANN, HERE, "ann")

    @property
    def states(self) -> tuple[bool, bool]:
        """True for each node, if it has the other one."""
        up, down = self.link.top.rooms.node(ROOM, HERE), self.link.down.rooms.federation(HERE)
        return up is not None, down is not None


class KeepTests(KeepCase):
    """XEP-0289 section 6.4, with section 4.8 of docs/fmuc-resync.md. Rules 31, 32."""

    def test_back(self) -> None:
        """A user who is back in a moment costs nothing but the join, and gets what was said meanwhile."""
        self.assertEqual(self.link.occupants(), (["own"], ["own"]))
        self.link.wait(100)
        self.assertCrossed()
        self.link.say(OWN, ROOM, "x")
        self.link.wait(30)
        crossed, alone = (text for _, text in self.link.crossed)
        head = f"<message type='groupchat' id='x' from='{ROOM}/own' to='{HERE}'>"
        self.assertCrossed(
            f"{head}<body>x</body>{headerOf(crossed)}</message>",
            f"<message from='{HERE}' to='{ROOM}'>{headerOf(alone)}</message>",
        )
        self.link.shown[ANN].clear()
        self.link.join(ANN, HERE, "ann")
        names = [text.partition(" ")[0] for _, text in self.link.crossed]
        self.assertEqual(names, ["<ns0:presence"] * 2)
        self.assertInside("ann", "own")
        self.assertEqual(self.link.heard(ANN), ["x"])
        self.link.wait(2 * KEEP)
        self.assertInside("ann", "own")
        for who, room, body in ((ANN, HERE, "a"), (OWN, ROOM, "o")):
            self.link.say(who, room, body)
        self.assertHeard("x", "a", "o", users=(OWN, ANN))

    def test_over(self) -> None:
        """The room ends the stay. Nothing is left of it, and the next join begins another channel."""
        self.link.wait(KEEP - 20)
        self.assertEqual(self.states, (True, True))
        self.assertCrossed()
        self.link.wait(40)
        [told] = [text for domain, text in self.link.crossed if domain == TOP and "left" in text]
        left = f"<fmuc xmlns='{ns.FMUC}'><left/></fmuc>{headerOf(told)}"
        self.assertEqual(canonical(told), canonical(f"<presence from='{ROOM}' to='{HERE}'>{left}</presence>"))
        self.assertEqual(self.states, (False, False))
        self.assertEqual((stored(self.link.top), stored(self.link.down)), (0, 0))
        self.link.join(ANN, HERE, "ann")
        self.assertInside("ann", "own")
        self.assertTrue(any(f'e="{EPOCH + 1}"' in text for _, text in self.link.crossed))

    def test_again(self) -> None:
        """The time begins anew when the last user leaves another time."""
        for _ in range(3):
            self.link.wait(KEEP - 60)
            self.link.join(ANN, HERE, "ann")
            self.link.leave(ANN, HERE, "ann")
        self.assertEqual(self.states, (True, True))
        self.link.wait(KEEP - 20)
        self.assertEqual(self.states, (True, True))
        self.link.wait(60)
        self.assertEqual(self.states, (False, False))

    def test_restart(self) -> None:
        """Each gateway is killed meanwhile: the mirror stays, and what was said meanwhile is there."""
        for sides in ((TOP,), (DOWN,), (TOP, DOWN)):
            with self.subTest(sides=sides):
                self.setUp()
                self.link.say(OWN, ROOM, "x")
                for domain in sides:
                    self.link.kill(self.link.sides[domain])
                self.link.wait(90)
                self.assertEqual(self.states, (True, True))
                self.link.say(OWN, ROOM, "y")
                self.link.wait(3)
                self.link.shown[ANN].clear()
                self.link.crossed.clear()
                self.link.join(ANN, HERE, "ann")
                self.assertEqual(len(self.link.crossed), 2)
                self.assertEqual(self.link.heard(ANN), ["x", "y"])
                self.assertInside("ann", "own")
                self.link.leave(ANN, HERE, "ann")
                self.link.wait(KEEP + 60)
                self.assertEqual(self.states, (False, False))

    def test_lost(self) -> None:
        """The link is down: each node ends the stay by itself. No ghost is left, and the next join succeeds."""
        self.link.cut()
        self.link.say(OWN, ROOM, "x")
        self.link.wait(KEEP + 1_300)
        self.assertEqual(self.states, (False, False))
        self.link.mend()
        self.link.join(ANN, HERE, "ann")
        self.assertInside("ann", "own")

    def test_backWhileLost(self) -> None:
        """The link is down for a while, and a user is back before it is up."""
        self.link.cut()
        self.link.wait(100)
        self.link.join(ANN, HERE, "ann")
        self.link.mend()
        self.link.wait(60)
        self.assertInside("ann", "own")

    def test_leftWhileLost(self) -> None:
        """The last user leaves while the link is down: the mirror stays, and gets what was said meanwhile."""
        self.link.join(ANN, HERE, "ann")
        self.link.cut()
        self.link.say(OWN, ROOM, "x")
        self.link.wait(200)
        federation = self.link.down.rooms.federation(HERE)
        assert federation is not None
        self.assertTrue(federation.isLost)
        self.link.leave(ANN, HERE, "ann")
        self.link.wait(60)
        self.link.mend()
        self.link.wait(60)
        self.assertEqual(self.states, (True, True))
        self.assertEqual(self.link.occupants(), (["own"], ["own"]))
        self.link.shown[ANN].clear()
        self.link.crossed.clear()
        self.link.join(ANN, HERE, "ann")
        self.assertEqual(len(self.link.crossed), 2)
        self.assertEqual(self.link.heard(ANN), ["x"])
        self.assertInside("ann", "own")
        self.link.leave(ANN, HERE, "ann")
        self.link.wait(KEEP + 60)
        self.assertEqual(self.states, (False, False))

    def test_kicked(self) -> None:
        """XEP-0045 section 8.2: a kick of the last user is a leave as any other."""
        self.link.join(ANN, HERE, "ann")
        kick = f"<query xmlns='{ns.MUC_ADMIN}'><item nick='ann' role='none'/></query>"
        self.link.send(TOP, f"<iq type='set' id='k' from='{OWN}' to='{ROOM}'>{kick}</iq>")
        self.assertEqual(self.link.occupants(), (["own"], ["own"]))
        self.assertEqual(self.states, (True, True))
        self.link.wait(KEEP + 60)
        self.assertEqual(self.states, (False, False))

    def test_destroyed(self) -> None:
        """XEP-0045 section 10.9: the room is destroyed meanwhile, and nothing of it is left here."""
        destroy = f"<query xmlns='{ns.MUC_OWNER}'><destroy/></query>"
        self.link.send(TOP, f"<iq type='set' id='d' from='{OWN}' to='{ROOM}'>{destroy}</iq>")
        self.assertEqual(self.states, (False, False))
        self.link.wait(KEEP)
        self.assertEqual((stored(self.link.top), stored(self.link.down)), (0, 0))

    def test_temporary(self) -> None:
        """A temporary room exists as long as the mirror stays, and ends with the stay."""
        self.link.leave(OWN, ROOM, "own")
        self.link.wait(60)
        self.assertEqual((list(self.link.top.rooms.rooms), list(self.link.down.rooms.rooms)), ([ROOM], [HERE]))
        self.link.wait(KEEP)
        self.assertEqual((self.link.top.rooms.rooms, self.link.down.rooms.rooms), ({}, {}))


class KeepReplicaTests(KeepTests):
    """The same in replica mode."""

    mode = Mode.REPLICA


class AgreementTests(SynchronousTestCase):
    """The negotiation. Rule 30."""

    maxDiff = None

    def test_stanzas(self) -> None:
        """The first join has the time, and the room agrees to it, in both modes."""
        for mode in Mode:
            link = Linked(mode, keep=KEEP)
            link.join(OWN, ROOM, "own")
            link.join(ANN, HERE, "ann")
            replica = "<replica/>" if mode is Mode.REPLICA else ""
            channel = f"<channel xmlns='{ns.CHANNEL}' e='{EPOCH}' k='{KEEP}'/>"
            fmuc = f"<fmuc xmlns='{ns.FMUC}' from='{ANN}'>{replica}{channel}</fmuc>"
            item = user("none", "participant", jid=ANN)
            self.assertEqual(
                canonical(link.crossed[0][1]),
                canonical(f"<presence from='{HERE}/ann' to='{ROOM}/ann'>{fmuc}{MUC}{item}</presence>"),
            )
            item = user("none", "participant")
            # The acceptance also has the number of occupants that were told before (section 4.1).
            fmuc = fmuc.replace("/></fmuc>", " o='1'/></fmuc>")
            self.assertEqual(
                canonical(link.crossed[2][1]),
                canonical(f"<presence from='{ROOM}/ann' to='{HERE}'>{fmuc}{item}</presence>"),
            )

    def test_notAgreed(self) -> None:
        """Without a channel, or if the room does not agree, the mirror leaves with its last user, as before."""
        for has in ((True, False), (False, True)):
            link = Linked(Mode.PRIMARY, has, keep=KEEP)
            link.join(OWN, ROOM, "own")
            link.join(ANN, HERE, "ann")
            link.leave(ANN, HERE, "ann")
            self.assertEqual(link.occupants(), (["own"], []))
            self.assertEqual(link.down.rooms.rooms, {})

    def test_most(self) -> None:
        """The room agrees to an hour at most, and the mirror stays no longer than it has asked for."""
        link = Linked(keep=10**6)
        link.join(ANN, HERE, "ann")
        node = link.top.rooms.node(ROOM, HERE)
        assert node is not None
        self.assertEqual(node.keep, MAX_KEEP)
        joined = link.down.rooms.node(HERE, ROOM)
        assert joined is not None
        self.assertEqual(joined.keep, MAX_KEEP)

    def test_bad(self) -> None:
        """A time that is no number is refused."""
        link = Linked()
        for text in ("", "x", "-1", "1.5", "1" * 16):
            link.crossed.clear()
            channel = f"<channel xmlns='{ns.CHANNEL}' e='1' k='{text}'/>"
            fmuc = f"<fmuc xmlns='{ns.FMUC}' from='{ANN}'>{channel}</fmuc>"
            link.send(TOP, f"<presence from='{HERE}/ann' to='{ROOM}/ann' id='1'>{fmuc}{MUC}</presence>")
            self.assertIn("bad-request", link.crossed[0][1])

    def test_chain(self) -> None:
        """A mirror in the middle of a chain keeps no other mirror: it may leave the room itself."""
        link = Linked(isChain=True, keep=KEEP)
        link.join(OWN, ROOM, "own")
        link.join(BEN, BELOW, "ben")
        link.leave(BEN, BELOW, "ben")
        link.wait(3)
        self.assertEqual(link.sides["low.example"].rooms.rooms, {})
        federation = link.down.rooms.federation(HERE)
        assert federation is not None
        self.assertEqual(federation.joiningNodes, {})
        link.wait(KEEP + 60)
        self.assertEqual(link.down.rooms.rooms, {})

    def test_records(self) -> None:
        """A restart does not change what was agreed; records of earlier releases have nothing of it."""
        joined = JoinedNode.restored("r@x", '["xep-0289", "primary", "primary", false, true, false]')
        self.assertEqual(joined.keep, 0)
        joined.keep = KEEP
        self.assertEqual(JoinedNode.restored("r@x", joined.record()).keep, KEEP)
        record = '["xep-0289", "primary", "primary", false, true, false, true, "hf"]'
        joining = JoiningNode.restored("r@x", record)
        self.assertEqual((joining.keep, joining.profile.name), (0, "hf"))
        joining.keep = KEEP
        again = JoiningNode.restored("r@x", joining.record())
        self.assertEqual((again.keep, again.profile.name), (KEEP, "hf"))


class ConfiguredTests(SynchronousTestCase):
    """The key C{keep}."""

    def test_offered(self) -> None:
        """The time of the configuration is offered; the default is none."""
        for line, expected in (("", None), ('keep = "0s"', None), ('keep = "5m"', "300"), ('keep = "1h"', "3600")):
            table = f'[mirror."{DOWN}"]\nallow = ["{TOP}"]\nusers = ["a.example"]\n{line}\n'
            gateway = MemoryGateway(Path(self.mktemp()), table)
            self.addCleanup(gateway.stop)
            [sent] = gateway.server(DOWN).ask(f"<presence from='{ANN}' to='{HERE}/ann'>{MUC}</presence>")
            [channel] = sent.findall(f".//{{{ns.CHANNEL}}}channel")
            self.assertEqual(channel.get("k"), expected)
