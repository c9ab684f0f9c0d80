"""Peers and users that break the rules: they are refused with the right error, and their cost is bounded."""

from __future__ import annotations

from gateway import ns
from gateway.muc.room import Bounds
from tests.fmuc.support import MUC
from tests.fmuc.wire import Wire, WireCase, fmuc, mirror, rooms, seedJoin, to

R = "room@rooms.example"
SOURCE = "room@talk.example"
M = r"room\40talk.example@mirror.example"
ALICE, BOB, EVE = "alice@here.example/r", "bob@here.example/r", "eve@here.example/r"
FAR, FARTHER = "room@far.example", "room@farther.example"
KEV, CURT = "kev@far.example/r", "curt@farther.example/r"


class PeerTests(WireCase):
    """Joining nodes that claim more than is true, or that may not join."""

    def setUp(self) -> None:
        self.wire = rooms("rooms.example", "far.example", "farther.example")

    def federated(self) -> None:
        """Alice has joined directly, Kev through one node, Curt through another."""
        self.wire.join(R, "alice", ALICE)
        self.wire.nodeJoins(R, "kev", FAR, KEV)
        self.wire.nodeJoins(R, "curt", FARTHER, CURT)

    def assertUntouched(self) -> None:
        """All occupants are as before."""
        room = self.wire.room(R)
        who = {nick: occupant.realJid for nick, occupant in room.occupants.items()}
        self.assertEqual(who, {"alice": ALICE, "kev": KEV, "curt": CURT})
        self.assertEqual(set(room.nodes.joiningNodes), {FAR, FARTHER})

    def test_notAllowed(self) -> None:
        """A domain that is not a peer is refused in its own protocol; no room is created for it."""
        outsider = "room@outside.example"
        self.assertTold(
            self.wire.nodeJoins(R, "eve", outsider, EVE),
            f"presence {R} > {outsider} fmuc=reject",
        )
        self.assertTold(
            self.wire.take(seedJoin(R, "eve", outsider, EVE)),
            f"presence {R} > {outsider} error not-allowed",
        )
        self.assertEqual(self.wire.rooms.rooms, {})

    def test_notAllowedInMirror(self) -> None:
        """A mirror has peers of its own; by default none."""
        wire = mirror("mirror.example")
        self.assertTold(wire.nodeJoins(M, "kev", FAR, KEV), f"presence {M} > {FAR} fmuc=reject")
        self.assertEqual(wire.rooms.rooms, {})

    def test_presenceForAnothers(self) -> None:
        """A node cannot change the presence of occupants of other nodes, or of local ones."""
        self.federated()
        for nick, real in (("alice", ALICE), ("curt", CURT)):
            whole = f"from='{FAR}/{nick}' to='{R}/{nick}'"
            self.assertTold(self.wire.take(f"<presence {whole} type='unavailable'>{fmuc(real)}</presence>"))
            self.assertTold(self.wire.take(f"<presence {whole} type='unavailable'/>"))
            self.assertTold(
                self.wire.take(f"<presence {whole}>{fmuc(real)}<status>mine</status></presence>"),
                f"presence {R} > {FAR}/{nick} not-allowed fmuc={real}reject",
            )
            self.assertTold(
                self.wire.nodeJoins(R, nick, FAR, KEV), f"presence {R} > {FAR}/{nick} conflict fmuc={KEV}reject"
            )
        self.assertUntouched()

    def test_messageOfNode(self) -> None:
        """A message of a node itself is refused to its address, which has no nick and no slash."""
        self.federated()
        self.assertTold(
            self.wire.take(f"<message from='{FAR}' to='{R}' type='groupchat'><body>x</body></message>"),
            f"message {R} > {FAR} error not-acceptable",
        )

    def test_wordsForAnothers(self) -> None:
        """A node cannot send messages of occupants of other nodes."""
        self.federated()
        for nick in ("alice", "curt", "nobody"):
            sender = f"from='{FAR}/{nick}'"
            self.assertTold(
                self.wire.take(
                    f"<message {sender} to='{R}' type='groupchat'>{fmuc(ALICE)}<body>lie</body></message>"
                ),
                f"message {R} > {FAR}/{nick} error not-acceptable",
            )
            self.assertTold(
                self.wire.take(f"<message {sender} to='{R}/alice' type='chat'><body>lie</body></message>"),
                f"message {R}/alice > {FAR}/{nick} error not-acceptable",
            )
        self.assertEqual(len(self.wire.room(R).history), 0)

    def test_othersName(self) -> None:
        """An occupant of a node keeps the real JID of the join."""
        self.federated()
        self.assertTold(
            self.wire.take(f"<presence from='{FAR}/kev' to='{R}/kev'>{fmuc(ALICE)}</presence>"),
            f"presence {R} > {FAR}/kev forbidden fmuc={ALICE}reject",
        )
        self.assertUntouched()

    def test_pendingOfAnother(self) -> None:
        """A joining node does not change a join that another one has pending."""
        wire = mirror("mirror.example", peers=("far.example", "farther.example"))
        wire.nodeJoins(M, "kev", FAR, KEV)
        wire.nodeJoins(M, "curt", FARTHER, CURT)
        for node, problem in ((FARTHER, True), (FAR, False)):
            sent = wire.take(f"<presence from='{node}/kev' to='{M}/kev'>{fmuc(KEV)}<status>new</status></presence>")
            self.assertEqual([each for each in sent if "reject" in each] != [], problem, sent)
            self.assertEqual(wire.room(M).nodes.pending["kev"].newPresence is None, problem)

    def test_joinWithoutItem(self) -> None:
        """A peer's join is a node's, even if it comes from an occupant's address and names no standing."""
        self.wire.take(f"<presence from='{FAR}/kev' to='{R}/kev'>{fmuc(KEV)}{MUC}</presence>")
        room = self.wire.room(R)
        self.assertEqual((set(room.nodes.joiningNodes), room.occupants["kev"].realJid), ({FAR}, KEV))

    def test_destroyedFromBelow(self) -> None:
        """A joining node may report a leave; it cannot report the room as destroyed."""
        self.federated()
        end = f"<x xmlns='{ns.MUC_USER}'><item affiliation='owner' role='none'/><destroy/><status code='332'/></x>"
        sent = self.wire.take(
            f"<presence from='{FAR}/kev' to='{R}/kev' type='unavailable'>{fmuc(KEV)}{end}</presence>"
        )
        self.assertTold(to(ALICE, sent), f"presence {R}/kev unavailable none/none jid={KEV}")
        self.assertTold(to(FARTHER, sent), f"presence {R}/kev unavailable none/none fmuc={KEV}")

    def test_standingFromBelow(self) -> None:
        """The standing that a joining node claims for its users has no effect."""
        claim = f"<x xmlns='{ns.MUC_USER}'><item affiliation='owner' role='moderator' jid='{KEV}'/></x>"
        self.wire.join(R, "alice", ALICE)
        self.wire.take(f"<presence from='{FAR}/kev' to='{R}/kev'>{fmuc(KEV)}{MUC}{claim}</presence>")
        self.assertEqual(self.wire.room(R).occupants["kev"].standing.affiliation, "none")
        self.assertEqual(self.wire.room(R).occupants["kev"].standing.role, "participant")

    def test_realIsNoJid(self) -> None:
        """The users of a node have JIDs, and a ban applies to every spelling."""
        self.wire.join(R, "alice", ALICE)
        self.wire.ask(
            R,
            ALICE,
            f"<query xmlns='{ns.MUC_ADMIN}'><item affiliation='outcast' jid='kev@far.example'/></query>",
            "set",
        )
        for real in ("@/", "@far.example/r", "a b@far.example/r", "kev@far..example/r"):
            self.assertTold(
                self.wire.nodeJoins(R, "kev", FAR, real),
                f"presence {R} > {FAR}/kev jid-malformed fmuc={real}reject",
            )
        for real in (KEV, "KEV@far.example/r", "Kev@Far.Example/r", "kev@far.example"):
            self.assertTold(
                self.wire.nodeJoins(R, "kev", FAR, real), f"presence {R} > {FAR}/kev forbidden fmuc={real}reject"
            )
        self.assertIn("forbidden", self.wire.join(R, "kev", "KEV@far.example/r")[0])
        self.assertEqual(set(self.wire.room(R).occupants), {"alice"})

    def test_manyBehindNode(self) -> None:
        """More joins through one node than a room may hold: that many users enter, and each other one is told."""
        wire = Wire(self.wire.rooms)
        most = Bounds().occupants
        sent = [wire.nodeJoins(R, f"u{number}", FAR, f"u{number}@far.example/r") for number in range(most + 500)]
        room = wire.room(R)
        self.assertEqual(len(room.occupants), most)
        self.assertEqual(set(room.nodes.joiningNodes[FAR].occupants), set(room.occupants))
        self.assertTold(sent[-1], f"presence {R} > {FAR}/u5499 service-unavailable fmuc=u5499@far.example/rreject")
        refused = sum("reject" in stanza for each in sent for stanza in each)
        self.assertEqual(refused, 500)

    def test_manyNodes(self) -> None:
        """The maximum number of a room's nodes."""
        wire = rooms("rooms.example", "*", bounds=Bounds(nodes=3))
        for number in range(5):
            wire.nodeJoins(R, f"n{number}", f"room@n{number}.example", f"u@n{number}.example/r")
        self.assertEqual(set(wire.room(R).nodes.joiningNodes), {f"room@n{number}.example" for number in range(3)})

    def test_historyAsked(self) -> None:
        """Any request for history gets at most the stored part."""
        self.wire.join(R, "alice", ALICE)
        for number in range(200):
            self.wire.say(R, ALICE, f"m{number}")
        most = Bounds().messages
        since = "since='0001-01-01T00:00:00Z'"
        for number, limits in enumerate(
            ("maxstanzas='999999999'", since, "seconds='999999999'", "maxchars='-1'", "")
        ):
            sent = self.wire.nodeJoins(R, f"k{number}", FAR, f"k{number}@far.example/r", f"<history {limits}/>")
            self.assertEqual(sum("delayed" in each and "body" in each for each in to(FAR, sent)), most, limits)
            self.wire.take(f"<presence from='{FAR}/k{number}' to='{R}/k{number}' type='unavailable'/>")


class UserTests(WireCase):
    """Clients that send stanzas they may not send."""

    def setUp(self) -> None:
        self.wire = rooms("rooms.example", "far.example")
        self.wire.join(R, "alice", ALICE)
        self.wire.join(R, "bob", BOB)
        self.wire.nodeJoins(R, "kev", FAR, KEV)

    def test_notIn(self) -> None:
        """A user who is not an occupant cannot send messages."""
        self.assertTold(self.wire.say(R, EVE, "hello"), f"message {R} > {EVE} error not-acceptable")
        for nick in ("alice", "kev", "nobody"):
            self.assertTold(
                self.wire.take(f"<message from='{EVE}' to='{R}/{nick}' type='chat'><body>x</body></message>"),
                f"message {R}/{nick} > {EVE} error not-acceptable",
            )
        self.assertTold(
            self.wire.say("nowhere@rooms.example", EVE, "hello"),
            f"message nowhere@rooms.example > {EVE} error item-not-found",
        )
        # Another resource of an occupant is not an occupant.
        other = "alice@here.example/other"
        self.assertTold(self.wire.say(R, other, "hello"), f"message {R} > {other} error not-acceptable")

    def test_notInMirror(self) -> None:
        """
        The same in a mirror, also in one that nobody is in (XEP-0045 section 7.4). Requests for the room are not
        allowed. The joined node is sent nothing.
        """
        wire = mirror("mirror.example")
        for address in (M, f"{M}/alice"):
            self.assertTold(wire.say(address, EVE, "hello"), f"message {address} > {EVE} error not-acceptable")
        for namespace in ("jabber:iq:register", "http://jabber.org/protocol/muc#owner"):
            asked = f"<iq from='{EVE}' to='{M}' id='q' type='get'><query xmlns='{namespace}'/></iq>"
            self.assertTold(wire.take(asked), f"iq {M} > {EVE} error not-allowed")
        # No room can have these addresses; the first one is spelled in an unusual way.
        for address in (M.replace("\\40", "\\5c40"), "nowhere@mirror.example"):
            self.assertTold(wire.say(address, EVE, "hello"), f"message {address} > {EVE} error item-not-found")
        wire.join(M, "alice", ALICE)
        self.assertTold(wire.say(M, EVE, "hello"), f"message {M} > {EVE} error not-acceptable")
        self.assertTold(
            wire.take(f"<message from='{EVE}' to='{M}/alice' type='chat'><body>x</body></message>"),
            f"message {M}/alice > {EVE} error not-acceptable",
        )
        # Nor can a user whose join is pending.
        self.assertTold(wire.say(M, ALICE, "hello"), f"message {M} > {ALICE} error not-acceptable")

    def test_fmucInPresence(self) -> None:
        """FMUC elements in an occupant's presence are removed and have no effect."""
        for word in (fmuc(ALICE), fmuc(ALICE, "<left/>"), fmuc(KEV, "<reject>out</reject>"), fmuc("", "<left/>")):
            sent = self.wire.take(f"<presence from='{BOB}' to='{R}/bob'>{word}<status>here</status></presence>")
            self.assertTold(
                sent,
                f"presence {R}/bob > {ALICE} none/participant jid={BOB} status=here",
                f"presence {R}/bob > {BOB} none/participant 110 status=here",
                f"presence {R}/bob > {FAR} none/participant fmuc={BOB} status=here",
            )

    def test_fmucInMessage(self) -> None:
        """The same for messages to all or to one."""
        for word in (
            fmuc(ALICE),
            f"<nomirror xmlns='{ns.FMUC}'/>",
            f"<f:fmuc xmlns:f='{ns.FMUC}' from='{ALICE}'/>",
        ):
            sent = self.wire.take(f"<message from='{BOB}' to='{R}' type='groupchat'>{word}<body>x</body></message>")
            self.assertTold(
                sent,
                f"message {R}/bob > {ALICE} body=x",
                f"message {R}/bob > {BOB} body=x",
                f"message {R}/bob > {FAR} fmuc={BOB} body=x",
            )
            for nick, recipient, more in (("alice", ALICE, ""), ("kev", f"{FAR}/kev", f" fmuc={BOB}")):
                [one] = self.wire.take(
                    f"<message from='{BOB}' to='{R}/{nick}' type='chat'>{word}<body>x</body></message>"
                )
                self.assertTrue(one.startswith(f"message {R}/bob > {recipient} chat"), one)
                self.assertEqual(one.count("fmuc="), bool(more), one)
                self.assertNotIn(ALICE, one.removeprefix(f"message {R}/bob > {recipient}"))

    def test_fmucInDisguise(self) -> None:
        """The element is found in any spelling: an attribute's value is not a declaration."""
        for lure in ("""a=" xmlns='urn:x'" """, """a='"' b=" xmlns='urn:x'" """, """xml:lang=" xmlns='urn:x' " """):
            [sent] = self.wire.elements(
                f"<message from='{BOB}' to='{R}/alice' type='chat'>"
                f"<fmuc {lure} xmlns='{ns.FMUC}' from='{ALICE}'/><body>x</body></message>"
            )
            self.assertNoFmuc(sent)

    def test_fmucInJoin(self) -> None:
        """A user is not a node: the user joins by the own address, whatever the element says."""
        sent = self.wire.take(f"<presence from='{EVE}' to='{R}/eve'>{fmuc(ALICE)}{MUC}</presence>")
        self.assertTold(to(BOB, sent), f"presence {R}/eve none/participant")
        self.assertTold(to(ALICE, sent), f"presence {R}/eve none/participant jid={EVE}")
        self.assertEqual(self.wire.room(R).occupants["eve"].realJid, EVE)
        self.assertEqual(set(self.wire.room(R).nodes.joiningNodes), {FAR})

    def test_nodesJoin(self) -> None:
        """A complete join by XEP-0289 from another domain is treated as that of a node, and refused."""
        sent = self.wire.nodeJoins(R, "eve", EVE.partition("/")[0], ALICE)
        self.assertTold(sent, f"presence {R} > {EVE.partition('/')[0]} fmuc=reject")
        self.assertEqual(set(self.wire.room(R).occupants), {"alice", "bob", "kev"})

    def test_fmucInMirrorsJoin(self) -> None:
        """A mirror knows its users by their domains: a user joins as the own address, whatever the element says."""
        wire = mirror("mirror.example", users=("here.example",), peers=("far.example",))
        sent = wire.take(f"<presence from='{EVE}' to='{M}/eve'>{fmuc(ALICE)}{MUC}</presence>")
        self.assertTold(sent, f"presence {M}/eve > {SOURCE}/eve none/participant jid={EVE} fmuc={EVE}replica")

    def test_mucUser(self) -> None:
        """XEP-0045 section 16.3: elements that only a room may send, from an occupant: "it MUST NOT reflect it"."""
        lie = f"<x xmlns='{ns.MUC_USER}'><item affiliation='owner' role='moderator'/><status code='110'/></x>"
        sent = self.wire.take(f"<presence from='{BOB}' to='{R}/bob'>{lie}</presence>")
        self.assertTold(to(ALICE, sent), f"presence {R}/bob none/participant jid={BOB}")
        self.assertTold(to(BOB, sent), f"presence {R}/bob none/participant 110")
        sent = self.wire.take(f"<message from='{BOB}' to='{R}' type='groupchat'>{lie}<body>x</body></message>")
        self.assertTold(to(ALICE, sent), f"message {R}/bob body=x")

    def test_delay(self) -> None:
        """A user's delay element is removed: only a room states when a message was sent."""
        delay = f"<delay xmlns='{ns.DELAY}' from='{R}' stamp='2001-01-01T00:00:00Z'/>"
        sent = self.wire.take(f"<message from='{BOB}' to='{R}' type='groupchat'>{delay}<body>x</body></message>")
        self.assertTold(to(ALICE, sent), f"message {R}/bob body=x")

    def test_nodesWords(self) -> None:
        """FMUC elements of users have no effect: a user cannot end a mirror's membership."""
        wire = mirror("mirror.example")
        wire.join(M, "alice", ALICE)
        for word in (fmuc("", "<left/>"), fmuc("", "<reject>no</reject>"), fmuc(ALICE, "<reject/>")):
            wire.take(f"<presence from='{EVE}' to='{M}'>{word}</presence>")
            wire.take(f"<presence from='{EVE}' to='{M}/alice'>{word}</presence>")
            wire.take(f"<presence from='{EVE}' to='{M}/alice' type='error'>{word}</presence>")
        self.assertEqual(set(wire.room(M).nodes.pending), {"alice"})

    def test_longNick(self) -> None:
        """
        A nick has at most 256 bytes; longer nicks, also of 1,023 bytes as JIDs allow, and empty ones are refused.
        """
        for nick in ("n" * 1_023, "n" * 257, "ü" * 200, " ", "&#9;"):
            [sent] = self.wire.join(R, nick, EVE)
            self.assertIn("not-acceptable" if nick != "&#9;" else "error", sent)
        self.assertEqual(set(self.wire.room(R).occupants), {"alice", "bob", "kev"})
        wire = mirror("mirror.example")
        [sent] = wire.join(M, "n" * 1_023, EVE)
        self.assertIn("not-acceptable", sent)
        self.assertEqual(wire.rooms.rooms, {})

    def test_longWords(self) -> None:
        """The content of a join is stored until it is answered: very long ids and passwords are refused."""
        wire = mirror("mirror.example")
        for more, inside in ((f" id='{'i' * 1_001}'", ""), ("", f"<password>{'p' * 1_001}</password>")):
            [sent] = wire.take(
                f"<presence from='{EVE}' to='{M}/eve'{more}><x xmlns='{ns.MUC}'>{inside}</x></presence>"
            )
            self.assertEqual(sent, f"presence {M}/eve > {EVE} error bad-request")
        self.assertEqual(wire.rooms.rooms, {})

    def test_manyChildren(self) -> None:
        """
        Presence of 500 elements is forwarded, without elements that only a room may send. Of one that is larger
        than 16 KiB, only the availability is kept.
        """
        others = "".join(f"<c{number} xmlns='urn:x'/>" for number in range(500))
        lies = "".join(f"<x xmlns='{ns.MUC_USER}'/>{fmuc(ALICE)}" for _ in range(1_000))
        for inside, many in ((others, 502), (lies, 2), (others * 3, 2)):
            sent = self.wire.elements(f"<presence from='{BOB}' to='{R}/bob'>{inside}</presence>")
            for stanza in sent:
                self.assertEqual(len(stanza), many if stanza.get("to") != FAR else many + 1)
