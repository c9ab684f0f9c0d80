"""C{[mirror]} and C{[rooms]}: users, joined nodes, joining nodes."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from gateway import ns
from tests.effects.connections import SERVER
from tests.effects.effect import HERE, Effect
from tests.effects.world import USER, Gateway

COMPONENT = "c.example.com"
SOURCE = "room@rooms.example"
MIRRORED = f"room\\40rooms.example@{COMPONENT}"
MUC = f"<x xmlns='{ns.MUC}'/>"

TABLE = f'{SERVER}[mirror."{COMPONENT}"]\n'
MIRROR = f'{TABLE}allow = ["rooms.example"]\nusers = ["example.net"]\n{HERE}\n'
ROOMS = f'{SERVER}[rooms."{COMPONENT}"]\n{HERE}\n'


def mode(gateway: Gateway) -> list[str]:
    """
    Return the recipients of a message, in a mirror whose joined node agrees to the mode that the mirror asks for.
    """
    server = gateway.server(COMPONENT)
    [asked] = server.ask(f"<presence from='{USER}' to='{MIRRORED}/nick'>{MUC}</presence>")
    replica = "<replica/>" if list(asked.iter(f"{{{ns.FMUC}}}replica")) else ""
    item = f"<item affiliation='none' role='participant' jid='{USER}'/>"
    server.ask(
        f"<presence from='{SOURCE}/nick' to='{MIRRORED}/nick'>"
        f"<fmuc xmlns='{ns.FMUC}' from='{USER}'>{replica}</fmuc><x xmlns='{ns.MUC_USER}'>{item}</x></presence>"
        f"<message from='{SOURCE}' to='{MIRRORED}' type='groupchat'><subject/></message>"
    )
    heard = server.ask(f"<message from='{USER}' to='{MIRRORED}' type='groupchat' id='m'><body>x</body></message>")
    return [each.get("to", "") for each in heard]


def protocol(gateway: Gateway) -> list[str]:
    """Return the address that a mirror joins from, and the namespaces of its join."""
    [joined] = gateway.server(COMPONENT).ask(f"<presence from='{USER}' to='{MIRRORED}/nick'>{MUC}</presence>")
    return [joined.get("from", ""), *sorted(each.tag[1:].partition("}")[0] for each in joined)]


def profiled(gateway: Gateway) -> list[str | None]:
    """Return the profiles that a mirror names to two rooms, each of another domain."""
    server = gateway.server(COMPONENT)
    joins = [
        server.ask(f"<presence from='{USER}' to='room\\40{name}.example@{COMPONENT}/nick'>{MUC}</presence>")[0]
        for name in ("one", "two")
    ]
    return [each.get("profile") for join in joins for each in join.iter(f"{{{ns.RESUME}}}resume")]


def mirrored(gateway: Gateway) -> list[str | None]:
    """Return the addresses that a mirror joins, of rooms at two domains."""
    return _joined(gateway, *((f"room\\40{name}.example", USER) for name in ("one", "two")))


def entered(gateway: Gateway) -> list[str | None]:
    """Return the addresses that a mirror joins, for users of two domains."""
    return _joined(gateway, *((f"{name}\\40rooms.example", f"user@{name}.example/desk") for name in ("one", "two")))


def _joined(gateway: Gateway, *joins: tuple[str, str]) -> list[str | None]:
    server = gateway.server(COMPONENT)
    return [
        each.get("to")
        for room, user in joins
        for each in server.ask(f"<presence from='{user}' to='{room}@{COMPONENT}/nick'>{MUC}</presence>")
        if each.get("type") != "error"
    ]


def behind(gateway: Gateway) -> str:
    """Return the address that the join of a user is answered to, or passed on to."""
    join = f"<presence from='{USER}' to='lobby@{COMPONENT}/nick'>{MUC}</presence>"
    return gateway.server(COMPONENT).ask(join)[0].get("to", "")


def joining(gateway: Gateway, above: str = "") -> list[str]:
    """
    Return the domains whose nodes may join.

    @param above: the end of the room's name: the address of its joined node, escaped.
    """
    server = gateway.server(COMPONENT)
    found = []
    for domain in ("one.example", "two.example"):
        real = f"user@elsewhere.example/{domain}"
        heard = server.ask(
            f"<presence from='mirror@{domain}/nick' to='{domain}{above}@{COMPONENT}/nick'>"
            f"<fmuc xmlns='{ns.FMUC}' from='{real}'/>{MUC}"
            f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant' jid='{real}'/></x></presence>"
        )
        if heard and not any(list(each.iter(f"{{{ns.FMUC}}}reject")) for each in heard):
            found.append(domain)
    return found


def administered(gateway: Gateway, above: str = "") -> list[str]:
    """
    Return the domains whose nodes may pass on a request for the form of the room's configuration.

    @param above: as in L{joining}.
    """
    server = gateway.server(COMPONENT)
    joined = joining(gateway, above)
    if above:
        for domain in joined:
            peer, nick = f"{domain}@rooms.example", f"{domain}{above}@{COMPONENT}/nick"
            real = f"user@elsewhere.example/{domain}"
            item = f"<x xmlns='{ns.MUC_USER}'><item affiliation='owner' role='moderator'/></x>"
            server.ask(
                f"<presence from='{peer}/nick' to='{nick}'><fmuc xmlns='{ns.FMUC}' from='{real}'/>{item}</presence>"
                f"<message from='{peer}' to='{nick.partition('/')[0]}' type='groupchat'><subject/></message>"
            )
    asked = {
        domain: server.ask(
            f"<iq from='mirror@{domain}/nick' to='{domain}{above}@{COMPONENT}' type='get' id='q'>"
            f"<query xmlns='{ns.MUC_OWNER}'/></iq>"
        )
        for domain in joined
    }
    return [domain for domain, [heard] in asked.items() if heard.get("type") != "error"]


def made(gateway: Gateway, above: str = "") -> int:
    """Return the number of rooms that one user can create, of 110."""
    server = gateway.server(COMPONENT)
    heard = [
        server.ask(f"<presence from='{USER}' to='r{number}{above}@{COMPONENT}/nick'>{MUC}</presence>")
        for number in range(110)
    ]
    return sum(all(each.get("type") != "error" for each in elements) for elements in heard)


def creators(gateway: Gateway) -> list[str]:
    """Return the users who can create a room."""
    server = gateway.server(COMPONENT)
    users = "one@one.example/desk", "two@one.example/desk", "two@two.example/desk"
    return [
        user
        for number, user in enumerate(users)
        if server.ask(f"<presence from='{user}' to='r{number}@{COMPONENT}/nick'>{MUC}</presence>")[0].get("type")
        != "error"
    ]


def refuseList(gateway: Gateway, asked: list[Element]) -> None:
    """Let the joined room refuse to list its occupants, which a mirror asks it for after a silence."""
    error = f"<error type='cancel'><feature-not-implemented xmlns='{ns.STANZA_ERRORS}'/></error>"
    for each in asked:
        if each.get("to") == SOURCE and each.get("type") == "get":
            identifier = each.get("id")
            gateway.server(COMPONENT).ask(
                f"<iq from='{SOURCE}' to='{MIRRORED}' id='{identifier}' type='error'>{error}</iq>"
            )


def pinged(gateway: Gateway, room: str = "room") -> int:
    """Return the minutes until a silent user gets a ping; 0 if there is none in an hour."""
    server = gateway.server(COMPONENT)
    server.ask(f"<presence from='{USER}' to='{room}@{COMPONENT}/nick'>{MUC}</presence>")
    if room != "room":
        item = f"<item affiliation='none' role='participant' jid='{USER}'/>"
        server.ask(
            f"<presence from='{SOURCE}/nick' to='{MIRRORED}/nick'>"
            f"<fmuc xmlns='{ns.FMUC}' from='{USER}'/><x xmlns='{ns.MUC_USER}'>{item}</x></presence>"
            f"<message from='{SOURCE}' to='{MIRRORED}' type='groupchat'><subject/></message>"
        )
    # The time begins with a tick.
    gateway.reactor.pump([1] * 3)
    for minute in range(1, 61):
        gateway.reactor.pump([1] * 60)
        found = server.received()
        if any(each.find(f"{{{ns.PING}}}ping") is not None for each in found):
            return minute
        refuseList(gateway, found)
    return 0


def kept(gateway: Gateway) -> str | None:
    """Return the seconds for which a mirror offers to stay without users."""
    [join] = gateway.server(COMPONENT).ask(f"<presence from='{USER}' to='{MIRRORED}/nick'>{MUC}</presence>")
    [channel] = join.iter(f"{{{ns.CHANNEL}}}channel")
    return channel.get("k")


def exposed(gateway: Gateway, isMirror: bool = False) -> bool:
    """Return true if a private message is sent to a room of Openfire, which shows it to all its occupants."""
    server = gateway.server(COMPONENT)
    peer, here = (SOURCE, MIRRORED) if isMirror else ("room@node.example", f"room@{COMPONENT}")
    item = "<item affiliation='none' role='participant'%s/>" % (f" jid='{peer}/far'" if isMirror else "")
    fmuc = f"<fmuc xmlns='{ns.FMUC}' from='far@example.org/1'/><x xmlns='{ns.MUC_USER}'>{item}</x>"
    server.ask(f"<presence from='{USER}' to='{here}/nick'>{MUC}</presence>")
    if isMirror:
        server.ask(
            f"<presence from='{peer}/far' to='{here}'>{fmuc}</presence>"
            f"<message from='{peer}' to='{here}' type='groupchat'><subject/></message>"
        )
    else:
        instant = f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='{ns.DATA}' type='submit'/></query>"
        server.ask(f"<iq from='{USER}' to='{here}' type='set' id='1'>{instant}</iq>")
        server.ask(f"<presence from='{peer}/far' to='{here}/far'>{MUC}{fmuc}</presence>")
    heard = server.ask(f"<message from='{USER}' to='{here}/far' type='chat' id='p'><body>x</body></message>")
    return [each.get("to") for each in heard] == [f"{peer}/far"]


def gone(gateway: Gateway, isMirror: bool = False) -> int:
    """
    Return the minutes until an occupant behind a node that does not answer any longer is removed; 0 if it stays for
    an hour.
    """
    server = gateway.server(COMPONENT)
    offer = f"<channel xmlns='{ns.CHANNEL}' e='9999999'/>"
    who = USER if isMirror else "far@example.org/1"
    item = f"<item affiliation='none' role='participant' jid='{who}'/>"
    fmuc = f"<fmuc xmlns='{ns.FMUC}' from='{who}'>{offer}</fmuc><x xmlns='{ns.MUC_USER}'>{item}</x>"
    if isMirror:
        server.ask(f"<presence from='{USER}' to='{MIRRORED}/nick'>{MUC}</presence>")
        server.ask(
            f"<presence from='{SOURCE}/there' to='{MIRRORED}'><fmuc xmlns='{ns.FMUC}' from='there@example.org'/>"
            f"<x xmlns='{ns.MUC_USER}'><item affiliation='none' role='participant'/></x></presence>"
            f"<presence from='{SOURCE}/nick' to='{MIRRORED}'>{fmuc}</presence>"
            f"<message from='{SOURCE}' to='{MIRRORED}' type='groupchat'><subject/>"
            f"<r xmlns='{ns.CHANNEL}' n='9999999 1 0'/></message>"
        )
    else:
        server.ask(f"<presence from='{USER}' to='room@{COMPONENT}/own'>{MUC}</presence>")
        instant = f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='{ns.DATA}' type='submit'/></query>"
        server.ask(f"<iq from='{USER}' to='room@{COMPONENT}' type='set' id='1'>{instant}</iq>")
        server.ask(f"<presence from='room@node.example/nick' to='room@{COMPONENT}/nick'>{fmuc}{MUC}</presence>")
    for minute in range(1, 61):
        gateway.reactor.pump([1] * 60)
        if any(each.get("type") == "unavailable" for each in server.received()):
            return minute
    return 0


def idle(gateway: Gateway) -> int:
    """Return the hours after which a temporary room ends that nobody says anything in."""
    server = gateway.server(COMPONENT)
    server.ask(f"<presence from='{USER}' to='room@{COMPONENT}/nick'>{MUC}</presence>")
    gateway.reactor.pump([1] * 3)
    for hour in range(1, 200):
        gateway.reactor.advance(3_600)
        gateway.reactor.pump([1] * 3)
        if any(each.get("type") == "unavailable" for each in server.received()):
            return hour
    return 0


def opened(gateway: Gateway) -> int:
    """Return the seconds until another user can enter a new room that nobody configures."""
    server = gateway.server(COMPONENT)
    server.ask(f"<presence from='{USER}' to='room@{COMPONENT}/nick'>{MUC}</presence>")
    for second in range(400):
        join = f"<presence from='other@example.net/desk' to='room@{COMPONENT}/other'>{MUC}</presence>"
        if server.ask(join)[0].get("type") != "error":
            return second
        gateway.reactor.advance(1)
    return 0


def rejoined(gateway: Gateway) -> int:
    """Return how many of 20 attempts to join again at once succeed, in a room with 30,000 bytes of history."""
    server = gateway.server(COMPONENT)
    enters = f"<presence from='{USER}' to='room@{COMPONENT}/nick'>{MUC}</presence>"
    speaks = f"<message from='{USER}' to='room@{COMPONENT}' type='groupchat'><body>{'x' * 3_000}</body></message>"
    server.ask(enters + speaks * 10)
    return sum(bool(server.ask(enters)) for _ in range(20))


def broadcast(gateway: Gateway) -> int:
    """Return the number of presences that the occupants of a new room are sent of each other: owner and user."""
    server = gateway.server(COMPONENT)
    room = f"room@{COMPONENT}"
    form = f"<query xmlns='{ns.MUC_OWNER}'><x xmlns='{ns.DATA}' type='submit'/></query>"
    server.ask(f"<presence from='{USER}' to='{room}/own'>{MUC}</presence>")
    server.ask(f"<iq from='{USER}' to='{room}' type='set' id='c'>{form}</iq>")
    heard = server.ask(f"<presence from='other@example.com/1' to='{room}/other'>{MUC}</presence>")
    return sum(not list(each.iter(f"{{{ns.MUC_USER}}}status")) for each in heard if each.tag.endswith("presence"))


def archived(gateway: Gateway, room: str = "room") -> int:
    """Return how many of four messages, one a day, are in the archive of a room a day after the last one."""
    server = gateway.server(COMPONENT)
    address = f"{room}@{COMPONENT}"
    server.ask(f"<presence from='{USER}' to='{address}/nick'>{MUC}</presence>")
    speaker = USER
    if room != "room":
        speaker = f"{SOURCE}/nick"
        item = f"<item affiliation='none' role='participant' jid='{USER}'/>"
        server.ask(
            f"<presence from='{speaker}' to='{MIRRORED}/nick'>"
            f"<fmuc xmlns='{ns.FMUC}' from='{USER}'><replica/></fmuc><x xmlns='{ns.MUC_USER}'>{item}</x></presence>"
            f"<message from='{SOURCE}' to='{MIRRORED}' type='groupchat'><subject/></message>"
        )
    for _ in range(4):
        server.ask(f"<message from='{speaker}' to='{address}' type='groupchat'><body>x</body></message>")
        for _ in range(72):
            gateway.reactor.advance(1_200)
            refuseList(gateway, server.received())
            server.ask(f"<message from='{USER}' to='{address}' type='groupchat'><x xmlns='urn:x'/></message>")
    query = f"<query xmlns='{ns.MAM}'/>"
    return len(server.ask(f"<iq from='{USER}' to='{address}' type='set' id='q'>{query}</iq>")) - 1


_NODES = ["", 'peers = ["one.example"]', 'peers = ["two.example"]', 'peers = ["*"]']
_ADMINISTERING = [
    "",
    'administering_peers = ["one.example"]',
    'administering_peers = ["two.example"]',
    'administering_peers = ["one.example", "two.example"]',
]
_JOIN = [[], ["one.example"], ["two.example"], ["one.example", "two.example"]]
_XEP = [f"{MIRRORED}/nick", ns.FMUC, ns.MUC, ns.MUC_USER, ns.RESUME]

EFFECTS = (
    Effect(
        "mirror.mode",
        MIRROR,
        mode,
        {"": [SOURCE], 'mode = "replica"': [SOURCE], 'mode = "primary"': [SOURCE, USER]},
    ),
    Effect(
        "mirror.profile",
        f'{TABLE}allow = ["*"]\nusers = ["example.net"]\n{HERE}\n',
        profiled,
        {
            "": [None, None],
            'profile = "broadband"': [None, None],
            'profile = "satellite"': ["satellite", "satellite"],
            'profile = "hf"': ["hf", "hf"],
        },
    ),
    Effect(
        "mirror.profiles",
        f'{TABLE}allow = ["*"]\nusers = ["example.net"]\nprofile = "satellite"\n{HERE}\n',
        profiled,
        {
            "": ["satellite", "satellite"],
            'profiles = {"one.example" = "hf"}': ["hf", "satellite"],
            'profiles = {"TWO.example" = "broadband"}': ["satellite", None],
            'profiles = {"one.example" = "hf", "two.example" = "satellite"}': ["hf", "satellite"],
        },
    ),
    Effect(
        "mirror.protocol",
        MIRROR,
        protocol,
        {"": _XEP, 'protocol = "xep-0289"': _XEP, 'protocol = "protoxep"': [MIRRORED, ns.FMUC, ns.RESUME]},
    ),
    Effect(
        "mirror.allow",
        f'{TABLE}users = ["example.net"]\n{HERE}\n',
        mirrored,
        {
            'allow = ["one.example"]': ["room@one.example/nick"],
            'allow = ["two.example"]': ["room@two.example/nick"],
            'allow = ["*"]': ["room@one.example/nick", "room@two.example/nick"],
        },
    ),
    Effect(
        "mirror.users",
        f'{TABLE}allow = ["rooms.example"]\n{HERE}\n',
        entered,
        {
            'users = ["one.example"]': ["one@rooms.example/nick"],
            'users = ["two.example"]': ["two@rooms.example/nick"],
            'users = ["*"]': ["one@rooms.example/nick", "two@rooms.example/nick"],
        },
    ),
    Effect(
        "mirror.peers",
        MIRROR,
        lambda gateway: joining(gateway, "\\40rooms.example"),
        dict(zip(_NODES, _JOIN, strict=True)),
    ),
    Effect("rooms.peers", ROOMS, joining, dict(zip(_NODES, _JOIN, strict=True))),
    Effect(
        "mirror.administering_peers",
        f'{MIRROR}peers = ["*"]\n',
        lambda gateway: administered(gateway, "\\40rooms.example"),
        dict(zip(_ADMINISTERING, _JOIN, strict=True)),
    ),
    Effect(
        "rooms.administering_peers",
        f'{ROOMS}peers = ["*"]\n',
        administered,
        dict(zip(_ADMINISTERING, _JOIN, strict=True)),
    ),
    Effect(
        "mirror.max_rooms_per_user",
        MIRROR,
        lambda gateway: made(gateway, "\\40rooms.example"),
        {"": 100, "max_rooms_per_user = 2": 2, "max_rooms_per_user = 105": 105},
    ),
    Effect(
        "rooms.max_rooms_per_user",
        ROOMS,
        made,
        {"": 100, "max_rooms_per_user = 2": 2, "max_rooms_per_user = 105": 105},
    ),
    Effect(
        "rooms.create",
        ROOMS,
        creators,
        {
            "": ["one@one.example/desk", "two@one.example/desk", "two@two.example/desk"],
            'create = ["one.example"]': ["one@one.example/desk", "two@one.example/desk"],
            'create = ["two@ONE.example"]': ["two@one.example/desk"],
            'create = ["*"]': ["one@one.example/desk", "two@one.example/desk", "two@two.example/desk"],
            "create = []": [],
        },
    ),
    Effect(
        "rooms.ping_after",
        ROOMS,
        pinged,
        {"": 30, "ping_after = 300": 5, "ping_after = 60": 1},
    ),
    Effect(
        "mirror.ping_after",
        MIRROR,
        lambda gateway: pinged(gateway, "room\\40rooms.example"),
        {"": 30, "ping_after = 300": 5, "ping_after = 60": 1},
    ),
    Effect(
        "rooms.gone_after",
        f'{ROOMS}peers = ["node.example"]\n',
        gone,
        {"": 11, "gone_after = 300": 6, "gone_after = 60": 2},
    ),
    Effect(
        "mirror.gone_after",
        MIRROR,
        lambda gateway: gone(gateway, isMirror=True),
        {"": 12, "gone_after = 300": 7, "gone_after = 60": 3},
    ),
    Effect(
        "rooms.allow_exposed_private_messages",
        f'{ROOMS}peers = ["node.example"]\n',
        exposed,
        {"": False, "allow_exposed_private_messages = true": True, "allow_exposed_private_messages = false": False},
    ),
    Effect(
        "mirror.allow_exposed_private_messages",
        MIRROR,
        lambda gateway: exposed(gateway, isMirror=True),
        {"": False, "allow_exposed_private_messages = true": True, "allow_exposed_private_messages = false": False},
    ),
    Effect("mirror.keep", MIRROR, kept, {"": None, 'keep = "5m"': "300", 'keep = "90s"': "90"}),
    Effect(
        "rooms.archive_days",
        ROOMS,
        archived,
        {"": 4, "archive_days = 3": 3, "archive_days = 0": 0},
    ),
    Effect(
        "rooms.archive_messages",
        ROOMS,
        archived,
        {"": 4, "archive_messages = 2": 2, "archive_messages = 0": 0},
    ),
    Effect(
        "mirror.archive_days",
        MIRROR,
        lambda gateway: archived(gateway, "room\\40rooms.example"),
        {"": 4, "archive_days = 3": 3, "archive_days = 0": 0},
    ),
    Effect(
        "mirror.archive_messages",
        MIRROR,
        lambda gateway: archived(gateway, "room\\40rooms.example"),
        {"": 4, "archive_messages = 2": 2, "archive_messages = 0": 0},
    ),
    Effect(
        "rooms.presence_broadcast",
        ROOMS,
        broadcast,
        {
            "": 2,
            'presence_broadcast = ["moderator"]': 1,
            'presence_broadcast = ["participant", "visitor"]': 1,
            "presence_broadcast = []": 0,
        },
    ),
    Effect("rooms.idle_timeout", ROOMS, idle, {"": 168, "idle_timeout = 7_200": 2, "idle_timeout = 1e6": 0}),
    Effect("rooms.lock_timeout", ROOMS, opened, {"": 300, "lock_timeout = 20": 20, "lock_timeout = 0.5": 1}),
    Effect(
        "server.answer_budget",
        f'{SERVER}{HERE}\n[rooms."{COMPONENT}"]\n',
        rejoined,
        {"": 20, "answer_budget = 100_000": 3, "answer_budget = 300_000": 9},
    ),
    Effect(
        "rooms.backing",
        ROOMS,
        behind,
        {"": USER, 'backing = "conference.example.com"': "lobby@conference.example.com/nick"},
    ),
)
