"""
Lines for C{prosody.cfg.lua}. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from attrs import evolve

from gateway.requirements.values import (
    Address,
    Component,
    Delegation,
    ForeignSenders,
    Module,
    NewConnectionWins,
    Privilege,
    Remark,
)

TITLE = "Prosody"
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
# The requirements that have lines.
_OWN = (Delegation, Privilege, Module, ForeignSenders, NewConnectionWins)
_SPECIAL = re.compile(r'[\\"\x00-\x1f\x7f]')
_HIDDEN = "the secret of this component"
_ADD = "If the host has such a list already, add the entries to that one: the last list replaces it."
_ATTENTION = (
    "--",
    "-- ATTENTION: if a VirtualHost below has a list of one of these names already (modules_enabled, delegations,",
    "-- privileged_entities), then the list below replaces it, and the host LOSES its own modules or entries. In",
    "-- this case, add the entries to the first list, and delete the list below. prosodyctl check config, and the",
    "-- log of Prosody's start, warn of each list that replaces another one in this file: Duplicate option.",
    "--",
)


def block(components: Sequence[Component]) -> str:
    """
    Return the whole configuration for these components, for the end of C{prosody.cfg.lua}.

    The sections of components have braces around their settings, so that the global settings after them do not
    belong to them. Those of hosts have none, and are last: so Prosody itself warns if a list replaces another one.
    """
    components = [evolve(each, secret=each.secret or _HIDDEN) for each in components]
    lines = [
        "-- For the end of prosody.cfg.lua. Afterwards: prosodyctl check config, then restart Prosody.",
        *(_ATTENTION if _servers(components) else ()),
        *(line for head, lines in _components(components) for line in (f"{head} {{", *lines, "}")),
        *_listeners({component.address for component in components}),
        *(line for head, lines in _hosts(components) for line in (head, *lines)),
        *(f"-- {each.jid}: {remark}" for each in components for remark in each.having(Remark)),
    ]
    return "\n".join(lines) + "\n"


def part(components: Sequence[Component]) -> Iterator[str]:
    """Yield the sections of the hosts and of the components. A secret that is C{None} is left out."""
    sections = (*_hosts(components), *_components(components))
    return (line for head, lines in sections for line in (head, *lines))


def _hosts(components: Sequence[Component]) -> Iterator[tuple[str, list[str]]]:
    """Yield the head and the lines of each host's section."""
    for server in _servers(components):
        yield f"VirtualHost {quoted(server)}", list(_host(server, components))


def _components(components: Sequence[Component]) -> Iterator[tuple[str, list[str]]]:
    """Yield the head and the lines of each component's section that is not empty."""
    for component in components:
        lines = list(_component(component))
        if lines:
            yield f"Component {quoted(component.jid)}", lines


def _servers(components: Iterable[Component]) -> list[str]:
    asked = (each for component in components for each in component.having(Delegation, Privilege, Module))
    return list(dict.fromkeys(each.server for each in asked if isinstance(each, Delegation | Privilege | Module)))


def _host(server: str, components: Sequence[Component]) -> Iterator[str]:
    delegations: list[str] = []
    privileged: list[str] = []
    modules: list[str] = []
    for component in components:
        for each in component.requirements:
            if isinstance(each, Module) and each.server == server:
                modules.append(each.name)
            if isinstance(each, Delegation) and each.server == server:
                names = ", ".join(map(quoted, each.filtering))
                filtering = f", filtering = {{ {names} }}" if names else ""
                delegated = f"{{ jid = {quoted(component.jid)}{filtering} }}"
                delegations.append(f"[{quoted(each.namespace)}] = {delegated}")
        grants = [each for each in component.requirements if isinstance(each, Privilege) and each.server == server]
        if grants:
            privileged.append(f"[{quoted(component.jid)}] = {{ {_privileges(grants)} }}")
    modules += ["delegation"] * bool(delegations) + ["privilege"] * bool(privileged)
    yield f"    -- {_ADD}"
    yield f"    modules_enabled = {_list(modules)};"
    yield from _table("delegations", delegations)
    yield from _table("privileged_entities", privileged)


def _table(name: str, entries: list[str]) -> Iterator[str]:
    if entries:
        yield from (f"    {name} = {{", *(f"        {entry};" for entry in entries), "    };")


def _privileges(grants: Iterable[Privilege]) -> str:
    """Return the entries of one component in C{privileged_entities}."""
    words = [f"{each.access} = {quoted(each.kind)}" for each in grants if each.access != "iq"]
    iqs = [f"[{quoted(each.namespace)}] = {quoted(each.kind)}" for each in grants if each.access == "iq"]
    return ", ".join(words + ([f"iq = {{ {', '.join(iqs)} }}"] if iqs else []))


def _component(component: Component) -> Iterator[str]:
    # Without these modules Prosody accepts the component, and never tells it what it grants.
    modules = ["delegation"] * bool(component.having(Delegation))
    modules += ["privilege"] * bool(component.having(Privilege))
    if component.secret is not None:
        yield f"    component_secret = {quoted(component.secret)};"
    if modules:
        yield f"    modules_enabled = {_list(modules)};"
    if component.having(ForeignSenders):
        yield "    validate_from_addresses = false;"
    if component.having(NewConnectionWins):
        yield '    component_conflict_resolve = "kick_old";'


def relevant(component: Component) -> Component:
    """Return a component with those requirements that Prosody can fulfil."""
    return evolve(component, requirements=tuple(component.having(*_OWN)))


def _listeners(addresses: set[Address]) -> Iterator[str]:
    ports = sorted({each.port for each in addresses if each.port is not None})
    hosts = {each.host for each in addresses if each.port is not None}
    if any(each.socket for each in addresses):
        yield "-- Prosody does not listen on a UNIX socket for components: use a TCP port in gateway.toml."
    if any(each.isTls for each in addresses):
        yield "-- Prosody has no TLS for components: this port belongs to a TLS proxy in front of component_ports."
    if ports:
        local = all(each in _LOOPBACK for each in hosts)
        interfaces = '"127.0.0.1", "::1"' if "::1" in hosts else '"127.0.0.1"'
        yield f"component_ports = {{ {', '.join(map(str, ports))} }}"
        yield f"component_interfaces = {{ {interfaces if local else quoted('*')} }}"


def _list(words: Iterable[str]) -> str:
    return f"{{ {', '.join(map(quoted, dict.fromkeys(words)))} }}"


def quoted(text: str) -> str:
    """Return a text as a string of Lua."""
    return f'"{_SPECIAL.sub(lambda found: chr(92) + _escaped(found[0]), text)}"'


def _escaped(character: str) -> str:
    return character if character in '\\"' else f"{ord(character):03d}"
