"""Hostile nodes and users of a channel: what they cost others is bounded (docs/fmuc-resync.md, section 8)."""

from __future__ import annotations

import re

from gateway import ns
from gateway.fmuc.channel import Channel
from gateway.fmuc.channel_values import ChannelState
from gateway.stream.stanzas import Stanza
from tests.fmuc.linked import BEN, DOWN, HERE, OWN, ROOM, TOP
from tests.fmuc.test_linked import LinkedCase


class HostileCase(LinkedCase):
    """One of the two nodes is hostile: its server vouches for its domain only."""

    def channel(self, domain: str) -> Channel[Stanza]:
        """Return one end of the channel."""
        channels = self.link.sides[domain].rooms.channels
        assert channels is not None
        return channels.table[(ROOM, HERE) if domain == TOP else (HERE, ROOM)]

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
        self.assertEqual(self.channel(DOWN).epoch, 999_999_999_999_999)
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
        sent, begun = "".join(text for _, text in self.link.crossed), self.channel(TOP).epoch
        for _ in range(30):
            asked = re.findall(r'<[^<>]*iq [^<>]*id="([^"]*)"', sent)
            if not asked:
                break
            sent = self.exchange("result", TOP, f"e='{self.channel(TOP).epoch}' n='5' a='99'", asked[-1])
        self.assertEqual(self.channel(TOP).epoch, begun + 10)
        self.assertIs(self.channel(TOP).state, ChannelState.LOST)
        self.link.mend()
        self.link.wait(15)
        self.assertEqual(self.link.heard(BEN)[-1], "x")


class StormTests(HostileCase):
    """Requests, each of which has an answer."""

    def test_numbers(self) -> None:
        """Requests for the numbers: ten at once, and then one a second; others get C{resource-constraint}."""
        for name in ("probe", "resume"):
            self.link.wait(20)
            channel = self.channel(TOP)
            numbers = f"e='{channel.epoch}' n='{channel._inbox.received}' a='{channel._outbox.acknowledged}'"
            found = [self.exchange("get", TOP, numbers, str(each), name) for each in range(15)]
            self.assertTrue(all(f'id="{place}"' in each for place, each in enumerate(found)))
            self.assertEqual(["resource-constraint" in each for each in found], [False] * 10 + [True] * 5)

    def test_repeated(self) -> None:
        """Rule 18: a node that asks again and again gets what it has not acknowledged once in a round trip."""
        self.link.isLost = lambda sender, text: sender == TOP
        self.link.say(OWN, ROOM, "x")
        channel = self.channel(TOP)
        numbers = f"e='{channel.epoch}' n='{channel._inbox.received}' a='{channel._outbox.acknowledged}'"
        found = [self.exchange("set", TOP, numbers, str(each)) for each in range(5)]
        self.assertEqual([">x<" in each for each in found], [True] + [False] * 4)
        self.assertTrue(all('type="result"' in each for each in found))
        self.link.mend()
        self.link.wait(30)
        self.assertHeard("x")


del LinkedCase, HostileCase
