"""
Lines for C{ejabberd.yml}. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from urllib.parse import urlsplit

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
    Requirement,
    RosterApi,
)

TITLE = "ejabberd"
_HIDDEN = "the secret of this component"
# At a port that the shipped configuration does not use: its listener at 5280 has TLS, and no API.
API = "http://127.0.0.1:5281/api"
# Names of rules in the shipped configuration.
_TAKEN = {
    *("all", "none", "local", "admin", "loopback", "blocked", "c2s", "s2s", "trusted_network", "muc_create"),
    *("announce", "configure", "pubsub_createnode"),
}
# An entry that grants nothing to anybody. With it, ejabberd 24.10 and newer does not drop the requests of
# components to this host and its users. 23.01 does not start with it, and drops none.
PASSING = 'mod_privilege: {iq: {"urn:xmpp:ping": {get: none}}}'
# YAML does not read these words as text, in upper or lower case.
_WORD = re.compile(r"(?!(?:true|false|yes|no|on|off|null|y|n)$)[a-z_][a-z0-9_]*(?:[.-][a-z0-9_]+)*", re.IGNORECASE)


def block(components: Sequence[Component]) -> str:
    """Return the whole configuration for these components."""
    components = [evolve(each, secret=each.secret or _HIDDEN) for each in components]
    lines = [
        "# Save this as a file that ejabberd can read, such as gateway.yml, and add one line to ejabberd.yml:",
        "#   include_config_file: /etc/ejabberd/gateway.yml",
        "# ejabberd adds these entries to its own. If a module below is configured there already, add the entries",
        "# to that module by hand. Afterwards, restart ejabberd.",
        *_lines(components, list(_listeners(components))),
        *(f"# {each.jid}: {remark}" for each in components for remark in each.having(Remark)),
        *(f"# {each.jid}: {lack}" for each in components for lack in _lacking(each)),
    ]
    return "\n".join(lines) + "\n"


def relevant(component: Component) -> Component:
    """
    Return a component with those requirements that ejabberd can fulfil, in its form.

    It does not set rosters by privilege: if they are set by its API, the only privilege needed is the presence of
    users. Privileged iqs are left out: releases before 24.10 have none, and newer ones do not let a component read
    data that ejabberd stores.
    """
    kept: list[Requirement] = []
    for each in component.requirements:
        if isinstance(each, Module | ForeignSenders | NewConnectionWins):
            continue
        if isinstance(each, Privilege) and each.access == "iq":
            continue
        if isinstance(each, Privilege) and component.having(RosterApi):
            if each.access == "presence":
                kept.append(Privilege(each.server, "presence", "managed_entity"))
        else:
            kept.append(each)
    return evolve(component, requirements=tuple(kept))


def part(components: Sequence[Component]) -> Iterator[str]:
    """Yield the rules and modules, and the listener of the HTTP API, without the listener of components."""
    return _lines(components, [])


def _lines(components: Sequence[Component], listeners: list[str]) -> Iterator[str]:
    names = ruleNames(components)
    components = list(map(relevant, components))
    grants = _grants(components)
    delegating = [each for each in components if each.having(Delegation)]
    granted = {jid for jids in grants.values() for jid in jids}
    urls = dict.fromkeys(
        each.url for component in components for each in component.requirements if isinstance(each, RosterApi)
    )
    listeners += [line for url in urls for line in _apiListener(url)]
    if listeners:
        yield from ("listen:", *listeners)
    trusted = [each.jid for each in components if each in delegating or each.jid in granted]
    shared = {key: jids for key, jids in grants.items() if len(jids) > 1}
    if trusted:
        yield from _mapping("acl", [f"{names[jid]}: {{server: {scalar(jid)}}}" for jid in trusted])
        rules = [f"{names[jid]}: {{allow: {names[jid]}}}" for jid in trusted]
        for (access, kind), jids in shared.items():
            allowed = ", ".join(f"{{allow: {names[jid]}}}" for jid in jids)
            rules.append(f"{_shared(access, kind)}: [{allowed}]")
        yield from _mapping("access_rules", rules)
    if urls:
        yield from _apiPermissions()
    modules = list(_delegations(delegating, names))
    if grants:
        modules.append(_privileges(grants, names))
    if modules:
        yield from ("modules:", *modules)


def _mapping(key: str, entries: list[str]) -> list[str]:
    """Return the lines of a mapping: one line if it has one entry."""
    return [f"{key}: {{{entries[0]}}}"] if len(entries) == 1 else [f"{key}:", *(f"  {entry}" for entry in entries)]


def _lacking(component: Component) -> Iterator[str]:
    """Yield what ejabberd cannot do for a component."""
    for each in component.having(Privilege):
        if isinstance(each, Privilege) and each.access == "iq" and not component.having(RosterApi):
            yield f"ejabberd does not let it read {each.namespace} in users' names: see docs/delegation.md"


def ruleNames(components: Iterable[Component]) -> dict[str, str]:
    """Return a name for the rules of each component: the first label of its JID, if no other component has it."""
    jids = [each.jid for each in components]
    labels = [jid.partition(".")[0] for jid in jids]
    return {
        jid: label
        if labels.count(label) == 1 and label not in _TAKEN and _WORD.fullmatch(label)
        else "gateway_" + re.sub(r"[^a-z0-9]", "_", jid)
        for jid, label in zip(jids, labels, strict=True)
    }


def _grants(components: Sequence[Component]) -> dict[tuple[str, str], list[str]]:
    """Return the components by the kinds of access and permission of C{mod_privilege}."""
    found: dict[tuple[str, str], list[str]] = {}
    for component in components:
        for each in component.requirements:
            if isinstance(each, Privilege):
                found.setdefault((each.access, each.kind), []).append(component.jid)
    if found:
        # If it is loaded, mod_privilege of 24.10 and newer drops requests of components without any grant.
        granted = {jid for jids in found.values() for jid in jids}
        others = [each.jid for each in components if each.jid not in granted]
        if others:
            found.setdefault(("presence", "managed_entity"), []).extend(others)
    return found


def _shared(access: str, kind: str) -> str:
    return re.sub(r"[^a-z0-9]+", "_", f"gateway_{access}_{kind}")


def _privileges(grants: Mapping[tuple[str, str], list[str]], names: Mapping[str, str]) -> str:
    byAccess: dict[str, dict[str, str]] = {}
    for (access, kind), jids in grants.items():
        byAccess.setdefault(access, {})[kind] = names[jids[0]] if len(jids) == 1 else _shared(access, kind)
    words = [f"{access}: {_flow(kinds)}" for access, kinds in byAccess.items()]
    return f"  mod_privilege: {{{', '.join(words)}}}"


def _flow(kinds: Mapping[str, str]) -> str:
    return f"{{{', '.join(f'{kind}: {rule}' for kind, rule in kinds.items())}}}"


def _delegations(components: Iterable[Component], names: Mapping[str, str]) -> Iterator[str]:
    lines: dict[str, None] = {}
    for component in components:
        for each in component.requirements:
            if isinstance(each, Delegation):
                filtering = f", filtering: [{', '.join(map(quoted, each.filtering))}]" if each.filtering else ""
                lines[f"      {quoted(each.namespace)}: {{access: {names[component.jid]}{filtering}}}"] = None
    if lines:
        yield from ("  mod_delegation:", "    namespaces:", *lines)


def _listeners(components: Sequence[Component]) -> Iterator[str]:
    for address in dict.fromkeys(each.address for each in components):
        yield from _listener(address, [each for each in components if each.address == address])


def _listener(address: Address, components: Iterable[Component]) -> Iterator[str]:
    if address.socket:
        yield f"  - port: {quoted('unix:' + address.socket)}"
    else:
        yield f"  - port: {address.port or 5347}"
        yield f"    ip: {quoted(_interface(address.host))}"
    # Without global_routes: false a connection of one component becomes the route of all of them.
    yield from ("    module: ejabberd_service", "    access: all", "    global_routes: false")
    if address.isTls:
        yield "    tls: true"
        yield f"    # certfiles must have a certificate that is valid for {address.host}"
    yield "    hosts:"
    for each in components:
        yield f"      {quoted(each.jid)}: {{password: {quoted(each.secret or '')}}}"


def _interface(host: str) -> str:
    if host in ("127.0.0.1", "localhost"):
        return "127.0.0.1"
    return "::1" if host == "::1" else "::"


def _apiListener(url: str | None) -> Iterator[str]:
    if url is None:
        yield "  # ejabberd does not set rosters by privilege. In gateway.toml, add to the table [roster]:"
        yield f"  #   api = {quoted(API)}"
    parts = urlsplit(url or API)
    yield from (
        f"  - port: {parts.port or (443 if parts.scheme == 'https' else 80)}",
        f"    ip: {quoted(_interface(parts.hostname or ''))}",
        "    module: ejabberd_http",
        "    backlog: 128",
        f"    request_handlers: {{{scalar(parts.path or '/api')}: mod_http_api}}",
    )


def _apiPermissions() -> Iterator[str]:
    yield from (
        "api_permissions:",
        '  "rosters":',
        "    who: {ip: 127.0.0.1/8}",
        "    what: [add_rosteritem, delete_rosteritem, get_roster]",
        # In the shipped configuration; and ejabberd does not start if a module is there twice.
        "# The API needs two modules. If ejabberd.yml does not have them yet, add them to its modules:",
        "#   mod_http_api: {}",
        "#   mod_admin_extra: {}",
    )


def scalar(text: str) -> str:
    """Return a text as a scalar of YAML, plain if that is safe."""
    return text if _WORD.fullmatch(text) or re.fullmatch(r"/[a-z/]+", text) else quoted(text)


def quoted(text: str) -> str:
    """Return a text as a quoted scalar of YAML: a string of JSON is one."""
    return json.dumps(text, ensure_ascii=False)
