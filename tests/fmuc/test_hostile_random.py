"""Stanzas of random pieces: the handler never fails, answers each request once, and keeps bounds and secrets."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway import ns
from gateway.fmuc.room import Bounds, Room, State
from gateway.fmuc.values import Dialect
from tests.fmuc.support import stanzas
from tests.fmuc.wire import Wire, WireCase, fmuc, mirror, read, rooms

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
    """An element in a namespace."""
    return f"<{name} xmlns='{namespace}'{more}>{inside}</{name}>"


ITEMS = st.builds(
    lambda attributes, inside: f"<item {' '.join(attributes)}>{inside}</item>",
    st.lists(
        st.sampled_from(
            (
                "role='none'",
                "role='visitor'",
                "role='moderator'",
                "role='odd'",
                "affiliation='owner'",
                "affiliation='none'",
                "affiliation='outcast'",
                "affiliation='member'",
                "nick='a'",
                "nick='b'",
                "jid='bob@here.example'",
                "jid='alice@here.example/r'",
                "jid='here.example'",
                "jid='@'",
            )
        ),
        max_size=3,
        unique_by=lambda each: each.partition("=")[0],
    ),
    st.sampled_from(("", "<reason>why</reason>", "<actor nick='a'/>", "<reason>why</reason><actor/>")),
)
USER = st.builds(
    lambda items, more: x(ns.MUC_USER, "".join(items + more)),
    st.lists(ITEMS, max_size=2),
    st.lists(
        st.sampled_from(
            (
                *(f"<status code='{code}'/>" for code in (100, 110, 201, 301, 303, 307, 321, 322, 332, 333)),
                "<status code='x'/>",
                "<destroy jid='room@else.example'><reason>gone</reason></destroy>",
                "<invite to='bob@here.example'><reason>come</reason></invite>",
                "<invite/>",
                "<decline to='alice@here.example'/>",
            )
        ),
        max_size=3,
    ),
)
FMUC = st.builds(
    fmuc,
    st.sampled_from(REALS),
    st.sampled_from(("", "", "<replica/>", "<left/>", "<reject>no</reject>", "<reject/><left/>")),
)
JOIN = st.builds(
    lambda inside: x(ns.MUC, "".join(inside)),
    st.lists(
        st.sampled_from(
            (
                "<password>secret</password>",
                "<history maxstanzas='1'/>",
                "<history since='2001-01-01T00:00:00Z'/>",
                "<history maxchars='-1' seconds='many'/>",
            )
        ),
        max_size=2,
    ),
)
FIELDS = st.lists(
    st.builds(
        lambda name, value: f"<field var='muc#roomconfig_{name}'><value>{value}</value></field>",
        st.sampled_from(("membersonly", "moderatedroom", "persistentroom", "roomsecret", "whois", "odd")),
        st.sampled_from(("1", "0", "secret", "anyone", "moderators", "")),
    ),
    max_size=3,
)
QUERIES = st.one_of(
    st.builds(
        lambda space, node: x(space, name="query", more=node and f" node='{node}'"),
        st.sampled_from((ns.DISCO_INFO, ns.DISCO_ITEMS, "jabber:iq:register", "jabber:iq:version")),
        st.sampled_from(("", "x-roomuser-item", ns.MUC_TRAFFIC, "odd")),
    ),
    st.builds(lambda items: x(ns.MUC_ADMIN, "".join(items), "query"), st.lists(ITEMS, max_size=3)),
    st.builds(
        lambda fields, kind: x(ns.MUC_OWNER, x(ns.DATA, "".join(fields), more=f" type='{kind}'"), "query"),
        FIELDS,
        st.sampled_from(("submit", "cancel", "form")),
    ),
    st.sampled_from(
        (
            x(ns.MUC_OWNER, name="query"),
            x(ns.MUC_OWNER, "<destroy jid='b@else.example'><reason>x</reason></destroy>", "query"),
            x(ns.MUC_OWNER, "<destroy jid='@'/>", "query"),
            x(ns.PING, name="ping"),
            x("vcard-temp", name="vCard"),
        )
    ),
)
OTHERS = st.sampled_from(
    (
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
        "text &amp; <![CDATA[<fmuc xmlns='http://isode.com/protocol/fmuc'/>]]>",
        x("urn:x", "<y/>" * 3),
    )
)
PIECES = st.lists(st.one_of(FMUC, JOIN, JOIN, USER, OTHERS, OTHERS, QUERIES), max_size=4)
KINDS = {
    "presence": (None, None, None, "unavailable", "error", "probe", "subscribe", "odd"),
    "message": ("groupchat", "groupchat", "chat", None, "error", "headline", "odd"),
    "iq": ("get", "set", "result", "error"),
}


@st.composite
def stanza(draw: st.DrawFn, own: tuple[str, ...]) -> str:
    """One stanza to a room, by somebody."""
    name = draw(st.sampled_from(("presence", "presence", "message", "iq")))
    sender = draw(
        st.sampled_from((*USERS, *CLIENTS, *(f"{node}/{nick}" for node in NODES for nick in NICKS), *NODES))
    )
    recipient = draw(st.sampled_from((own[0], own[0], *own)))
    recipient += draw(st.sampled_from(("", *(f"/{nick}" for nick in NICKS[:3]), *(f"/{nick}" for nick in NICKS))))
    kind = draw(st.sampled_from(KINDS[name]))
    more = "" if kind is None else f" type='{kind}'"
    if draw(st.booleans()):
        more += f" id='{draw(st.sampled_from('123'))}'"
    if draw(st.integers(0, 5)) == 0:
        more += " xml:lang='en'"
    inside = [draw(QUERIES)] if name == "iq" and draw(st.booleans()) else draw(PIECES)
    return f"<{name} from='{sender}' to='{recipient}'{more}>{''.join(inside)}</{name}>"


def steps(own: tuple[str, ...]) -> st.SearchStrategy[list[str | float]]:
    """Stanzas, and time that passes."""
    return st.lists(st.one_of(*[stanza(own)] * 8, st.sampled_from((1.0, 6.0, 40.0))), min_size=10, max_size=50)


limits = settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    database=None,
    print_blob=False,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class RandomTests(WireCase):
    """Rooms, and mirrors in both dialects."""

    @limits
    @given(steps(OWN))
    def test_rooms(self, whatHappens: list[str | float]) -> None:
        """Rooms of their own."""
        self.play(rooms("rooms.example", "far.example", "farther.example", bounds=BOUNDS), whatHappens)

    @limits
    @given(steps(MIRRORED), st.sampled_from(Dialect), st.booleans())
    def test_mirrors(self, whatHappens: list[str | float], dialect: Dialect, replica: bool) -> None:
        """Mirrors; once nobody is in, time alone ends all that they wait for."""
        wire = mirror(
            "mirror.example",
            dialect,
            replica,
            ("talk.example", "mirror.example"),
            ("here.example",),
            ("far.example", "farther.example"),
            BOUNDS,
        )
        self.play(wire, whatHappens)
        for room in list(wire.rooms.rooms.values()):
            for user in list(room.users):
                wire.take(f"<presence from='{user}' to='{room.jid}' type='unavailable'/>")
            for node in list(room.below.values()):
                wire.take(f"<presence from='{node.jid}' to='{room.jid}' type='error'/>")
        for _ in range(10):
            wire.tick(70.0)
        self.assertEqual(wire.rooms.rooms, {})

    def play(self, wire: Wire, whatHappens: list[str | float]) -> None:
        """Let it happen."""
        for step in whatHappens:
            if isinstance(step, float):
                wire.tick(step)
            else:
                [given] = stanzas(step)
                isAsked = given.name == "iq" and given.type in ("get", "set")
                taken = wire.handler.stanzaReceived(given)
                self.assertEqual(taken, given.name != "iq" or isAsked)
                sent = read(b"".join(wire.link.sent))
                wire.link.sent.clear()
                for each in sent:
                    self.check(each)
                answers = [
                    (each.get("to"), each.get("from"), each.get("id")) for each in sent if each.tag.endswith("}iq")
                ]
                self.assertEqual(answers, [(given.sender, given.recipient, given.id)] if isAsked else [])
            self.assertLessEqual(len(wire.rooms.rooms), BOUNDS.rooms)
            for room in wire.rooms.rooms.values():
                self.checkRoom(room)

    def check(self, stanza: Element) -> None:
        """It goes to somebody who has written, and to clients without a word between nodes."""
        recipient = stanza.get("to", "")
        bare = recipient.partition("/")[0]
        self.assertTrue(
            recipient in CLIENTS or bare in NODES or bare in {each.partition("/")[0] for each in CLIENTS}
        )
        found = [each for each in stanza if each.tag.startswith(f"{{{ns.FMUC}}}")]
        self.assertLessEqual(len(found), 1)
        self.assertLessEqual(len(stanza.findall(f"{{{ns.MUC_USER}}}x")), 1)
        if bare not in NODES and found:
            # He has written a node's join, and is told as a node that he is none.
            self.assertEqual((recipient, found[0].attrib), (bare, {}))
            self.assertEqual([each.tag for each in found[0]], [f"{{{ns.FMUC}}}reject"])

    def checkRoom(self, room: Room) -> None:
        """Its tables are bounded, and agree."""
        self.assertEqual(room.out, [])
        self.assertFalse(room.isEmpty and not room.settings.persistent, room.jid)
        # Owners find room beyond what there is.
        self.assertLessEqual(len(room.occupants), BOUNDS.occupants + BOUNDS.pending + 2)
        self.assertLessEqual(len(room.below), BOUNDS.nodes)
        self.assertLessEqual(len(room.pending), BOUNDS.pending)
        self.assertLessEqual(len(room.history), BOUNDS.messages)
        self.assertLessEqual(len(room.affiliations), BOUNDS.affiliations + 1)
        tables = [room.below.values(), [] if room.above is None else [room.above]]
        behind = [occupant for table in tables for node in table for occupant in node.occupants.values()]
        local = list(room.users.values())
        self.assertEqual({id(each) for each in behind + local}, {id(each) for each in room.occupants.values()})
        self.assertEqual(len(behind) + len(local), len(room.occupants))
        for nick, occupant in room.occupants.items():
            self.assertEqual(nick, occupant.nick)
            self.assertLessEqual(len(nick), 1_023)
        if room.above is not None and not room.ours and not room.pending:
            self.assertNotEqual(room.above.state, State.JOINED)
            self.assertEqual(room.above.occupants, {})
