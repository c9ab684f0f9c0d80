"""Commands in the documentation: their words, and whether the programs of this tree accept them."""

from __future__ import annotations

import importlib.util
import re
import shlex
from collections.abc import Iterator

import click
from twisted.scripts.twistd import ServerOptions

from gateway.cli.command import commands
from gateway.tap import Options
from tests.docs.pages import ROOT, isShown

_OPERATOR = re.compile(r"[;&|()<>]+")
# Words before a command.
_BEFORE = re.compile(r"sudo|[A-Z_]+=.*|\$")
_TARGET = re.compile(r"^([a-z-]+):", re.MULTILINE)
# A command in a sentence. One with a word in capitals, or with dots, is not meant to be typed as it is.
_INLINE = re.compile(r"(?<!`)`((?:xmpp-gateway|twistd|make|python) (?!\d)[^`\n]*)`(?!`)")
_PATTERN = re.compile(r"\b[A-Z]{2,}\b(?!=)|\.\.\.|…|\\\|")
# The commands of other programs that the pages use.
_OTHERS = {
    "prosodyctl": {"check", "register"},
    "ejabberdctl": {"export_piefxis_host"},
    "systemctl": {"enable", "restart"},
    "openssl": {"dgst", "rand", "req", "s_client", "x509"},
    "podman": {"build", "compose", "run"},
    "apt": {"install"},
    "apt-get": {"build-dep", "install"},
}
# The paths of the gateway's HTTP server; a page may have one as a variable of the shell.
_PATHS = re.compile(
    r"/|/(?:status|metrics|readyz|healthz)|/roster_admin/(?:[\w.]+/)?refresh(?:/\w+)?|/demo/contacts/\w*"
)
_ADDRESS = re.compile(r"http://(?:127\.0\.0\.1|localhost):5290([^?$]*)")
# Programs of this tree.
OURS = ("xmpp-gateway", "twistd", "make", "python", "python3")


def split(text: str) -> Iterator[list[str]]:
    """Yield the commands of a shell script, each as its words."""
    for line in text.replace("\\\n", " ").splitlines():
        words = shlex.shlex(line, posix=True, punctuation_chars=True)
        words.whitespace_split = True
        command: list[str] = []
        for word in words:
            if _OPERATOR.fullmatch(word):
                yield from _without(command)
                command = []
            else:
                command.append(word)
        yield from _without(command)


def _without(command: list[str]) -> Iterator[list[str]]:
    """Yield a command without the words before it, if there is one."""
    while command and _BEFORE.fullmatch(command[0]):
        command = command[1:]
    if command:
        yield command


def inline(text: str) -> Iterator[str]:
    """Yield the commands of programs of this tree that are in sentences of a page."""
    for found in _INLINE.finditer(text):
        if not _PATTERN.search(found[1]):
            yield found[1]


def problem(command: list[str]) -> str | None:
    """Return the reason why a program of this tree does not accept a command; C{None} for other programs, too."""
    program, *arguments = command
    name = program.rpartition("/")[2]
    if name == "curl":
        return _curl(arguments)
    if name in _OTHERS:
        return None if arguments[0] in _OTHERS[name] else f"{name} is not known to have {arguments[0]}"
    if name not in OURS:
        return None
    return {"xmpp-gateway": _gateway, "twistd": _twistd, "make": _make}.get(name, _python)(arguments)


def _gateway(arguments: list[str]) -> str | None:
    try:
        with click.Context(commands, info_name="xmpp-gateway") as context:
            command: click.Command = commands
            while isinstance(command, click.Group):
                if not arguments:
                    return "Missing command"
                _, found, arguments = command.resolve_command(context, arguments)
                assert found is not None
                command = found
            command.make_context(command.name, arguments, parent=context)
    except click.exceptions.Exit:
        return None
    except click.BadParameter as error:
        # A file of an example need not exist.
        return None if "does not exist" in error.message else error.format_message()
    except click.ClickException as error:
        return error.format_message()
    return None


def _curl(arguments: list[str]) -> str | None:
    """Compare the addresses with the paths that the gateway has."""
    found = [each[1] for each in map(_ADDRESS.match, arguments) if each]
    wrong = [each for each in found if each and not _PATHS.fullmatch(each)]
    return f"the gateway has no {wrong}" if wrong else None


def _twistd(arguments: list[str]) -> str | None:
    """Look up the options of twistd, and those of its command."""
    place = arguments.index("gateway") if "gateway" in arguments else len(arguments)
    for options, words in ((ServerOptions(), arguments[:place]), (Options(), arguments[place + 1 :])):
        known = {f"--{each.removesuffix('=')}" for each in options.longOpt}
        unknown = [each for each in words if each.startswith("--") and each.partition("=")[0] not in known]
        if unknown:
            return f"unknown options {unknown}"
    return None


def _make(arguments: list[str]) -> str | None:
    targets = set(_TARGET.findall((ROOT / "Makefile").read_text()))
    unknown = [each for each in arguments if "=" not in each and each not in targets]
    return f"unknown target {unknown}" if unknown else None


def _python(arguments: list[str]) -> str | None:
    """Find the module or the file that is run; a page may show the file."""
    if arguments[:1] == ["-m"]:
        return None if importlib.util.find_spec(arguments[1]) else f"there is no module {arguments[1]}"
    file = next((each for each in arguments if each.endswith(".py")), "")
    return None if isShown(file) or (ROOT / file.removeprefix(".../")).is_file() else f"there is no file {file}"
