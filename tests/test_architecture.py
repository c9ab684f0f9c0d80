"""The layers, checked in the imports."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from gateway import interfaces

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "gateway"
FEATURES = {"proxy", "delegation", "privilege", "roster", "fmuc", "muc"}
# A feature that builds on another one, never the other way round.
BUILT_ON = {"fmuc": {"muc"}}
# The parts of them that the embedded host may use: it is the server's side of the same specifications.
LENT = {f"gateway.{feature}.{layer}" for feature in ("delegation", "privilege") for layer in ("core", "stanzas")}
# And the other modules of the delegation that both sides need.
LENT |= {f"gateway.delegation.{module}" for module in ("advertisements", "delegations", "delegator", "nesting")}
# The files of a feature that do I/O; all others have rules and values.
OUTER = (
    "store",
    "readthrough",
    "exports",
    "importer",
    "fetch",
    "apply",
    "api",
    "auto",
    "refresher",
    "interested",
    "lock",
    "forwarder",
    "client_mode",
    "mount",
    "disco",
    "held",
    "advertised",
    "commits",
    "batch",
    "resource",
    "demo",
    "archiving",
    "pacing",
    "numbering",
    "delivery",
    "reports",
    "common_tables",
    "handler",
    "sharing",
    "lending",
    "compose",
    "plugin",
)
LAYERS = ("core", "stanzas", *OUTER)
# A file of rules with the name of an outer one.
RULES = {"gateway.muc.disco"}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports(tree: ast.AST, name: str) -> Iterator[str]:
    """Return the full names of all imports in a module; a lint rule excludes relative ones."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, name
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(name: str, package: str) -> bool:
    """True if a module, or a name in it, is the package or below it."""
    return name == package or name.startswith(package + ".")


def _atTop(name: str) -> set[str]:
    """Return the imports that are executed whenever a module is loaded."""
    statements = [node for node in TREES[name].body if isinstance(node, ast.Import | ast.ImportFrom)]
    return set(imports(ast.Module([*statements], []), name))


def handwritten(tree: ast.AST) -> list[int]:
    """Return the lines with texts that begin a tag, but for docstrings and C{__repr__}."""
    apart: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and node.name == "__repr__":
            apart.update(ast.walk(node))
        elif isinstance(node, ast.Expr):
            apart.add(node.value)
    return [getattr(node, "lineno", 0) for node in ast.walk(tree) if node not in apart and _beginsTag(node)]


def _beginsTag(node: ast.AST) -> bool:
    # A single "<" is searched for; with something behind it, it begins a tag.
    isPart = isinstance(node, ast.JoinedStr | ast.BinOp | ast.Tuple)
    ends = any(_text(part).endswith("<") for part in ast.iter_child_nodes(node)) if isPart else False
    return ends or re.search("<[A-Za-z%]", _text(node)) is not None


def _text(node: ast.AST) -> str:
    value = node.value if isinstance(node, ast.Constant) else ""
    return value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else ""


TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}
IMPORTED = {name: set(imports(tree, name)) for name, tree in TREES.items()}


def _moduleOf(name: str) -> str:
    """Return the module that an imported name belongs to, or the package itself."""
    return name if name in MODULES else name.rpartition(".")[0]


# The modules that each module imports. The package itself imports the modules that patch Twisted.
ARROWS = {
    name: {_moduleOf(each) for each in names if within(each, "gateway")} - {"gateway"}
    for name, names in IMPORTED.items()
    if name != "gateway"
}

# The tree, from the bottom up: a package or module imports only those before it, which is also the order in
# docs/architecture.md. Features stand side by side; another test has their order.
TREE: tuple[str | tuple[str, ...], ...] = (
    *("ns", "_deprecated", "errors", "addresses", "_compat"),
    *("reports", "requirements", "metrics", "pieces"),
    *("xml", "log", "state", "stream", "standby", "http", "config", "peers", "interfaces"),
    tuple(sorted(FEATURES)),
    *("embedded", "plugins", "composition", "systemd", "tap", "tour", "cli", "testing"),
)
RANK = {name: rank for rank, names in enumerate(TREE) for name in ([names] if isinstance(names, str) else names)}


def _placeOf(name: str) -> str:
    """Return the package or module in TREE that a module belongs to."""
    _, top, *rest = name.split(".")
    return f"{top}.{rest[0]}" if rest and f"{top}.{rest[0]}" in RANK else top


# The package of the interfaces of plugins, and lower modules with more of them; interfaces for twisted.cred.
INTERFACES = "gateway.interfaces"
LOWER = ("gateway.metrics.interfaces", "gateway.state.interfaces", "gateway.stream.interfaces")
ASKED_BY_TWISTED = {"IAccount", "IProof"}
# Twisted has no type for a whole reactor. The class of a table is the plugin's own: its signature has it. The
# values of TOML have any type.
TABLES = {f"{name}.table" for name in ("makeService", "check", "warnings", "notes", "requirements")}
UNTYPED = {"reactor", "demoTables", *TABLES}


def _classes(tree: ast.AST, matches: Callable[[str], bool]) -> Iterator[ast.ClassDef]:
    """Yield the classes with a base whose name matches."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and any(matches(ast.unparse(base)) for base in node.bases):
            yield node


def _isInterface(name: str) -> bool:
    return name == "Interface" or re.fullmatch(r"I[A-Z]\w*", name) is not None


def _isProtocol(name: str) -> bool:
    return name in ("typing.Protocol", "Protocol")


# The modules that compose the services, and their users.
TOP = tuple(name for name in MODULES if name.split(".")[1:2] and name.split(".")[1] in ("composition", "cli"))
TOP += ("gateway.tap", "gateway.tour.command")
# The HTTP server.
_PAGES = ("access", "health", "live", "login", "metrics", "page", "view", "site", "status")
PAGES = tuple(f"gateway.http.{name}" for name in _PAGES)

# Modules that write start tags by themselves, with the reason.
HANDWRITTEN = {
    "gateway.stream.stanzas": "readdresses every stanza: a new start tag before bytes that are copied",
    "gateway.stream.skipper": "opens the tags of a stream again for a new parser; nothing is sent",
    "gateway.stream.refused": "start tags in place of elements that are not kept; nothing is sent",
    "gateway.stream.refusals": "the same",
    "gateway.testing.delegation": "stanzas of a server, in a test",
    "gateway.testing.gateway": "the same",
    "gateway.testing.server": "the same",
    "gateway.testing.wire": "the same",
}

# Names that read a clock, wait for one, or belong to the process.
CLOCKS = ("time", "threading", "signal", "twisted.python.runtime")


def _datesIn(tree: ast.AST) -> Iterator[str]:
    """Yield the names by which a module knows the module C{datetime} and its classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            ofDates = isinstance(node, ast.ImportFrom) and node.module == "datetime"
            yield from (each.asname or each.name for each in node.names if ofDates or each.name == "datetime")


def _currentDates(tree: ast.AST) -> Iterator[ast.Attribute]:
    return (
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today")
    )


class ArchitectureTests(SynchronousTestCase):
    """The allowed imports."""

    def assertNoneImport(self, modules: Iterator[str] | list[str], *packages: str) -> None:
        modules = list(modules)
        self.assertTrue(modules, "there is nothing to look at")
        found = [
            f"{module} imports {name}"
            for module in modules
            for name in sorted(IMPORTED[module])
            if any(within(name, package) for package in packages)
        ]
        self.assertEqual(found, [])

    def test_read(self) -> None:
        """The whole package is checked."""
        self.assertLessEqual(
            {"gateway", "gateway.proxy.core", "gateway.stream.link", "gateway.tap", "gateway.plugins.shipped"},
            set(MODULES),
        )
        self.assertIn("gateway.proxy.core.Translator", IMPORTED["gateway.proxy.handler"])

    def test_tree(self) -> None:
        """No import runs up, not even for annotations."""
        found = {(_placeOf(name), _placeOf(other)) for name, others in ARROWS.items() for other in others}
        between = {(one, other) for one, other in found if one != other and not {one, other} <= FEATURES}
        self.assertLessEqual({name for pair in between for name in pair}, RANK.keys(), "place it in TREE")
        self.assertEqual({(one, other) for one, other in between if RANK[one] <= RANK[other]}, set())

    def test_ports(self) -> None:
        """
        The rule in gateway/interfaces: ports to other software are zope interfaces, and can be imported from there;
        ports inside the gateway are Protocols, which are not used outside of their package.
        """
        zope = {(name, each.name) for name, tree in TREES.items() for each in _classes(tree, _isInterface)}
        public = {each for name, each in zope if name in LOWER or within(name, INTERFACES)}
        self.assertEqual({each for name, each in zope if each not in public}, ASKED_BY_TWISTED)
        exported = {name for name in vars(interfaces)["__all__"] if name[0] == "I"}
        self.assertEqual(exported, public)
        tests = "".join(path.read_text() for path in sorted(ROOT.glob("tests/**/test_*.py")))
        self.assertEqual([each for each in sorted(public) if f"verifyObject({each}, " not in tests], [])
        protocols = {
            f"{name}.{each.name}"
            for name, tree in TREES.items()
            for each in _classes(tree, _isProtocol)
            if "twisted.internet.protocol.Protocol" not in IMPORTED[name]
        }
        self.assertIn("gateway.stream.lane.Port", protocols)
        self.assertEqual([each for each in protocols if within(each, INTERFACES)], [])
        self.assertEqual([each for each in protocols if re.search(r"\.I[A-Z][^.]*$", each)], [])
        foreign = {
            (name, each)
            for name, names in IMPORTED.items()
            for each in names & protocols
            if name.split(".")[1] != each.split(".")[1]
            and each.split(".")[1] not in BUILT_ON.get(name.split(".")[1], ())
        }
        self.assertEqual(foreign, set())
        self.assertEqual([name for name, names in IMPORTED.items() if "typing.runtime_checkable" in names], [])

    def test_typed(self) -> None:
        """A plugin is given typed objects, so that it need not repeat types: Any has a reason each time."""
        found = set()
        for tree in (TREES[name] for name in MODULES if within(name, INTERFACES)):
            for each in ast.walk(tree):
                names: list[tuple[str, ast.expr | None]] = []
                if isinstance(each, ast.FunctionDef):
                    names = [(f"{each.name}.{one.arg}", one.annotation) for one in each.args.args]
                    names.append((each.name, each.returns))
                elif isinstance(each, ast.AnnAssign):
                    names = [(ast.unparse(each.target), each.annotation)]
                found |= {name for name, kind in names if kind and re.search(r"\bAny\b", ast.unparse(kind))}
        self.assertEqual(found, UNTYPED)

    def test_circles(self) -> None:
        """No modules import each other, not even by way of others or for annotations."""
        below: dict[str, set[str]] = {}
        for name in ARROWS:
            below[name], left = set(), [name]
            while left:
                further = ARROWS[left.pop()] - below[name]
                below[name] |= further
                left += further
        circles = {frozenset(other for other in names if name in below[other]) for name, names in below.items()}
        self.assertEqual(circles - {frozenset()}, set())

    def test_layers(self) -> None:
        """
        A file name stands for a layer, as core <- stanzas <- handler <- compose <- plugin: each imports only those
        before.
        """
        for feature in FEATURES:
            present = [name for name in LAYERS if f"gateway.{feature}.{name}" in MODULES.keys() - RULES]
            for number, name in enumerate(present[:-1]):
                later = [f"gateway.{feature}.{other}" for other in present[number + 1 :]]
                self.assertNoneImport([f"gateway.{feature}.{name}"], *later)

    def test_rules(self) -> None:
        """Rules are pure: they import no handler, link, reactor, log, clock, file or socket."""
        rules = [
            name
            for name in MODULES
            if name.split(".")[1:2]
            and name.split(".")[1] in FEATURES
            and (name.split(".")[-1] not in OUTER or name in RULES)
        ]
        self.assertIn("gateway.proxy.core", rules)
        self.assertNoneImport(
            rules,
            *({f"gateway.{feature}.{outer}" for feature in FEATURES for outer in OUTER} - RULES),
            *(f"gateway.stream.{name}" for name in ("link", "lane", "component")),
            *("gateway.composition", "gateway.tap", "gateway.plugins", *PAGES),
            *("twisted.internet", "twisted.logger", "twisted.python", "twisted.application", "wokkel"),
            *("logging", "time", "os", "socket", "pathlib", "random", "threading"),
        )

    def test_pureStream(self) -> None:
        """Splitting bytes into stanzas, and the queues, need neither a reactor nor a clock."""
        names = (
            *("checker", "core", "skipper", "stanzas", "refused", "instances"),
            *("outages", "outbox", "outflow", "traffic", "replies", "shares", "budget", "holdback"),
        )
        pure = [f"gateway.stream.{name}" for name in names]
        self.assertNoneImport(pure, "twisted.internet", "twisted.logger", "wokkel", "time", "os", "random")

    def test_features(self) -> None:
        """Features never import each other, except the one that they build on."""
        for feature in FEATURES:
            own = [name for name in MODULES if within(name, f"gateway.{feature}")]
            if own:
                others = FEATURES - {feature} - BUILT_ON.get(feature, set())
                self.assertNoneImport(own, *(f"gateway.{other}" for other in others))

    def test_xml(self) -> None:
        """The XML package is the lowest layer: it imports only namespaces and errors."""
        xml = [name for name in MODULES if within(name, "gateway.xml")]
        self.assertTrue(xml)
        known = {each for name in xml for each in IMPORTED[name] if within(each, "gateway")}
        allowed = ("gateway.ns", "gateway.errors", "gateway.xml")
        self.assertFalse([each for each in known if not any(within(each, one) for one in allowed)])

    def test_expat(self) -> None:
        """Only the XML package and the stream use expat; others read trees, or events by L{EventReader}."""
        users = ("gateway.xml", "gateway.stream")
        others = [name for name in MODULES if not any(within(name, user) for user in users)]
        self.assertNoneImport(others, "xml.parsers", "pyexpat", "xml.sax", "gateway.xml.read.newParser")

    def test_startTags(self) -> None:
        """Start tags are written by the XML package alone, with known exceptions."""
        outside = [name for name in MODULES if not within(name, "gateway.xml")]
        found = {name: handwritten(TREES[name]) for name in outside}
        self.assertEqual({name: lines for name, lines in found.items() if lines and name not in HANDWRITTEN}, {})
        self.assertEqual([name for name in HANDWRITTEN if not found[name]], [], "no exception any longer")
        for code, count in (("f'<{a} b'", 1), ("x(b'<a/>')", 1), ("b'<' + a", 1), ("(b'<', a)", 1), ("x('<')", 0)):
            self.assertEqual(len(handwritten(ast.parse(f"y = {code}"))), count, code)

    def test_stream(self) -> None:
        """The stream imports no feature, and no module that composes."""
        stream = [name for name in MODULES if within(name, "gateway.stream")]
        upper = ("config", "http", "composition", "tap", "plugins", *FEATURES)
        self.assertNoneImport(stream, *(f"gateway.{name}" for name in upper))

    def test_composition(self) -> None:
        """Only the modules on top import the HTTP server, the plugins and, through these, the features."""
        others = [name for name in MODULES if name not in TOP and not within(name, "gateway.testing")]
        for package in ("gateway.plugins", "gateway.composition"):
            self.assertNoneImport([name for name in others if not within(name, package)], package)
        self.assertNoneImport([name for name in others if name not in PAGES], *PAGES)
        # The embedded host has exceptions, which another test checks.
        apart = [*(f"gateway.{feature}" for feature in FEATURES), "gateway.embedded"]
        shared = [name for name in others if not any(within(name, package) for package in apart)]
        shared.remove("gateway.plugins.shipped")
        # Another test checks the modules that the embedded host uses.
        shared = [name for name in shared if not within(name, "gateway.embedded")]
        self.assertNoneImport(shared, *(f"gateway.{feature}" for feature in FEATURES))
        # Privileges and delegations are used by several features, so builder.py composes them.
        ported = {f"gateway.privilege.{name}" for name in ("handler.PrivilegeHandler", "lending.Lending")}
        ported.add("gateway.delegation.compose")
        self.assertLessEqual(ported, IMPORTED["gateway.composition.builder"])
        above = {name: IMPORTED[name] - ported for name in TOP}
        known = [each for names in above.values() for each in names]
        self.assertFalse([each for each in known for feature in FEATURES if within(each, f"gateway.{feature}")])

    def test_testing(self) -> None:
        """The gateway does not need what it offers for tests."""
        gateway = [name for name in MODULES if not within(name, "gateway.testing")]
        self.assertNoneImport(gateway, "gateway.testing", "twisted.internet.testing", "twisted.trial")

    def test_embedded(self) -> None:
        """
        The embedded host imports no feature except the shared rules. Only service.py and the tour import it, and
        only if no server is configured.
        """
        embedded = [name for name in MODULES if within(name, "gateway.embedded")]
        upper = tuple(f"gateway.{other}" for other in (*FEATURES, "composition", "plugins"))
        lent = {name for module in embedded for name in IMPORTED[module] for each in LENT if within(name, each)}
        found = {
            name
            for module in embedded
            for name in IMPORTED[module] - lent
            if any(within(name, other) for other in upper)
        }
        self.assertEqual(found, set())
        others = [name for name in MODULES if name not in embedded]
        composing = ("gateway.composition.builder", "gateway.composition.service")
        self.assertNoneImport(
            [name for name in others if name not in (*composing, "gateway.tour.command")], "gateway.embedded"
        )
        self.assertFalse([name for one in composing for name in _atTop(one) if within(name, "gateway.embedded")])

    def test_late(self) -> None:
        """
        Modules that only some configurations need are imported when they are used; another test starts such
        processes. A plugin is imported always: at its top, it imports of the features only its own table, and small
        rules.
        """
        for feature in FEATURES:
            name = f"gateway.{feature}.plugin"
            known = {_moduleOf(each) for each in _atTop(name)} if name in MODULES else set()
            features = {each for each in known if any(within(each, f"gateway.{other}") for other in FEATURES)}
            self.assertLessEqual(features, {f"gateway.{feature}.tables", f"gateway.{feature}.advice"})
        late = [*(f"gateway.{each}" for each in ("embedded", "privilege", "delegation", "standby")), *PAGES]
        for name in TOP:
            if within(name, "gateway.composition") and name != "gateway.composition.web":
                found = [each for each in _atTop(name) for one in late if within(each, one)]
                self.assertEqual(found, [], name)

    def test_reactor(self) -> None:
        """Only tap.py touches the global reactor, and only when it is called; the tour is a program of its own."""
        self.assertNoneImport(
            [name for name in MODULES if name != "gateway.tap"],
            "twisted.internet.reactor",
            "twisted.internet.default",
        )
        self.assertNotIn("twisted.internet.reactor", _atTop("gateway.tap"))

    def test_time(self) -> None:
        """No module except tap.py sleeps or reads a clock; others use the clock that they are given."""
        self.assertNoneImport([name for name in MODULES if name != "gateway.tap"], *CLOCKS)
        for name, tree in TREES.items():
            # Computing with dates is allowed; the current date is a parameter.
            dates = set(_datesIn(tree))
            found = [each for each in map(ast.unparse, _currentDates(tree)) if each.partition(".")[0] in dates]
            self.assertEqual(found, [], name)

    def test_now(self) -> None:
        """A parameter C{now} is on the monotonic clock; the time of day is C{utc}."""
        for name, tree in TREES.items():
            for node in ast.walk(tree):
                if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    continue
                types = {each.arg: ast.unparse(each.annotation or each) for each in node.args.args}
                self.assertEqual(types.get("now", "float"), "float", f"{name}.{node.name}")
                described = re.findall(r"@param now:[^@]*", ast.get_docstring(node) or "")
                self.assertNotRegex(" ".join(described), r"1970|\bUTC\b", f"{name}.{node.name}")

    def test_compat(self) -> None:
        """The patches for wokkel are in one place."""
        for name, path in MODULES.items():
            if name != "gateway._compat":
                self.assertNotIn("_PY3", path.read_text(), name)
                self.assertNotIn("constantly", path.read_text(), name)
        self.assertNoneImport(
            [name for name in MODULES if name not in ("gateway", "gateway._compat")], "gateway._compat"
        )

    def test_docstrings(self) -> None:
        """Every module has a docstring."""
        for name, tree in TREES.items():
            self.assertTrue(ast.get_docstring(tree), name)
