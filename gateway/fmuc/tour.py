"""The tour of rooms on the embedded host, and of a mirror."""

from __future__ import annotations

from functools import partial
from typing import Any

from gateway import jids, ns
from gateway.interfaces import IGuide
from gateway.stream.stanzas import escape


async def showRooms(guide: IGuide, jid: str, lobby: str) -> None:
    """Show the list of rooms."""
    guide.say(
        f"{jid} has rooms of its own, where people talk as in any other (XEP-0045). What is special about them is "
        "that other sites may mirror them, so that each message crosses the link between two sites once, however "
        "many are in the room there. First: which rooms can be found?"
    )
    answer = await guide.ask(jid, f"<query xmlns='{ns.DISCO_ITEMS}'/>")
    guide.check(answer["type"] == "result", "the service tells")
    found = [item.getAttribute("jid", "") for query in answer.elements() for item in query.elements()]
    guide.check(f"{lobby}@{jid}" in found, f"{lobby}@{jid} is there: on the embedded host it always is")


async def showMirror(guide: IGuide, jid: str, lobby: str) -> None:
    """Show two users in a mirror of the lobby."""
    source = f"{lobby}@rooms.{jids.split(guide.jid)[1]}"
    room = f"{jids.escapeLocal(source)}@{jid}"
    guide.say(
        f"{jid} is the other side: a mirror, which would stand at a site of its own. It needs no setting up: "
        f"{room} is {source}, as soon as somebody joins it. (\\40 is how an @ is written in there.)"
    )
    answer = await guide.ask(source, f"<query xmlns='{ns.DISCO_INFO}'/>")
    if answer["type"] != "result":
        guide.say(f"Here there is no {source} to mirror: the tour shows that of the embedded default.")
        return
    friend = await guide.friend()
    await _join(guide, room, "guide")
    if friend is None:
        await _leave(guide, room, "guide")
        return
    guide.say(
        f"Now {friend.jid} joins as well. Of the second the mirror tells the room in one stanza; who is in, and "
        "what was said, it knows."
    )
    await _join(friend, room, "friend")
    await guide.hear(partial(_isPresence, f"{room}/friend", None), "and who was there sees who comes")
    guide.say("What one says all hear, in the room's own order: the mirror shows what comes back from there.")
    guide.send(f"<message to='{room}' type='groupchat' id='tour1'><body>Hello, friend!</body></message>")
    for each in (guide, friend):
        await each.hear(partial(_isSaid, f"{room}/guide", "Hello, friend!"), f"{each.jid} hears it")
    guide.say("A private message goes to one of them.")
    friend.send(f"<message to='{room}/guide' type='chat' id='tour2'><body>Hello, guide.</body></message>")
    await guide.hear(partial(_isSaid, f"{room}/friend", "Hello, guide."), "and to nobody else")
    guide.say("Who moderates the room does it there; in a mirror nobody does, and nicks stay as they are.")
    kick = f"<query xmlns='{ns.MUC_ADMIN}'><item nick='friend' role='none'/></query>"
    answer = await guide.ask(room, kick, "set")
    guide.check(answer["type"] == "error", "it is not allowed")
    await _leave(friend, room, "friend")
    await guide.hear(partial(_isPresence, f"{room}/friend", "unavailable"), "who leaves is seen to go")
    await _leave(guide, room, "guide")
    guide.say("The mirror is empty now. It has told the room so, and nothing crosses the link any more.")


async def _join(each: IGuide, room: str, nick: str) -> None:
    each.send(f"<presence to='{escape(room)}/{nick}'><x xmlns='{ns.MUC}'/></presence>")
    await each.hear(partial(_isPresence, f"{room}/{nick}", None), f"{each.jid} is in")
    await each.hear(partial(_isSubject, room), "the subject comes last")


async def _leave(each: IGuide, room: str, nick: str) -> None:
    each.send(f"<presence to='{escape(room)}/{nick}' type='unavailable'/>")
    await each.hear(partial(_isPresence, f"{room}/{nick}", "unavailable"), f"{each.jid} is out")


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
