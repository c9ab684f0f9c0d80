"""Pages of long lists (XEP-0059, XEP-0045 section 6.3)."""

from __future__ import annotations

from collections.abc import Sequence

from twisted.words.xish import domish

from gateway import ns
from gateway.muc.disco import Item
from gateway.xml.write import escape, tag

# Approximate bytes of one page: servers close streams for stanzas that are too large.
_MAX_PAGE = 64 * 1024


def pageXml(items: Sequence[Item], query: domish.Element) -> str:
    """
    Return the requested items as far as they fit; if these are not all, with a C{set} element.

    @param query: the request's payload.
    """
    asked = next((each for each in query.elements() if (each.uri, each.name) == (ns.RSM, "set")), None)
    after, most = _wanted(asked)
    start = next((number for number, item in enumerate(items, 1) if item.jid == after), 0) if after else 0
    found: list[str] = []
    size = 0
    for item in items[start : start + most]:
        xml = tag("item", jid=item.jid, name=item.name or None)
        size += len(xml.encode())
        if found and size > _MAX_PAGE:
            break
        found.append(xml)
    if asked is None and len(found) == len(items):
        return "".join(found)
    presence = items[start : start + len(found)]
    ends = ""
    if presence:
        ends = tag("first", escape(presence[0].jid), index=str(start)) + tag("last", escape(presence[-1].jid))
    return "".join(found) + tag("set", ends + tag("count", str(len(items))), xmlns=ns.RSM)


def _wanted(asked: domish.Element | None) -> tuple[str, int]:
    """Return the item after which the page starts, and the number of items. Unreadable values mean no limit."""
    words = {} if asked is None else {each.name: str(each) for each in asked.elements()}
    most = words.get("max", "")
    return words.get("after", ""), int(most) if most.isascii() and most.isdigit() and len(most) < 7 else 1_000_000
