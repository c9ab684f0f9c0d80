"""
The tour's stop at rosters that a web application controls, on the embedded host.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from gateway import ns
from gateway.addresses import jids
from gateway.interfaces import IGuide
from gateway.xml.write import tag

_REFRESH = "/roster_admin/refresh"


async def show(guide: IGuide, jid: str) -> None:
    """Make two users contacts by documents of the built-in application, then undo it."""
    guide.say(
        f"{jid} sets rosters according to a web application. After a change the application sends one POST with "
        "the users' names. The gateway asks it for their contacts, compares these with the rosters on the server, "
        "and sets the differences. The server pushes each change to the clients."
    )
    friend = await guide.friend()
    if friend is None:
        guide.say("This stop needs two accounts besides the implementation's; the tour has only one.")
        return
    status, _ = await guide.web("GET", "/demo/contacts/")
    if status != 200:
        guide.say(
            "Your own application decides here instead of the built-in one, so the tour changes nothing. "
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
        "about them yet. So the tour first stores their present contacts there, but not each other."
    )
    for one, other in ((guide, friend), (friend, guide)):
        await _putDocument(guide, one, {jid: each for jid, each in before[one.jid].items() if jid != _bare(other)})
    await _refresh(guide, users)
    guide.say("Now the application makes them contacts, in a group, and reports a change of both users.")
    for one, other in ((guide, friend), (friend, guide)):
        contact = {"name": _name(other).title(), "groups": ["Tour"], "subscription": "both"}
        await _putDocument(guide, one, {**before[one.jid], _bare(other): contact})
    await _refresh(guide, users)
    for one, other in ((guide, friend), (friend, guide)):
        await one.hear(partial(_isPushed, _bare(other)), f"the roster push that tells {one.jid} of {_bare(other)}")
        await one.hear(partial(_isPresence, other.jid), f"the presence of {other.jid}")
    guide.say(
        "Now both rosters are restored, and the documents are removed from the application."
    )
    for each in (guide, friend):
        await _putDocument(guide, each, before[each.jid])
    await _refresh(guide, users)
    for one, other in ((guide, friend), (friend, guide)):
        isThere = _bare(other) in await _contacts(one)
        guide.check(isThere == (_bare(other) in before[one.jid]), f"the roster of {one.jid} is as before")


async def _contacts(each: IGuide) -> dict[str, Any]:
    """Return a client's roster in the form of the application's documents."""
    answer = await each.ask(_bare(each), tag("query", xmlns=ns.ROSTER))
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
    guide.check(status == 200, f"the application accepts the document{'' if status == 200 else ': ' + answer}")


async def _refresh(guide: IGuide, users: str) -> None:
    status, answer = await guide.web("POST", _REFRESH, users)
    guide.check(status == 200 and json.loads(answer)["updated"] == 2, "both rosters match their documents")


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
