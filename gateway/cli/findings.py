"""
Findings of C{xmpp-gateway check}: what a component needs, compared with what was observed. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from attrs import evolve, field, frozen

from gateway.interfaces import IPermissions
from gateway.reports import StatusItem
from gateway.requirements import Component, Delegation, ForeignSenders, Privilege, Requirement, RosterApi
from gateway.requirements.servers import Server

# Items about missing grants. They are left out: a finding says the same, with the lines for this kind of server.
_COVERED = frozenset({"delegation.missing", "privileges.missing", "roster.pushes_not_granted"})
# The item about the way in which rosters are set: a problem if the API is missing where it is needed.
_ROSTER_WAY = "roster.way"
# Items that say what a service does, rather than how often.
_FACTS = frozenset({"server.software", "presence.unused", "proxy.resources", _ROSTER_WAY})


@frozen(kw_only=True)
class Observed:
    """
    The state of a component a few seconds after its connection.

    @ivar isConnected: true if the server has accepted it.
    @ivar trouble: the reason why it has not, or why the connection is of no use; empty if there is none.
    @ivar delegated: domains and namespaces of the delegations.
    @ivar permissions: the privileges by domain.
    @ivar maySendForOthers: false if the server has refused a stanza from a user's address; C{None} if that was not
        tried.
    @ivar items: the reports of its handlers.
    """

    isConnected: bool
    trouble: str = ""
    delegated: frozenset[tuple[str, str]] = frozenset()
    permissions: Mapping[str, IPermissions] = field(factory=dict)
    maySendForOthers: bool | None = None
    items: tuple[StatusItem, ...] = ()

    @property
    def rosterProblem(self) -> str:
        """The reason why rosters cannot be set; empty if they can."""
        return next((_first(item) for item in self.items if item.name == _ROSTER_WAY and item.isProblem), "")

    def fulfils(self, requirement: Requirement) -> bool:
        """True if a requirement is fulfilled, or if that cannot be observed."""
        if isinstance(requirement, Delegation):
            return (requirement.server, requirement.namespace) in self.delegated
        if isinstance(requirement, Privilege):
            granted = self.permissions.get(requirement.server)
            return granted is not None and _covers(granted, requirement)
        if isinstance(requirement, RosterApi):
            return not self.rosterProblem
        return not (isinstance(requirement, ForeignSenders) and self.maySendForOthers is False)


def _covers(granted: IPermissions, wanted: Privilege) -> bool:
    if wanted.access == "presence":
        return granted.feed in (wanted.kind, "roster")
    if wanted.access == "message":
        return granted.message == wanted.kind
    kind = granted.roster if wanted.access == "roster" else granted.iq.get(wanted.namespace, "none")
    return kind in (wanted.kind, "both")


@frozen
class Finding:
    """
    One line of the result.

    @ivar isProblem: true if something is to be done.
    @ivar lines: what is to be done, as lines of a configuration.
    """

    text: str
    isProblem: bool = False
    lines: tuple[str, ...] = ()


def findings(component: Component, observed: Observed, server: Server | None) -> Iterator[Finding]:
    """
    Yield the findings about one component.

    @param server: the kind of its server; C{None} if it is not known.
    """
    if not observed.isConnected:
        yield Finding(f"not connected: {observed.trouble}", True, tuple(_whole(component, server)))
        return
    if observed.trouble:
        yield Finding(f"connected, but {observed.trouble}", True)
    else:
        yield Finding("connected")
    relevant = component if server is None else server.relevant(component)
    missing = [each for each in relevant.requirements if not observed.fulfils(each)]
    yield from (
        Finding(str(each)) for each in relevant.having(Delegation, Privilege) if each not in missing
    )
    lacksApi = any(isinstance(each, RosterApi) for each in missing)
    if missing:
        names = "; ".join(map(str, missing)) + (f" ({observed.rosterProblem})" if lacksApi else "")
        yield Finding(f"missing: {names}", True, tuple(_part(component, missing, server)))
    for item in observed.items:
        if item.name in _COVERED or (item.name == _ROSTER_WAY and lacksApi):
            continue
        if item.isProblem:
            yield Finding(_first(item), True, tuple(str(item).split("\n")[1:]))
        elif item.name in _FACTS:
            yield Finding(_first(item))


def _first(item: StatusItem) -> str:
    return str(item).split("\n")[0]


def _whole(component: Component, server: Server | None) -> Iterable[str]:
    """Return the lines for a component that the server does not accept; its secret is not shown."""
    if server is None:
        return [f"see xmpp-gateway snippet prosody|ejabberd|openfire --host {component.jid}"]
    return server.block([evolve(component, secret=None)]).rstrip("\n").split("\n")


def _part(component: Component, missing: Iterable[Requirement], server: Server | None) -> Iterable[str]:
    if server is None:
        return _whole(component, None)
    return server.part([evolve(component, secret=None, requirements=tuple(missing))])


def written(component: Component, found: Iterable[Finding], server: Server | None) -> Iterator[str]:
    """Yield the lines to print about one component."""
    yield f"{component.jid} ({component.kind})"
    for each in found:
        yield f"  {'PROBLEM' if each.isProblem else 'ok'}: {each.text}"
        if each.lines:
            title = "the server" if server is None else server.title
            yield f"    in the configuration of {title}:"
            yield from (f"      {line}" for line in each.lines)
