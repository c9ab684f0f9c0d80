"""
What to write into a server's configuration so that it delegates: for the log.
"""

from __future__ import annotations

from collections.abc import Iterable


def howToGrant(component: str, server: str, namespaces: Iterable[str]) -> str:
    """Lines for Prosody and for ejabberd that delegate these namespaces to the component."""
    namespaces = list(namespaces)
    name = component.partition(".")[0]
    prosody = "\n".join(f'        ["{namespace}"] = {{ jid = "{component}" }};' for namespace in namespaces)
    ejabberd = "\n".join(f'      "{namespace}": {{access: {name}}}' for namespace in namespaces)
    return f"""In Prosody's configuration:
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
