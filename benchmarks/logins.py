"""
Time from a login to Prosody until the client has the right roster: the gateway and mod_http_roster_admin.

The client logs in, requests its roster, and becomes available. The roster is right when the client knows each
contact of the application's document, from the answer or from pushes.
"""

import base64
import http.client
import json
import pathlib
import re
import shutil
import socket
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import contestants
import rosters
import rounds
from fakeapplication import FakeApplication
from fakeserver import Broken, Wire

# The module, the gateway, and the gateway with locked rosters.
SIZES = (20, 500)
NAMES = ("module", "gateway", "gateway-lock")
MODULE = "mod_http_roster_admin"
# The first login of an account, one without changes since, and one with one new contact.
LOGINS = ("first", "same", "changed")

_PASSWORD = "pencil"
_ACCOUNT = f'return {{ ["password"] = "{_PASSWORD}" }};\n'
_MODULE_PATHS = ("/usr/lib/prosody/modules", "/usr/share/prosody/modules", "/usr/local/lib/prosody/modules")

_PROSODY = """\
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
component_ports = {{ {port} }}
component_stanza_size_limit = 8 * 1024 * 1024
network_settings = {{ nagle = false }}
http_interfaces = {{ "127.0.0.1" }}
http_ports = {{ {http} }}
https_ports = {{ }}
VirtualHost "{server}"
"""
_MODULE = """\
  storage = {{ roster = "memory" }}
  http_roster_url = "{url}"
"""
_GRANTS = """\
  privileged_entities = {{ ["{component}"] = {{
    roster = "both"; presence = "managed_entity"; iq = {{ ["jabber:iq:roster"] = "set" }}
  }} }}
  {delegations}
Component "{component}"
  component_secret = "secret"
  modules_enabled = {{ "privilege", "delegation" }}
"""
_DELEGATIONS = 'delegations = {{ ["jabber:iq:roster"] = {{ jid = "{component}" }} }}'
_ITEM = re.compile(rb"<item\s[^>]*jid=['\"]([^'\"]+)")


def missing(name: str, paths: Sequence[str]) -> str | None:
    """
    Return the reason for which a contestant is left out, or None.

    @param paths: folders of Prosody's modules, in addition to its own.
    """
    if shutil.which("prosody") is None:
        return "prosody is not installed"
    if name == "module" and not any(pathlib.Path(path, MODULE).exists() for path in (*paths, *_MODULE_PATHS)):
        return f"{MODULE} is not among Prosody's modules; --modules names a folder with it"
    return None


class Login(NamedTuple):
    """Seconds until the roster was right, and seconds of CPU of Prosody and the gateway."""

    seconds: float
    prosody: float
    gateway: float


def measure(name: str, size: int, users: int, paths: Sequence[str]) -> rounds.Figures:
    """
    Measure one round of a contestant: the median login of these users in ms, by kind, and the CPU of the first one.

    @param size: contacts of each user.
    @raise Broken: if a roster does not become right.
    """
    found: dict[str, list[Login]] = {kind: [] for kind in LOGINS}
    accounts = [f"user{number}" for number in range(users)]
    with ExitStack() as stack:
        application = FakeApplication()
        stack.callback(application.close)
        port, processes = stack.enter_context(_served(name, accounts, application, paths))
        contacts = [f"friend{number}@{rosters.SERVER}" for number in range(size + 1)]
        for kind, known in (("first", contacts[:-1]), ("same", contacts[:-1]), ("changed", contacts[1:])):
            document = {jid: {"name": f"Friend {jid}", "groups": {"Friends": True}} for jid in known}
            said = dict.fromkeys((f"/contacts/{each}" for each in accounts), json.dumps(document).encode())
            application.decide(said, f'"{kind == "changed"}"')
            for account in accounts:
                before = [process.cpu() for process in processes]
                seconds = _login(port, account, {jid.encode() for jid in known})
                _settle(processes)
                prosody, gateway = (process.cpu() - cpu for process, cpu in zip(processes, before, strict=True))
                found[kind].append(Login(seconds, prosody, 0.0 if name == "module" else gateway))
    figures = {kind: statistics.median(each.seconds for each in logins) * 1e3 for kind, logins in found.items()}
    for process in ("prosody", "gateway"):
        figures[process] = statistics.median(getattr(each, process) for each in found["first"]) * 1e3
    return {"cpu": (figures["prosody"] + figures["gateway"]) * 1e3, **figures}


def report(gathered: Mapping[tuple[str, int], list[rounds.Figures]], markdown: bool) -> str:
    """Return the tables."""
    heading = ("contestant", "contacts", "first login ever, ms", "no change, ms", "one contact new, ms")
    costs = ("first login: CPU ms of Prosody", "of the gateway")
    rows = [
        (
            name,
            str(size),
            *(rounds.spread([each[kind] for each in figures], 0) for kind in LOGINS),
            *(rounds.spread([each[process] for each in figures], 0) for process in ("prosody", "gateway")),
        )
        for (name, size), figures in gathered.items()
    ]
    parts = [rounds.table([(*heading, *costs), *rows], markdown)]
    compared = [("ratio of ms", "contacts", "first login ever", "no change", "one contact new")]
    for (name, size), figures in gathered.items():
        module = gathered.get(("module", size), [])
        if name != "module" and module:
            ratios = (
                rounds.spread([a[kind] / b[kind] for a, b in zip(figures, module, strict=True)], 1)
                for kind in LOGINS
            )
            compared.append((f"{name}/module", str(size), *ratios))
    if len(compared) > 1:
        parts.append(rounds.table(compared, markdown))
    return "\n\n".join(parts)


@contextmanager
def _served(
    name: str, accounts: list[str], application: FakeApplication, paths: Sequence[str]
) -> Iterator[tuple[int, list[contestants.Contestant]]]:
    """
    Start a Prosody with these accounts, and the source of their rosters; return the port for clients, and both
    processes.
    """
    c2s, port, web = (contestants.freePort() for _ in range(3))
    url = f"http://127.0.0.1:{application.port}/contacts/%s"
    names = {"server": rosters.SERVER, "component": rosters.COMPONENT, "url": url}
    if name == "module":
        modules, more = '"http_roster_admin", "http"', _MODULE.format(**names)
    else:
        delegations = _DELEGATIONS.format(**names) if name == "gateway-lock" else ""
        modules, more = '"roster", "privilege", "delegation"', _GRANTS.format(**names, delegations=delegations)
    written = ", ".join(json.dumps(str(pathlib.Path(path).resolve())) for path in paths)
    config = _PROSODY.format(c2s=c2s, port=port, http=web, modules=modules, paths=written, **names) + more
    folder = f"data/{_stored(rosters.SERVER)}/accounts"
    files = {f"{folder}/{each}.dat": _ACCOUNT for each in accounts} | {"prosody.cfg.lua": config}
    with ExitStack() as stack:
        command = ["prosody", "--config", "./prosody.cfg.lua", "-F"]
        prosody = gateway = stack.enter_context(contestants.Contestant("prosody", command, files))
        _until(lambda: _listens(c2s) and (name == "module" or _listens(port)), "Prosody listens")
        if name != "module":
            gateway = contestants.rosterGateway(port, url, isLocked=name == "gateway-lock")
            stack.enter_context(gateway)
            _until(lambda: _isGranted(gateway.http, name == "gateway-lock"), "the gateway is granted what it needs")
        yield c2s, [prosody, gateway]


def _settle(processes: list[contestants.Contestant]) -> None:
    """Wait until all effects of a login are over: both processes rest for 0.2 seconds."""
    deadline = time.monotonic() + 30
    spent, now = -1.0, sum(process.cpu() for process in processes)
    while now - spent > 0.01 and time.monotonic() < deadline:
        time.sleep(0.2)
        spent, now = now, sum(process.cpu() for process in processes)


def _login(port: int, account: str, wanted: set[bytes]) -> float:
    """Log in; return the seconds from the request for the roster until the client knows these contacts."""
    client = _Client(port, account)
    try:
        return client.roster(wanted)
    finally:
        client.close()


class _Client(Wire):
    """A client that is logged in."""

    def __init__(self, port: int, account: str) -> None:
        super().__init__()
        self._take(socket.create_connection(("127.0.0.1", port), 5))
        header = f"<stream:stream to='{rosters.SERVER}' version='1.0' xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>"
        proof = base64.b64encode(f"\0{account}\0{_PASSWORD}".encode()).decode()
        for request, mark in (
            (header, b"</stream:features>"),
            (f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{proof}</auth>", b"<success"),
            (header, b"</stream:features>"),
            ("<iq type='set' id='b'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>", b"</bind>"),
        ):
            self.send(request.encode())
            self.readUntil(mark, 10)

    def roster(self, wanted: set[bytes], seconds: float = 60.0) -> float:
        """
        Request the roster, become available, and wait.

        @raise Broken: if the contacts are different after these seconds.
        """
        started = time.perf_counter()
        self.send(b"<iq type='get' id='r'><query xmlns='jabber:iq:roster'/></iq>")
        # Ordinary clients do not wait for the answer.
        self.send(b"<presence/>")
        seen, count = b"", 0
        while count < len(wanted):
            if time.perf_counter() - started > seconds:
                raise Broken(f"{count} of {len(wanted)} contacts after {seconds:g} s")
            data = self.step(0.5)
            seen += data
            if b"type='error'" in data:
                raise Broken(f"an error: {data!r:.500}")
            if b"<item " in data or count:
                count = len(wanted.intersection(_ITEM.findall(seen)))
        return time.perf_counter() - started


def _stored(name: str) -> str:
    """Return the name of Prosody's folder for a domain."""
    return "".join(each if each.isalnum() else f"%{ord(each):02x}" for each in name)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


def _isGranted(port: int, isLocked: bool) -> bool:
    """True if the gateway's status page reports the grants that it needs."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/status")
        status = connection.getresponse().read()
    except OSError:
        return False
    finally:
        connection.close()
    return b"grants roster both" in status and (not isLocked or b"delegates" in status)


def _until(holds: Callable[[], bool], what: str, seconds: float = 20.0) -> None:
    """
    Wait until a condition is true.

    @raise Broken: if it is not true in time.
    """
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            raise Broken(f"not within {seconds:g} s: {what}")
        time.sleep(0.1)
