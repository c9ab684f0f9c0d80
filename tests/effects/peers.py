"""C{[peers]}: direct links to other gateways."""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from twisted.internet.address import IPv4Address

from gateway.peers.identity import Identity, make
from tests.effects.connections import SERVER
from tests.effects.effect import HERE, Effect
from tests.effects.world import Gateway
from tests.peers.support import Caller

COMPONENT = "c.example.com"
ROOMS = f'{SERVER}[rooms."{COMPONENT}"]\n'

# Keys of other gateways.
KEYS = {
    name: make(Ed25519PrivateKey.from_private_bytes(bytes([number]) * 32))
    for number, name in ((1, "first"), (2, "second"))
}
FIRST, SECOND = (KEYS[name].fingerprint for name in ("first", "second"))

PEER = f'{ROOMS}[peers."one.example"]\n'
KNOWN = f'fingerprint = "{FIRST}"\n'
LISTENS = f'{PEER}listen = "tls:5299"\n'


def call(gateway: Gateway, key: Identity) -> Caller:
    """Connect as another gateway."""
    caller = Caller(gateway.reactor, key)
    factories = [factory for port, factory, *_ in gateway.reactor.tcpServers if port == 5299]
    caller.call(factories[-1].buildProtocol(IPv4Address("TCP", "192.0.2.1", 40000)))
    return caller


def places(gateway: Gateway) -> list[tuple[str, int]]:
    """Return the addresses that the gateway connects to, beside its server."""
    return [(host, port) for host, port, *_ in gateway.reactor.tcpClients if port != 5347]


def listening(gateway: Gateway) -> list[int]:
    """Return the ports that the gateway listens on, beside that of HTTP."""
    return [port for _, port in gateway.listening if port != 5290]


def accepted(gateway: Gateway) -> list[str]:
    """Return the keys that are accepted."""
    return [name for name, key in KEYS.items() if call(gateway, key).connection is not None]


def spoken(gateway: Gateway) -> list[str]:
    """Return the domains whose requests are answered on the link."""
    gateway.server(COMPONENT)
    caller = call(gateway, KEYS["first"])
    found = []
    for domain in ("one.example", "two.example", "three.example"):
        caller.say(f"<iq from='a@{domain}' to='{COMPONENT}' type='get' id='{domain}'><q xmlns='urn:q'/></iq>")
        found += [domain for each in caller.stanzas if f"to='a@{domain}'" in each]
    return found


def keys(gateway: Gateway) -> list[str]:
    """Return the files with the gateway's own key."""
    found = gateway.folder.rglob("*")
    return sorted(
        str(each.relative_to(gateway.folder)) for each in found if each.name.endswith(("peers.key", ".pem"))
    )


def pinged(gateway: Gateway) -> int:
    """Return the seconds of silence after which the listening side sends a ping."""
    caller = call(gateway, KEYS["first"])
    before = len(caller.wire.log)
    for second in range(2_000):
        gateway.reactor.advance(1)
        caller.turn()
        if len(caller.wire.log) > before:
            return second
    return 0


def answered(gateway: Gateway) -> int:
    """Return the number of answers that go by the server, to a peer whose link is down."""
    server = gateway.server(COMPONENT)
    server.ask(f"<iq from='a@one.example' to='{COMPONENT}' type='get' id='q'><q xmlns='urn:q'/></iq>")
    server.received()
    gateway.reactor.pump([1] * 30)
    return sum(each.get("to") == "a@one.example" for each in server.received())


EFFECTS = (
    Effect(
        "peers.endpoint",
        f"{PEER}{KNOWN}{HERE}\n",
        places,
        {
            # A reactor in memory resolves each name to this address.
            'endpoint = "tls:gateway.example.net:5299"': [("127.0.0.1", 5299)],
            'endpoint = "tcp:192.0.2.2:5300"': [("192.0.2.2", 5300)],
        },
    ),
    Effect(
        "peers.listen",
        f"{PEER}{KNOWN}{HERE}\n",
        listening,
        {
            'listen = "tls:5299"': [5299],
            'listen = "tcp:5300:interface=127.0.0.1"': [5300],
            "": ['peers."one.example"'],
        },
    ),
    Effect(
        "peers.fingerprint",
        f"{LISTENS}{HERE}\n",
        accepted,
        {
            f'fingerprint = "{FIRST}"': ["first"],
            f'fingerprint = "{SECOND}"': ["second"],
            f'fingerprint = ["{FIRST}", "{SECOND}"]': ["first", "second"],
        },
    ),
    Effect(
        "peers.domains",
        f"{LISTENS}{KNOWN}{HERE}\n",
        spoken,
        {"": ["one.example"], 'domains = ["two.example"]': ["one.example", "two.example"]},
    ),
    Effect(
        "peers.key_file",
        f"{LISTENS}{KNOWN}{HERE}\n",
        keys,
        {"": ["state/peers.key"], 'key_file = "own.pem"': ["own.pem"]},
    ),
    Effect(
        "peers.profile",
        f"{LISTENS}{KNOWN}{HERE}\n",
        pinged,
        {"": 59, 'profile = "broadband"': 59, 'profile = "satellite"': 239, 'profile = "hf"': 1_799},
    ),
    Effect(
        "peers.fallback",
        f"{LISTENS}{KNOWN}{HERE}\n",
        answered,
        {"": 1, 'fallback = "s2s"': 1, 'fallback = "none"': 0},
    ),
)
