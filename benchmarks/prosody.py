"""A private Prosody for the measurements that need a real server, and clients of it."""

import base64
import json
import pathlib
import socket
import time
from collections.abc import Callable, Iterable, Sequence

from contestants import Contestant, freePort
from fakeserver import Broken, Wire

PASSWORD = "pencil"
_ACCOUNT = f'return {{ ["password"] = "{PASSWORD}" }};\n'
_PATHS = ("/usr/lib/prosody/modules", "/usr/share/prosody/modules", "/usr/local/lib/prosody/modules")
_CONFIG = """\
run_as_root = true
daemonize = false
pidfile = "prosody.pid"
data_path = "data"
plugin_paths = {{ {paths} }}
log = {{ warn = "*console" }}
modules_enabled = {{ "saslauth", "disco", "posix", {modules} }}
modules_disabled = {{ "s2s", "offline" }}
authentication = "internal_plain"
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
c2s_interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {c2s} }}
component_interfaces = {{ "127.0.0.1" }}
component_ports = {{ {component} }}
component_stanza_size_limit = 8 * 1024 * 1024
network_settings = {{ nagle = false }}
http_interfaces = {{ "127.0.0.1" }}
http_ports = {{ {http} }}
https_ports = {{ }}
VirtualHost "{domain}"
"""


def hasModule(name: str, paths: Sequence[str]) -> bool:
    """True if Prosody has a module; C{paths} are folders in addition to its own."""
    return any(pathlib.Path(path, each).exists() for path in (*paths, *_PATHS) for each in (name, f"{name}.lua"))


class Prosody(Contestant):
    """
    A running Prosody.

    @param modules: modules that are loaded, in addition to those for a login.
    @param more: the rest of its configuration.
    @param paths: folders of modules, in addition to its own.
    @ivar c2s: the port for clients.
    @ivar component: the port for components.
    @ivar http: the port for HTTP requests, if a module serves them.
    """

    def __init__(
        self, domain: str, accounts: Iterable[str], modules: Sequence[str], more: str, paths: Sequence[str] = ()
    ) -> None:
        self.c2s, self.component, web = (freePort() for _ in range(3))
        config = _CONFIG.format(
            paths=", ".join(json.dumps(str(pathlib.Path(path).resolve())) for path in paths),
            modules=", ".join(map(json.dumps, modules)),
            c2s=self.c2s,
            component=self.component,
            http=web,
            domain=domain,
        )
        folder = f"data/{_stored(domain)}/accounts"
        files = {f"{folder}/{each}.dat": _ACCOUNT for each in accounts} | {"prosody.cfg.lua": config + more}
        super().__init__("prosody", ["prosody", "--config", "./prosody.cfg.lua", "-F"], files, http=web)


class Client(Wire):
    """A client that is logged in to a Prosody."""

    def __init__(self, port: int, domain: str, account: str) -> None:
        super().__init__()
        self._take(socket.create_connection(("127.0.0.1", port), 5))
        header = (
            f"<stream:stream to='{domain}' version='1.0' xmlns='jabber:client' "
            "xmlns:stream='http://etherx.jabber.org/streams'>"
        )
        proof = base64.b64encode(f"\0{account}\0{PASSWORD}".encode()).decode()
        for request, mark in (
            (header, b"</stream:features>"),
            (f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{proof}</auth>", b"<success"),
            (header, b"</stream:features>"),
            ("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>", b"</bind>"),
        ):
            self.send(request.encode())
            self.readUntil(mark, 10)


def _stored(name: str) -> str:
    """Return the name of Prosody's folder for a domain."""
    return "".join(each if each.isalnum() else f"%{ord(each):02x}" for each in name)


def listens(port: int) -> bool:
    """True if a port of the loopback takes connections."""
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def until(holds: Callable[[], bool], what: str, seconds: float = 60.0) -> None:
    """
    Wait until a condition is true.

    @raise Broken: if it is not true in time.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise Broken(f"not within {seconds:g} s: {what}")
        time.sleep(0.1)
