"""
C{xmpp-gateway init}: a configuration from the answers to a few questions.
"""

from __future__ import annotations

import json
import os
import secrets
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
from attrs import frozen

from gateway.cli.program import CommandFailed, Program, orFail
from gateway.composition.checks import components, read
from gateway.composition.reader import Config
from gateway.config.tables import BareJid, ClientEndpoint, Domain, Url
from gateway.config.values import Values, describe
from gateway.requirements.ejabberd import API
from gateway.requirements.servers import SERVERS, blocks
from gateway.state import files
from gateway.tap import VARIABLE

_SECRET = "component.secret"  # the name of a file
_SECRET_BYTES = 24
_APPLICATION = "http://127.0.0.1:8000/contacts/%s"
# It needs no reactor for the kinds of values that are asked for.
_VALUES = Values(Path(), None)


@frozen
class _Question:
    """
    One question about a service.

    @ivar key: of the table.
    @ivar kind: the type of the value, or of its items.
    @ivar default: with C{{domain}} in the place of the server's domain; empty if there is none.
    @ivar isList: true if the value is a list; the answer has commas between its items.
    @ivar isOptional: true if the answer may be empty.
    """

    key: str
    text: str
    kind: Any
    default: str = ""
    isList: bool = False
    isOptional: bool = False

    def check(self, answer: str) -> str:
        """Return an answer; raise an error with what is allowed."""
        for each in (_items(answer) or [""] * (not self.isOptional)) if self.isList else [answer]:
            try:
                if not (self.isList and each == "*"):
                    _VALUES.structure(each, self.kind)
            except Exception as error:  # each kind of value has its own
                raise click.BadParameter(f"found {each or 'nothing'}; allowed: {describe(self.kind)}") from error
        return answer


@frozen
class _Service:
    """
    One kind of service.

    @ivar label: the first label of the component's name.
    @ivar fixed: lines of its table that need no question.
    """

    about: str
    label: str
    questions: tuple[_Question, ...] = ()
    fixed: tuple[str, ...] = ()


_SERVICES = {
    "proxy": _Service(
        "a component in front of a client account",
        "proxy",
        (_Question("target", "Account that implements the service", BareJid, "implementation@{domain}"),),
    ),
    "delegation": _Service(
        "private storage of the users, in the gateway",
        "delegate",
        (),
        (
            'servers = ["{domain}"]',
            '[delegation."{jid}".namespaces]',
            '"jabber:iq:private" = {{ handler = "private-storage"{imports} }}',
        ),
    ),
    "roster": _Service(
        "contacts of the users, from a web application",
        "roster",
        (_Question("url", "Address of a user's contacts, with %s for the user", Url, _APPLICATION),),
        ('domain = "{domain}"',),
    ),
    "rooms": _Service(
        "rooms that other sites may mirror",
        "rooms",
        (_Question("peers", "Domains of the mirrors that may join, with commas", Domain, "", True, True),),
    ),
    "mirror": _Service(
        "mirrors of rooms at another site",
        "mirror",
        (_Question("allow", "Domains whose rooms may be mirrored, with commas", Domain, "", True),),
        ('users = ["{domain}"]',),
    ),
}

# The address of the port for components, the file with the server's side, and what to do with that.
_ENDPOINTS = {"prosody": "tcp:127.0.0.1:5347", "ejabberd": "tcp:127.0.0.1:5347", "openfire": "tcp:127.0.0.1:5275"}
_NAMES = {
    "prosody": "gateway.prosody.cfg.lua",
    "ejabberd": "gateway.ejabberd.yml",
    "openfire": "gateway.openfire.txt",
}
_TODO = {
    "prosody": "append {name} to prosody.cfg.lua (read its ATTENTION before), run prosodyctl check config, and "
    "restart Prosody",
    "ejabberd": "copy {name} to /etc/ejabberd, name it in ejabberd.yml (include_config_file), and restart ejabberd",
    "openfire": "follow {name} in Openfire's admin console",
}
# The start of a gateway whose package or container names its configuration file.
_SERVICE = "start the service: systemctl enable --now xmpp-gateway, or start the container again"
# Only Prosody lets a component read what it delegates to it. Elsewhere, users do not see any longer what they have
# stored, until it is imported.
_IMPORTS = {"prosody": ", import = true"}
_HIDDEN = (
    "Delegation hides the data that users have stored with the server. If they have stored any, first read "
    'docs/delegation.md, "What the server had stored": import it before the server delegates the namespace.'
)
# ejabberd sets rosters by its API only.
_API = f'api = "{API}"'


@click.command
@click.option("--server", "kind", type=click.Choice(list(SERVERS)), help="The kind of the server.")
@click.option("--domain", help="The server's domain.")
@click.option("--endpoint", help="The server's port for components, such as tcp:127.0.0.1:5347.")
@click.option("--service", "kinds", type=click.Choice(list(_SERVICES)), multiple=True, help="A service to set up.")
@click.option(
    "--answer", "answers", metavar="KEY=VALUE", multiple=True, help="An answer, such as proxy.target=a@b."
)
@click.option("--yes", is_flag=True, help="Ask nothing: take the defaults.")
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path), required=False)
@click.pass_obj
def init(
    program: Program,
    folder: Path | None,
    force: bool,
    yes: bool,
    answers: tuple[str, ...],
    kinds: tuple[str, ...],
    endpoint: str | None,
    domain: str | None,
    kind: str | None,
) -> None:
    """
    Ask a few questions, and write the configuration into FOLDER, by default the folder of the file that
    GATEWAY_CONFIG names, or the working directory.

    The files are gateway.toml, the secret of the components, and the server's side of the configuration. Nothing is
    written if an answer cannot be right. A file that has only state_dir is replaced; state_dir is kept.
    """
    folder = folder or Path(os.environ.get(VARIABLE, "gateway.toml")).parent
    given = dict(_pair(each) for each in answers)
    ask = _Asking(given, yes)
    kind = kind or ask.choice("server", "Kind of the server", "prosody", list(SERVERS))
    stateDir = _templateIn(folder / "gateway.toml")
    own = [folder / "gateway.toml"] if stateDir is None else []
    there = [str(path) for path in (*own, folder / _NAMES[kind]) if path.exists()]
    if there and not force:
        raise CommandFailed(f"{', '.join(there)} exists already: choose another folder, or give --force")
    domain = domain or ask("", _Question("domain", "Domain of the server", Domain))
    port = _Question("endpoint", "Its port for components", ClientEndpoint, _ENDPOINTS[kind])
    endpoint = endpoint or ask("", port)
    chosen = list(kinds) or [name for name in _SERVICES if ask.whether(name)]
    if not chosen:
        raise CommandFailed("no service was chosen: a gateway needs at least one")
    text = "\n".join(_written(kind, domain, endpoint, chosen, ask, stateDir)) + "\n"
    if unused := sorted(given.keys() - ask.used):
        questions = ", ".join(ask.used)
        raise click.UsageError(f"--answer: {', '.join(unused)} answers no question; questions: {questions}")

    async def main(reactor: Any) -> None:
        _write(folder, text, kind, reactor)
        if "delegation" in chosen and kind not in _IMPORTS:
            click.echo(f"\n{_HIDDEN}")

    program.run(main)


def _templateIn(path: Path) -> str | None:
    """Return C{state_dir} if a file configures nothing else, as one of a package; C{None} for other files."""
    try:
        document = tomllib.loads(path.read_text())
    except (OSError, ValueError, RecursionError):
        return None
    found = document.get("state_dir")
    return found if isinstance(found, str) and len(document) == 1 else None


def _pair(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator:
        raise click.UsageError(f"--answer: found {text}; allowed: KEY=VALUE")
    return key, value


class _Asking:
    """
    Asks questions that are not answered yet.

    @ivar used: the keys of all questions.
    """

    def __init__(self, given: Mapping[str, str], takesDefaults: bool) -> None:
        self._given = given
        self._takesDefaults = takesDefaults
        self.used: dict[str, None] = {}

    def __call__(self, prefix: str, question: _Question, default: str | None = None) -> str:
        """
        Return the answer to a question. A person who gives an answer that cannot be right is asked again.

        @param prefix: of the question's key.
        """
        key = prefix + question.key
        default = question.default if default is None else default
        if (answer := self._found(key, question.text, default, question.isOptional)) is not None:
            return answer
        text = f"{question.text} (none: Enter)" if question.isOptional else question.text
        shown = "" if question.isOptional else default or None
        return str(click.prompt(text, shown, value_proc=question.check, show_default=bool(default)))

    def choice(self, key: str, text: str, default: str, choices: list[str]) -> str:
        """Return one of the choices."""
        answer = self._found(key, text, default)
        return answer or str(click.prompt(text, default=default, type=click.Choice(choices)))

    def _found(self, key: str, text: str, default: str, isOptional: bool = False) -> str | None:
        """Return an answer that needs no question; None if there is none."""
        self.used[key] = None
        if key in self._given:
            return self._given[key]
        if self._takesDefaults:
            if not default and not isOptional:
                option = "" if "." in key else f"--{key} or "
                raise click.UsageError(f"{key} has no default: give {option}--answer {key}=VALUE ({text})")
            return default
        return None

    def whether(self, service: str) -> bool:
        """Return true if a service is wanted; a proxy by default."""
        default = service == "proxy"
        if self._takesDefaults:
            return default
        text = f"{service}: {_SERVICES[service].about}? [{'Y/n' if default else 'y/N'}]"
        answer = click.prompt(text, "y" if default else "n", value_proc=_yesOrNo, show_default=False)
        return bool(answer == "y")


def _written(
    kind: str, domain: str, endpoint: str, chosen: list[str], ask: Callable[..., str], stateDir: str | None
) -> Iterator[str]:
    """Yield the lines of the configuration file."""
    yield "# Written by xmpp-gateway init. gateway.example.toml has all options."
    if stateDir is not None:
        yield from ("", f"state_dir = {_quoted(stateDir)}")
    yield from (
        "",
        "[server]",
        f"endpoint = {_quoted(endpoint)}",
        f"secret_file = {_quoted(_SECRET)}",
        f"domain = {_quoted(domain)}",
        "",
        "[http]",
    )
    for name in chosen:
        service = _SERVICES[name]
        jid = f"{service.label}.{domain}"
        yield from ("", f"[{name}.{_quoted(jid)}]")
        for question in service.questions:
            answer = ask(f"{name}.", question, question.default.format(domain=domain))
            value = f"[{', '.join(map(_quoted, _items(answer)))}]" if question.isList else _quoted(answer)
            yield f"{question.key} = {value}"
        if name == "roster" and kind == "ejabberd":
            yield _API
        # In a table, keys come before the tables in it.
        imports = _IMPORTS.get(kind, "")
        yield from (line.format(domain=domain, jid=jid, imports=imports) for line in service.fixed)


def _yesOrNo(answer: str) -> str:
    """Return C{y} or C{n}; raise an error with what is allowed."""
    letter = answer.strip().lower()
    if letter not in ("y", "yes", "n", "no"):
        raise click.BadParameter(f"found {answer.strip()}; allowed: y or n")
    return letter[0]


def _items(answer: str) -> list[str]:
    return [each.strip() for each in answer.split(",") if each.strip()]


def _quoted(text: str) -> str:
    """Return a string of TOML; JSON writes strings in the same way, except for one character."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007F")


def _write(folder: Path, text: str, kind: str, reactor: Any) -> None:
    """Check the configuration and write all files, or none."""
    secret = folder / _SECRET
    content = secrets.token_urlsafe(_SECRET_BYTES) + "\n"
    # A secret that the server has already is kept.
    with suppress(OSError, ValueError):
        content = files.readLine(secret) + "\n"
    config = _checked(text, content, reactor)
    made = {
        folder / "gateway.toml": text,
        folder / _NAMES[kind]: blocks(SERVERS[kind], components(config)),
    }
    try:
        files.makeFolder(folder)
        for path, lines in {secret: content, **made}.items():
            files.write(path, lines.encode())
            click.echo(f"Written: {path}")
    except OSError as error:
        raise CommandFailed(f"{folder} cannot be written to: {error.strerror}") from error
    file = folder / "gateway.toml"
    isDefault = str(file) == os.environ.get(VARIABLE)
    option = "" if isDefault or folder == Path() else f" --config {file}"
    start = _SERVICE if isDefault else f"xmpp-gateway run{option}"
    click.echo(
        f"\nNow:\n  1. {_TODO[kind].format(name=folder / _NAMES[kind])}\n"
        f"  2. xmpp-gateway check{option}\n  3. {start}"
    )


def _checked(text: str, secret: str, reactor: Any) -> Config:
    """Return the configuration; fail with its errors, and write nothing."""
    with tempfile.TemporaryDirectory(prefix="xmpp-gateway-") as name:
        folder = Path(name)
        files.write(folder / _SECRET, secret.encode())
        files.write(folder / "gateway.toml", text.encode())
        path = Path("gateway.toml")
        return orFail(path, lambda: read(folder / path, reactor, {}))
