"""
Lines of configuration that a server needs: for the log, the status page and C{--check}.
"""

from __future__ import annotations

from gateway import ns


def ejabberdApiAdvice(component: str) -> str:
    """Return the lines for the gateway and for ejabberd with which rosters are set by ejabberd's HTTP API."""
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


def prosodyGrantAdvice(component: str, domain: str) -> str:
    """Return lines for Prosody that delegate rosters to the component, and allow it to push changes."""
    return f"""In Prosody's configuration:
    VirtualHost "{domain}"
      modules_enabled = {{ "delegation", "privilege" }}
      delegations = {{ ["{ns.ROSTER}"] = {{ jid = "{component}" }} }}
      privileged_entities = {{
        ["{component}"] = {{ roster = "both", presence = "roster", iq = {{ ["{ns.ROSTER}"] = "set" }} }};
      }}
    Component "{component}"
      modules_enabled = {{ "delegation", "privilege" }}
ejabberd needs its HTTP API instead: set api under [roster], see docs/roster.md."""
