"""Mirrors of other software that forgets them without an error, or that does not answer any longer."""

from __future__ import annotations

import re

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.errors import NoSuchAddress
from gateway.fmuc.profiles import BROADBAND, HF
from gateway.fmuc.uplink.probing import Probing, Verdict
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Dialect
from gateway.muc import disco
from gateway.muc.service import RoomService
from gateway.testing import stanzas
from tests.fmuc.support import MUC, RoomCase, Service, mirror
from tests.fmuc.test_mirrors import ABOVE, BEN, OWN, WAYS
from tests.fmuc.test_mirrors import ANN as ABOVE_ANN
from tests.fmuc.test_mirrors import HERE as MIRROR
from tests.fmuc.test_resuming import ResumeCase, Stored
from tests.muc.test_local import user

# The addresses of the recorded traffic.
ROOM = "joined@conference.localhost"
HERE = r"joined\40conference.localhost@mirror.localhost"
ANN, BOB, CAROL, DAN = "ann@localhost/of", "bob@localhost/m", "carol@localhost/m", "dan@localhost/m"
PHOTO = "<x xmlns='vcard-temp:x:update'><photo/></x>"
PERSON = user("none", "participant")


def fmuc(real: str, inside: str = "") -> str:
    """Return the C{fmuc} element."""
    return f"<fmuc xmlns='{ns.FMUC}' from='{real}'>{inside}</fmuc>"


def items(identifier: str, *nicks: str, room: str = ROOM, here: str = HERE) -> str:
    """Return the answer to disco#items."""
    listed = "".join(f"<item jid='{room}/{nick}'/>" for nick in nicks)
    query = f"<query xmlns='{ns.DISCO_ITEMS}'>{listed}</query>"
    return f"<iq type='result' id='{identifier}' from='{room}' to='{here}'>{query}</iq>"


def question(identifier: str) -> str:
    """Return the request that a mirror sends."""
    return f"<iq from='{HERE}' to='{ROOM}' id='{identifier}' type='get'><query xmlns='{ns.DISCO_ITEMS}'/></iq>"


class OpenfireTests(RoomCase):
    """
    Openfire 5.1.1 is restarted under a mirror with two users, and sends recorded traffic. It has forgotten the
    mirror, and sends no error for the mirror's stanzas.
    """

    def begin(self, replica: bool) -> Service:
        """Return the mirror. Ann is in Openfire's room, Bob and Carol in the mirror."""
        service = mirror("mirror.localhost", replica=replica)
        service.take(f"<presence from='{BOB}' to='{HERE}/bob'>{MUC}{PHOTO}</presence>")
        self.answer(service, f"<subject/><fmuc xmlns='{ns.FMUC}' from='{ROOM}'/>")
        service.take(f"<presence from='{CAROL}' to='{HERE}/carol'>{MUC}{PHOTO}</presence>")
        error = f"<error type='modify'><bad-request xmlns='{ns.STANZA_ERRORS}'/></error>"
        service.take(f"<iq type='error' id='join-t-1' from='{ROOM}' to='{HERE}/carol'>{error}</iq>")
        self.assertEqual(sorted(service.rooms.rooms[HERE].occupants), ["ann", "bob", "carol"])
        return service

    def answer(self, service: Service, *messages: str) -> bytes:
        """Openfire answers a first join."""
        item = user("none", "participant", jid=f"{ROOM}/ann")
        sent = service.take(f"<presence from='{ROOM}/ann' to='{HERE}'>{fmuc(ANN)}{item}</presence>")
        for each in messages:
            nick = "/ann" if "<body>" in each else ""
            sent += service.take(f"<message from='{ROOM}{nick}' to='{HERE}' type='groupchat'>{each}</message>")
        return sent

    def test_restarted(self) -> None:
        """
        XEP-0045 section 6.5: the mirror asks for the occupants after a silence, and soon after the join. As its
        users are missing, they join anew, with the history from the last message on (section 7.2.15). They see
        nothing of it but the message that they have missed, and talk again.
        """
        for replica in (True, False):
            with self.subTest(replica=replica):
                service = self.begin(replica)
                body = f"<body>before</body>{fmuc(f'{ROOM}/ann')}"
                service.take(f"<message from='{ROOM}/ann' to='{HERE}' type='groupchat'>{body}</message>")
                self.assertSent(service.tick(BROADBAND.answer - 1))
                self.assertSent(service.tick(1), question("items-t-1"))
                self.assertSent(service.take(items("items-t-1", "ann", "bob", "carol")))
                self.assertSent(service.tick(BROADBAND.probe - 1))
                self.assertSent(service.tick(1), question("items-t-2"))
                self.restarted(service, replica, service.take(items("items-t-2", "ann")))

    def restarted(self, service: Service, replica: bool, sent: bytes) -> None:
        """The mirror learns that it was forgotten, and joins anew."""
        gone = [user("none", "none", jid=each) + PHOTO for each in (BOB, CAROL)]
        mode = "<replica/>" if replica else ""
        history = f"<x xmlns='{ns.MUC}'><history since='1970-01-12T13:45:40Z'/></x>"
        item = user("none", "participant", jid=BOB)
        self.assertSent(
            sent,
            f"<presence from='{HERE}/bob' to='{ROOM}/bob' type='unavailable'>{fmuc(BOB)}{gone[0]}</presence>",
            f"<presence from='{HERE}/carol' to='{ROOM}/carol' type='unavailable'>"
            f"{fmuc(CAROL)}{gone[1]}</presence>",
            f"<presence from='{HERE}/bob' to='{ROOM}/bob'>{fmuc(BOB, mode)}{history}{item}{PHOTO}</presence>",
        )
        stamp = "2026-11-29T06:22:44.159Z"
        delay = f"<delay xmlns='urn:xmpp:delay' stamp='{stamp}' from='{ROOM}/ann'/>"
        sid = f"<stanza-id xmlns='{ns.SID}' id='27aa90e6' by='{ROOM}'/>"
        missed = f"<body>ann says</body>{sid}{delay}{fmuc(f'{ROOM}/ann')}"
        sent = self.answer(service, missed, f"<subject/><fmuc xmlns='{ns.FMUC}' from='{ROOM}'/>")
        shown = f"<body>ann says</body><delay xmlns='urn:xmpp:delay' from='{HERE}' stamp='2026-11-29T06:22:44Z'/>"
        ping = f"<iq from='{HERE}/carol' to='{ROOM}' id='join-t-2' type='get'><ping xmlns='{ns.PING}'/></iq>"
        self.assertSent(
            sent,
            *(
                f"<message from='{HERE}/ann' to='{each}' type='groupchat'>{shown}</message>"
                for each in (BOB, CAROL)
            ),
            self.later(CAROL, history),
            ping,
        )
        service.take(f"<iq type='result' id='join-t-2' from='{ROOM}' to='{HERE}/carol'/>")
        # They talk.
        said = "<body>hello</body>"
        sent = service.take(f"<message from='{BOB}' to='{HERE}' type='groupchat' id='e3'>{said}</message>")
        self.assertSent(
            sent,
            f"<message from='{HERE}/bob' to='{ROOM}' type='groupchat' id='e3'>{fmuc(BOB)}{said}</message>",
            *(
                f"<message from='{HERE}/bob' to='{to}' type='groupchat' id='e3'>{said}</message>"
                for to in (BOB, CAROL)
            ),
        )
        said = f"<body>ann says it</body>{fmuc(ANN)}"
        sent = service.take(f"<message from='{ROOM}/ann' to='{HERE}' type='groupchat' id='e5'>{said}</message>")
        self.assertSent(
            sent,
            *(
                f"<message from='{HERE}/ann' to='{to}' type='groupchat' id='e5'><body>ann says it</body></message>"
                for to in (BOB, CAROL)
            ),
        )
        self.assertSent(service.tick(BROADBAND.answer), question("items-t-3"))
        self.assertSent(service.take(items("items-t-3", "ann", "bob", "carol")))
        self.assertSent(service.tick(BROADBAND.probe - 1))
        self.assertEqual(sorted(service.rooms.rooms[HERE].occupants), ["ann", "bob", "carol"])

    def later(self, who: str, history: str) -> str:
        """Return the join of the second user."""
        nick = who.partition("@")[0]
        item = user("none", "participant", jid=who)
        inside = f"{fmuc(who, '<occupant-id/>')}{history}{item}{PHOTO}"
        return f"<presence from='{HERE}/{nick}' to='{ROOM}/{nick}'>{inside}</presence>"

    def test_sameServer(self) -> None:
        """If Openfire is the mirror's own server, the mirror asks as soon as the connection is back."""
        service = self.begin(replica=False)
        service.tick(BROADBAND.answer)
        service.take(items("items-t-1", "ann", "bob", "carol"))
        body = f"<body>before</body>{fmuc(f'{ROOM}/ann')}"
        service.take(f"<message from='{ROOM}/ann' to='{HERE}' type='groupchat'>{body}</message>")
        service.written(service.rooms.reconnected(service.now))
        self.assertSent(service.tick(0), question("items-t-2"))
        # Ann has not come back yet.
        sent = service.take(items("items-t-2"))
        self.assertEqual(sent.count(b"type='unavailable'"), 2)
        self.assertEqual(sent.count(b"<history "), 1)
        self.assertNotIn(f"to='{BOB}'".encode(), sent)

    def test_lost(self) -> None:
        """
        The presence of an occupant was lost: the mirror learns it from the next message, shows it, and joins anew.
        Messages that come meanwhile are in the history of the answer.
        """
        for replica in (True, False):
            with self.subTest(replica=replica):
                service = self.begin(replica)
                for number in (2, 3):
                    sent = [each.type for each in stanzas(self.fromDan(service))]
                    self.assertEqual(sent, [*["groupchat"] * 2, *["unavailable"] * 2, None])
                    self.assertEqual(self.fromDan(service), b"")
                    service.take(f"<presence from='{ROOM}/dan' to='{HERE}'>{fmuc(DAN)}{PERSON}</presence>")
                    self.answer(service, f"<subject/><fmuc xmlns='{ns.FMUC}' from='{ROOM}'/>")
                    service.take(f"<iq type='result' id='join-t-{number}' from='{ROOM}' to='{HERE}/carol'/>")
                    self.assertEqual(sorted(service.rooms.rooms[HERE].occupants), ["ann", "bob", "carol", "dan"])
                    self.assertEqual([each.type for each in stanzas(self.fromDan(service))], ["groupchat"] * 2)
                    leave = f"<presence from='{ROOM}/dan' to='{HERE}' type='unavailable'>{fmuc(DAN)}</presence>"
                    service.take(leave)

    def test_hidden(self) -> None:
        """
        XEP-0045 section 10.2: a room may be configured to broadcast no presence of some roles. A mirror that has
        joined anew for one of their occupants, and was not told of it then, does not do so for others.
        """
        service = self.begin(replica=False)
        self.assertEqual(self.fromDan(service).count(b"type='unavailable'"), 2)
        self.answer(service, f"<subject/><fmuc xmlns='{ns.FMUC}' from='{ROOM}'/>")
        service.take(f"<iq type='result' id='join-t-2' from='{ROOM}' to='{HERE}/carol'/>")
        for nick in ("dan", "eve", "dan"):
            sent = self.fromDan(service, nick)
            self.assertEqual([each.type for each in stanzas(sent)], ["groupchat", "groupchat"])

    def fromDan(self, service: Service, nick: str = "dan") -> bytes:
        """Return what is sent if an occupant sends a message whom the mirror may not know."""
        said = f"<body>hi</body><stanza-id xmlns='{ns.SID}' id='{nick}' by='{ROOM}'/>{fmuc(f'{nick}@localhost/m')}"
        return service.take(f"<message from='{ROOM}/{nick}' to='{HERE}' type='groupchat'>{said}</message>")

    def test_room(self) -> None:
        """A room that is not persistent does not exist after the restart: the users' joins make it anew."""
        service = self.begin(replica=False)
        service.tick(BROADBAND.answer)
        error = f"<error type='cancel'><item-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
        sent = service.take(f"<iq type='error' id='items-t-1' from='{ROOM}' to='{HERE}'>{error}</iq>")
        self.assertEqual([each.type for each in stanzas(sent)], ["unavailable", "unavailable", None])

    def test_users(self) -> None:
        """Only the joined room answers; late, foreign and strange answers cause nothing."""
        service = self.begin(replica=False)
        service.tick(BROADBAND.answer)
        many = "".join(f"<item jid='{ROOM}/{number}'/>" for number in range(5_001))
        for strange in (
            items("items-t-1", "ann").replace(f"from='{ROOM}'", f"from='{ANN}'"),
            items("items-t-1", "ann").replace(f"from='{ROOM}'", f"from='{ROOM}/ann'"),
            items("items-t-0", "ann"),
            items("items-u-1", "ann"),
            items("items-t-", "ann"),
        ):
            self.assertSent(service.take(strange))
        for inside in ("", f"<query xmlns='{ns.DISCO_INFO}'/>", f"<query xmlns='{ns.DISCO_ITEMS}'>{many}</query>"):
            service = self.begin(replica=False)
            service.tick(BROADBAND.answer)
            self.assertSent(
                service.take(f"<iq type='result' id='items-t-1' from='{ROOM}' to='{HERE}'>{inside}</iq>")
            )
            self.assertSent(service.take(items("items-t-1")))

    def test_talking(self) -> None:
        """Nothing is asked while the room sends something."""
        service = self.begin(replica=False)
        for _ in range(40):
            body = f"<body>x</body>{fmuc(ANN)}"
            service.take(f"<message from='{ROOM}/ann' to='{HERE}' type='groupchat'>{body}</message>")
            self.assertSent(service.tick(BROADBAND.answer - 1))

    def test_empty(self) -> None:
        """XEP-0289 section 1: a mirror without users asks nothing."""
        service = self.begin(replica=False)
        for who, nick in ((BOB, "bob"), (CAROL, "carol")):
            service.take(f"<presence from='{who}' to='{HERE}/{nick}' type='unavailable'/>")
        self.assertSent(service.tick(BROADBAND.probe * 3))
        self.assertEqual(service.rooms.rooms, {})


class AnyTests(ResumeCase):
    """Both protocols and both modes, with a joined node that lists its occupants, and knows no return."""

    def setUp(self) -> None:
        def items(rooms: RoomService, user: str, address: str, node: str) -> list[disco.Item]:
            if address not in rooms.rooms:
                raise NoSuchAddress
            room = rooms.rooms[address]
            return [disco.Item(room.address(nick)) for nick in room.occupants]

        self.patch(disco, "items", items)

    def begin(self, dialect: Dialect, replica: bool) -> Stored:
        """Return both sites; the mirror has asked once."""
        site = Stored(dialect, replica)
        federation = site.mirror.rooms.federation(MIRROR)
        assert federation is not None and federation.uplink is not None
        federation.uplink.node.resumes = False
        site.node.resumes = False
        site.wait(int(BROADBAND.probe))
        self.assertEqual([each.split()[0] for each in site.passed()], ["<iq", "<iq"])
        site.forget()
        return site

    def test_forgotten(self) -> None:
        """XEP-0289 section 1: the mirror learns within the interval that it was forgotten, and joins anew."""
        for dialect, replica in WAYS:
            with self.subTest(f"{dialect}, {replica}"):
                site = self.begin(dialect, replica)
                room = site.above.rooms.rooms[ABOVE]
                for nick in ("ann", "ben"):
                    room.remove(room.occupants[nick])
                del room.nodes.joiningNodes[MIRROR]
                site.say(OWN, "missed")
                site.forget()
                site.wait(int(BROADBAND.probe))
                self.assertEqual(site.occupants(), (["ann", "ben", "own"],) * 2)
                for who in (ABOVE_ANN, BEN):
                    shown = site.seen(who)
                    self.assertEqual(re.findall("<body>(.*?)</body>", shown), ["missed"])
                    self.assertNotIn("<presence", shown)
                self.assertIs(site.state, UplinkState.JOINED)

    def test_partly(self) -> None:
        """The same if a user has joined since the mirror was forgotten: others are still missing."""
        for dialect, replica in WAYS:
            with self.subTest(f"{dialect}, {replica}"):
                site = self.begin(dialect, replica)
                room = site.above.rooms.rooms[ABOVE]
                room.remove(room.occupants["ben"])
                site.wait(int(BROADBAND.probe))
                self.assertEqual(site.occupants(), (["ann", "ben", "own"],) * 2)

    def test_unreachable(self) -> None:
        """Two requests in a row are not answered: the room is lost, and the mirror tries to return."""
        for dialect, replica in WAYS:
            with self.subTest(f"{dialect}, {replica}"):
                site = self.begin(dialect, replica)
                site.isSilent = True
                site.kill(ABOVE)
                site.wait(int(BROADBAND.probe + 2 * BROADBAND.answer) - 2)
                self.assertIs(site.state, UplinkState.JOINED)
                self.assertEqual(sum(each.startswith("<iq") for each in site.passed()), 2)
                site.wait(2)
                self.assertIs(site.state, UplinkState.LOST)
                site.start(ABOVE)
                site.wait(60)
                self.assertHealthy(site)

    def test_error(self) -> None:
        """The same at once if the request comes back: the condition says that the room cannot be reached."""
        for dialect, replica in WAYS:
            with self.subTest(f"{dialect}, {replica}"):
                site = self.begin(dialect, replica)
                site.kill(ABOVE)
                site.wait(int(BROADBAND.probe))
                self.assertIs(site.state, UplinkState.LOST)


class ProbingTests(SynchronousTestCase):
    """The meanings of answers."""

    def setUp(self) -> None:
        self.probing = Probing("t")
        self.asked = 0

    def ask(self, *listed: str, condition: str = "", wait: float = 1.0) -> Verdict:
        """Ask for Bob, and handle the answer."""
        self.asked += 1
        identifier = self.probing.ask(["bob"], 1_000.0)
        self.assertEqual(identifier, f"items-t-{self.asked}")
        [answer] = stanzas(items(f"items-t-{self.asked}", *listed))
        return self.probing.answered(answer, condition, 1_000.0 + wait)

    def test_private(self) -> None:
        """XEP-0045 section 6.5: a room may keep the list private: an empty one only counts after another one."""
        self.assertIs(self.ask(), Verdict.WELL)
        self.assertIs(self.ask("bob"), Verdict.WELL)
        self.assertIs(self.ask(), Verdict.FORGOTTEN)

    def test_noUse(self) -> None:
        """If a return does not help, because the room lists nobody of other nodes, answers cause no other one."""
        self.assertIs(self.ask("ann"), Verdict.FORGOTTEN)
        for _ in range(3):
            self.assertIs(self.ask("ann"), Verdict.WELL)
        self.assertIs(self.ask("ann", "bob"), Verdict.WELL)
        self.assertIs(self.ask("ann"), Verdict.FORGOTTEN)

    def test_notOffered(self) -> None:
        """The same for software that answers each such request with an error."""
        self.assertIs(self.ask(condition="service-unavailable"), Verdict.UNREACHABLE)
        self.assertIs(self.ask(condition="service-unavailable"), Verdict.WELL)
        for condition in ("forbidden", "feature-not-implemented"):
            self.assertIs(self.ask(condition=condition), Verdict.WELL)

    def test_noAnswer(self) -> None:
        """
        Software that never answers such a request is not taken for one that cannot be reached: it is asked rarely.
        """
        waits = []
        for number in range(1, 5):
            self.assertFalse(self.probing.isSilent)
            self.assertEqual(self.probing.ask(["bob"], 1_000.0), f"items-t-{number}")
            waits.append(self.probing.wait(BROADBAND))
        self.assertEqual(waits, [BROADBAND.answer, BROADBAND.answer, BROADBAND.probe, BROADBAND.probe])
        [answer] = stanzas(items("items-t-4", "bob"))
        self.assertIs(self.probing.answered(answer, "", 1_001.0), Verdict.WELL)
        self.assertEqual([self.probing.ask(["bob"], 1_000.0) for _ in range(2)], ["items-t-5", "items-t-6"])
        self.assertTrue(self.probing.isSilent)

    def test_silence(self) -> None:
        """The interval is that of the profile, and at least four round trips; soon after a join the first one."""
        self.assertEqual(self.probing.silence(HF), HF.answer)
        self.ask("bob", wait=2.0)
        self.assertEqual(self.probing.silence(HF), HF.probe)
        self.ask("bob", wait=100.0)
        self.assertEqual(self.probing.silence(BROADBAND), 400.0)
