"""Two gateways whose direct link and s2s come and go: stanzas keep their order."""

from __future__ import annotations

import re
from collections import deque

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.testing.wire import stanzas
from tests.peers.support import HERE, THERE, Site, say, two
from tests.profiles import steady

ROOM, MIRROR = f"room@{THERE}", f"room@{HERE}"
STEPS = st.lists(
    st.sampled_from(
        ["one", "other", "one", "other", "cut", "block", "down", "up", "wait", "long", "serve", "serve"]
    ),
    max_size=40,
)


class Servers:
    """Two servers and the s2s between them, which delivers one stanza at a time, in order, when it is told to."""

    def __init__(self, one: Site, other: Site) -> None:
        self._sites = {one: other, other: one}
        self._waiting: dict[Site, deque[bytes]] = {one: deque(), other: deque()}

    def collect(self) -> None:
        for site, waiting in self._waiting.items():
            server = site.endpoint.server
            waiting += [each.whole for each in stanzas(server.value())]
            server.clear()

    def serve(self) -> bool:
        """Deliver the next stanza of each direction; return true if there was any."""
        self.collect()
        moved = False
        for site, waiting in self._waiting.items():
            if waiting:
                moved = True
                self._sites[site].fromServer(waiting.popleft().decode())
        return moved


class RandomTests(SynchronousTestCase):
    """Any sequence of losses and fallbacks."""

    @steady
    @given(STEPS)
    @example(["down", "cut", "long", "one", "other", "up", "long", "long", "one", "other", "serve", "one"])
    @example(["one", "block", "long", "long", "one", "long", "one", "serve", "serve"])
    def test_order(self, steps: list[str]) -> None:
        """
        Messages of each side arrive in their order, once at most. While no connection breaks, none is lost.

        Time passes in short pieces, because s2s keeps a stanza for a limited time only.
        """
        net, one, other = two(self.mktemp())
        net.turn()
        servers = Servers(one, other)
        sent = {one: 0, other: 0}
        for step in steps:
            if step in ("one", "other"):
                site, sender, recipient = (one, MIRROR, ROOM) if step == "one" else (other, ROOM, MIRROR)
                sent[site] += 1
                site.link.sendRaw(say(sent[site], sender, recipient).encode())
            elif step == "cut":
                net.wire.cut()
            elif step == "block":
                net.wire.isBlocked = True
            elif step in ("down", "up"):
                net.isDown = step == "down"
            elif step == "serve":
                servers.serve()
            else:
                net.wait(2 if step == "wait" else 20)
                servers.collect()
            net.turn()
        hasBroken = {"cut", "block"} & set(steps)
        net.isDown = False
        for _ in range(200):
            servers.serve()
            net.wait(1)
        for site, source in ((other, one), (one, other)):
            found = [int(each) for text in site.took() for each in re.findall(r"^<message .* id='m(\d+)'", text)]
            self.assertEqual(found, sorted(set(found)))
            if not hasBroken:
                self.assertEqual(found, list(range(1, sent[source] + 1)))
        for site in (one, other):
            site.stop()
        net.wait(1)
