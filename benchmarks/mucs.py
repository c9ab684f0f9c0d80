"""
Rooms under test: those of the gateway, of Prosody and of ejabberd, and of the gateway with theirs behind them; the
same component has the occupants.
"""

import glob
import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Any

import contestants
from fakeserver import Broken, FakeServer, Wire

USERS = "users.localhost"
ROOMS = "rooms.localhost"
# Ordinary rooms behind those of the gateway.
_BEHIND = "conference.localhost"
_SECRET = "secret"

_PROSODY = """\
run_as_root = true
daemonize = false
pidfile = "prosody.pid"
data_path = "."
log = {{ warn = "*console" }}
modules_enabled = {{ "posix" }}
modules_disabled = {{ "s2s", "c2s", "offline" }}
component_stanza_size_limit = 1024 * 1024
component_interfaces = {{ "127.0.0.1" }}
component_ports = {{ {port} }}
VirtualHost "localhost"
{components}
Component "{rooms}" "muc"
  storage = "memory"
"""


class Occupants(Wire):
    """
    The component of all occupants, on a real server.

    @ivar port: of the server's components.
    """

    def __init__(self, port: int) -> None:
        super().__init__()
        self.port = port
        deadline = time.monotonic() + 30
        while True:
            try:
                self._begin(port)
                return
            except (Broken, OSError):
                # It may not listen yet, or not know its services.
                self.close()
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def _begin(self, port: int) -> None:
        self._take(socket.create_connection(("127.0.0.1", port), 5))
        self.send(
            f"<?xml version='1.0'?><stream:stream to='{USERS}' xmlns='jabber:component:accept' "
            "xmlns:stream='http://etherx.jabber.org/streams'>".encode()
        )
        found = re.search(rb"""\sid=["']([^"']+)""", self.readUntil(b">", 5))
        if found is None:
            found = re.search(rb"""\sid=["']([^"']+)""", self.readUntil(b" id=", 5))
        assert found is not None
        digest = hashlib.sha1(found.group(1) + _SECRET.encode(), usedforsecurity=False).hexdigest()
        self.send(f"<handshake>{digest}</handshake>".encode())
        self.readUntil(b"<handshake", 5)


def _gateway(isArchived: bool, isDurable: bool = True) -> tuple[Wire, contestants.Contestant]:
    server = FakeServer()
    contestant = contestants.rooms(server.port, ROOMS, isArchived, isDurable)
    server.accept(ROOMS.encode())
    return server, contestant


def _components(rooms: str) -> list[str]:
    """Return the components of a server with these rooms of its own."""
    return [USERS] if rooms == ROOMS else [USERS, ROOMS]


def _prosody(rooms: str = ROOMS) -> tuple[Occupants, contestants.Contestant]:
    port = contestants.freePort()
    components = "\n".join(
        f'Component "{each}"\n  component_secret = "{_SECRET}"' for each in _components(rooms)
    )
    config = _PROSODY.format(port=port, components=components, rooms=rooms)
    command = ["prosody", "--config", "./prosody.cfg.lua", "-F"]
    contestant = contestants.Contestant("prosody", command, {"prosody.cfg.lua": config})
    return Occupants(port), contestant


def _ejabberd(isArchived: bool, rooms: str = ROOMS) -> tuple[Occupants, contestants.Contestant]:
    port = contestants.freePort()
    options = {"max_users": 100_000, "persistent": False, "mam": isArchived}
    config: dict[str, Any] = {
        "hosts": ["localhost"],
        "loglevel": "warning",
        "s2s_access": "none",
        "listen": [
            {
                "port": port,
                "ip": "127.0.0.1",
                "module": "ejabberd_service",
                "access": "all",
                "shaper": "none",
                "max_fsm_queue": 1_000_000,
                "global_routes": False,
                "hosts": {each: {"password": _SECRET} for each in _components(rooms)},
            }
        ],
        "modules": {
            "mod_muc": {
                "host": rooms,
                "access": "all",
                "max_users": 100_000,
                "max_users_presence": 100_000,
                "max_user_conferences": 1_000,
                "default_room_options": options,
            }
        },
    }
    if isArchived:
        config |= {"default_db": "sql", "sql_type": "sqlite", "sql_database": "archive.sqlite"}
        config["modules"]["mod_mam"] = {"default": "always"}
    [libraries] = sorted(glob.glob("/usr/lib/*/ejabberd-*/ebin"))[:1] or [""]
    argv = ["erl", "+K", "true", "-noinput", "-mnesia", "dir", '"spool"', "-ejabberd", "log_rotate_count", "0"]
    environment = {
        "ERL_LIBS": os.pathsep.join([str(pathlib.Path(libraries).parent.parent), os.environ.get("ERL_LIBS", "")]),
        "HOME": ".",
        "EJABBERD_CONFIG_PATH": "ejabberd.yml",
        "EJABBERD_LOG_PATH": "ejabberd.log",
        "ERL_CRASH_DUMP_BYTES": "0",
    }
    # JSON is YAML.
    files = {"ejabberd.yml": json.dumps(config)}
    contestant = contestants.Contestant("ejabberd", [*argv, "-s", "ejabberd"], files, environment=environment)
    return Occupants(port), contestant


_Server = tuple[Occupants, contestants.Contestant]


def _backed(server: Callable[[str], _Server]) -> _Server:
    """Return the gateway, with ordinary rooms of a server behind its own."""
    occupants, beside = server(_BEHIND)
    contestant = contestants.backedRooms(occupants.port, ROOMS, _BEHIND, beside)
    deadline = time.monotonic() + 30
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{contestant.http}/readyz", timeout=5).close()
            return occupants, contestant
        except urllib.error.URLError as error:
            if time.monotonic() > deadline:
                contestant.__exit__(None, error, None)
                raise
            time.sleep(0.2)


MUCS = {
    "gateway": partial(_gateway, True),
    "gateway-durable": partial(_gateway, False),
    "gateway-memory": partial(_gateway, False, False),
    "prosody": _prosody,
    "ejabberd": partial(_ejabberd, False),
    "ejabberd-archive": partial(_ejabberd, True),
    "prosody-backed": partial(_backed, _prosody),
    "ejabberd-backed": partial(_backed, partial(_ejabberd, False)),
}


def missing(name: str) -> bool:
    """True if this machine lacks a server, or a library of it."""
    program = {"prosody": "prosody", "ejabberd": "erl"}.get(name.partition("-")[0])
    if program is None or shutil.which(program) is None:
        return program is not None
    # Erlang's library of SQLite is a package of its own.
    folders = ["/usr/lib/erlang/lib", *os.environ.get("ERL_LIBS", "").split(os.pathsep)]
    return name == "ejabberd-archive" and not any(glob.glob(f"{each}/p1_sqlite3-*") for each in folders if each)
