"""Stanzas of random parts: the handler never fails, answers each request once, and keeps limits and secrets."""

from __future__ import annotations

from random import Random
from xml.etree.ElementTree import Element

from hypothesis import given
from hypothesis import strategies as st

from gateway import ns
from gateway.fmuc.uplink.states import UplinkState
from gateway.fmuc.values import Dialect
from gateway.muc.room import Bounds, Room
from gateway.muc.values import person
from gateway.testing import stanzas
from tests.fmuc.wire import Wire, WireCase, fmuc, mirror, read, rooms
from tests.profiles import steady

BOUNDS = Bounds(rooms=3, occupants=4, nodes=2, pending=2, nick=20, messages=3, bytes=300, affiliations=4)
USERS = ("alice@here.example/r", "alice@here.example/s", "bob@here.example/r", "Bob@here.example/r")
CLIENTS = (*USERS, "eve@else.example/r", "bob@here.example", "here.example")
ABOVE = "room@talk.example"
NODES = ("room@far.example", "room@farther.example", ABOVE, "other@talk.example")
NICKS = ("a", "b", "c", "A", " ", "n" * 30, "&lt;&apos;", "ß")
OWN = ("room@rooms.example", "Room@rooms.example", "r1@rooms.example", "r2@rooms.example", "rooms.example")
MIRRORED = (
    r"room\40talk.example@mirror.example",
    r"other\40talk.example@mirror.example",
    r"room\40mirror.example@mirror.example",
    r"room\40else.example@mirror.example",
    r"nonsense\40@mirror.example",
    "mirror.example",
)
REALS = (*USERS, "kev@far.example/r", "no jid", "", "kev@far.example")


def x(namespace: str, inside: str = "", name: str = "x", more: str = "") -> str:
    """Return an element in a namespace."""
    return f"<{name} xmlns='{namespace}'{more}>{inside}</{name}>"


ITEMS = tuple(
    f"<item {attributes}>{inside}</item>"
    for attributes in (
        "role='none' nick='a'",
        "role='none' nick='b'",
        "role='visitor' nick='b'",
        "role='moderator' nick='b'",
        "role='odd' nick='b'",
        "role='participant' affiliation='none' jid='bob@here.example/r'",
        "role='participant' affiliation='none'",
        "role='none' affiliation='outcast'",
        "role='moderator' affiliation='owner' nick='c'",
        "affiliation='owner' jid='bob@here.example'",
        "affiliation='outcast' jid='bob@here.example/r'",
        "affiliation='outcast' jid='here.example'",
        "affiliation='member' jid='eve@else.example'",
        "affiliation='none' jid='alice@here.example'",
        "affiliation='none' jid='@'",
        "affiliation='odd'",
        "affiliation='outcast'",
        "",
    )
    for inside in ("", "<reason>why</reason><actor nick='a'/>")
)
CODES = tuple(f"<status code='{code}'/>" for code in (100, 110, 201, 301, 303, 307, 321, 322, 332, 333, "x"))
ENDS = (
    "<destroy jid='room@else.example'><reason>gone</reason></destroy>",
    "<invite to='bob@here.example'><reason>come</reason></invite>",
    "<invite/>",
    "<decline to='alice@here.example'/>",
)
USER = tuple(x(ns.MUC_USER, inside) for inside in (*ITEMS, *ENDS)) + tuple(
    x(ns.MUC_USER, f"{item}{code}") for item in ITEMS[::5] for code in CODES
)
FMUC = tuple(
    fmuc(real, inside)
    for real in REALS
    for inside in ("", "<replica/>", "<left/>", "<reject>no</reject>", "<reject/><left/>")
)
JOIN = (
    x(ns.MUC),
    x(ns.MUC, "<password>secret</password>"),
    x(ns.MUC, "<history maxstanzas='1'/>"),
    x(ns.MUC, "<history since='2001-01-01T00:00:00Z'/><password/>"),
    x(ns.MUC, "<history maxchars='-1' seconds='many'/>"),
)
# Entries of a list: together they reserve one nick for two users.
RESERVED = (
    "<item affiliation='member' jid='bob@here.example' nick='d'/>",
    "<item affiliation='none' jid='bob@here.example'/>",
    "<item affiliation='admin' jid='alice@here.example' nick='d'/>",
)
REGISTRATIONS = tuple(
    x(
        ns.DATA,
        f"<field var='FORM_TYPE'><value>{ns.MUC_REGISTER}</value></field>"
        f"<field var='muc#register_roomnick'><value>{nick}</value></field>",
        more=" type='submit'",
    )
    for nick in ("a", "d")
)
QUERIES = (
    *(
        x(space, name="query", more=node and f" node='{node}'")
        for space in (ns.DISCO_INFO, ns.DISCO_ITEMS, "jabber:iq:register")
        for node in ("", "x-roomuser-item", ns.MUC_TRAFFIC, "odd")
    ),
    *(x(ns.MUC_ADMIN, item, "query") for item in ITEMS),
    x(ns.MUC_ADMIN, ITEMS[0] + ITEMS[4], "query"),
    *(x(ns.MUC_ADMIN, "".join(RESERVED[start:end]), "query") for start, end in ((0, 3), (1, 3), (0, 2))),
    *(x(ns.REGISTER, inside, "query") for inside in (x(ns.REGISTER, name="remove"), *REGISTRATIONS)),
    *(
        x(
            ns.MUC_OWNER,
            x(
                ns.DATA,
                f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>",
                more=f" type='{kind}'",
            ),
            "query",
        )
        for name in ("membersonly", "moderatedroom", "persistentroom", "roomsecret", "whois", "odd")
        for value in ("1", "0", "anyone", "moderators")
        for kind in ("submit", "cancel")
    ),
    x(ns.MUC_OWNER, name="query"),
    x(ns.MUC_OWNER, ENDS[0], "query"),
    x(ns.MUC_OWNER, "<destroy jid='@'/>", "query"),
    x(ns.PING, name="ping"),
    x("vcard-temp", name="vCard"),
)
OTHERS = (
    "<body>hello</body>",
    f"<body>{'long ' * 100}</body>",
    "<subject>subject</subject>",
    "<subject/>",
    "<show>away</show>",
    x(ns.FMUC, name="nomirror"),
    x(ns.DELAY, name="delay", more=f" from='{ABOVE}' stamp='2001-01-01T00:00:00Z'"),
    x(ns.DELAY, name="delay", more=" stamp='yesterday'"),
    f"<error type='cancel'>{x(ns.STANZA_ERRORS, name='item-not-found')}</error>",
    f"<error type='auth'>{x(ns.STANZA_ERRORS, name='forbidden')}{x(ns.STANZA_ERRORS, 'no', 'text')}</error>",
    "<error/>",
    f"<f:fmuc xmlns:f='{ns.FMUC}' from='bob@here.example/r'/>",
    f"""<fmuc a=" xmlns='urn:x'" xmlns='{ns.FMUC}'/>""",
    f"text &amp; <![CDATA[<fmuc xmlns='{ns.FMUC}'/>]]>",
    x("urn:x", "<y/>" * 3),
)
KINDS = {
    "presence": (None, None, None, "unavailable", "error", "probe", "subscribe", "odd"),
    "message": ("groupchat", "groupchat", "chat", None, "error", "headline", "odd"),
    "iq": ("get", "set", "result", "error"),
}
SENDERS = (*USERS, *CLIENTS, *NODES, *(f"{node}/{nick}" for node in NODES for nick in NICKS))


def odd(random: Random, own: tuple[str, ...]) -> str:
    """Return a stanza of parts."""
    name = random.choice(("presence", "presence", "message", "iq"))
    nick = random.choice(("", *NICKS[:3], *NICKS))
    address = random.choice((own[0], *own)) + (nick and f"/{nick}")
    kind = random.choice(KINDS[name])
    more = "" if kind is None else f" type='{kind}'"
    more += random.choice(("", " id='1'", " id='2' xml:lang='en'"))
    pools = random.choices((FMUC, JOIN, USER, OTHERS, QUERIES), k=random.randrange(4))
    inside = random.choice(QUERIES) if name == "iq" else "".join(random.choice(pool) for pool in pools)
    return f"<{name} from='{random.choice(SENDERS)}' to='{address}'{more}>{inside}</{name}>"


def usual(random: Random, own: tuple[str, ...]) -> str:
    """Stanzas that follow the rules, so that there is state to break."""
    room, user = random.choice((own[0], own[0], own[1])), random.choice(USERS)
    nick, node = random.choice("abc"), random.choice(NODES[:2])
    who = f"<item affiliation='none' role='participant' jid='{user}'/>"
    joined = f"{fmuc(user)}{x(ns.MUC)}{x(ns.MUC_USER, who)}"
    said = (
        f"<presence from='{user}' to='{room}/{nick}'>{x(ns.MUC)}</presence>",
        f"<presence from='{user}' to='{room}/{nick}'>{x(ns.MUC)}</presence>",
        f"<presence from='{user}' to='{room}/{nick}'><show>away</show></presence>",
        f"<presence from='{user}' to='{room}/{nick}' type='unavailable'/>",
        f"<message from='{user}' to='{room}' type='groupchat'><body>hello</body></message>",
        f"<message from='{user}' to='{room}/{nick}' type='chat'><body>hello</body></message>",
        f"<presence from='{node}/{nick}' to='{room}/{nick}'>{joined}</presence>",
        f"<presence from='{node}' to='{room}/{nick}'>{fmuc(user)}</presence>",
        f"<presence from='{node}/{nick}' to='{room}/{nick}' type='unavailable'>{fmuc(user)}</presence>",
        f"<message from='{node}/{nick}' to='{room}' type='groupchat'>{fmuc(user)}<body>hello</body></message>",
        f"<presence from='{ABOVE}/{nick}' to='{room}'>{fmuc(user)}{x(ns.MUC_USER, who)}</presence>",
        f"<presence from='{ABOVE}/{nick}' to='{room}'>{x(ns.MUC_USER, who)}</presence>",
        f"<presence from='{ABOVE}/{nick}' to='{room}' type='unavailable'>{x(ns.MUC_USER, who)}</presence>",
        f"<message from='{ABOVE}' to='{room}' type='groupchat'>{fmuc('')}<subject/></message>",
        f"<message from='{ABOVE}/{nick}' to='{room}' type='groupchat'>{fmuc(user)}<body>hello</body></message>",
        f"<presence from='{ABOVE}' to='{room}'><fmuc xmlns='{ns.FMUC}'><left/></fmuc></presence>",
    )
    asked = [f"<iq from='{user}' to='{room}' id='q' type='{kind}'>{{}}</iq>" for kind in ("get", "set", "set")]
    asked += [f"<iq from='{user}' to='{room}/{nick}' id='q' type='get'>{{}}</iq>"]
    return random.choice((*said, random.choice(asked).format(random.choice(QUERIES))))


class RandomTests(WireCase):
    """Rooms, and mirrors in both protocols."""

    @steady
    @given(st.integers(0, 2**32))
    def test_rooms(self, seed: int) -> None:
        """Rooms of the component's own."""
        self.play(rooms("rooms.example", "far.example", "farther.example", bounds=BOUNDS), seed, OWN)

    @steady
    @given(st.integers(0, 2**32), st.sampled_from(Dialect), st.booleans())
    def test_mirrors(self, seed: int, dialect: Dialect, replica: bool) -> None:
        """Mirrors; when they have no occupants, deadlines end all waits."""
        wire = mirror(
            "mirror.example",
            dialect,
            replica,
            ("talk.example", "mirror.example"),
            ("here.example",),
            ("far.example", "farther.example"),
            BOUNDS,
        )
        self.play(wire, seed, MIRRORED)
        for _ in range(10):
            # Deadlines admit some of the waiting users.
            for room in list(wire.rooms.rooms.values()):
                for user in list(room.users):
                    wire.take(f"<presence from='{user}' to='{room.jid}' type='unavailable'/>")
                for node in list(room.nodes.joiningNodes):
                    wire.take(f"<presence from='{node}' to='{room.jid}' type='error'/>")
            wire.tick(70.0)
        self.assertEqual(wire.rooms.rooms, {})
        self.assertEqual(len(wire.rooms.iqs), 0)

    def play(self, wire: Wire, seed: int, own: tuple[str, ...]) -> None:
        """Run the steps."""
        random = Random(seed)
        for _ in range(100):
            step = random.random()
            if step < 0.04:
                wire.tick(random.choice((1.0, 6.0, 40.0)))
            else:
                [given] = stanzas(odd(random, own) if step < 0.4 else usual(random, own))
                isAsked = given.name == "iq" and given.type in ("get", "set")
                openBefore = len(wire.rooms.iqs)
                taken = wire.handler.stanzaReceived(given)
                opened = len(wire.rooms.iqs) - openBefore
                # Of answers, those to open requests between occupants are taken.
                self.assertEqual(taken, given.name != "iq" or isAsked or opened < 0)
                sent = read(b"".join(wire.link.sent))
                wire.link.sent.clear()
                for each in sent:
                    self.check(each)
                answers = [
                    (each.get("to"), each.get("from"), each.get("id"))
                    for each in sent
                    if each.tag.endswith("}iq") and not each.get("id", "").startswith(("join-", "items-", "room-"))
                ]
                if opened:
                    # A request was forwarded, or an answer was: once.
                    self.assertEqual([key for _, _, key in answers], [given.id])
                    self.assertEqual(opened, 1 if isAsked else -1)
                else:
                    self.assertEqual(answers, [(given.sender, given.recipient, given.id)] if isAsked else [])
            self.assertLessEqual(len(wire.rooms.rooms), BOUNDS.rooms)
            for room in wire.rooms.rooms.values():
                self.checkRoom(room)

    def check(self, stanza: Element) -> None:
        """The recipient has sent stanzas before; clients are sent no FMUC element."""
        recipient = stanza.get("to", "")
        bare = recipient.partition("/")[0]
        self.assertTrue(
            recipient in CLIENTS or bare in NODES or bare in {each.partition("/")[0] for each in CLIENTS}
        )
        found = [each for each in stanza if each.tag.startswith(f"{{{ns.FMUC}}}")]
        self.assertLessEqual(len(found), 1)
        self.assertLessEqual(len(stanza.findall(f"{{{ns.MUC_USER}}}x")), 1)
        if bare not in NODES and found:
            # The sender has sent a node's join, and is refused as a node.
            self.assertEqual((recipient, found[0].attrib), (bare, {}))
            self.assertEqual([each.tag for each in found[0]], [f"{{{ns.FMUC}}}reject"])

    def checkRoom(self, room: Room) -> None:
        """The room's tables are bounded and consistent."""
        self.assertEqual(room.takeActions(), [])
        self.assertFalse(room.isEmpty and not room.settings.persistent, room.jid)
        # Owners are admitted beyond the limit.
        self.assertLessEqual(len(room.occupants), BOUNDS.occupants + BOUNDS.pending + 2)
        self.assertLessEqual(len(room.nodes.joiningNodes), BOUNDS.nodes)
        self.assertLessEqual(len(room.nodes.pending), BOUNDS.pending)
        self.assertLessEqual(len(room.history), BOUNDS.messages)
        self.assertLessEqual(len(room.affiliations), BOUNDS.affiliations + 1)
        reserved = room.registrations
        self.assertEqual({nick: who for who, nick in reserved.nicks.items()}, reserved.users)
        self.assertLessEqual(set(reserved.nicks), set(room.affiliations))
        tables = [
            room.nodes.joiningNodes.values(),
            [] if room.nodes.joinedNode is None else [room.nodes.joinedNode],
        ]
        behind = [occupant for table in tables for node in table for occupant in node.occupants.values()]
        local = list(room.users.values())
        self.assertEqual({id(each) for each in behind + local}, {id(each) for each in room.occupants.values()})
        sessions = [each for occupant in room.occupants.values() for each in occupant.allSessions()]
        self.assertEqual(len(behind) + len(local), len(sessions))
        self.assertEqual({each.jid for each in sessions if each.node is None}, set(room.users))
        self.assertEqual(room.localCount, len({id(each) for each in local}))
        for occupant in room.occupants.values():
            self.assertLessEqual(len(occupant.sessions), BOUNDS.sessions)
            self.assertEqual(len({person(each.jid) for each in occupant.sessions}), bool(occupant.sessions))
        for nick, occupant in room.occupants.items():
            self.assertEqual(nick, occupant.nick)
            self.assertLessEqual(len(nick), 1_023)
        if room.nodes.joinedNode is not None and not room.nodes.downstreamCount and not room.nodes.pending:
            self.assertNotEqual(room.nodes.uplink.state, UplinkState.JOINED)
            self.assertEqual(room.nodes.joinedNode.occupants, {})
