"""
Advice for the log: the lines of a server's configuration that delegate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from gateway import ns
from gateway.reports import StatusItem
from gateway.requirements import Component, Delegation, ejabberd, prosody

_HIDES = (
    f"Delegating {ns.PRIVATE} hides the data that users have stored on the server: first see "
    'docs/delegation.md, "What the server had stored". '
)


def notGranted(
    component: str,
    servers: Iterable[str],
    routes: Mapping[str, Iterable[str]],
    grant: Callable[[str, str], object],
) -> Iterator[StatusItem]:
    """
    Return an item for each server that does not delegate all configured namespaces, with the lines to add.

    @param routes: the configured namespaces, each with the attributes that the server should filter by.
    @param grant: returns a server's grant for a namespace, or C{None}.
    """
    for server in sorted(servers):
        missing = {namespace: names for namespace, names in routes.items() if grant(server, namespace) is None}
        if missing:
            advice = howToGrant(component, server, missing)
            yield StatusItem(
                "delegation.missing",
                "{server} does not delegate {namespaces}, so its users are not served. {advice}",
                {"server": server, "namespaces": tuple(missing), "advice": advice},
                isProblem=True,
            )


def howToGrant(component: str, server: str, namespaces: Mapping[str, Iterable[str]]) -> str:
    """
    Return lines for Prosody and for ejabberd that delegate these namespaces to the component.

    @param namespaces: each with the attributes that the server should filter by.
    """
    asked = [Delegation(server, namespace, tuple(sorted(names))) for namespace, names in namespaces.items()]
    needed = [Component(jid=component, requirements=tuple(asked))]
    warning = _HIDES if ns.PRIVATE in namespaces else ""
    return "\n".join([
        f"{warning}In Prosody's configuration:",
        *(f"    {line}" for line in prosody.part(needed)),
        "or in ejabberd's:",
        *(f"    {line}" for line in ejabberd.part(needed)),
    ])


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
