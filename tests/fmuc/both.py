"""One user with several clients and one nick, in a room and in a mirror of it."""

from __future__ import annotations

from gateway import ns
from gateway.fmuc.values import Dialect
from tests.fmuc.support import MUC, withoutIds
from tests.fmuc.test_mirrors import ABOVE, ANN, BEN, HERE, OWN, Site
from tests.muc.test_local import status, user

PHONE = "ann@a.example/phone"
BUSY, AWAY = "<show>dnd</show>", "<show>away</show>"
PERSON = user("none", "participant")
SELF = user("none", "participant", status(110))
NO_ONE = user("none", "none")
BODY = "<body>x</body>"


def presence(nick: str, recipient: str, content: str, kind: str = "", room: str = HERE) -> str:
    """Return an occupant's presence, by default in the mirror."""
    given = f" type='{kind}'" if kind else ""
    return f"<presence from='{room}/{nick}' to='{recipient}'{given}>{content}</presence>"


def message(nick: str, recipient: str, content: str, room: str = HERE) -> str:
    """Return a message to all, as one occupant gets it."""
    sender = f"{room}/{nick}" if nick else room
    return f"<message from='{sender}' to='{recipient}' type='groupchat'>{content}</message>"


def gone(*codes: int) -> str:
    """Return the element of the user's own leave."""
    return user("none", "none", status(*codes, 110))


class Both(Site):
    """
    A room with its owner, a mirror with Ben, and Ann, who may be in either of them with any client.

    @param nonAnonymous: True if the room shows real JIDs; in the ProtoXEP a mirror knows no others.
    """

    def __init__(self, dialect: Dialect, replica: bool, nonAnonymous: bool = False) -> None:
        super().__init__(dialect, replica)
        self.join(OWN, "own")
        if nonAnonymous:
            field = "<field var='muc#roomconfig_whois'><value>anyone</value></field>"
            form = f"<x xmlns='{ns.DATA}' type='submit'>{field}</x>"
            query = f"<query xmlns='{ns.MUC_OWNER}'>{form}</query>"
            self.take(self.above, f"<iq from='{OWN}' to='{ABOVE}' type='set' id='c'>{query}</iq>")
        self.join(BEN, "ben")

    def send(self, who: str, room: str, content: str = "", kind: str = "", nick: str = "ann") -> None:
        """Send a presence."""
        given = f" type='{kind}'" if kind else ""
        service = self.above if room == ABOVE else self.mirror
        self.take(service, f"<presence from='{who}' to='{room}/{nick}'{given}>{content}</presence>")

    def enter(self, who: str, room: str, content: str = "", nick: str = "ann") -> None:
        """Send a join."""
        self.send(who, room, content + MUC, nick=nick)

    def say(self, who: str, room: str) -> None:
        """Send a message to all."""
        service = self.above if room == ABOVE else self.mirror
        self.take(service, f"<message from='{who}' to='{room}' type='groupchat'>{BODY}</message>")

    def told(self, *who: str) -> bytes:
        """Return what users were sent since the last call, without ids."""
        return withoutIds("".join(self.seen(each) for each in who or (OWN, BEN, ANN, PHONE)).encode())

    def ask(self, item: str) -> None:
        """The owner changes a role or an affiliation."""
        query = f"<query xmlns='{ns.MUC_ADMIN}'><item {item}/></query>"
        self.take(self.above, f"<iq from='{OWN}' to='{ABOVE}' type='set' id='q'>{query}</iq>")
        self.shown = [each for each in self.shown if not each[1].startswith("<iq")]


def fmuc(real: str, inside: str = "") -> str:
    """Return the C{fmuc} element."""
    return f"<fmuc xmlns='{ns.FMUC}' from='{real}'>{inside}</fmuc>"


def joinOf(dialect: Dialect, who: str, replica: bool, content: str = "") -> str:
    """Return the join that a mirror sends."""
    if dialect is Dialect.PROTOXEP:
        return f"<presence from='{HERE}' to='{ABOVE}/ann'>{fmuc(who)}{content}</presence>"
    mode = "<replica/>" if replica else ""
    item = user("none", "participant", jid=who)
    return f"<presence from='{HERE}/ann' to='{ABOVE}/ann'>{fmuc(who, mode)}{MUC}{item}{content}</presence>"


def leaveOf(dialect: Dialect, who: str) -> str:
    """Return the leave that a mirror sends."""
    if dialect is Dialect.PROTOXEP:
        return f"<presence from='{HERE}' to='{ABOVE}/ann' type='unavailable'/>"
    item = user("none", "none", jid=who)
    return f"<presence from='{HERE}/ann' to='{ABOVE}/ann' type='unavailable'>{fmuc(who)}{item}</presence>"
