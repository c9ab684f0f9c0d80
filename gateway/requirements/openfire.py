"""
Steps in Openfire's admin console. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import evolve

from gateway.requirements.values import Component, Delegation, Privilege, Remark

TITLE = "Openfire"
# Openfire's ports for components.
_PLAIN, _TLS = 5275, 5276


def block(components: Sequence[Component]) -> str:
    """Return the steps for these components, with the values to type in."""
    lines = [
        "# In Openfire's admin console: Server > Server Settings > External Components",
        *_ports(components),
        *part(components),
        *(f"# {each.jid}: {remark}" for each in components for remark in each.having(Remark)),
    ]
    return "\n".join(lines) + "\n"


def part(components: Sequence[Component]) -> Iterator[str]:
    """Yield the lines of the components."""
    for component in components:
        suffix = f".{component.server}"
        if component.server is not None and not component.jid.endswith(suffix):
            yield (
                f"# {component.jid} cannot be used: Openfire appends its own domain to the name. Use a subdomain "
                f"of {component.server}"
            )
            continue
        subdomain = component.jid.removesuffix(suffix) if component.server else component.jid.partition(".")[0]
        yield "Allowed to Connect > Add:"
        yield f"    Subdomain: {subdomain}"
        yield f"    Shared secret: {component.secret or 'the secret of this component'}"
        lacking = [str(each) for each in component.having(Delegation, Privilege)]
        if lacking:
            yield f"    # Openfire grants neither delegations nor privileges, so {component.jid} has no use there:"
            yield from (f"    #   {each}" for each in lacking)


def relevant(component: Component) -> Component:
    """Return a component without requirements: Openfire can fulfil none."""
    return evolve(component, requirements=())


def _ports(components: Sequence[Component]) -> Iterator[str]:
    for address in dict.fromkeys(each.address for each in components):
        name, usual = ("Encrypted (TLS)", _TLS) if address.isTls else ("Plain-text", _PLAIN)
        if address.socket:
            yield f"# Openfire does not listen on a UNIX socket: use tcp:127.0.0.1:{_PLAIN} in gateway.toml"
            continue
        yield f"{name} connections: Enabled"
        yield f"{name} port: {address.port or usual}"
        if address.port not in (None, usual):
            yield f"    # or keep Openfire's {usual}, and write that port in gateway.toml"
