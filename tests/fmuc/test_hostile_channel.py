"""Hostile nodes and users of a channel: what they cost others is bounded (docs/fmuc-resync.md, section 8)."""

from __future__ import annotations

import re

from gateway import ns
from gateway.fmuc.channel.values import ChannelState
from gateway.fmuc.values import Mode
from tests.fmuc.linked import ANN, BEN, DOWN, HERE, OWN, ROOM, TOP
from tests.fmuc.test_linked import LinkedCase

_ERROR = f"<policy-violation xmlns='{ns.STANZA_ERRORS}'/>"


class HostileCase(LinkedCase):
    """One of the two nodes is hostile: its server vouches for its domain only."""

    def exchange(self, kind: str, domain: str, numbers: str, identifier: str, name: str = "resume") -> str:
        """Let the hostile node send a component a report; return what comes back."""
        self.link.crossed.clear()
        to, sender = (ROOM, HERE) if domain == TOP else (HERE, ROOM)
        inside = f"<{name} xmlns='{ns.CHANNEL}' {numbers}/>"
        self.link.send(domain, f"<iq type='{kind}' id='{identifier}' from='{sender}' to='{to}'>{inside}</iq>")
        return "".join(text for sender, text in self.link.crossed if sender == domain)


class EpochTests(HostileCase):
    """Epochs."""

    def test_others(self) -> None:
        """Rule 2: an epoch without a successor of 15 digits concerns nobody but the node that has told it."""
        self.link.cut()
        self.exchange("set", DOWN, "e='999999999999998' n='1' a='1'", "x")
        self.assertEqual(self.link.channel(DOWN).epoch, 999_999_999_999_999)
        for user, nick in (("ann@a.example/1", "ann"), (BEN, "ben")):
            self.link.leave(user, HERE, nick)
        self.link.join(BEN, HERE, "ben")
        self.link.wait(20)
        self.link.crossed.clear()
        self.link.join(BEN, rf"other\40{TOP}@{DOWN}", "ben")
        [join] = [text for _, text in self.link.crossed if f"other@{TOP}" in text]
        self.assertRegex(join, r' e="[0-9]{6}"')

    def test_contradictions(self) -> None:
        """Rule 15: a node whose answers contradict each other begins ten epochs at once, and then one a second."""
        self.link.cut()
        self.link.say(OWN, ROOM, "x")
        self.link.crossed.clear()
        self.link.wait(6)
        sent, begun = "".join(text for _, text in self.link.crossed), self.link.channel(TOP).epoch
        for _ in range(30):
            asked = re.findall(r'<[^<>]*iq [^<>]*id="([^"]*)"', sent)
            if not asked:
                break
            sent = self.exchange("result", TOP, f"e='{self.link.channel(TOP).epoch}' n='5' a='99'", asked[-1])
        self.assertEqual(self.link.channel(TOP).epoch, begun + 10)
        self.assertIs(self.link.channel(TOP).state, ChannelState.LOST)
        self.link.mend()
        self.link.wait(15)
        self.assertEqual(self.link.heard(BEN)[-1], "x")


class StormTests(HostileCase):
    """Requests, each of which has an answer."""

    def test_numbers(self) -> None:
        """Requests for the numbers: ten at once, and then one a second; others get C{resource-constraint}."""
        for name in ("probe", "resume"):
            self.link.wait(20)
            channel = self.link.channel(TOP)
            numbers = f"e='{channel.epoch}' n='{channel._inbox.received}' a='{channel._outbox.acknowledged}'"
            found = [self.exchange("get", TOP, numbers, str(each), name) for each in range(15)]
            self.assertTrue(all(f'id="{place}"' in each for place, each in enumerate(found)))
            self.assertEqual(["resource-constraint" in each for each in found], [False] * 10 + [True] * 5)

    def test_repeated(self) -> None:
        """Rule 18: a node that asks again and again gets what it has not acknowledged once in a round trip."""
        self.link.isLost = lambda sender, text: sender == TOP
        self.link.say(OWN, ROOM, "x")
        self.link.wait(10)
        channel = self.link.channel(TOP)
        numbers = f"e='{channel.epoch}' n='{channel._inbox.received}' a='{channel._outbox.acknowledged}'"
        found = [self.exchange("set", TOP, numbers, str(each)) for each in range(5)]
        self.assertEqual([">x<" in each for each in found], [True] + [False] * 4)
        self.assertTrue(all('type="result"' in each for each in found))
        self.link.mend()
        self.link.wait(30)
        self.assertHeard("x")


class UserTests(HostileCase):
    """A local user who floods a lost link: others lose nothing, and stay."""

    def flood(self, *xml: str) -> None:
        """Send stanzas to the mirror, 2,500 times."""
        for number in range(2_500):
            self.link.down.server.send("".join(xml).format(number))
        self.link.settle()

    def returned(self) -> None:
        """After the return, what others have said is shown, and nobody was put out."""
        self.link.wait(10)
        self.link.mend()
        self.link.wait(60)
        self.assertInside("ann", "ben", "own")
        self.assertIn("before", self.link.heard(OWN))

    def test_presence(self) -> None:
        """Rule 12: only the last presence of an occupant waits; it crosses, and the earlier ones do not."""
        self.link.cut()
        self.link.say(BEN, HERE, "before")
        self.flood(f"<presence from='{ANN}' to='{HERE}/ann'><status>s{{}}</status></presence>")
        self.assertEqual(len(self.link.channel(DOWN)), 2)
        self.link.crossed.clear()
        self.returned()
        told = {each for _, text in self.link.crossed for each in re.findall(r"\bs[0-9]+\b", text)}
        self.assertEqual(told, {"s2499"})
        self.assertPresence("ann", "s2499")
        self.assertEqual(+self.link.uplink.changes, {})

    def test_presenceAround(self) -> None:
        """A presence does not take the place of one before a leave and a join: both sides end equal."""
        for user, room, nick in ((ANN, HERE, "ann"), (OWN, ROOM, "own")):
            self.link.cut()
            self.link.say(user, room, "before")
            self.link.wait(60)
            domain = room.rpartition("@")[2]
            for number in range(4):
                self.link.leave(user, room, nick)
                self.link.join(user, room, nick)
                for status in range(3):
                    inside = f"<status>{number} {status}</status>"
                    self.link.send(domain, f"<presence from='{user}' to='{room}/{nick}'>{inside}</presence>")
            self.link.mend()
            self.link.wait(60)
            self.assertPresence(nick, "3 2")

    def test_presenceAroundLeave(self) -> None:
        """The same while the link is only slow, so that the nodes do not compare: a leave keeps its place."""
        self.link.isLost = lambda sender, text: sender == TOP and not text.endswith("iq>")
        for number in range(70):
            self.link.say(OWN, ROOM, f"m{number}")
        self.link.send(TOP, f"<presence from='{OWN}' to='{ROOM}/own'><status>before</status></presence>")
        self.link.leave(OWN, ROOM, "own")
        self.link.join(OWN, ROOM, "own")
        self.link.shown[ANN].clear()
        self.link.mend()
        self.link.wait(60)
        self.assertInside("ann", "ben", "own")
        found = [each for each in self.link.shown[ANN] if "presence" in each.tag]
        kinds = [(each.get("type"), each.findtext("{*}status")) for each in found]
        self.assertEqual(kinds, [(None, "before"), ("unavailable", None), (None, None)])

    def test_presenceSent(self) -> None:
        """A presence that was sent, and perhaps received, is not replaced."""
        self.link.isLost = lambda sender, text: sender == TOP
        for number in range(3):
            inside = f"<status>s{number}</status>"
            self.link.send(DOWN, f"<presence from='{ANN}' to='{HERE}/ann'>{inside}</presence>")
        self.link.mend()
        self.link.wait(60)
        self.assertPresence("ann", "s2")

    def test_forgottenWhileLost(self) -> None:
        """
        A user joins again after the room has said that it does not know the channel, and was lost again. What is
        said now is kept without a channel, until all have joined anew.
        """
        self.link.cut()
        self.link.say(BEN, HERE, "before")
        self.link.wait(60)
        asked = [each for _, text in self.link.crossed for each in re.findall(r' id="(cm1-[^"]*)"', text)]
        error = f"<error type='cancel'><item-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.link.send(DOWN, f"<iq type='error' id='{asked[-1]}' from='{ROOM}' to='{HERE}'>{error}</iq>")
        self.assertNotIn((HERE, ROOM), self.link.down.channels.table)
        self.link.shown.clear()
        self.link.join(ANN, HERE, "ann")
        isKept = self.mode is Mode.PRIMARY
        what = "is kept" if isKept else "is refused until it is back"
        notice = f"The link to {ROOM} is down since 14:12 UTC; what you say {what}."
        self.assertEqual(self.link.heard(ANN)[-1], notice)
        self.link.say(ANN, HERE, "meanwhile")
        self.assertEqual(self.link.errors(ANN), [] if isKept else ["recipient-unavailable"])
        self.link.mend()
        self.link.wait(60)
        self.assertEqual(self.link.heard(OWN), ["before", "meanwhile"] if isKept else ["before"])

    def test_forgotten(self) -> None:
        """Section 4.6: a room that knows the mirror, but not its channel, is joined anew, with another channel."""
        self.link.cut()
        self.link.say(BEN, HERE, "before")
        self.link.wait(60)
        asked = [each for _, text in self.link.crossed for each in re.findall(r' id="(cm1-[^"]*)"', text)]
        error = f"<error type='cancel'><item-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.link.mend()
        self.link.send(DOWN, f"<iq type='error' id='{asked[-1]}' from='{ROOM}' to='{HERE}'>{error}</iq>")
        self.link.wait(60)
        self.assertInside("ann", "ben", "own")
        self.assertIs(self.link.channel(DOWN).state, ChannelState.OPEN)
        self.assertEqual(self.link.heard(OWN), ["before"])

    def assertPresence(self, nick: str, status: str) -> None:
        """Both sides have this status of an occupant."""
        for side, room in ((self.link.top, ROOM), (self.link.down, HERE)):
            found = side.rooms.rooms[room].occupants[nick].payload.raw
            self.assertEqual(found, f"<status>{status}</status>".encode())

    def test_fromRoom(self) -> None:
        """The same from the room to the mirror; a private message is refused when no more can be kept."""
        self.link.cut()
        for number in range(1_200):
            inside = f"<status>s{number}</status>"
            self.link.top.server.send(f"<presence from='{OWN}' to='{ROOM}/own'>{inside}</presence>")
            body = f"<body>p{number}</body>"
            message = f"<message type='chat' id='p' from='{OWN}' to='{ROOM}/ann'>{body}</message>"
            self.link.top.server.send(message)
        self.link.settle()
        self.assertEqual(len(self.link.channel(TOP)), 1_000)
        kept = 1_200 - len(self.link.errors(OWN))
        self.assertEqual(set(self.link.errors(OWN)), {"resource-constraint"})
        self.link.mend()
        self.link.wait(60)
        self.assertEqual(self.link.heard(ANN), [f"p{number}" for number in range(kept)])
        self.assertPresence("own", "s1199")
        self.assertInside("ann", "ben", "own")

    def test_private(self) -> None:
        """XEP-0045 section 7.5: a private message that cannot be kept is refused; its error is not sent then."""
        self.link.cut()
        self.link.say(BEN, HERE, "before")
        for kind, inside in (("chat", "<body>p</body>"), ("error", f"<error type='cancel'>{_ERROR}</error>")):
            self.flood(f"<message type='{kind}' id='p' from='{ANN}' to='{HERE}/own'>{inside}</message>")
            self.assertEqual(len(self.link.channel(DOWN)), 1_000)
        self.assertEqual(self.link.errors(ANN), ["resource-constraint"] * 1_501)
        self.returned()


class UserReplicaTests(UserTests):
    """The same in replica mode: while the link is down, private messages are refused as messages to all are."""

    mode = Mode.REPLICA

    def test_private(self) -> None:
        """The reason is that the link is down."""
        self.link.cut()
        self.link.say(BEN, HERE, "before")
        self.link.wait(60)
        self.link.send(DOWN, f"<message type='chat' id='p' from='{ANN}' to='{HERE}/own'><body>p</body></message>")
        self.assertEqual(self.link.errors(ANN), ["recipient-unavailable"])
        self.returned()


del LinkedCase, HostileCase
