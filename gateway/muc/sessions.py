"""
Several sessions of one occupant (XEP-0045 section 7.2.8): "the user has two (or more) in-room "sessions" with the
same roomnick, one for each resource".

All sessions get all messages. The presence that came last is that of the occupant, and the others see a leave only
when the last session leaves.
"""

from __future__ import annotations

from attrs import evolve

from gateway.muc.occupant import Occupant, Session
from gateway.muc.room import Room
from gateway.muc.values import AVAILABLE, SELF, Payload, PresenceChange
from gateway.xml.write import escape


def changePresence(
    room: Room,
    occupant: Occupant,
    payload: Payload,
    identifier: str | None,
    session: Session | None = None,
    isNew: bool = False,
) -> None:
    """
    Handle an occupant's new presence, a stanza with this C{id}.

    @param session: the one of several sessions that has sent it.
    @param isNew: True if the session is new, and gets its own presence with the rest.
    """
    if session is not None:
        occupant.showSession(session, payload)
        room.changes.nicks[occupant.nick] = None
    if room.nodes.submitPresence(occupant, payload, identifier):
        return
    occupant.payload = payload
    to = tuple(each for each in occupant.addresses if each != occupant.sessions[-1].address) if isNew else None
    room.broadcastPresence(occupant, AVAILABLE, own=True, to=to, identifier=identifier)


def leaveSession(
    room: Room,
    occupant: Occupant,
    session: Session,
    payload: Payload,
    change: PresenceChange,
    identifier: str | None = None,
) -> None:
    """
    Handle the leave of one of several sessions. The session is told. All others see the latest presence of the
    sessions that stay.
    """
    presence = evolve(occupant.presence(change), realJid=session.jid, payload=payload)
    known, shown = occupant.realJid, _extract(room, occupant, session)
    if session.node is None:
        room.toUsers(presence, (session.address,), occupant.nonAnonymous, (SELF,), identifier)
    else:
        room.nodes.sessionLeft(session.node, presence, identifier)
    if not _showRest(room, occupant, known, shown) and session.node is not None:
        # That node has removed the occupant. Now it learns that the occupant is in the room through this node.
        presence = occupant.presence(AVAILABLE)
        room.nodes.sendPresence(occupant, presence, None if occupant.isHidden else presence, True, None)


def dropSession(room: Room, occupant: Occupant, session: Session) -> None:
    """Remove one of several sessions, without telling it."""
    known, shown = occupant.realJid, _extract(room, occupant, session)
    _showRest(room, occupant, known, shown)


def _showRest(room: Room, occupant: Occupant, known: str, shown: Payload) -> bool:
    """
    Send the latest presence of the sessions that stay; return False if the others know it already.

    @param known: full JID of the occupant before.
    """
    if shown == occupant.payload and occupant.realJid == known:
        return False
    changePresence(room, occupant, shown, None)
    if occupant.realJid != known:
        room.nodes.sessionReplaced(occupant, known)
    return True


# The tables of the room and of the node.


def insert(room: Room, occupant: Occupant, session: Session) -> None:
    """Add a further session of an occupant; nobody is told."""
    occupant.sessions = (*occupant.allSessions(), session)
    room.shared[occupant] = None
    room.sessionsChanged()
    room.changes.nicks[occupant.nick] = None
    if session.node is None:
        session.address = escape(session.jid).encode()
        room.users[session.jid] = occupant
        occupant.node = None
    else:
        session.node.add(occupant, session.jid)


def _extract(room: Room, occupant: Occupant, session: Session) -> Payload:
    """
    Remove one of several sessions of an occupant; nobody is told.

    @return: the latest presence of the sessions that stay.
    """
    room.sessionsChanged()
    if session.node is None:
        del room.users[session.jid]
        room.forgetArrival(session.address)
    else:
        session.node.remove(occupant, session.jid)
    occupant.sessions = rest = tuple(each for each in occupant.sessions if each is not session)
    room.changes.nicks[occupant.nick] = None
    last = rest[-1]
    occupant.node = None if occupant.addresses else last.node
    if session.jid == occupant.realJid:
        occupant.realJid = last.jid
    if len(rest) == 1:
        occupant.address, occupant.sessions = last.address, ()
        del room.shared[occupant]
    return last.payload


def rename(room: Room, occupant: Occupant, session: Session | None, jid: str) -> None:
    """
    Replace the full JID of a session through another node.

    @param session: C{None} if the occupant has no other.
    """
    room.changes.nicks[occupant.nick] = None
    known = occupant.realJid if session is None else session.jid
    node = occupant.node if session is None else session.node
    if node is not None:
        node.remove(occupant, known)
        node.add(occupant, jid)
    if session is not None:
        session.jid = jid
    if occupant.realJid == known:
        occupant.realJid = jid
