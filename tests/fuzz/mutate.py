"""Changes of stanzas that stay well-formed, so that they reach what reads them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from random import Random
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from gateway import ns
from tests.fuzz import seeds

_VALUES = (
    *("", "get", "set", "result", "error", "groupchat", "unavailable", "subscribed", "none", "owner", "moderator"),
    *("visitor", "outcast", "remove", "submit", "form", "110", "303", "307", "0", "-1", "999999999999999999999"),
    *("2026-01-01T00:00:00Z", "example.com", "ann@example.com/a", "bob@example.net/b"),
    *("\u00e9\U0001f600", "x" * 2_000),
    *seeds.COMPONENTS,
    *(f"a@{each}/ann" for each in seeds.COMPONENTS),
)
_HEAD = f"<stream xmlns='{ns.COMPONENT_ACCEPT}'>"


def mutated(data: bytes, byBytes: Callable[[bytes], bytes], random: Random) -> bytes:
    """
    Return changed input for the target C{stanzas}: its stanzas with some parts changed, or any bytes.

    @param byBytes: changes bytes.
    """
    place, text = data[:1] or b"\0", data[1:].decode(errors="replace")
    try:
        stanzas = list(ElementTree.fromstring(f"{_HEAD}{text}</stream>"))
    except ElementTree.ParseError:
        stanzas = []
    if not stanzas or not random.randrange(20):
        return byBytes(data)
    for _ in range(random.randrange(1, 4)):
        _change(stanzas, random)
    if not random.randrange(10):
        place = bytes([random.randrange(256)])
    return place + b"".join(_written(each) for each in stanzas)


def _written(stanza: Element) -> bytes:
    whole = ElementTree.tostring(stanza, encoding="unicode", default_namespace=None)
    return whole.encode(errors="replace")


def _change(stanzas: list[Element], random: Random) -> None:
    parent = random.choice(stanzas)
    inner = list(parent.iter())
    element = random.choice(inner)
    match random.randrange(8):
        case 0 | 1 | 2:
            names = [*element.attrib, "id", "from", "to", "type", "jid", "nick"]
            element.set(random.choice(names), _value(inner, random))
        case 3:
            element.text = _value(inner, random)
        case 4 if element.attrib:
            del element.attrib[random.choice(list(element.attrib))]
        case 5 if len(element):
            element.remove(random.choice(list(element)))
        case 6:
            element.append(copy.deepcopy(random.choice(_PARTS)))
        case _:
            stanzas.insert(random.randrange(len(stanzas) + 1), copy.deepcopy(random.choice(_STANZAS)))


def _value(inner: list[Element], random: Random) -> str:
    """Return a value from anywhere, or a part of one."""
    known = [value for each in inner for value in each.attrib.values()]
    value = random.choice([*_VALUES, *known])
    return value[: random.randrange(len(value) + 1)] if not random.randrange(8) else value


_STANZAS = [
    stanza
    for each in seeds.STANZAS
    for stanza in ElementTree.fromstring(f"{_HEAD}{each[1:].decode()}</stream>")
]
_PARTS = [part for stanza in _STANZAS for part in stanza.iter() if part is not stanza]
