"""Configurations for the target C{configuration}: tables with all of their keys, and changes of them."""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

from tests.fuzz.seeds import LOCKED, SERVER, TABLES

# Variables of the environment come after the file.
BETWEEN = b"\0\0"

_EXAMPLE = Path(__file__).parents[2] / "gateway.example.toml"
_VALUES = (
    *("", "x", "example.com", "user@example.com/r", "a@b", "*", "tcp:127.0.0.1:5347", "tls:5299", "unix:/run/x"),
    *("tcp:0:interface=::1", "http://127.0.0.1:8000/%s", "http://u:p@h/?q", "postgresql:///x", "true"),
    *("sha256:" + "0" * 64, "x" * 300),
    *("30", "30s", "..", "/", "\u00e9\U0001f600", "\u202e", "[::1]:5", "none", "both"),
    *(True, False, 0, 1, -1, 30.5, 1 << 70, float("nan"), float("inf")),
    *([], ["example.com", 1], {}, {"a": {"b": 1}}),
)
_VARIABLES = (
    b"GATEWAY_SERVER__SECRET=x",
    b"GATEWAY_SERVER__SECRET_FILE=x",
    b"GATEWAY_STATE__URL=postgresql:///x",
    b"GATEWAY_HTTP__TOKEN_FILE=/",
    b"GATEWAY_SERVER_SECRET=x",
    b"GATEWAY_PROXY__A__TARGET=x",
)


def _examples() -> list[str]:
    """Return the tables of the example, with the keys that are comments there."""
    found: list[str] = []
    for table in re.split(r"\n(?=(?:#\s+)?\[)", _EXAMPLE.read_text()):
        lines = dict.fromkeys(re.sub(r"^#\s+", "", line) for line in table.splitlines())
        keys: dict[str, str] = {}
        for line in lines:
            try:
                keys.setdefault(json.dumps(sorted(tomllib.loads(line))), line)
            except tomllib.TOMLDecodeError:
                continue
        found.append("\n".join(keys.values()))
    return found


_DOCUMENTS = [tomllib.loads(each) for each in (*_examples(), SERVER.decode(), TABLES, LOCKED)]
CONFIGURATIONS = (
    TABLES.encode(),
    SERVER,
    SERVER + TABLES.encode(),
    _EXAMPLE.read_bytes(),
    SERVER + BETWEEN + b"\n".join(_VARIABLES),
)


def mutated(data: bytes, byBytes: Callable[[bytes], bytes], random: Random) -> bytes:
    """
    Return changed input for the target C{configuration}: its tables with some keys changed, or any bytes.

    @param byBytes: changes bytes.
    """
    text, _, variables = data.partition(BETWEEN)
    try:
        document = tomllib.loads(text.decode())
    except (ValueError, RecursionError):
        document = {}
    if not random.randrange(3):
        return byBytes(data)
    for _ in range(random.randrange(1, 4)):
        _change(document, random)
    if not random.randrange(8):
        variables = b"\n".join((random.choice(_VARIABLES), *variables.split(b"\n")[:5]))
    written = "".join(f"{_key(name)} = {_written(value)}\n" for name, value in document.items())
    return written.encode(errors="replace") + (BETWEEN + variables if variables else b"")


def _change(document: dict[str, Any], random: Random) -> None:
    example = copy.deepcopy(random.choice(_DOCUMENTS))
    table, other = _table(document, random), _table(example, random)
    name = random.choice([*table, "x"])
    match random.randrange(6):
        case 0:
            document.update(example)
        case 1:
            table.pop(name, None)
        case 2 | 3:
            table[name] = copy.deepcopy(random.choice(_VALUES))
        case 4:
            table.update(other)
        case _:
            table[name[: random.randrange(len(name) + 1)] + random.choice(("", "_", "X"))] = table.pop(name, 1)


def _table(document: dict[str, Any], random: Random) -> dict[str, Any]:
    """Return the document itself, or any table in it."""
    inner = [each for each in document.values() if isinstance(each, dict)]
    return _table(random.choice(inner), random) if inner and random.randrange(4) else document


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_key(name)} = {_written(each)}" for name, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_written, value)) + "]"
    if isinstance(value, float) and value != value:
        return "nan"
    return json.dumps(value, ensure_ascii=False, default=str).replace("Infinity", "inf").replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return json.dumps(name, ensure_ascii=False).replace("\x7f", "\\u007f")
