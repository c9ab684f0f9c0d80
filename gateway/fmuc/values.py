"""Values of the federation of rooms: protocols, the C{fmuc} element, and stanzas that may come from other nodes."""

from __future__ import annotations

from enum import Enum

from attrs import frozen

from gateway.muc.values import Message, Presence, PresenceChange

# Conditions of errors that mean: unreachable now. Servers send C{remote-server-not-found} for a link that is down.
UNREACHABLE = frozenset(
    (
        "internal-server-error",
        "recipient-unavailable",
        "remote-server-not-found",
        "remote-server-timeout",
        "resource-constraint",
        "service-unavailable",
    )
)
# The same for requests of one node to another that has joined. An ejabberd whose services must not connect to other
# servers refuses stanzas to a component that is not there.
ABSENT = UNREACHABLE | {"forbidden"}


class Dialect(Enum):
    """The protocol that two nodes speak with each other."""

    PROTOXEP = "protoxep"
    XEP_0289 = "xep-0289"


class Mode(Enum):
    """
    The mode of two nodes (XEP-0289 section 2), seen from the joining node.

    C{REPLICA}: a message is shown when its copy comes back from the joined node. C{PRIMARY}: it is shown at once.
    """

    PRIMARY = "primary"
    REPLICA = "replica"


@frozen
class FederationMode:
    """
    Agreement of two nodes on their mode.

    @ivar asked: the mode that the joining node wants.
    @ivar agreed: the mode that the joined node has confirmed; C{None} before its answer.
    """

    asked: Mode
    agreed: Mode | None = None

    @property
    def current(self) -> Mode:
        """The mode in force."""
        return self.agreed or self.asked


@frozen
class Fmuc:
    """
    The C{fmuc} element.

    @ivar realJid: full JID of the user whose stanza it is.
    @ivar mode: the mode that the joining node asks for, or that the joined node agrees to. C{REPLICA} is written as
        an element that is our extension of XEP-0289.
    @ivar asksId: True if the joining node asks for the occupant id of the user who joins: the joined node sends the
        user's presence back, which it would not do in primary mode. It is written as an element, our extension.
    @ivar left: True if the joining node has left.
    @ivar reject: reason for which a node or one of its users is rejected; C{None} if the element rejects nobody.
    @ivar channel: epoch of a channel that is offered or accepted; C{None} for none.
    @ivar keep: with a channel, seconds for which the joining node stays without users.
    @ivar told: with a channel that is accepted, number of occupants that were told before.
    """

    realJid: str = ""
    mode: Mode = Mode.PRIMARY
    asksId: bool = False
    left: bool = False
    reject: str | None = None
    channel: int | None = None
    keep: int = 0
    told: int = 0


@frozen(kw_only=True)
class NodePresence(Presence):
    """
    A received presence, of a user or of another node.

    @ivar occupantId: occupant id in it; only the joined node is believed.
    @ivar resumes: True if the other node can resume after a loss of stanzas: the gateway's extension.
    @ivar isFirst: True if such a node sends a first join.
    @ivar profile: name of its profile; empty for none.
    """

    fmuc: Fmuc | None = None
    occupantId: str = ""
    resumes: bool = False
    isFirst: bool = False
    profile: str = ""


@frozen(kw_only=True)
class ResumeAnswer:
    """
    Answer of a joined node to a request to resume.

    @ivar condition: of the error; empty for a result.
    @ivar hashes: hashes of the joined node's buckets, if the digests differ; otherwise C{None}.
    @ivar more: True if it waits for further occupants.
    @ivar isState: True if what differs follows: occupants, messages and the subject; otherwise nothing was missed.
    @ivar missing: nicks of occupants of the joining node whom it does not know any longer.
    @ivar destruction: set if the room was destroyed meanwhile.
    """

    condition: str = ""
    hashes: str | None = None
    more: bool = False
    isState: bool = False
    missing: tuple[str, ...] = ()
    destruction: PresenceChange | None = None

    @property
    def outcome(self) -> str:
        """Word for the operator about a comparison; empty if more of it, or what was missed, follows."""
        if self.condition:
            return "unreachable" if self.condition in UNREACHABLE else "unknown"
        if self.hashes is not None:
            return "different"
        return "" if self.more or self.isState else "equal"


@frozen
class Returned:
    """
    Reference to a message that has come back.

    @ivar digest: L{gateway.fmuc.returned.digest} of the message.
    @ivar stanzaId: the joined node's stanza id; empty for none.
    """

    digest: str
    stanzaId: str


@frozen(kw_only=True)
class NodeMessage(Message):
    """
    A received message, of a user or of another node.

    @ivar nomirror: True if the joining node has shown the message already.
    @ivar codes: status codes of a change of the configuration (XEP-0045 section 10.2.1).
    @ivar occupantId: occupant id in it; only the joined node is believed.
    @ivar submitter: bare JID of the joining node that a message of an ordinary room comes from; empty if it is not
        known.
    @ivar returned: set if the joined node returns a message of this node by a reference.
    """

    fmuc: Fmuc | None = None
    occupantId: str = ""
    returned: Returned | None = None
    nomirror: bool = False
    submitter: str = ""
    codes: tuple[int, ...] = ()
