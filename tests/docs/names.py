"""Names in the blocks of the documentation that must exist: options of other software, namespaces, imports."""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import re
from collections.abc import Iterator, Mapping
from typing import Any

from tests.docs.pages import ROOT, isShown

# The options and modules of Prosody that the pages use: a further one is added here, after a look into its manual.
_PROSODY = {
    *("authentication", "certificates", "gc", "log", "modules_enabled", "pidfile", "plugin_paths"),
    *("component_interfaces", "component_ports", "component_secret", "validate_from_addresses"),
    *("delegations", "privileged_entities", "roster_save_delay", "s2s_secure_auth"),
}
_PROSODY_MODULES = {
    *("blocklist", "carbons", "dialback", "disco", "muc_mam", "pep", "ping", "posix", "private", "roster"),
    *("saslauth", "smacks", "time", "tls", "vcard4", "version", "delegation", "privilege", "roster_save_delay"),
}
# The keys of ejabberd and of Prometheus, by the key of the table that they are in. Those of other tables are
# addresses, namespaces and names that the operator chooses.
_YAML = {
    "": {"hosts", "loglevel", "certfiles", "auth_password_format", "s2s_use_starttls", "listen"}
    | {"acl", "access_rules", "api_permissions", "domain_balancing", "modules", "scrape_configs"},
    "listen": {"port", "ip", "module", "access", "global_routes", "hosts", "backlog", "max_stanza_size"}
    | {"request_handlers", "starttls_required"},
    "modules": {"mod_admin_extra", "mod_caps", "mod_delegation", "mod_disco", "mod_http_api", "mod_mam", "mod_muc"}
    | {"mod_ping", "mod_privilege", "mod_roster", "mod_s2s_dialback", "mod_version"},
    "mod_delegation": {"namespaces"},
    "mod_privilege": {"roster", "message", "presence", "iq"},
    "mod_muc": {"host", "access_create", "default_room_options"},
    "default_room_options": {"mam"},
    "scrape_configs": {"job_name", "static_configs", "authorization"},
    "static_configs": {"targets"},
    "authorization": {"type", "credentials_file"},
}
# The first words of a line.
WORDS = {
    "nginx": {"server", "listen", "server_name", "ssl_certificate", "ssl_certificate_key", "location", "}"}
    | {"proxy_pass", "proxy_http_version", "proxy_set_header", "proxy_read_timeout"},
    "logrotate": {"weekly", "rotate", "compress", "delaycompress", "missingok", "postrotate", "endscript"}
    | {"kill", "}"},
}
_NAMESPACE = re.compile(r"""\bxmlns(?::\w+)?=(["'])(.*?)\1""")


def unknownLua(hosts: Mapping[str, Mapping[str, Any]]) -> set[str]:
    """Return the options and modules of a configuration of Prosody that are not known, by its hosts."""
    found: set[str] = set()
    for options in hosts.values():
        found |= options.keys() - _PROSODY - {"module"}
        found |= {*options.get("modules_enabled", ())} - _PROSODY_MODULES
    return found


def unknownYaml(value: Any, table: str = "") -> Iterator[str]:
    """Yield the keys in YAML that are not known in their table."""
    if isinstance(value, list):
        for each in value:
            yield from unknownYaml(each, table)
    elif isinstance(value, dict):
        yield from value.keys() - _YAML.get(table, value.keys())
        for key, each in value.items():
            yield from unknownYaml(each, key)


def unknownNamespaces(text: str) -> set[str]:
    """Return the namespaces in stanzas that are nowhere in the gateway or its tests."""
    found = {namespace for _, namespace in _NAMESPACE.findall(text) if "//www.w3.org/" not in namespace}
    return {each for each in found if not re.search(rf"{re.escape(each)}(?![\w:#-])", _sources())}


def unknownKeys(document: Mapping[str, Any]) -> set[str]:
    """Return the keys of a document in JSON that are neither addresses nor strings of the gateway."""
    return {each for each in document if "@" not in each and f'"{each}"' not in _sources()}


@functools.cache
def _sources() -> str:
    files = (each for name in ("gateway", "tests") for each in sorted((ROOT / name).rglob("*.py")))
    return "\n".join(each.read_text() for each in files if each.name != "names.py")


def unknownImports(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that a program imports and that do not exist, and the names that they do not have."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if not _exists(each.name))
        elif isinstance(node, ast.ImportFrom) and node.module and not _exists(node.module):
            yield node.module
        elif isinstance(node, ast.ImportFrom) and node.module and importlib.util.find_spec(node.module):
            module = importlib.import_module(node.module)
            names = (each.name for each in node.names if not hasattr(module, each.name))
            yield from (f"{node.module}.{each}" for each in names if not _exists(f"{node.module}.{each}"))


def _exists(module: str) -> bool:
    if isShown(f"{module.replace('.', '/')}.py"):
        return True
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False
