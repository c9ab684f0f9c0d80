"""Openfire as the joined node: the gateway mirrors one of its rooms. Openfire's half is recorded traffic."""

from __future__ import annotations

from gateway import ns
from gateway.errors import ERRORS, NoAnswer, NoSuchRoom, NotFederated, NotInTheRoom, NotPrivate
from gateway.fmuc.nodes import JoinedNode
from gateway.fmuc.profiles import BROADBAND, HF
from gateway.fmuc.values import Dialect, FederationMode, Mode
from gateway.testing import stanzas
from tests.fmuc.openfire import MUC, PHOTO, Openfire, fmuc, item
from tests.fmuc.support import RoomCase, mirror, refused

ROOM = "joined@conference.localhost"
HERE = r"joined\40conference.localhost@mirror.localhost"
BOB, CAROL, DAVE = "bob@localhost/m", "carol@localhost/m", "dave@localhost/m"
ANN, TOM, ADM, ERIN = "ann@localhost/of", "tom@localhost/of", "admin@localhost/of", "erin@localhost/of"
NICKS = {"ann": ANN, "tom": TOM, "adm": ADM, "erin": ERIN}
MINE = {BOB: "bob", CAROL: "carol", DAVE: "dave"}
BODY = "<body>%s</body>"
STAMP = "2026-11-29T06:00:24.226Z"


def asked(number: int = 1) -> str:
    """Return the question to the room."""
    query = f"<query xmlns='{ns.DISCO_INFO}'/>"
    return f"<iq from='{HERE}' to='{ROOM}' id='room-t-{number}' type='get'>{query}</iq>"


def joins(who: str, isFirst: bool = True, mode: str = "<replica/>") -> str:
    """Return the join that the mirror sends."""
    nick = MINE[who]
    inside = fmuc(who, mode if isFirst else "<occupant-id/>") + MUC + item(jid=who)
    return f"<presence from='{HERE}/{nick}' to='{ROOM}/{nick}'>{inside}</presence>"


def leaves(who: str, more: str = "", affiliation: str = "none") -> str:
    """Return the leave that the mirror sends."""
    nick = MINE[who]
    inside = fmuc(who) + more + item("none", affiliation, who)
    return f"<presence from='{HERE}/{nick}' to='{ROOM}/{nick}' type='unavailable'>{inside}</presence>"


def shown(nick: str, to: str, inside: str, kind: str = "") -> str:
    """Return an occupant's presence as a user of the mirror gets it."""
    given = f" type='{kind}'" if kind else ""
    return f"<presence from='{HERE}/{nick}' to='{to}'{given}>{inside}</presence>"


def heard(nick: str, to: str, identifier: str, inside: str) -> str:
    """Return a message to all, as a user of the mirror gets it."""
    return f"<message from='{HERE}/{nick}' to='{to}' type='groupchat' id='{identifier}'>{inside}</message>"


class OpenfireCase(RoomCase):
    """
    Adm, who owns it, Ann and Tom are in Openfire's room.

    @ivar anonymity: what the room says of itself; empty if it says nothing.
    """

    anonymity = "muc_semianonymous"

    def setUp(self) -> None:
        self.service = mirror("mirror.localhost")
        self.openfire = Openfire(ROOM, HERE, False, dict(NICKS))

    def take(self, xml: str) -> bytes:
        return self.service.take(xml)

    def join(self, who: str) -> bytes:
        return self.take(f"<presence from='{who}' to='{HERE}/{MINE[who]}'>{MUC}</presence>")

    def answer(self) -> str:
        """Return the answer to a first join."""
        adm = self.openfire.listed("adm", "moderator", "owner")
        return adm + self.openfire.answer(("ann", "tom")) + self.description()

    def description(self) -> str:
        return self.openfire.described("room-t-1", self.anonymity) if self.anonymity else ""

    def admit(self, *users: str) -> None:
        """Let users enter. Of the further ones Openfire answers only the fence: it is in the room by then."""
        self.join(users[0])
        self.take(self.answer())
        for number, who in enumerate(users[1:], 1):
            self.join(who)
            error = f"<error type='modify'><bad-request xmlns='{ns.STANZA_ERRORS}'/></error>"
            self.take(f"<iq type='error' id='join-t-{number}' from='{ROOM}' to='{HERE}/{MINE[who]}'>{error}</iq>")
        self.assertEqual(self.occupants, sorted(["adm", "ann", "tom", *(MINE[who] for who in users)]))

    @property
    def occupants(self) -> list[str]:
        return sorted(self.service.rooms.rooms[HERE].occupants)

    @property
    def node(self) -> JoinedNode:
        federation = self.service.rooms.federation(HERE)
        assert federation is not None and federation.joinedNode is not None
        return federation.joinedNode


class JoinTests(OpenfireCase):
    """XEP-0289 sections 6.1, 6.3 and 6.4."""

    def test_first(self) -> None:
        """
        Openfire's items name the occupants, not the users, whom C{fmuc} names; it does not send the own presence.
        It is asked whether it is anonymous. Users are shown no real JIDs.
        """
        self.assertSent(self.join(BOB), joins(BOB))
        self.assertSent(
            self.take(self.answer()),
            asked(),
            shown("adm", BOB, item("moderator", "owner")),
            shown("ann", BOB, item()),
            shown("tom", BOB, item()),
            shown("bob", BOB, item(more="|110")),
            f"<message from='{HERE}' to='{BOB}' type='groupchat' id='s'><subject/></message>",
        )
        room = self.service.rooms.rooms[HERE]
        self.assertEqual({each.nick: each.realJid for each in self.node.occupants.values()}["ann"], ANN)
        self.assertFalse(room.settings.nonAnonymous)

    def test_history(self) -> None:
        """
        The history has the occupants in C{fmuc}. Openfire keeps private messages and errors in it, too: nobody is
        shown them.
        """
        self.join(BOB)
        past = self.openfire.past
        history = past("ann", BODY % "said before", STAMP) + past("bob", BODY % "private", STAMP, "chat")
        error = f"<error code='503' type='cancel'><service-unavailable xmlns='{ns.STANZA_ERRORS}'/></error>"
        history += past("ann", BODY % "while it is dead" + error, STAMP, "error")
        sent = self.take(self.openfire.answer(["ann"], history, past("ann", "<subject>topic</subject>", STAMP)))
        stamped = f"<delay xmlns='urn:xmpp:delay' from='{HERE}' stamp='2026-11-29T06:00:24Z'/>"
        self.assertSent(
            sent,
            asked(),
            shown("ann", BOB, item()),
            shown("bob", BOB, item(more="|110")),
            heard("ann", BOB, "ann", BODY % "said before" + stamped),
            heard("ann", BOB, "ann", f"<subject>topic</subject>{stamped}"),
        )

    def test_later(self) -> None:
        """
        Further users, here and there. Openfire announces a join to the bare JID, and sends the presence then: the
        announcement is not rejected, because it is no join of a node.
        """
        self.admit(BOB)
        ping = f"<iq from='{HERE}/carol' to='{ROOM}' id='join-t-1' type='get'><ping xmlns='{ns.PING}'/></iq>"
        self.assertSent(self.join(CAROL), joins(CAROL, False), ping)
        self.assertSent(self.take(self.openfire.announced("erin")))
        self.assertSent(self.take(self.openfire.presence("erin")), shown("erin", BOB, PHOTO + item()))
        self.assertSent(self.take(self.openfire.left("erin")), shown("erin", BOB, item("none"), "unavailable"))

    def test_nick(self) -> None:
        """XEP-0045 section 7.6: an occupant of Openfire changes the nick, and back."""
        self.admit(BOB)
        for old, new in (("ann", "ann2"), ("ann2", "ann")):
            changed = item(more=f" nick='{new}'>|303")
            self.assertSent(
                self.take(self.openfire.renamed(old, new)),
                shown(old, BOB, changed, "unavailable"),
                shown(new, BOB, PHOTO + item()),
            )

    def test_leave(self) -> None:
        """Section 6.4: the last one leaves, and Openfire confirms it; nothing is sent then."""
        self.admit(BOB, CAROL)
        sent = self.take(f"<presence from='{CAROL}' to='{HERE}/carol' type='unavailable'/>")
        self.assertSent(
            sent,
            shown("carol", BOB, item("none"), "unavailable"),
            shown("carol", CAROL, item("none", more="|110"), "unavailable"),
            leaves(CAROL),
        )
        sent = self.take(f"<presence from='{BOB}' to='{HERE}/bob' type='unavailable'/>")
        self.assertSent(sent, shown("bob", BOB, item("none", more="|110"), "unavailable"), leaves(BOB))
        self.assertSent(self.take(self.openfire.confirmsLeft()))
        self.assertEqual(self.service.rooms.rooms, {})
        self.assertSent(self.join(BOB), joins(BOB))

    def test_ended(self) -> None:
        """
        Section 6.4: Openfire says that the mirror has left though a user is in, because FMUC was disabled and
        enabled there: the user joins anew at once, and sees nothing of it.
        """
        self.admit(BOB)
        mode = "<replica/>"
        self.assertSent(self.take(self.openfire.confirmsLeft()), leaves(BOB), joins(BOB, mode=mode))
        self.assertSent(self.take(self.answer()))
        self.assertEqual(self.occupants, ["adm", "ann", "bob", "tom"])

    def test_forgotten(self) -> None:
        """Openfire still counts a mirror as joined that nobody is in: what it announces is no join of a node."""
        sent = self.take(self.openfire.announced("erin"))
        self.assertEqual([(each.type, each.recipient) for each in stanzas(sent)], [("error", f"{ROOM}/erin")])
        self.assertNotIn(b"<reject>", sent)
        self.assertEqual(self.service.rooms.rooms, {})

    def test_circular(self) -> None:
        """The room is configured to join its mirror: its rejection is to the full JID, without a condition."""
        words = "cannot have circular federation"
        self.join(BOB)
        error = (
            f"<error type='cancel'><not-allowed xmlns='{ns.STANZA_ERRORS}'/>"
            f"<text xmlns='{ns.STANZA_ERRORS}'>{words}</text></error>"
        )
        self.assertSent(self.take(self.openfire.rejects("bob", words)), shown("bob", BOB, MUC + error, "error"))
        self.assertEqual(self.service.rooms.rooms, {})


class TalkTests(OpenfireCase):
    """XEP-0289 sections 6.2 and 6.6."""

    def setUp(self) -> None:
        super().setUp()
        self.admit(BOB, CAROL)

    def test_talk(self) -> None:
        """Each message crosses once; Openfire sends nothing back, so it is shown here at once."""
        self.assertSent(
            self.take(self.openfire.said("ann", "m1", BODY % "from above")),
            *(heard("ann", to, "m1", BODY % "from above") for to in (BOB, CAROL)),
        )
        for inside in (BODY % "from below", "<subject>topic by bob</subject>"):
            sent = self.take(f"<message from='{BOB}' to='{HERE}' type='groupchat' id='m2'>{inside}</message>")
            self.assertSent(
                sent,
                f"<message from='{HERE}/bob' to='{ROOM}' type='groupchat' id='m2'>{fmuc(BOB)}{inside}</message>",
                *(heard("bob", to, "m2", inside) for to in (BOB, CAROL)),
            )
        subject = "<subject>topic by ann</subject>"
        self.assertSent(
            self.take(self.openfire.said("ann", "s2", subject)),
            *(heard("ann", to, "s2", subject) for to in (BOB, CAROL)),
        )

    def test_private(self) -> None:
        """
        Openfire shows a private message from another node to its whole room, and keeps it: it is refused with the
        reason, and nothing crosses. The operator may allow it.
        """
        private = f"<message from='{BOB}' to='{HERE}/ann' type='chat' id='pm1'>{BODY % 'for ann alone'}</message>"
        refusal = refused("message", f"{HERE}/ann", BOB, NotPrivate, "id='pm1' ")
        self.assertSent(self.take(private), refusal)
        self.assertIn("show", ERRORS[NotPrivate].text)
        federation = self.service.rooms.federation(HERE)
        assert federation is not None
        federation.exposesPrivate = True
        crossed = f"<message from='{HERE}/bob' to='{ROOM}/ann' type='chat' id='pm1'>{fmuc(BOB)}"
        self.assertSent(self.take(private), f"{crossed}{BODY % 'for ann alone'}</message>")


class AdministrationTests(OpenfireCase):
    """XEP-0289 section 6.5: only the item of Openfire's presence names the user who is meant."""

    def setUp(self) -> None:
        super().setUp()
        self.admit(BOB, CAROL, DAVE)

    def test_kick(self) -> None:
        """
        A user of the mirror is kicked: Openfire sends it from the moderator's occupant, and from the room. The user
        is told and removed, the moderator stays, and Openfire is told of the leave.
        """
        kick = "><actor nick='adm'/><reason>enough</reason>|307"
        self.assertSent(
            self.take(self.openfire.kicked(DAVE, "adm")),
            *(shown("dave", to, PHOTO + item("none", more=kick), "unavailable") for to in (BOB, CAROL)),
            shown("dave", DAVE, PHOTO + item("none", more=kick + " 110"), "unavailable"),
            leaves(DAVE, PHOTO),
        )
        self.assertEqual(self.occupants, ["adm", "ann", "bob", "carol", "tom"])
        said = f"<message from='{DAVE}' to='{HERE}' type='groupchat' id='z1'>{BODY % 'still there?'}</message>"
        self.assertSent(self.take(said), refused("message", HERE, DAVE, NotInTheRoom, "id='z1' "))

    def test_kickedThere(self) -> None:
        """The same for a user of Openfire, without a leave."""
        kick = "><actor nick='adm'/><reason>enough</reason>|307"
        self.assertSent(
            self.take(self.openfire.kicked(TOM, "adm")),
            *(shown("tom", to, PHOTO + item("none", more=kick), "unavailable") for to in (BOB, CAROL, DAVE)),
        )
        self.assertEqual(self.occupants, ["adm", "ann", "bob", "carol", "dave"])

    def test_ban(self) -> None:
        """A ban comes from the room alone, with 301."""
        ban = "><actor nick='adm'/><reason>banned</reason>|301"
        self.assertSent(
            self.take(self.openfire.banned(CAROL, "adm")),
            *(shown("carol", to, PHOTO + item("none", "outcast", more=ban), "unavailable") for to in (BOB, DAVE)),
            shown("carol", CAROL, PHOTO + item("none", "outcast", more=ban + " 110"), "unavailable"),
            leaves(CAROL, PHOTO, "outcast"),
        )
        self.assertEqual(self.occupants, ["adm", "ann", "bob", "dave", "tom"])

    def test_voice(self) -> None:
        """Roles come from the room; they are shown, of users here and there."""
        for role in ("visitor", "participant"):
            self.assertSent(
                self.take(self.openfire.role(DAVE, role)),
                *(shown("dave", to, item(role)) for to in (BOB, CAROL)),
                shown("dave", DAVE, item(role, more="|110")),
            )
            self.assertSent(
                self.take(self.openfire.role(TOM, role)),
                *(shown("tom", to, PHOTO + item(role)) for to in (BOB, CAROL, DAVE)),
            )

    def test_entering(self) -> None:
        """
        The same while a user's join waits for the answer to its fence: to Openfire, the user is in already. A role
        admits the user, and a removal refuses the join.
        """
        self.take(self.openfire.kicked(CAROL, "adm") + self.openfire.kicked(DAVE, "adm"))
        self.join(CAROL)
        sent = self.take(self.openfire.role(CAROL, "visitor"))
        self.assertIn(shown("carol", CAROL, item("visitor", more="|110")).split("><")[1].encode(), sent)
        self.assertIn("carol", self.occupants)
        for removed, error, kind in (
            (self.openfire.kicked(DAVE, "adm"), "not-allowed", "cancel"),
            (self.openfire.banned(DAVE, "adm"), "forbidden", "auth"),
        ):
            self.join(DAVE)
            self.assertSent(self.take(self.openfire.banned("nobody@localhost/x", "adm")))
            reason = "banned" if error == "forbidden" else "enough"
            why = (
                f"<error type='{kind}'><{error} xmlns='{ns.STANZA_ERRORS}'/>"
                f"<text xmlns='{ns.STANZA_ERRORS}'>{reason}</text></error>"
            )
            self.assertSent(self.take(removed), shown("dave", DAVE, MUC + why, "error"), leaves(DAVE))
        self.assertNotIn("dave", self.occupants)

    def test_unknown(self) -> None:
        """Users who are not in, and every other odd address, change nothing."""
        for who in ("nobody@localhost/x", "localhost", ROOM, f"{ROOM}/ann", HERE):
            for odd in (
                self.openfire.kicked(who, "adm"),
                self.openfire.banned(who, "adm"),
                self.openfire.role(who, "visitor"),
            ):
                found = [each for each in odd.split("</presence>") if each]
                self.take("".join(f"{each}</presence>" for each in found if f"{ROOM}/adm" not in each))
        self.assertEqual(self.occupants, ["adm", "ann", "bob", "carol", "dave", "tom"])

    def test_chain(self) -> None:
        """The same for a user of a node that has joined the mirror: that node is told."""
        self.service.rooms._peers = frozenset(("far.example",))
        far = "cave@far.example"
        inside = fmuc("eve@far.example/1") + MUC + item(jid="eve@far.example/1")
        self.take(f"<presence from='{far}/eve' to='{HERE}/eve'>{inside}</presence>")
        ping = f"<error type='modify'><bad-request xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.take(f"<iq type='error' id='join-t-3' from='{ROOM}' to='{HERE}/eve'>{ping}</iq>")
        self.assertIn("eve", self.occupants)
        sent = self.take(self.openfire.kicked("eve@far.example/1", "adm"))
        self.assertIn(f"from='{HERE}/eve' to='{far}' type='unavailable'".encode(), sent)
        self.assertNotIn("eve", self.occupants)


class AnonymityTests(OpenfireCase):
    """XEP-0045 sections 6.4 and 10.2.1: only disco#info says who sees real JIDs."""

    def changes(self) -> bytes:
        """Ann changes her presence: now Openfire writes her real JID."""
        return self.take(self.openfire.presence("ann", "<status>x</status>"))

    def test_semiAnonymous(self) -> None:
        """Neither Ann's JID is shown, nor, because of it, those of the mirror's own users."""
        for self.anonymity in ("muc_semianonymous", ""):
            with self.subTest(self.anonymity):
                self.setUp()
                self.admit(BOB, CAROL)
                status = "<status>x</status>"
                self.assertSent(
                    self.changes(), *(shown("ann", to, status + PHOTO + item()) for to in (BOB, CAROL))
                )
                self.take(f"<presence from='{CAROL}' to='{HERE}/carol' type='unavailable'/>")
                self.join(CAROL)
                sent = self.take(f"<iq type='result' id='join-t-2' from='{ROOM}' to='{HERE}/carol'/>")
                self.assertIn(shown("ann", CAROL, "")[:40].encode(), sent)
                self.assertNotIn(b" jid=", sent)
                self.assertNotIn(b"code='100'", sent)

    def test_nonAnonymous(self) -> None:
        """Section 10.2.1: users who are in already are told by code 172; then JIDs are shown."""
        self.anonymity = "muc_nonanonymous"
        self.join(BOB)
        self.take(self.answer().removesuffix(self.description()))
        sent = self.take(self.description())
        status = f"<x xmlns='{ns.MUC_USER}'><status code='172'/></x>"
        told = f"<message from='{HERE}' to='{BOB}' type='groupchat'>{status}</message>"
        self.assertSent(sent, told)
        self.assertSent(self.changes(), shown("ann", BOB, "<status>x</status>" + PHOTO + item(jid=ANN)))
        # The next user learns it at the join (section 7.2.3).
        self.join(CAROL)
        sent = self.take(f"<iq type='result' id='join-t-1' from='{ROOM}' to='{HERE}/carol'/>")
        self.assertIn(b"code='100'", sent)

    def test_known(self) -> None:
        """A client has asked before: the room is not asked once more."""
        query = f"<query xmlns='{ns.DISCO_INFO}'/>"
        self.take(f"<iq from='{BOB}' to='{HERE}' type='get' id='di'>{query}</iq>")
        self.take(self.openfire.described("info-t-1"))
        self.join(BOB)
        self.assertNotIn(b"<iq", self.take(self.openfire.answer(["ann"])))
        self.assertNotIn(b" jid=", self.changes())

    def test_empty(self) -> None:
        """
        Nobody is in Openfire's room: it is recognised when its first user joins. The question is not about the join
        of a further user, which waits.
        """
        self.join(BOB)
        self.take(self.openfire.answer(()))
        self.assertFalse(self.node.isOpenfire)
        self.join(CAROL)
        self.assertSent(self.take(self.openfire.announced("ann")), asked())
        self.assertSent(self.take(self.openfire.described("room-t-1")))
        self.assertSent(self.take(self.openfire.presence("ann")), shown("ann", BOB, PHOTO + item()))

    def test_fromTheRoom(self) -> None:
        """The same when the room bans a user, in the name of nobody."""
        self.join(BOB)
        self.take(self.openfire.answer(()))
        sent = self.take(self.openfire.banned(BOB, "admin"))
        self.assertIn(b"code='301'", sent)
        self.assertEqual(self.occupants, [])

    def test_late(self) -> None:
        """The answer comes while a further user's join waits: that join is not sent once more."""
        self.join(BOB)
        self.take(self.openfire.answer(["ann"]))
        self.join(CAROL)
        self.assertSent(self.take(self.openfire.described("room-t-1")))

    def test_forged(self) -> None:
        """Only the room answers, and each question once; what cannot be read tells nothing."""
        self.anonymity = ""
        self.admit(BOB)
        good = self.openfire.described("room-t-1", "muc_nonanonymous")
        for strange in (
            good.replace(f"from='{ROOM}'", f"from='{ANN}'"),
            good.replace(f"from='{ROOM}'", f"from='{ROOM}/ann'"),
            good.replace("room-t-1", "room-t-2"),
            good.replace("room-t-1", "room-u-1"),
            good.replace(f"to='{HERE}'", f"to='{HERE}/bob'"),
        ):
            self.assertSent(self.take(strange))
        many = f"<query xmlns='{ns.DISCO_INFO}'>" + "<feature var='muc_nonanonymous'/>" * 600 + "</query>"
        self.assertSent(self.take(f"<iq type='result' id='room-t-1' from='{ROOM}' to='{HERE}'>{many}</iq>"))
        self.assertSent(self.take(good))
        self.assertFalse(self.service.rooms.rooms[HERE].settings.nonAnonymous)


class SilenceTests(OpenfireCase):
    """
    Openfire answers a join with nothing if FMUC is off, if there is no such room, and if the user is in it already,
    because the gateway was killed. Disco#info tells it (XEP-0045 section 6.4).
    """

    def silent(self) -> None:
        """Bob joins, and nothing comes."""
        self.assertSent(self.join(BOB), joins(BOB))
        self.assertSent(self.service.tick(BROADBAND.silence - 0.1))
        self.assertSent(self.service.tick(0.1), asked())
        self.assertSent(self.service.tick(0.1))

    def test_noRoom(self) -> None:
        """There is no such room: the user is told at once, and may try again at once."""
        self.silent()
        refusal = refused("presence", f"{HERE}/bob", BOB, NoSuchRoom, MUC)
        self.assertSent(self.take(self.openfire.unknown("room-t-1")), refusal, leaves(BOB))
        self.assertEqual(self.service.rooms.rooms, {})
        self.assertSent(self.join(BOB), joins(BOB))

    def test_federationOff(self) -> None:
        """FMUC is off: the join is sent once more, after a leave, and refused when nothing comes again."""
        self.silent()
        # Another user waits.
        self.assertSent(self.join(CAROL))
        self.assertSent(self.take(self.openfire.described("room-t-1")), leaves(BOB), joins(BOB))
        self.assertSent(self.service.tick(BROADBAND.silence - 0.1))
        refusals = [refused("presence", f"{HERE}/{MINE[who]}", who, NotFederated, MUC) for who in (BOB, CAROL)]
        self.assertSent(self.service.tick(0.1), *refusals, leaves(BOB))
        self.assertSent(self.service.tick(BROADBAND.farewell))
        self.assertEqual(self.service.rooms.rooms, {})

    def test_killed(self) -> None:
        """The gateway was killed with Bob in: Bob gets in again."""
        self.silent()
        self.anonymity = ""
        self.assertSent(self.take(self.openfire.described("room-t-1")), leaves(BOB), joins(BOB))
        # The leave was that of the last user of the node; the join is a first one.
        self.assertSent(self.take(self.openfire.confirmsLeft()))
        sent = self.take(self.answer())
        self.assertSent(
            sent,
            shown("adm", BOB, item("moderator", "owner")),
            shown("ann", BOB, item()),
            shown("tom", BOB, item()),
            shown("bob", BOB, item(more="|110")),
            f"<message from='{HERE}' to='{BOB}' type='groupchat' id='s'><subject/></message>",
        )

    def test_answered(self) -> None:
        """An answer that comes after the question was sent counts, not the silence before."""
        self.silent()
        self.take(self.openfire.listed("ann"))
        self.assertSent(self.take(self.openfire.described("room-t-1")))
        self.take(self.openfire.answer(()))
        self.assertEqual(self.occupants, ["ann", "bob"])

    def test_withdrawn(self) -> None:
        """The user leaves meanwhile: nothing is sent once more."""
        self.silent()
        self.take(f"<presence from='{BOB}' to='{HERE}/bob' type='unavailable'/>")
        self.assertSent(self.take(self.openfire.described("room-t-1")))
        self.service.tick(BROADBAND.farewell)
        self.assertEqual(self.service.rooms.rooms, {})

    def test_others(self) -> None:
        """A room of other software, or an error: its answer may be on its way, and the time of the join counts."""
        error = f"<error type='cancel'><service-unavailable xmlns='{ns.STANZA_ERRORS}'/></error>"
        plain = self.openfire.described("room-t-1").replace("x-muc#", "muc#")
        empty = f"<iq type='result' id='room-t-1' from='{ROOM}' to='{HERE}'/>"
        for answer in (f"<iq type='error' id='room-t-1' from='{ROOM}' to='{HERE}'>{error}</iq>", plain, empty, ""):
            with self.subTest(answer[:60]):
                self.setUp()
                self.silent()
                self.assertSent(self.take(answer))
                self.assertSent(self.service.tick(BROADBAND.answer - 2))
                sent = self.service.tick(2)
                self.assertSent(sent, refused("presence", f"{HERE}/bob", BOB, NoAnswer, MUC), leaves(BOB))

    def test_gateway(self) -> None:
        """A room of the gateway is not asked."""
        self.join(BOB)
        self.node.resumes = True
        own = fmuc(BOB, "<replica/>") + item(jid=BOB) + f"<resume xmlns='{ns.RESUME}'/>"
        self.take(f"<presence from='{ROOM}/bob' to='{HERE}'>{own}</presence>")
        self.assertSent(self.service.tick(BROADBAND.silence))
        self.take(f"<message from='{ROOM}' to='{HERE}' type='groupchat'><subject/></message>")
        self.assertEqual(self.occupants, ["bob"])

    def test_slow(self) -> None:
        """Over a slow link, the question has to wait for longer than an answer takes there."""
        self.assertGreater(HF.silence, 1.5 * 60)
        self.assertLess(HF.silence, HF.answer)


class RestartTests(OpenfireCase):
    """The gateway is restarted."""

    def test_gateway(self) -> None:
        """A record tells that a node is Openfire."""
        node = JoinedNode(ROOM, Dialect.XEP_0289, FederationMode(Mode.PRIMARY), isOpenfire=True)
        self.assertTrue(JoinedNode.restored(ROOM, node.record()).isOpenfire)
