"""
Lines of configuration that a server needs: for the log, the status page and C{--check}.
"""

from __future__ import annotations

from gateway import ns
from gateway.requirements import (
    Component,
    Delegation,
    ForeignSenders,
    Privilege,
    Requirement,
    RosterApi,
    ejabberd,
    prosody,
)
from gateway.requirements.servers import kindOf


def serverRequirements(domain: str, api: str | None, isLocked: bool, probes: bool) -> list[Requirement]:
    """
    Return the requirements on the server's configuration.

    @param domain: domain of the users.
    @param api: URL of ejabberd's HTTP API; C{None} if there is none.
    @param isLocked: true if clients may not change their rosters.
    @param probes: true if presence is sent in users' names.
    """
    found: list[Requirement] = [
        Privilege(domain, "roster", "both"),
        Privilege(domain, "presence", "roster" if isLocked else "managed_entity"),
        RosterApi(api),
    ]
    if isLocked:
        found += [Delegation(domain, ns.ROSTER), Privilege(domain, "iq", "set", ns.ROSTER)]
    if probes:
        found.append(ForeignSenders())
    return found


def ejabberdApiAdvice(component: str) -> str:
    """Return the lines for the gateway and for ejabberd with which rosters are set by ejabberd's HTTP API."""
    needed = [Component(jid=component, requirements=(RosterApi(ejabberd.API),))]
    lines = "\n".join(f"    {line}" for line in ejabberd.part(needed))
    return f"""In the gateway's configuration:
    [roster."{component}"]
    apply = "auto"
    api = "{ejabberd.API}"
and in ejabberd's:
{lines}"""


def pushAdvice(component: str, domain: str, software: str = "") -> str:
    """
    Return lines that delegate rosters to the component, and allow it to push changes.

    @param software: of the server, if it is known.
    """
    needed = tuple(serverRequirements(domain, None, isLocked=True, probes=False))
    lines = "\n".join(f"    {line}" for line in prosody.part([Component(jid=component, requirements=needed)]))
    forProsody = f"In Prosody's configuration:\n{lines}"
    found = {
        "prosody": forProsody,
        "ejabberd": "ejabberd needs its HTTP API: set api under [roster], see docs/roster.md.",
        "openfire": "Openfire grants nothing to components: rosters need Prosody or ejabberd.",
    }
    other = "ejabberd needs its HTTP API instead: set api under [roster], see docs/roster.md."
    return found.get(kindOf(software), f"{forProsody}\n{other}")
