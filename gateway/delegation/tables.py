"""
The keys of C{[delegation."component JID"]}.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from attrs import field, frozen

from gateway.config.tables import ComponentTable, Domain, Jids, Namespace


@frozen(kw_only=True)
class NamespaceTable:
    """
    The keys of one namespace.

    @ivar handler: name of a plugin.
    @ivar jid: managing entities; requests are forwarded to the first one that is available.
    @ivar filtering: only requests whose payload has all of these attributes are forwarded.
    @ivar import_: true if the handler fetches the elements that the server has stored.
    """

    handler: str | None = None
    jid: Jids | None = None
    filtering: frozenset[str] = frozenset()
    import_: bool = False


@frozen(kw_only=True)
class DelegationTable(ComponentTable):
    """
    The keys of C{[delegation."component JID"]}; see docs/delegation.md.

    @ivar servers: domains of the servers whose delegations are accepted.
    @ivar users: domains whose users may delegate namespaces for themselves (client mode).
    @ivar lend_privileges: managing entities that may use the component's own privileges.
    @ivar namespaces: the handlers and managing entities of each namespace.
    """

    servers: frozenset[Domain] = frozenset()
    users: frozenset[Domain] = frozenset()
    lend_privileges: frozenset[Domain] = frozenset()
    namespaces: dict[Namespace, NamespaceTable] = field(factory=dict)


def lendingProblems(table: DelegationTable) -> Iterator[str]:
    """Yield the problems of C{lend_privileges}."""
    count = len(table.servers)
    if table.lend_privileges and count != 1:
        yield f"lend_privileges: found {count} servers; allowed: one, the server whose privileges are lent"
    known = {jid for each in table.namespaces.values() for jid in each.jid or ()}
    for entity in sorted(table.lend_privileges - known):
        allowed = "components that are a jid in namespaces"
        yield f'lend_privileges: found "{entity}"; allowed: {allowed}; add it there, or remove it here'


def wrongHandler(namespace: str, name: str, served: Iterable[str]) -> str:
    """Return the problem of a namespace whose handler does not serve it."""
    found = f'found {name}, which only serves {", ".join(sorted(served))}'
    return f'namespaces."{namespace}".handler: {found}; correct the namespace or the handler'
