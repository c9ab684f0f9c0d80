"""
The pages that are made from the code: docs/options.md from the tables of the configuration, and
docs/compatibility.md from the live tests. C{python -m docs.generated} writes both anew; a test compares them.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, get_args

from attrs import NOTHING, Attribute, Factory, fields, frozen, has, resolve_types

from gateway.composition.reader import Config
from gateway.config.tables import ComponentTable, DelegatedTable, Filename, keyOf
from gateway.config.values import describe
from gateway.delegation.tables import DelegationTable, NamespaceTable
from gateway.fmuc.tables import MirrorTable, RoomsTable
from gateway.proxy.tables import ProxyTable
from gateway.roster.tables import RosterTable

FOLDER = Path(__file__).parent
LIVE = FOLDER.parent / "tests" / "live"

# "@ivar name: meaning", up to the next one.
_MEANING = re.compile(r"@ivar (\w+): (.*?)(?=\n@|\n\n|\Z)", re.DOTALL)
_CODE = re.compile(r"C\{([^}]*)\}")
# A value in quotes, or a list of such values.
_VALUE = re.compile(r"""(\["[^\]]*"\]|"[^"]*")""")
# The end of a meaning, with the effect of a key that is not given.
_DEFAULT = re.compile(r"[;,] None for (.*)$")

OPTIONS_HEAD = """# Options

Every table and key of the configuration file, with its meaning, its allowed values and its default. The page is
made from the code that reads them. [gateway.example.toml](../gateway.example.toml) shows all keys in one file.
Unknown keys and wrong values are errors; [mistakes.md](mistakes.md) has the messages.

The file is TOML, by default `gateway.toml` in the working directory. File names are relative to its folder.
Endpoints are strings of Twisted: [connection.md](connection.md#endpoints) explains them.
"""


def meanings(table: type) -> dict[str, str]:
    """Return the meanings of a table's attributes in Markdown, from the docstrings of the class and its bases."""
    found: dict[str, str] = {}
    for each in reversed(table.__mro__):
        text = inspect.cleandoc(each.__doc__ or "") if "__doc__" in vars(each) else ""
        for name, meaning in _MEANING.findall(text):
            found[name] = " ".join(_CODE.sub(r"`\1`", meaning).replace("`None`", "None").split()).removesuffix(".")
    return found


@frozen
class Section:
    """
    A part of the page.

    @ivar title: the table as it is written in the file.
    @ivar table: its class.
    @ivar about: a sentence with the pages that explain it.
    @ivar inner: true for a table that stands in another one.
    """

    title: str
    table: type
    about: str
    inner: bool = False


def _table(name: str) -> type:
    """Return the class of a table of the whole configuration."""
    kind = getattr(fields(resolve_types(Config)), name).type
    return next(each for each in (kind, *get_args(kind)) if isinstance(each, type) and has(each))


def sections() -> tuple[Section, ...]:
    """Return all parts of the page, except for the top of the file."""
    embedded = _table("embedded")
    privileges = next(each for each in _within(fields(resolve_types(embedded)).privileges.type) if has(each))
    return (
        Section("[server]", _table("server"), "The server of the components: [connection.md](connection.md)."),
        Section("[http]", _table("http"), "The HTTP server: [http.md](http.md)."),
        Section("[state]", _table("state"), "Stores in a PostgreSQL database: [postgresql.md](postgresql.md)."),
        Section("[log]", _table("log"), "The log: [logs.md](logs.md)."),
        Section('[proxy."proxy.example.com"]', ProxyTable, "[proxy.md](proxy.md)"),
        Section('[delegation."delegate.example.com"]', DelegationTable, "[delegation.md](delegation.md)"),
        Section(
            '[delegation."delegate.example.com".namespaces]',
            NamespaceTable,
            "Each entry is a namespace with these keys: [delegation.md](delegation.md#options).",
            inner=True,
        ),
        Section('[roster."roster.example.com"]', RosterTable, "[roster.md](roster.md)"),
        Section('[rooms."rooms.example.com"]', RoomsTable, "[fmuc.md](fmuc.md)"),
        Section('[mirror."mirror.example.com"]', MirrorTable, "[fmuc.md](fmuc.md)"),
        Section('[peers."rooms.example.net"]', _table("peers"), "Direct links: [peers.md](peers.md)."),
        Section("[embedded]", embedded, "The embedded host, in place of `[server]`: [embedded.md](embedded.md)."),
        Section(
            "[embedded.delegations]",
            DelegatedTable,
            "Each entry is a namespace with these keys: [delegation.md](delegation.md#the-servers-side).",
            inner=True,
        ),
        Section(
            "[embedded.privileges]",
            privileges,
            "Each entry is a component with these keys: [privilege.md](privilege.md#the-servers-configuration).",
            inner=True,
        ),
    )


def _within(kind: Any) -> Iterator[Any]:
    """Yield the types in a type."""
    for each in get_args(kind):
        if isinstance(each, type) and has(each):
            yield each
        yield from _within(each)


def _written(value: Any) -> str:
    """Return a default as it is written in the file."""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, frozenset | list | tuple):
        return f"`[{', '.join(chr(34) + str(each) + chr(34) for each in sorted(value))}]`"
    if isinstance(value, Mapping):
        return "`{}`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value:.0f}`"


def _default(attribute: Attribute[Any], without: str) -> str:
    """Return the default of a key; C{without} says what holds if the key is not given."""
    value = attribute.default
    if value is NOTHING:
        return "required"
    if isinstance(value, Factory):  # type: ignore[arg-type]  # a function in the stubs of attrs
        value = value.factory()
    if value is None:
        return without or "none"
    return _written(value)


def _allowed(kind: Any) -> str:
    """Return the allowed values; a table in a table has a part of its own."""
    if any(has(each) for each in _within(kind)):
        return "a table; see below"
    if kind is Path:
        return describe(Filename)
    inner = [each for each in get_args(kind) if each is not NoneType]
    return describe(inner[0] if len(inner) == 1 and NoneType in get_args(kind) else kind)


def _rows(table: type, names: list[str]) -> str:
    """Return the rows of some attributes."""
    found, lines = meanings(table), ["| key | meaning | allowed | default |", "|---|---|---|---|"]
    for name in names:
        attribute = getattr(fields(resolve_types(table)), name)
        meaning, without = found[name], ""
        if end := _DEFAULT.search(meaning):
            meaning, without = meaning[: end.start()], end[1]
        allowed = _VALUE.sub(r"`\1`", _allowed(attribute.type))
        cells = (f"`{keyOf(name)}`", meaning, allowed, _default(attribute, without))
        lines.append(f"| {' | '.join(each.replace('|', chr(92) + '|') for each in cells)} |")
    return "\n".join(lines) + "\n"


def options() -> str:
    """Return docs/options.md."""
    common = [each.name for each in fields(ComponentTable)]
    parts = [OPTIONS_HEAD, "## The top of the file\n"]
    parts.append(_rows(Config, ["state_dir"]).replace("| required |", '| `"state"` |'))
    parts.append(
        "## Keys of each service\n\n"
        "The table of a service is named after its component. Its own keys replace those of `[server]`.\n"
    )
    parts.append(_rows(ComponentTable, common))
    for each in sections():
        isService = issubclass(each.table, ComponentTable) and each.title != "[server]"
        names = [one.name for one in fields(each.table) if not (isService and one.name in common)]
        about = f"See {each.about}." if each.about.startswith("[") else each.about
        parts.append(f"{'###' if each.inner else '##'} `{each.title}`\n\n{about}\n\n{_rows(each.table, names)}")
    return "\n".join(parts)


@frozen
class Feature:
    """
    A row of the table of compatibility.

    @ivar text: in Markdown.
    @ivar modules: the live tests that try it, without C{test_}.
    @ivar recorded: modules of tests with recorded traffic of Openfire.
    @ivar remark: what differs between servers, in Markdown.
    """

    text: str
    modules: tuple[str, ...]
    recorded: tuple[str, ...] = ()
    remark: str = ""


# Each kind of server in the live tests, its version, and the class of C{tests.live.servers}.
SERVERS = {
    "Prosody": "Prosody 0.12.3",
    "NewerProsody": "Prosody 13.0.7",
    "Ejabberd": "ejabberd 23.01",
    "NewerEjabberd": "ejabberd 26.07",
    "Embedded": "embedded host",
}
OPENFIRE = "Openfire 5.1.1"

FEATURES = (
    Feature("[proxy](proxy.md)", ("proxy", "proxy_options", "proxy_tokens", "unasked"), ("proxy.test_openfire",)),
    Feature(
        "several gateways as one component: [shared](proxy.md#several-gateways-on-one-component), or detected",
        ("instances", "shared"),
        (),
        "only ejabberd accepts a second connection of a component",
    ),
    Feature("[delegation](delegation.md) to a handler", ("delegation", "delegation_plugins")),
    Feature(
        "delegation to a managing entity behind the gateway",
        ("delegation_chain", "delegation_example", "delegation_lent"),
        (),
        "ejabberd 24.10 and newer: not with `mod_privilege` ([reason](privilege.md#known-limitations-of-servers))",
    ),
    Feature("delegation in client mode", ("client_mode",), (), "neither Prosody nor ejabberd has it"),
    Feature(
        "import of [private storage](delegation.md#what-the-server-had-stored)",
        ("import",),
        (),
        "Prosody: while it runs, or by a command; ejabberd: by a command",
    ),
    Feature(
        "[privileges](privilege.md)",
        ("privilege", "beside"),
        (),
        "see the table below, and [limitations](privilege.md#known-limitations-of-servers)",
    ),
    Feature(
        "[rosters](roster.md)",
        ("roster", "roster_many", "roster_odd", "roster_pushes"),
        (),
        "Prosody: by privilege; ejabberd: by its HTTP API",
    ),
    Feature("[locked rosters](roster.md#locked-rosters)", ("roster_lock",)),
    Feature(
        "[rooms and mirrors](fmuc.md)",
        ("fmuc", "fmuc_private", "room_services", "sessions", "archive"),
        ("fmuc.test_openfire_joined", "fmuc.test_openfire_joining", "fmuc.test_openfire_chain"),
        "[Openfire as the other site](fmuc.md#openfire)",
    ),
    Feature("ordinary rooms [behind rooms](fmuc.md#ordinary-rooms-behind-it)", ("backing", "backing_flows")),
    Feature(
        "restarts of gateway and server",
        ("restart", "coming_back", "outage", "storm", "room_disks", "clock"),
        ("fmuc.test_openfire_restarts",),
    ),
    Feature("two servers over a bad link (s2s)", ("link", "link_storm")),
    Feature("all services at once while [everything around fails](soak.md)", ("soak",)),
    Feature("[direct links](peers.md) between gateways", ("peers",), (), "do not depend on the server"),
    Feature("stores in [PostgreSQL](postgresql.md)", ("postgresql",), (), "do not depend on the server"),
    Feature("[standby](scaling.md): several gateways, of which one serves a component", ("standby",)),
    Feature("hostile users and clients", ("hostile_user", "embedded_hostile", "addresses")),
    Feature(
        "[check and snippet](commands.md), the [tutorial](tutorial.md), the files of each server",
        ("check", "documented", "tutorial"),
    ),
    Feature("reload, signals, tour", ("reload", "process", "embedded")),
    Feature("[systemd](install.md#systemd)", ("systemd",), (), "does not depend on the server"),
)

COMPATIBILITY_HEAD = """# Compatibility

The features, and the servers with which they are tested. The page is made from the tests. *Yes*: live tests of
the feature run with this server, with each change of the gateway. *Recorded*: tests run with recorded traffic
of this server. An empty cell: there is no test. The last column says what a server cannot do. The older version of
each server is that of Debian 12, the newer one that of the coming Debian (forky).

The proxy, rooms and mirrors need only external components (XEP-0114), so other servers can carry them as well.
Delegation needs XEP-0355 in the server, and rosters need XEP-0356. Prosody has these in `mod_delegation` and
`mod_privilege`, which are in Debian's `prosody-modules`.
"""
FACTS_HEAD = """
## What servers do by privilege and delegation

These properties of the servers are checked by the same tests. They decide which way the gateway takes; see
[privilege.md](privilege.md#known-limitations-of-servers) and [roster.md](roster.md#which-way).
"""
# Attributes of the classes of servers, with their meanings; and of the attribute without which they mean nothing.
FACTS = {
    "setsRosters": ("sets rosters by privilege", ""),
    "setsSubscriptions": ("keeps subscriptions that are set by privilege", "setsRosters"),
    "asks": ("sends requests on behalf of users", ""),
    "answersItself": ("answers such requests itself, also in a namespace that it delegates", "asks"),
    "dropsIqs": ("drops iqs between components if it grants any privilege", ""),
    "nestsOnce": ("takes over a managing entity's features only at its first connection", ""),
}


def tried() -> dict[str, set[str]]:
    """Return the classes of servers that each module of live tests uses, by the module's name without C{test_}."""
    from twisted.trial.unittest import SynchronousTestCase

    from tests.live.servers import Server

    found: dict[str, set[str]] = {}
    for path in sorted(LIVE.glob("test_*.py")):
        module = importlib.import_module(f"tests.live.{path.stem}")
        for case in vars(module).values():
            isTest = inspect.isclass(case) and issubclass(case, SynchronousTestCase)
            if isTest and case.__module__ == module.__name__:
                servers = [getattr(case, name, None) for name in ("serverClass", "mirrorClass")]
                kinds = {_kind(each) for each in servers if isinstance(each, type) and issubclass(each, Server)}
                found.setdefault(path.stem.removeprefix("test_"), set()).update(kinds)
    return found


def _kind(server: type) -> str:
    """Return the kind of server that a class is, or is derived from."""
    return next(each.__name__ for each in server.__mro__ if each.__name__ in SERVERS)


def compatibility() -> str:
    """Return docs/compatibility.md."""
    from tests.live import servers

    found = tried()
    columns = [*SERVERS.values(), OPENFIRE]
    lines = [f"| | {' | '.join(columns)} | |", "|---" * (len(columns) + 2) + "|"]
    for each in FEATURES:
        used = set().union(*(found[module] for module in each.modules))
        cells = ["yes" if kind in used else "" for kind in SERVERS] + ["recorded" if each.recorded else ""]
        lines.append(f"| {' | '.join([each.text, *cells, each.remark])} |")
    facts = [f"| | {' | '.join(SERVERS.values())} |", "|---" * (len(SERVERS) + 1) + "|"]
    for name, (text, needed) in FACTS.items():
        kinds = [getattr(servers, kind) for kind in SERVERS]
        cells = ["yes" if getattr(each, name) else "no" for each in kinds]
        cells = [cell if getattr(each, needed, True) else "" for cell, each in zip(cells, kinds, strict=True)]
        facts.append(f"| {' | '.join([text, *cells])} |")
    return "\n".join([COMPATIBILITY_HEAD, *lines, FACTS_HEAD, *facts, PYTHON])


PYTHON = """
## Python

| | tested with each change |
|---|---|
| Python 3.11 | all tests |
| Python 3.14 | all except the live tests |
"""

PAGES = {"options.md": options, "compatibility.md": compatibility}

if __name__ == "__main__":
    for name, page in PAGES.items():
        (FOLDER / name).write_text(page())
