"""C{[proxy]}: a requester, and the resources of the implementing client."""

from __future__ import annotations

import random
from pathlib import Path
from xml.etree.ElementTree import Element

from gateway.proxy.addresses import BrokenSeal, Sealer
from gateway.testing import ComponentSide
from tests.effects.connections import SERVER
from tests.effects.effect import HERE, Effect
from tests.effects.world import FILES, USER, Gateway, told
from tests.embedded.support import said

COMPONENT = "c.example.com"
TARGET = "target@example.com"
FILE = f'{SERVER}[proxy."{COMPONENT}"]\ntarget = "{TARGET}"\n{HERE}\n'


def online(gateway: Gateway, *resources: str, target: str = TARGET) -> ComponentSide:
    """Return the component's server, after these resources of the target have come online."""
    server = gateway.server(COMPONENT)
    for resource in resources:
        server.ask(f"<presence from='{target}/{resource}' to='{COMPONENT}'/>")
    return server


def ask(server: ComponentSide, identifier: str = "1", user: str = USER) -> list[Element]:
    """Send a user's request to the component; return what is sent for it."""
    return server.ask(f"<iq from='{user}' to='{COMPONENT}' id='{identifier}' type='get'><q xmlns='urn:q'/></iq>")


def targets(gateway: Gateway) -> list[str]:
    """Return the accounts that the component subscribes to, and those that get a request while two are online."""
    server = gateway.server(COMPONENT)
    asked = [each.get("to", "") for each in server.received() if each.get("type") == "subscribe"]
    for account in ("one@example.com", "two@example.com"):
        online(gateway, "a", target=account)
    return asked + [each.get("to", "") for each in ask(server)]


def chosen(gateway: Gateway) -> str:
    """
    Return the resources that get six requests, three of each of two users. Resource a answers, the others do not.
    """
    server = online(gateway, "a", "b", "c")
    # The gateway uses the same random source.
    state = random.getstate()
    random.seed(1)
    found = ""
    for number in "123456":
        [relayed] = ask(server, number, "a@example.net/desk" if number < "4" else "b@example.net/desk")
        resource = relayed.get("to", "").partition("/")[2]
        found += resource
        if resource == "a":
            server.ask(f"<iq from='{TARGET}/a' to='{relayed.get('from')}' id='{number}' type='result'/>")
    random.setstate(state)
    return found


def _drawn() -> str:
    source = random.Random(1)
    return "".join("abc"[int(source.random() * 3)] for _ in range(6))


def fit(gateway: Gateway) -> list[str]:
    """Return the resources that get requests."""
    server = online(gateway, "a1", "b1")
    return sorted({each.get("to", "") for number in range(20) for each in ask(server, str(number))})


def forwarded(gateway: Gateway) -> list[str]:
    """Return the kinds of stanza that are relayed to the target."""
    server = online(gateway, "a")
    heard = ask(server)
    heard += server.ask(f"<message from='{USER}' to='{COMPONENT}'><body>x</body></message>")
    heard += server.ask(f"<presence from='{USER}' to='{COMPONENT}'/>")
    return [said(each).split()[0] for each in heard if each.get("to") == f"{TARGET}/a"]


def started(gateway: Gateway) -> list[str]:
    """Return the stanzas that are sent for a request and a message of the implementing client."""
    server = online(gateway, "a")
    user = f"user\\40example.net@{COMPONENT}/desk"
    return told(
        server,
        f"<iq from='{TARGET}/a' to='{user}' id='1' type='get'><q xmlns='urn:q'/></iq>"
        f"<message from='{TARGET}/a' to='{user}'><body>x</body></message>"
    )


def timeout(gateway: Gateway) -> float | None:
    """Return the seconds until a request without an answer gets an error."""
    server = online(gateway, "a")
    ask(server)
    return gateway.until(lambda: [each for each in server.received() if each.get("type") == "error"])


def key(gateway: Gateway) -> list[str]:
    """Return the files of the keys that open a token, and those of the keys that the gateway has made."""
    [relayed] = ask(online(gateway, "a"))
    token = relayed.get("from", "").partition("/")[2]
    known = {name: bytes.fromhex(content) for name, content in FILES.items() if name.endswith(".key")}
    made = {each.name: bytes.fromhex(each.read_text()) for each in Path(gateway.folder, "state").glob("*.key")}
    return [name for name, content in (known | made).items() if _opens(content, token)] + sorted(made)


def _opens(content: bytes, token: str) -> bool:
    try:
        return Sealer(COMPONENT, content).unseal(token) == (USER, COMPONENT)
    except BrokenSeal:
        return False


def unasked(gateway: Gateway) -> list[str]:
    """
    Return the stanzas that are sent for a sealed answer to a request of another process, long after the start.
    """
    server = online(gateway, "a")
    [relayed] = ask(server)
    gateway.wait(100)
    return told(server, f"<iq from='{TARGET}/a' to='{relayed.get('from')}' id='other' type='result'/>")


_BACK = f"user\\40example.net@{COMPONENT}/desk > {TARGET}/a service-unavailable"

EFFECTS = (
    Effect(
        "proxy.target",
        f'{SERVER}[proxy."{COMPONENT}"]\n{HERE}',
        targets,
        {
            'target = "one@example.com"': ["one@example.com", "one@example.com/a"],
            'target = "two@example.com"': ["two@example.com", "two@example.com/a"],
        },
    ),
    Effect(
        "proxy.balance",
        FILE,
        chosen,
        {
            "": _drawn(),
            'balance = "random"': _drawn(),
            'balance = "round-robin"': "bcabca",
            'balance = "least-pending"': "aaaaaa",
            'balance = "sticky"': "bbbaaa",
        },
    ),
    Effect(
        "proxy.resources",
        FILE,
        fit,
        {
            "": [f"{TARGET}/a1", f"{TARGET}/b1"],
            'resources = "a*"': [f"{TARGET}/a1"],
            'resources = "b*"': [f"{TARGET}/b1"],
        },
    ),
    Effect(
        "proxy.forward",
        FILE,
        forwarded,
        {
            "": ["iq"],
            'forward = ["iq"]': ["iq"],
            'forward = ["message"]': ["message"],
            'forward = ["presence", "message"]': ["message", "presence"],
        },
    ),
    Effect(
        "proxy.outbound",
        f'{FILE}forward = ["iq", "message"]\n',
        started,
        {
            "outbound = false": [f"iq error 1 {_BACK}", f"message error {_BACK}"],
            "outbound = true": [f"iq get 1 {COMPONENT} > {USER}", f"message {COMPONENT} > {USER}"],
        },
    ),
    Effect("proxy.timeout", FILE, timeout, {"": 30, "timeout = 5": 5, "timeout = 17.5": 18}),
    Effect(
        "proxy.key_file",
        FILE,
        key,
        {
            "": [f"{COMPONENT}.key", f"{COMPONENT}.key"],
            'key_file = "first.key"': ["first.key"],
            'key_file = "second.key"': ["second.key"],
        },
    ),
    Effect("proxy.shared", FILE, unasked, {"": [], "shared = true": [f"iq result other {COMPONENT} > {USER}"]}),
)
