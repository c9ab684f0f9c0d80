"""Whole stanzas of ordinary rooms that are late or lost, and of puppets that leave and come again."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element

from gateway import ns
from tests.fmuc.backed import NORTH, ROOM, SOURCE
from tests.fmuc.support import MUC
from tests.fmuc.test_backing_stanzas import (
    BOB,
    BOBS,
    CAPS,
    CAROL,
    CAROLS,
    DAN,
    DANS,
    DELAY,
    ITEM,
    USER,
    BackedCase,
    error,
    leaveOf,
    message,
    own,
    presence,
)
from tests.fmuc.wire import fmuc, read, seedJoin

GONE = f"<x {USER}><item affiliation='none' role='none'/><status code='110'/></x>"
EVE = "eve@users.example/e"


class LossTests(BackedCase):
    """Stanzas that are late or lost."""

    def test_gap(self) -> None:
        """The listener leaves while a join is on its way: messages between come to the new one from the history."""
        self.take(seedJoin(ROOM, "bob", NORTH, BOB))
        self.take(own(BOBS, "bob") + message(BOBS, "", "<subject/>"))
        self.take(f"<presence from='{CAROL}' to='{ROOM}/carol' id='j'>{MUC}</presence>")
        self.take(f"<presence from='{NORTH}' to='{ROOM}/bob' type='unavailable'/>")
        self.take(presence(BOBS, "bob", GONE, "unavailable"))
        sent = self.take(own(CAROLS, "carol")).decode()
        self.assertIn(f"<presence from='{CAROLS}' to='{SOURCE}/carol'><x xmlns='{ns.MUC}'/></presence>", sent)
        self.take(own(CAROLS, "carol"))
        self.assertSent(self.take(message(CAROLS, "ann", f"<body>between</body>{DELAY}")))
        self.assertSent(
            self.take(message(CAROLS, "", "<subject/>")),
            f"<message from='{ROOM}/ann' to='{CAROL}' type='groupchat' id='m'><body>between</body>"
            f"{DELAY.replace(SOURCE, ROOM)}</message>",
        )

    def test_order(self) -> None:
        """The copies of one message may come in any order: that is no loss."""
        self.enter()
        for number in range(4):
            body = f"<body>{number}</body>"
            copies = [message(BOBS, "ann", body), message(CAROLS, "ann", body)]
            self.assertSent(
                self.take("".join(copies[:: 1 if number % 2 else -1])),
                f"<message from='{ROOM}/ann' to='{NORTH}' type='groupchat' id='m'>{body}</message>",
                f"<message from='{ROOM}/ann' to='{CAROL}' type='groupchat' id='m'>{body}</message>",
            )

    def test_stale(self) -> None:
        """A leave that is none of this stay is not shown: a join is refused with an error."""
        self.take(f"<presence from='{CAROL}' to='{ROOM}/carol' id='j'>{MUC}</presence>")
        self.assertSent(self.take(presence(CAROLS, "carol", GONE, "unavailable")))
        sent = self.take(own(CAROLS, "carol") + message(CAROLS, "", "<subject/>"))
        self.assertIn(b"<status code='110'/>", sent)
        self.assertSent(
            self.take(message(CAROLS, "ann", "<body>x</body>")),
            f"<message from='{ROOM}/ann' to='{CAROL}' type='groupchat' id='m'><body>x</body></message>",
        )

    def test_staleReturn(self) -> None:
        """The same while an occupant is joined anew: the room has removed the puppet before that join."""
        self.enter()
        self.wire.handler.connectionInitialized()
        self.wire.settled()
        gone = GONE.replace("<status", "<status code='333'/><status")
        self.assertSent(self.take(presence(BOBS, "bob", gone, "unavailable")))
        self.take(own(BOBS, "bob") + message(BOBS, "", "<subject/>"))
        self.take(own(CAROLS, "carol"))
        self.assertIn("bob", self.wire.room(ROOM).occupants)

    def test_changed(self) -> None:
        """
        An occupant changes the presence while the first one is joined anew. The puppet is still in, so it does not
        join: the ordinary room is told the new presence, and nobody is shown the old one again.
        """
        for status in ("", "<status>away</status>"):
            self.setUp()
            self.enter()
            self.wire.handler.connectionInitialized()
            self.wire.settled()
            self.take(f"<presence from='{CAROL}' to='{ROOM}/carol'>{status}</presence>")
            joined = own(BOBS, "bob") + presence(BOBS, "carol") + message(BOBS, "", "<subject/>")
            [ping] = read(self.wire.settled(joined))
            sent = self.take(f"<iq from='{SOURCE}/carol' to='{CAROLS}' type='result' id='{ping.get('id')}'/>")
            told = f"<presence from='{CAROLS}' to='{SOURCE}/carol'>{status}</presence>"
            self.assertSent(sent, *[told] * bool(status))

    def test_slow(self) -> None:
        """
        A user changes the presence, says something, and leaves. The ordinary room shows that later: the user is not
        in again, and a mirror in primary mode does not get what it has shown.
        """
        self.take(f"<presence from='{CAROL}' to='{ROOM}/carol'>{MUC}</presence>")
        self.take(own(CAROLS, "carol") + message(CAROLS, "", "<subject/>"))
        self.take(f"<presence from='{NORTH}/bob' to='{ROOM}/bob'>{fmuc(BOB)}{MUC}</presence>")
        self.take(presence(CAROLS, "bob") + own(BOBS, "bob") + message(BOBS, "", "<subject/>"))
        sender = f"from='{NORTH}/bob' to='{ROOM}"
        said = "<body>said</body>"
        self.take(f"<presence {sender}/bob'>{fmuc(BOB)}<status>away</status></presence>")
        self.take(f"<message {sender}' type='groupchat' id='m'>{said}</message>")
        self.take(f"<presence {sender}/bob' type='unavailable'>{fmuc(BOB)}</presence>")
        away = own(BOBS, "bob").replace("</presence>", "<status>away</status></presence>")
        self.assertSent(self.take(presence(CAROLS, "bob") + 2 * away))
        shown = f"<message from='{ROOM}/bob' to='{CAROL}' type='groupchat' id='m'>{said}</message>"
        self.assertSent(self.take(message(CAROLS, "bob", said) + message(BOBS, "bob", said)), shown)
        gone = presence(CAROLS, "bob", GONE.replace("<status code='110'/>", ""), "unavailable")
        self.assertSent(self.take(gone + presence(BOBS, "bob", GONE, "unavailable")))

    def test_slowAgain(self) -> None:
        """The same, and the user joins again meanwhile: the earlier presence is not the answer to that join."""
        self.enter()
        for show in ("away", "xa"):
            self.take(f"<presence from='{CAROL}' to='{ROOM}/carol'><show>{show}</show></presence>")
        self.take(own(CAROLS, "carol"))
        self.take(f"<presence from='{CAROL}' to='{ROOM}/carol' type='unavailable'/>")
        self.take(f"<presence from='{CAROL}' to='{ROOM}/carol' id='k'>{MUC}</presence>")
        self.assertSent(self.take(own(CAROLS, "carol")))
        self.assertSent(self.take(presence(CAROLS, "carol", GONE, "unavailable")))
        sent = self.take(own(CAROLS, "carol")).decode()
        self.assertIn(f"<presence from='{ROOM}/carol' to='{CAROL}' id='k'>", sent)

    def test_notIn(self) -> None:
        """
        Users leave after a new connection. The ordinary room has ended meanwhile, so it does not answer the leave
        of a puppet that has not joined anew. It answers what follows, so the next user who joins does not wait.
        """
        for isGone in (True, False):
            with self.subTest(isGone=isGone):
                self.setUp()
                self.enter()
                self.wire.handler.connectionInitialized()
                # Bob's puppet joins anew; Carol's would be next.
                self.wire.settled()
                self.take(f"<presence from='{NORTH}' to='{ROOM}/bob' type='unavailable'/>")
                leave, ping = self.leaveCarol()
                self.assertEqual((leave.get("from"), leave.get("type")), (CAROLS, "unavailable"))
                self.assertEqual((ping.get("from"), ping.get("to")), (CAROLS, f"{SOURCE}/carol"))
                self.assertSent(self.take(f"<presence from='{DAN}' to='{ROOM}/dan' id='j'>{MUC}</presence>"))
                self.take(own(BOBS, "bob", "affiliation='owner' role='moderator'", "201 110"))
                self.take(message(BOBS, "", "<subject/>") + presence(BOBS, "bob", GONE, "unavailable"))
                if not isGone:
                    # The room has not ended: it has sent the answer to the leave before.
                    self.take(presence(CAROLS, "carol", GONE, "unavailable"))
                # A room that ends may lose the question.
                self.assertSent(self.wire.tickBytes(1))
                again = [each.get("id") for each in read(self.wire.tickBytes(1))]
                self.assertEqual(again, [ping.get("id")] if isGone else [])
                refusal = error("not-acceptable")
                sent = self.take(
                    f"<iq from='{SOURCE}/carol' to='{CAROLS}' type='error' id='{ping.get('id')}'>{refusal}</iq>"
                )
                join = f"<presence from='{DANS}' to='{SOURCE}/dan'><x xmlns='{ns.MUC}'/></presence>"
                self.assertIn(join, sent.decode() if isGone else join)
                sent = self.take(own(DANS, "dan") + message(DANS, "", "<subject/>"))
                self.assertIn(f"<presence from='{ROOM}/dan' to='{DAN}' id='j'>", sent.decode())

    def leaveCarol(self) -> list[Element]:
        """Let Carol leave; return what the ordinary room is sent."""
        sent = self.take(f"<presence from='{CAROL}' to='{ROOM}/carol' type='unavailable'/>")
        return [each for each in read(sent) if each.get("to", "").startswith(SOURCE)]

    def test_backBeforeFence(self) -> None:
        """The user joins again before the ordinary room has answered: what it answers is taken for that join."""
        self.enter()
        self.wire.handler.connectionInitialized()
        self.wire.settled()
        _, ping = self.leaveCarol()
        self.take(own(BOBS, "bob") + message(BOBS, "", "<subject/>"))
        sent = self.take(f"<presence from='{CAROL}' to='{ROOM}/carol' id='k'>{MUC}</presence>").decode()
        self.assertIn(f"<presence from='{CAROLS}' to='{SOURCE}/carol'>", sent)
        refusal = error("not-acceptable")
        self.take(f"<iq from='{SOURCE}/carol' to='{CAROLS}' type='error' id='{ping.get('id')}'>{refusal}</iq>")
        sent = self.take(own(CAROLS, "carol")).decode()
        self.assertIn(f"<presence from='{ROOM}/carol' to='{CAROL}' id='k'>", sent)
        self.assertSent(
            self.take(message(CAROLS, "ann", "<body>copy</body>") + message(BOBS, "ann", "<body>copy</body>")),
            f"<message from='{ROOM}/ann' to='{NORTH}' type='groupchat' id='m'><body>copy</body></message>",
            f"<message from='{ROOM}/ann' to='{CAROL}' type='groupchat' id='m'><body>copy</body></message>",
        )

    def test_leavesAgain(self) -> None:
        """The same, and the user leaves once more: what follows the first leave tells nothing of the second one."""
        self.enter()
        self.wire.handler.connectionInitialized()
        self.wire.settled()
        _, first = self.leaveCarol()
        self.take(own(BOBS, "bob") + message(BOBS, "", "<subject/>"))
        self.take(f"<presence from='{CAROL}' to='{ROOM}/carol' id='k'>{MUC}</presence>")
        _, second = self.leaveCarol()
        refusal = error("not-acceptable")
        self.take(f"<iq from='{SOURCE}/carol' to='{CAROLS}' type='error' id='{first.get('id')}'>{refusal}</iq>")
        self.assertEqual([each.get("id") for each in read(self.wire.tickBytes(2))], [second.get("id")])

    def test_saidTwice(self) -> None:
        """The history of a room without stanza ids has the same message twice: both are shown."""
        self.enter()
        self.wire.handler.connectionInitialized()
        self.wire.settled()
        self.take(own(BOBS, "bob") + presence(BOBS, "carol"))
        twice = message(BOBS, "ann", f"<body>ok</body>{DELAY}") * 2
        sent = self.take(twice + message(BOBS, "", "<subject/>"))
        self.assertEqual(sent.count(b"<body>ok</body>"), 4)

    def test_deaf(self) -> None:
        """A listener that gets nothing, while others get messages, joins anew: it need not say that it is in."""
        self.enter()
        self.assertSent(self.take("".join(message(CAROLS, "ann", f"<body>{number}</body>") for number in range(2))))
        self.assertSent(
            self.take(message(CAROLS, "ann", "<body>2</body>")),
            f"<presence from='{BOBS}' to='{SOURCE}/bob'>{MUC}</presence>",
        )

    def test_leaves(self) -> None:
        """A join waits until all leaves of the empty mirror have come back, for some seconds at most."""
        self.enter()
        self.take(f"<presence from='{NORTH}' to='{ROOM}/bob' type='unavailable'/>")
        self.take(f"<presence from='{CAROL}' to='{ROOM}/carol' type='unavailable'/>")
        self.take(presence(BOBS, "bob", GONE, "unavailable"))
        self.assertSent(self.take(f"<presence from='{CAROL}' to='{ROOM}/carol'>{MUC}</presence>"))
        self.assertSent(
            self.take(presence(CAROLS, "carol", GONE, "unavailable")),
            f"<presence from='{CAROLS}' to='{SOURCE}/carol'>{MUC}</presence>",
        )
        self.take(own(CAROLS, "carol") + message(CAROLS, "", "<subject/>"))
        self.take(f"<presence from='{CAROL}' to='{ROOM}/carol' type='unavailable'/>")
        self.wire.tickBytes(11)
        self.assertEqual(self.wire.rooms.rooms, {})

    def test_early(self) -> None:
        """A message that the room has sent before it got a first join is in the history, too: it is shown once."""
        self.take(f"<presence from='{CAROL}' to='{ROOM}/carol' id='j'>{MUC}</presence>")
        self.take(message(CAROLS, "ann", "<body>x</body>"))
        self.take(own(CAROLS, "carol"))
        sent = self.take(message(CAROLS, "ann", f"<body>x</body>{DELAY}") + message(CAROLS, "", "<subject/>"))
        self.assertEqual(sent.count(b"<body>x</body>"), 1)

    def test_lateLeave(self) -> None:
        """A join that was taken back is refused: the wait for the leave is over, and the nick is another user's."""
        self.joinAndLeave()
        self.take(presence(BOBS, "dan"))
        self.take(presence(DANS, "dan", error("conflict"), "error") + presence(BOBS, "dan"))
        self.wire.tickBytes(11)
        self.assertIn("dan", self.wire.room(ROOM).occupants)

    def joinAndLeave(self) -> None:
        """Let Dan join and leave; the ordinary room does not answer."""
        self.enter()
        self.take(f"<presence from='{DAN}' to='{ROOM}/dan' id='j'>{MUC}</presence>")
        self.take(f"<presence from='{DAN}' to='{ROOM}/dan' type='unavailable'/>")

    def test_lostLeave(self) -> None:
        """A leave does not come back: after ten seconds, the local user who has the nick since is shown."""
        self.joinAndLeave()
        self.assertSent(self.take(presence(BOBS, "dan", ITEM + CAPS)))
        self.assertSent(self.wire.tickBytes(9))
        self.assertSent(
            self.wire.tickBytes(1),
            *(f"<presence from='{ROOM}/dan' to='{whom}'>{ITEM}{CAPS}</presence>" for whom in (NORTH, CAROL)),
        )

    def test_nickSince(self) -> None:
        """The same, but a user here has asked for the nick since: that one stays."""
        self.joinAndLeave()
        self.take(f"<presence from='{EVE}' to='{ROOM}/dan' id='j'>{MUC}</presence>")
        self.assertIn(b"<status code='110'/>", self.take(own(DANS.replace("dan", "eve", 1), "dan")))
        self.assertSent(self.wire.tickBytes(11))
        self.assertIn("dan", self.wire.room(ROOM).occupants)
        assert self.wire.backing is not None
        self.assertEqual(self.wire.backing.count, 3)

    def test_nickRefused(self) -> None:
        """The same, but that join is refused: its user is told."""
        self.joinAndLeave()
        self.take(f"<presence from='{EVE}' to='{ROOM}/dan' id='j'>{MUC}</presence>")
        self.assertSent(
            self.take(presence(DANS.replace("dan", "eve", 1), "dan", error("conflict"), "error")),
            f"<presence from='{ROOM}/dan' to='{EVE}' type='error' id='j'>{MUC}{error('conflict')}</presence>",
        )

    def test_again(self) -> None:
        """XEP-0045 section 7.14: a user joins, leaves and joins again before any answer, and is in."""
        gone = presence(DANS, "dan", GONE, "unavailable")
        for answers in (own(DANS, "dan") + gone, presence(DANS, "dan", error("conflict"), "error")):
            self.setUp()
            self.joinAndLeave()
            self.take(f"<presence from='{DAN}' to='{ROOM}/dan' id='k'>{MUC}</presence>")
            self.assertSent(self.take(answers))
            sent = self.take(own(DANS, "dan")).decode()
            self.assertIn(f"<presence from='{ROOM}/dan' to='{DAN}' id='k'><x", sent)
            self.assertSent(self.wire.tickBytes(11))
            self.assertIn("dan", self.wire.room(ROOM).occupants)

    def test_againAndLost(self) -> None:
        """The same, and the leave is lost: it is not known which join was answered, so the mirror joins anew."""
        self.joinAndLeave()
        self.take(f"<presence from='{DAN}' to='{ROOM}/dan' id='k'>{MUC}</presence>")
        self.take(own(DANS, "dan") + own(DANS, "dan"))
        self.assertIn("dan", self.wire.room(ROOM).occupants)
        self.assertIn(f"<presence from='{BOBS}' to='{SOURCE}/bob'>".encode(), self.wire.tickBytes(10))
        sent = self.take(own(BOBS, "bob") + message(BOBS, "", "<subject/>")).decode()
        for address, nick in ((CAROLS, "carol"), (DANS, "dan")):
            self.assertIn(f"<iq from='{address}' to='{SOURCE}/{nick}' id='ping-", sent)

    def test_againAndDisconnected(self) -> None:
        """The same, and a new connection: no answer of the earlier one is awaited."""
        self.joinAndLeave()
        self.take(f"<presence from='{DAN}' to='{ROOM}/dan' id='k'>{MUC}</presence>")
        self.take(own(DANS, "dan") + own(DANS, "dan"))
        self.wire.handler.connectionInitialized()
        self.wire.settled()
        sent = self.take(own(BOBS, "bob") + message(BOBS, "", "<subject/>") + presence(BOBS, "dan")).decode()
        for address, nick in ((CAROLS, "carol"), (DANS, "dan")):
            [asked] = re.findall(f"<iq from='{re.escape(address)}' to='{SOURCE}/{nick}' id='([^']*)'", sent)
            self.take(presence(BOBS, nick))
            self.take(f"<iq from='{SOURCE}/{nick}' to='{address}' type='result' id='{asked}'/>")
        self.assertSent(self.wire.tickBytes(11))

    def test_leaveAndDisconnected(self) -> None:
        """
        A leave is sent again by a new connection, whose answers alone count. Who had the nick before may have left
        meanwhile.
        """
        self.joinAndLeave()
        self.take(f"<presence from='{DAN}' to='{ROOM}/dan' id='k'>{MUC}</presence>")
        self.take(f"<presence from='{DAN}' to='{ROOM}/dan' type='unavailable'/>")
        self.take(presence(BOBS, "dan"))
        self.wire.tickBytes(5)
        self.wire.handler.connectionInitialized()
        sent = self.wire.settled()
        [ping] = re.findall(rb"id='(ping-[^']*)'", sent)
        self.assertSent(
            sent,
            leaveOf(DANS, "dan"),
            f"<iq from='{DANS}' to='{SOURCE}/dan' id='{ping.decode()}' type='get'><ping xmlns='{ns.PING}'/></iq>",
            f"<presence from='{BOBS}' to='{SOURCE}/bob'>{MUC}</presence>",
        )
        self.take(own(BOBS, "bob") + message(BOBS, "", "<subject/>"))
        self.wire.tickBytes(9)
        assert self.wire.backing is not None
        self.assertEqual(self.wire.backing.count, 3)
        self.wire.tickBytes(1)
        self.assertEqual(self.wire.backing.count, 2)
        self.assertNotIn("dan", self.wire.room(ROOM).occupants)

    def test_leavesTwice(self) -> None:
        """Of two leaves that do not come back, the wait for the last one counts."""
        self.joinAndLeave()
        self.wire.tickBytes(5)
        self.take(f"<presence from='{DAN}' to='{ROOM}/dan' id='k'>{MUC}</presence>")
        self.take(f"<presence from='{DAN}' to='{ROOM}/dan' type='unavailable'/>")
        self.take(presence(BOBS, "dan"))
        # The question whether the leaves have arrived is sent again.
        [ping] = read(self.wire.tickBytes(9))
        self.assertEqual((ping.get("type"), ping.get("from"), ping.get("to")), ("get", DANS, f"{SOURCE}/dan"))
        self.assertIn(f"<presence from='{ROOM}/dan' to='{CAROL}'>".encode(), self.wire.tickBytes(1))

    def test_removedMeanwhile(self) -> None:
        """A puppet is removed while the room is asked whether it is in: it does not join again."""
        self.enter()
        self.wire.handler.connectionInitialized()
        self.wire.settled()
        self.assertIn(b"<ping ", self.take(own(BOBS, "bob") + message(BOBS, "", "<subject/>")))
        kicked = GONE.replace("'110'/>", "'110'/><status code='307'/>")
        self.assertIn(b"307", self.take(presence(CAROLS, "carol", kicked, "unavailable")))
        self.assertSent(self.wire.tickBytes(11))
        self.assertNotIn("carol", self.wire.room(ROOM).occupants)

    def lostAnswer(self) -> None:
        """Let the connection be lost while Carol's first join is being answered; what was received is shown."""
        self.take(f"<presence from='{CAROL}' to='{ROOM}/carol' id='j'>{MUC}</presence>")
        self.take(own(CAROLS, "carol"))
        self.wire.handler.connectionInitialized()
        self.assertSent(self.wire.settled())
        self.assertIn(b"<status code='110'/>", self.wire.tickBytes(5))

    def test_lostAnswer(self) -> None:
        """Nobody knows whether Carol's puppet is in, and none listens: it joins anew."""
        self.lostAnswer()
        self.assertSent(
            self.wire.tickBytes(1),
            f"<presence from='{CAROLS}' to='{SOURCE}/carol'><x xmlns='{ns.MUC}'/></presence>",
        )

    def test_lostAnswerAndJoin(self) -> None:
        """The same while another user joins: that join is answered before."""
        self.lostAnswer()
        self.take(f"<presence from='{DAN}' to='{ROOM}/dan' id='j'>{MUC}</presence>")
        self.assertSent(self.wire.tickBytes(1))
        sent = self.take(own(DANS, "dan")).decode()
        self.assertIn(f"<presence from='{ROOM}/dan' to='{DAN}' id='j'><x", sent)
        self.assertIn(f"<presence from='{CAROLS}' to='{SOURCE}/carol'><x xmlns='{ns.MUC}'/></presence>", sent)

    def test_lostJoin(self) -> None:
        """A join whose answer was lost with the connection is refused; its puppet leaves."""
        self.enter()
        self.take(f"<presence from='{DAN}' to='{ROOM}/dan' id='j'>{MUC}</presence>")
        self.wire.handler.connectionInitialized()
        sent = self.wire.settled().decode()
        self.assertIn(f"<presence from='{ROOM}/dan' to='{DAN}' id='j' type='error'>", sent)
        self.assertLess(sent.index(leaveOf(DANS, "dan")), sent.index(f"<presence from='{BOBS}' to='{SOURCE}/bob'>"))
        self.assertSent(self.take(presence(DANS, "dan", ITEM, "unavailable")))

    def test_lateAnswer(self) -> None:
        """
        The ordinary service seems to be away, so a join is refused. If it is answered, its puppet leaves, also if
        another user has asked for the nick since.
        """
        self.enter()
        self.take(f"<presence from='{DAN}' to='{ROOM}/dan' id='j'>{MUC}</presence>")
        sent = self.take(message(BOBS, "", error("remote-server-timeout"), "error"))
        self.assertIn(f"<presence from='{ROOM}/dan' to='{DAN}' id='j' type='error'>".encode(), sent)
        self.take(f"<presence from='{EVE}' to='{ROOM}/dan' id='j'>{MUC}</presence>")
        self.assertSent(self.take(own(DANS, "dan")), leaveOf(DANS, "dan"))
        self.assertNotIn("dan", self.wire.room(ROOM).occupants)

    def test_lateError(self) -> None:
        """A first join is refused after the puppet is in: it leaves, and the nick is free for others."""
        self.take(f"<presence from='{CAROL}' to='{ROOM}/carol' id='j'>{MUC}</presence>")
        self.take(own(CAROLS, "carol"))
        sent = self.take(presence(CAROLS, "carol", error("not-allowed"), "error"))
        self.assertIn(leaveOf(CAROLS, "carol").encode(), sent)
        self.assertIn(b"not-allowed", sent)
        assert self.wire.backing is not None
        self.assertEqual(self.wire.backing.count, 0)
