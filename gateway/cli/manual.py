"""
C{xmpp-gateway manual}: the manual page, made from the commands themselves.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import click

import gateway

_NAME = "xmpp-gateway"
_ABOUT = "administer an XMPP gateway"
_FILES = (
    ("gateway.toml", "The configuration; gateway.example.toml has every option."),
    ("state_dir", "The folder with the durable state, by default state beside the configuration."),
)
_ENVIRONMENT = (
    ("GATEWAY_CONFIG", "The configuration file, if --config does not name one."),
    ("GATEWAY_TABLE__KEY", "A key that holds a secret, or names its file: GATEWAY_SERVER__SECRET_FILE."),
    ("CREDENTIALS_DIRECTORY", "The folder of systemd's credentials, which set such keys as well: server.secret."),
)
_STATUS = (("0", "Everything is well."), ("1", "Something is wrong; it is printed."), ("2", "The call is wrong."))


@click.command
@click.pass_context
def manual(context: click.Context) -> None:
    """Print this manual page, in the format of man."""
    click.echo(page(context.find_root().command), nl=False)


def page(command: click.Command) -> str:
    """Return the manual page of a command and of all commands in it."""
    lines = [
        f'.TH XMPP-GATEWAY 1 "" "xmpp-gateway {gateway.__version__}"',
        ".SH NAME",
        f"{_escaped(_NAME)} \\- {_ABOUT}",
        ".SH SYNOPSIS",
        f".B {_escaped(_NAME)}",
        "COMMAND [OPTIONS] [ARGUMENTS]",
        ".SH DESCRIPTION",
        *_paragraphs(command),
        ".SH COMMANDS",
        *_commands(command, command.context_class(command, info_name=_NAME, **command.context_settings)),
        ".SH OPTIONS",
        *_entries([("-h, --help", "Show what a command does, and its options.")]),
        ".SH EXIT STATUS",
        *_entries(_STATUS),
        ".SH ENVIRONMENT",
        *_entries(_ENVIRONMENT),
        ".SH FILES",
        *_entries(_FILES),
        ".SH SEE ALSO",
        r".BR twistd (1)",
    ]
    return "\n".join(lines) + "\n"


def _commands(command: click.Command, context: click.Context) -> Iterator[str]:
    if not isinstance(command, click.Group):
        return
    for name in command.list_commands(context):
        each = command.get_command(context, name)
        assert each is not None
        inner = click.Context(each, info_name=name, parent=context)
        if isinstance(each, click.Group):
            yield from _commands(each, inner)
            continue
        usage = " ".join(each.collect_usage_pieces(inner))
        yield f".SS {_escaped(inner.command_path.removeprefix(_NAME).strip())} {_escaped(usage)}"
        yield from _paragraphs(each)
        for parameter in each.get_params(inner):
            record = parameter.get_help_record(inner)
            # Arguments are described in the text; every command has --help.
            if record is not None and record[1] and "--help" not in parameter.opts:
                yield from _entries([record])


def _paragraphs(command: click.Command) -> Iterator[str]:
    for number, paragraph in enumerate(inspect.cleandoc(command.help or "").split("\n\n")):
        if number:
            yield ".PP"
        yield _escaped(" ".join(paragraph.split()))


def _entries(entries: object) -> Iterator[str]:
    assert isinstance(entries, tuple | list)
    for name, text in entries:
        yield from (".TP", f".B {_escaped(name)}", _escaped(text))


def _escaped(text: str) -> str:
    """Return a text that roff prints as it is."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{text}" if text.startswith((".", "'")) else text
