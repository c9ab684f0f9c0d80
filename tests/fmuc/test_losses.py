"""
The rules against a simple model, over links that fail and with processes that are killed: at last, all nodes agree.

C{test_chain} has the same without losses, where nodes need not wait for deadlines.
"""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.fmuc.profiles import BROADBAND
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Dialect, Mode
from tests.fmuc.losses import USERS, Losses, Node, Person
from tests.fmuc.steps import Spoken, act, steps
from tests.profiles import steady

# Seconds after which everything has returned: a lost join has ended, and occupants are compared once more.
_WAIT = 400.0
# Seconds of silence after which all nodes without channels have compared, one after another.
_SILENCE = 3 * BROADBAND.probe + 100
# Seconds of losses for which nodes keep what they have to send.
_KEPT = 500.0
_ACTS = (
    *("join", "join", "join", "leave", "say", "say", "say", "say", "status", "kick"),
    *(*["deliver"] * 4, *["settle"] * 3, "wait", "wait", "skip", "skip"),
    *("lose", "repeat", "delay", "bounce", "cut", "cut", "kill", "crash", "reconnect"),
)
NICKS = "abcdef"
_SECONDS = dict(zip(NICKS, (1, 1, 3, 10, 30, 60), strict=True))


def _steps(acts: tuple[str, ...]) -> st.SearchStrategy[list[tuple[str, int, str]]]:
    step = st.tuples(st.sampled_from(acts), st.integers(0, 7), st.sampled_from(NICKS))
    return st.lists(step, min_size=8, max_size=50)


# Steps, and the same with nodes that lose what they have stored.
STEPS, FORGETTING = _steps(_ACTS), _steps((*_ACTS, "forget"))
_MODES = st.sampled_from(Mode)
_NODES = st.builds(Node, st.sampled_from(Dialect), _MODES, st.booleans())
# Chains with a channel on each link, and any chains.
RELIABLE = st.lists(st.builds(Node, mode=_MODES), min_size=3, max_size=4).map(tuple)
ANY = st.lists(_NODES, min_size=3, max_size=4).map(tuple)

# A node that speaks the ProtoXEP, and stores nothing.
SEED = Node(Dialect.PROTOXEP, isStored=False)


class LossesTests(SynchronousTestCase):
    """Section 2 of docs/fmuc-resync.md."""

    @steady
    # The joined node's occupants are shown as away, and the node is killed before the link is back.
    @example((Node(),) * 4, steps("say6a cut1a wait0f kill2a"))
    # A join is lost, and the occupants are compared before the channel repeats it: the room has not answered it.
    @example(
        (Node(), Node(), Node()),
        steps("cut4a say5f crash2c deliver7b skip7c deliver4b deliver1d join5f lose3e"),
    )
    # A user is removed whose presence is on its way, by a node that is killed before.
    @example((Node(mode=Mode.REPLICA),) * 3, steps("leave2d cut6c status5c kick7b crash4a"))
    # A node is killed that has sent a join, and its other user leaves before the channel is open.
    @example((Node(), Node(), Node(mode=Mode.REPLICA)), steps("kick1e wait4d join5e join7d crash2b leave2a"))
    # The same, and the other user is removed when the channel is open.
    @example((Node(mode=Mode.REPLICA), Node(), Node()), steps("join5f say2d crash2a settle5e status0f kick5f"))
    # A user leaves and joins again while the link is down: the leave comes back at the return.
    @example((Node(), Node(mode=Mode.REPLICA), Node()), steps("leave7d cut6e wait7e join2b"))
    # A message returns through a node that was killed after its sender had left.
    @example(
        (Node(), Node(mode=Mode.REPLICA), Node(), Node(mode=Mode.REPLICA)),
        steps("say6d cut0d leave2b settle1a kill5e"),
    )
    # A join is on its way when the joined node removes the last user.
    @example((Node(mode=Mode.REPLICA),) * 3, steps("kick2f leave5c kick6b kick7e join3f wait7c leave3d"))
    # An occupant's presence is lost that has no number: a part of the answer to a first join.
    @example(
        (Node(mode=Mode.REPLICA), Node(), Node()), steps("kick2b join7d leave6b wait6e join3f deliver5a bounce2d")
    )
    # The last occupant of a node that cannot be reached is removed.
    @example((Node(), *[Node(mode=Mode.REPLICA)] * 2), steps("cut3a wait2f leave1e kick7e"))
    # A user's presence comes back to a node between after the user has left.
    @example(
        (Node(), Node(mode=Mode.REPLICA), Node()),
        steps("cut0d cut5a leave4b status5b kick4c join5d say1a cut3b leave4e skip2c wait0c"),
    )
    # A user's presence comes back after the user has left and has asked to join again.
    @example((Node(), Node(mode=Mode.REPLICA), Node()), steps("leave3e status6e leave0e join2b"))
    # A node is killed that waits for the answer to a joining node's join.
    @example((Node(mode=Mode.REPLICA), Node(), *[Node(mode=Mode.REPLICA)] * 2), steps("join5e deliver1c crash5e"))
    # The answer to a comparison overtakes the removal of a user, which is delayed.
    @example(
        (*[Node(mode=Mode.REPLICA)] * 2, Node(), Node()), steps("crash5c deliver0e kick2c delay0c")
    )
    # A killed node lets a user in, and out again, who joins once more.
    @example(
        (Node(mode=Mode.REPLICA), Node(), Node(mode=Mode.REPLICA)),
        steps("leave5f join5d settle7d join4f deliver6f crash4f wait5e join4a"),
    )
    # A user leaves while the state is on its way that still has the user.
    @example(
        (Node(mode=Mode.REPLICA), Node(), *[Node(mode=Mode.REPLICA)] * 2),
        steps(
            "cut1b leave3d skip6f settle5e kick0b deliver4f crash5b leave6b settle2d join3f kick5d cut0d"
        ),
    )
    # The last user of a node is removed, and another one's join is on its way, or waits for the answer.
    @example(
        (*[Node(mode=Mode.REPLICA)] * 2, Node()), steps("cut1c leave1d cut3d kick1f join5f deliver5a reconnect2a")
    )
    @example(
        (Node(mode=Mode.REPLICA), Node(), *[Node(mode=Mode.REPLICA)] * 2),
        steps("join7e cut0e leave0a settle4f cut7e say5e deliver6e say6c kick5a"),
    )
    # The last leave, and a first join after it, are lost: the joined node finds out by itself.
    @example(
        (*[Node(mode=Mode.REPLICA)] * 2, Node()), steps("skip5d settle5d cut1d leave5f wait0d join4f")
    )
    # A node is killed that waits for the answer to a joining node's join, and whose other users have left.
    @example(
        (Node(), *[Node(mode=Mode.REPLICA)] * 2),
        steps("cut3f cut5d kick4e cut6f join5e kick3b leave1b wait7b kill7a"),
    )
    # The answer to a join comes after a restart, and after the leave: the room has the same occupants as before.
    @example((Node(),) * 3, steps("cut0d join3f wait5e crash1d join0e"))
    # The same, over several outages.
    @example(
        (Node(mode=Mode.REPLICA), Node(), Node(), Node(mode=Mode.REPLICA)),
        steps("kill7f skip4e wait7e join7f reconnect6e cut6c join5f say4a settle2b kill1f"),
    )
    # The last user of a killed node is removed, and sends presence before the node knows it.
    @example((Node(), Node(mode=Mode.REPLICA), Node()), steps("leave4d kick5b crash2c say1d status5c"))
    @example(
        (Node(mode=Mode.REPLICA), Node(), Node(mode=Mode.REPLICA), Node()),
        steps("status3a kick2e cut1a cut0e leave0c kick6c kill2e kick2f say7d"),
    )
    # The sender of a message has left before it comes back, and another user has the nick.
    @example((Node(), *[Node(mode=Mode.REPLICA)] * 3), steps("kick7b settle3a say7f leave4f crash5f join3b"))
    # A killed node has sent a join, which reaches the room as a first join: the last user was removed before.
    @example(
        (Node(), Node(mode=Mode.REPLICA), Node(), Node()),
        steps("kick1e settle7f kick1a join2b kill5e join3f cut0f wait6d kick2d"),
    )
    # The same, and the join of the new process is rejected.
    @example(
        (Node(), Node(mode=Mode.REPLICA), Node(), Node()),
        steps("kick1a settle0a join2b kill1a join3b kick1a kick2a cut0a wait0d"),
    )
    # A node asks to compare once more before the answer to the occupants that it has told comes.
    @example((Node(),) * 3, steps("crash7f say1a settle7f kick6f deliver4e kick7a cut5d deliver2b reconnect4b"))
    # A join of an earlier process is rejected while the nodes compare, and another one waits.
    @example(
        (Node(mode=Mode.REPLICA), Node(), Node(mode=Mode.REPLICA), Node()),
        steps("leave2e deliver2c join7e crash0c reconnect4f wait5b crash7f deliver3d deliver0e join7f"),
    )
    # A user's presence and leave come back to a killed node, and the user has asked to join again.
    @example(
        (*[Node(mode=Mode.REPLICA)] * 3, Node()), steps("status6c kick4c leave4d kill2b join4c")
    )
    # A node that has left is told the former channel's stanzas once more, after its next first join.
    @example(
        (*[Node(mode=Mode.REPLICA)] * 2, Node(), Node(mode=Mode.REPLICA)),
        steps("leave3b deliver1a crash3e join6f wait6d cut1e wait1f say7d"),
    )
    # Presence waits behind a cut link when the last user is removed, and the next user joins.
    @example(
        (Node(mode=Mode.REPLICA), Node(), Node(mode=Mode.REPLICA), Node(mode=Mode.REPLICA)),
        steps("join3f cut2e cut1b wait2b cut5a kick4b join7e"),
    )
    @given(RELIABLE, STEPS)
    def test_channels(self, nodes: tuple[Node, ...], whatHappens: list[tuple[str, int, str]]) -> None:
        """With channels, nothing is lost, and nobody is put out, unless a node loses what it has stored."""
        self.happen(Losses(nodes), whatHappens)

    @steady
    # A node forgets its users, and that it has joined a room, while the link to that is down.
    @example((Node(),) * 3, steps("leave5a cut0d wait7e forget7e"))
    # Occupants are joined anew, and one of them has sent presence before.
    @example((Node(mode=Mode.REPLICA), Node(mode=Mode.REPLICA), Node()), steps("forget0a status1d"))
    # A leave comes back as undeliverable.
    @example((SEED, Node(isStored=False), SEED), steps("leave1a bounce0a kill2a"))
    # The last user leaves during a return, and another one waits for the answer to a join through a joining node.
    @example(
        (Node(), Node(mode=Mode.REPLICA), Node(), Node(mode=Mode.REPLICA)),
        steps("forget1f say4b status4f join7f cut3e settle1c leave3f"),
    )
    # The last user of a joining node leaves while a mirror of the ProtoXEP joins anew.
    @example(
        (Node(), Node(Dialect.PROTOXEP), Node(Dialect.PROTOXEP), Node(Dialect.PROTOXEP, Mode.REPLICA)),
        steps("kick6b wait1a forget5b join2a cut0e leave4f say4c leave0a"),
    )
    # A killed node has lost an occupant's presence, which it had sent to a room that has forgotten it.
    @example(
        (*[Node(mode=Mode.REPLICA)] * 2, Node(), Node()), steps("status3b forget0b deliver1d deliver5e kill5e")
    )
    @example(
        (Node(mode=Mode.REPLICA), Node(Dialect.PROTOXEP), Node(Dialect.PROTOXEP, Mode.REPLICA), Node()),
        steps("cut7c forget1b cut1f status2f cut4f deliver2c kill6a"),
    )
    # A first join is lost in silence, and another occupant's presence is taken for the answer.
    @example(
        (
            Node(Dialect.PROTOXEP),
            Node(mode=Mode.REPLICA),
            Node(Dialect.PROTOXEP, isStored=False),
            Node(isStored=False),
        ),
        steps("cut1c kill2d join5e join0e say5e"),
    )
    # A first join comes back with its offer of a channel.
    @example(
        (Node(isStored=False), Node(), Node(Dialect.PROTOXEP)), steps("forget4d join2e forget1e bounce4f join3f")
    )
    # The answer to a forgotten first join is taken for that to the next one.
    @example(
        (Node(mode=Mode.REPLICA, isStored=False), Node(isStored=False), Node(Dialect.PROTOXEP, isStored=False)),
        steps("crash4f join3d forget4a join3b"),
    )
    # A node forgets the user whose first join waits, and sends another one.
    @example(
        (Node(), *[Node(mode=Mode.REPLICA)] * 2), steps("forget2e join4e forget5d say3b crash6c join4d")
    )
    @example(
        (
            Node(Dialect.PROTOXEP, isStored=False),
            Node(),
            Node(Dialect.PROTOXEP, Mode.REPLICA),
            Node(Dialect.PROTOXEP),
        ),
        steps("cut1a crash7d forget6d wait4d skip5f say2c settle5d forget3f join7f"),
    )
    # The last leave is confirmed, and behind it stands the answer to a join that was withdrawn.
    @example(
        (Node(mode=Mode.REPLICA), Node(), Node(mode=Mode.REPLICA)),
        steps("kill1d leave1f cut4f join5d kick7f wait7f join2b skip4c wait5c"),
    )
    # A node loses its state twice within a minute, and offers the same epoch each time.
    @example(
        (
            Node(Dialect.PROTOXEP, Mode.REPLICA, isStored=False),
            Node(Dialect.PROTOXEP),
            Node(Dialect.PROTOXEP, Mode.REPLICA),
            Node(mode=Mode.REPLICA),
        ),
        steps(
            "wait3d forget7d crash0b say3f join6d join2b bounce2a reconnect5b forget5f repeat0e forget3a join6b"
            " leave4c say4b"
        ),
    )
    # Parts of the answer to a first join are lost: an occupant's presence, and the sign that the room can resume.
    @example(
        (SEED, SEED, Node(mode=Mode.REPLICA, isStored=False)),
        steps("kill2a forget7e say6c wait4e join3c kick0e deliver2f lose5a lose6d join4a"),
    )
    @example(
        (Node(mode=Mode.REPLICA, isStored=False), Node(), Node(Dialect.PROTOXEP)),
        steps("forget0b status4f settle1f leave6e wait7f join4a deliver1a deliver6e lose4f lose6b"),
    )
    # A killed node compares with its joined node, which then forgets everything and has sent nothing else.
    @example(
        (
            Node(Dialect.PROTOXEP, Mode.REPLICA, isStored=False),
            Node(),
            *[Node(Dialect.PROTOXEP, Mode.REPLICA)] * 2,
        ),
        steps(
            "kill4f crash1c settle5a kick0b wait5f say2b bounce4e say6b forget7f leave6d deliver6e lose0b kill1b"
            " deliver4f forget4b"
        ),
    )
    @given(ANY, FORGETTING)
    def test_any(self, nodes: tuple[Node, ...], whatHappens: list[tuple[str, int, str]]) -> None:
        """Both protocols, both modes, with stores and without: nodes have the same occupants at last."""
        self.happen(Losses(nodes), whatHappens)

    def happen(self, chain: Losses, whatHappens: list[tuple[str, int, str]]) -> None:
        """Let things happen, repair the links, wait, and compare the nodes."""
        spoken: list[Spoken[Person]] = []
        for place, client in enumerate(chain.clients[::USERS]):
            chain.join(client, NICKS[place])
            chain.settle()
        for number, step in enumerate(whatHappens):
            self.step(chain, number, step, spoken)
        chain.cuts.clear()
        seconds = chain.seconds
        chain.settle()
        for talk in range(3):
            chain.wait(_WAIT / 4, 5.0)
            # A node without a channel learns that a leave was lost when it sends something.
            for client in () if chain.isReliable else (chain.owner, *chain.clients):
                if client.inside:
                    chain.say(client, f"end{talk}{client.jid}")
                    chain.settle()
        # It asks its joined node after a silence.
        chain.wait(_WAIT / 4 if chain.isReliable else _SILENCE, 20.0)
        self.check(chain)
        if chain.isReliable and seconds < _KEPT:
            self.checkMessages(spoken)

    def step(
        self, chain: Losses, number: int, step: tuple[str, int, str], spoken: list[Spoken[Person]]
    ) -> None:
        """Do one step."""
        name, which, nick = step
        if name in ("wait", "skip"):
            getattr(chain, name)(_SECONDS[nick])
        elif name == "crash":
            chain.kill(which, isLossy=True)
        elif not act(chain, chain.clients, number, step, spoken):
            getattr(chain, name)(which)

    def check(self, chain: Losses) -> None:
        """All nodes have the same occupants, and all users see them."""
        top = chain.room(0)
        assert top is not None
        shown = {nick: each.payload for nick, each in top.occupants.items()}
        for place in range(len(chain.nodes)):
            room = chain.room(place)
            if room is None:
                continue
            pending = [each for each in room.nodes.pending.values() if not each.isWithdrawn]
            self.assertEqual(pending, [], place)
            self.assertIn(chain.state(place), (None, UplinkState.JOINED), place)
            self.assertEqual({nick: each.payload for nick, each in room.occupants.items()}, shown, place)
        inside = {client.inside for client in chain.clients if client.inside} | {"owner"}
        self.assertEqual(inside, set(shown))
        for client in (*chain.clients, chain.owner):
            if client.inside:
                self.assertEqual(set(client.seen), set(shown), client.jid)
            if chain.isReliable:
                self.assertEqual(client.problems, [], client.jid)
                self.assertFalse(client.isPutOut, client.jid)

    def checkMessages(self, spoken: list[Spoken[Person]]) -> None:
        """Users who were occupants all the time have received all messages, and each sender's in order."""
        for one in spoken:
            if one.sender.inside and one.sender.epoch == one.stay and one.body not in one.sender.refused:
                for client, stay in one.audience.items():
                    if client.inside and client.epoch == stay:
                        self.assertIn(one.body, client.heard, (client.jid, one.sender.jid))
        senders = {one.body: one.sender for one in spoken}
        for client in {each for one in spoken for each in one.audience}:
            for sender in set(senders.values()):
                heard = [int(body[1:]) for body in client.lived if senders.get(body) is sender]
                self.assertEqual(heard, sorted(heard), (client.jid, sender.jid))
