"""C{[embedded]}: clients of the host, and components that are not the gateway's own."""

from __future__ import annotations

from gateway import ns
from tests.effects.effect import HERE, Effect
from tests.effects.world import Gateway
from tests.embedded.support import Component

# With a service of its own, the gateway starts none of those for trying it out. The clients of
# tests.embedded.support log in on h.example.
PROXY = '[proxy."c.h.example"]\ntarget = "alice@h.example"\n'
COMPONENTS = "".join(f'"{name}.h.example" = "x"\n' for name in ("one", "two", "roster", "delegate"))
ACCOUNTS = '[embedded.accounts]\nalice = "x"\nbob = "x"\n'
EMBEDDED = f'[embedded]\ndomain = "h.example"\n{HERE}\n'
FILE = f"{EMBEDDED}{ACCOUNTS}[embedded.components]\n{COMPONENTS}{PROXY}"


def privileged(keys: str) -> str:
    """Return a configuration that grants a component these keys, and L{HERE}."""
    return FILE.replace(HERE, f'privileges = {{ "one.h.example" = {{ {keys}{HERE} }} }}')


def component(gateway: Gateway, name: str) -> Component:
    """Connect one of the components; skip the stanzas that it gets at the start."""
    found = gateway.component(f"{name}.h.example", "x")
    found.taken()
    return found


def rosterSet(jid: str, subscription: str = "") -> str:
    """Return a roster query with one contact."""
    about = f" subscription='{subscription}'" if subscription else ""
    return f"<query xmlns='{ns.ROSTER}'><item jid='{jid}'{about}/></query>"


def domain(gateway: Gateway) -> list[str]:
    """Return the answers to clients that ask for each of two domains."""
    return [each for name in ("one.example", "two.example") for each in gateway.unauthenticated().header(name)]


def listening(gateway: Gateway) -> set[int]:
    """Return all ports that the gateway listens on."""
    return {port for _, port in gateway.listening}


def loggedIn(gateway: Gateway) -> list[str]:
    """Return the names and passwords with which a client can log in."""
    return [
        f"{user} {password}"
        for user in ("alice", "bob")
        for password in ("first", "second")
        if gateway.unauthenticated().secure().plain(user, password) == ["success"]
    ]


def connected(gateway: Gateway) -> list[str]:
    """Return the names and secrets with which a component can connect."""
    return [
        f"{name} {secret}"
        for name in ("one", "two")
        for secret in ("first", "second")
        if Component(gateway.reactor, gateway.accepted(5347)).logIn(f"{name}.h.example", secret) == ["handshake"]
    ]


def delegated(gateway: Gateway) -> list[str]:
    """Return the components that get the requests of a client to its own account."""
    components = {name: component(gateway, name) for name in ("one", "two", "delegate")}
    alice = gateway.client("alice", "x")
    found = []
    for payload in (
        f"<query xmlns='{ns.PRIVATE}'><x xmlns='urn:x'/></query>",
        "<q xmlns='urn:q' first=''/>",
        "<q xmlns='urn:q' second=''/>",
    ):
        for each in components.values():
            each.taken()
        alice.send(f"<iq type='get' id='1'>{payload}</iq>")
        found += [name for name, each in components.items() if b"urn:xmpp:forward:0" in each.raw()] or ["nobody"]
    return found


def rosters(gateway: Gateway) -> list[str]:
    """Return the operations that succeed when two components get and set an account's roster."""
    found = []
    for name in ("one", "roster"):
        entity = component(gateway, name)
        empty, contact = f"<query xmlns='{ns.ROSTER}'/>", rosterSet("x@example.org", "both")
        for kind, payload in (("get", empty), ("set", contact)):
            [answer] = entity.send(
                f"<iq from='{name}.h.example' to='alice@h.example' type='{kind}' id='1'>{payload}</iq>"
            )[-1:]
            if answer.startswith("iq result"):
                found.append(f"{name} {kind}")
    return found


def pushed(gateway: Gateway) -> bool:
    """True if a component gets a push when an account's roster changes."""
    entity = component(gateway, "one")
    gateway.client("alice", "x").send(f"<iq type='set' id='1'>{rosterSet('x@example.org')}</iq>")
    return b"x@example.org" in entity.raw()


def sentMessages(gateway: Gateway) -> bool:
    """True if a message arrives that a component sends in an account's name."""
    entity = component(gateway, "one")
    bob = gateway.client("bob", "x")
    bob.taken()
    entity.send(
        f"<message from='one.h.example' to='h.example' id='1'><privilege xmlns='{ns.PRIVILEGE}'>"
        f"<forwarded xmlns='{ns.FORWARD}'><message xmlns='{ns.CLIENT}' from='alice@h.example' to='bob@h.example'>"
        "<body>x</body></message></forwarded></privilege></message>"
    )
    return bob.taken() == ["message alice@h.example > bob@h.example"]


def shown(gateway: Gateway) -> list[str]:
    """Return the senders of the presence that a component gets, of an account and of its contact."""
    entity, other = component(gateway, "one"), component(gateway, "two")
    entity.send(
        "<iq from='one.h.example' to='alice@h.example' type='set' id='1'>"
        f"{rosterSet('x@two.h.example', 'both')}</iq>"
    )
    gateway.client("alice", "x")
    other.send("<presence from='x@two.h.example/r' to='alice@h.example'/>")
    return [each.split()[1] for each in entity.taken() if each.startswith("presence")]


def asked(gateway: Gateway) -> list[str]:
    """Return namespaces and types of the requests that a component can send in an account's name."""
    entity, other = component(gateway, "one"), component(gateway, "two")
    found = []
    for namespace in ("urn:first", "urn:second"):
        for kind in ("get", "set"):
            entity.send(
                f"<iq from='one.h.example' to='alice@h.example' type='{kind}' id='{kind}'>"
                f"<privileged_iq xmlns='{ns.PRIVILEGE}'><iq xmlns='{ns.CLIENT}' to='two.h.example' type='{kind}' "
                f"id='{kind}'><q xmlns='{namespace}'/></iq></privileged_iq></iq>"
            )
            found += [f"{namespace} {each.split()[1]}" for each in other.taken()]
    return found


_PUSH = 'privileges = { "one.h.example" = { roster = "get" } }'
_ROSTER = {"none": [], "get": ["one get"], "set": ["one set"], "both": ["one get", "one set"]}
_IQ = {"none": [], "get": ["urn:first get"], "set": ["urn:first set"], "both": ["urn:first get", "urn:first set"]}

EFFECTS = (
    Effect(
        "embedded.domain",
        f"[embedded]\n{HERE}\n{ACCOUNTS}{PROXY}",
        domain,
        {
            'domain = "one.example"': ["features", "error host-unknown"],
            'domain = "two.example"': ["error host-unknown", "features"],
        },
    ),
    Effect(
        "embedded.c2s",
        FILE,
        listening,
        {"": {5290, 5222, 5347}, 'c2s = "tcp:1"': {5290, 1, 5347}, 'c2s = "tcp:2"': {5290, 2, 5347}},
    ),
    Effect(
        "embedded.component",
        FILE,
        listening,
        {"": {5290, 5222, 5347}, 'component = "tcp:1"': {5290, 5222, 1}, 'component = "tcp:2"': {5290, 5222, 2}},
    ),
    Effect(
        "embedded.accounts",
        f"{EMBEDDED}{PROXY}",
        loggedIn,
        {
            'accounts = { alice = "first" }': ["alice first"],
            'accounts = { alice = "second" }': ["alice second"],
            'accounts = { alice = "first", bob = "second" }': ["alice first", "bob second"],
        },
    ),
    Effect(
        "embedded.components",
        f"{EMBEDDED}{ACCOUNTS}{PROXY}",
        connected,
        {
            "": [],
            'components = { "one.h.example" = "first" }': ["one first"],
            'components = { "one.h.example" = "second" }': ["one second"],
            'components = { "one.h.example" = "first", "two.h.example" = "second" }': ["one first", "two second"],
        },
    ),
    Effect(
        "embedded.delegations",
        FILE,
        delegated,
        {
            "": ["delegate", "nobody", "nobody"],
            "delegations = {}": ["nobody", "nobody", "nobody"],
            'delegations = { "urn:q" = { jid = "one.h.example" } }': ["nobody", "one", "one"],
        },
    ),
    Effect(
        "embedded.delegations.jid",
        FILE.replace(HERE, f'delegations = {{ "urn:q" = {{ {HERE} }} }}'),
        delegated,
        {
            'jid = "one.h.example"': ["nobody", "one", "one"],
            'jid = "two.h.example"': ["nobody", "two", "two"],
            'jid = ["nobody.h.example", "two.h.example"]': ["nobody", "two", "two"],
        },
    ),
    Effect(
        "embedded.delegations.filtering",
        FILE.replace(HERE, f'delegations = {{ "urn:q" = {{ jid = "one.h.example"{HERE} }} }}'),
        delegated,
        {
            "": ["nobody", "one", "one"],
            ', filtering = ["first"]': ["nobody", "one", "nobody"],
            ', filtering = ["second"]': ["nobody", "nobody", "one"],
        },
    ),
    Effect(
        "embedded.privileges",
        FILE,
        rosters,
        {
            "": ["roster get", "roster set"],
            "privileges = {}": [],
            'privileges = { "one.h.example" = { roster = "get" } }': ["one get"],
        },
    ),
    Effect(
        "embedded.privileges.roster",
        privileged(""),
        rosters,
        {"": []} | {f'roster = "{word}"': seen for word, seen in _ROSTER.items()},
    ),
    Effect(
        "embedded.privileges.push",
        privileged('roster = "get"'),
        pushed,
        {"": True, ", push = true": True, ", push = false": False},
    ),
    Effect(
        "embedded.privileges.message",
        privileged(""),
        sentMessages,
        {"": False, 'message = "none"': False, 'message = "outgoing"': True},
    ),
    Effect(
        "embedded.privileges.presence",
        privileged('roster = "both"'),
        shown,
        {
            "": [],
            ', presence = "none"': [],
            ', presence = "managed_entity"': ["alice@h.example/r"],
            ', presence = "roster"': ["alice@h.example/r", "x@two.h.example/r"],
        },
    ),
    Effect(
        "embedded.privileges.iq",
        privileged(""),
        asked,
        {
            "": [],
            'iq = { "urn:second" = "get" }': ["urn:second get"],
        }
        | {f'iq = {{ "urn:first" = "{word}" }}': seen for word, seen in _IQ.items()},
    ),
)
