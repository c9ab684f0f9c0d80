"""Archives of rooms (XEP-0313), by whole stanzas."""

from __future__ import annotations

from collections import Counter

from twisted.internet.defer import Deferred

from gateway import ns
from gateway.errors import (
    BadRequest,
    HandlerFailed,
    Malformed,
    NoHandler,
    NoSuchMessage,
    NoSuchNode,
    NotEntitled,
    ResourceLimit,
    Stopping,
    StoreBroken,
    TooManyPending,
    UnknownField,
)
from gateway.muc.archive import MAX_PAGE
from gateway.muc.archive_store import forget, newest
from gateway.muc.archive_values import ArchivePage
from gateway.stream.budget import BURST
from tests.muc.archives import CRONE, HAG, ROOM, ArchiveCase, anId, fin, form, query, refusal, rsm

HEAD = f"from='{ROOM}' to='{CRONE}'"


def forwarded(content: str, nick: str = "/crone", stamp: str = "2002-10-13T23:58:37Z", more: str = "") -> str:
    """Return a forwarded message."""
    delay = f"<delay xmlns='{ns.DELAY}' stamp='{stamp}'/>"
    inside = f"<message xmlns='{ns.CLIENT}' from='{ROOM}{nick}' type='groupchat'{more}>{content}</message>"
    return f"<forwarded xmlns='{ns.FORWARD}'>{delay}{inside}</forwarded>"


def stanzaId(identifier: str) -> str:
    """Return the element C{stanza-id}."""
    return f"<stanza-id xmlns='{ns.SID}' by='{ROOM}' id='{identifier}'/>"


def item(affiliation: str, role: str, jid: str) -> str:
    """Return the element C{x} with a real JID."""
    found = f"<item affiliation='{affiliation}' role='{role}' jid='{jid}'/>"
    return f"<x xmlns='{ns.MUC_USER}'>{found}</x>"


class ResultTests(ArchiveCase):
    """Results of queries."""

    def test_results(self) -> None:
        """
        Section 4.2: results have the query id, the id in the archive, the time and the message. Section 6.1.2: the
        message has no C{to}, comes from the occupant's address, and shows the real JID to those who may see it. The
        answer comes last.
        """
        self.join(HAG, "hag")
        first = self.say("<body>one</body>", more=" id='m1' xml:lang='de'")
        self.wait(6)
        second = self.say(f"<body>two</body><x xmlns='{ns.MUC_USER}'><item jid='x@y'/></x>", HAG)
        self.server.send(query(more=" queryid='g27'"))
        one = f"<body>one</body>{anId(CRONE)}{stanzaId(first)}" + item("owner", "moderator", CRONE)
        two = f"<body>two</body>{anId(HAG)}{stanzaId(second)}" + item("none", "participant", HAG)
        language = " xml:lang='de' id='m1'"
        self.assertSent(
            f"<message {HEAD}><result xmlns='{ns.MAM}' queryid='g27' id='{first}'>"
            f"{forwarded(one, more=language)}</result></message>"
            f"<message {HEAD}><result xmlns='{ns.MAM}' queryid='g27' id='{second}'>"
            f"{forwarded(two, '/hag', '2002-10-13T23:58:43Z')}</result></message>",
            fin(f"<first index='0'>{first}</first><last>{second}</last><count>2</count>"),
        )

    def test_hidden(self) -> None:
        """A participant of a semi-anonymous room sees no real JIDs; without a query id, results have none."""
        self.join(HAG, "hag")
        first = self.say("<body>one</body>")
        self.server.send(query(who=HAG))
        one = f"<body>one</body>{anId(CRONE)}{stanzaId(first)}"
        self.assertSent(
            f"<message from='{ROOM}' to='{HAG}'><result xmlns='{ns.MAM}' id='{first}'>{forwarded(one)}</result>"
            "</message>",
            fin(f"<first index='0'>{first}</first><last>{first}</last><count>1</count>", who=HAG),
        )

    def test_open(self) -> None:
        """
        A participant of a non-anonymous room sees the real JIDs of messages that were sent since it is one, and
        does not see them any longer when it is not.
        """
        self.join(HAG, "hag")
        self.say()
        self.configure(whois="anyone")
        self.say()
        for whois, shown in (("anyone", [False, True]), ("moderators", [False, False])):
            self.configure(whois=whois)
            results = self.server.ask(query(who=HAG))[:-1]
            path = f".//{{{ns.MUC_USER}}}item"
            self.assertEqual([each.find(path) is not None for each in results], shown)
        self.assertEqual(len([each for each in self.server.ask(query()) if each.find(path) is not None]), 2)

    def test_empty(self) -> None:
        """Of an empty archive, the answer has no ends. Section 5: neither have its metadata."""
        self.server.send(query())
        self.assertSent(fin("<count>0</count>"))
        self.server.send(f"<iq from='{CRONE}' to='{ROOM}' type='get' id='q'><metadata xmlns='{ns.MAM}'/></iq>")
        self.assertSent(f"<iq from='{ROOM}' to='{CRONE}' type='result' id='q'><metadata xmlns='{ns.MAM}'/></iq>")

    def test_metadata(self) -> None:
        """Section 5: "<start/> and <end/> elements, which each have an 'id' and [...] 'timestamp"."""
        ids = self.sayMany(3)
        self.server.send(f"<iq from='{CRONE}' to='{ROOM}' type='get' id='q'><metadata xmlns='{ns.MAM}'/></iq>")
        ends = (
            f"<start id='{ids[0]}' timestamp='2002-10-13T23:58:37Z'/>"
            f"<end id='{ids[2]}' timestamp='2002-10-14T00:00:37Z'/>"
        )
        self.assertSent(
            f"<iq from='{ROOM}' to='{CRONE}' type='result' id='q'><metadata xmlns='{ns.MAM}'>{ends}</metadata></iq>"
        )

    def test_form(self) -> None:
        """Section 4.1.5: the form has all fields, and C{ids} is open; none is required."""
        self.server.send(f"<iq from='{CRONE}' to='{ROOM}' type='get' id='q'><query xmlns='{ns.MAM}'/></iq>")
        fields = (
            f"<field type='hidden' var='FORM_TYPE'><value>{ns.MAM}</value></field>"
            "<field type='jid-single' var='with'/><field type='text-single' var='start'/>"
            "<field type='text-single' var='end'/><field type='text-single' var='before-id'/>"
            "<field type='text-single' var='after-id'/><field type='list-multi' var='ids'>"
            f"<validate xmlns='{ns.VALIDATE}' datatype='xs:string'><open/></validate></field>"
        )
        x = f"<x xmlns='{ns.DATA}' type='form'>{fields}</x>"
        self.assertSent(
            f"<iq from='{ROOM}' to='{CRONE}' type='result' id='q'><query xmlns='{ns.MAM}'>{x}</query></iq>"
        )

    def test_announced(self) -> None:
        """Section 7: both features in disco#info of the room, not of the service, if there is an archive."""
        asks = f"<query xmlns='{ns.DISCO_INFO}'/>"

        def announced(jid: str) -> set[str]:
            [answer] = self.server.ask(f"<iq from='{CRONE}' to='{jid}' type='get' id='d'>{asks}</iq>")
            return {str(each.get("var")) for each in answer.iter(f"{{{ns.DISCO_INFO}}}feature")}

        features = {"urn:xmpp:mam:2", "urn:xmpp:mam:2#extended"}
        self.assertLessEqual(features, announced(ROOM))
        self.assertFalse(features & announced(ROOM.partition("@")[2]))
        self.start(archived=0)
        self.join(CRONE, "crone")
        self.assertFalse(features & announced(ROOM))
        self.server.send(query())
        self.assertSent(refusal(NoHandler))


class PageTests(ArchiveCase):
    """Filters and pages."""

    def setUp(self) -> None:
        super().setUp()
        self.ids = self.sayMany(6)

    def assertPage(self, content: str, found: slice | list[int], count: int, isComplete: bool = True) -> None:
        """A query has these results; the ends of the page and the numbers are right."""
        ids, answer = self.asked(content)
        expected = self.ids[found] if isinstance(found, slice) else [self.ids[each] for each in found]
        self.assertEqual(ids, expected)
        index = self.index if ids else 0
        ends = f"<first index='{index}'>{ids[0]}</first><last>{ids[-1]}</last>" if ids else ""
        self.assertAnswer(answer, fin(f"{ends}<count>{count}</count>", isComplete))

    index = 0

    def test_max(self) -> None:
        """Section 4.3.1: a page has C{max} messages; "complete" is true of the last one alone."""
        self.assertPage(rsm("<max>2</max>"), slice(0, 2), 6, False)
        self.assertPage(rsm("<max>6</max>"), slice(0, 6), 6)
        self.assertPage(rsm("<max>0</max>"), [], 6, False)
        self.assertPage(rsm("<max>many</max>"), slice(0, 6), 6)

    def test_after(self) -> None:
        """Section 4.3.2: the page after a message."""
        after = f"<after>{self.ids[1]}</after>"
        self.index = 2
        self.assertPage(rsm(f"<max>2</max>{after}"), slice(2, 4), 6, False)
        self.assertPage(rsm(f"<max>4</max>{after}"), slice(2, 6), 6)
        self.assertPage(rsm(f"<after>{self.ids[5]}</after>"), [], 6)

    def test_before(self) -> None:
        """Section 4.3.3: the page before a message, or the last page, in chronological order."""
        self.index = 4
        self.assertPage(rsm("<max>2</max><before/>"), slice(4, 6), 6, False)
        self.index = 1
        self.assertPage(rsm(f"<max>2</max><before>{self.ids[3]}</before>"), slice(1, 3), 6, False)
        self.index = 0
        self.assertPage(rsm(f"<max>3</max><before>{self.ids[3]}</before>"), slice(0, 3), 6)
        self.assertPage(rsm(f"<before>{self.ids[0]}</before>"), [], 6)

    def test_index(self) -> None:
        """XEP-0059 section 2.6: a page by its index."""
        self.index = 3
        self.assertPage(rsm("<max>2</max><index>3</index>"), slice(3, 5), 6, False)

    def test_flipped(self) -> None:
        """Section 4.3.4: only the order of the results is reversed."""
        content = rsm(f"<max>3</max><after>{self.ids[0]}</after>") + "<flip-page/>"
        ids, answer = self.asked(content)
        self.assertEqual(ids, self.ids[3:0:-1])
        ends = f"<first index='1'>{self.ids[1]}</first><last>{self.ids[3]}</last><count>6</count>"
        self.assertAnswer(answer, fin(ends, False))

    def test_time(self) -> None:
        """Section 4.1.2: both ends are included. A fraction of a second counts."""
        for start, end, found in (
            ("2002-10-13T23:59:37Z", None, slice(1, 6)),
            ("2002-10-13T23:59:37.5Z", None, slice(2, 6)),
            (None, "2002-10-14T00:00:37Z", slice(0, 3)),
            (None, "2002-10-14T00:00:37.5Z", slice(0, 3)),
            ("2002-10-14T01:59:37+02:00", "2002-10-14T00:01:00Z", slice(1, 3)),
            ("2002-10-15T00:00:00Z", None, slice(0, 0)),
            (None, "2002-10-13T00:00:00Z", slice(0, 0)),
            ("2002-10-14T00:01:00Z", "2002-10-13T23:58:37Z", slice(0, 0)),
        ):
            given = [pair for pair in (("start", start), ("end", end)) if pair[1]]
            count = len(self.ids[found])
            self.assertPage(form(*given), found, count)

    def test_filteredPages(self) -> None:
        """The numbers count the messages that the filters select, whatever the page is."""
        start = form(("start", "2002-10-13T23:59:37Z"))
        self.assertPage(start + rsm("<max>2</max>"), slice(1, 3), 5, False)
        self.index = 2
        self.assertPage(start + rsm(f"<max>2</max><after>{self.ids[2]}</after>"), slice(3, 5), 5, False)

    def test_ids(self) -> None:
        """Section 4.1.3: messages before and after others, and single messages."""
        one, four = self.ids[1], self.ids[4]
        self.assertPage(form(("after-id", one)), slice(2, 6), 4)
        self.assertPage(form(("before-id", four)), slice(0, 4), 4)
        self.assertPage(form(("after-id", one), ("before-id", four)), slice(2, 4), 2)
        self.assertPage(form(("before-id", four)) + rsm("<max>1</max>"), slice(0, 1), 4, False)
        several = "".join(f"<value>{self.ids[each]}</value>" for each in (4, 1))
        fields = f"<field var='FORM_TYPE'><value>{ns.MAM}</value></field><field var='ids'>{several}</field>"
        x = f"<x xmlns='{ns.DATA}' type='submit'>{fields}</x>"
        self.assertPage(x, [1, 4], 2)
        self.assertPage(x + rsm("<max>1</max>"), [1], 2, False)
        self.index = 1
        self.assertPage(x + rsm("<max>1</max><before/>"), [4], 2, False)
        self.assertPage(x + rsm(f"<after>{self.ids[1]}</after>"), [4], 2)

    def test_unknownIds(self) -> None:
        """Sections 4.1.3 and 4.3.2: "the server MUST return an item-not-found error"."""
        for content in (
            form(("after-id", "no")),
            form(("before-id", "no")),
            form(("ids", "no")),
            rsm("<after>no</after>"),
            rsm("<before>no</before>"),
        ):
            self.server.send(query(content))
            self.assertSent(refusal(NoSuchMessage))

    def test_with(self) -> None:
        """
        Section 4.1.1: messages of one sender, by the address in the room, or by the real JID, bare or full. The
        latter "could not be used by a visitor to a semi-anonymous MUC".
        """
        self.join(HAG, "hag")
        own = self.say(who=HAG)
        ends = f"<first index='0'>{own}</first><last>{own}</last><count>1</count>"
        for jid in (f"{ROOM}/hag", HAG, HAG.partition("/")[0], HAG.upper().replace("PDA", "pda")):
            self.assertEqual(self.asked(form(("with", jid)))[0], [own], jid)
        self.assertAnswer(self.asked(form(("with", HAG)))[1], fin(ends))
        self.assertEqual(self.asked(form(("with", ROOM)))[0], [*self.ids, own])
        self.assertEqual(self.asked(form(("with", f"{ROOM}/nobody")))[0], [])
        self.assertEqual(self.asked(form(("with", "hag66@shakespeare.lit/other")))[0], [])
        self.assertEqual(self.asked(form(("with", f"{ROOM}/hag")), HAG)[0], [own])
        self.server.send(query(form(("with", CRONE)), HAG))
        self.assertSent(refusal(NotEntitled, HAG))
        # In a non-anonymous room everybody may ask, but messages from before are not found by real JIDs.
        self.configure(whois="anyone")
        later = self.say(who=HAG)
        self.assertEqual(self.asked(form(("with", HAG)), HAG)[0], [later])
        self.assertEqual(self.asked(form(("with", HAG)))[0], [own, later])

    def test_badQueries(self) -> None:
        """A query that cannot be read gets one error, and no results."""
        many = "".join(f"<value>{number}</value>" for number in range(MAX_PAGE + 1))
        ids = f"<field var='FORM_TYPE'><value>{ns.MAM}</value></field><field var='ids'>{many}</field>"
        for content, error in (
            (form(("free-text", "x")), UnknownField),
            (form(("include-groupchat", "true")), UnknownField),
            (form(kind=""), BadRequest),
            (form(kind="urn:xmpp:mam:1"), BadRequest),
            (form().replace("submit", "cancel"), BadRequest),
            (form(("start", "yesterday")), BadRequest),
            (form(("end", "2002-13-01T00:00:00Z")), BadRequest),
            (form(("with", "@")), Malformed),
            (form(("after-id", "x" * 200)), BadRequest),
            (form(("ids", "")), BadRequest),
            (f"<x xmlns='{ns.DATA}' type='submit'>{ids}</x>", ResourceLimit),
            (rsm(f"<after>{'x' * 200}</after>"), BadRequest),
        ):
            self.server.send(query(content))
            self.assertSent(refusal(error))
        self.server.send(query(more=" node='princely'"))
        self.assertSent(refusal(NoSuchNode))
        self.server.send(query(more=f" queryid='{'x' * 1_001}'"))
        self.assertSent(refusal(BadRequest))
        for name, kind in (("metadata", "set"), ("prefs", "get"), ("prefs", "set")):
            self.server.send(f"<iq from='{CRONE}' to='{ROOM}' type='{kind}' id='q'><{name} xmlns='{ns.MAM}'/></iq>")
            self.assertSent(refusal(NoHandler))

    def test_ignored(self) -> None:
        """Empty fields, and unreadable numbers, are no filters."""
        empty = f"<field var='FORM_TYPE'><value>{ns.MAM}</value></field><field var='start'/><field var='with'/>"
        content = f"<x xmlns='{ns.DATA}' type='submit'>{empty}</x>" + rsm("<index>-1</index>")
        self.assertPage(content, slice(0, 6), 6)


class SizeTests(ArchiveCase):
    """Bounds of pages."""

    def test_messages(self) -> None:
        """Section 4.3.1: without C{max}, or with a larger one, a page has 100 messages."""
        ids = [self.say() for _ in range(MAX_PAGE + 1)]
        for content in ("", rsm("<max>5000</max>")):
            found, answer = self.asked(content)
            self.assertEqual(found, ids[:MAX_PAGE])
            ends = f"<first index='0'>{ids[0]}</first><last>{ids[MAX_PAGE - 1]}</last><count>101</count>"
            self.assertAnswer(answer, fin(ends, False))

    def test_bytes(self) -> None:
        """A page ends before 256 KiB, in the direction of the query; it has at least one message."""
        ids = [self.say(more=f" id='{'x' * 100_000}'") for _ in range(5)]
        self.assertEqual(self.asked()[0], ids[:2])
        self.assertEqual([each.id for each in self.store.atStart(newest, 50, 150_000)[ROOM]], ids[-2:])
        self.store.atStart(forget, ROOM)
        self.wait(2)
        ids = [self.say(f"<body>{'x' * 100_000}</body>") for _ in range(5)]
        self.assertEqual(self.asked()[0], ids[:2])
        self.wait(2)
        self.assertEqual(self.asked(rsm("<before/>"))[0], ids[3:])
        self.wait(2)
        large = self.say(f"<body>{'x' * 190_000}</body>")
        self.assertEqual(self.asked(rsm("<before/><max>1</max>"))[0], [large])

    def test_budget(self) -> None:
        """Results are charged to the user: above the budget, further queries wait, and are answered."""
        for _ in range(5):
            self.say(f"<body>{'x' * 100_000}</body>")
        self.server.link.budget.chargeUser(CRONE.partition("/")[0], BURST - 1, self.server.link.now)
        self.server.transport.clear()
        self.server.send(query() * 2)
        kinds: list[str | None] = []
        for seconds in (0.0, 0.9, 1.1):
            self.wait(seconds)
            kinds += [each.get("type") for each in self.server.received() if each.tag.endswith("iq")]
            self.server.transport.clear()
            self.assertEqual(len(kinds), 1 if seconds < 1 else 2)
        self.assertEqual(kinds, ["result"] * 2)

    def test_queries(self) -> None:
        """
        A user has at most ten open queries; a further one is refused, and each gets one answer. One at a time is in
        the store.
        """
        reads = self.heldReads()
        self.server.send(query() * 11)
        self.assertSent(refusal(TooManyPending))
        self.server.send(query(who=HAG))
        self.assertEqual((len(reads), self.handler.pending), (1, 11))
        reads[0].callback(ArchivePage())
        self.assertSent(fin("<count>0</count>"))
        reads[1].errback(StoreBroken())
        self.assertSent(refusal(StoreBroken))
        reads[2].errback(KeyError("x"))
        self.assertSent(refusal(HandlerFailed, HAG))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.server.send(query())
        self.assertEqual((len(reads), self.handler.pending), (4, 9))
        # The service stops.
        self.handler.drained()
        self.assertSent(refusal(Stopping) * 9)
        self.assertEqual(self.handler.pending, 0)

    def test_turns(self) -> None:
        """
        Domains take turns, and so do the users of one: many queries, or users, of one domain keep others waiting
        for few queries.
        """
        reads = self.heldReads()
        others = [f"{name}@other.example/1" for name in ("a", "b", "c")]
        for who in (*others, CRONE, HAG):
            self.server.send(query(who=who) * 3)
        found = []
        while self.handler.pending:
            reads[len(found)].callback(ArchivePage())
            [answer] = self.server.received()
            found.append(answer.get("to"))
        a, b, c = others
        self.assertEqual(found[:9], [a, a, CRONE, b, HAG, c, CRONE, a, HAG])
        self.assertEqual(Counter(found), Counter(3 * [*others, CRONE, HAG]))

    def test_late(self) -> None:
        """A query that has waited for others for too long is refused; its user may ask again."""
        reads = self.heldReads()
        self.server.send(query() * 10)
        self.server.clock.advance(15)
        self.assertSent()
        self.server.send(query(who=HAG))
        self.server.clock.advance(6)
        self.assertSent(refusal(TooManyPending) * 9)
        self.assertEqual((len(reads), self.handler.pending), (1, 2))
        self.server.send(query())
        reads[0].callback(ArchivePage())
        self.assertSent(fin("<count>0</count>"))
        reads[1].callback(ArchivePage())
        self.assertSent(fin("<count>0</count>", who=HAG))
        self.assertEqual((len(reads), self.handler.pending), (3, 1))

    def heldReads(self) -> list[Deferred[object]]:
        """Return the reads of the store from now on, which have no results yet."""
        reads: list[Deferred[object]] = []

        def read(*arguments: object) -> Deferred[object]:
            reads.append(Deferred())
            return reads[-1]

        self.patch(self.store, "read", read)
        self.server.transport.clear()
        return reads
