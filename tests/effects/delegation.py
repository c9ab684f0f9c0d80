"""C{[delegation]}: servers that delegate, their users, and managing entities that requests are forwarded to."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from gateway import ns
from gateway.testing import ComponentSide
from tests.delegation.support import request, wrapper
from tests.effects.connections import SERVER
from tests.effects.effect import HERE, Effect
from tests.effects.world import Gateway
from tests.embedded.support import said

COMPONENT = "c.example.com"
# An empty element: private storage refuses it without using the thread of its file.
PRIVATE = f"<query xmlns='{ns.PRIVATE}'/>"
ANSWERED = "error bad-request"
NOBODY = "error service-unavailable"
STORAGE = f'"{ns.PRIVATE}" = {{ handler = "private-storage" }}'
TABLE = f'{SERVER}[delegation."{COMPONENT}"]\n'
FILE = f'{TABLE}servers = ["example.com"]\n[delegation."{COMPONENT}".namespaces]\n'


def forward(
    server: ComponentSide, payload: str, domain: str = "example.com", identifier: str = "d"
) -> list[Element]:
    """Send a forwarded request of a user, as the server; return what the gateway sends for it."""
    requester = f"user@{domain}"
    inner = request(payload, requester=f"{requester}/desk", to=requester)
    return server.ask(wrapper(inner, identifier=identifier, server=domain, to=COMPONENT))


def outcome(heard: list[Element]) -> list[str]:
    """Return a line for each element: the type of a wrapped answer, or the recipient of a forwarded request."""
    found = []
    for each in heard:
        inner = next((inner for inner in each.iter(f"{{{ns.CLIENT}}}iq")), None)
        if inner is None:
            found.append(said(each))
        elif each.get("type") == "set":
            found.append(f"forwarded to {each.get('to')}")
        else:
            words = said(inner).split()
            found.append(f"error {words[-1]}" if words[1] == "error" else words[1])
    return found


def acceptedServers(gateway: Gateway) -> list[str]:
    """Return the servers whose requests are answered."""
    server = gateway.server(COMPONENT)
    return [
        domain
        for domain in ("one.example", "two.example")
        if outcome(forward(server, PRIVATE, domain)) == [ANSWERED]
    ]


def asked(gateway: Gateway) -> list[str]:
    """Return the servers that are asked for a delegation, after a user of each has subscribed to the component."""
    server = gateway.server(COMPONENT)
    found = []
    for domain in ("one.example", "two.example"):
        heard = server.ask(f"<presence from='user@{domain}' to='{COMPONENT}' type='subscribe'/>")
        found += [each.get("to", "") for each in heard if each.find(f"{{{ns.DELEGATION_2}}}query") is not None]
    return found


def served(gateway: Gateway) -> list[str]:
    """Return the domains whose users are served, after a user of each has granted a namespace."""
    server = gateway.server(COMPONENT)
    found = []
    for domain in ("one.example", "two.example"):
        delegated = f"<delegated namespace='{ns.PRIVATE}'/>"
        server.ask(
            f"<message from='{domain}' to='{COMPONENT}' id='m'><delegation xmlns='{ns.DELEGATION_2}' "
            f"to='user@{domain}'>{delegated}</delegation></message>"
        )
        if outcome(forward(server, PRIVATE, domain)) == [ANSWERED]:
            found.append(domain)
    return found


def there(gateway: Gateway, *entities: str) -> ComponentSide:
    """Return the component's server, after these managing entities have answered for themselves."""
    server = gateway.server(COMPONENT)
    for each in server.received():
        if each.get("to") in entities:
            answer = f"<query xmlns='{ns.DISCO_INFO}'/>"
            to, identifier = each.get("to"), each.get("id")
            server.ask(f"<iq from='{to}' to='{COMPONENT}' id='{identifier}' type='result'>{answer}</iq>")
    return server


def namespaces(gateway: Gateway) -> list[str]:
    """Return the outcomes of a request in each of two namespaces."""
    server = there(gateway, "m.example.com")
    return outcome(forward(server, PRIVATE, identifier="1") + forward(server, "<q xmlns='urn:q'/>", identifier="2"))


def forwardedTo(gateway: Gateway) -> list[str]:
    """Return the managing entity that gets a request."""
    return outcome(forward(there(gateway, "one.example", "two.example"), "<q xmlns='urn:q'/>"))


def filtered(gateway: Gateway) -> list[str]:
    """Return the outcomes of requests with one attribute, and with another."""
    server = there(gateway, "m.example.com")
    return outcome(
        forward(server, "<q xmlns='urn:q' one=''/>", identifier="1")
        + forward(server, "<q xmlns='urn:q' two=''/>", identifier="2")
    )


def imports(gateway: Gateway) -> bool:
    """True if the status names the privilege that is needed to read the server's stored data."""
    gateway.server(COMPONENT)
    gateway.wait(5)
    return "import = true" in gateway.request("GET", "/status").text


def handled(gateway: Gateway) -> list[str]:
    """Return the outcome of a request that is not forwarded."""
    return outcome(forward(there(gateway, "m.example.com"), PRIVATE))


def lent(gateway: Gateway) -> list[str]:
    """Return the managing entities that may send a message in a user's name."""
    server = there(gateway, "one.example", "two.example")
    granted = f"<privilege xmlns='{ns.PRIVILEGE}'><perm access='message' type='outgoing'/></privilege>"
    server.ask(f"<message from='example.com' to='{COMPONENT}'>{granted}</message>")
    inner = f"<message xmlns='{ns.CLIENT}' from='user@example.com' to='b@example.com'/>"
    carried = f"<privilege xmlns='{ns.PRIVILEGE}'><forwarded xmlns='{ns.FORWARD}'>{inner}</forwarded></privilege>"
    return [
        entity
        for entity in ("one.example", "two.example")
        for each in server.ask(f"<message from='{entity}' to='{COMPONENT}' id='m'>{carried}</message>")
        if each.get("to") == "example.com"
    ]


EFFECTS = (
    Effect(
        "delegation.servers",
        f"{TABLE}{HERE}\nnamespaces = {{ {STORAGE} }}\n",
        acceptedServers,
        {
            'servers = ["one.example"]': ["one.example"],
            'servers = ["two.example"]': ["two.example"],
            'servers = ["one.example", "two.example"]': ["one.example", "two.example"],
        },
    ),
    *(
        Effect(
            "delegation.users",
            f'{TABLE}servers = ["example.com"]\n{HERE}\nnamespaces = {{ {STORAGE} }}\n',
            seen,
            {"": [], 'users = ["one.example"]': ["one.example"], 'users = ["two.example"]': ["two.example"]},
        )
        for seen in (asked, served)
    ),
    Effect(
        "delegation.lend_privileges",
        f'{TABLE}servers = ["example.com"]\n{HERE}\n'
        'namespaces = { "urn:q" = { jid = ["one.example", "two.example"] } }\n',
        lent,
        {
            "": [],
            'lend_privileges = ["one.example"]': ["one.example"],
            'lend_privileges = ["one.example", "two.example"]': ["one.example", "two.example"],
        },
    ),
    Effect(
        "delegation.namespaces",
        f"{FILE}{HERE}\n",
        namespaces,
        {
            STORAGE: [ANSWERED, NOBODY],
            '"urn:q" = { jid = "m.example.com" }': [NOBODY, "forwarded to m.example.com"],
            f'{STORAGE}\n"urn:q" = {{ jid = "m.example.com" }}': [ANSWERED, "forwarded to m.example.com"],
        },
    ),
    Effect(
        "delegation.namespaces.handler",
        f'{FILE}"{ns.PRIVATE}" = {{ jid = "m.example.com", filtering = ["node"]{HERE} }}\n',
        handled,
        {"": [NOBODY], ', handler = "private-storage"': [ANSWERED]},
    ),
    Effect(
        "delegation.namespaces.import",
        f'{FILE}"{ns.PRIVATE}" = {{ handler = "private-storage"{HERE} }}\n',
        imports,
        {"": False, ", import = false": False, ", import = true": True},
    ),
    Effect(
        "delegation.namespaces.jid",
        f'{FILE}"urn:q" = {{ {HERE} }}\n',
        forwardedTo,
        {
            'jid = "one.example"': ["forwarded to one.example"],
            'jid = "two.example"': ["forwarded to two.example"],
            'jid = ["nobody.example", "two.example"]': ["forwarded to two.example"],
        },
    ),
    Effect(
        "delegation.namespaces.filtering",
        f'{FILE}"urn:q" = {{ jid = "m.example.com"{HERE} }}\n',
        filtered,
        {
            "": ["forwarded to m.example.com"] * 2,
            ', filtering = ["one"]': ["forwarded to m.example.com", NOBODY],
            ', filtering = ["two"]': [NOBODY, "forwarded to m.example.com"],
        },
    ),
)
