"""
Deviations of other software from XEP-0289, and what this node does about them. Pure.

Openfire speaks XEP-0289 0.2 with deviations. Its answers to disco#info do not say that a room federates, and come
later than the stanzas that have to be understood. So it is recognised by the form of its stanzas, and only a room
that sends nothing at all by disco#info (L{isOfOpenfire}).

Each function names the recorded traffic of Openfire 5.1.1 that it is for, with the time of the stanza, and when it
can go. When all of them have gone, so can C{Node.isOpenfire}.
"""

from __future__ import annotations

from contextlib import suppress

from attrs import evolve

from gateway import ns
from gateway.addresses import jids
from gateway.errors import BadRequest
from gateway.fmuc.actions import Reject
from gateway.fmuc.nodes import JoinedNode, Node
from gateway.fmuc.values import Fmuc, NodePresence
from gateway.muc.forms import isForm, readForm
from gateway.muc.room import Room
from gateway.stream.stanzas import Stanza
from gateway.xml.cut import children

# A field that Openfire adds to the disco#info answers of its rooms.
_CREATED = "x-muc#roominfo_creationdate"
# Elements of such an answer that are looked at.
_MAX_ELEMENTS = 200

_NO_FMUC = Fmuc()


# Recognition.


def joinsAsOpenfire(stanza: NodePresence) -> bool:
    """
    True if a join is one of Openfire: XEP-0289 section 6.1 has the user's JID in the item, too. A moderator's join
    has it; then L{isToRoom} recognises Openfire.

    Recorded: an Openfire room joins the gateway's, 06:07:10.530. Goes when Openfire names all users there.
    """
    return stanza.item is not None and not stanza.jid


def answersAsOpenfire(room: str, stanza: NodePresence) -> bool:
    """
    True if a presence from a joined room (bare JID) is one of Openfire: the item has the occupant's own address
    instead of a real JID, or C{fmuc} names the room instead of a user.

    Recorded: a mirror of an Openfire room, 06:00:24.907; kick and ban, 06:02:52.946. Goes when Openfire follows
    XEP-0045 section 7.2.3 in the former and names the moderator in the latter.
    """
    author = stanza.fmuc.realJid if stanza.fmuc is not None else ""
    return jids.bare(stanza.jid) == room or author == room


def announcesJoin(recipient: str, stanza: NodePresence) -> bool:
    """
    True if a presence from a joined room is one of Openfire that announces the join of one of its users, and is no
    join of a node: that has a nick in its C{to}. The user's presence follows.

    Recorded: kick and ban, 06:02:47.173. Goes when Openfire sends one presence for a join.
    """
    isAvailable = not stanza.unavailable and stanza.stanzaError is None
    return isAvailable and stanza.joins and stanza.fmuc is not None and "/" not in recipient


def isOfOpenfire(stanza: Stanza) -> bool:
    """
    True if the result of disco#info is that of a room of Openfire.

    For rooms with which federation is off, or which take a user for one who is in already: they answer a join with
    nothing. Recorded: rooms that do not federate, 06:18:05.341; kick and ban, 06:04:38.123. Goes when Openfire
    answers each join.
    """
    with suppress(BadRequest):
        for query in children(stanza.element, 1):
            parts = children(query, _MAX_ELEMENTS)
            return query.uri == ns.DISCO_INFO and any(
                _CREATED in readForm(each).values for each in parts if isForm(each)
            )
    return False


# Reading.


def about(room: str, stanza: NodePresence) -> str:
    """
    Return the full JID of the user whom a presence from a room of Openfire (bare JID) is about, if that is not the
    user who has sent it; otherwise nothing. Kicks, bans and changes of roles come from the moderator's occupant, or
    from the room; only the item names the user.

    Recorded: kick and ban, 06:02:52.946, 06:03:10.259, 06:03:18.916, 06:03:27.578. Goes when Openfire sends them
    from the address of the occupant who is removed or changed.
    """
    author = (stanza.fmuc or _NO_FMUC).realJid
    isOther = bool(stanza.jid) and stanza.jid != author and jids.bare(stanza.jid) != room
    return stanza.jid if isOther else ""


def asFrom(user: str, stanza: NodePresence) -> NodePresence:
    """Return a presence as its subject, a user (full JID), would have sent it; see L{about}."""
    return evolve(stanza, fmuc=evolve(stanza.fmuc or _NO_FMUC, realJid=user))


def isToRoom(sender: str, recipient: str) -> bool:
    """
    True if a groupchat message from an occupant of a joining node is one for the room. XEP-0289 section 6.2
    addresses it to the room, Openfire to the nick of the sender.

    Recorded: an Openfire room joins the gateway's, 06:07:22.885; with a subject, 06:07:40.807. Goes when Openfire
    addresses it to the room.

    @param sender: nick.
    @param recipient: nick; empty for the room.
    """
    return recipient in ("", sender)


def showsRealJids(room: Room, node: JoinedNode) -> bool:
    """
    True if all occupants of a room of Openfire see real JIDs, as far as disco#info has told. Its presence says
    nothing of it: it has real JIDs for other nodes in a semi-anonymous room, too, but not in the answer to a join.

    Recorded: real JIDs of a semi-anonymous room, 06:16:01.082. Goes when Openfire follows XEP-0045 section 7.2.3 in
    what it sends to nodes.
    """
    return room.settings.nonAnonymous and not node.semiAnonymous


# Writing.


def exposesPrivate(node: Node) -> bool:
    """
    True if a node shows private messages from this one to all its occupants, and keeps them in its history.

    Recorded: kick and ban, 06:02:49.707; an Openfire room joins the gateway's, 06:07:59.359. Goes when Openfire
    sends such a message to its recipient alone.
    """
    return node.isOpenfire


def rejection(stanza: Reject, hasJoined: bool) -> Reject:
    """
    Return a rejection as Openfire needs it.

    Openfire has let its user in already. It takes a presence without a type for a join, and does so by the JID in
    C{fmuc}: one that rejects a user makes an occupant without a nick, and the room fails from then on. An
    unavailable presence from the user's nick removes the user. The answer to a first join has no JID in C{fmuc},
    because a room that this node does not know any longer may still count it as joined.

    Recorded: an Openfire room joins the gateway's, 06:08:24.192. Goes when Openfire takes a C{reject} in a presence
    of any form for the rejection of a user.

    @param hasJoined: True if the node has joined, and this is the rejection of a further user.
    """
    return evolve(stanza, removes=True) if hasJoined else evolve(stanza, realJid="")
