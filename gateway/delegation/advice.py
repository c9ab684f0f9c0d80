"""
Advice for the log: the lines of a server's configuration that delegate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from gateway import ns
from gateway.reports import StatusItem
from gateway.requirements import Component, Delegation, ejabberd, prosody
from gateway.requirements.servers import kindOf

GUIDE = 'docs/delegation.md, "What the server had stored"'
_HIDES = f"Delegating {ns.PRIVATE} hides the data that users have stored on the server: first see {GUIDE}. "


def notGranted(
    component: str,
    servers: Iterable[str],
    routes: Mapping[str, Iterable[str]],
    grant: Callable[[str, str], object],
    software: str = "",
) -> Iterator[StatusItem]:
    """
    Return an item for each server that does not delegate all configured namespaces, with the lines to add.

    @param routes: the configured namespaces, each with the attributes that the server should filter by.
    @param grant: returns a server's grant for a namespace, or C{None}.
    @param software: of the servers, if it is known.
    """
    for server in sorted(servers):
        missing = {namespace: names for namespace, names in routes.items() if grant(server, namespace) is None}
        if missing:
            advice = howToGrant(component, server, missing, software)
            yield StatusItem(
                "delegation.missing",
                "{server} does not delegate {namespaces}, so its users are not served. {advice}",
                {"server": server, "namespaces": tuple(missing), "advice": advice},
                isProblem=True,
            )


def howToGrant(
    component: str, server: str, namespaces: Mapping[str, Iterable[str]], software: str = ""
) -> str:
    """
    Return lines that delegate these namespaces to the component: for the server, or for Prosody and for ejabberd.

    @param namespaces: each with the attributes that the server should filter by.
    @param software: of the server, if it is known.
    """
    asked = [Delegation(server, namespace, tuple(sorted(names))) for namespace, names in namespaces.items()]
    needed = [Component(jid=component, requirements=tuple(asked))]
    warning = _HIDES if ns.PRIVATE in namespaces else ""
    lines = {
        "prosody": "".join(f"\n    {line}" for line in prosody.part(needed)),
        "ejabberd": "".join(f"\n    {line}" for line in ejabberd.part(needed)),
    }
    found = {
        "prosody": f"In Prosody's configuration:{lines['prosody']}",
        "ejabberd": f"In ejabberd's configuration:{lines['ejabberd']}",
        "openfire": "Openfire cannot delegate: this service needs Prosody or ejabberd.",
        "embedded": "The embedded host delegates for its own domain only: compare servers with [embedded] domain.",
    }
    both = f"In Prosody's configuration:{lines['prosody']}\nor in ejabberd's:{lines['ejabberd']}"
    return warning + found.get(kindOf(software), both)


def importAdvice(component: str, server: str, software: str) -> str:
    """
    Return lines that let the component read the private storage of the server.

    @param software: of the server; empty if it is not known.
    """
    forProsody = f"""In Prosody's configuration:
    VirtualHost "{server}"
      modules_enabled = {{ "private", "privilege" }}
      privileged_entities = {{ ["{component}"] = {{ iq = {{ ["{ns.PRIVATE}"] = "get" }} }} }}
    Component "{component}"
      modules_enabled = {{ "privilege" }}"""
    kind = kindOf(software)
    if kind == "prosody":
        return forProsody
    if kind:
        return f"This server cannot be asked: see {GUIDE}."
    return f"{forProsody}\nAn ejabberd cannot be asked: see {GUIDE}."


def tooLate(
    component: str, server: str, version: str, entities: Iterable[str], namespaces: Iterable[str]
) -> StatusItem:
    """
    Return an item about managing entities that were not connected in time for a server's nesting query.

    @param version: the version in the query: only ejabberd speaks the older one.
    """
    todo = (
        f"restart the gateway: ejabberd queries once for each connection of {component}"
        if version == ns.DELEGATION_1
        else "restart the server: Prosody queries once after its start, and forgets the answer when others connect"
    )
    return StatusItem(
        "delegation.not_shown",
        "{server} does not show {namespaces} in its disco#info, because {entities} was not connected in time. "
        "Requests are forwarded nevertheless. When it is connected, {todo}.",
        {"server": server, "namespaces": tuple(namespaces), "entities": " or ".join(entities), "todo": todo},
        isProblem=True,
    )
