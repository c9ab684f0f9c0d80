"""
One request for the rosters of many users, on real servers: the gateway, and others that write the same rosters.

The users have no contacts at first. In the first request each of them gets all contacts; in the second one half of
C{CHANGES} contacts are replaced.
"""

import glob
import http.client
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import contestants
import logins
import prosody
import rosters
import rounds
from fakeapplication import FakeApplication
from fakeserver import Broken

CHANGES = 10


class Way(NamedTuple):
    """
    A way to write rosters.

    @ivar source: C{gateway}; C{online}, the gateway with users who are online; C{module}, Prosody's
        mod_http_roster_admin, whose users must be online; or C{direct}, a loop inside the server, which reads no
        documents.
    @ivar storage: of Prosody; of ejabberd an empty string.
    @ivar isDelayed: Prosody saves a roster a second after its first change (contrib/prosody).
    @ivar isLazy: Prosody collects garbage when its memory has doubled; by default when it has grown by 5 %.
    @ivar isByContact: Prosody's mod_privilege is changed, to save the contact that was set, not the whole roster;
        a loop inside of Prosody saves each contact, not each roster.
    """

    source: str
    storage: str = ""
    isByContact: bool = False
    isDelayed: bool = False
    isLazy: bool = False


WAYS = {
    "gateway": Way("gateway", "internal"),
    "gateway, SQLite": Way("gateway", "sql"),
    "gateway, memory": Way("gateway", "memory"),
    "gateway, delayed": Way("gateway", "internal", isDelayed=True),
    "gateway, lazy": Way("gateway", "internal", isLazy=True),
    "gateway, delayed, lazy": Way("gateway", "internal", isDelayed=True, isLazy=True),
    "gateway, delayed, SQLite": Way("gateway", "sql", isDelayed=True),
    "gateway, by contact": Way("gateway", "internal", True),
    "gateway, by contact, SQLite": Way("gateway", "sql", True),
    "gateway, online": Way("online", "internal"),
    "gateway, delayed, online": Way("online", "internal", isDelayed=True),
    "module, online": Way("module", "memory"),
    "direct": Way("direct", "internal"),
    "direct, SQLite": Way("direct", "sql"),
    "direct, by contact": Way("direct", "internal", True),
    "direct, by contact, SQLite": Way("direct", "sql", True),
    "gateway, ejabberd": Way("gateway"),
    "direct, ejabberd": Way("direct"),
}

_STORAGE = '  storage = {{ roster = "{}" }}\n  sql = {{ driver = "SQLite3", database = "rosters.sqlite" }}\n'

# Back in the global section, for a moment.
_LAZY = f'Host "*"\n  gc = {{ threshold = 200 }}\nVirtualHost "{rosters.SERVER}"\n'

# The request has the users, and the contacts to set: null removes one.
_DIRECT = """\
local rm, json = require "core.rostermanager", require "util.json";
module:provides("http", { default_path = "/roster_admin"; route = { ["POST /refresh"] = function (event)
    local request = json.decode(event.request.body);
    for _, user in ipairs(request.users) do
        local roster = rm.load_roster(user, module.host);
        for _, jid in ipairs(request.removed) do
            roster[jid] = nil;
            if request.each then assert(rm.save_roster(user, module.host, roster, jid)); end
        end
        for _, jid in ipairs(request.added) do
            roster[jid] = { subscription = "both"; name = "Friend "..jid; groups = { Friends = true } };
            if request.each then assert(rm.save_roster(user, module.host, roster, jid)); end
        end
        if not request.each then assert(rm.save_roster(user, module.host, roster)); end
    end
    return json.encode({ updated = #request.users, errors = 0 });
end } });
"""
# In Debian's mod_privilege, twice.
_WHOLE = "save_roster(from_node, from_host, roster)"
_BY_CONTACT = "save_roster(from_node, from_host, roster, item_jid)"

# Waits for files with users, contacts to remove, and contacts to add.
_ERLANG = """\
Wait = fun(W, N) -> File = integer_to_list(N), case file:consult(File) of {ok, [{Users, Removed, Added}]} ->
lists:foreach(fun(U) -> lists:foreach(fun(C) ->
ok = mod_admin_extra:delete_rosteritem(U, <<"DOMAIN">>, C, <<"DOMAIN">>) end, Removed),
lists:foreach(fun(C) -> ok = mod_admin_extra:add_rosteritem(U, <<"DOMAIN">>, C, <<"DOMAIN">>,
<<"Friend ", C/binary>>, GROUPS, <<"both">>) end, Added) end, Users),
file:write_file(File ++ ".done", ""), W(W, N + 1);
_ -> timer:sleep(20), W(W, N) end end, spawn(fun() -> Wait(Wait, 1) end).
"""


def missing(name: str, paths: Sequence[str]) -> str | None:
    """Return the reason for which a way is left out, or None."""
    way = WAYS[name]
    if not way.storage:
        return None if _libraries() else "ejabberd is not installed"
    if way.storage == "sql" and not _hasSqlite():
        return "Lua's libraries DBI and dbd.sqlite3 are not installed (Debian: lua-dbi-sqlite3)"
    return logins.missing("module" if way.source == "module" else "gateway", paths)


def measure(name: str, users: int, size: int, paths: Sequence[str]) -> rounds.Figures:
    """
    Measure one round of a way.

    @param size: contacts of each user.
    @param paths: folders of Prosody's modules.
    @raise Broken: if an answer or a roster is not right.
    """
    way = WAYS[name]
    accounts = [f"user{number}" for number in range(users)]
    contacts = [f"friend{number}" for number in range(size + CHANGES // 2)]
    figures: rounds.Figures = {}
    application = FakeApplication()
    with ExitStack() as stack:
        stack.callback(application.close)
        started = _prosody if way.storage else _ejabberd
        c2s, processes = stack.enter_context(started(way, accounts, application, paths))
        clients: list[logins.Client] = []
        if way.source in ("module", "online"):
            _decide(application, accounts, [])
            for account in accounts:
                clients.append(logins.Client(c2s, rosters.SERVER, account))
                stack.callback(clients[-1].close)
                clients[-1].roster(set())
                clients[-1].readUntil(b"id='r'", 10)
        for kind, known, removed, added in (
            ("first", contacts[:size], [], contacts[:size]),
            ("changed", contacts[-size:], contacts[: CHANGES // 2], contacts[size:]),
        ):
            _decide(application, accounts, known)
            found = _pass(way, processes, accounts, removed, added)
            figures |= {f"{kind} {each}": value for each, value in found.items()}
            for client in clients:
                _expect(client, len(removed) + len(added))
    return {"cpu": (figures["first server"] + figures.get("first gateway", 0)) * 1e3, **figures}


def _pass(
    way: Way, processes: list[contestants.Contestant], accounts: list[str], removed: list[str], added: list[str]
) -> rounds.Figures:
    """Write all rosters: users/s, CPU ms of each process for a user, and the gateway's memory in MiB."""
    server, gateway = processes
    before = [process.cpu() for process in processes]
    resident = gateway.memory("VmRSS")
    gateway.resetPeak()
    started = time.perf_counter()
    if way.source != "direct":
        answer = _request(gateway, way, accounts)
    elif way.storage:
        request = {"users": accounts, "added": _jids(added), "removed": _jids(removed)}
        answer = _request(server, way, {**request, "each": way.isByContact})
    else:
        answer = _tell(server, accounts, removed, added)
    elapsed = time.perf_counter() - started
    if (answer["updated"], answer["errors"]) != (len(accounts), 0):
        raise Broken(f"the answer is {answer!s:.500}")
    spent = [(process.cpu() - cpu) / len(accounts) * 1e3 for process, cpu in zip(processes, before, strict=True)]
    figures = {"rate": len(accounts) / elapsed, "server": spent[0]}
    if gateway is not server:
        figures |= {"gateway": spent[1], "peak": gateway.memory("VmHWM") - resident}
        # Compares all rosters with the documents.
        answer = _request(gateway, way, accounts, "?dry_run=1")
        changes = answer["changes"]
        if answer["updated"] != len(accounts) or not isinstance(changes, dict) or any(changes.values()):
            raise Broken(f"rosters are not right: {answer!s:.500}")
    return figures


def report(gathered: Mapping[str, list[rounds.Figures]], users: int, size: int, markdown: bool) -> str:
    """Return the table."""
    columns = ("rate", "server", "gateway")
    heading = [f"{size} contacts new: users/s", "CPU ms of the server", "of the gateway", "its memory, MiB"]
    heading += [f"{CHANGES} changes: users/s", "CPU ms of the server", "of the gateway"]
    rows = [
        (
            name,
            *(_shown(figures, f"first {each}") for each in (*columns, "peak")),
            *(_shown(figures, f"changed {each}") for each in columns),
        )
        for name, figures in gathered.items()
    ]
    return rounds.table([(f"{users} users", *heading), *rows], markdown)


def _shown(figures: list[rounds.Figures], key: str) -> str:
    if key not in figures[0]:
        return ""
    middle = statistics.median(each[key] for each in figures)
    return f"{middle:.0f}" if middle >= 100 else f"{middle:.1f}"


def _jids(names: list[str]) -> list[str]:
    return [f"{name}@{rosters.SERVER}" for name in names]


def _decide(application: FakeApplication, accounts: list[str], known: list[str]) -> None:
    document = {jid: {"name": f"Friend {jid}", "groups": {"Friends": True}} for jid in _jids(known)}
    said = json.dumps(document).encode()
    application.decide(dict.fromkeys((f"/contacts/{each}" for each in accounts), said), f'"{known[-1:]}"')


def _request(process: contestants.Contestant, way: Way, body: object, query: str = "") -> dict[str, object]:
    connection = http.client.HTTPConnection("127.0.0.1", process.http, timeout=7200)
    # Prosody selects its host by this name.
    host = rosters.SERVER if way.source in ("module", "direct") else "localhost"
    headers = {"Content-Type": "application/json", "Host": host}
    try:
        connection.request("POST", f"/roster_admin/refresh{query}", json.dumps(body), headers)
        answer: dict[str, object] = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise Broken(f"the request failed: {error!r}") from error
    finally:
        connection.close()
    return answer


def _expect(client: logins.Client, pushes: int) -> None:
    """
    Read the pushes of one client.

    @raise Broken: if it gets another number of them.
    """
    seen, deadline = b"", time.monotonic() + 30
    while (found := len(re.findall(rb"<item\s", seen))) < pushes and time.monotonic() < deadline:
        seen += client.step(0.2)
    if found != pushes:
        raise Broken(f"{found} pushes, not {pushes}: {seen!r:.500}")


@contextmanager
def _prosody(
    way: Way, accounts: list[str], application: FakeApplication, paths: Sequence[str]
) -> Iterator[tuple[int, list[contestants.Contestant]]]:
    name = {"direct": "scale_direct", "module": "module"}.get(way.source, "gateway")
    options = "" if way.source == "module" else _STORAGE.format(way.storage)
    options += logins.DELAY * way.isDelayed + _LAZY * way.isLazy
    with ExitStack() as stack:
        folder = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="gateway-bench-")))
        (folder / "mod_scale_direct.lua").write_text(_DIRECT)
        if way.isByContact and name == "gateway":
            [shipped] = glob.glob("/usr/lib/prosody/modules/mod_privilege/mod_privilege.lua")
            source = pathlib.Path(shipped).read_text()
            assert _WHOLE in source
            (folder / "mod_privilege.lua").write_text(source.replace(_WHOLE, _BY_CONTACT))
        yield stack.enter_context(logins.served(name, accounts, application, [str(folder), *paths], options))


@contextmanager
def _ejabberd(
    way: Way, accounts: list[str], application: FakeApplication, paths: Sequence[str]
) -> Iterator[tuple[int, list[contestants.Contestant]]]:
    port, api = contestants.freePort(), contestants.freePort()
    loopback = {"ip": "127.0.0.1"}
    config = {
        "hosts": [rosters.SERVER],
        "loglevel": "warning",
        "s2s_access": "none",
        "listen": [
            {
                **loopback,
                "port": api,
                "module": "ejabberd_http",
                "backlog": 128,
                "request_handlers": {"/api": "mod_http_api"},
            },
            {
                **loopback,
                "port": port,
                "module": "ejabberd_service",
                "access": "all",
                "hosts": {rosters.COMPONENT: {"password": "secret"}},
            },
        ],
        "api_permissions": {"loopback": {"who": {"ip": "127.0.0.1/8"}, "what": "*"}},
        "modules": {each: {} for each in ("mod_roster", "mod_http_api", "mod_admin_extra")},
    }
    groups = "[<<\"Friends\">>]" if _version() >= (24, 2) else '<<"Friends">>'
    argv = ["erl", "+K", "true", "-noinput", "-mnesia", "dir", '"spool"', "-ejabberd", "log_rotate_count", "0"]
    argv += ["-s", "ejabberd", "-eval", _ERLANG.replace("DOMAIN", rosters.SERVER).replace("GROUPS", groups)]
    environment = {
        "ERL_LIBS": str(pathlib.Path(_libraries()).parent),
        "HOME": ".",
        "EJABBERD_CONFIG_PATH": "ejabberd.yml",
        "EJABBERD_LOG_PATH": "ejabberd.log",
        "ERL_CRASH_DUMP_BYTES": "0",
    }
    with ExitStack() as stack:
        files = {"ejabberd.yml": json.dumps(config)}
        server = gateway = contestants.Contestant("ejabberd", argv, files, environment=environment)
        stack.enter_context(server)
        prosody.until(lambda: prosody.listens(api) and prosody.listens(port), "ejabberd listens")
        if way.source != "direct":
            url = f"http://127.0.0.1:{application.port}/contacts/%s"
            gateway = contestants.rosterGateway(port, url, api=f"http://127.0.0.1:{api}/api")
            stack.enter_context(gateway)
            prosody.until(lambda: logins.isReady(gateway.http), "the gateway is ready")
        yield 0, [server, gateway]


def _tell(
    server: contestants.Contestant, users: list[str], removed: list[str], added: list[str]
) -> dict[str, object]:
    """Have ejabberd write these contacts by itself."""
    number = len(list(server.directory.glob("*.done"))) + 1
    lists = [", ".join(f'<<"{each}">>' for each in names) for names in (users, removed, added)]
    new = server.directory / f"{number}.new"
    new.write_text("{[" + "], [".join(lists) + "]}.\n")
    new.rename(server.directory / str(number))
    done = server.directory / f"{number}.done"
    prosody.until(done.exists, "ejabberd has written the rosters", 3600)
    return {"updated": len(users), "errors": 0}


def _libraries() -> str:
    """Return the folder of ejabberd's own library; empty if it is not installed."""
    found = sorted(glob.glob("/usr/lib/*/ejabberd-*/ebin")) if shutil.which("erl") else []
    return str(pathlib.Path(found[0]).parent) if found else ""


def _version() -> tuple[int, int]:
    found = re.search(r"ejabberd-(\d+)\.(\d+)", _libraries())
    assert found is not None
    return int(found[1]), int(found[2])


def _hasSqlite() -> bool:
    lua = shutil.which("lua5.4")
    command = [lua or "false", "-e", 'require "DBI"; require "dbd.sqlite3"']
    return subprocess.run(command, capture_output=True, check=False, env=os.environ).returncode == 0
