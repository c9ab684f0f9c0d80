"""
Advice for the log: the lines of a server's configuration that delegate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

from gateway import ns
from gateway.reports import StatusItem

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
    name = component.partition(".")[0]
    written = {each: ", ".join(f'"{name}"' for name in sorted(names)) for each, names in namespaces.items()}
    prosody = "\n".join(
        f'        ["{namespace}"] = {{ jid = "{component}"{f", filtering = {{ {names} }}" if names else ""} }};'
        for namespace, names in written.items()
    )
    ejabberd = "\n".join(
        f'      "{namespace}": {{access: {name}{f", filtering: [{names}]" if names else ""}}}'
        for namespace, names in written.items()
    )
    warning = _HIDES if ns.PRIVATE in namespaces else ""
    return f"""{warning}In Prosody's configuration:
    VirtualHost "{server}"
      modules_enabled = {{ "delegation" }}
      delegations = {{
{prosody}
      }}
    Component "{component}"
      modules_enabled = {{ "delegation" }}
or in ejabberd's:
    acl: {{{name}: {{server: {component}}}}}
    access_rules: {{{name}: {{allow: {name}}}}}
    modules:
      mod_delegation:
        namespaces:
    {ejabberd.replace(chr(10), chr(10) + "    ")}
"""


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
