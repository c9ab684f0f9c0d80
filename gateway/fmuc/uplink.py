"""
The uplink, a mirror's relation with its joined node: the state machine as a table. docs/fmuc.md shows it.

A mirror without downstream occupants has left, and sends nothing. Stanzas between two nodes keep their order, so
both nodes agree on the moment: the joined node considers a node left when its last occupant has left, and confirms
it by C{<left/>} (XEP-0289) or by sending the last unavailable presence back (ProtoXEP). Stanzas that are received
before the confirmation are stale.
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
    COMPLETE = "the subject is received; or, after a joiner's presence, nothing more is received in time"
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

    SEND_FIRST_JOIN = "send the join, which brings the history"
    SEND_JOIN = "send a further join; in primary mode, a fence follows it"
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
class Rule:
    """
    Source of a transition.

    @ivar source: the specification, and its section if it has sections.
    @ivar quote: quotation from it.
    @ivar therefore: how the transition follows from the quotation; may be empty.
    """

    source: str
    quote: str
    therefore: str = ""


@frozen
class Transition:
    """A row of the table."""

    state: UplinkState
    outputs: tuple[Output, ...]
    rule: Rule


_NO_BANDWIDTH = Rule("XEP-0289 section 1", "needs no bandwidth for remote rooms without local occupants")
_IN_ORDER = Rule(
    "RFC 6120 section 10.1",
    "An XMPP server MUST ensure in-order processing of the stanzas and other XML elements it receives over a given "
    "input stream",
    "what comes before the answer, or before the confirmation, is not for this join",
)
_AS_DIRECTLY = Rule(
    "ProtoXEP",
    "performs the usual ACL checks as if kev@example.com/Swift had joined directly",
    "each user is announced",
)
_ORDER = Rule(
    "XEP-0045 section 7.1",
    "the MUC service MUST send it events in the following order",
    "the subject, the last of them, is still to come; the link may be slow, but the wait has an end",
)
_SUBJECT_LAST = Rule(
    "XEP-0045 section 7.2.13",
    "The service MUST send all discussion history messages before delivering the room subject",
)
_LAST = Rule(
    "XEP-0289 section 6.4",
    "When the last user on a joining FMUC node leaves the room [...] the joining node will be considered to have "
    "left the FMUC set",
)
_PROXY_LEAVES = Rule(
    "ProtoXEP",
    "When the master MUC receives a parting presence from the only user of the proxy, the proxy itself also leaves "
    "the room",
)
_REJOINS = Rule(
    "XEP-0289 section 6.4",
    "Further activity in the FMUC set not be sent to the joining node (unless it subsequently rejoins the set)",
    "the joined node considered this node left before it received the joins: the first of them is a first join",
)
_CONFIRMS = Rule(
    "XEP-0289 section 6.4",
    "The joined room confirms that the joining room has left the set by sending a presence stanza",
)
_MAY_REJECT = Rule(
    "XEP-0289 section 6.1",
    "rabbithole may reject the join, if elsinor is not permitted to federate",
    "there is nothing to leave then",
)
_UNRELIABLE = Rule(
    "XEP-0289 section 1",
    "unreliability (including, potentially, long-term failure of S2S links)",
    "the confirmation may be lost, and a node that was restarted sends none",
)
_DESTROYED = Rule(
    "XEP-0045 section 10.9",
    "The room removes all users from the room",
    "the same if the joined node does not know this node any longer",
)

# Short names, for rows of one line.
_S, _E, _O = UplinkState, Event, Output

# A resync would add a state LOST: the other site cannot be reached, and the occupants stay. GONE would lead from
# JOINED to LOST, and a new event from LOST to JOINING. An outbox would collect stanzas in Federation.toNode, which
# all stanzas to the joined node pass, and an output in the row of that new event would send them.
TRANSITIONS: dict[tuple[UplinkState, Event], Transition] = {
    (_S.IDLE, _E.JOIN): Transition(_S.JOINING, (_O.AWAIT_ANSWER, _O.SEND_FIRST_JOIN), _NO_BANDWIDTH),
    (_S.JOINING, _E.JOIN): Transition(_S.JOINING, (), _IN_ORDER),
    (_S.JOINED, _E.JOIN): Transition(_S.JOINED, (_O.SEND_JOIN,), _AS_DIRECTLY),
    (_S.LEAVING, _E.JOIN): Transition(_S.LEAVING, (), _IN_ORDER),
    (_S.WITHDRAWING, _E.JOIN): Transition(_S.WITHDRAWING, (), _IN_ORDER),
    (_S.JOINING, _E.PART): Transition(_S.JOINING, (_O.EXTEND_WAIT,), _ORDER),
    (_S.JOINING, _E.COMPLETE): Transition(
        _S.JOINED, (_O.SETTLE_MODE, _O.ADMIT_JOINS, _O.SEND_QUEUED), _SUBJECT_LAST
    ),
    (_S.JOINING, _E.EMPTY_TOLD): Transition(_S.WITHDRAWING, (_O.DISCARD, _O.AWAIT_CONFIRMATION), _LAST),
    (_S.JOINED, _E.EMPTY_TOLD): Transition(_S.LEAVING, (_O.DISCARD, _O.AWAIT_CONFIRMATION), _LAST),
    (_S.JOINING, _E.EMPTY): Transition(_S.IDLE, (_O.DISCARD, _O.SEND_NEXT_FIRST), _LAST),
    (_S.JOINED, _E.EMPTY): Transition(_S.IDLE, (_O.DISCARD, _O.LOG_LEFT, _O.SEND_NEXT_FIRST), _PROXY_LEAVES),
    (_S.JOINING, _E.EMPTY_BUT_JOINS): Transition(_S.JOINING, (_O.DISCARD, _O.AWAIT_ANSWER), _REJOINS),
    (_S.JOINED, _E.EMPTY_BUT_JOINS): Transition(_S.JOINING, (_O.DISCARD, _O.AWAIT_ANSWER), _REJOINS),
    (_S.JOINED, _E.LEFT): Transition(_S.IDLE, (_O.REMOVE_THEIRS, _O.LOG_LEFT, _O.SEND_NEXT_FIRST), _CONFIRMS),
    (_S.JOINED, _E.LEFT_BUT_JOINS): Transition(_S.JOINING, (_O.REMOVE_THEIRS, _O.AWAIT_ANSWER), _REJOINS),
    (_S.LEAVING, _E.LEFT): Transition(_S.IDLE, (_O.LOG_LEFT, _O.SEND_NEXT_FIRST), _CONFIRMS),
    (_S.WITHDRAWING, _E.LEFT): Transition(_S.IDLE, (_O.SEND_NEXT_FIRST,), _CONFIRMS),
    (_S.LEAVING, _E.RETURNED): Transition(_S.IDLE, (_O.LOG_LEFT, _O.SEND_NEXT_FIRST), _PROXY_LEAVES),
    (_S.WITHDRAWING, _E.RETURNED): Transition(_S.IDLE, (_O.SEND_NEXT_FIRST,), _PROXY_LEAVES),
    (_S.WITHDRAWING, _E.REJECTED): Transition(_S.IDLE, (_O.SEND_NEXT_FIRST,), _MAY_REJECT),
    (_S.LEAVING, _E.DEADLINE): Transition(_S.IDLE, (_O.LOG_LEFT, _O.SEND_NEXT_FIRST), _UNRELIABLE),
    (_S.WITHDRAWING, _E.DEADLINE): Transition(_S.IDLE, (_O.SEND_NEXT_FIRST,), _UNRELIABLE),
    (_S.JOINING, _E.GONE): Transition(_S.IDLE, (_O.DISCARD, _O.SEND_NEXT_FIRST), _DESTROYED),
    (_S.JOINED, _E.GONE): Transition(_S.IDLE, (_O.DISCARD, _O.LOG_LEFT, _O.SEND_NEXT_FIRST), _DESTROYED),
}


def describe() -> str:
    """Return the machine as tables in Markdown, for docs/fmuc.md."""
    lines = ["| state | meaning |", "|---|---|", *(f"| `{state.name}` | {state.value} |" for state in UplinkState)]
    for kind, names in (("input", Event), ("output", Output)):
        lines += ["", f"| {kind} | meaning |", "|---|---|"]
        lines += [f"| {_words(name)} | {name.value} |" for name in names]
    lines += ["", "| state | input | outputs | next state | rule |", "|---|---|---|---|---|"]
    for (state, event), row in TRANSITIONS.items():
        outputs = "; ".join(map(_words, row.outputs)) or "none"
        rule = f'{row.rule.source}: "{row.rule.quote}"' + (f"; {row.rule.therefore}" if row.rule.therefore else "")
        lines.append(f"| `{state.name}` | {_words(event)} | {outputs} | `{row.state.name}` | {rule} |")
    return "\n".join(lines)


def _words(value: Enum) -> str:
    return value.name.lower().replace("_", " ")


if __name__ == "__main__":
    print(describe())
