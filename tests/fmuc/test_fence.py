"""Joins through a mirror in primary mode: nothing is shown to a user whom the joined room does not admit."""

from __future__ import annotations

from attrs import evolve

from gateway import ns
from gateway.errors import (
    ERRORS,
    Banned,
    GatewayError,
    MembersOnly,
    NoAnswer,
    ResourceLimit,
    UnknownServer,
    WrongPassword,
)
from gateway.fmuc.profiles import BROADBAND
from gateway.fmuc.values import Dialect
from gateway.muc.values import OUTCAST
from tests.fmuc.support import MUC, RoomCase, canonical, mirror, refused, withoutIds
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, WAYS, Site
from tests.muc.test_local import status, user

JOIN = f"<presence from='{BEN}' to='{HERE}/ben'>{MUC}</presence>"
LEAVE = f"<presence from='{BEN}' to='{HERE}/ben' type='unavailable'/>"


def fmuc(real: str) -> str:
    """Return the C{fmuc} element."""
    return f"<fmuc xmlns='{ns.FMUC}' from='{real}'/>"


def pong(number: int, kind: str = "result", inside: str = "") -> str:
    """Return the answer to a fence."""
    return f"<iq from='{ABOVE}' to='{HERE}/ben' id='join-t-{number}' type='{kind}'>{inside}</iq>"


class DemandsTests(RoomCase):
    """XEP-0045 sections 7.2.5 to 7.2.7, through a mirror that somebody is in."""

    def assertRefusedAlone(self, prepare: str, error: type[GatewayError]) -> None:
        """The user gets the error and nothing else, and nobody else is told of the user."""
        for dialect, replica in WAYS:
            site = Site(dialect, replica)
            for who, nick in ((OWN, "own"), (ANN, "ann")):
                site.join(who, nick)
            said = f"<message from='{OWN}' to='{ABOVE}' type='groupchat'><body>secret</body></message>"
            site.take(site.above, said)
            room = site.above.rooms.rooms[ABOVE]
            if prepare:
                setattr(room.settings, prepare, "secret" if prepare == "password" else True)
            else:
                room.affiliations[BEN.partition("/")[0]] = OUTCAST
            for who in (OWN, ANN):
                site.seen(who)
            site.join(BEN, "ben")
            # XEP-0289 has a text for each rejection.
            text = f"<text xmlns='{ns.STANZA_ERRORS}'>{ERRORS[error].condition}</text>"
            answer = refused("presence", f"{HERE}/ben", BEN, error, MUC)
            self.assertSent(site.seen(BEN).replace(text, "").encode(), answer)
            self.assertEqual((site.seen(ANN), site.seen(OWN)), ("", ""), (dialect, replica))

    def test_ban(self) -> None:
        """Section 7.2.7."""
        self.assertRefusedAlone("", Banned)

    def test_membersOnly(self) -> None:
        """Section 7.2.6."""
        self.assertRefusedAlone("membersOnly", MembersOnly)

    def test_password(self) -> None:
        """Section 7.2.5."""
        self.assertRefusedAlone("password", WrongPassword)


class FenceTests(RoomCase):
    """A mirror in primary mode, by XEP-0289, and all stanzas of its joined node."""

    def setUp(self) -> None:
        self.mirror = mirror("mirror.example", Dialect.XEP_0289, replica=False)
        self.mirror.take(f"<presence from='{ANN}' to='{HERE}/ann'>{MUC}</presence>")
        own = user("owner", "moderator")
        self.mirror.take(f"<presence from='{ABOVE}/own' to='{HERE}'>{fmuc(OWN)}{own}</presence>")
        self.mirror.take(f"<message from='{ABOVE}' to='{HERE}' type='groupchat'>{fmuc('')}<subject/></message>")
        self.joined = self.mirror.take(JOIN)

    def sent(self, number: int) -> tuple[str, str]:
        """Return a join and its fence."""
        item = user("none", "participant", jid=BEN)
        asked = f"<fmuc xmlns='{ns.FMUC}' from='{BEN}'><occupant-id/></fmuc>"
        return (
            f"<presence from='{HERE}/ben' to='{ABOVE}/ben'>{asked}{MUC}{item}</presence>",
            f"<iq from='{HERE}/ben' to='{ABOVE}' id='join-t-{number}' type='get'><ping xmlns='{ns.PING}'/></iq>",
        )

    def assertAdmitted(self, sent: bytes) -> None:
        """The user gets the occupants, the own presence, and the subject; others are told."""
        self.assertSent(
            sent,
            f"<presence from='{HERE}/ben' to='{ANN}'>{user('none', 'participant')}</presence>",
            f"<presence from='{HERE}/own' to='{BEN}'>{user('owner', 'moderator')}</presence>",
            f"<presence from='{HERE}/ann' to='{BEN}'>{user('none', 'participant')}</presence>",
            f"<presence from='{HERE}/ben' to='{BEN}'>{user('none', 'participant', status(110))}</presence>",
            f"<message from='{HERE}' to='{BEN}' type='groupchat'><subject/></message>",
        )

    def test_admitted(self) -> None:
        """A join is followed by a ping. Its answer, a result or an error, admits the user; once."""
        self.assertSent(self.joined, *self.sent(1))
        self.assertAdmitted(self.mirror.take(pong(1)))
        self.assertSent(self.mirror.take(pong(1)))
        self.setUp()
        unknown = f"<error type='cancel'><service-unavailable xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.assertAdmitted(self.mirror.take(pong(1, "error", unknown)))

    def test_others(self) -> None:
        """Answers of others, to others and with other ids admit nobody."""
        for each in (
            pong(1).replace(f"from='{ABOVE}'", "from='eve@evil.example/x'"),
            pong(1).replace(f"from='{ABOVE}'", f"from='{ABOVE}/ben'"),
            pong(1).replace("/ben", "/ann"),
            pong(1).replace("/ben", ""),
            pong(2),
            pong(1).replace("-t-", "-u-"),
        ):
            self.assertSent(self.mirror.take(each))
        self.assertAdmitted(self.mirror.take(pong(1)))

    def test_standing(self) -> None:
        """If the room gives another standing than expected it says so, and that admits the user at once."""
        member = user("member", "participant")
        sent = self.mirror.take(f"<presence from='{ABOVE}/ben' to='{HERE}'>{fmuc(BEN)}{member}</presence>")
        own = user("member", "participant", status(110))
        self.assertIn(f"<presence from='{HERE}/ben' to='{BEN}'>{own}</presence>".encode(), withoutIds(sent))
        self.assertSent(self.mirror.take(pong(1)))

    def test_nobody(self) -> None:
        """Without an answer, and if the room cannot be reached, the user is refused, and the join withdrawn."""
        gone = (
            f"<presence from='{HERE}/ben' to='{ABOVE}/ben' type='unavailable'>{fmuc(BEN)}"
            f"{user('none', 'none', jid=BEN)}</presence>"
        )
        answer = refused("presence", f"{HERE}/ben", BEN, NoAnswer, MUC)
        self.assertSent(self.mirror.tick(BROADBAND.answer), gone, answer)
        self.assertSent(self.mirror.take(pong(1)))
        self.setUp()
        error = f"<error type='cancel'><remote-server-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
        answer = refused("presence", f"{HERE}/ben", BEN, UnknownServer, MUC)
        sent = self.mirror.take(pong(1, "error", error)).decode()
        text = f"<text xmlns='{ns.STANZA_ERRORS}'>This host reaches no other server.</text>"
        self.assertSent(sent.encode(), gone, answer.replace(text, ""))

    def test_again(self) -> None:
        """A user leaves and joins again before the answer: the answers to the first join do not count."""
        self.assertIn(b"type='unavailable'", self.mirror.take(LEAVE))
        self.assertSent(self.mirror.take(JOIN), *self.sent(2))
        reject = f"<fmuc xmlns='{ns.FMUC}' from='{BEN}'><reject>no</reject></fmuc>"
        rejected = f"<presence from='{ABOVE}' to='{HERE}/ben'>{reject}</presence>"
        self.assertSent(self.mirror.take(rejected))
        self.assertSent(self.mirror.take(pong(1)))
        self.assertNotIn("ben", self.mirror.rooms.rooms[HERE].occupants)
        self.assertIn(b"type='error'", self.mirror.take(rejected))
        self.assertSent(self.mirror.take(pong(2)))
        self.assertNotIn("ben", self.mirror.rooms.rooms[HERE].occupants)
        # Both are admitted: only the second one counts.
        self.setUp()
        self.mirror.take(LEAVE + JOIN)
        self.assertSent(self.mirror.take(pong(1)))
        self.assertAdmitted(self.mirror.take(pong(2)))
        self.setUp()
        self.mirror.take(LEAVE)
        self.assertSent(self.mirror.take(pong(1)))
        self.assertEqual(self.mirror.rooms.rooms[HERE].nodes.pending, {})

    def test_bound(self) -> None:
        """A user who leaves and joins again and again before any answer is refused at some time."""
        room = self.mirror.rooms.rooms[HERE]
        room.bounds = evolve(room.bounds, pending=5)
        for _ in range(4):
            self.mirror.take(LEAVE + JOIN)
        self.mirror.take(LEAVE)
        self.assertSent(self.mirror.take(JOIN), refused("presence", f"{HERE}/ben", BEN, ResourceLimit, MUC))
        # The last answer ends the wait for all.
        self.assertSent(self.mirror.take(pong(5)))
        self.assertSent(self.mirror.take(JOIN), *self.sent(6))

    def test_nick(self) -> None:
        """An occupant of the room has the nick, and leaves it: only the answer admits the user."""
        other = "other@b.example/1"
        for kind, role in (("", "participant"), (" type='unavailable'", "none")):
            item = user("none", role)
            given = f"<presence from='{ABOVE}/ben' to='{HERE}'{kind}>{fmuc(other)}{item}</presence>"
            self.assertNotIn(f"to='{BEN}'".encode(), self.mirror.take(given))
        self.assertAdmitted(self.mirror.take(pong(1)))

    def test_begunAnew(self) -> None:
        """
        The room removes the last occupant before it receives two joins: the first one is a first join, which the
        room answers; the other one still waits for its own answer.
        """
        cat = "cat@a.example/4"
        self.mirror.take(f"<presence from='{cat}' to='{HERE}/cat'>{MUC}</presence>")
        kicked = user("none", "none", status(307))
        left = f"<fmuc xmlns='{ns.FMUC}'><left/></fmuc>"
        self.mirror.take(
            f"<presence from='{ABOVE}/ann' to='{HERE}' type='unavailable'>{fmuc(ANN)}{kicked}</presence>"
            f"<presence from='{ABOVE}' to='{HERE}'>{left}</presence>"
        )
        own = user("none", "participant")
        sent = self.mirror.take(
            f"<presence from='{ABOVE}/ben' to='{HERE}'>{fmuc(BEN)}{own}</presence>"
            f"<message from='{ABOVE}' to='{HERE}' type='groupchat'>{fmuc('')}<subject/></message>"
        )
        self.assertIn(f"to='{BEN}'".encode(), sent)
        self.assertNotIn(cat.encode(), sent.replace(fmuc(cat).encode(), b""))
        reject = f"<fmuc xmlns='{ns.FMUC}' from='{cat}'><reject>no</reject></fmuc>"
        sent = self.mirror.take(pong(1) + f"<presence from='{ABOVE}' to='{HERE}/cat'>{reject}</presence>")
        self.assertEqual(sent.count(f"to='{cat}'".encode()), 1)
        self.assertIn(b"type='error'", sent)
        self.assertEqual(set(self.mirror.rooms.rooms[HERE].occupants), {"ben"})


class HeldTests(RoomCase):
    """The fence of a joining node, at a mirror in a chain."""

    def setUp(self) -> None:
        self.mirror = mirror("mirror.example", Dialect.XEP_0289, peers="low.example")
        self.cat, self.low = "cat@c.example/4", "coven@low.example/cat"
        item = user("none", "participant", jid=self.cat)
        self.join = f"<presence from='{self.low}' to='{HERE}/cat'>{fmuc(self.cat)}{MUC}{item}</presence>"
        self.mirror.take(f"<presence from='{ANN}' to='{HERE}/ann'>{MUC}</presence>")
        own = user("none", "participant")
        self.mirror.take(f"<presence from='{ABOVE}/ann' to='{HERE}'>{fmuc(ANN)}{own}</presence>")
        self.mirror.take(f"<message from='{ABOVE}' to='{HERE}' type='groupchat'>{fmuc('')}<subject/></message>")
        self.mirror.take(self.join)

    def ping(self, identifier: str) -> bytes:
        ping = f"<ping xmlns='{ns.PING}'/>"
        return self.mirror.take(f"<iq from='{self.low}' to='{HERE}' id='{identifier}' type='get'>{ping}</iq>")

    def pong(self, identifier: str) -> str:
        return f"<iq from='{HERE}' to='{self.low}' id='{identifier}' type='result'/>"

    def test_rejected(self) -> None:
        """It is answered when the join is: here, after its rejection."""
        self.assertSent(self.ping("f"))
        reject = f"<fmuc xmlns='{ns.FMUC}' from='{self.cat}'><reject>no</reject></fmuc>"
        sent = self.mirror.take(f"<presence from='{ABOVE}' to='{HERE}/cat'>{reject}</presence>")
        self.assertIn(canonical(self.pong("f"))[0], canonical(sent))

    def test_withdrawn(self) -> None:
        """After the leave of a user whose join waits, nothing is waited for: the answer comes at once."""
        leave = self.join.replace("<presence ", "<presence type='unavailable' ").replace(MUC, "")
        self.mirror.take(leave)
        self.assertSent(self.ping("f"), self.pong("f"))
