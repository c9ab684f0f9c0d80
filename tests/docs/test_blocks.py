"""Each block of code in the documentation, by its language."""

from __future__ import annotations

import ast
import hashlib
import json
import re
import subprocess
import textwrap
import tomllib
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import yaml
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from gateway.composition.checks import components, findPlugins, read
from gateway.composition.reader import load
from gateway.config.tables import ClientEndpoint, ServerEndpoint
from gateway.config.values import Values
from gateway.requirements import servers as kinds
from tests.docs import commands, names
from tests.docs.pages import DOCS, PAGES, PAIRS, ROOT, Block, allBlocks, blocks, indented
from tests.docs.servers import lacksLua, lacksYaml, readLua
from tests.effects.connections import MINIMAL, SERVER

# Languages, each with its test in this module. Pictures, output and stanzas that are not XML are "text".
LANGUAGES = {
    *("sh", "toml", "lua", "yaml", "openfire", "json", "xml", "python", "nginx", "logrotate", "text"),
    *("{toctree}", "{include}"),
}
# The language of each kind of server.
KINDS = {"lua": "prosody", "yaml": "ejabberd", "openfire": "openfire"}
SECRET = "the secret"
EJABBERD = """
listen: [{port: 1, hosts: {a: {password: pass, x: y}}}]
acl: {a: {server: a}}
access_rules: {a: {allow: a}}
modules: {mod_delegation: {namespaces: {"urn:x": {access: a}}}}
"""
# "sha256:1b5a...c0" stands for a whole fingerprint.
_SHORT = re.compile(r"sha256:([0-9a-f]+\.\.\.[0-9a-f]+|OLD|NEW)")
_STANZAS = "<all xmlns:stream='urn:stream' xmlns:xml='http://www.w3.org/XML/1998/namespace'>{}</all>"


def inline(value: Any) -> str:
    """Return a value in TOML, in one line."""
    if isinstance(value, dict):
        return f"{{ {', '.join(f'{json.dumps(key)} = {inline(each)}' for key, each in value.items())} }}"
    if isinstance(value, list):
        return f"[{', '.join(map(inline, value))}]"
    return json.dumps(value)


class BlockCase(SynchronousTestCase):
    """A folder for configuration files."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def write(self, document: dict[str, Any]) -> Path:
        """Write a configuration and the files that it names; return its path."""
        for table in (document, *document.values(), *(two for one in document.values() for two in _tables(one))):
            for key, name in table.items() if isinstance(table, dict) else ():
                if key.endswith("_file") and key != "key_file":
                    (self.folder / name).write_text(f"{SECRET}\n")
                    (self.folder / name).chmod(0o600)
        path = self.folder / "gateway.toml"
        path.write_text("".join(f"{json.dumps(key)} = {inline(each)}\n" for key, each in document.items()))
        path.chmod(0o600)
        return path


def _tables(value: Any) -> list[Any]:
    return list(value.values()) if isinstance(value, dict) else []


def parsed(block: Block) -> dict[str, Any]:
    """Return the document of a block in TOML, with whole fingerprints."""
    return tomllib.loads(_SHORT.sub(_fingerprint, block.text))


def _fingerprint(short: re.Match[str]) -> str:
    return f"sha256:{hashlib.sha256(short[1].encode()).hexdigest()}"


class LanguageTests(SynchronousTestCase):
    """No block is without a test."""

    def test_languages(self) -> None:
        """Each block names one of the languages; there is no indented block."""
        for page in PAGES:
            self.assertEqual([each.place for each in blocks(page) if each.language not in LANGUAGES], [])
            self.assertEqual(indented(page), [])
            # An odd fence would hide the blocks after it.
            self.assertEqual(len(re.findall(r"(?m)^ *```", page.read_text())), 2 * len(blocks(page)), page)

    def test_pages(self) -> None:
        """The pages are found, and so are their blocks."""
        self.assertLessEqual({"README.md", "proxy.md", "prosody.md"}, {each.name for each in PAGES})
        for language in LANGUAGES:
            self.assertTrue(list(allBlocks(language)), language)
        self.assertGreater(len(PAIRS), 7)


class ConfigurationTests(BlockCase):
    """Blocks of the gateway's configuration file."""

    def test_parts(self) -> None:
        """Each block is valid; what it leaves out is completed: C{[server]}, and required keys of a service."""
        for block in allBlocks("toml"):
            document = parsed(block)
            if "build-system" in document:
                continue  # a project: see tests/test_examples.py
            for kind, text in MINIMAL.items():
                for table in document.get(kind, {}).values():
                    for key, value in tomllib.loads(text).items():
                        table.setdefault(key, value)
            if "embedded" not in document:
                least = tomllib.loads(SERVER)["server"]
                given = document.setdefault("server", {})
                given.setdefault("endpoint", least["endpoint"])
                if not given.keys() & {"secret", "secret_file"}:
                    given["secret"] = least["secret"]
            if not document.keys() & MINIMAL.keys():
                document["rooms"] = {"rooms.localhost": {}}
            load(self.write(document), findPlugins(), MemoryReactorClock())

    def test_whole(self) -> None:
        """The configurations of the how-to pages need nothing else: C{--check} accepts them as they are."""
        for page in PAIRS:
            found = [parsed(each) for each in blocks(page) if each.language == "toml"]
            self.assertNotEqual(found, [], page)
            for document in found:
                self.assertIn("server", document, page)
                read(self.write(document), MemoryReactorClock())

    def test_endpoints(self) -> None:
        """Each endpoint in the tables of endpoints is one; its folders need not exist here."""
        values = Values(self.folder, MemoryReactorClock())
        for name, kind in (("connection.md", ClientEndpoint), ("http.md", ServerEndpoint)):
            text = (DOCS / name).read_text()
            found = re.findall(r"""(?m)^\| [^|]* \| `(["'])((?:tcp|tcp6|tls|unix):.*?)\1`""", text)
            self.assertGreater(len(found), 2, name)
            for _, endpoint in found:
                values.structure(re.sub(r"/(?:etc|run)/xmpp-gateway(?:/authorities)?", ".", endpoint), kind)


class ServerTests(BlockCase):
    """Blocks of the configurations of servers."""

    def test_lua(self) -> None:
        """Prosody's are Lua, and use no other names, options and modules than its own."""
        for block in allBlocks("lua"):
            with self.subTest(block.place):
                self.assertEqual(names.unknownLua(readLua(block.text)), set())

    def test_yaml(self) -> None:
        """Those in YAML are tables without a key that comes twice, or that the software does not have."""
        for block in allBlocks("yaml"):
            with self.subTest(block.place):
                found = yaml.load(block.text, _NoDuplicates)  # noqa: S506  # it is derived from the safe loader
                self.assertIsInstance(found, dict | list)
                self.assertEqual([*names.unknownYaml(found)], [])

    def test_pairs(self) -> None:
        """
        On the how-to pages, a server's configuration has everything that C{xmpp-gateway snippet} prints for the
        gateway's configuration before it. Each kind of server has one, or the page says that it has no use there.
        """
        for page in PAIRS:
            config, seen = None, set()
            for block in blocks(page):
                if block.language == "toml":
                    config = read(self.write(parsed(block)), MemoryReactorClock())
                if block.language in KINDS:
                    kind = KINDS[block.language]
                    assert config is not None
                    seen.add(kind)
                    needed = kinds.blocks(kinds.SERVERS[kind], components(config))
                    self.assertEqual(list(self.lacking(kind, block.text, needed)), [], block.place)
            titles = {"prosody": "Prosody", "ejabberd": "ejabberd", "openfire": "Openfire"}
            if page.parent.name == "servers":
                self.assertEqual(seen, {page.stem})
            for kind in titles.keys() - seen if page.parent.name == "howto" else ():
                self.assertIn(f"## With {titles[kind]}\n\n{titles[kind]} ", page.read_text())

    def lacking(self, kind: str, text: str, needed: str) -> list[str]:
        """Return what a block lacks."""
        if kind == "prosody":
            return list(lacksLua(readLua(text), readLua(needed)))
        if kind == "ejabberd":
            return list(lacksYaml(yaml.safe_load(text), yaml.safe_load(needed)))
        lines = [[each for each in one.splitlines() if "#" not in each] for one in (text, needed)]
        return [each for each in lines[1] if lines[1].count(each) > lines[0].count(each)]

    def test_lacks(self) -> None:
        """A missing piece is found."""
        for kind, text, needed, missing in (
            ("prosody", 'Component "a"\n x = 1', 'Component "a"\n x = 1 y = { "z" }', "/a/y"),
            ("prosody", 'Component "a"\n x = { "y" }', 'Component "a"\n x = { "z" }', "/a/x: z"),
            ("openfire", "a: b\n", "a: b\na: c\n# d\n", "a: c"),
            ("ejabberd", EJABBERD.replace("pass,", "word,"), EJABBERD, "port 1/hosts/a/password: pass, not word"),
            ("ejabberd", EJABBERD.replace("port: 1", "port: 2"), EJABBERD, "port 1"),
            ("ejabberd", EJABBERD.replace("urn:x", "urn:y"), EJABBERD, "mod_delegation: urn:x"),
            ("ejabberd", EJABBERD.replace("server: a", "server: b"), EJABBERD, "mod_delegation: urn:x"),
        ):
            self.assertEqual(self.lacking(kind, text, text), [])
            self.assertEqual(self.lacking(kind, text, needed), [missing])


class _NoDuplicates(yaml.SafeLoader):
    """Reads YAML as ejabberd does: a key that comes twice is an error."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        if len(keys) != len(set(keys)):
            raise yaml.YAMLError(f"a key comes twice: {keys}")
        return super().construct_mapping(node, deep)


class OtherTests(SynchronousTestCase):
    """Commands, data and programs."""

    def test_commands(self) -> None:
        """Commands are valid in a shell; programs of this tree have the commands, options, targets and files."""
        for block in allBlocks("sh"):
            done = subprocess.run(["bash", "-n"], input=block.text, capture_output=True, text=True, check=False)
            self.assertEqual(done.stderr, "", block.place)
            for each in commands.split(block.text):
                self.assertIsNone(commands.problem(each), f"{block.place}: {' '.join(each)}")

    def test_inline(self) -> None:
        """A command within a sentence exists, too, with these options. A sentence need not give its arguments."""
        for page in PAGES:
            for line in commands.inline(page.read_text()):
                for each in commands.split(line):
                    found = commands.problem(each) or "Missing"
                    self.assertTrue(found.startswith("Missing"), f"{page.relative_to(ROOT)}: {line}: {found}")

    def test_wrongCommands(self) -> None:
        """A command that does not exist, or not with this option, is found."""
        for line in (
            "xmpp-gateway statsu",
            "sudo xmpp-gateway check --cfg x",
            "xmpp-gateway state copy a",
            "twistd -n gateway --cfg x",
            "twistd --nodemon gateway",
            "cd x && make tuor",
            "PATH=x python -m gateway.tuor",
            "python benchmarks/rely.py",
            "prosodyctl chek config",
            "curl -s http://127.0.0.1:5290/statsu",
            "curl 'http://localhost:5290/roster_admin/refrsh?dry_run=1'",
        ):
            found = [commands.problem(each) for each in commands.split(line)]
            self.assertTrue(any(found), line)

    def test_json(self) -> None:
        """JSON is JSON, and its keys are addresses, or words that the gateway uses as keys."""
        for block in allBlocks("json"):
            with self.subTest(block.place):
                document = json.loads(block.text.replace("…", "").replace("...", ""))
                self.assertEqual(names.unknownKeys(document), set())

    def test_xml(self) -> None:
        """Stanzas are well-formed, and their namespaces are those of the gateway or of a test."""
        for block in allBlocks("xml"):
            with self.subTest(block.place):
                ElementTree.fromstring(_STANZAS.format(re.sub(r"<\?xml.*?\?>|<!DOCTYPE.*?>", "", block.text)))
                self.assertEqual(names.unknownNamespaces(block.text), set())

    def test_python(self) -> None:
        """Python is Python, and what it imports exists. tests/test_examples.py installs and tests the projects."""
        for block in allBlocks("python"):
            flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST
            tree = compile(textwrap.dedent(block.text), block.place, "exec", flags)
            self.assertEqual([*names.unknownImports(tree)], [], block.place)

    def test_braces(self) -> None:
        """
        Each line for nginx ends with a semicolon or a brace; there and for logrotate, braces balance, and each line
        begins with a directive.
        """
        for language in ("nginx", "logrotate"):
            for block in allBlocks(language):
                lines = [line.strip() for line in block.text.splitlines() if line.strip()]
                depth = 0
                for line in lines:
                    known = line.split()[0] in names.WORDS[language] or line.startswith("/")
                    self.assertTrue(known, f"{block.place}: {line}")
                    depth += line.endswith("{") - (line == "}")
                    self.assertGreaterEqual(depth, 0, block.place)
                    self.assertTrue(language == "logrotate" or line[-1] in ";{}", f"{block.place}: {line}")
                self.assertEqual(depth, 0, block.place)

    def test_text(self) -> None:
        """No configuration or command is called text, which has no other test."""
        for block in allBlocks("text"):
            for line in block.text.splitlines():
                for each in commands.split(line.removeprefix("$ ")) if line.startswith("$ ") else ():
                    self.assertIsNone(commands.problem(each), f"{block.place}: {line}")
                self.assertNotRegex(line, rf"^(?:{'|'.join(commands.OURS)}|curl|pip|sudo) (?!\d)", block.place)
            try:
                document = tomllib.loads(block.text)
            except tomllib.TOMLDecodeError:
                continue
            self.assertEqual(document, {}, block.place)


class LinkTests(SynchronousTestCase):
    """Links between the files of this tree."""

    def test_links(self) -> None:
        """Each leads to a file, and to a heading of it."""
        for page in PAGES:
            # What a page includes has its links there.
            text = re.sub(r"(?ms)^ *```.*?^ *```$|`[^`\n]*`", "", page.read_text())
            for target in re.findall(r"\]\(([^)\s]+)\)", text):
                path, _, heading = target.partition("#")
                if re.match("https?:", target):
                    continue
                file = (page.parent / path).resolve() if path else page
                self.assertTrue(file.exists(), f"{page.relative_to(ROOT)}: {target}")
                if heading:
                    source = ROOT / "benchmarks" / "README.md" if file.name == "benchmarks.md" else file
                    self.assertIn(heading, headings(source), f"{page.relative_to(ROOT)}: {target}")


def headings(page: Path) -> set[str]:
    """Return the names of a page's headings, as GitHub and the site make them."""
    text = re.sub(r"(?ms)^ *```.*?^ *```$", "", page.read_text())
    found: set[str] = set()
    for title in re.findall(r"(?m)^#+ (.*)$", text):
        plain = re.sub(r"[^\w\- ]", "", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).lower()).replace(" ", "-")
        found.add(plain)
    return found
