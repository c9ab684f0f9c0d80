"""The messages that an archive has, its readers, and its store (XEP-0313 sections 3 and 6.1.2)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred, fail

from gateway import ns
from gateway.errors import (
    ArchiveClosed,
    Banned,
    GatewayError,
    NoHandler,
    NoSuchAddress,
    NotEntitled,
    RoomLocked,
    StoreBroken,
    StoreBusy,
    StoreFull,
)
from gateway.fmuc import archiving, commits
from gateway.muc import archive_store
from gateway.muc.actions import ForgetArchive, ToArchive
from gateway.muc.archive_values import ArchivedMessage, ArchiveQuery, Retention
from gateway.muc.values import OUTCAST
from gateway.testing import canonical
from tests.fmuc.support import MUC, refused
from tests.muc.archives import CRONE, HAG, ROOM, WISE, ArchiveCase, fin, form, query, refusal

EVERYTHING = ArchiveQuery(room=ROOM, limit=100)
HINT = f"<{{}} xmlns='{ns.HINTS}'/>"


class ContentTests(ArchiveCase):
    """The messages in the archive."""

    def bodies(self, who: str = CRONE) -> list[str | None]:
        """Return the bodies, or subjects, in the archive."""
        found = self.server.ask(query(who=who))[:-1]
        texts = [(each.find(".//{jabber:client}body"), each.find(".//{jabber:client}subject")) for each in found]
        return [(body if body is not None else subject).text for body, subject in texts]  # type: ignore[union-attr]  # one of them is there

    def test_content(self) -> None:
        """
        Section 6.1.2: messages with a body and changes of the subject, not private messages; also those that the
        sender wants to be stored, and not those with the hints of XEP-0334.
        """
        self.join(HAG, "hag")
        self.say("<body>one</body>")
        self.say("<subject>two</subject>")
        self.say(f"<subject>x</subject>{HINT.format('no-store')}")
        self.say("<composing xmlns='http://jabber.org/protocol/chatstates'/>")
        self.say(f"<body>x</body>{HINT.format('no-permanent-store')}")
        self.say(f"<body>x</body>{HINT.format('no-store')}")
        self.server.send(f"<message from='{CRONE}' to='{ROOM}/hag' type='chat'><body>x</body></message>")
        self.configure(moderated="1")
        self.say("<body>x</body>", WISE)
        self.assertEqual(self.bodies(), ["one", "two"])
        self.say(f"<reactions xmlns='urn:xmpp:reactions:0' id='1'/>{HINT.format('store')}")
        self.assertEqual(len(self.server.ask(query())), 4)

    def test_once(self) -> None:
        """A message is stored once, however many occupants get it; its id is the room's stanza id."""
        self.join(HAG, "hag")
        self.join(WISE, "wise")
        identifier = self.say()
        self.assertTrue(identifier)
        self.assertEqual(self.asked()[0], [identifier])

    def test_sameTime(self) -> None:
        """Section 3.1: the order is that of the messages, also if the clock is set back."""
        first = self.say()
        self.utc -= 3_600
        self.server.clock.advance(2)
        second = self.say()
        self.assertEqual(self.asked()[0], [first, second])
        self.assertEqual(self.asked(form(("start", "2002-10-13T23:58:37Z")))[0], [first, second])

    def test_rooms(self) -> None:
        """Each room has an archive of its own."""
        self.join(CRONE, "crone", "heath@" + ROOM.partition("@")[2])
        self.say()
        other = "heath@" + ROOM.partition("@")[2]
        self.server.send(query(room=other))
        self.assertSent(fin("<count>0</count>", room=other))

    def test_ended(self) -> None:
        """A room that ends takes its archive along: the next room with this address has another one."""
        destroys = f"<query xmlns='{ns.MUC_OWNER}'><destroy/></query>"
        for leave in (
            f"<presence from='{CRONE}' to='{ROOM}/crone' type='unavailable'/>",
            f"<iq from='{CRONE}' to='{ROOM}' type='set' id='d'>{destroys}</iq>",
        ):
            self.say()
            self.assertEqual(len(self.asked()[0]), 1)
            self.server.send(leave)
            self.server.taken()
            self.join(CRONE, "crone")
            self.assertEqual(self.asked()[0], [])

    def test_persistent(self) -> None:
        """The archive of a persistent room stays."""
        self.configure(persistentroom="1")
        identifier = self.say()
        self.server.send(f"<presence from='{CRONE}' to='{ROOM}/crone' type='unavailable'/>")
        self.server.taken()
        self.assertEqual(self.asked()[0], [identifier])

    def test_kept(self) -> None:
        """At a start, the archives of rooms that exist are kept, and no others."""
        identifier = self.say()
        self.store.atStart(archive_store.keepOnly, frozenset((ROOM, "other@chat.shakespeare.lit")))
        self.assertEqual(self.asked()[0], [identifier])
        self.store.atStart(archive_store.keepOnly, frozenset(("other@chat.shakespeare.lit",)))
        self.assertEqual(self.asked()[0], [])


class RetentionTests(ArchiveCase):
    """Section 3.2: "Any such deleted messages MUST be the oldest in the archive"."""

    retention = Retention(5, 3_600.0)
    why: Exception

    def test_messages(self) -> None:
        """The newest messages are kept."""
        ids = [self.say() for _ in range(8)]
        self.assertEqual(self.asked()[0], ids[3:])
        self.assertIn("count>5<", self.asked()[1])

    def test_age(self) -> None:
        """Old messages are removed by a new one, and without one within some minutes."""
        first = self.say()
        self.wait(3_000)
        second = self.say()
        self.wait(1_000)
        third = self.say()
        self.assertEqual(self.asked()[0], [second, third])
        self.assertNotIn(first, self.asked()[0])
        self.wait(10_000)
        for _ in range(3):
            self.wait(61)
        self.assertEqual(self.asked()[0], [])
        self.assertEqual(self.asked(form(("start", "2002-10-13T23:58:37Z")))[0], [])

    def test_bytes(self) -> None:
        """The messages of a room have at most some bytes, and one message more."""
        self.commits._retention = Retention(1_000, 1e6, bytes=10_000)
        ids = [self.say(f"<body>{'x' * 3_000}</body>") for _ in range(8)]
        self.assertEqual(self.asked()[0], ids[-3:])
        # An id, or a language, counts as well.
        for name in ("id", "xml:lang"):
            ids = [self.say(more=f" {name}='{'x' * 3_000}'") for _ in range(8)]
            self.assertEqual(self.asked()[0], ids[-3:])
        ids = [self.say() for _ in range(13)]
        self.assertEqual(self.asked()[0], ids[-12:])

    def test_less(self) -> None:
        """If the configuration allows less than before, each call removes a limited number."""
        self.patch(archive_store, "_STEP", 2)
        ids = [self.say() for _ in range(5)]
        self.commits._retention = Retention(1, 1e6)
        ids.append(self.say())
        self.assertEqual(self.asked()[0], ids[2:])
        ids.append(self.say())
        ids.append(self.say())
        ids.append(self.say())
        ids.append(self.say())
        self.assertEqual(self.asked()[0], ids[-1:])

    def test_sweep(self) -> None:
        """All rooms have their turn, some at a time."""
        rooms = [f"r{number}@{ROOM.partition('@')[2]}" for number in range(3)]
        self.patch(archiving, "_SWEPT", 2)
        for room in rooms:
            self.join(CRONE, "crone", room)
            self.server.send(f"<message from='{CRONE}' to='{room}' type='groupchat'><body>x</body></message>")
        self.utc += 10_000
        left = []
        for _ in range(3):
            self.server.clock.advance(61)
            left.append(len(list(self.store.atStart(lambda cursor: list(archive_store._rooms(cursor))))))
        self.assertEqual(left[-1], 0)
        self.assertIn(1, left)

    def test_sweepMany(self) -> None:
        """A sweep removes few messages at a time, because others wait for the store; the next one follows soon."""
        self.patch(archive_store, "_STEP", 2)
        rooms = [f"r{number}@{ROOM.partition('@')[2]}" for number in range(3)]
        for room in rooms:
            self.join(CRONE, "crone", room)
            said = f"<message from='{CRONE}' to='{room}' type='groupchat'><body>x</body></message>"
            self.server.send(said * 3)
        self.utc += 10_000
        self.server.clock.advance(61)
        left = [self.count()]
        for _ in range(6):
            self.server.clock.advance(1)
            left.append(self.count())
        self.assertEqual(left, [7, 4, 1, 0, 0, 0, 0])

    def count(self) -> int:
        """Return the number of messages in all archives."""
        return int(self.store.atStart(lambda cursor: cursor.execute("SELECT count(*) FROM archive").fetchone()[0]))

    def test_sweepFails(self) -> None:
        """A sweep that fails is tried again; only a fault in the gateway is logged."""

        def fail(cursor: Any, *more: object) -> None:
            raise self.why

        self.patch(archive_store, "sweep", fail)
        for self.why, logged in ((StoreFull(), 0), (KeyError("x"), 1)):
            self.wait(61)
            self.assertEqual(len(self.flushLoggedErrors(KeyError)), logged)


class ReaderTests(ArchiveCase):
    """
    "A MUC archive MUST check that the user requesting the archive has the right to enter it at the time of the
    query and only allow access if so."
    """

    def assertReader(self, who: str, error: type[GatewayError] | None = None) -> None:
        if error is None:
            self.assertEqual(len(self.asked(who=who)[0]), 1)
        else:
            for content in ("set' id='q'><query", "get' id='q'><query", "get' id='q'><metadata"):
                kind, _, name = content.rpartition("<")
                self.server.send(f"<iq from='{who}' to='{ROOM}' type='{kind}<{name} xmlns='{ns.MAM}'/></iq>")
                self.assertSent(refusal(error, who))

    def affiliate(self, who: str, affiliation: str) -> None:
        item = f"<item jid='{who.partition('/')[0]}' affiliation='{affiliation}'/>"
        self.server.send(
            f"<iq from='{CRONE}' to='{ROOM}' type='set' id='a'><query xmlns='{ns.MUC_ADMIN}'>{item}</query></iq>"
        )
        self.server.taken()

    def test_open(self) -> None:
        """An open room has any readers, "including those who have never entered the room", but no outcasts."""
        self.say()
        self.assertReader(HAG)
        self.affiliate(HAG, OUTCAST)
        self.assertReader(HAG, Banned)
        self.affiliate(HAG, "none")
        self.server.send(
            f"<iq from='{CRONE}' to='{ROOM}' type='set' id='a'><query xmlns='{ns.MUC_ADMIN}'>"
            "<item jid='shakespeare.lit' affiliation='outcast'/></query></iq>"
        )
        self.server.taken()
        self.assertReader(WISE, Banned)
        self.assertReader(CRONE)

    def test_membersOnly(self) -> None:
        """ "In a members-only chat room, only owners, admins or members can query a room archive." """
        self.say()
        self.configure(membersonly="1")
        self.assertReader(HAG, ArchiveClosed)
        for affiliation in ("member", "admin", "owner"):
            self.affiliate(HAG, affiliation)
            self.assertReader(HAG)

    def test_password(self) -> None:
        """Only those who are in a room with a password have shown it."""
        self.say()
        self.join(HAG, "hag")
        self.configure(roomsecret="x")
        self.assertReader(HAG)
        self.assertReader(WISE, ArchiveClosed)

    def test_realJids(self) -> None:
        """An admin or owner sees real JIDs without being in the room, as in the lists of members."""
        self.say()
        for affiliation, shown in (("member", False), ("admin", True), ("owner", True)):
            self.affiliate(HAG, affiliation)
            result = self.server.ask(query(who=HAG))[0]
            self.assertEqual(result.find(f".//{{{ns.MUC_USER}}}item") is not None, shown, affiliation)

    def test_rightsLost(self) -> None:
        """
        A user who loses rights while a query waits is refused: it may be read after messages that are not for this
        user, or from the archive of a new room with the same address.
        """
        self.join(HAG, "hag")
        self.say()
        waiting: Deferred[None] = Deferred()
        read = self.store.read
        self.patch(self.store, "read", lambda *given: waiting.addCallback(lambda _: read(*given)))
        destroy = f"<query xmlns='{ns.MUC_OWNER}'><destroy/></query>"
        destroy = f"<iq from='{CRONE}' to='{ROOM}' type='set' id='d'>{destroy}</iq>"
        cases: tuple[tuple[Callable[[], object], type[GatewayError]], ...] = (
            (lambda: self.affiliate(HAG, "none"), NotEntitled),
            (lambda: self.affiliate(HAG, OUTCAST), Banned),
            (lambda: self.server.send(destroy), NoSuchAddress),
        )
        for act, error in cases:
            with self.subTest(error=error):
                self.affiliate(HAG, "admin")
                waiting = Deferred()
                self.server.send(query(who=HAG))
                act()
                self.server.transport.clear()
                waiting.callback(None)
                self.assertSent(refusal(error, HAG))

    def test_notResponding(self) -> None:
        """If the disk does not respond, the store fails at once; each of the queries that wait gets one error."""
        first: Deferred[None] = Deferred()
        reads = iter([first])
        self.patch(self.store, "read", lambda *given: next(reads, None) or fail(StoreBusy()))
        users = [f"u@{number}.example/x" for number in range(1_000)]
        for user in users:
            self.server.send(query(who=user))
        self.assertEqual((self.server.received(), self.archiving.pending), ([], len(users)))
        first.errback(StoreBusy())
        found = [(each.get("to"), each.get("type")) for each in self.server.received()]
        self.assertEqual(found, [(user, "error") for user in users])
        self.assertEqual(self.archiving.pending, 0)

    def test_locked(self) -> None:
        """A room that waits for its first configuration does not exist for others."""
        self.start(locked=300.0)
        self.join(CRONE, "crone")
        self.server.send(query(who=HAG))
        self.assertSent(refusal(RoomLocked, HAG))
        self.server.send(query())
        self.assertSent(fin("<count>0</count>"))

    def test_absent(self) -> None:
        """A room that does not exist, and the service itself, have no archive."""
        self.server.send(query(room="heath@chat.shakespeare.lit"))
        self.assertSent(refusal(NoSuchAddress, room="heath@chat.shakespeare.lit"))
        self.server.send(query(room="chat.shakespeare.lit"))
        self.assertSent(refusal(NoHandler, room="chat.shakespeare.lit"))

    def test_nodes(self) -> None:
        """Occupants of joining nodes use the archive of their own node."""
        node = "coven@node.example"
        fmuc = f"<fmuc xmlns='{ns.FMUC}' from='ann@a.example/1'/>"
        self.server.send(f"<presence from='{node}/ann' to='{ROOM}/ann'>{fmuc}{MUC}</presence>")
        self.server.taken()
        self.server.send(query(who=f"{node}/ann"))
        self.assertSent(refusal(ArchiveClosed, f"{node}/ann"))


class OrderTests(ArchiveCase):
    """Messages are stored before they are shown."""

    def test_stored(self) -> None:
        """A message is shown after the commit; what was sent later waits behind it, in order."""
        self.join(HAG, "hag")
        self.store.isHeld = True
        self.server.transport.clear()
        for content in ("<body>one</body>", "<body>two</body>"):
            self.server.send(f"<message from='{CRONE}' to='{ROOM}' type='groupchat'>{content}</message>")
        self.server.send(f"<presence from='{HAG}' to='{ROOM}/hag' type='unavailable'/>")
        self.assertEqual(self.server.received(), [])
        self.assertEqual(len(self.store._held), 1)
        self.store.commit()
        [one, again] = self.server.received()
        self.assertEqual((one.get("to"), again.get("to")), (CRONE, HAG))
        # The second commit has all that came meanwhile.
        self.assertEqual(len(self.store._held), 1)
        self.store.commit()
        kinds = [(each.tag.rpartition("}")[2], each.get("to")) for each in self.server.received()]
        self.assertEqual(kinds[:2], [("message", CRONE), ("message", HAG)])
        self.assertEqual({each for each, _ in kinds[2:]}, {"presence"})
        self.assertEqual(self.handler.pending, 0)

    def test_atOnce(self) -> None:
        """A message that is not stored is sent at once, if nothing waits."""
        self.store.isHeld = True
        composing = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"
        self.server.send(f"<message from='{CRONE}' to='{ROOM}' type='groupchat'>{composing}</message>")
        self.assertEqual(len(self.server.received()), 1)
        self.assertEqual(self.store._held, [])

    def test_full(self) -> None:
        """
        While the store does not work, new messages are refused and not shown. The message that failed first waits,
        and is stored and shown when the store works again; no message is lost, or stored twice.
        """
        for fault in (StoreFull, StoreBusy, StoreBroken):
            before = self.asked()[0]
            self.server.transport.clear()
            self.store.fault = fault()
            text = f"<message from='{CRONE}' to='{ROOM}' type='groupchat' id='m'><body>x</body></message>"
            self.server.send(text * 2)
            # The error waits behind the first message.
            self.assertSent()
            self.wait(3)
            self.store.fault = None
            self.wait(2)
            [_, refusal] = self.server.taken()
            self.assertEqual([refusal], canonical(refused("message", ROOM, CRONE, fault, "id='m'")))
            self.assertEqual(len(self.asked()[0]), len(before) + 1)
            self.say()
            self.assertEqual(len(self.asked()[0]), len(before) + 2)

    def test_late(self) -> None:
        """A message waits for the store for ten seconds at most; then it is refused, and is not stored later."""
        self.store.isHeld = True
        self.server.transport.clear()
        text = f"<message from='{CRONE}' to='{ROOM}' type='groupchat' id='m'><body>x</body></message>"
        self.server.send(text)
        self.wait(9)
        self.assertEqual(self.server.received(), [])
        self.wait(3)
        self.assertSent(refused("message", ROOM, CRONE, StoreBusy, "id='m'"))
        self.server.send(text)
        self.assertSent(refused("message", ROOM, CRONE, StoreBusy, "id='m'"))
        self.store.isHeld = False
        self.store.commit()
        self.wait(2)
        self.assertEqual(self.asked()[0], [])
        self.say()
        self.assertEqual(len(self.asked()[0]), 1)

    def test_bounded(self) -> None:
        """Changes of archives that wait for a broken store are bounded, and counted when they are dropped."""
        self.patch(commits, "_MAX_STEPS", 3)
        self.store.fault = StoreFull()
        shown: list[int] = []
        for number in range(10):
            step = ToArchive(ArchivedMessage(room=ROOM, id=f"{number}", utc=0, nick=""))
            self.commits.put([], partial(shown.append, number), 0, 0.0, [step])
        self.commits.tick(11.0)
        self.assertEqual(shown, list(range(10)))
        self.assertEqual((self.commits.lost, self.commits.unstored), (7, 3))


class TableTests(ArchiveCase):
    """The table, where stanzas do not reach."""

    def test_twice(self) -> None:
        """A message that another node sends twice is stored once, and leaves no gap in the numbers."""
        [first] = [self.say()]
        self.say()
        page = self.store.atStart(archive_store.page, EVERYTHING)
        for message in page.messages:
            self.store.atStart(archive_store.append, (message,), self.retention)
        self.say()
        ids, answer = self.asked()
        self.assertEqual(len(ids), 3)
        self.assertAnswer(answer, fin(f"<first index='0'>{first}</first><last>{ids[2]}</last><count>3</count>"))

    def test_together(self) -> None:
        """
        Messages of one commit are added together: the number of statements does not depend on theirs. If some are
        there already, or come twice, the numbers have no gaps.
        """
        self.say()
        [first] = self.store.atStart(archive_store.page, EVERYTHING).messages
        steps = [ToArchive(evolve(first, id=f"i{number}")) for number in range(9)]
        calls: list[str] = []

        class Counting:
            """A cursor that notes its calls."""

            def __init__(self, cursor: Any) -> None:
                self._cursor = cursor

            def __getattr__(self, name: str) -> Any:
                calls.append(name)
                return getattr(self._cursor, name)

            def __iter__(self) -> Any:
                return iter(self._cursor)

        self.store.atStart(lambda cursor: archive_store.apply(Counting(cursor), steps, self.retention))
        self.assertEqual(calls, ["execute", "fetchone", "executemany", "rowcount", "execute"])
        again = [ToArchive(evolve(first, id=f"i{number}")) for number in (9, 3, 10, 10, 11)]
        again.insert(2, ToArchive(evolve(first, room="other@chat.shakespeare.lit", id="i3")))
        self.store.atStart(archive_store.apply, again, self.retention)
        found = self.store.atStart(lambda cursor: cursor.execute("SELECT number, id FROM archive").fetchall())
        ids = [first.id, *(f"i{number}" for number in range(12))]
        self.assertEqual(sorted(found), sorted([*enumerate(ids, 1), (1, "i3")]))

    def test_manyTogether(self) -> None:
        """The archive keeps its limit for any number of messages in a commit."""
        self.say()
        [first] = self.store.atStart(archive_store.page, EVERYTHING).messages
        few = Retention(10, 1e6)
        steps = [ToArchive(evolve(first, id=f"i{number}")) for number in range(1_000)]
        self.store.atStart(archive_store.apply, steps, few)
        ids = [each.id for each in self.store.atStart(archive_store.page, EVERYTHING).messages]
        self.assertEqual(ids, [f"i{number}" for number in range(990, 1_000)])

    def test_endTogether(self) -> None:
        """A room that ends, and a new one with its address, in one commit: the new one has its messages only."""
        self.say()
        [first] = self.store.atStart(archive_store.page, EVERYTHING).messages
        old, new = (ToArchive(evolve(first, id=each)) for each in ("old", "new"))
        self.store.atStart(archive_store.apply, [old, ForgetArchive(ROOM), new], self.retention)
        self.assertEqual([each.id for each in self.store.atStart(archive_store.page, EVERYTHING).messages], ["new"])

    def test_times(self) -> None:
        """
        The times have the messages' order, because searches by time need it; if the clock was ahead by more than a
        day, new times are right at once.
        """
        self.say()
        [message] = self.store.atStart(archive_store.page, EVERYTHING).messages
        self.store.atStart(archive_store.forget, ROOM)
        for number, utc in enumerate((200_000, 150_000, 210_000, 100_000)):
            each = evolve(message, id=f"i{number}", utc=utc)
            self.store.atStart(archive_store.append, (each,), self.retention)
        found = self.store.atStart(archive_store.page, EVERYTHING).messages
        self.assertEqual([each.utc for each in found], [200_000, 200_000, 210_000, 100_000])

    def test_resume(self) -> None:
        """
        The archive of a mirror continues if it has one of the room's newest messages; if not, it begins anew: there
        are no gaps.
        """
        for _ in range(6):
            self.say()
        messages = self.store.atStart(archive_store.page, EVERYTHING).messages

        def resumed(known: int, new: slice) -> list[str]:
            self.store.atStart(archive_store.forget, ROOM)
            for each in messages[:known]:
                self.store.atStart(archive_store.append, (each,), self.retention)
            self.store.atStart(archive_store.resume, ROOM, messages[new], self.retention)
            return [each.id for each in self.store.atStart(archive_store.page, EVERYTHING).messages]

        ids = [each.id for each in messages]
        self.assertEqual(resumed(3, slice(1, 6)), ids)
        self.assertEqual(resumed(3, slice(2, 6)), ids)
        self.assertEqual(resumed(3, slice(3, 6)), ids[3:])
        self.assertEqual(resumed(3, slice(0, 0)), [])
        self.assertEqual(resumed(6, slice(0, 6)), ids)
        self.assertEqual(resumed(0, slice(4, 6)), ids[4:])

    def test_resumeOwn(self) -> None:
        """A message that was shown here first may have another id in the room, or come later; or it was refused."""
        for _ in range(6):
            self.say()
        found = self.store.atStart(archive_store.page, EVERYTHING).messages
        said = [evolve(each, stanza=f"s{number}") for number, each in enumerate(found)]
        own = evolve(said[4], id="own")
        later = [evolve(own, id=f"l{number}", stanza=f"l{number}") for number in range(20)]
        for archived, expected in (
            ((said[0], said[1], own), (said[0], said[1], own, said[2], said[3], said[5])),
            ((said[0], said[1], evolve(own, stanza="x")), (said[0], said[1], own, *said[2:])),
            ((evolve(own, stanza=None),), said[1:]),
            # Many of its own have followed.
            ((*said[:2], own, *later), (*said[:2], own, *later, *said[2:4], said[5])),
        ):
            self.store.atStart(archive_store.forget, ROOM)
            for each in archived:
                self.store.atStart(archive_store.append, (each,), self.retention)
            self.store.atStart(archive_store.resume, ROOM, tuple(said[1:]), self.retention)
            found = self.store.atStart(archive_store.page, EVERYTHING).messages
            self.assertEqual([each.id for each in found], [each.id for each in expected])

    def test_resumeRepeated(self) -> None:
        """A message that is sent once more, with its id, does not hide that others are missing."""
        for _ in range(6):
            self.say()
        said = self.store.atStart(archive_store.page, EVERYTHING).messages
        said = [evolve(each, stanza=f"s{number}", payload=f"<a>{number}</a>") for number, each in enumerate(said)]
        again = evolve(said[0], id="again")
        for archived, newest, expected in (
            # Nobody knows what is missing before.
            (said[:1], [said[1], again, said[2]], [said[1], again, said[2]]),
            (said[:2], [said[1], again, said[0]], [*said[:2], again]),
            (said[:2], [said[0], said[1], again, said[2]], [*said[:2], again, said[2]]),
            # One of them may be the one that is there.
            (said[:1], [again, evolve(again, id="twice")], [said[0], evolve(again, id="twice")]),
        ):
            self.store.atStart(archive_store.forget, ROOM)
            self.store.atStart(archive_store.append, archived, self.retention)
            self.store.atStart(archive_store.resume, ROOM, tuple(newest), self.retention)
            found = self.store.atStart(archive_store.page, EVERYTHING).messages
            self.assertEqual([each.id for each in found], [each.id for each in expected])

    def test_mirrors(self) -> None:
        """A service keeps a number of archives: those with the newest messages."""
        self.say()
        [message] = self.store.atStart(archive_store.page, EVERYTHING).messages
        few = Retention(10, 1e6, rooms=3)
        for number in range(5):
            each = evolve(message, room=f"r{number}@x", utc=message.utc + number)
            self.store.atStart(archive_store.resume, each.room, (each,), few)
        found = self.store.atStart(lambda cursor: list(archive_store._rooms(cursor)))
        self.assertEqual(found, ["r2@x", "r3@x", "r4@x"])
