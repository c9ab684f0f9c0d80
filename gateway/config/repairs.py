"""
Advice about a wrong value or name: the right one that is most like it. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from difflib import get_close_matches
from typing import Any, Literal, get_args, get_origin
from urllib.parse import urlsplit

from gateway.config.tables import Duration, PeerEndpoint

# The beginning, host and port of an endpoint in another spelling; only the port is always there.
_ADDRESS = re.compile(
    r"([a-z]+:)?(?://)?(?:([A-Za-z0-9._-]*[A-Za-z][A-Za-z0-9._-]*|[0-9.]+\.[0-9]+):)?"
    r"([0-9]+)/?"
)
# A number with a unit that its key implies.
_MEASURE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(s|sec|seconds|[KMG]i?B|bytes)", re.IGNORECASE)
_UNITS = {"k": 2**10, "m": 2**20, "g": 2**30}
_PORT = 5347
_PEER_PORT = 5299
_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?")
# Maximum number of characters of a value that is repaired.
_MAX_LENGTH = 200


def similar(name: str, names: Iterable[str]) -> str | None:
    """Return the name that is most like a wrong one, if any is."""
    plain = {_plain(each): each for each in names}
    found = get_close_matches(_plain(name), plain, 1, 0.65) if len(name) <= _MAX_LENGTH else []
    return plain[found[0]] if found else None


def meant(name: str, names: Iterable[str]) -> str:
    """Return the name that is most like an unknown one, as advice; empty if there is none."""
    found = similar(name, names)
    return "" if found is None else f"did you mean {found}?"


def isLike(name: str, other: str) -> bool:
    """True if two names differ only in case, hyphens, underscores and spaces."""
    return _plain(name) == _plain(other)


def _plain(name: str) -> str:
    return re.sub(r"[-_ ]", "", name.lower())


def repaired(value: Any, kind: Any, check: Callable[[Any], object]) -> Any:
    """
    Return the value that was probably meant; C{None} if none is found.

    @param kind: the type of the key.
    @param check: raises an exception for a value that is not valid.
    """
    for each in _candidates(value, kind):
        with suppress(Exception):
            check(each)
            return each
    return None


def _candidates(value: Any, kind: Any) -> Iterator[Any]:
    text = str(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float) or len(text) > _MAX_LENGTH:
        return
    if kind is Duration:
        yield f"{text}s"
    if not isinstance(value, str):
        yield text
    if text.lower() in ("true", "false"):
        yield text.lower() == "true"
    if _NUMBER.fullmatch(text):
        yield float(text) if "." in text else int(text)
    if (measure := _MEASURE.fullmatch(text)) is not None:
        number = float(measure[1]) * _UNITS.get(measure[2][0].lower(), 1)
        yield int(number) if number.is_integer() else number
    if get_origin(kind) is Literal:
        yield similar(text, get_args(kind))
    yield [value]
    if (found := _ADDRESS.fullmatch(text)) is not None:
        beginning, host, port = found[1], found[2] or "127.0.0.1", found[3]
        yield f"{'tls' if beginning in ('ssl:', 'tls:') else 'tcp'}:{host}:{port}"
        yield f"tcp:{port}:interface={host}"
    elif "/" not in text:
        port = _PEER_PORT if kind is PeerEndpoint else _PORT
        yield f"{text}:{port}"
        yield f"tcp:{text}:{port}"
    if "://" in text:
        # Of a URL, the part that is a host or a domain.
        with suppress(ValueError):
            yield text.replace(f"{urlsplit(text).netloc.rpartition('@')[0]}@", "")
            yield urlsplit(text).netloc
            yield urlsplit(text).hostname
    else:
        yield f"http://{text}"
    # A JID without its resource, and the domain of a JID.
    yield text.partition("/")[0]
    yield text.partition("/")[0].rpartition("@")[2]
