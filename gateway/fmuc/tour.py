"""The tour of rooms on the embedded host, and of a mirror."""

from __future__ import annotations

from functools import partial
from typing import Any

from gateway import ns
from gateway.addresses import jids
from gateway.interfaces import IGuide
from gateway.xml.write import tag


async def showRooms(guide: IGuide, jid: str, lobby: str) -> None:
    """Show the list of rooms."""
    guide.say(
        f"{jid} has ordinary chat rooms (XEP-0045). Other sites may mirror them, so that each message crosses the "
        "link between two sites once, for any number of occupants there. First, the list of public rooms:"
    )
    answer = await guide.ask(jid, tag("query", xmlns=ns.DISCO_ITEMS))
    guide.check(answer["type"] == "result", "the service answers")
    found = [item.getAttribute("jid", "") for query in answer.elements() for item in query.elements()]
    guide.check(f"{lobby}@{jid}" in found, f"{lobby}@{jid} exists, as always on the embedded host")


async def showMirror(guide: IGuide, jid: str, lobby: str) -> None:
    """Show two users in a mirror of the lobby."""
    source = f"{lobby}@rooms.{jids.split(guide.jid)[1]}"
    room = f"{jids.escapeLocal(source)}@{jid}"
    guide.say(
        f"{jid} is the other side: a mirror, which usually is at another site. It needs no setup: {room} stands "
        f"for {source} as soon as a user joins it. (\\40 is an escaped @.)"
    )
    answer = await guide.ask(source, tag("query", xmlns=ns.DISCO_INFO))
    if answer["type"] != "result":
        guide.say(f"There is no {source} to mirror here. The tour only shows mirrors of the embedded default.")
        return
    friend = await guide.friend()
    await _join(guide, room, "guide")
    if friend is None:
        await _leave(guide, room, "guide")
        return
    guide.say(
        f"Now {friend.jid} joins, too. The mirror announces a second user to the room with one stanza; it knows "
        "the occupants and the history already."
    )
    await _join(friend, room, "friend")
    await guide.hear(partial(_isPresence, f"{room}/friend", None), "and the other occupant sees the new one")
    guide.say("A message goes to all occupants, in the room's order: the mirror shows it when it comes back.")
    guide.send(tag("message", tag("body", "Hello, friend!"), to=room, type="groupchat", id="tour1"))
    for each in (guide, friend):
        await each.hear(partial(_isSaid, f"{room}/guide", "Hello, friend!"), f"{each.jid} receives it")
    guide.say("A private message goes to one occupant.")
    friend.send(tag("message", tag("body", "Hello, guide."), to=f"{room}/guide", type="chat", id="tour2"))
    await guide.hear(partial(_isSaid, f"{room}/friend", "Hello, guide."), "only its recipient receives it")
    guide.say("Moderation takes place in the room itself, not in a mirror, where nicks cannot be changed either.")
    kick = tag("query", tag("item", nick="friend", role="none"), xmlns=ns.MUC_ADMIN)
    answer = await guide.ask(room, kick, "set")
    guide.check(answer["type"] == "error", "it is not allowed")
    await _leave(friend, room, "friend")
    await guide.hear(partial(_isPresence, f"{room}/friend", "unavailable"), "the other occupant sees the leave")
    await _leave(guide, room, "guide")
    guide.say("The mirror is empty now and has left the room, so nothing crosses the link any longer.")


async def _join(each: IGuide, room: str, nick: str) -> None:
    each.send(tag("presence", tag("x", xmlns=ns.MUC), to=f"{room}/{nick}"))
    await each.hear(partial(_isPresence, f"{room}/{nick}", None), f"{each.jid} has joined")
    await each.hear(partial(_isSubject, room), "the subject comes last")


async def _leave(each: IGuide, room: str, nick: str) -> None:
    each.send(tag("presence", to=f"{room}/{nick}", type="unavailable"))
    await each.hear(partial(_isPresence, f"{room}/{nick}", "unavailable"), f"{each.jid} has left")


def _isPresence(sender: str, kind: str | None, stanza: Any) -> bool:
    return (stanza.name, stanza.getAttribute("from"), stanza.getAttribute("type")) == ("presence", sender, kind)


def _isSaid(sender: str, body: str, stanza: Any) -> bool:
    return (
        stanza.name == "message"
        and stanza.getAttribute("from") == sender
        and any(child.name == "body" and str(child) == body for child in stanza.elements())
    )


def _isSubject(room: str, stanza: Any) -> bool:
    return (
        stanza.name == "message"
        and jids.bare(stanza.getAttribute("from", "")) == room
        and any(child.name == "subject" for child in stanza.elements())
    )
