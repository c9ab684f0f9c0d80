"""Rooms after a restart: nothing that was shown or answered is lost, and occupants notice nothing."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from gateway import ns
from gateway.composition import service
from gateway.config.tables import ConfigError
from gateway.errors import StoreBroken, StoreBusy, StoreFull
from gateway.fmuc.core import Rooms
from gateway.fmuc.handler import RoomsHandler
from gateway.fmuc.mirroring import Mirroring
from gateway.muc import archived_history
from gateway.muc.archive_store import newest
from gateway.muc.archive_values import ArchivedMessage
from gateway.muc.room import Bounds
from gateway.muc.store import loadRecords, save
from gateway.state.jobs import Job
from gateway.state.sqlite import SqliteFile
from gateway.stream.link import Link
from gateway.testing import MemoryGateway
from gateway.testing.wire import canonicalElement
from tests.fmuc import durable
from tests.fmuc.durable import PEERS, ROOM, C, DurableCase, HeldStore, served, stateOf
from tests.fmuc.support import MUC, RoomCase, canonical, refused
from tests.fmuc.test_configured import submitted
from tests.fmuc.test_mirrors import ANN as ANN_THERE
from tests.fmuc.test_mirrors import BEN as BEN_THERE
from tests.fmuc.test_mirrors import HERE, OWN, WAYS, Site
from tests.reports import sentences

ANN, BEN = "ann@a.example/1", "ben@b.example/1"
NODE = "mirror@node.example"


def join(user: str, nick: str, inside: str = MUC) -> str:
    """Return a join."""
    return f"<presence from='{user}' to='{ROOM}/{nick}'>{inside}</presence>"


def said(user: str, text: str, number: object = 1) -> str:
    """Return a message to all."""
    return f"<message type='groupchat' id='{number}' from='{user}' to='{ROOM}'><body>{text}</body></message>"


def asked(user: str, payload: str, kind: str = "set") -> str:
    """Return a request to the room."""
    return f"<iq type='{kind}' id='q' from='{user}' to='{ROOM}'>{payload}</iq>"


def administered(item: str) -> str:
    """Return a request of a moderator, or of an admin."""
    return f"<query xmlns='{ns.MUC_ADMIN}'>{item}</query>"


def left(user: str, nick: str) -> str:
    """Return a leave."""
    return f"<presence type='unavailable' from='{user}' to='{ROOM}/{nick}'/>"


class CommitTests(DurableCase):
    """The order of the commit and of the output."""

    def test_storedFirst(self) -> None:
        """A message, a join and an answer are sent after the commit; then in the order of their causes."""
        self.take(join(ANN, "ann"))
        self.store.isHeld = True
        ban = administered("<item jid='eve@e.example' affiliation='outcast'/>")
        self.assertEqual(self.take(said(ANN, "x") + asked(ANN, ban) + join(BEN, "ben")), [])
        self.store.commit()
        self.store.isHeld = False
        self.store.commit()
        sent = self.server.received()
        self.assertEqual([each.tag.partition("}")[2] for each in sent][:3], ["message", "iq", "presence"])
        self.assertEqual(self.room.affiliation("eve@e.example"), "outcast")

    def test_killed(self) -> None:
        """Before the commit nothing is shown, and nothing is there afterwards; after it everything is there."""
        self.take(join(ANN, "ann"))
        for isCommitted in (False, True):
            self.store.isHeld = True
            self.assertEqual(self.take(said(ANN, "x")), [])
            if isCommitted:
                self.store.commit(isTold=False)
            self.kill()
            self.assertEqual(len(self.room.history), int(isCommitted))
            self.assertEqual(list(self.room.occupants), ["ann"])

    def test_atOnce(self) -> None:
        """Output that tells no change is sent at once, and writes nothing; but not before earlier output."""
        self.take(join(ANN, "ann") + join(BEN, "ben"))
        before = self.store.writes
        typing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
        state = f"<message type='groupchat' from='{ANN}' to='{ROOM}'>{typing}</message>"
        self.assertEqual(len(self.take(state)), 2)
        hint = f"<body>x</body><no-store xmlns='{ns.HINTS}'/>"
        secret = f"<message type='groupchat' from='{ANN}' to='{ROOM}'>{hint}</message>"
        self.assertEqual(len(self.take(secret)), 2)
        self.assertEqual(self.store.writes, before)
        self.store.isHeld = True
        self.assertEqual(self.take(said(ANN, "x") + state), [])
        self.store.commit()
        sent = self.server.taken()
        self.assertEqual(["composing" in each for each in sent], [False, False, True, True])

    def test_group(self) -> None:
        """Changes that come while a commit is under way share the next one."""
        self.take(join(ANN, "ann"))
        self.store.isHeld = True
        before = self.store.writes
        for number in range(20):
            self.take(said(ANN, "x", number))
        self.assertEqual(self.store.writes, before + 1)
        self.store.commit()
        self.assertEqual((len(self.server.taken()), self.store.writes), (1, before + 2))
        self.store.commit()
        self.assertEqual(len(self.server.taken()), 19)

    def test_fault(self) -> None:
        """
        If the store fails, nothing is shown; the records are written again, and new changes are refused. Leaves
        are no changes that could be refused.
        """
        self.take(join(ANN, "ann") + join(BEN, "ben"))
        self.store.fault = StoreFull()
        self.assertEqual(self.take(said(ANN, "x")), [])
        self.assertEqual(self.take(said(BEN, "y", 2)), [])
        self.assertEqual(self.take(join("eve@e.example/1", "eve")), [])
        # The answers keep their order, except for those to requests.
        [error] = self.take(asked(ANN, submitted(roomname="Cave")))
        self.assertIn("resource-constraint", error)
        self.assertEqual(self.take(left(BEN, "ben")), [])
        self.assertIn("changes that are not stored: 2", "".join(sentences(self.handlerOf().report())))
        self.store.fault = None
        self.server.wait(1.5)
        sent = self.server.taken()
        self.assertEqual(["body>" in each for each in sent], [True, True, False, False, False, False])
        self.assertEqual(["resource-constraint" in each for each in sent[2:4]], [True, True])
        self.assertEqual(["unavailable" in each for each in sent[4:]], [True, True])
        self.assertEqual(len(self.take(said(ANN, "z", 3))), 1)
        self.kill()
        self.assertEqual([message.id for message in self.room.history], ["1", "3"])
        self.assertEqual(list(self.room.occupants), ["ann"])

    def test_bounded(self) -> None:
        """
        While the store does not work, no user makes ever more records: nicks do not change, and a room that a
        refused join has made leaves none. Otherwise such a join costs no commit, either.
        """
        self.take(join(ANN, "ann"))
        before = self.store.writes
        self.assertIn("not-acceptable", self.take(join(BEN, " ").replace(ROOM, f"new@{C}"))[0])
        self.assertEqual(self.store.writes, before)
        self.store.fault = StoreFull()
        self.take(said(ANN, "x"))
        self.server.wait(12)
        self.server.taken()
        for number in range(10):
            [error] = self.take(f"<presence from='{ANN}' to='{ROOM}/new{number}'/>")
            self.assertIn("resource-constraint", error)
            [error] = self.take(join(BEN, "ben").replace(ROOM, f"new{number}@{C}"))
            self.assertIn("resource-constraint", error)
        found = "".join(sentences(self.handlerOf().report()))
        self.assertIn("changes that are not stored: 0", found)
        self.store.fault = None
        self.server.wait(2)
        self.assertEqual(list(self.room.occupants), ["ann"])
        self.assertEqual(list(self.rooms.rooms), [ROOM])

    def test_charged(self) -> None:
        """
        Records are charged to the user who has caused them, as copies are: a small presence may write those of ten
        sessions, and a short subject the vCard of the room.
        """
        copies = self.server.link.fairness.copies

        def owed() -> float:
            return copies._owed("ann@a.example", self.server.link.now)

        self.take(join(ANN, "ann"))
        self.take(f"<presence from='{ANN}' to='{ROOM}/ann'><show>away</show></presence>")
        self.assertEqual(owed(), 0)
        status = f"<status>{'x' * 15_000}</status>"
        for number in range(2, 6):
            self.take(join(f"ann@a.example/{number}", "ann", MUC + status))
        self.server.wait(60)
        self.assertEqual(owed(), 0)
        self.take(f"<presence from='{ANN}' to='{ROOM}/ann'><show>dnd</show></presence>")
        self.assertGreater(owed(), 60_000)
        for number in range(2, 6):
            self.take(left(f"ann@a.example/{number}", "ann"))
        card = f"<vCard xmlns='{ns.VCARD}'><NOTE>{'x' * 50_000}</NOTE></vCard>"
        self.take(asked(ANN, card))
        self.server.wait(60)
        self.assertEqual(owed(), 0)
        self.take(f"<message type='groupchat' from='{ANN}' to='{ROOM}'><subject>s</subject></message>")
        self.assertGreater(owed(), 50_000)

    def handlerOf(self) -> RoomsHandler:
        """Return the handler."""
        [handler] = self.server.link._raw
        assert isinstance(handler, RoomsHandler)
        return handler

    def test_goesOn(self) -> None:
        """After ten seconds without the store, a leave is told, and what follows too; it is stored later."""
        self.take(join(ANN, "ann") + join(BEN, "ben"))
        self.store.fault = StoreFull()
        self.assertEqual(self.take(left("x@x.example/1", "x") + left(BEN, "ben")), [])
        self.server.wait(9)
        self.assertEqual(self.server.taken(), [])
        self.server.wait(3)
        self.assertEqual(len(self.server.taken()), 2)
        self.assertIn("resource-constraint", self.take(said(ANN, "y", 2))[0])
        self.assertEqual(len(self.take(left(ANN, "ann"))), 1)
        self.store.fault = None
        self.server.wait(2)
        self.kill()
        self.assertEqual(self.rooms.rooms, {})

    def test_refused(self) -> None:
        """
        Messages that are not stored within ten seconds are refused, also to the occupant of a node: nobody is shown
        them, they are neither in the history nor in that of a join that waited, and a subject is the old one.
        """
        self.take(join(ANN, "ann") + join(BEN, "ben") + mirrored("join", "eve"))
        self.take(said(ANN, "old", 0))
        subject = f"<message type='groupchat' id='s' from='{ANN}' to='{ROOM}'><subject>{{}}</subject></message>"
        self.take(subject.format("before"))
        before = self.room.subject
        self.store.isHeld = True
        self.take(said(ANN, "x") + subject.format("after") + mirrored("message", "eve") + said(ANN, "y", 2))
        self.take(join("carl@c.example/1", "carl") + mirrored("join", "dora").replace(NODE, "other@node.example"))
        self.assertEqual(len(self.room.history), 4)
        self.server.wait(12)
        sent = self.server.taken()
        error = (
            '<error type="wait"><resource-constraint xmlns="urn:ietf:params:xml:ns:xmpp-stanzas"/>'
            '<text xmlns="urn:ietf:params:xml:ns:xmpp-stanzas">The storage is busy; try again later.</text></error>'
        )
        self.assertEqual(
            sent[:4],
            canonical(
                f'<message from="{ROOM}" to="{ANN}" id="1" type="error">{error}</message>'
                f'<message from="{ROOM}" to="{ANN}" id="s" type="error">{error}</message>'
                f'<message from="{ROOM}" to="{NODE}/eve" id="m" type="error">{error}</message>'
                f'<message from="{ROOM}" to="{ANN}" id="2" type="error">{error}</message>'
            ),
        )
        joined = "".join(sent[4:])
        self.assertIn(f'from="{ROOM}/carl" to="carl@c.example/1"', joined)
        self.assertEqual(re.findall("body>([^<]+)<", joined), ["old", "old"])
        self.assertEqual(re.findall("subject>([^<]+)<", joined), ["before", "before"])
        self.store.isHeld = False
        self.store.commit()
        self.server.wait(2)
        self.assertEqual(self.room.subject, before)
        self.take(said(ANN, "new", 3))
        state = stateOf(self.rooms)
        self.kill()
        self.assertEqual([message.id for message in self.room.history], ["0", "3"])
        self.assertEqual(stateOf(self.rooms), state)

    def test_subject(self) -> None:
        """A refused subject does not come back at a start, if the process dies as soon as the store works."""
        self.take(join(ANN, "ann"))
        subject = f"<message type='groupchat' id='s' from='{ANN}' to='{ROOM}'><subject>{{}}</subject></message>"
        self.take(subject.format("before"))
        before = self.room.subject
        self.store.isHeld = True
        self.take(subject.format("after"))
        self.server.wait(12)
        self.assertIn("resource-constraint", self.server.taken()[0])
        self.store.commit()
        self.kill()
        self.assertEqual(self.room.subject, before)

    def test_bounced(self) -> None:
        """A message of type error that removes an occupant is no message that is refused: the leave is told."""
        self.take(join(ANN, "ann") + join(BEN, "ben"))
        self.store.isHeld = True
        gone = f"<error type='wait'><recipient-unavailable xmlns='{ns.STANZA_ERRORS}'/></error>"
        self.assertEqual(self.take(f"<message type='error' from='{BEN}' to='{ROOM}'>{gone}</message>"), [])
        self.server.wait(12)
        self.assertIn(f'from="{ROOM}/ben" to="{ANN}" type="unavailable"', "".join(self.server.taken()))
        self.assertEqual(list(self.room.occupants), ["ann"])

    def test_unanswered(self) -> None:
        """
        If a change of an admin is not stored within ten seconds, the admin gets an error. It was made, so others
        are told; and it is stored later.
        """
        self.take(join(ANN, "ann") + join(BEN, "ben"))
        self.store.fault = StoreFull()
        ban = administered("<item affiliation='outcast' jid='ben@b.example'/>")
        self.assertEqual(self.take(asked(ANN, ban)), [])
        self.server.wait(12)
        answer, *told = self.server.taken()
        self.assertIn('type="error"', answer)
        self.assertIn("resource-constraint", answer)
        self.assertIn('code="301"', told[0])
        self.store.fault = None
        self.server.wait(2)
        self.kill()
        self.assertEqual(dict(self.room.affiliations), {"ann@a.example": "owner", "ben@b.example": "outcast"})

    def test_unansweredNode(self) -> None:
        """The same holds for an admin in a mirror who invites, and so makes a member."""
        self.take(join(ANN, "ann") + asked(ANN, submitted(membersonly="1", persistentroom="1")))
        self.take(asked(ANN, administered("<item affiliation='admin' jid='eve@x.example'/>")))
        self.take(mirrored("join", "eve"))
        invite = f"<x xmlns='{ns.MUC_USER}'><invite to='ben@b.example'/></x>"
        self.store.isHeld = True
        self.assertEqual(self.take(asked(f"{NODE}/eve", invite)), [])
        self.server.wait(12)
        [answer] = self.server.taken()
        self.assertIn(f'id="q" to="{NODE}/eve" type="error"', answer)
        self.assertIn("resource-constraint", answer)

    def test_slow(self) -> None:
        """A commit that takes ten seconds is cancelled, and its message refused; so are later ones at once."""
        self.take(join(ANN, "ann"))
        self.store.isHeld = True
        self.take(said(ANN, "x"))
        self.server.wait(12)
        self.assertIn("resource-constraint", self.server.taken()[0])
        self.assertIn("resource-constraint", self.take(said(ANN, "y", 2))[0])
        self.store.isHeld = False
        self.store.commit()
        self.server.wait(2)
        self.assertEqual(len(self.take(said(ANN, "z", 3))), 1)
        self.kill()
        self.assertEqual([message.id for message in self.room.history], ["3"])

    def test_soonAgain(self) -> None:
        """If the store works again at the moment of the refusal, the next message is stored."""
        self.take(join(ANN, "ann"))
        self.store.isHeld = True
        self.take(said(ANN, "x"))
        self.server.wait(9)
        self.store.isHeld = False
        sent: list[str] = []
        while not sent:
            self.server.wait(0.5)
            sent = self.server.taken()
        self.assertIn("resource-constraint", sent[0])
        self.assertIn("body>z<", self.take(said(ANN, "z", 3))[0])
        self.kill()
        self.assertEqual([message.id for message in self.room.history], ["3"])


class RestartTests(DurableCase):
    """Restored rooms."""

    bounds = Bounds(silence=1_800.0, messages=5)

    def test_stop(self) -> None:
        """A stop tells nobody, and the rooms are there again, with everything."""
        self.take(join(ANN, "ann") + join(BEN, "ben"))
        self.take(asked(ANN, submitted(roomname="Cave", persistentroom="1")))
        subject = f"<message type='groupchat' from='{ANN}' to='{ROOM}'><subject>s</subject></message>"
        self.take(subject + "".join(said(ANN, "x", number) for number in range(8)))
        before = stateOf(self.rooms)
        Link.stopService(self.server.link)
        self.server.wait(6)
        self.assertEqual(self.server.taken(), [])
        self.start()
        self.assertEqual(stateOf(self.rooms), before)
        self.assertEqual([message.id for message in self.room.history], ["3", "4", "5", "6", "7"])

    def test_history(self) -> None:
        """
        The history of a room with an archive has no records, and is there after a restart, also if archives are
        switched off, or on again: then its messages are not archived later on.
        """
        self.take(join(ANN, "ann"))
        subject = f"<message type='groupchat' from='{ANN}' to='{ROOM}'><subject>s</subject></message>"
        last = 0
        on, off = Bounds(messages=5, archived=9), Bounds(messages=5)
        steps = ((on, 2, 0), (on, 2, 0), (off, 0, 5), (off, 0, 5), (on, 2, 5), (on, 0, 5), (on, 1, 0))
        for self.bounds, more, recorded in steps:
            self.kill()
            self.take(subject + "".join(said(ANN, "x", last + number) for number in range(more)))
            last += more
            self.rooms.utcClock.offset = 100.0 * last
            self.take(said(ANN, "y", last))
            last += 1
            before = stateOf(self.rooms), self.room.stamped
            self.kill()
            self.assertEqual((stateOf(self.rooms), self.room.stamped), before)
            shown = [message.id for message in self.room.history]
            self.assertEqual(shown, [str(number) for number in range(max(0, last - 5), last)])
            rows = self.store.atStart(loadRecords)
            self.assertEqual(sum(row[1] == "message" for row in rows), recorded, last)

    def test_largeMessages(self) -> None:
        """
        At the start, no more bytes of an archive are read than the history may have, and the history is the same.
        Large messages take the places of records, too.
        """
        off, on = Bounds(messages=50, bytes=2_000), Bounds(messages=50, bytes=2_000, archived=90)
        last = 0
        for self.bounds in (off, on, on):
            self.kill()
            self.take(join(ANN, "ann") + "".join(said(ANN, "x" * 500, last + number) for number in range(9)))
            last += 9
            before = stateOf(self.rooms)
            self.kill()
            self.assertEqual(stateOf(self.rooms), before)
            self.assertEqual([message.id for message in self.room.history], [f"{last - 3 + n}" for n in range(3)])
        rows = self.store.atStart(loadRecords)
        self.assertEqual([row for row in rows if row[1] == "message"], [])
        found = self.store.atStart(newest, *self.rooms.historyLimits)
        self.assertEqual(len(found[ROOM]), 4)

    def test_fewArchived(self) -> None:
        """If the archive keeps less than the history, the history has records."""
        self.bounds = Bounds(messages=5, archived=3)
        self.kill()
        self.take(join(ANN, "ann") + "".join(said(ANN, "x", number) for number in range(7)))
        self.kill()
        self.assertEqual([message.id for message in self.room.history], ["2", "3", "4", "5", "6"])

    def test_large(self) -> None:
        """Messages that the history has no room for do not come back from the archive."""
        for archived in (3, 9):
            self.bounds = Bounds(messages=5, bytes=1_000, archived=archived)
            self.store = HeldStore()
            self.start()
            self.take(join(ANN, "ann") + "".join(said(ANN, "x" * 400, number) for number in range(4)))
            before = stateOf(self.rooms)
            self.kill()
            self.assertEqual([message.id for message in self.room.history], ["2", "3"])
            self.assertEqual(stateOf(self.rooms), before)

    def test_mirror(self) -> None:
        """The history of a mirror has records of its own, and nothing from its archive."""
        rooms = Rooms(C, Mirroring(), PEERS, Bounds(archived=1_000))
        rooms.rooms[ROOM] = rooms.newRoom(ROOM)
        found = {ROOM: [ArchivedMessage(room=ROOM, id="1", utc=1, nick="ann")]}
        self.assertEqual((archived_history.restore(rooms, found), list(rooms.rooms[ROOM].history)), ([], []))

    def test_locked(self) -> None:
        """A room that waits for its owner's form waits after a restart, too."""
        self.bounds = Bounds(locked=300.0)
        self.start()
        self.take(join(ANN, "ann"))
        self.kill()
        self.assertIn("item-not-found", self.take(join(BEN, "ben"))[0])
        self.server.wait(302)
        self.server.taken()
        self.assertIn("presence", self.take(join(BEN, "ben"))[0])
        self.assertEqual(len(self.room.occupants), 2)

    def test_nobodyGetsIn(self) -> None:
        """A private room stays private: a third party neither enters nor becomes its owner."""
        self.take(join(ANN, "ann") + asked(ANN, submitted(persistentroom="1", membersonly="1")) + left(ANN, "ann"))
        self.kill()
        self.assertIn("registration-required", self.take(join(BEN, "ben"))[0])
        self.assertEqual(dict(self.room.affiliations), {"ann@a.example": "owner"})

    def test_verified(self) -> None:
        """
        Each local user gets one ping, a few in each second. A user who is gone is removed with 333; the others
        see nothing else, and nothing more is sent.
        """
        users = [f"u{number}@a.example/1" for number in range(25)]
        self.take("".join(join(user, f"n{number}") for number, user in enumerate(users)))
        self.kill()
        pinged: list[str] = []
        for _ in range(6):
            self.server.wait(1)
            for each in self.server.received():
                self.assertEqual(each.tag.partition("}")[2], "iq")
                pinged.append(each.get("to", ""))
                gone = f"<error type='cancel'><recipient-unavailable xmlns='{ns.STANZA_ERRORS}'/></error>"
                kind, inside = ("error", gone) if each.get("to") == users[3] else ("result", "")
                self.server.send(
                    f"<iq type='{kind}' id='{each.get('id')}' from='{each.get('to')}' to='{ROOM}'>{inside}</iq>"
                )
                for other in self.server.received():
                    self.assertEqual((other.get("from"), other.get("type")), (f"{ROOM}/n3", "unavailable"))
                    self.assertIn('code="333"', canonicalElement(other))
        self.assertEqual(sorted(pinged), sorted(users))
        self.assertEqual(len(self.room.occupants), 24)
        self.server.wait(300)
        self.assertEqual(self.server.received(), [])

    def test_serverRestarted(self) -> None:
        """After a loss of the link, too, users are verified once."""
        self.take(join(ANN, "ann"))
        self.server.lose()
        self.server.restore()
        self.server.wait(2)
        [ping] = self.server.received()
        self.assertEqual((ping.get("to"), ping[0].tag), (ANN, f"{{{ns.PING}}}ping"))

    def test_rejoins(self) -> None:
        """A user who joins again meanwhile is one occupant, and gets no ping."""
        self.take(join(ANN, "ann") + join(BEN, "ben"))
        self.kill()
        sent = self.take(join(ANN, "ann"))
        self.assertEqual({each.partition(' to="')[2].partition('"')[0] for each in sent}, {ANN})
        self.assertEqual(list(self.room.occupants), ["ann", "ben"])
        self.server.wait(3)
        self.assertEqual([each.get("to") for each in self.server.received()], [BEN])

    def test_temporary(self) -> None:
        """A temporary room outlives a restart while it has occupants, and no longer."""
        self.take(join(ANN, "ann"))
        self.kill()
        self.take(left(ANN, "ann"))
        self.assertEqual(self.rooms.rooms, {})
        self.assertEqual(self.store.atStart(loadRecords), [])
        self.kill()
        self.assertIn('code="201"', self.take(join(BEN, "ben"))[0])

    def test_nodes(self) -> None:
        """A joining node stays: it sees neither a leave nor a join, and gets messages."""
        self.take(join(ANN, "ann") + mirrored("join", "eve"))
        self.kill()
        sent = self.take(said(ANN, "x"))
        self.assertEqual({each.partition(' to="')[2].partition('"')[0] for each in sent}, {ANN, NODE})

    def test_noPeer(self) -> None:
        """
        A joining node whose domain was removed from the peers is removed with its occupants. It learns that it has
        left, and nothing else; it cannot resume, either.
        """
        self.take(join(ANN, "ann") + mirrored("join", "eve"))
        self.patch(durable, "PEERS", frozenset())
        self.kill()
        first = self.server.taken()
        resume = f"<iq type='get' id='r' from='{NODE}' to='{ROOM}'><compare xmlns='{ns.CHANNEL}' d='x'/></iq>"
        [refused] = self.take(resume)
        self.assertIn("item-not-found", refused)
        self.server.wait(2)
        sent = first + self.take(said(ANN, "x"))
        [told] = [each for each in sent if NODE in each]
        self.assertIn("left>", told)
        self.assertEqual(len([each for each in sent if f"{ROOM}/eve" in each and "unavailable" in each]), 1)
        self.assertEqual(list(self.room.occupants), ["ann"])
        self.kill()
        self.assertEqual(list(self.room.occupants), ["ann"])

    def test_unknownNode(self) -> None:
        """Of an occupant, sessions through a node that is unknown are left out; the others keep their addresses."""
        rooms, server = served(None, Bounds())
        self.addCleanup(server.stop)
        sessions = [["ann@x.example/0", NODE, "", ""], [ANN, "", "", ""]]
        record = json.dumps(["none", "participant", "ann@x.example/0", "id", sessions])
        rooms.restore([(ROOM, "occupant", "ann", record)], 0.0)
        self.assertEqual(list(rooms.rooms[ROOM].users), [ANN])
        self.assertEqual(rooms.rooms[ROOM].occupants["ann"].addresses, (ANN.encode(),))

    def test_damaged(self) -> None:
        """A record that is none stops the start with an error that names the room."""
        self.take(join(ANN, "ann"))
        for value in ("{", "[]", "[1,2]", '{"settings":1}'):
            for kind in ("room", "occupant", "user", "node", "message"):
                with self.subTest(value=value, kind=kind):
                    rows = [(ROOM, kind, "x", value)]
                    rooms, server = served(None, Bounds())
                    error = self.assertRaises(StoreBroken, rooms.restore, rows, 0.0)
                    self.assertIn(ROOM, str(error))
                    server.stop()


def mirrored(act: str, nick: str) -> str:
    """Return a stanza of a joining node."""
    user = f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant' jid='{nick}@x.example/1'/></x>"
    fmuc = f"<fmuc xmlns='{ns.FMUC}' from='{nick}@x.example/1'/>"
    kind = " type='unavailable'" if act == "leave" else ""
    inside = f"{MUC}{user}{fmuc}" if act == "join" else f"{user}{fmuc}"
    if act == "message":
        return (
            f"<message type='groupchat' id='m' from='{NODE}/{nick}' to='{ROOM}'><body>n</body>{fmuc}</message>"
        )
    return f"<presence{kind} from='{NODE}/{nick}' to='{ROOM}/{nick}'>{inside}</presence>"


class ThroughMirrorsTests(RoomCase):
    """A room whose store fails, and the users of a mirror."""

    def test_refused(self) -> None:
        """
        XEP-0045 section 7.5 and the ProtoXEP: messages and joins through a mirror are refused with the error of the
        store, in both protocols. A mirror in primary mode has shown its own user's message before. Users who are in
        stay, and speak again when the store works.
        """
        for dialect, replica in WAYS:
            with self.subTest(dialect=dialect, replica=replica):
                site = Site(dialect, replica)
                site.join(OWN, "own")
                site.join(BEN_THERE, "ben")
                site.above.rooms.durability.isOn = True
                site.above.rooms.durability.fault = StoreBusy
                for who in (OWN, BEN_THERE):
                    site.seen(who)
                text = f"<message from='{BEN_THERE}' to='{HERE}' type='groupchat' id='m'><body>x</body></message>"
                site.take(site.mirror, text)
                error = refused("message", HERE, BEN_THERE, StoreBusy, "id='m'")
                *shown, last = canonical(site.seen(BEN_THERE))
                self.assertEqual((last, len(shown)), (*canonical(error), 0 if replica else 1))
                self.assertEqual(site.seen(OWN), "")
                # The mirror does not regard the room as unreachable.
                site.join(ANN_THERE, "ann")
                if replica:
                    expected = refused("presence", f"{HERE}/ann", ANN_THERE, StoreBusy)
                    # Section 7.2: the error of a join has its element.
                    expected = expected.replace("</presence>", f"{MUC}</presence>")
                    self.assertEqual(canonical(site.seen(ANN_THERE))[-1:], canonical(expected))
                self.assertEqual(site.seen(OWN), "")
                site.above.rooms.durability.fault = None
                site.take(site.mirror, text)
                self.assertIn("<body>x</body>", site.seen(OWN))


class ConfiguredTests(SynchronousTestCase):
    """Rooms of a gateway, with the store in a file."""

    table = f'[rooms."{C}"]\n'

    def gateway(self) -> MemoryGateway:
        return MemoryGateway(self.folder, self.table)

    def setUp(self) -> None:
        self.folder = Path(self.mktemp())

    def test_restart(self) -> None:
        """Rooms are there after a stop, with an occupant who is told nothing; also after the table has changed."""
        gateway = self.gateway()
        owner = "ann@example.com/1"
        server = gateway.server(C)
        self.assertEqual(len(server.ask(join(owner, "ann"))), 2)
        server.ask(asked(owner, submitted(persistentroom="1")))
        self.assertEqual(len(server.ask(said(owner, "x"))), 1)
        gateway.stop()
        self.assertEqual([each.tag for each in server.received() if not each.tag.endswith("iq")], [])
        again = self.gateway()
        self.addCleanup(again.stop)
        server = again.server(C)
        self.assertEqual(len(server.ask(said(owner, "y"))), 1)
        [*_, first, second, _] = server.ask(join("ben@example.com/1", "ben"))
        self.assertEqual([each.findtext("{*}body") for each in (first, second)], ["x", "y"])
        self.table += "ping_after = 99\n"
        path = self.folder / "gateway.toml"
        path.write_text(path.read_text().replace(f'[rooms."{C}"]\n', self.table))
        again.service.apply(service.read(path, again.reactor))
        again.wait(8)
        server = again.server(C)
        self.assertEqual(len(server.ask(said(owner, "z"))), 2)

    def test_oneCommit(self) -> None:
        """Messages that came in one piece are one commit, at once after the last one; then all of them are sent."""
        gateway = self.gateway()
        self.addCleanup(gateway.stop)
        server = gateway.server(C)
        owner = "ann@example.com/1"
        server.ask(join(owner, "ann"))
        before = bytes(server.transport.value())
        commits: list[tuple[int, bytes]] = []
        run = SqliteFile.run

        def counted(file: SqliteFile, jobs: list[Job]) -> list[object]:
            shown = bytes(server.transport.value())[len(before) :]
            saved: list[Any] = [job.arguments[1] for job in jobs if job.interaction is save]
            commits.extend((len(steps), shown) for steps in saved)
            return run(file, jobs)

        self.patch(SqliteFile, "run", counted)
        # No reactor turn follows.
        server.transport.say("".join(said(owner, text) for text in "xyz").encode())
        self.assertEqual(commits, [(3, b"")])
        shown = bytes(server.transport.value())[len(before) :]
        self.assertEqual(re.findall(b"<body>(.)</body>", shown), [b"x", b"y", b"z"])

    def test_killed(self) -> None:
        """Rooms are there after the process was killed."""
        gateway = self.gateway()
        gateway.server(C).ask(join(ANN.replace("a.example", "example.com"), "ann"))
        again = self.gateway()
        self.addCleanup(again.stop)
        self.assertEqual(len(again.server(C).ask(said(ANN.replace("a.example", "example.com"), "y"))), 1)

    def test_removed(self) -> None:
        """If the table is removed, users are told (332); a temporary room ends."""
        gateway = self.gateway()
        self.addCleanup(gateway.stop)
        server = gateway.server(C)
        server.ask(join("ann@example.com/1", "ann"))
        gateway.service.remove(C)
        gateway.wait(8)
        [left] = [each for each in server.received() if "presence" in each.tag]
        self.assertIn('code="332"', canonicalElement(left))
        [store] = self.folder.rglob(f"{C}.rooms")
        with closing(sqlite3.connect(store)) as connection:
            self.assertEqual(connection.execute("SELECT count(*) FROM records").fetchone(), (0,))

    def test_unreadable(self) -> None:
        """A file that is no store, or has damaged records, is an error of the configuration."""
        self.gateway().stop()
        [store] = self.folder.rglob(f"{C}.rooms")
        with closing(sqlite3.connect(store)) as connection, connection:
            connection.execute("INSERT INTO records VALUES (?, 'user', 'x', '[')", (ROOM,))
        [problem] = self.assertRaises(ConfigError, self.gateway).problems
        self.assertIn(f"the record of room {ROOM} is damaged", problem)
        store.write_bytes(b"x" * 5000)
        [problem] = self.assertRaises(ConfigError, self.gateway).problems
        self.assertIn("file is not a database", problem)
