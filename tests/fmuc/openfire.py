"""
A double of Openfire 5.1.1: it sends what its rooms were recorded to send (2026-11-29), in both roles.

The recordings also show faults of the gateway of that time. The tests that replay them state the right answers.
"""

from __future__ import annotations

from collections.abc import Iterable

from gateway import ns

PHOTO = "<x xmlns='vcard-temp:x:update'><photo/></x>"
MUC = f"<x xmlns='{ns.MUC}'/>"


def fmuc(real: str = "", inside: str = "") -> str:
    """Return the C{fmuc} element."""
    return f"<fmuc xmlns='{ns.FMUC}'" + (f" from='{real}'" if real else "") + f">{inside}</fmuc>"


def item(role: str = "participant", affiliation: str = "none", jid: str = "", more: str = "") -> str:
    """Return the C{muc#user} element."""
    real = f" jid='{jid}'" if jid else ""
    inside, _, codes = more.partition("|")
    status = "".join(f"<status code='{code}'/>" for code in codes.split())
    return (
        f"<x xmlns='{ns.MUC_USER}'><item affiliation='{affiliation}' role='{role}'{real}{inside}</item>{status}</x>"
        if inside
        else f"<x xmlns='{ns.MUC_USER}'><item affiliation='{affiliation}' role='{role}'{real}/>{status}</x>"
    )


def delayed(text: str, stamp: str, by: str) -> str:
    """Return a text with the stamp of the history."""
    return f"{text}<delay xmlns='urn:xmpp:delay' stamp='{stamp}' from='{by}'/>"


class Openfire:
    """
    A room of Openfire, seen from the gateway's room or mirror.

    @ivar room: bare JID of the room.
    @ivar peer: bare JID of the gateway's room or mirror.
    @param joins: True if the room has joined the gateway's; False if a mirror has joined it.
    @param users: full JIDs by nick.
    """

    def __init__(self, room: str, peer: str, joins: bool, users: dict[str, str]) -> None:
        self.room, self.peer = room, peer
        self._joins = joins
        self._messages = 0
        self.users = users

    def _to(self, nick: str) -> str:
        """As the joining node, it sends all stanzas to the sender's nick; as the joined node, to the bare JID."""
        return f"{self.peer}/{nick}" if self._joins else self.peer

    def _presence(self, nick: str, inside: str, kind: str = "") -> str:
        sender = f"{self.room}/{nick}" if nick else self.room
        to = self._to(nick) if nick else self.peer
        given = f" type='{kind}'" if kind else ""
        return f"<presence from='{sender}' to='{to}'{given}>{inside}</presence>"

    def _ids(self, nick: str, isMessage: bool = False) -> str:
        ids = f"<occupant-id xmlns='{ns.OCCUPANT_ID}' id='id of {nick}'/>"
        self._messages += isMessage
        return ids + f"<stanza-id xmlns='{ns.SID}' id='{self._messages}' by='{self.room}'/>" * isMessage

    def announced(self, nick: str) -> str:
        """A user joins: the first of two presences. As the joining node, it is the join; otherwise it is none."""
        return self._presence(nick, MUC + item() + fmuc(self.users[nick]))

    def presence(self, nick: str, status: str = "") -> str:
        """A user's presence: the second one of a join, or a change."""
        inside = f"{status}{PHOTO}{self._ids(nick)}" + item(jid=self.users[nick]) + fmuc(self.users[nick])
        return self._presence(nick, inside)

    def joined(self, nick: str) -> str:
        """Both presences of a join."""
        return self.announced(nick) + self.presence(nick)

    def listed(self, nick: str, role: str = "participant", affiliation: str = "none") -> str:
        """An occupant in the answer to a first join."""
        inside = fmuc(self.users[nick]) + item(role, affiliation, f"{self.room}/{nick}")
        return self._presence(nick, inside)

    def answer(self, nicks: Iterable[str], history: str = "", subject: str = "") -> str:
        """The answer to a first join; it ends with the subject, empty for none."""
        if not subject:
            subject = (
                f"<message from='{self.room}' type='groupchat' id='s' to='{self.peer}'>"
                f"<subject/>{fmuc(self.room)}</message>"
            )
        return "".join(map(self.listed, nicks)) + history + subject

    def past(self, nick: str, inside: str, stamp: str, kind: str = "groupchat") -> str:
        """A message of the history, or the subject: C{fmuc} names the occupant, not the user."""
        body = delayed(inside, stamp, f"{self.room}/{nick}") + fmuc(f"{self.room}/{nick}")
        return f"<message from='{self.room}/{nick}' to='{self.peer}' type='{kind}' id='{nick}'>{body}</message>"

    def left(self, nick: str) -> str:
        """A user leaves."""
        inside = self._ids(nick) + item("none", jid=self.users[nick]) + fmuc(self.users[nick])
        return self._presence(nick, inside, "unavailable")

    def renamed(self, nick: str, new: str) -> str:
        """A user changes the nick: two presences."""
        self.users[new] = real = self.users[nick]
        moved = item(jid=real, more=f" nick='{new}'>|303")
        gone = self._presence(nick, PHOTO + self._ids(nick) + moved + fmuc(real), "unavailable")
        return gone + self.presence(new)

    def said(self, nick: str, identifier: str, inside: str) -> str:
        """A message, or a new subject."""
        content = inside + self._ids(nick, True) + fmuc(self.users[nick])
        return (
            f"<message from='{self.room}/{nick}' to='{self._to(nick)}' type='groupchat' id='{identifier}'>"
            f"{content}</message>"
        )

    def _decided(self, moderator: str, what: str, kind: str = "") -> str:
        author = self.users[moderator] if moderator else self.room
        return self._presence(moderator, PHOTO + what + fmuc(author), kind)

    def role(self, real: str, role: str) -> str:
        """A moderator changes a role: from the room; only the item names the user (full JID)."""
        return self._decided("", item(role, jid=real))

    def kicked(self, real: str, moderator: str) -> str:
        """A moderator kicks a user: from the moderator's occupant, and from the room."""
        removed = item("none", jid=real, more=f"><reason>enough</reason><actor nick='{moderator}'/>|307")
        return self._decided(moderator, removed, "unavailable") + self._decided("", removed, "unavailable")

    def banned(self, real: str, moderator: str) -> str:
        """A moderator bans a user: from the room alone."""
        inside = f"><reason>banned</reason><actor nick='{moderator}'/>|301"
        return self._decided("", item("none", "outcast", real, inside), "unavailable")

    def confirmsLeft(self) -> str:
        """The last user of the joining node has left."""
        return self._presence("", fmuc("", "<left/>"))

    def rejects(self, nick: str, words: str) -> str:
        """It rejects a join: to the full JID."""
        inside = fmuc("", f"<reject>{words}</reject>")
        return f"<presence from='{self.room}' to='{self.peer}/{nick}'>{inside}</presence>"

    def described(self, identifier: str, anonymity: str = "muc_semianonymous") -> str:
        """The answer to disco#info."""
        features = (ns.MUC, "muc_public", "muc_open", "muc_unmoderated", anonymity, "muc_unsecured")
        form = (
            f"<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>{ns.MUC_ROOM_INFO}"
            "</value></field><field var='x-muc#roominfo_creationdate'><value>20261129T06:00:00</value></field></x>"
        )
        inside = "<identity category='conference' name='joined' type='text'/>"
        inside += "".join(f"<feature var='{each}'/>" for each in features) + form
        return (
            f"<iq type='result' id='{identifier}' from='{self.room}' to='{self.peer}'>"
            f"<query xmlns='{ns.DISCO_INFO}'>{inside}</query></iq>"
        )

    def unknown(self, identifier: str) -> str:
        """The answer to disco#info of a room that does not exist."""
        error = f"<error code='404' type='cancel'><item-not-found xmlns='{ns.STANZA_ERRORS}'/></error>"
        query = f"<query xmlns='{ns.DISCO_INFO}'/>"
        return f"<iq type='error' id='{identifier}' from='{self.room}' to='{self.peer}'>{query}{error}</iq>"
