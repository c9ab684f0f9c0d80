"""Demands of the ProtoXEP and of XEP-0289 beyond their examples: between two nodes, several, and in a chain."""

from __future__ import annotations

from gateway import ns
from gateway.addresses import jids
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Dialect
from gateway.muc.room import Bounds, Room
from tests.fmuc.wire import Net, WireCase, fmuc, mirror, rooms, to

TOP = "room@top.example"
MIDDLE = r"room\40top.example@middle.example"
OTHER = r"room\40top.example@other.example"
LOW = f"{jids.escapeLocal(MIDDLE)}@low.example"
OWNER, ANN, BEN, CAT = "owner@top.example/1", "ann@middle.example/1", "ben@other.example/1", "cat@low.example/1"
NEXT = "next@middle.example/1"
WAYS = [(dialect, replica) for dialect in Dialect for replica in (True, False)]


def net(dialect: Dialect, replica: bool, lower: Dialect | None = None, bounds: Bounds | None = None) -> Net:
    """Two mirrors of a room, and a mirror of the first of them."""
    return Net(
        {
            TOP: rooms("top.example", "middle.example", "other.example", bounds=bounds),
            MIDDLE: mirror("middle.example", dialect, replica, peers=("low.example",)),
            OTHER: mirror("other.example", dialect, replica),
            LOW: mirror("low.example", lower or dialect, replica),
        }
    )


def admin(item: str) -> str:
    """Return a change."""
    return f"<query xmlns='{ns.MUC_ADMIN}'>{item}</query>"


class JoiningTests(WireCase):
    """ProtoXEP: "performs the usual ACL checks as if [the user] had joined directly"; XEP-0289 section 6.1."""

    def assertDialect(self, of: Net, dialect: Dialect) -> None:
        """The joined node answers in the protocol of each."""
        self.assertEqual({node.dialect for node in of.wires[TOP].room(TOP).nodes.joiningNodes.values()}, {dialect})

    def test_limits(self) -> None:
        """
        The first join's password is passed on, and does not change the protocol. Its limits are for this user
        alone: the next user of the mirror gets the whole history.
        """
        for dialect, replica in WAYS:
            of = net(dialect, replica)
            of.join(TOP, "owner", OWNER)
            for body in ("one", "two", "three"):
                of.say(TOP, OWNER, body)
            of.wires[TOP].room(TOP).settings.password = "secret"
            asked = "<password>secret</password><history maxstanzas='2'/>"
            told = to(ANN, of.join(MIDDLE, "ann", ANN, asked))
            self.assertDialect(of, dialect)
            bodies = [each for each in told if "body=" in each]
            self.assertEqual(bodies, [f"message {MIDDLE}/owner body={body} delayed" for body in ("two", "three")])
            self.assertEqual(told[-1], f"message {MIDDLE} subject=")
            told = to(NEXT, of.join(MIDDLE, "next", NEXT, "<password>secret</password>"))
            bodies = [each for each in told if "body=" in each]
            self.assertEqual(bodies, [f"message {MIDDLE}/owner body={n} delayed" for n in ("one", "two", "three")])
            self.assertEqual(told[-1], f"message {MIDDLE} subject=")

    def test_refused(self) -> None:
        """
        Password, members, ban, the size of the room, a nick: the user is told, and nothing is left of the join.
        """
        for dialect, replica in WAYS:
            of = net(dialect, replica, bounds=Bounds(occupants=2))
            of.join(TOP, "owner", OWNER)
            room = of.wires[TOP].room(TOP)
            person = ANN.partition("/")[0]

            def refused(condition: str, nick: str = "ann", of: Net = of, room: Room = room) -> None:
                for recipient, where in ((ANN, MIDDLE), (CAT, LOW)):
                    [told] = to(recipient, of.join(where, nick, recipient))
                    self.assertEqual(told, f"presence {where}/{nick} error {condition}")
                    of.tick(60)
                    self.assertEqual(of.wires[MIDDLE].rooms.rooms, {})
                self.assertEqual(set(room.occupants), {"owner"})

            room.settings.password = "secret"
            refused("not-authorized")
            room.settings.password, room.settings.membersOnly = "", True
            refused("registration-required")
            room.settings.membersOnly = False
            room.affiliations |= {person: "outcast", CAT.partition("/")[0]: "outcast"}
            refused("forbidden")
            del room.affiliations[person], room.affiliations[CAT.partition("/")[0]]
            refused("conflict", "owner")
            of.join(TOP, "second", "second@top.example/1")
            [told] = to(ANN, of.join(MIDDLE, "ann", ANN))
            self.assertEqual(told, f"presence {MIDDLE}/ann error service-unavailable")

    def test_forms(self) -> None:
        """A rejection in any form, to the bare or the full JID, reaches the user of the rejected join."""
        for form in (
            "<presence from='{top}' to='{middle}'>{reject}</presence>",
            "<presence from='{top}' to='{middle}/ann'>{reject}</presence>",
            "<presence from='{top}/ann' to='{middle}/ann'>{reject}</presence>",
            "<presence from='{top}/ann' to='{middle}' type='error'>{error}</presence>",
            "<presence from='{top}' to='{middle}/ann' type='error'>{error}</presence>",
            "<presence from='{top}' to='{middle}/ann' type='error'>{reject}{error}</presence>",
            "<presence from='{top}' to='{middle}' type='error'/>",
        ):
            for dialect in Dialect:
                wire = mirror("middle.example", dialect)
                wire.join(MIDDLE, "ann", ANN)
                wire.join(MIDDLE, "ben", BEN)
                reject = fmuc(ANN, "<reject>No cross-domain federation.</reject>")
                error = f"<error type='auth'><not-allowed xmlns='{ns.STANZA_ERRORS}'/></error>"
                told = wire.take(form.format(top=TOP, middle=MIDDLE, reject=reject, error=error))
                self.assertEqual(len(to(ANN, told)), 1, form)
                self.assertTrue(to(ANN, told)[0].startswith(f"presence {MIDDLE}/ann error"), told)
                self.assertEqual(to(BEN, told), [])
                # The next join is sent; its answer may be another one.
                self.assertEqual(set(wire.room(MIDDLE).nodes.pending), {"ben"})


class SetTests(WireCase):
    """One room of several nodes."""

    def joined(self, dialect: Dialect, replica: bool, lower: Dialect | None = None) -> Net:
        """All users have joined."""
        of = net(dialect, replica, lower)
        for room, nick, who in (
            (TOP, "owner", OWNER),
            (MIDDLE, "ann", ANN),
            (OTHER, "ben", BEN),
            (LOW, "cat", CAT),
        ):
            of.join(room, nick, who)
        for wire in of.wires.values():
            [room_] = wire.rooms.rooms.values()
            self.assertEqual(set(room_.occupants), {"owner", "ann", "ben", "cat"})
        of.crossed.clear()
        return of

    def everyWay(self) -> list[Net]:
        """Both protocols and modes, and both protocols in one chain."""
        return [
            *(self.joined(dialect, replica) for dialect, replica in WAYS),
            self.joined(Dialect.PROTOXEP, True, Dialect.XEP_0289),
            self.joined(Dialect.XEP_0289, False, Dialect.PROTOXEP),
        ]

    def test_messages(self) -> None:
        """Each occupant gets each message once; a link carries at most one copy in each direction."""
        for of in self.everyWay():
            for room, who in ((TOP, OWNER), (MIDDLE, ANN), (OTHER, BEN), (LOW, CAT)):
                told = of.say(room, who, "hello")
                heard = sorted(each.split(" ")[3] for each in told)
                self.assertEqual(heard, sorted((OWNER, ANN, BEN, CAT)))
                ways = [(sender, there) for sender, there, _ in of.crossed]
                self.assertEqual(len(ways), len(set(ways)), of.crossed)
                of.crossed.clear()

    def test_kick(self) -> None:
        """XEP-0289 section 6.5: "it SHOULD kick the user and fan-out the consequent presence stanzas"."""
        for of in self.everyWay():
            kick = admin("<item nick='cat' role='none'><reason>Out</reason></item>")
            told = of.ask(TOP, OWNER, kick)
            out = "unavailable none/none actor=owner reason=Out 307"
            self.assertEqual(to(CAT, told), [f"presence {LOW}/cat {out} 110"])
            self.assertEqual(to(ANN, told), [f"presence {MIDDLE}/cat {out}"])
            self.assertEqual(to(BEN, told), [f"presence {OTHER}/cat {out}"])
            # No occupant is left there, and nothing is sent there any longer.
            of.crossed.clear()
            of.say(TOP, OWNER, "hello")
            self.assertNotIn(LOW, {there for _, there, _ in of.crossed})
            self.assertIn(f"presence {LOW}/cat none/participant 110", to(CAT, of.join(LOW, "cat", CAT)))

    def test_ban(self) -> None:
        """The same with a ban, which also applies to direct joins, by any nick."""
        for of in self.everyWay():
            told = of.ask(TOP, OWNER, admin(f"<item jid='{CAT}' affiliation='outcast'/>"))
            self.assertEqual(to(CAT, told), [f"presence {LOW}/cat unavailable outcast/none actor=owner 301 110"])
            for room in (LOW, MIDDLE, TOP):
                [refused] = to(CAT, of.join(room, "kitten", CAT))
                self.assertRegex(refused, "forbidden|banned")
                of.tick(60)
                nodes = [each.rooms.rooms[jid] for jid, each in of.wires.items() if jid in each.rooms.rooms]
                self.assertNotIn("kitten", [nick for each in nodes for nick in each.occupants])

    def test_roles(self) -> None:
        """ "Role change should be distributed across nodes and fanned out to users"."""
        for of in self.everyWay():
            told = of.ask(TOP, OWNER, admin("<item nick='cat' role='visitor'/>"))
            for room, who in ((MIDDLE, ANN), (OTHER, BEN)):
                self.assertEqual(to(who, told), [f"presence {room}/cat none/visitor actor=owner"])
            self.assertEqual(to(CAT, told), [f"presence {LOW}/cat none/visitor actor=owner 110"])

    def test_destroyed(self) -> None:
        """
        A destroyed room is destroyed at all nodes; each occupant is told of the own removal, with the alternate
        room.
        """
        for of in self.everyWay():
            inside = "<destroy jid='new@top.example'><reason>Over</reason></destroy>"
            told = of.ask(TOP, OWNER, f"<query xmlns='{ns.MUC_OWNER}'>{inside}</query>")
            for room, nick, who in ((MIDDLE, "ann", ANN), (OTHER, "ben", BEN), (LOW, "cat", CAT)):
                end = f"presence {room}/{nick} unavailable none/none 110 destroy=new@top.example:Over"
                self.assertEqual(to(who, told), [end])
            of.tick(60)
            self.assertEqual([wire.rooms.rooms for wire in of.wires.values()], [{}] * 4)

    def test_subject(self) -> None:
        """The subject is the same everywhere, whoever sets it; new occupants get it last."""
        for of in self.everyWay():
            for room, who in ((LOW, CAT), (TOP, OWNER)):
                told = of.take(
                    room, f"<message from='{who}' to='{room}' type='groupchat'><subject>s</subject></message>"
                )
                self.assertEqual(len(told), 4)
            for room in (TOP, MIDDLE, LOW):
                late = f"late@{room.partition('@')[2]}/1"
                self.assertEqual(
                    to(late, of.join(room, "late", late))[-1], f"message {room}/owner subject=s delayed"
                )
                of.take(room, f"<presence from='{late}' to='{room}' type='unavailable'/>")

    def test_privately(self) -> None:
        """
        XEP-0289 section 6.6, end to end, in both directions; and back with an error if it cannot be delivered.
        """
        for of in self.everyWay():
            for room, who, there, whom in ((LOW, CAT, OTHER, BEN), (OTHER, BEN, LOW, CAT)):
                nicks = {CAT: "cat", BEN: "ben"}
                message = (
                    f"<message from='{who}' to='{room}/{nicks[whom]}' type='chat' id='p'><body>x</body></message>"
                )
                self.assertTold(
                    of.take(room, message), f"message {there}/{nicks[who]} > {whom} chat muc#user body=x"
                )
                error = f"<error type='cancel'><not-acceptable xmlns='{ns.STANZA_ERRORS}'/></error>"
                back = f"<message from='{whom}' to='{there}/{nicks[who]}' type='error' id='p'>{error}</message>"
                self.assertTold(of.take(there, back), f"message {room}/{nicks[whom]} > {who} error not-acceptable")

    def test_leaving(self) -> None:
        """Section 6.4: a node that has left is sent nothing more, until it joins again."""
        for of in self.everyWay():
            told = of.take(
                LOW, f"<presence from='{CAT}' to='{LOW}/cat' type='unavailable'><status>bye</status></presence>"
            )
            for room, who in ((MIDDLE, ANN), (OTHER, BEN)):
                self.assertEqual(to(who, told), [f"presence {room}/cat unavailable none/none status=bye"])
            of.take(MIDDLE, f"<presence from='{ANN}' to='{MIDDLE}/ann' type='unavailable'/>")
            of.crossed.clear()
            of.say(TOP, OWNER, "hello")
            of.say(OTHER, BEN, "hello")
            self.assertFalse({there for _, there, _ in of.crossed} & {MIDDLE, LOW})
            of.tick(60)
            self.assertEqual(of.wires[MIDDLE].rooms.rooms, {})
            of.join(LOW, "cat", CAT)
            self.assertEqual(set(of.wires[LOW].room(LOW).occupants), {"owner", "ben", "cat"})

    def test_middleEnds(self) -> None:
        """The middle node ends: its joining nodes are told, and the other nodes see its occupants leave."""
        for of in self.everyWay():
            of.wires[MIDDLE].handler.drain()
            told = of._spread(MIDDLE, of.wires[MIDDLE]._taken())
            self.assertEqual([each for each in to(CAT, told) if each.endswith("110")], to(CAT, told)[-1:])
            self.assertIn("unavailable", to(CAT, told)[-1])
            of.tick(60)
            self.assertEqual(set(of.wires[TOP].room(TOP).occupants), {"owner", "ben"})
            self.assertEqual(of.wires[LOW].rooms.rooms, {})
            self.assertEqual({node.jid for node in of.wires[TOP].room(TOP).nodes.joiningNodes.values()}, {OTHER})

    def test_states(self) -> None:
        """All nodes have joined, and no link waits for anything."""
        for of in self.everyWay():
            for room, wire in of.wires.items():
                above = wire.room(room).nodes.uplink
                self.assertTrue(above is None or above.state is UplinkState.JOINED)
                self.assertEqual(wire.room(room).nodes.pending, {})
