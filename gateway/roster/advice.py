"""
Configuration for a server that sets rosters by its HTTP API only: for the log and the status page.
"""

from __future__ import annotations


def ejabberdApiAdvice(component: str) -> str:
    """Lines for the gateway and for ejabberd by which a component's rosters are set by ejabberd's HTTP API."""
    return f"""In the gateway's configuration:
    [roster."{component}"]
    apply = "auto"
    api = "http://127.0.0.1:5280/api"
and in ejabberd's:
    listen:
      - port: 5280
        ip: "127.0.0.1"
        module: ejabberd_http
        backlog: 128
        request_handlers: {{/api: mod_http_api}}
    api_permissions:
      "rosters":
        who: {{ip: 127.0.0.1/8}}
        what: [add_rosteritem, delete_rosteritem, get_roster]
    modules:
      mod_http_api: {{}}
      mod_admin_extra: {{}}"""
