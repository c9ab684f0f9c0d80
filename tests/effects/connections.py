"""C{state_dir}, C{[server]}, C{[http]}, and the keys that every service has."""

from __future__ import annotations

from tests.effects.effect import HERE, Effect, tables
from tests.effects.world import USER, Gateway, proved

SERVER = '[server]\nendpoint = "tcp:xmpp.example:5347"\nsecret = "common"\n'

# The required keys of each kind of service. A new kind needs a line here.
MINIMAL = {
    "proxy": 'target = "target@example.com"\n',
    "delegation": (
        'servers = ["example.com"]\nnamespaces = { "jabber:iq:private" = { handler = "private-storage" } }\n'
    ),
    "roster": 'domain = "example.com"\nurl = "http://127.0.0.1:8000/%s"\n',
    "mirror": 'allow = ["rooms.example"]\nusers = ["example.net"]\n',
    "rooms": "",
}

PROXY = f'[proxy."c.example.com"]\n{MINIMAL["proxy"]}'
ROSTER = f'[roster."c.example.com"]\n{MINIMAL["roster"]}'


def place(gateway: Gateway) -> tuple[str, int]:
    """Return the endpoint that the component has connected to."""
    return gateway.server("c.example.com").place


def secret(gateway: Gateway) -> list[str]:
    """Return the secret that the component has proved."""
    return proved(gateway.server("c.example.com"), "first", "second", "common")


def stateFolder(gateway: Gateway) -> list[str]:
    """Return the files that the gateway has made."""
    return sorted(str(each.relative_to(gateway.folder)) for each in gateway.folder.glob("*/*.key"))


def pinged(gateway: Gateway) -> set[str | None]:
    """Return the recipients of pings after a long silence."""
    server = gateway.server("c.example.com")
    server.received()
    gateway.wait(65)
    return {each.get("to") for each in server.received() if each.find("{urn:xmpp:ping}ping") is not None}


def sizeTaken(gateway: Gateway) -> list[int]:
    """Return the sizes of the requests that are relayed."""
    server = gateway.server("c.example.com")
    server.ask("<presence from='target@example.com/a' to='c.example.com'/>")
    taken = []
    for size in (1_000, 20_000, 300_000):
        payload = f"<q xmlns='urn:q'>{'x' * size}</q>"
        heard = server.ask(f"<iq from='{USER}' to='c.example.com' type='get' id='{size}'>{payload}</iq>")
        if any(each.get("to") == "target@example.com/a" for each in heard):
            taken.append(size)
    return taken


def allowedPaths(gateway: Gateway) -> dict[str, list[str]]:
    """Return the paths that may be requested, by the credentials; empty for no credentials."""
    paths = ("/healthz", "/status", "/roster_admin/refresh", "/roster_admin/example.com/refresh", "/roster_admin/x")
    found = {}
    for credentials in ("", "Bearer first", "bearer second", "Digest first"):
        shown = {"Authorization": credentials} if credentials else {}
        found[credentials] = [path for path in paths if gateway.request("POST", path, b"[]", **shown).status != 401]
    return found


def hosts(gateway: Gateway) -> list[str]:
    """Return the values of Host with which the status page is served."""
    named = ("127.0.0.1:5290", "localhost", "one.example", "two.example:8080")
    return [host for host in named if gateway.request("GET", "/status", Host=host).status == 200]


def shownToItself(gateway: Gateway) -> list[str]:
    """Return the tokens that the gateway sends to its own web application, on the embedded host."""
    for token in ("", "first", "second"):
        shown = {"Authorization": f"Bearer {token}"} if token else {}
        gateway.request("POST", "/roster_admin/refresh", b'["alice"]', **shown)
    return [call.token for call in gateway.calls() if call.path == "/demo/contacts/alice"]


_OPEN = ["/healthz"]
_ALL = [*_OPEN, "/status", "/roster_admin/refresh", "/roster_admin/example.com/refresh", "/roster_admin/x"]

_PLACES = {
    'endpoint = "tcp:one.example:1"': ("one.example", 1),
    'endpoint = "tcp:two.example:2"': ("two.example", 2),
}

# It needs state.url, and for a proxy key_file.
_STANDBY = {kind: [f'{kind}."c.example.com".standby'] for kind in MINIMAL}
_STANDBY["proxy"].append('proxy."c.example.com".key_file')

EFFECTS = (
    Effect(
        "state_dir",
        f"{HERE}\n{SERVER}{PROXY}",
        stateFolder,
        {
            "": ["state/c.example.com.key"],
            'state_dir = "one"': ["one/c.example.com.key"],
            'state_dir = "two"': ["two/c.example.com.key"],
        },
    ),
    # tests/composition/test_postgresql.py runs a gateway with a database.
    Effect(
        "state.url",
        f"[state]\n{HERE}\n{SERVER}{PROXY}",
        stateFolder,
        {
            "": ["state/c.example.com.key"],
            'url = "postgresql://127.0.0.1:1/gateway"': ["state.url"],
            'url = "mysql://127.0.0.1/gateway"': ["state.url"],
        },
    ),
    Effect(
        "server.endpoint",
        f'[server]\nsecret = "common"\n{HERE}\n{PROXY}',
        place,
        _PLACES,
    ),
    Effect(
        "server.secret",
        f'[server]\nendpoint = "tcp:xmpp.example:5347"\n{HERE}\n{PROXY}',
        secret,
        {'secret = "first"': ["first"], 'secret = "second"': ["second"]},
    ),
    Effect(
        "server.secret_file",
        f'[server]\nendpoint = "tcp:xmpp.example:5347"\n{HERE}\n{PROXY}',
        secret,
        {'secret_file = "first.secret"': ["first"], 'secret_file = "second.secret"': ["second"]},
    ),
    # tests/composition/test_takeover.py runs gateways with a database.
    Effect(
        "server.standby",
        f"{SERVER}{HERE}\n{PROXY}",
        place,
        {"": ("xmpp.example", 5347), "standby = true": _STANDBY["proxy"]},
    ),
    Effect(
        "server.domain",
        f"{SERVER}{HERE}\n{PROXY}",
        pinged,
        {"": set(), 'domain = "example.com"': {"example.com/ping"}, 'domain = "example.org"': {"example.org/ping"}},
    ),
    Effect(
        "server.max_stanza_size",
        f"{SERVER}{HERE}\n{PROXY}",
        sizeTaken,
        {
            "max_stanza_size = 10_000": [1_000],
            "max_stanza_size = 30_000": [1_000, 20_000],
            "max_stanza_size = 600_000": [1_000, 20_000, 300_000],
        },
    ),
    Effect(
        "server.max_outgoing_stanza_size",
        f"{SERVER}{HERE}\n{PROXY}",
        sizeTaken,
        {
            "max_outgoing_stanza_size = 262_144": [1_000, 20_000],
            "max_outgoing_stanza_size = 600_000": [1_000, 20_000, 300_000],
        },
    ),
    Effect(
        "http.listen",
        f"[http]\n{HERE}\n{SERVER}{PROXY}",
        lambda gateway: gateway.listening,
        {
            "": [("127.0.0.1", 5290)],
            'listen = "tcp:81:interface=127.0.0.2"': [("127.0.0.2", 81)],
            'listen = "tcp:82:interface=127.0.0.1"': [("127.0.0.1", 82)],
        },
    ),
    Effect(
        "http.token_file",
        f"[http]\n{HERE}\n{SERVER}{ROSTER}",
        allowedPaths,
        {
            "": {"": _ALL, "Bearer first": _ALL, "bearer second": _ALL, "Digest first": _ALL},
            'token_file = "first.secret"': {
                "": _OPEN,
                "Bearer first": _ALL,
                "bearer second": _OPEN,
                "Digest first": _OPEN,
            },
            'token_file = "second.secret"': {
                "": _OPEN,
                "Bearer first": _OPEN,
                "bearer second": _ALL,
                "Digest first": _OPEN,
            },
        },
    ),
    Effect(
        "http.hosts",
        f"[http]\n{HERE}\n{SERVER}{ROSTER}",
        hosts,
        {
            "": ["127.0.0.1:5290", "localhost"],
            'hosts = ["one.example"]': ["127.0.0.1:5290", "localhost", "one.example"],
            'hosts = ["two.example:8080"]': ["127.0.0.1:5290", "localhost", "two.example:8080"],
        },
    ),
    Effect(
        "http.token_file",
        f'[http]\n{HERE}\n[roster."roster.localhost"]\ndomain = "localhost"\n[embedded.accounts]\nalice = "x"\n',
        shownToItself,
        {
            'token_file = "first.secret"': ["Bearer first"],
            'token_file = "second.secret"': ["Bearer second"],
        },
    ),
    *(
        effect
        for kind, table in MINIMAL.items()
        if kind in tables()
        for file in [f'{SERVER}[{kind}."c.example.com"]\n{HERE}\n{table}']
        for effect in (
            Effect(
                f"{kind}.endpoint",
                file,
                place,
                {"": ("xmpp.example", 5347), **_PLACES},
            ),
            Effect(
                f"{kind}.secret",
                file,
                secret,
                {"": ["common"], 'secret = "first"': ["first"], 'secret = "second"': ["second"]},
            ),
            Effect(
                f"{kind}.secret_file",
                file,
                secret,
                {'secret_file = "first.secret"': ["first"], 'secret_file = "second.secret"': ["second"]},
            ),
            Effect(
                f"{kind}.standby",
                file,
                place,
                {"": ("xmpp.example", 5347), "standby = true": _STANDBY[kind]},
            ),
        )
    ),
)
