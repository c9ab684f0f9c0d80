"""Both processes are killed within a second: what one of them has asked, or sent, is lost with the other one."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

from twisted.trial.unittest import SynchronousTestCase

from gateway.fmuc import holding
from gateway.fmuc.values import Dialect, Mode
from tests.fmuc.linked import ANN, BEN, HERE, OWN, ROOM, Linked

# Stanzas of a return, at most.
_MOST = 20


def _nothing(link: Linked) -> None:
    """Nothing happens while the link is down."""


def _leave(link: Linked) -> None:
    """Both sites change while the link is down."""
    link.leave(BEN, HERE, "ben")
    link.say(OWN, ROOM, "earlier")


def _forget(link: Linked) -> None:
    """The room removes the users of the mirror while the link is down."""
    side = link.top
    federation = side.rooms.federation(ROOM)
    assert federation is not None
    for node in list(federation.joiningNodes.values()):
        holding.nodeLost(federation, node, side.server.clock.seconds())
    side.handler._perform(side.rooms.settled(federation.room))
    link.settle()


class BothTests(SynchronousTestCase):
    """The mirror is killed, and then the room, after any number of stanzas of the return."""

    def test_channel(self) -> None:
        """
        With a channel, the users of the mirror hear at once what people say in the room then. Rule 11: what the
        room has kept before is repeated, if it comes before both have compared the numbers.
        """
        for mode in Mode:
            self.check(True, mode, Dialect.XEP_0289, _nothing, seconds=0)
            self.check(True, mode, Dialect.XEP_0289, _leave, seconds=5)

    def test_none(self) -> None:
        """Without one, the room asks the mirror to compare, which begins again."""
        for mode, dialect, event in product(Mode, Dialect, (_nothing, _leave)):
            self.check(False, mode, dialect, event, seconds=1)

    def test_forgotten(self) -> None:
        """If the room has forgotten the mirror, its users join anew, and stay."""
        self.check(True, Mode.PRIMARY, Dialect.XEP_0289, _forget, seconds=40)
        for mode, dialect in product(Mode, Dialect):
            self.check(False, mode, dialect, _forget, seconds=40)

    def check(
        self, hasChannel: bool, mode: Mode, dialect: Dialect, event: Callable[[Linked], None], seconds: int
    ) -> None:
        """
        Nobody leaves, and a message is seen.

        @param event: what happens before, while the link is down.
        @param seconds: maximum wait for the message.
        """
        nicks = ["ann", "own"] if event is _leave else ["ann", "ben", "own"]
        for number in range(_MOST):
            link = self.entered(Linked(mode, (hasChannel, hasChannel), dialect=dialect))
            link.cut()
            event(link)
            link.crossed.clear()
            link.isLost = lambda sender, text, most=number, link=link: len(link.crossed) > most  # type: ignore[misc]
            link.kill(link.down)
            isAll = len(link.crossed) <= number
            link.mend()
            link.kill(link.top)
            link.say(OWN, ROOM, "x")
            link.wait(seconds)
            with self.subTest(number=number, mode=mode, dialect=dialect, event=event.__name__):
                self.assertEqual(link.heard(ANN).count("x"), 1)
                link.wait(60)
                self.assertEqual(link.occupants(), (nicks, nicks))
            if isAll:
                return
        self.fail("the return does not end")

    def entered(self, link: Linked) -> Linked:
        """Let three users join, one in the room and two in the mirror."""
        for user, room in ((OWN, ROOM), (ANN, HERE), (BEN, HERE)):
            link.join(user, room, user.partition("@")[0])
        link.wait(10)
        return link
