"""
What happens in a room, as values: what is read from stanzas and what is written into them.
"""

from __future__ import annotations

from enum import Enum

from attrs import field, frozen

from gateway import jids
from gateway.errors import ANSWERS, GatewayError

PARTICIPANT, VISITOR, MODERATOR, NO_ROLE = "participant", "visitor", "moderator", "none"
OWNER, ADMIN, MEMBER, OUTCAST, NONE = "owner", "admin", "member", "outcast", "none"
ROLES = frozenset((MODERATOR, PARTICIPANT, VISITOR, NO_ROLE))
AFFILIATIONS = frozenset((OWNER, ADMIN, MEMBER, OUTCAST, NONE))

# Status codes (XEP-0045 section 10): what their names say, of the presence that has them.
NON_ANONYMOUS, SELF, CREATED = 100, 110, 201
BANNED, NICK_CHANGED, KICKED, NOT_A_MEMBER, MEMBERS_ONLY_NOW = 301, 303, 307, 321, 322
SERVICE_SHUTDOWN, TECHNICAL_PROBLEM = 332, 333


# "delivery-related errors" (XEP-0045 section 16.1.2), and what servers send in their place.
DELIVERY_ERRORS = frozenset(
    (
        "gone",
        "item-not-found",
        "recipient-unavailable",
        "redirect",
        "remote-server-not-found",
        "remote-server-timeout",
        "service-unavailable",
        "jid-malformed",
        "internal-server-error",
    )
)


class Dialect(Enum):
    """What two nodes speak with each other."""

    PROTOXEP = "protoxep"
    XEP_0289 = "xep-0289"


@frozen
class Payload:
    """
    What somebody says or shows, and nobody here has to look into.

    @ivar raw: elements as they stand where the stream's namespace is the default one; they need no declaration
        from outside.
    @ivar language: C{xml:lang} of the stanza; empty for none.
    """

    raw: bytes = b""
    language: str = ""


@frozen
class Standing:
    """Somebody's standing (XEP-0045 section 5)."""

    affiliation: str = NONE
    role: str = PARTICIPANT


@frozen
class HistoryLimits:
    """
    How much history is wanted (XEP-0045 section 7.2.14); C{None} for no limit.

    @ivar since: seconds since 1970.
    """

    maxchars: int | None = None
    maxstanzas: int | None = None
    seconds: int | None = None
    since: float | None = None


@frozen(kw_only=True)
class JoinRequest:
    """
    Somebody wants in.

    @ivar real: full JID.
    @ivar claimed: what a joining node supposes that he will be.
    @ivar id: the stanza's.
    """

    nick: str
    realJid: str
    payload: Payload = Payload()
    password: str = ""
    limits: HistoryLimits = HistoryLimits()
    claimedStanding: Standing = Standing()
    id: str | None = None


@frozen
class StanzaError:
    """A stanza error (RFC 6120 section 8.3)."""

    kind: str
    condition: str
    text: str = ""


def stanzaError(error: type[GatewayError]) -> StanzaError:
    """How one of our errors is said."""
    answer = ANSWERS[error]
    return StanzaError(answer.kind, answer.condition, answer.text)


@frozen(kw_only=True)
class PresenceChange:
    """
    What a presence tells beside who is there and what he shows.

    @ivar gone: whether it is unavailable.
    @ivar codes: status codes; without those that are for the occupant himself alone.
    @ivar actor: the nick of who has done it.
    @ivar nick: the new one, with code 303.
    @ivar destroyed: the room is no more; C{jid} may be that of another.
    """

    unavailable: bool = False
    codes: tuple[int, ...] = ()
    reason: str = ""
    actor: str = ""
    nick: str = ""
    destroyed: bool = False
    jid: str = ""


AVAILABLE, UNAVAILABLE = PresenceChange(), PresenceChange(unavailable=True)


@frozen(kw_only=True)
class OccupantPresence:
    """
    An occupant's presence.

    @ivar real: his full JID, where it is known.
    @ivar public: whether every occupant may see that.
    @ivar replica: whether the node that is told has back whatever it sends, as it has asked for.
    @ivar written: no part of what it says: what C{stanzas.py} has made of it, for all who come later.
    """

    nick: str
    realJid: str
    nonAnonymous: bool
    standing: Standing
    payload: Payload
    change: PresenceChange = AVAILABLE
    replica: bool = False
    serialised: dict[tuple[str, bool], tuple[bytes, bytes]] = field(init=False, factory=dict, eq=False, repr=False)


@frozen
class Delay:
    """
    When a message was said (XEP-0203).

    @ivar by: who says so: a room's bare JID.
    @ivar stamp: seconds since 1970.
    """

    by: str
    stamp: float


@frozen(kw_only=True)
class RoomMessage:
    """
    A message.

    @ivar nick: whose; empty for the room's own.
    @ivar real: his full JID, where it is known.
    @ivar kind: the stanza's type; C{groupchat} for all to read.
    @ivar subject: whether it sets the room's subject: it has one and no body (XEP-0045 section 7.2.15).
    @ivar nomirror: whether the joining node has shown it already.
    @ivar lasting: whether who comes later gets it, too: that somebody was typing is no history.
    """

    nick: str
    payload: Payload
    realJid: str = ""
    kind: str | None = "groupchat"
    id: str | None = None
    subject: bool = False
    delay: Delay | None = None
    nomirror: bool = False
    store: bool = True


@frozen
class Fmuc:
    """
    The C{fmuc} element.

    @ivar real: whose stanza it is: a full JID.
    @ivar replica: whether the joining node shows only what comes back to it, and the joined one sends it back; an
        element of ours.
    @ivar left: whether the joining node is out.
    @ivar reject: why it, or one of its users, may not be in; C{None} if it says no such thing.
    """

    realJid: str = ""
    replica: bool = False
    left: bool = False
    reject: str | None = None


@frozen(kw_only=True)
class Presence:
    """
    A presence stanza as it has come; of type error, if there is a refusal.

    @ivar joins: whether it has the element of who wants in, with C{password} and C{limits}.
    @ivar item: what C{muc#user} says of the occupant; C{None} without it.
    @ivar jid: the JID in that.
    """

    unavailable: bool = False
    payload: Payload = Payload()
    id: str | None = None
    joins: bool = False
    password: str = ""
    limits: HistoryLimits = HistoryLimits()
    fmuc: Fmuc | None = None
    item: Standing | None = None
    jid: str = ""
    change: PresenceChange = AVAILABLE
    stanzaError: StanzaError | None = None


@frozen
class Invitation:
    """
    Somebody is invited, or an invitation is declined.

    @ivar jid: whom it is for.
    """

    jid: str
    reason: str = ""
    declines: bool = False


@frozen(kw_only=True)
class Message:
    """
    A message stanza as it has come; of type error, if there is a refusal.

    @ivar form: whether there is one in it, as in a request for voice.
    """

    kind: str | None = None
    payload: Payload = Payload()
    id: str | None = None
    fmuc: Fmuc | None = None
    subject: bool = False
    delay: Delay | None = None
    nomirror: bool = False
    store: bool = True
    invitations: tuple[Invitation, ...] = ()
    form: bool = False
    stanzaError: StanzaError | None = None


# Escaped addresses of local users: of those who see real JIDs in a non-anonymous room only, and of moderators.
Audience = tuple[tuple[bytes, ...], tuple[bytes, ...]]


def person(user: str) -> str:
    """
    The bare JID of a user as lists have it: prepared, because some servers keep the case that the user has logged
    in with.
    """
    bare = jids.bare(user)
    try:
        return jids.prepared(bare)
    except ValueError:
        # Such a user cannot join and is in no list.
        return bare
