"""
The uplink, a mirror's relation with its joined node: the state machine as a table. docs/fmuc.md shows it.

A mirror without downstream occupants has left, and sends nothing. Stanzas between two nodes keep their order, so
both agree when that is: the joined node considers a node left when its last occupant has left, and confirms it by
C{<left/>} (XEP-0289) or by sending the last unavailable presence back (ProtoXEP). Stanzas that are received before
the confirmation are stale.
"""

from __future__ import annotations

from enum import Enum

from attrs import frozen


class UplinkState(Enum):
    """State of the uplink."""

    IDLE = "not joined"
    JOINING = "the first join was sent; occupants, history and subject are to come"
    JOINED = "joined"
    LEAVING = "left; the confirmation is to come"
    WITHDRAWING = "left before the first join was complete; its answer or the confirmation is to come"


class Event(Enum):
    """Inputs of the machine."""

    JOIN = "a user asks to enter"
    PART = "a part of the answer to a first join is received"
    COMPLETE = "the subject is received; or, after a joiner's presence, nothing more in time"
    EMPTY_TOLD = "no downstream occupant is left, and the joined node was told"
    EMPTY = "no downstream occupant is left, and no confirmation is to come"
    EMPTY_BUT_JOINS = "the joined node removed the last downstream occupant; joins are in flight"
    LEFT = "the joined node confirms that this node has left"
    LEFT_BUT_JOINS = "the same, but there are downstream occupants, or joins in flight"
    RETURNED = "the last unavailable presence comes back (ProtoXEP)"
    REJECTED = "the last join is rejected"
    DEADLINE = "the confirmation does not come in time"
    GONE = "the joined node was destroyed, or cannot be reached"


class Output(Enum):
    """Outputs of the machine."""

    SEND_FIRST_JOIN = "send the join, with the limits of the history"
    SEND_JOIN = "send the join, without history; in primary mode, admit the user at once"
    AWAIT_ANSWER = "wait for the answer"
    EXTEND_WAIT = "extend the wait, within its limit; it is short after a joiner's own presence"
    SETTLE_MODE = "fall back to primary mode if replica mode was not agreed"
    ADMIT_JOINS = "admit the users of answered joins"
    SEND_QUEUED = "send the joins that were waiting"
    SEND_NEXT_FIRST = "if a join is waiting, begin anew with it"
    DISCARD = "drop the joined node's occupants, the history, the subject and withdrawn joins, which are stale"
    REMOVE_THEIRS = "remove the joined node's occupants and the history"
    AWAIT_CONFIRMATION = "wait for the confirmation"
    LOG_LEFT = "log that this node has left"


@frozen
class Transition:
    """
    A row of the table.

    @ivar reason: quotation from a specification, or the reason.
    """

    state: UplinkState
    outputs: tuple[Output, ...]
    reason: str


_NO_BANDWIDTH = 'XEP-0289 section 1: it "needs no bandwidth for remote rooms without local occupants"'
_WAITS = "stanzas keep their order: what comes before the answer, or before the confirmation, is not for this join"
_LAST = (
    'XEP-0289 section 6.4: "When the last user on a joining FMUC node leaves the room [...] the joining node will '
    'be considered to have left the FMUC set"'
)
_CONFIRMS = (
    'XEP-0289 section 6.4: "The joined room confirms that the joining room has left the set by sending a presence '
    'stanza"'
)
_PROXY_LEAVES = (
    'ProtoXEP: "When the master MUC receives a parting presence from the only user of the proxy, the proxy itself '
    'also leaves the room"'
)
_AGAIN = "the joined node considered this node left before it received the joins: the first of them is a first join"
_END = "XEP-0045 section 10.9: the room was destroyed; or it does not know this node any longer"
_NO_ANSWER = "a node that was restarted does not confirm"

TRANSITIONS: dict[tuple[UplinkState, Event], Transition] = {
    (UplinkState.IDLE, Event.JOIN): Transition(
        UplinkState.JOINING, (Output.AWAIT_ANSWER, Output.SEND_FIRST_JOIN), _NO_BANDWIDTH
    ),
    (UplinkState.JOINING, Event.JOIN): Transition(UplinkState.JOINING, (), _WAITS),
    (UplinkState.JOINED, Event.JOIN): Transition(
        UplinkState.JOINED,
        (Output.SEND_JOIN,),
        'ProtoXEP: the room "performs the usual ACL checks as if [the user] had joined directly"',
    ),
    (UplinkState.LEAVING, Event.JOIN): Transition(UplinkState.LEAVING, (), _WAITS),
    (UplinkState.WITHDRAWING, Event.JOIN): Transition(UplinkState.WITHDRAWING, (), _WAITS),
    (UplinkState.JOINING, Event.PART): Transition(
        UplinkState.JOINING, (Output.EXTEND_WAIT,), "the link may be slow, but the wait has an end"
    ),
    (UplinkState.JOINING, Event.COMPLETE): Transition(
        UplinkState.JOINED,
        (Output.SETTLE_MODE, Output.ADMIT_JOINS, Output.SEND_QUEUED),
        'XEP-0045 section 7.2.13: "The service MUST send all discussion history messages before delivering the '
        'room subject"',
    ),
    (UplinkState.JOINING, Event.EMPTY_TOLD): Transition(
        UplinkState.WITHDRAWING, (Output.DISCARD, Output.AWAIT_CONFIRMATION), _LAST
    ),
    (UplinkState.JOINED, Event.EMPTY_TOLD): Transition(
        UplinkState.LEAVING, (Output.DISCARD, Output.AWAIT_CONFIRMATION), _LAST
    ),
    (UplinkState.JOINING, Event.EMPTY): Transition(
        UplinkState.IDLE, (Output.DISCARD, Output.SEND_NEXT_FIRST), _LAST
    ),
    (UplinkState.JOINED, Event.EMPTY): Transition(
        UplinkState.IDLE, (Output.DISCARD, Output.LOG_LEFT, Output.SEND_NEXT_FIRST), _PROXY_LEAVES
    ),
    (UplinkState.JOINING, Event.EMPTY_BUT_JOINS): Transition(
        UplinkState.JOINING, (Output.DISCARD, Output.AWAIT_ANSWER), _AGAIN
    ),
    (UplinkState.JOINED, Event.EMPTY_BUT_JOINS): Transition(
        UplinkState.JOINING, (Output.DISCARD, Output.AWAIT_ANSWER), _AGAIN
    ),
    (UplinkState.JOINED, Event.LEFT): Transition(
        UplinkState.IDLE, (Output.REMOVE_THEIRS, Output.LOG_LEFT, Output.SEND_NEXT_FIRST), _CONFIRMS
    ),
    (UplinkState.JOINED, Event.LEFT_BUT_JOINS): Transition(
        UplinkState.JOINING, (Output.REMOVE_THEIRS, Output.AWAIT_ANSWER), _AGAIN
    ),
    (UplinkState.LEAVING, Event.LEFT): Transition(
        UplinkState.IDLE, (Output.LOG_LEFT, Output.SEND_NEXT_FIRST), _CONFIRMS
    ),
    (UplinkState.WITHDRAWING, Event.LEFT): Transition(UplinkState.IDLE, (Output.SEND_NEXT_FIRST,), _CONFIRMS),
    (UplinkState.LEAVING, Event.RETURNED): Transition(
        UplinkState.IDLE, (Output.LOG_LEFT, Output.SEND_NEXT_FIRST), _PROXY_LEAVES
    ),
    (UplinkState.WITHDRAWING, Event.RETURNED): Transition(
        UplinkState.IDLE, (Output.SEND_NEXT_FIRST,), _PROXY_LEAVES
    ),
    (UplinkState.WITHDRAWING, Event.REJECTED): Transition(
        UplinkState.IDLE,
        (Output.SEND_NEXT_FIRST,),
        'XEP-0289 section 6.1: the joined node "may reject the join"; then there is nothing to leave',
    ),
    (UplinkState.LEAVING, Event.DEADLINE): Transition(
        UplinkState.IDLE, (Output.LOG_LEFT, Output.SEND_NEXT_FIRST), _NO_ANSWER
    ),
    (UplinkState.WITHDRAWING, Event.DEADLINE): Transition(UplinkState.IDLE, (Output.SEND_NEXT_FIRST,), _NO_ANSWER),
    (UplinkState.JOINING, Event.GONE): Transition(UplinkState.IDLE, (Output.DISCARD, Output.SEND_NEXT_FIRST), _END),
    (UplinkState.JOINED, Event.GONE): Transition(
        UplinkState.IDLE, (Output.DISCARD, Output.LOG_LEFT, Output.SEND_NEXT_FIRST), _END
    ),
}
