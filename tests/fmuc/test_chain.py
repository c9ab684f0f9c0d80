"""The rules against a simple model: whatever happens in whatever order, all see the same in the end."""

from __future__ import annotations

from attrs import frozen
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.fmuc.values import Dialect
from tests.fmuc.chain import NODES, TOP, Chain, Client

DIALECTS = st.sampled_from(Dialect)
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("join", "leave", "say", "status", "kick", *["deliver"] * 6, "settle")),
        st.sampled_from(NODES),
        st.integers(0, 1),
        st.sampled_from(("a", "b", "c")),
    ),
    max_size=40,
)
steady = settings(
    max_examples=300,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@frozen
class Spoken:
    """What somebody said, in which of his stays, and who was in with which."""

    sender: Client
    stay: int
    body: str
    audience: dict[Client, int]


class ChainTests(SynchronousTestCase):
    """Occupants and messages agree everywhere, nothing comes twice."""

    @steady
    @given(st.tuples(DIALECTS, DIALECTS), st.tuples(st.booleans(), st.booleans()), STEPS)
    def test_agreement(
        self,
        dialects: tuple[Dialect, Dialect],
        replicas: tuple[bool, bool],
        steps: list[tuple[str, str, int, str]],
    ) -> None:
        """Both dialects, both modes, and mixed; each link keeps its order, and there is no other."""
        chain = Chain(dialects, replicas)
        spoken: list[Spoken] = []
        for number, (step, node, which, nick) in enumerate(steps):
            client = chain.clients[node, which]
            if step == "join":
                chain.join(client, nick)
            elif step == "leave":
                chain.leave(client, client.inside or nick)
            elif step == "say" and client.inside:
                audience = {each: each.epoch for each in chain.clients.values() if each.inside}
                spoken.append(Spoken(client, client.epoch, f"m{number}", audience))
                chain.say(client, f"m{number}")
            elif step == "status" and client.inside:
                chain.status(client, f"s{number}")
            elif step == "kick":
                chain.kick(nick)
            elif step == "deliver":
                chain.deliver(which + 2 * NODES.index(node))
            elif step == "settle":
                chain.settle()
        chain.settle()
        # Deadlines end what nobody answers; there is little of it.
        for _ in range(4):
            chain.wait(35)
            chain.settle()
        self.check(chain)
        self.checkMessages(chain, spoken)

    def check(self, chain: Chain) -> None:
        """Everybody sees everybody."""
        top = chain.room(TOP)
        assert top is not None
        for node, service in chain.services.items():
            for room in service.rooms.rooms.values():
                self.assertEqual(room.pending, {}, node)
                self.assertTrue(chain.joined(node), (node, room.above))
                self.assertEqual(set(room.occupants), set(top.occupants), node)
                contents = {nick: one.content for nick, one in room.occupants.items()}
                self.assertEqual(contents, {nick: one.content for nick, one in top.occupants.items()}, node)
        inside = {client.inside for client in chain.clients.values() if client.inside} | {"owner"}
        self.assertEqual(inside, set(top.occupants))
        for client in (*chain.clients.values(), chain.owner):
            self.assertEqual(client.problems, [])
            if client.inside:
                self.assertEqual(set(client.seen), set(top.occupants), client.jid)

    def checkMessages(self, chain: Chain, spoken: list[Spoken]) -> None:
        """Whoever was in all the time has heard whoever was."""
        for one in spoken:
            if not one.sender.inside or one.sender.epoch != one.stay:
                continue
            for client, stay in one.audience.items():
                if client.inside and client.epoch == stay:
                    self.assertIn(one.body, client.heard, (client.jid, one))
