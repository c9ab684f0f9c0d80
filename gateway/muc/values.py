"""Values that the rules of a room work on: read from stanzas, and written to stanzas."""

from __future__ import annotations

from attrs import field, frozen

from gateway.addresses import jids
from gateway.errors import ERRORS, GatewayError
from gateway.muc.forms import Form

PARTICIPANT, VISITOR, MODERATOR, NO_ROLE = "participant", "visitor", "moderator", "none"
OWNER, ADMIN, MEMBER, OUTCAST, NONE = "owner", "admin", "member", "outcast", "none"
ROLES = frozenset((MODERATOR, PARTICIPANT, VISITOR, NO_ROLE))
# Of occupants, in the order of the form.
BROADCAST_ROLES: tuple[str, ...] = (MODERATOR, PARTICIPANT, VISITOR)
AFFILIATIONS = frozenset((OWNER, ADMIN, MEMBER, OUTCAST, NONE))

# Status codes (XEP-0045 section 15.6.2).
NON_ANONYMOUS, SELF, CREATED = 100, 110, 201
BANNED, NICK_CHANGED, KICKED, NOT_A_MEMBER, MEMBERS_ONLY_NOW = 301, 303, 307, 321, 322
SERVICE_SHUTDOWN, TECHNICAL_PROBLEM = 332, 333
# Changes of the configuration (section 10.2.1), logging included.
CONFIGURATION_CODES = frozenset((104, 170, 171, 172, 173))


# Delivery-related errors (XEP-0045 section 16.1.2), and the conditions that servers send in their place.
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


@frozen
class Payload:
    """
    The part of a presence or message that a room forwards unread.

    @ivar raw: elements whose default namespace is the stream's; no other namespace declaration from outside
        applies.
    @ivar language: C{xml:lang} of the stanza; empty for none.
    """

    raw: bytes = b""
    language: str = ""


@frozen
class VCard:
    """
    The vCard of a room.

    @ivar xml: the element, for a stream of a component.
    @ivar hashes: SHA-1 hashes of its images, in hexadecimal digits.
    """

    xml: str
    hashes: tuple[str, ...] = ()


@frozen
class Standing:
    """Affiliation and role of an occupant (XEP-0045 section 5)."""

    affiliation: str = NONE
    role: str = PARTICIPANT


@frozen
class HistoryLimits:
    """
    Limits of the requested history (XEP-0045 section 7.2.14); C{None} is no limit.

    @ivar since: seconds since 1970.
    """

    maxchars: int | None = None
    maxstanzas: int | None = None
    seconds: int | None = None
    since: float | None = None


@frozen(kw_only=True)
class JoinRequest:
    """
    Request to enter a room.

    @ivar realJid: full JID of the user.
    @ivar claimedStanding: standing that another node expects for its user.
    @ivar id: C{id} of the stanza.
    @ivar occupantId: occupant id that the joined node has given the user; empty if this room gives it.
    @ivar asksId: True if another node asks for the occupant id.
    """

    nick: str
    realJid: str
    payload: Payload = Payload()
    password: str = ""
    limits: HistoryLimits = HistoryLimits()
    claimedStanding: Standing = Standing()
    id: str | None = None
    occupantId: str = ""
    asksId: bool = False


@frozen
class StanzaError:
    """A stanza error (RFC 6120 section 8.3)."""

    kind: str
    condition: str
    text: str = ""


def stanzaError(error: type[GatewayError]) -> StanzaError:
    """Return the stanza error of a domain error (L{gateway.errors.ERRORS})."""
    answer = ERRORS[error]
    return StanzaError(answer.kind, answer.condition, answer.text)


@frozen(kw_only=True)
class PresenceChange:
    """
    The change that a presence reports.

    @ivar unavailable: True if the occupant leaves.
    @ivar codes: status codes, without those that are for the occupant alone.
    @ivar actor: nick of the occupant who caused the change.
    @ivar nick: the new nick, with code 303.
    @ivar destroyed: True if the room is destroyed; C{jid} may name an alternate room, and C{password} is its
        password.
    """

    unavailable: bool = False
    codes: tuple[int, ...] = ()
    reason: str = ""
    actor: str = ""
    nick: str = ""
    destroyed: bool = False
    jid: str = ""
    password: str = ""


AVAILABLE, UNAVAILABLE = PresenceChange(), PresenceChange(unavailable=True)


@frozen(kw_only=True)
class OccupantPresence:
    """
    Presence of an occupant.

    @ivar realJid: full JID, if it is known.
    @ivar nonAnonymous: True if every occupant may see the real JID.
    @ivar occupantId: occupant id (XEP-0421); empty if it is unknown.
    @ivar serialised: cache of C{writers.py}, by whether the real JID is shown; no part of the value. It takes most
        of an occupant's memory, and is smaller than a dictionary.
    """

    nick: str
    realJid: str
    nonAnonymous: bool
    standing: Standing
    payload: Payload
    change: PresenceChange = AVAILABLE
    occupantId: str = ""
    serialised: list[tuple[bytes, bytes] | None] = field(init=False, eq=False, repr=False)

    @serialised.default
    def _nothingSerialised(self) -> list[tuple[bytes, bytes] | None]:
        return [None, None]


@frozen
class Delay:
    """
    Original time of a message (XEP-0203).

    @ivar by: bare JID of the room that stamped the message.
    @ivar stamp: seconds since 1970.
    """

    by: str
    stamp: float


@frozen(kw_only=True)
class RoomMessage:
    """
    A message of the room or of an occupant.

    @ivar nick: nick of the sender; empty for the room itself.
    @ivar realJid: full JID of the sender, if it is known.
    @ivar kind: type of the stanza; C{groupchat} for messages to all occupants.
    @ivar subject: True if the message sets the subject: a subject and no body (XEP-0045 section 7.2.15).
    @ivar store: True if the message is added to the history; chat states, for example, are not.
    @ivar occupantId: occupant id of the sender (XEP-0421); empty if it is unknown.
    @ivar stanzaId: stanza id that the room has given the message (XEP-0359); empty for none.
    """

    nick: str
    payload: Payload
    realJid: str = ""
    occupantId: str = ""
    stanzaId: str = ""
    kind: str | None = "groupchat"
    id: str | None = None
    subject: bool = False
    delay: Delay | None = None
    store: bool = True

    def delayed(self, delay: Delay) -> RoomMessage:
        """Return the message with a delay. Each stored message needs it, and C{evolve} takes more time."""
        return RoomMessage(
            nick=self.nick,
            payload=self.payload,
            realJid=self.realJid,
            occupantId=self.occupantId,
            stanzaId=self.stanzaId,
            kind=self.kind,
            id=self.id,
            subject=self.subject,
            delay=delay,
            store=self.store,
        )


@frozen(kw_only=True)
class Presence:
    """
    A received presence of type none, unavailable or error; an error has C{stanzaError}.

    @ivar joins: True if the element C{x} of C{muc} is there, with C{password} and C{limits}.
    @ivar item: standing by C{muc#user}; C{None} if there is no C{item}.
    @ivar jid: JID of that C{item}.
    """

    unavailable: bool = False
    payload: Payload = Payload()
    id: str | None = None
    joins: bool = False
    password: str = ""
    limits: HistoryLimits = HistoryLimits()
    item: Standing | None = None
    jid: str = ""
    change: PresenceChange = AVAILABLE
    stanzaError: StanzaError | None = None


@frozen
class Invitation:
    """
    A mediated invitation, or a decline of one.

    @ivar jid: the invited user; of a decline, the user who sent the invitation.
    @ivar sender: the user who declines, as another node names it.
    """

    jid: str
    reason: str = ""
    declines: bool = False
    sender: str = ""


@frozen(kw_only=True)
class Message:
    """
    A received message; a message of type error has C{stanzaError}.

    @ivar stanzaId: stanza id in the name of the sender's bare JID. Of another node, it is the room's there.
    @ivar lasts: True if others may refer to the message, so that it gets a stanza id; chat states do not.
    @ivar form: its data form, as in a voice request; C{None} if it has none.
    """

    kind: str | None = None
    payload: Payload = Payload()
    id: str | None = None
    subject: bool = False
    delay: Delay | None = None
    store: bool = True
    lasts: bool = True
    stanzaId: str = ""
    invitations: tuple[Invitation, ...] = ()
    form: Form | None = None
    stanzaError: StanzaError | None = None


# Escaped addresses of local users: those who see real JIDs in non-anonymous rooms only, and moderators.
Audience = tuple[tuple[bytes, ...], tuple[bytes, ...]]


def person(user: str) -> str:
    """Return the prepared bare JID of a user. Some servers keep the spelling of the login."""
    bare = jids.bare(user)
    try:
        return jids.prepared(bare)
    except ValueError:
        # Such a user cannot join and is in no list.
        return bare
