"""Rooms under test: those of the gateway, of Prosody and of ejabberd; the same component has the occupants."""

import glob
import hashlib
import json
import os
import pathlib
import re
import shutil
import socket
import time
from functools import partial
from typing import Any

import contestants
from fakeserver import Broken, FakeServer, Wire

USERS = "users.localhost"
ROOMS = "rooms.localhost"
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
Component "{users}"
  component_secret = "{secret}"
Component "{rooms}" "muc"
  storage = "memory"
"""


class Occupants(Wire):
    """The component of all occupants, on a real server."""

    def __init__(self, port: int) -> None:
        super().__init__()
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


def _prosody() -> tuple[Wire, contestants.Contestant]:
    port = contestants.freePort()
    config = _PROSODY.format(port=port, users=USERS, rooms=ROOMS, secret=_SECRET)
    command = ["prosody", "--config", "./prosody.cfg.lua", "-F"]
    contestant = contestants.Contestant("prosody", command, {"prosody.cfg.lua": config})
    return Occupants(port), contestant


def _ejabberd(isArchived: bool) -> tuple[Wire, contestants.Contestant]:
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
                "hosts": {USERS: {"password": _SECRET}},
            }
        ],
        "modules": {
            "mod_muc": {
                "host": ROOMS,
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


MUCS = {
    "gateway": partial(_gateway, True),
    "gateway-durable": partial(_gateway, False),
    "gateway-memory": partial(_gateway, False, False),
    "prosody": _prosody,
    "ejabberd": partial(_ejabberd, False),
    "ejabberd-archive": partial(_ejabberd, True),
}


def missing(name: str) -> bool:
    """True if this machine lacks a server, or a library of it."""
    program = {"prosody": "prosody", "ejabberd": "erl", "ejabberd-archive": "erl"}.get(name)
    if program is None or shutil.which(program) is None:
        return program is not None
    # Erlang's library of SQLite is a package of its own.
    folders = ["/usr/lib/erlang/lib", *os.environ.get("ERL_LIBS", "").split(os.pathsep)]
    return name == "ejabberd-archive" and not any(glob.glob(f"{each}/p1_sqlite3-*") for each in folders if each)
