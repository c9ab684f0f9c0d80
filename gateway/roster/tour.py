"""
The tour's stop at rosters that a web application decides, on the embedded host.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from gateway import jids, ns
from gateway.interfaces import IGuide

_REFRESH = "/roster_admin/refresh"


async def show(guide: IGuide, jid: str) -> None:
    """Make two users contacts by documents of the built-in application, then undo it."""
    guide.say(
        f"{jid} keeps rosters as a web application wants them. The application decides who is whose contact; when "
        "something changes it says so with one POST, the gateway asks it for these users' contacts, compares them "
        "with what the server has, and changes what is different. Clients are told at once."
    )
    friend = await guide.friend()
    if friend is None:
        guide.say("This needs two accounts besides the implementation's; here the tour knows of one.")
        return
    status, _ = await guide.web("GET", "/demo/contacts/")
    if status != 200:
        guide.say(
            "Here an application of your own decides, not the one that is built in, and the tour leaves it alone. "
            f"docs/roster.md says what to POST to {_REFRESH}."
        )
        return
    before = {each.jid: await _contacts(each) for each in (guide, friend)}
    try:
        await _becomeContacts(guide, friend, before)
    finally:
        for each in (guide, friend):
            await guide.web("DELETE", _document(each))


async def _becomeContacts(guide: IGuide, friend: IGuide, before: dict[str, dict[str, Any]]) -> None:
    users = json.dumps([_name(guide), _name(friend)])
    guide.say(
        f"You are logged in twice now, as {guide.jid} and as {friend.jid}. The built-in application knows nothing "
        "of them yet, so first it learns what their rosters hold anyhow, but not each other."
    )
    for one, other in ((guide, friend), (friend, guide)):
        await _putDocument(guide, one, {jid: each for jid, each in before[one.jid].items() if jid != _bare(other)})
    await _refresh(guide, users)
    guide.say("Now it decides that they know each other, in a group; and says that both have changed.")
    for one, other in ((guide, friend), (friend, guide)):
        contact = {"name": _name(other).title(), "groups": ["Tour"], "subscription": "both"}
        await _putDocument(guide, one, {**before[one.jid], _bare(other): contact})
    await _refresh(guide, users)
    for one, other in ((guide, friend), (friend, guide)):
        await one.hear(partial(_isPushed, _bare(other)), f"the roster push that tells {one.jid} of {_bare(other)}")
        await one.hear(partial(_isPresence, other.jid), f"the presence of {other.jid}")
    guide.say(
        "What was there before comes back, and the application forgets both: from here on it leaves them alone."
    )
    for each in (guide, friend):
        await _putDocument(guide, each, before[each.jid])
    await _refresh(guide, users)
    for one, other in ((guide, friend), (friend, guide)):
        isThere = _bare(other) in await _contacts(one)
        guide.check(isThere == (_bare(other) in before[one.jid]), f"the roster of {one.jid} is what it was")


async def _contacts(each: IGuide) -> dict[str, Any]:
    """Return a client's roster in the form of the application's documents."""
    answer = await each.ask(_bare(each), f"<query xmlns='{ns.ROSTER}'/>")
    contacts: dict[str, Any] = {}
    for item in (child for query in answer.elements() for child in query.elements()):
        contacts[item["jid"]] = {
            "name": item.getAttribute("name", ""),
            "groups": [str(group) for group in item.elements()],
            "subscription": item.getAttribute("subscription", "none"),
        }
    return contacts


async def _putDocument(guide: IGuide, each: IGuide, contacts: dict[str, Any]) -> None:
    status, answer = await guide.web("PUT", _document(each), json.dumps(contacts))
    guide.check(status == 200, f"the application takes it{'' if status == 200 else ': ' + answer}")


async def _refresh(guide: IGuide, users: str) -> None:
    status, answer = await guide.web("POST", _REFRESH, users)
    guide.check(status == 200 and json.loads(answer)["updated"] == 2, "both rosters are as the application says")


def _isPushed(contact: str, stanza: Any) -> bool:
    return any(
        item.getAttribute("jid") == contact and item.getAttribute("subscription") == "both"
        for query in stanza.elements()
        if query.uri == ns.ROSTER
        for item in query.elements()
    )


def _isPresence(sender: str, stanza: Any) -> bool:
    return stanza.name == "presence" and not stanza.hasAttribute("type") and stanza.getAttribute("from") == sender


def _name(each: IGuide) -> str:
    return jids.split(each.jid)[0]


def _bare(each: IGuide) -> str:
    return jids.bare(each.jid)


def _document(each: IGuide) -> str:
    return f"/demo/contacts/{_name(each)}"
