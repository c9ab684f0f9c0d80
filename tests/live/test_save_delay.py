"""Prosody's module that saves rosters with a delay: its rules, without a server."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.processes import need
from tests.live.servers import CONTRIB

# A Prosody that has one store, and timers that run when the test says so. Each call of the store is printed.
_SETTING = """\
local hooks, timers = {}, {};
module = { host = "h" };
function module:get_option_number(name, default) return default; end
function module:hook(name, handler) hooks[name] = handler; end
module.hook_global = module.hook;
function module:add_timer(seconds, handler) timers[#timers + 1] = handler; end
function module:log(level, text, ...) print(level, text:format(...)); end
local content, broken = {}, false;
local function copied(roster)
    local copy = {};
    for jid, item in pairs(roster or {}) do copy[jid] = item; end
    return copy;
end
local keyval = { name = "keyval" };
function keyval:get(user) print("get", user, self.name); return content[user]; end
function keyval:set(user, roster)
    local size = 0;
    for _ in pairs(roster or {}) do size = size + 1; end
    print("set", user, roster and size or "nothing");
    if broken then return nil, "disk full"; end
    content[user] = roster and copied(roster);
    return true;
end
function keyval:users() return self.name; end
local map = { name = "map" };
function map:set_keys(user) print("set_keys", user, self.name); return true; end
map.get, map.set = map.set_keys, map.set_keys;
local function open(kind, store, name)
    local event = { store_name = name or "roster", store_type = kind, store = store };
    hooks["store-opened"](event);
    return event.store;
end
local function wait()
    local due = timers;
    timers = {};
    for _, handler in ipairs(due) do handler(); end
end
dofile(PATH);
"""


class SaveDelayTests(SynchronousTestCase):
    """The module in an interpreter of its own."""

    def run_(self, script: str) -> list[str]:
        """Run a script; return the lines that it prints, with single spaces."""
        lua = next(filter(None, map(shutil.which, ("lua5.4", "lua5.3", "lua"))), None)
        need(None if lua else "Lua is not installed")
        assert lua is not None
        path = CONTRIB / "mod_roster_save_delay.lua"
        file = Path(self.mktemp())
        file.write_text(_SETTING.replace("PATH", f'"{path}"') + script)
        done = subprocess.run([lua, file], capture_output=True, text=True, check=False, timeout=20)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return [" ".join(line.split()) for line in done.stdout.splitlines()]

    def test_once(self) -> None:
        """Many changes are saved once, with the last of them; the roster can be read before that."""
        found = self.run_("""
            local roster = {};
            for number = 1, 100 do
                roster[number] = "contact";
                assert(open("keyval", keyval):set("ann", roster));
            end
            assert(open("keyval", keyval):get("ann") == roster);
            print(#timers);
            roster[101] = "contact";
            wait();
            open("keyval", keyval):get("ann");
            assert(open("keyval", keyval):set("ann", roster));
            wait();
            wait();
        """)
        self.assertEqual(found, ["1", "set ann 101", "get ann keyval", "set ann 101"])

    def test_contacts(self) -> None:
        """In a store of single contacts nothing is older than the roster."""
        found = self.run_("""
            open("keyval", keyval):set("ann", { "contact" });
            open("keyval", keyval):set("bob", { "contact" });
            open("map", map):set_keys("ann", {});
            open("map", map):get("ann", "contact");
            print("later");
            wait();
        """)
        self.assertEqual(found, ["set ann 1", "set_keys ann map", "set_keys ann map", "later", "set bob 1"])

    def test_others(self) -> None:
        """Other stores, other methods, and stores of contacts that use one of rosters, are as they were."""
        found = self.run_("""
            assert(open("keyval", keyval, "vcard") == keyval);
            local shim = { keyval_store = keyval };
            assert(open("map", shim) == shim);
            print(open("keyval", keyval):users());
        """)
        self.assertEqual(found, ["keyval"])

    def test_removed(self) -> None:
        """The roster of a user who is deleted, or whose roster is removed, is not saved later."""
        found = self.run_("""
            open("keyval", keyval):set("ann", { "contact" });
            open("keyval", keyval):set("bob", { "contact" });
            open("keyval", keyval):set("tom", { "contact" });
            hooks["user-deleted"] { username = "ann", host = "h" };
            hooks["user-deleted"] { username = "tom", host = "another" };
            open("keyval", keyval):set("bob", nil);
            wait();
        """)
        self.assertEqual(found, ["set bob nothing", "set tom 1"])

    def test_end(self) -> None:
        """Everything is saved when Prosody stops, or the module is unloaded. A failure is logged."""
        found = self.run_("""
            for _, stop in ipairs { hooks["server-stopping"], hooks["server-stopped"], module.unload } do
                open("keyval", keyval):set("ann", { "contact" });
                stop();
                stop();
            end
            broken = true;
            open("keyval", keyval):set("ann", { "contact" });
            wait();
        """)
        failed = ["set ann 1", "error The roster of ann was not saved: disk full"]
        self.assertEqual(found, ["set ann 1"] * 3 + failed)
