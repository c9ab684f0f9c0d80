"""Mirrors without a channel whose room cannot be reached: users stay, are told, and return without a leave."""

from __future__ import annotations

import re
from collections.abc import Callable

from gateway import ns
from gateway.errors import LinkDown, OutboxFull
from gateway.fmuc.handler import RoomsHandler
from gateway.fmuc.profiles import BROADBAND
from gateway.fmuc.uplink.outgoing import Outgoing
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Mode
from gateway.metrics import names
from gateway.muc.room import Bounds
from gateway.muc.values import Payload, RoomMessage
from gateway.testing import MemoryServer, stanzas
from tests.fmuc.support import MUC, RoomCase, Service, canonical, mirror, refused
from tests.fmuc.test_mirrors import ABOVE, BEN, OWN
from tests.fmuc.test_mirrors import ANN as MIRROR_ANN
from tests.fmuc.test_mirrors import HERE as MIRROR
from tests.fmuc.test_resuming import ResumeCase, Stored
from tests.metrics import RecordingMetrics
from tests.muc.test_local import status, user

ROOM = "joined@conference.localhost"
HERE = r"joined\40conference.localhost@mirror.localhost"
ANN, BOB, CAROL, DAN = "ann@localhost/of", "bob@localhost/m", "carol@localhost/m", "dan@localhost/m"
PERSON = user("none", "participant")
GONE = int(Bounds().gone)
# The clock of a service begins at 1,000,000 seconds after 1970; 30 seconds later the room has sent something.
SINCE = "13:47 UTC"


_TAKE = Service.take


def fmuc(real: str, inside: str = "") -> str:
    """Return the C{fmuc} element."""
    return f"<fmuc xmlns='{ns.FMUC}' from='{real}'>{inside}</fmuc>"


def nickOf(who: str) -> str:
    """Return the nick of a user."""
    return who.partition("@")[0]


class OpenfireCase(RoomCase):
    """Openfire's room with Ann, and a mirror of it with Bob and Carol, which asks for replica mode, or does not."""

    def setUp(self) -> None:
        self.service = self.begin(True)

    def begin(self, replica: bool) -> Service:
        service = self.service = mirror("mirror.localhost", replica=replica)
        service.take(f"<presence from='{BOB}' to='{HERE}/bob'>{MUC}</presence>")
        self.answer()
        service.take(f"<presence from='{CAROL}' to='{HERE}/carol'>{MUC}</presence>")
        self.fence("join-t-1", "carol")
        service.tick(BROADBAND.answer)
        self.listed("items-t-1", "ann", "bob", "carol")
        self.assertEqual(self.nicks, ["ann", "bob", "carol"])
        return service

    @property
    def nicks(self) -> list[str]:
        return sorted(self.service.rooms.rooms[HERE].occupants)

    @property
    def state(self) -> UplinkState:
        federation = self.service.rooms.federation(HERE)
        assert federation is not None and federation.uplink is not None
        return federation.uplink.state

    def answer(self, *messages: str) -> bytes:
        """Openfire answers a first join."""
        item = user("none", "participant", jid=f"{ROOM}/ann")
        sent = self.service.take(f"<presence from='{ROOM}/ann' to='{HERE}'>{fmuc(ANN)}{item}</presence>")
        for each in (*messages, f"<subject/><fmuc xmlns='{ns.FMUC}' from='{ROOM}'/>"):
            nick = "/ann" if "<body>" in each else ""
            message = f"<message from='{ROOM}{nick}' to='{HERE}' type='groupchat'>{each}</message>"
            sent += self.service.take(message)
        return sent

    def fence(self, identifier: str, nick: str) -> bytes:
        """Openfire answers the request after a join."""
        error = f"<error type='modify'><bad-request xmlns='{ns.STANZA_ERRORS}'/></error>"
        addresses = f"from='{ROOM}' to='{HERE}/{nick}'"
        return self.service.take(f"<iq type='error' id='{identifier}' {addresses}>{error}</iq>")

    def listed(self, identifier: str, *nicks: str) -> bytes:
        """Openfire lists its occupants."""
        inside = "".join(f"<item jid='{ROOM}/{nick}'/>" for nick in nicks)
        query = f"<query xmlns='{ns.DISCO_ITEMS}'>{inside}</query>"
        return self.service.take(f"<iq type='result' id='{identifier}' from='{ROOM}' to='{HERE}'>{query}</iq>")

    def lose(self) -> bytes:
        """Two requests are not answered."""
        for wait in (BROADBAND.probe, BROADBAND.answer, BROADBAND.answer):
            self.service.tick(wait)
        self.assertIs(self.state, UplinkState.LOST)
        return self.wait(16)

    def wait(self, seconds: int) -> bytes:
        return b"".join(self.service.tick(1) for _ in range(seconds))

    def say(self, who: str, body: str, inside: str = "") -> bytes:
        content = f"<body>{body}</body>{inside}"
        return self.service.take(
            f"<message from='{who}' to='{HERE}' type='groupchat' id='{body}'>{content}</message>"
        )

    def join(self, who: str, inside: str = MUC) -> bytes:
        return self.service.take(f"<presence from='{who}' to='{HERE}/{nickOf(who)}'>{inside}</presence>")

    def leave(self, who: str) -> bytes:
        return self.service.take(f"<presence from='{who}' to='{HERE}/{nickOf(who)}' type='unavailable'/>")

    def assertShown(self, sent: bytes, *expected: str) -> None:
        """Exactly these stanzas are sent to users, in this order to each."""
        found = [each for each in canonical(sent) if f' to="{ROOM}' not in each]
        wanted = canonical("".join(expected))
        self.assertEqual(sorted(found), sorted(wanted))
        for who in (BOB, CAROL):
            self.assertEqual(*([each for each in one if f' to="{who}"' in each] for one in (found, wanted)))

    def crossed(self, sent: bytes) -> list[str]:
        """Return the stanzas to Openfire, each by its name, type, and nick."""
        found = (each for each in stanzas(sent) if (each.recipient or "").startswith(ROOM))
        return [f"{each.name} {each.type} {(each.sender or '').partition('/')[2]}" for each in found]

    def last(self, sent: bytes) -> str:
        """Return the id of the last request for the occupants."""
        return [each.id or "" for each in stanzas(sent) if each.name == "iq" and "items" in (each.id or "")][-1]

    def shown(self, who: str, nick: str, body: str) -> str:
        return (
            f"<message from='{HERE}/{nick}' to='{who}' type='groupchat' id='{body}'><body>{body}</body></message>"
        )

    def notice(self, who: str, text: str) -> str:
        return f"<message from='{HERE}' to='{who}' type='groupchat'><body>{text}</body></message>"

    def down(self, who: str) -> str:
        return self.notice(who, f"The link to {ROOM} is down since {SINCE}; what you say is kept.")


class LostTests(OpenfireCase):
    """XEP-0289 section 1: "unreliability (including, potentially, long-term failure of S2S links)"."""

    def test_told(self) -> None:
        """
        The users are told, and the far occupants are shown as away (XEP-0045 section 7.5), then leave. The mirror
        asks again and again, at the interval of the profile, and nobody is put out, however long it takes.
        """
        for replica in (True, False):
            self.begin(replica)
            sent = self.lose()
            asked = self.crossed(sent)
            self.assertEqual(set(asked), {"iq get "})
            away = f"<show>away</show>{PERSON}"
            self.assertShown(
                sent,
                *(self.down(who) for who in (BOB, CAROL)),
                *(f"<presence from='{HERE}/ann' to='{who}'>{away}</presence>" for who in (BOB, CAROL)),
            )
            sent = self.wait(GONE)
            gone = user("none", "none")
            self.assertShown(
                sent,
                *(
                    f"<presence from='{HERE}/ann' to='{who}' type='unavailable'>{gone}</presence>"
                    for who in (BOB, CAROL)
                ),
            )
            day = self.wait(86_400)
            self.assertEqual(self.crossed(day), ["iq get "] * int(86_400 / BROADBAND.pace.most))
            self.assertEqual(self.nicks, ["bob", "carol"])

    def test_return(self) -> None:
        """
        An answer, whatever it lists: standard leaves and joins (XEP-0289 section 6.1), with the history from the
        last message on (XEP-0045 section 7.2.15). The users see no leave and no join, but the missed message, and
        the occupants as they are. What they have said is sent after their joins, with its time (XEP-0203), once.
        """
        for replica in (True, False):
            self.begin(replica)
            body = f"<body>before</body>{fmuc(f'{ROOM}/ann')}"
            self.service.take(f"<message from='{ROOM}/ann' to='{HERE}' type='groupchat'>{body}</message>")
            sent = self.lose()
            for who, words in ((BOB, "one"), (CAROL, "two"), (BOB, "three")):
                self.assertSent(self.say(who, words), *(self.shown(to, nickOf(who), words) for to in (BOB, CAROL)))
            identifier = self.last(sent + self.wait(30))
            sent = self.listed(identifier, "ann", "bob", "carol")
            mode = "<replica/>" if replica else ""
            # 60 seconds before the last stanza of the room.
            history = f"<x xmlns='{ns.MUC}'><history since='1970-01-12T13:46:10Z'/></x>"
            gone = [user("none", "none", jid=each) for each in (BOB, CAROL)]
            item = user("none", "participant", jid=BOB)
            self.assertSent(
                sent,
                f"<presence from='{HERE}/bob' to='{ROOM}/bob' type='unavailable'>{fmuc(BOB)}{gone[0]}</presence>",
                f"<presence from='{HERE}/carol' to='{ROOM}/carol' type='unavailable'>"
                f"{fmuc(CAROL)}{gone[1]}</presence>",
                f"<presence from='{HERE}/bob' to='{ROOM}/bob'>{fmuc(BOB, mode)}{history}{item}</presence>",
            )
            sent = self.say(BOB, "four")
            self.assertEqual(self.crossed(sent), [])
            stamp = "1970-01-12T13:50:00Z"
            delay = f"<delay xmlns='{ns.DELAY}' stamp='{stamp}' from='{ROOM}/ann'/>"
            sent = self.answer(f"<body>missed</body>{delay}{fmuc(f'{ROOM}/ann')}")
            self.assertReturned(sent, stamp, history)
            # It does not overtake what was said before.
            self.assertEqual(self.crossed(self.say(BOB, "late")), [])
            later = (
                (BOB, "three", "1970-01-12T13:53:26Z"),
                (BOB, "four", "1970-01-12T13:53:56Z"),
                (BOB, "late", "1970-01-12T13:53:56Z"),
            )
            two = (CAROL, "two", "1970-01-12T13:53:26Z")
            self.assertSent(self.fence("join-t-2", "carol"), self.kept(*two), *(self.kept(*each) for each in later))
            self.assertEqual(self.crossed(self.say(CAROL, "five")), ["message groupchat carol"])
            self.assertEqual(self.crossed(self.wait(20)), [])

    def kept(self, who: str, body: str, stamp: str) -> str:
        """Return a message that is sent after the return."""
        delay = f"<delay xmlns='{ns.DELAY}' from='{HERE}' stamp='{stamp}'/>"
        head = f"<message from='{HERE}/{nickOf(who)}' to='{ROOM}' type='groupchat' id='{body}'>"
        return f"{head}{fmuc(who)}<body>{body}</body>{delay}</message>"

    def assertReturned(self, sent: bytes, stamp: str, history: str) -> None:
        """These are the stanzas after the last part of the answer."""
        item = user("none", "participant", jid=CAROL)
        inside = f"{fmuc(CAROL, '<occupant-id/>')}{history}{item}"
        delay = f"<delay xmlns='{ns.DELAY}' from='{HERE}' stamp='{stamp}'/>"
        self.assertSent(
            sent,
            *(
                each
                for who in (BOB, CAROL)
                for each in (
                    self.notice(who, f"The link to {ROOM} is up again."),
                    f"<presence from='{HERE}/ann' to='{who}'>{PERSON}</presence>",
                    f"<message from='{HERE}/ann' to='{who}' type='groupchat'><body>missed</body>{delay}</message>",
                )
            ),
            self.kept(BOB, "one", "1970-01-12T13:53:26Z"),
            f"<presence from='{HERE}/carol' to='{ROOM}/carol'>{inside}</presence>",
            f"<iq from='{HERE}/carol' to='{ROOM}' id='join-t-2' type='get'><ping xmlns='{ns.PING}'/></iq>",
        )

    def test_refused(self) -> None:
        """
        A message that is not kept is refused to its sender: a subject, and one that must not be stored (XEP-0334
        section 4.2).
        Users of the mirror may send each other private messages.
        """
        self.lose()
        head = f"<message from='{BOB}' to='{HERE}' type='groupchat' id='m'>"
        for inside in ("<subject>s</subject>", f"<body>x</body><no-store xmlns='{ns.HINTS}'/>"):
            sent = self.service.take(f"{head}{inside}</message>")
            self.assertSent(sent, refused("message", HERE, BOB, LinkDown, "id='m' "))
        private = f"<message from='{BOB}' to='{HERE}/carol' type='chat' id='p'><body>p</body></message>"
        self.assertIn(f"to='{CAROL}'".encode(), self.service.take(private))

    def test_senderLeft(self) -> None:
        """The room would not take what a user has said who is not there any longer (XEP-0045 section 7.4)."""
        self.lose()
        self.say(BOB, "one")
        self.say(CAROL, "two")
        sent = self.leave(BOB)
        error = refused("message", HERE, BOB, LinkDown, "id='one' ")
        self.assertIn(canonical(error)[0], canonical(sent))
        self.leave(CAROL)
        self.service.tick(60)
        self.assertEqual(self.service.rooms.rooms, {})

    def test_replica(self) -> None:
        """The room has got software that returns messages: these would be shown twice, and are refused."""
        self.lose()
        self.say(BOB, "one")
        self.listed(self.last(self.wait(30)), "ann")
        own = f"{fmuc(BOB, '<replica/>')}{user('none', 'participant', jid=BOB)}"
        self.service.take(f"<presence from='{ROOM}/bob' to='{HERE}'>{own}</presence>")
        sent = self.answer()
        self.assertIn(canonical(refused("message", HERE, BOB, LinkDown, "id='one' "))[0], canonical(sent))
        self.assertNotIn("message groupchat bob", self.crossed(sent))

    def test_rejected(self) -> None:
        """A user whom the room does not admit at the return gets the reason (307), and the messages back."""
        self.lose()
        self.say(CAROL, "one")
        self.listed(self.last(self.wait(30)), "ann")
        self.answer()
        reject = f"<fmuc xmlns='{ns.FMUC}'><reject>no</reject></fmuc>"
        sent = self.service.take(f"<presence from='{ROOM}' to='{HERE}/carol'>{reject}</presence>")
        found = canonical(sent)
        self.assertIn(canonical(refused("message", HERE, CAROL, LinkDown, "id='one' "))[0], found)
        self.assertIn(b"<status code='307'/>", sent)
        self.assertEqual(self.nicks, ["ann", "bob"])

    def test_lostAgain(self) -> None:
        """The link is lost again during the return: nothing is lost, and the next return makes all joins."""
        self.lose()
        self.say(CAROL, "one")
        for _ in range(2):
            self.listed(self.last(self.wait(30)), "ann")
            self.assertIs(self.state, UplinkState.JOINING)
            error = f"<error type='cancel'><remote-server-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
            self.service.take(f"<presence from='{ROOM}/bob' to='{HERE}/bob' type='error'>{error}</presence>")
            self.assertIs(self.state, UplinkState.LOST)
        self.assertEqual(self.nicks, ["ann", "bob", "carol"])
        self.listed(self.last(self.wait(30)), "ann")
        self.answer()
        self.assertEqual(self.crossed(self.fence("join-t-2", "carol")), ["message groupchat carol"])

    def test_silentAgain(self) -> None:
        """The same if the joins are not answered."""
        self.lose()
        self.listed(self.last(self.wait(30)), "ann")
        sent = self.wait(int(BROADBAND.answer) + 1)
        self.assertIs(self.state, UplinkState.LOST)
        self.assertEqual(set(self.crossed(sent + self.wait(60))), {"iq get "})

    def test_noList(self) -> None:
        """Software that never answers requests for its occupants is joined anew in turn with the requests."""
        self.service = mirror("mirror.localhost")
        self.service.take(f"<presence from='{BOB}' to='{HERE}/bob'>{MUC}</presence>")
        self.answer()
        error = f"<error type='cancel'><remote-server-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.service.take(f"<message from='{ROOM}' to='{HERE}/bob' type='error' id='m'>{error}</message>")
        found = self.crossed(self.wait(40))
        self.assertEqual(found[:3], ["iq get ", "presence unavailable bob", "presence None bob"])

    def test_speaks(self) -> None:
        """The room sends something while it counts as lost: the next attempt follows within a second."""
        self.lose()
        self.wait(600)
        self.wait(3)
        body = f"<body>x</body>{fmuc(ANN)}"
        self.service.take(f"<message from='{ROOM}/ann' to='{HERE}' type='groupchat'>{body}</message>")
        self.assertEqual(self.crossed(self.wait(1)), ["iq get "])
        error = f"<error type='wait'><remote-server-timeout xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.service.take(f"<presence from='{ROOM}/bob' to='{HERE}/bob' type='error'>{error}</presence>")
        self.assertEqual(self.crossed(self.wait(1)), [])

    def test_errors(self) -> None:
        """Errors of the mirror's own server (RFC 6120 section 8.3.3) are no return; one of the room is."""
        self.lose()
        for condition in ("remote-server-not-found", "remote-server-timeout", "forbidden", "service-unavailable"):
            error = f"<error type='cancel'><{condition} xmlns='{ns.STANZA_ERRORS}'/></error>"
            identifier = self.last(self.wait(30))
            self.service.take(f"<iq type='error' id='{identifier}' from='{ROOM}' to='{HERE}'>{error}</iq>")
            self.assertIs(self.state, UplinkState.LOST)
        error = f"<error type='cancel'><item-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
        identifier = self.last(self.wait(30))
        self.service.take(f"<iq type='error' id='{identifier}' from='{ROOM}' to='{HERE}'>{error}</iq>")
        self.assertIs(self.state, UplinkState.JOINING)


class LostJoinTests(OpenfireCase):
    """Joins while the room is lost."""

    def test_known(self) -> None:
        """
        A user who was in before gets the room as it is known (XEP-0045 section 7.1), and the notice. The room gets
        the join at the return, with the password, and then what the user has said.
        """
        self.leave(CAROL)
        self.lose()
        password = f"<x xmlns='{ns.MUC}'><password>p</password></x>"
        away = f"<presence from='{HERE}/ann' to='{CAROL}'><show>away</show>{PERSON}</presence>"
        self.assertSent(
            self.join(CAROL, password),
            f"<presence from='{HERE}/carol' to='{BOB}'>{PERSON}</presence>",
            f"<presence from='{HERE}/ann' to='{CAROL}'>{PERSON}</presence>",
            f"<presence from='{HERE}/bob' to='{CAROL}'>{PERSON}</presence>",
            f"<presence from='{HERE}/carol' to='{CAROL}'>{user('none', 'participant', status(110))}</presence>",
            f"<message from='{HERE}' to='{CAROL}' type='groupchat'><subject/></message>",
            self.down(CAROL),
            away,
        )
        self.say(CAROL, "one")
        self.listed(self.last(self.wait(30)), "ann", "bob")
        self.assertIn(b"<password>p</password>", self.answer())
        self.assertEqual(self.crossed(self.fence("join-t-2", "carol")), ["message groupchat carol"])
        self.assertEqual(self.nicks, ["ann", "bob", "carol"])

    def test_unknown(self) -> None:
        """A user of whom nothing is known waits for a minute, and is then refused with the reason."""
        self.lose()
        self.assertSent(self.join(DAN))
        self.assertIn(b"<remote-server-timeout", self.wait(61))
        self.assertEqual(self.nicks, ["ann", "bob", "carol"])

    def test_conflict(self) -> None:
        """XEP-0045 section 7.2.8: somebody in the room has the nick since."""
        self.leave(CAROL)
        self.lose()
        self.join(CAROL)
        self.say(CAROL, "one")
        self.listed(self.last(self.wait(30)), "ann", "carol")
        item = user("none", "participant", jid=f"{ROOM}/carol")
        other = f"<presence from='{ROOM}/carol' to='{HERE}'>{fmuc('eve@localhost/of')}{item}</presence>"
        sent = self.service.take(other) + self.answer()
        self.assertIn(b"<conflict", sent)
        self.assertIn(canonical(refused("message", HERE, CAROL, LinkDown, "id='one' "))[0], canonical(sent))
        self.assertEqual(self.crossed(sent), [])
        self.assertEqual(self.service.rooms.rooms[HERE].occupants["carol"].realJid, "eve@localhost/of")


class BoundTests(OpenfireCase):
    """The messages that wait."""

    def test_number(self) -> None:
        """
        Of so many as a channel keeps, one user may take a fifth, and another one a quarter of the rest. A further
        message is refused, and nothing is lost in silence.
        """
        self.lose()
        for who, most in ((BOB, BROADBAND.pace.stanzas // 5), (CAROL, BROADBAND.pace.stanzas * 4 // 25)):
            for number in range(most):
                self.assertNotIn(b"type='error'", self.say(who, f"m{number}"))
            self.assertSent(self.say(who, "more"), refused("message", HERE, who, OutboxFull, "id='more' "))
        self.listed(self.last(self.wait(30)), "ann")
        self.assertEqual(self.crossed(self.answer()).count("message groupchat bob"), BROADBAND.pace.stanzas // 5)

    def test_bytes(self) -> None:
        """The same for their size."""
        self.lose()
        large = f"<a xmlns='urn:x'>{'x' * 150_000}</a>"
        found = [b"<resource-constraint" in self.say(BOB, str(number), large) for number in range(3)]
        self.assertEqual(found, [False, False, True])
        self.assertNotIn(b"type='error'", self.say(CAROL, "c", large))
        federation = self.service.rooms.federation(HERE)
        assert federation is not None and federation.uplink is not None
        self.assertEqual(federation.uplink.outgoing._places.taken, 3)

    def test_all(self) -> None:
        """The messages of all users together take no more than the limit."""
        federation = self.service.rooms.federation(HERE)
        assert federation is not None
        table = Outgoing(federation, BROADBAND.pace)
        for number in range(7):
            payload = Payload(b"x" * 150_000)
            message = RoomMessage(nick="bob", realJid=f"u{number}@localhost/m", payload=payload, stanzaId="s")
            if number < 6:
                table.keep(message, 5.0)
            else:
                self.assertRaises(OutboxFull, table.keep, message, 5.0)
        self.service.rooms.rooms[HERE].takeActions()

    def test_age(self) -> None:
        """After a day they are returned to their senders."""
        self.lose()
        self.say(BOB, "one")
        for _ in range(86_398):
            self.service.tick(1)
        sent = self.wait(3)
        self.assertIn(canonical(refused("message", HERE, BOB, OutboxFull, "id='one' "))[0], canonical(sent))
        self.listed(self.last(self.wait(30)), "ann")
        self.assertNotIn("message groupchat bob", self.crossed(self.answer()))

    def test_stopped(self) -> None:
        """If the service ends, they are returned."""
        self.lose()
        self.say(BOB, "one")
        sent = self.service.shutDown()
        self.assertIn(canonical(refused("message", HERE, BOB, LinkDown, "id='one' "))[0], canonical(sent))

    def test_reported(self) -> None:
        """The status of the mirror, and the metric."""
        self.lose()
        self.say(BOB, "one")
        handler, metrics = RoomsHandler(self.service.rooms), RecordingMetrics()
        handler.setHandlerParent(MemoryServer("mirror.localhost").link)
        handler.measure(metrics)
        self.assertEqual(metrics.read(names.FMUC_KEPT_MESSAGES), {(): 1})
        found = [each for each in handler.report() if each.isProblem]
        self.assertEqual(len(found), 1)
        self.assertIn("unreachable, asked again and again", str(found[0]))
        self.assertIn("messages that wait for it: 1", str(found[0]))

    def test_records(self) -> None:
        """A record has the whole message; what is none is refused."""
        room = self.service.rooms.rooms[HERE]
        federation = self.service.rooms.federation(HERE)
        assert federation is not None
        table = Outgoing(federation, BROADBAND.pace)
        for number in range(12):
            payload = Payload(f"<body>&lt;\u00e9{number}</body>".encode(), "en")
            message = RoomMessage(nick="bob", realJid=BOB, payload=payload, id=None, stanzaId=f"s{number}")
            table.keep(message, 5.0)
        again = Outgoing(federation, BROADBAND.pace)
        for name, text in sorted(table.records()):
            again.load(name, text)
        again.begin(7.0)
        self.assertEqual(list(again.records()), list(table.records()))
        found = [each.message for each in again._take(lambda each: True)]
        self.assertEqual([each.stanzaId for each in found], [f"s{number}" for number in range(12)])
        self.assertEqual((found[3].payload.language, found[3].id), ("en", None))
        self.assertEqual((len(again), again._places.taken, again._bytes.taken, len(again._places)), (0, 0, 0, 0))
        for text in ("", "[]", "{}"):
            self.assertRaises(ValueError, again.load, "1", text)
        room.takeActions()


class AnyTests(ResumeCase):
    """Both protocols and both modes, with a room of the gateway; nothing of it has a channel."""

    def lose(self, site: Stored) -> None:
        """The room's gateway is killed, and the mirror notices it."""
        site.kill(ABOVE)
        site.say(MIRROR_ANN, "lost")
        site.wait(16)
        self.assertIs(site.state, UplinkState.LOST)
        site.forget()

    def bodies(self, site: Stored, who: str) -> list[str]:
        return re.findall("<body>(.*?)</body>", site.seen(who))

    def test_messages(self) -> None:
        """
        In primary mode messages are shown at once, kept, and shown to the others once, in order, whether the
        room has removed the mirror meanwhile or not, and also if the mirror is killed before the return. In replica
        mode they are refused. So are private messages in both modes.
        """
        for isForgotten in (False, True):
            for isKilled in (False, True):
                for site in self.sites():
                    self.said(site, isForgotten, isKilled)

    def said(self, site: Stored, isForgotten: bool, isKilled: bool) -> None:
        isReplica = site._way[1] is Mode.REPLICA
        self.lose(site)
        for who, body in ((MIRROR_ANN, "one"), (BEN, "two"), (MIRROR_ANN, "three")):
            site.say(who, body, body)
        private = f"<message from='{BEN}' to='{MIRROR}/own' type='chat' id='p'><body>p</body></message>"
        expected = refused("message", f"{MIRROR}/own", BEN, LinkDown, "id='p' ")
        self.assertSent(site.mirror.take(private), expected)
        found = ["one", "two", "three"]
        for who, count in ((MIRROR_ANN, 2), (BEN, 1)):
            seen = site.seen(who)
            self.assertEqual(seen.count("<recipient-unavailable"), count if isReplica else 0)
            self.assertEqual(re.findall("<body>(.*?)</body>", seen), [] if isReplica else found)
        if isKilled:
            site.kill(MIRROR)
            site.start(MIRROR)
            site.wait(20)
        if isForgotten:
            site._stored[ABOVE].clear()
        site.start(ABOVE)
        if isForgotten:
            site.join(OWN, "own")
        site.wait(61)
        self.assertEqual(self.bodies(site, OWN), [] if isReplica else found)
        for who in (MIRROR_ANN, BEN):
            shown = site.seen(who)
            self.assertNotIn("unavailable", shown)
            self.assertEqual(re.findall("<body>(.*?)</body>", shown), [f"The link to {ABOVE} is up again."])
        self.assertHealthy(site)

    def test_join(self) -> None:
        """
        A user who was in before enters while the room is lost, and is in at the return; the others see the join,
        and no leave. The same if the mirror is killed before the return, and if the room has removed the mirror.
        """
        for isForgotten in (False, True):
            for isKilled in (False, True):
                for site in self.sites():
                    self.entered(site, isForgotten, isKilled)

    def entered(self, site: Stored, isForgotten: bool, isKilled: bool) -> None:
        new = "eve@a.example/9"
        site.join(new, "eve")
        site.leave(new, "eve")
        self.lose(site)
        site.take(site.mirror, f"<presence from='{new}' to='{MIRROR}/eve'>{MUC}</presence>")
        self.assertIn("<status code='110'/>", site.seen(new))
        if isKilled:
            site.kill(MIRROR)
            site.start(MIRROR)
            site.wait(20)
        if isForgotten:
            site._stored[ABOVE].clear()
        site.start(ABOVE)
        if isForgotten:
            site.join(OWN, "own")
        site.forget()
        site.wait(61)
        self.assertEqual(site.occupants(), (["ann", "ben", "eve", "own"],) * 2)
        for who in (new, MIRROR_ANN, OWN):
            self.assertNotIn("unavailable", site.seen(who), who)
        for who in (new, MIRROR_ANN, OWN):
            site.say(who, f"by {who[:3]}")
        self.assertEqual(self.bodies(site, OWN), ["by eve", "by ann", "by own"])

    def test_banned(self) -> None:
        """A user who has entered, and who was banned meanwhile, is put out at the return, with the reason."""
        new = "eve@a.example/9"
        for site in self.sites():
            site.join(new, "eve")
            site.leave(new, "eve")
            self.lose(site)
            site.take(site.mirror, f"<presence from='{new}' to='{MIRROR}/eve'>{MUC}</presence>")
            site.say(new, "x")
            site.forget()
            # The room's process is there again before the mirror knows it.
            site.above = site._start(ABOVE, site.above.now)
            item = "<item jid='eve@a.example' affiliation='outcast'/>"
            query = f"<query xmlns='{ns.MUC_ADMIN}'>{item}</query>"
            site.above.take(f"<iq from='{OWN}' to='{ABOVE}' id='1' type='set'>{query}</iq>")
            site.down.clear()
            site.wait(61)
            self.assertIn("<forbidden", site.seen(new))
            self.assertEqual(site.occupants(), (["ann", "ben", "own"],) * 2)
            self.assertNotIn("x", self.bodies(site, OWN))

    def test_lostAgain(self) -> None:
        """The room has forgotten the mirror, and the join anew of the second user is lost: nobody is put out."""
        for site in self.sites():
            self.lose(site)
            site._stored[ABOVE].clear()
            self.patch(Service, "take", self.without(f"from='{MIRROR}/ben'", f"to='{ABOVE}/ben'"))
            site.start(ABOVE)
            site.join(OWN, "own")
            site.wait(12)
            self.assertEqual(site.occupants(), (["ann", "own"], ["ann", "ben", "own"]))
            self.patch(Service, "take", self.without())
            site.kill(ABOVE)
            site.say(MIRROR_ANN, "lost")
            self.assertIs(site.state, UplinkState.LOST)
            site.start(ABOVE)
            site.forget()
            site.wait(61)
            self.assertNotIn("unavailable", site.seen(MIRROR_ANN) + site.seen(BEN))
            self.assertHealthy(site)

    def without(self, *lost: str) -> Callable[[Service, str | bytes], bytes]:
        """Return how a service takes stanzas, of which those with some texts are lost."""

        def take(service: Service, xml: str | bytes) -> bytes:
            text = xml if isinstance(xml, str) else xml.decode()
            return b"" if any(each in text for each in lost) else _TAKE(service, xml)

        return take

    def test_long(self) -> None:
        """After C{gone_after} the room's occupants leave the mirror; they come back at the return."""
        for site in self.sites():
            self.lose(site)
            site.wait(GONE + 10)
            self.assertEqual(site.seen(BEN).count(f"from='{MIRROR}/own' to='{BEN}' type='unavailable'"), 1)
            site.start(ABOVE)
            site.wait(61)
            self.assertIn(f"from='{MIRROR}/own' to='{BEN}'", site.seen(BEN))
            self.assertHealthy(site)


