"""
Time from a login to Prosody until the client has the right roster: the gateway and mod_http_roster_admin.

The client logs in, requests its roster, and becomes available. The roster is right when the client knows each
contact of the application's document, from the answer or from pushes.
"""

import http.client
import json
import pathlib
import re
import shutil
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import contestants
import prosody
import rosters
import rounds
from fakeapplication import FakeApplication
from fakeserver import Broken

# The module, the gateway, the gateway with a Prosody that saves rosters with a delay, and with locked rosters.
SIZES = (20, 500)
NAMES = ("module", "gateway", "gateway-delay", "gateway-lock")
MODULE = "mod_http_roster_admin"
# The first login of an account, one without changes since, and one with one new contact.
LOGINS = ("first", "same", "changed")

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
# Lines for the host, and the folder with the module.
DELAY = '  modules_enabled = { "roster_save_delay" }\n'
_CONTRIB = pathlib.Path(__file__).resolve().parents[1] / "contrib" / "prosody"
_ITEM = re.compile(rb"<item\s[^>]*jid=['\"]([^'\"]+)")


def missing(name: str, paths: Sequence[str]) -> str | None:
    """
    Return the reason for which a contestant is left out, or None.

    @param paths: folders of Prosody's modules, in addition to its own.
    """
    if shutil.which("prosody") is None:
        return "prosody is not installed"
    if name == "module" and not prosody.hasModule(MODULE, paths):
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
        options = DELAY if name == "gateway-delay" else ""
        port, processes = stack.enter_context(served(name, accounts, application, paths, options))
        contacts = [f"friend{number}@{rosters.SERVER}" for number in range(size + 1)]
        for kind, known in (("first", contacts[:-1]), ("same", contacts[:-1]), ("changed", contacts[1:])):
            document = {jid: {"name": f"Friend {jid}", "groups": {"Friends": True}} for jid in known}
            said = dict.fromkeys((f"/contacts/{each}" for each in accounts), json.dumps(document).encode())
            application.decide(said, f'"{kind == "changed"}"')
            for account in accounts:
                before = [process.cpu() for process in processes]
                seconds = _login(port, account, {jid.encode() for jid in known})
                _settle(processes)
                server, gateway = (process.cpu() - cpu for process, cpu in zip(processes, before, strict=True))
                found[kind].append(Login(seconds, server, 0.0 if name == "module" else gateway))
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
def served(
    name: str, accounts: list[str], application: FakeApplication, paths: Sequence[str], options: str = ""
) -> Iterator[tuple[int, list[contestants.Contestant]]]:
    """
    Start a Prosody with these accounts, and the source of their rosters; return the port for clients, and both
    processes. That of a module is Prosody itself.

    @param name: one of L{NAMES}, or the name of another module that serves HTTP.
    @param options: lines for the host in Prosody's configuration.
    """
    url = f"http://127.0.0.1:{application.port}/contacts/%s"
    names = {"server": rosters.SERVER, "component": rosters.COMPONENT, "url": url}
    isGateway, isLocked = name.startswith("gateway"), name == "gateway-lock"
    if isGateway:
        delegations = _DELEGATIONS.format(**names) if isLocked else ""
        modules, more = ["roster", "privilege", "delegation"], _GRANTS.format(**names, delegations=delegations)
    elif name == "module":
        modules, more = ["http_roster_admin", "http"], _MODULE.format(**names)
    else:
        modules, more = ["roster", "http", name], ""
    with ExitStack() as stack:
        folders = [str(_CONTRIB), *paths]
        server = stack.enter_context(prosody.Prosody(rosters.SERVER, accounts, modules, options + more, folders))
        gateway: contestants.Contestant = server
        isUp = (server.c2s, server.component if isGateway else server.http)
        prosody.until(lambda: all(map(prosody.listens, isUp)), "Prosody listens")
        if isGateway:
            gateway = contestants.rosterGateway(server.component, url, isLocked)
            stack.enter_context(gateway)
            prosody.until(lambda: _isGranted(gateway.http, isLocked), "the gateway is granted what it needs")
        yield server.c2s, [server, gateway]


def _settle(processes: list[contestants.Contestant]) -> None:
    """Wait until all effects of a login are over: both processes rest for 0.2 seconds."""
    deadline = time.monotonic() + 30
    spent, now = -1.0, sum(process.cpu() for process in processes)
    while now - spent > 0.01 and time.monotonic() < deadline:
        time.sleep(0.2)
        spent, now = now, sum(process.cpu() for process in processes)


def _login(port: int, account: str, wanted: set[bytes]) -> float:
    """Log in; return the seconds from the request for the roster until the client knows these contacts."""
    client = Client(port, rosters.SERVER, account)
    try:
        return client.roster(wanted)
    finally:
        client.close()


class Client(prosody.Client):
    """A client that is logged in."""

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


def isReady(port: int) -> bool:
    """True if the gateway is connected."""
    return _status(port, "/readyz")[0] == 200


def _isGranted(port: int, isLocked: bool) -> bool:
    """True if the gateway's status page reports the grants that it needs."""
    _, status = _status(port, "/status")
    return b"grants roster both" in status and (not isLocked or b"delegates" in status)


def _status(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except OSError:
        return 0, b""
    finally:
        connection.close()
