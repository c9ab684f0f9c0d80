"""C{[roster]}: a web application, and the server whose rosters it controls."""

from __future__ import annotations

import hmac
import json
from collections.abc import Iterable
from typing import Any
from xml.etree.ElementTree import Element

from gateway import ns
from gateway.testing import Call, ComponentSide, Response
from tests.delegation.support import request, wrapper
from tests.effects.connections import SERVER
from tests.effects.effect import HERE, Effect
from tests.effects.world import Gateway

COMPONENT = "c.example.com"
TABLE = f'{SERVER}[roster."{COMPONENT}"]\n'
FILE = f'{TABLE}domain = "example.com"\nurl = "http://127.0.0.1:8000/%s"\n{HERE}\n'
API = FILE + 'apply = "ejabberd-api"\napi = "http://127.0.0.1:9000/api"\n'


def granted(gateway: Gateway, *domains: str) -> ComponentSide:
    """Return the component's server, after these hosts have granted it rosters and presence."""
    server = gateway.server(COMPONENT)
    for domain in domains or ("example.com",):
        server.ask(
            f"<message from='{domain}' to='{COMPONENT}'><privilege xmlns='{ns.PRIVILEGE}'>"
            "<perm access='roster' type='both'/><perm access='presence' type='managed_entity'/>"
            "</privilege></message>"
        )
    return server


def refresh(gateway: Gateway, *users: str, path: str = "/roster_admin/refresh", **headers: str) -> Response:
    """Request a refresh of these users."""
    return gateway.request("POST", path, json.dumps(users).encode(), **headers)


def answer(server: ComponentSide, iq: Element, content: str = "") -> list[Element]:
    """Answer a request of the component, as the server; return what is sent for that."""
    addresses = f"from='{iq.get('to')}' to='{COMPONENT}' id='{iq.get('id')}'"
    return server.ask(f"<iq {addresses} type='result'>{content}</iq>")


def rosterOf(**contacts: str) -> str:
    """Return a roster with these contacts, each with its subscription."""
    items = "".join(f"<item jid='{each}' subscription='{kind}'/>" for each, kind in contacts.items())
    return f"<query xmlns='{ns.ROSTER}'>{items}</query>"


def applied(server: ComponentSide, call: Call, document: object, *contacts: str) -> list[Element]:
    """
    Return everything that the server is sent after the application has answered with this document.

    @param contacts: the contacts in the server's roster.
    """
    there = dict.fromkeys(contacts, "both")

    def read(iq: Element) -> str:
        """Return a roster; for a set return nothing, and keep it."""
        if iq.get("type") == "get":
            return rosterOf(**there)
        for item in iq.iter(f"{{{ns.ROSTER}}}item"):
            there[item.get("jid", "")] = item.get("subscription", "")
        return ""

    server.received()
    call.reply(document)
    found: list[Element] = []
    waiting = server.received()
    while waiting:
        found += waiting
        waiting = [
            more
            for each in waiting
            if each.get("type") in ("get", "set")
            for more in answer(server, each, read(each))
        ]
    return found


def calledFor(calls: Iterable[Call]) -> list[str]:
    """Return ports and paths of these calls."""
    return [f"{call.place[1]}{call.path}" for call in calls]


def domains(gateway: Gateway) -> list[str]:
    """
    Return the users whose rosters are fetched: after a request without a domain, after one with each, and at their
    login.
    """
    server = granted(gateway, "one.example", "two.example")
    calls: list[Call] = []
    refresh(gateway, "a")
    calls += gateway.calls()
    for domain in ("one.example", "two.example"):
        refresh(gateway, "b", path=f"/roster_admin/{domain}/refresh")
        calls += gateway.calls()
        server.ask(f"<presence from='c@{domain}/desk' to='{COMPONENT}'/>")
        calls += gateway.calls()
    return [each.get("to", "") for call in calls for each in applied(server, call, {})]


def asked(gateway: Gateway) -> list[str]:
    """Return the addresses that are asked for a user's contacts."""
    refresh(gateway, "a")
    return calledFor(gateway.calls())


def locked(gateway: Gateway) -> list[str]:
    """Return the contacts in the answers to roster requests that two servers delegate."""
    server = granted(gateway, "example.com", "other.example")
    server.received()
    for domain in ("example.com", "other.example"):
        inner = request(rosterOf(), requester=f"user@{domain}/desk", to=f"user@{domain}")
        server.ask(wrapper(inner, identifier=domain, server=domain, to=COMPONENT))
    heard = [each for call in gateway.calls() for each in applied(server, call, {"friend@example.com": {}})]
    answers = [each for each in heard if each.get("type") == "result"]
    return [item.get("jid", "") for each in answers for item in each.iter(f"{{{ns.ROSTER}}}item")]


def notified(gateway: Gateway) -> list[Any]:
    """
    For a user whose client requests the roster and comes online, return the calls to the application, and then the
    recipients of the component's iqs for an added contact, while the client is online and after it has left.
    """
    server = granted(gateway)
    server.ask(
        f"<message from='example.com' to='{COMPONENT}'><privilege xmlns='{ns.PRIVILEGE}'>"
        "<perm access='roster' type='both'/><perm access='presence' type='managed_entity'/>"
        f"<perm access='iq'><namespace ns='{ns.ROSTER}' type='set'/></perm></privilege></message>"
    )
    inner = request(rosterOf(), requester="a@example.com/desk", to="a@example.com")
    server.ask(wrapper(inner, identifier="1", server="example.com", to=COMPONENT))
    found: list[Any] = []
    for _ in "12":
        calls = gateway.calls()
        found.append(len(calls))
        for call in calls:
            applied(server, call, {})
        server.ask(f"<presence from='a@example.com/desk' to='{COMPONENT}'/>")
    for contact in ("one@example.org", "two@example.org"):
        refresh(gateway, "a")
        [call] = gateway.calls()
        heard = applied(server, call, {contact: {}})
        inners = [each for stanza in heard for each in stanza.iter("{jabber:client}iq")]
        found.append([each.get("to") for each in inners])
        server.ask(f"<presence from='a@example.com/desk' to='{COMPONENT}' type='unavailable'/>")
    return found


def appliedBy(gateway: Gateway) -> list[str]:
    """Return the addresses that are asked for the server's roster."""
    server = granted(gateway)
    refresh(gateway, "a")
    [call] = gateway.calls()
    heard = applied(server, call, {})
    return [f"XMPP {each.get('to')}" for each in heard] + calledFor(gateway.calls())


def reported(gateway: Gateway) -> list[str]:
    """Return the lines of the status page about the way in which rosters are set."""
    granted(gateway)
    page = gateway.request("GET", "/status").text
    return [line.strip() for line in page.splitlines() if "rosters are set" in line]


def probed(gateway: Gateway) -> list[str]:
    """Return the presence that the component sends when two users who are online become contacts."""
    server = granted(gateway)
    for user in "ab":
        server.ask(f"<presence from='{user}@example.com/desk' to='{COMPONENT}'/>")
    for call in gateway.calls():
        applied(server, call, {})
    refresh(gateway, "a")
    [call] = gateway.calls()
    heard = applied(server, call, {"b@example.com": {}})
    return [f"{each.get('type')} {each.get('from')} {each.get('to')}" for each in heard if _isPresence(each)]


def _isPresence(each: Element) -> bool:
    return each.tag.endswith("}presence")


def concurrentCalls(gateway: Gateway) -> list[int]:
    """Return the number of concurrent calls: for six refreshes, and for six more delegated requests."""
    granted(gateway)
    refresh(gateway, *"abcdef")
    found = [len(gateway.calls())]
    server = gateway.server(COMPONENT)
    for user in "uvwxyz":
        inner = request(rosterOf(), requester=f"{user}@example.com/desk", to=f"{user}@example.com")
        server.ask(wrapper(inner, identifier=user, server="example.com", to=COMPONENT))
    return [*found, len(gateway.calls())]


def connections(gateway: Gateway) -> int:
    """
    Return the number of connections to the application, for two refreshes of each of forty users, in two requests.
    """
    server = granted(gateway)
    for _ in "12":
        for first in (0, 20):
            refresh(gateway, *(f"u{number}" for number in range(first, first + 20)))
        while calls := gateway.calls():
            for call in calls:
                applied(server, call, {})
    return sum(port == 8000 for _, port, *_ in gateway.reactor.tcpClients)


def timeout(gateway: Gateway) -> float | None:
    """Return the seconds until a refresh fails because the application does not answer."""
    granted(gateway)
    response = refresh(gateway, "a")
    return gateway.until(lambda: response.status)


def connecting(gateway: Gateway) -> set[float]:
    """Return the seconds after which a connection attempt to the application fails."""
    gateway.server(COMPONENT)
    refresh(gateway, "a")
    return {timeout for host, port, _, timeout, _ in gateway.reactor.tcpClients if port == 8000}


def serverTimeout(gateway: Gateway) -> float | None:
    """Return the seconds until a refresh fails because ejabberd's API does not answer."""
    granted(gateway)
    response = refresh(gateway, "a")
    [call] = gateway.calls()
    call.reply({})
    return gateway.until(lambda: response.status)


def removed(gateway: Gateway) -> list[str]:
    """Return the numbers of contacts that a refresh removes, of three: without C{force}, and with it."""
    server = granted(gateway)
    found = []
    for path in ("", "?force=1"):
        refresh(gateway, "a", path=f"/roster_admin/refresh{path}")
        [call] = gateway.calls()
        heard = applied(server, call, {}, "one@example.org", "two@example.org", "three@example.org")
        items = [item for each in heard for item in each.iter(f"{{{ns.ROSTER}}}item")]
        found.append(f"{sum(item.get('subscription') == 'remove' for item in items)}{path}")
    return found


def refreshTimes(gateway: Gateway) -> list[int]:
    """Return the times of the refreshes, in seconds, of a user who comes online every ten seconds."""
    server = granted(gateway)
    found = []
    for second in range(0, 200, 10):
        server.ask(f"<presence from='a@example.com/desk' to='{COMPONENT}'/>")
        calls = gateway.calls()
        if calls:
            found.append(second)
        for call in calls:
            applied(server, call, {})
        gateway.wait(10)
    return found


def offline(gateway: Gateway) -> list[Any]:
    """
    Force a refresh of a user who is online and of one who is not. Return whose contacts are fetched and who is
    reported as offline; then whose are fetched when the latter comes online, and how many of two contacts this
    removes.
    """
    server = granted(gateway)
    server.ask(f"<presence from='a@example.com/desk' to='{COMPONENT}'/>")
    for call in gateway.calls():
        applied(server, call, {})
    response = refresh(gateway, "a", "b", path="/roster_admin/refresh?force=1")
    found: list[Any] = []
    calls = gateway.calls()
    found.append(calledFor(calls))
    for call in calls:
        applied(server, call, {})
    found.append(response.body.get("offline"))
    server.ask(f"<presence from='b@example.com/desk' to='{COMPONENT}'/>")
    calls = gateway.calls()
    found.append(calledFor(calls))
    heard = [each for call in calls for each in applied(server, call, {}, "one@example.org", "two@example.org")]
    items = [item for each in heard for item in each.iter(f"{{{ns.ROSTER}}}item")]
    return [*found, sum(item.get("subscription") == "remove" for item in items)]


def signed(gateway: Gateway) -> dict[str, Any]:
    """Return the statuses of requests, by the secret that they are signed with; of C{GET} without one."""
    granted(gateway)
    found = {}
    for secret in ("", "first", "second"):
        digest = hmac.digest(secret.encode(), b"[]", "sha256").hex()
        headers = {"X_Hub_Signature_256": f"sha256={digest}"} if secret else {}
        found[secret] = [
            refresh(gateway, path=f"/roster_admin/{path}", **headers).status
            for path in ("refresh", "example.com/refresh")
        ]
    found["GET"] = [
        gateway.request("GET", f"/roster_admin/{path}/a").status for path in ("refresh", "example.com/refresh")
    ]
    return found


def demonstrated(gateway: Gateway) -> list[str]:
    """Return the contacts that the built-in application returns for alice; users are not contacts of themselves."""
    found = []
    for contact in ("alice@one.example", "alice@two.example"):
        response = gateway.request("PUT", "/demo/contacts/alice", json.dumps({contact: {}}).encode())
        if response.status in (200, 201, 204):
            found.append(contact)
    return found


EFFECTS = (
    Effect(
        "roster.domain",
        f'{TABLE}{HERE}\nurl = "http://127.0.0.1:8000/%s"\n',
        domains,
        {
            'domain = "one.example"': ["a@one.example", "b@one.example", "c@one.example"],
            'domain = "two.example"': ["a@two.example", "b@two.example", "c@two.example"],
        },
    ),
    Effect(
        "roster.domain",
        f'[roster."{COMPONENT}"]\n{HERE}\n[embedded]\naccounts = {{ alice = "x" }}\n',
        demonstrated,
        {
            'domain = "one.example"': ["alice@two.example"],
            'domain = "two.example"': ["alice@one.example"],
        },
    ),
    Effect(
        "roster.url",
        f'{TABLE}domain = "example.com"\n{HERE}\n',
        asked,
        {
            "": ['roster."c.example.com".url'],
            'url = "http://127.0.0.1:8001/one/%s"': ["8001/one/a"],
            'url = "http://127.0.0.1:8002/?two=%s"': ["8002/?two=a"],
        },
    ),
    Effect(
        "roster.lock",
        FILE,
        notified,
        {"": [0, 1, [], []], "lock = true": [1, 0, ["a@example.com/desk"], []]},
    ),
    Effect("roster.lock", FILE, locked, {"": [], "lock = true": ["friend@example.com"]}),
    Effect(
        "roster.apply",
        FILE,
        appliedBy,
        {
            "": ["XMPP a@example.com"],
            'apply = "auto"': ["XMPP a@example.com"],
            'apply = "auto"\napi = "http://127.0.0.1:9000/api"': ["9000/api/get_roster"],
            'apply = "privilege"': ["XMPP a@example.com"],
            'apply = "ejabberd-api"\napi = "http://127.0.0.1:9000/api"': ["9000/api/get_roster"],
        },
        also=("roster.api",),
    ),
    Effect(
        "roster.apply",
        FILE,
        reported,
        {
            "": ["rosters are set by privilege; subscriptions are not verified yet"],
            'apply = "ejabberd-api"\napi = "http://127.0.0.1:9000/api"': ["rosters are set by ejabberd's HTTP API"],
        },
        also=("roster.api",),
    ),
    Effect(
        "roster.api",
        f'{FILE}apply = "ejabberd-api"\n',
        appliedBy,
        {
            'api = "http://127.0.0.1:9001/api"': ["9001/api/get_roster"],
            'api = "http://127.0.0.1:9002/its"': ["9002/its/get_roster"],
        },
    ),
    Effect(
        "roster.probes",
        FILE,
        probed,
        {
            "": [],
            "probes = true": ["probe b@example.com a@example.com"],
        },
    ),
    Effect(
        "roster.concurrency",
        f"{FILE}lock = true\n",
        concurrentCalls,
        {"": [6, 6], "concurrency = 1": [1, 0], "concurrency = 8": [6, 2]},
    ),
    Effect("roster.concurrency", FILE, connections, {"": 32, "concurrency = 8": 8, "concurrency = 40": 40}),
    Effect("roster.timeout", FILE, timeout, {"": 31.5, "timeout = 2": 7.5, "timeout = 40": None}),
    Effect("roster.timeout", API, serverTimeout, {"": 10, "timeout = 2": 2, "timeout = 40": 40}),
    Effect(
        "roster.timeout",
        f'[roster."{COMPONENT}"]\ndomain = "localhost"\n{HERE}\n[embedded]\naccounts = {{ alice = "x" }}\n',
        timeout,
        {"": 31.5, "timeout = 2": 7.5},
    ),
    Effect("roster.timeout", FILE, connecting, {"": {10}, "timeout = 2": {2}, "timeout = 40": {40}}),
    Effect(
        "roster.max_removals",
        FILE,
        removed,
        {
            "": ["3", "3?force=1"],
            "max_removals = 1": ["0", "3?force=1"],
            "max_removals = 3": ["3", "3?force=1"],
        },
    ),
    Effect(
        "roster.offline",
        f"{FILE}max_removals = 1\n",
        offline,
        {
            "": [["8000/a", "8000/b"], None, ["8000/b"], 0],
            'offline = "apply"': [["8000/a", "8000/b"], None, ["8000/b"], 0],
            'offline = "skip"': [["8000/a"], ["b"], ["8000/b"], 0],
            'offline = "later"': [["8000/a"], ["b"], ["8000/b"], 2],
        },
    ),
    Effect(
        "roster.min_interval",
        FILE,
        refreshTimes,
        {"": [0, 60, 120, 180], "min_interval = 20": list(range(0, 200, 20)), "min_interval = 95": [0, 100]},
    ),
    Effect(
        "roster.signature_secret",
        FILE,
        signed,
        {
            "": {"": [200, 200], "first": [200, 200], "second": [200, 200], "GET": [None, None]},
            'signature_secret = "first"': {
                "": [401, 401],
                "first": [200, 200],
                "second": [401, 401],
                "GET": [401, 401],
            },
            'signature_secret = "second"': {
                "": [401, 401],
                "first": [401, 401],
                "second": [200, 200],
                "GET": [401, 401],
            },
        },
    ),
)
