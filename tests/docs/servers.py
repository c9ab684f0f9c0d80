"""The meaning of a server's configuration, for comparison: the values of Prosody's file, and of ejabberd's."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any

from twisted.trial.unittest import SkipTest

# Runs a configuration as Prosody does, and prints its options by host; "*" has the global ones.
_READ = """
local found, host = { ["*"] = {} }, "*"
local function set(options) for key, value in pairs(options) do found[host][key] = value end end
local function section(name)
    host = name
    found[name] = found[name] or {}
    local function continue(value)
        if type(value) == "string" then found[name]["module"] = value; return continue end
        set(value)
        host = "*"
    end
    return continue
end
local function component(name)
    local continue = section(name)
    found[name].isComponent = true
    return continue
end
local function json(value)
    if type(value) ~= "table" then
        return type(value) == "string" and '"' .. value:gsub('[\\\\"]', "\\\\%0") .. '"' or tostring(value)
    end
    local parts = {}
    if #value > 0 then
        for _, each in ipairs(value) do parts[#parts + 1] = json(each) end
        return "[" .. table.concat(parts, ",") .. "]"
    end
    for key, each in pairs(value) do parts[#parts + 1] = json(key) .. ":" .. json(each) end
    return "{" .. table.concat(parts, ",") .. "}"
end
local environment = setmetatable({ VirtualHost = section, Component = component }, {
    __newindex = function(_, key, value) set({ [key] = value }) end,
})
local run, problem = load(io.read("a"), "block", "t", environment)
if not run then error(problem, 0) end
run()
io.write(json(found))
"""


def readLua(text: str) -> dict[str, Any]:
    """
    Return the options of each host of a configuration of Prosody.

    @raise ValueError: it is not Lua, or uses a name that does not exist.
    @raise SkipTest: Lua is not installed.
    """
    lua = shutil.which("lua5.4") or shutil.which("lua")
    if lua is None:
        raise SkipTest("lua is not installed")
    done = subprocess.run([lua, "-e", _READ], input=text, capture_output=True, text=True, timeout=30, check=False)
    if done.returncode:
        raise ValueError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    for options in found.values():
        # Hosts have the global modules as well, components have not.
        if not options.pop("isComponent", False):
            options.setdefault("modules_enabled", []).extend(found["*"].get("modules_enabled", []))
    return found


def lacksLua(page: Any, needed: Any, path: str = "") -> Iterator[str]:
    """Yield what is needed and not in a page: a list needs its items, a table its keys, others the same value."""
    if isinstance(needed, dict) and isinstance(page, dict | list):
        for key, value in needed.items():
            if key not in page:
                yield f"{path}/{key}"
            else:
                yield from lacksLua(page[key], value, f"{path}/{key}")
    elif isinstance(needed, list) and isinstance(page, list):
        yield from (f"{path}: {each}" for each in needed if each not in page)
    elif page != needed:
        yield f"{path}: {needed}, not {page}"


def lacksYaml(page: dict[str, Any], needed: dict[str, Any]) -> Iterator[str]:
    """Yield what is needed and not in a page. Rules may have other names, and are compared by what they allow."""
    for listener in needed["listen"]:
        same = [each for each in page["listen"] if each["port"] == listener["port"]]
        yield from lacksLua(same[0], listener, f"port {listener['port']}") if same else [f"port {listener['port']}"]
    yield from lacksLua(page.get("api_permissions", {}), needed.get("api_permissions", {}), "api_permissions")
    modules, others = page.get("modules", {}), needed.get("modules", {})
    for name in others:
        if name not in modules:
            yield name
    for namespace, options in others.get("mod_delegation", {}).get("namespaces", {}).items():
        there = modules["mod_delegation"]["namespaces"].get(namespace)
        if there is None or not _allowed(needed, options["access"]) <= _allowed(page, there["access"]):
            yield f"mod_delegation: {namespace}"
    for kind, grants in others.get("mod_privilege", {}).items():
        for name, rule in grants.items():
            there = modules["mod_privilege"].get(kind, {}).get(name)
            if there is None or not _allowed(needed, rule) <= _allowed(page, there):
                yield f"mod_privilege: {kind} {name}"


def _allowed(config: dict[str, Any], rule: str) -> set[str]:
    """Return the servers that an access rule allows."""
    rules = config["access_rules"][rule]
    found: set[str] = set()
    for each in rules if isinstance(rules, list) else [rules]:
        servers = config["acl"][each["allow"]]["server"]
        found |= set(servers if isinstance(servers, list) else [servers])
    return found
