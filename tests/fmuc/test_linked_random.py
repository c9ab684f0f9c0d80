"""Random runs of a room and its mirrors: losses, copies, processes that are killed, servers that restart."""

from __future__ import annotations

import re
from random import Random

from attrs import define, evolve, field
from twisted.trial.unittest import SynchronousTestCase

from gateway.fmuc.profiles import BROADBAND
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Mode
from tests.fmuc.linked import ANN, BELOW, BEN, HERE, LOW, OWN, ROOM, TOP, Linked, Side
from tests.profiles import RUNS

# Users who come and go, and a user of the mirror's mirror.
CAT, DAN, EVE = "cat@b.example/1", "dan@a.example/1", "eve@c.example/1"
HOMES = {OWN: ROOM, CAT: ROOM, ANN: HERE, BEN: HERE, DAN: HERE, EVE: BELOW}
STAYING = (OWN, ANN, BEN)
_BODY = re.compile(rb"<body>(.*?)</body>")
# Steps of a run.
STEPS = 60


@define(eq=False)
class Run:
    """
    One run.

    @ivar users: users who stay.
    @ivar window: maximum number of stanzas on their way, as over a slow link.
    @ivar said: messages by their senders.
    @ivar doomed: messages that a process got before it was killed: they may be lost.
    @ivar unsure: pairs of a user and a message that was stored, but not shown to this user before the process was
        killed.
    """

    seed: int
    mode: Mode
    users: tuple[str, ...] = STAYING
    window: int = 64
    random: Random = field(init=False)
    link: Linked = field(init=False)
    said: dict[str, list[str]] = field(init=False)
    doomed: set[str] = field(factory=set)
    unsure: set[tuple[str, str]] = field(factory=set)

    def __attrs_post_init__(self) -> None:
        self.random = Random(self.seed)
        self.said = {each: [] for each in self.users}
        profile = evolve(BROADBAND, pace=evolve(BROADBAND.pace, window=self.window))
        self.link = Linked(self.mode, isChain=EVE in self.users, profile=profile)
        for each in self.users:
            self.link.join(each, HOMES[each], _nick(each))

    def step(self) -> None:
        """Do anything."""
        random, link = self.random, self.link
        act, side = random.randrange(18), random.choice(list(link.sides.values()))
        if act < 7:
            self.say(random.choice(self.users))
        elif act < 9:
            link.wait(random.choice([1, 1, 3, 10, 40]))
        elif act == 9:
            rate = random.choice([0, 0, 0.1, 0.5, 1])
            # Requests and their answers may overtake other stanzas.
            isSafe = random.random() < 0.5
            link.isLost = lambda sender, text: random.random() < rate and not (isSafe and text.endswith("iq>"))
        elif act == 10:
            link.isRepeated = random.random() < 0.3
        elif act == 11:
            link.kill(side)
        elif act == 12 and EVE not in self.users:
            self.killMidway(side)
        elif act == 13:
            side.server.lose()
            link.settle()
            side.server.restore()
            link.settle()
        elif act < 16:
            user = random.choice([CAT, DAN])
            move = random.choice([link.join, link.leave])
            move(user, HOMES[user], _nick(user))
        else:
            user = random.choice(self.users)
            text = f"<status>{random.randrange(1_000)}</status>"
            room = HOMES[user]
            link.send(
                room.rpartition("@")[2], f"<presence from='{user}' to='{room}/{_nick(user)}'>{text}</presence>"
            )

    def say(self, user: str) -> str:
        """Send a message; return its body."""
        body = f"m{sum(map(len, self.said.values()))}"
        self.said[user].append(body)
        self.link.say(user, HOMES[user], body)
        return body

    def killMidway(self, side: Side) -> None:
        """Kill a process between a message, its commit, and the output."""
        side.store.isHeld = True
        speakers = [OWN] if side.domain == TOP else [ANN, BEN]
        self.doomed.add(self.say(self.random.choice(speakers)))
        if self.random.random() < 0.5:
            isTold = self.random.random() < 0.5
            side.store.commit(isTold)
            self.link.settle()
            room = side.rooms.rooms.get(HOMES[speakers[0]])
            for message in () if room is None or isTold else room.history:
                [body] = _BODY.findall(message.payload.raw)
                self.unsure.update((each, body.decode()) for each in speakers)
        self.link.kill(side)

    def end(self) -> None:
        """Repair everything, and wait."""
        self.link.mend()
        self.link.isRepeated = False
        self.link.wait(500)


def _nick(user: str) -> str:
    return user.partition("@")[0]


class RandomTests(SynchronousTestCase):
    """Section 2 of docs/fmuc-resync.md, and XEP-0045 section 7.4."""

    def test_runs(self) -> None:
        """
        All users who stay get every message once, and each sender's in order; both sides have the same occupants;
        nobody is put out.
        """
        for mode in Mode:
            for seed in range(RUNS):
                with self.subTest(mode=mode, seed=seed):
                    run = Run(seed, mode)
                    for _ in range(STEPS):
                        run.step()
                    run.end()
                    self.check(run)

    def test_slow(self) -> None:
        """The same while most stanzas wait until earlier ones are acknowledged."""
        for mode in Mode:
            # The last ones have found answers to joins of an earlier process that were taken for later ones.
            for seed in (*range(RUNS), 572, 831):
                with self.subTest(mode=mode, seed=seed):
                    run = Run(seed, mode, window=2)
                    for _ in range(STEPS):
                        run.step()
                    run.end()
                    self.check(run)

    def test_chains(self) -> None:
        """The same in a chain of three nodes, each of which is killed between two stanzas."""
        for mode in Mode:
            # The last one has found a refusal by a node in the middle that was taken for an undeliverable message.
            for seed in (*range(RUNS // 2), 2011):
                with self.subTest(mode=mode, seed=seed):
                    run = Run(seed, mode, (OWN, ANN, EVE))
                    for _ in range(STEPS):
                        run.step()
                    run.end()
                    self.check(run)
                    below = run.link.sides[LOW].rooms.rooms[BELOW]
                    self.assertEqual(sorted(below.occupants), run.link.occupants()[0])

    def check(self, run: Run) -> None:
        """Compare the sides."""
        link = run.link
        up, down = link.occupants()
        self.assertEqual(up, down)
        self.assertLessEqual({_nick(each) for each in run.users}, set(up))
        self.assertIs(link.state, UplinkState.JOINED)
        heard = {each: link.heard(each) for each in run.users}
        for user, said in run.said.items():
            errors = {each.get("id") for each in link.shown[user] if each.get("type") == "error"}
            own = [body for body in heard[user] if body in said]
            self.assertEqual(own, [body for body in said if body in own], "each sender's in order, once")
            self.assertEqual([body for body in own if body in errors], [], "refused, and shown")
            kept = [body for body in said if body not in errors and body not in run.doomed]
            self.assertEqual([body for body in kept if body not in own], [], "lost")
            for other in run.users:
                theirs = [body for body in heard[other] if body in said]
                unsure = {body for each, body in run.unsure if each in (user, other)}
                self.assertEqual(
                    [body for body in theirs if body not in unsure],
                    [body for body in own if body not in unsure],
                    f"{other} has got other messages",
                )
            left = [each for each in link.shown[user] if _isOwnLeave(each.get("from", ""), each.get("type"), user)]
            self.assertEqual(left, [], "put out")


def _isOwnLeave(sender: str, kind: str | None, user: str) -> bool:
    return kind == "unavailable" and sender.rpartition("/")[2] == _nick(user)
