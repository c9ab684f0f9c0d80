"""The rules against a simple model: after any events in any order, all nodes agree."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.fmuc.profiles import HF, SATELLITE, Profile
from gateway.fmuc.values import Dialect
from tests.fmuc.chain import BOTTOM, MIDDLE, NODES, TOP, Chain, Client
from tests.fmuc.steps import Spoken, act, steps
from tests.fmuc.support import MUC
from tests.profiles import steady, thorough

DIALECTS = st.sampled_from(Dialect)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            (
                *("join", "join", "leave", "say", "say", "status", "kick", *["deliver"] * 5, "settle", "settle"),
                *("restart", "crash"),
            )
        ),
        st.integers(0, 5),
        st.sampled_from("abcd"),
    ),
    min_size=12,
    max_size=60,
)
SEED, PRIMARY = (Dialect.PROTOXEP, Dialect.PROTOXEP), (False, False)


class ChainTests(SynchronousTestCase):
    """Occupants and messages agree at all nodes, and nothing arrives twice."""

    @thorough
    # Another occupant's presence is taken for the answer to a join: that occupant changes the nick, or is kicked.
    @example(SEED, PRIMARY, steps("join0a join0b join2c join3a deliver0 join0a join0b"))
    @example(SEED, PRIMARY, steps("join0a join2b join3a leave0 deliver0 join0a kick0"))
    @example(SEED, PRIMARY, steps("join0a join3b leave0 settle0 join0a join2a say0"))
    # A node is considered left while one of its joins is in flight, and receives the history a second time.
    @example(SEED, PRIMARY, steps("join0a join1b join4c leave0 say0 settle0 join5a leave0 kick0 leave0"))
    @example(SEED, PRIMARY, steps("join0a join4c settle0 join5b kick1 leave0 leave0"))
    # An occupant is kicked while another one's leave is in flight.
    @example(
        SEED,
        PRIMARY,
        steps("join3c join4a leave0 deliver0 deliver0 deliver1 join2b deliver0 deliver0 deliver0 leave0 kick0"),
    )
    # The last occupant leaves while another user's join is in flight, through a node that waits for the answer,
    # too.
    @example(SEED, PRIMARY, steps("join0a join5b settle0 join4c leave1 deliver0 deliver1"))
    # The answer to a first join shows another occupant by the nick of a join in flight.
    @example(
        (Dialect.XEP_0289, Dialect.PROTOXEP),
        (True, False),
        steps("join0a join0c join3a settle0 kick1 join0a join2b leave1 join3a"),
    )
    @example(
        (Dialect.XEP_0289,) * 2,
        PRIMARY,
        steps("join0a join0c join3a settle0 kick1 join0a join2b leave1 join3a"),
    )
    # Messages from before a node was considered left arrive before the node knows it.
    @example(
        (Dialect.XEP_0289, Dialect.PROTOXEP),
        (True, False),
        steps("join0a join4a join5b leave0 settle0 say0 deliver0 leave0 deliver1 join2a kick0"),
    )
    # A user who was admitted at once sends presence before the answer of the next node.
    @example(
        (Dialect.PROTOXEP, Dialect.XEP_0289),
        PRIMARY,
        steps("join0a join4b leave0 settle0 join5a status1 kick0"),
    )
    # One of two occupants whose leaves are in flight is kicked.
    @example(
        SEED,
        (True, False),
        steps("join0a join0b join2a join3d settle0 say1 leave1 join2a leave0 leave0 kick0"),
    )
    # A message comes back after its sender has left.
    @example(SEED, (True, False), steps("join0a join4a join5b leave0 settle0 say0 leave0 deliver0 deliver1"))
    # Another occupant has the nick when a join is sent, and has it no longer when the join arrives.
    @example(
        (Dialect.XEP_0289, Dialect.XEP_0289),
        (True, True),
        steps("join2a deliver0 join0a join0c join3c join0b settle0"),
    )
    # An occupant sends a message by a nick that it had for a moment, while another user is joining with that nick.
    @example(
        SEED,
        PRIMARY,
        steps("join0a join0a join0a join5c settle0 join0b join4b say0 say1 deliver0 deliver2 deliver3"),
    )
    # A node whose leave is lost by its crash has left before it has returned.
    @example(SEED, PRIMARY, steps("join2a join4b deliver0 settle0 leave1 deliver0 crash1 leave0"))
    # A node is restarted after it has left, and has no history then.
    @example(SEED, PRIMARY, steps("join0a join2a say0 leave0 settle0 leave0 restart1 join2a"))
    # The last occupant of a restarted node whom the next node knows is kicked; another one is joining anew.
    @example(
        (Dialect.XEP_0289,) * 2,
        PRIMARY,
        steps("join0a join5c status0 kick0a deliver0 deliver0 settle0 restart0 join2b restart4a join2a kick0a"),
    )
    # A node is restarted while the answer to a join is on its way, and its last occupant is kicked.
    @example(SEED, PRIMARY, steps("join3a settle0 join0a join2b deliver0 restart1 kick0a"))
    # A node loses a joining node, and with it all of its occupants at once.
    @example(SEED, PRIMARY, steps("join4a join5b settle0 leave0 leave0 crash1"))
    # A node is restarted when it has received the history, and not yet the subject.
    @example(
        SEED, PRIMARY, steps("join0a join2a say0 leave0 deliver0 deliver0 deliver0 deliver0 restart1 join2a")
    )
    @given(st.tuples(DIALECTS, DIALECTS), st.tuples(st.booleans(), st.booleans()), STEPS)
    def test_agreement(
        self,
        dialects: tuple[Dialect, Dialect],
        replicas: tuple[bool, bool],
        whatHappens: list[tuple[str, int, str]],
    ) -> None:
        """Both protocols, both modes, and mixtures; only the order of each link is fixed."""
        self.happen(Chain(dialects, replicas), whatHappens, 35)

    @steady
    @given(st.sampled_from((SATELLITE, HF)), st.tuples(DIALECTS, DIALECTS), st.booleans(), st.booleans(), STEPS)
    def test_slow(
        self,
        profile: Profile,
        dialects: tuple[Dialect, Dialect],
        isReplica: bool,
        isSecondReplica: bool,
        whatHappens: list[tuple[str, int, str]],
    ) -> None:
        """The same over slow links: presence that has waited agrees at last, unless a node was restarted."""
        chain = Chain(dialects, (isReplica, isSecondReplica), profile=profile)
        self.happen(chain, whatHappens, profile.answer + 5)

    def happen(self, chain: Chain, whatHappens: list[tuple[str, int, str]], wait: float) -> None:
        """
        Let things happen, and compare the nodes.

        @param wait: seconds after which joins without an answer have ended.
        """
        spoken: list[Spoken[Client]] = []
        clients = list(chain.clients.values())
        for number, step in enumerate(whatHappens):
            name, which, _ = step
            if name == "deliver":
                chain.deliver(which)
            elif name in ("restart", "crash"):
                chain.restart(NODES[which % 3], name == "crash")
            else:
                self.assertTrue(act(chain, clients, number, step, spoken), name)
        chain.settle()
        # Deadlines end joins without an answer; there are few of them.
        for _ in range(4 + 12 * bool(chain.restarts)):
            chain.wait(wait)
            chain.settle()
        self.check(chain)
        self.checkMessages(chain, spoken)

    def check(self, chain: Chain) -> None:
        """All occupants see all others."""
        top = chain.room(TOP)
        assert top is not None
        for node, service in chain.services.items():
            for room in service.rooms.rooms.values():
                self.assertEqual(room.nodes.pending, {}, node)
                self.assertTrue(chain.joined(node), (node, room.nodes.joinedNode))
                self.assertEqual(set(room.occupants), set(top.occupants), node)
                if chain.restarts and room.nodes.joinedNode and room.nodes.joinedNode.profile.gather:
                    # Presence that waited is lost.
                    continue
                contents = {nick: one.payload for nick, one in room.occupants.items()}
                self.assertEqual(contents, {nick: one.payload for nick, one in top.occupants.items()}, node)
        inside = {client.inside for client in chain.clients.values() if client.inside} | {"owner"}
        self.assertEqual(inside, set(top.occupants))
        for client in (*chain.clients.values(), chain.owner):
            self.assertEqual(client.problems, [])
            if client.inside:
                self.assertEqual(set(client.seen), set(top.occupants), client.jid)

    def checkMessages(self, chain: Chain, spoken: list[Spoken[Client]]) -> None:
        """
        Users who were occupants all the time have received all messages; after a restart, all those that the first
        node has shown.
        """
        top = chain.room(TOP)
        assert top is not None
        shown = b"".join(message.payload.raw for message in top.history)
        for one in spoken:
            if chain.restarts and f"<body>{one.body}<".encode() not in shown:
                continue
            if not one.sender.inside or one.sender.epoch != one.stay:
                continue
            for client, stay in one.audience.items():
                if client.inside and client.epoch == stay:
                    self.assertIn(one.body, client.heard, (client.jid, one))

    def joining(self) -> Iterator[Chain]:
        """Return chains with an occupant of the last node, "a", and a join there, "b", that it has sent."""
        for dialect in Dialect:
            for replica in (False, True):
                with self.subTest(f"{dialect}, {replica}"):
                    chain = Chain((dialect, dialect), (replica, replica))
                    chain.join(chain.clients[BOTTOM, 0], "a")
                    chain.settle()
                    chain.join(chain.clients[BOTTOM, 1], "b")
                    yield chain

    def assertOccupants(self, chain: Chain, *nicks: str) -> None:
        """All nodes have these occupants, and no join waits."""
        for node, service in chain.services.items():
            self.assertEqual(service.rooms.rooms[node].nodes.pending, {}, node)
            self.assertEqual(set(service.rooms.rooms[node].occupants), {"owner", *nicks}, node)
        self.assertEqual([chain.clients[BOTTOM, 0].inside], ["a"])
        self.assertEqual(chain.clients[BOTTOM, 1].inside, "b" if "b" in nicks else "")

    def test_lostJoin(self) -> None:
        """A join that is lost is refused as soon as both nodes know it."""
        for chain in self.joining():
            chain.restart(MIDDLE, isLossy=True)
            chain.settle()
            self.assertOccupants(chain, "a")

    def test_forgottenJoin(self) -> None:
        """A join that its node does not wait for after a restart is taken back by the next node."""
        for chain in self.joining():
            chain.deliverFrom(BOTTOM, MIDDLE)
            chain.restart(BOTTOM, isLossy=True)
            for link in ((BOTTOM, MIDDLE), (MIDDLE, BOTTOM), (BOTTOM, MIDDLE)):
                chain.deliverFrom(*link)
            chain.settle()
            self.assertOccupants(chain, "a")

    def test_keptJoin(self) -> None:
        """A join that waits at two nodes goes on if other occupants of them differ."""
        for chain in self.joining():
            chain.deliverFrom(BOTTOM, MIDDLE)
            chain.join(chain.clients[TOP, 0], "c")
            chain.deliverFrom(TOP, MIDDLE)
            chain.reconnect(BOTTOM)
            waiting = chain.links[MIDDLE, TOP]
            chain.links[MIDDLE, TOP] = deque()
            chain.settle()
            chain.links[MIDDLE, TOP] = waiting
            chain.settle()
            self.assertOccupants(chain, "a", "b", "c")

    def test_twoWays(self) -> None:
        """
        A user who is an occupant by one node is refused at another node of the chain; nobody is removed by the
        attempts.
        """
        for dialect in Dialect:
            for first, second in (((MIDDLE, 0), (BOTTOM, 0)), ((BOTTOM, 0), (MIDDLE, 0))):
                with self.subTest(f"{dialect}, {second}"):
                    chain = Chain((dialect, dialect), (True, True))
                    twice, again = chain.clients[first], chain.clients[second]
                    for way in ((MIDDLE, 1), (BOTTOM, 1), first):
                        chain.join(chain.clients[way], f"n{way[0][4:8]}{way[1]}")
                        chain.settle()
                    before = set(chain.owner.seen)
                    self.assertEqual(len(before), 4)
                    chain.take(again.room, f"<presence from='{twice.jid}' to='{again.room}/other'>{MUC}</presence>")
                    chain.settle()
                    self.assertEqual(set(chain.owner.seen), before)
                    for node, service in chain.services.items():
                        self.assertEqual(set(service.rooms.rooms[node].occupants), before)
