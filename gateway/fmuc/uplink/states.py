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
    RETURNING = "stanzas may be lost: the joined node was asked to resume; users stay"
    LOST = "the joined node cannot be reached, and is asked again and again; users stay"
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
    STAYS = "no downstream occupant is left, but joining nodes stay; the joined node is an ordinary room"
    LEFT = "the joined node confirms that this node has left"
    LEFT_BUT_JOINS = "the same, but there are downstream occupants, or joins in flight"
    RETURNED = "the last unavailable presence comes back (ProtoXEP)"
    REJECTED = "the last join is rejected"
    DEADLINE = "the confirmation does not come in time"
    GONE = "the joined node was destroyed"
    DISTURBED = "this node or its link was restarted, or an error or the joined node says that stanzas were lost"
    INTERRUPTED = "the same, while users here are compared, or joined anew"
    UNREACHABLE = "a stanza comes back because the joined node cannot be reached, or no answer comes in time"
    RETRY = "the time of the next attempt has come"
    RESUMED = "both nodes have the same occupants and subject; what was missed was received"
    DIFFERS = "they have not"
    STATE = "the joined node sends all occupants, what was missed, and the subject"
    FORGOTTEN = "the joined node does not know this node any longer; or it is there, and cannot resume"


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
    ASK = (
        "ask the joined node to resume; without this extension there, ask for its occupants if it was lost, "
        "otherwise as if it has forgotten this node"
    )
    HOLD = "let the users stay; put off or refuse joins in flight"
    PUT_OFF = "put off the joins anew"
    TELL = "tell the joined node who is in here, if it can resume"
    COMPARE = "show what is received as a difference to what is known"
    REJOIN = "send the leaves of all downstream occupants, if the joined node may know them, and join them anew"
    CATCH_UP = "show what was missed; send the presence that has changed here"


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
_REJOINS_ANEW = Rule(
    "XEP-0289 section 6.4",
    "Further activity in the FMUC set not be sent to the joining node (unless it subsequently rejoins the set)",
    "the joined node has removed this node meanwhile",
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
)

# Short names, for rows of one line.
_S, _E, _O = UplinkState, Event, Output

TRANSITIONS: dict[tuple[UplinkState, Event], Transition] = {
    (_S.IDLE, _E.JOIN): Transition(_S.JOINING, (_O.AWAIT_ANSWER, _O.SEND_FIRST_JOIN), _NO_BANDWIDTH),
    (_S.JOINING, _E.JOIN): Transition(_S.JOINING, (), _IN_ORDER),
    (_S.JOINED, _E.JOIN): Transition(_S.JOINED, (_O.SEND_JOIN,), _AS_DIRECTLY),
    (_S.LEAVING, _E.JOIN): Transition(_S.LEAVING, (), _IN_ORDER),
    (_S.WITHDRAWING, _E.JOIN): Transition(_S.WITHDRAWING, (), _IN_ORDER),
    (_S.JOINING, _E.PART): Transition(_S.JOINING, (_O.EXTEND_WAIT,), _ORDER),
    (_S.JOINING, _E.COMPLETE): Transition(
        _S.JOINED, (_O.SETTLE_MODE, _O.ADMIT_JOINS, _O.CATCH_UP, _O.SEND_QUEUED), _SUBJECT_LAST
    ),
    (_S.JOINING, _E.EMPTY_TOLD): Transition(_S.WITHDRAWING, (_O.DISCARD, _O.AWAIT_CONFIRMATION), _LAST),
    (_S.JOINED, _E.EMPTY_TOLD): Transition(_S.LEAVING, (_O.DISCARD, _O.AWAIT_CONFIRMATION), _LAST),
    (_S.JOINING, _E.EMPTY): Transition(_S.IDLE, (_O.DISCARD, _O.SEND_NEXT_FIRST), _LAST),
    (_S.JOINED, _E.EMPTY): Transition(_S.IDLE, (_O.DISCARD, _O.LOG_LEFT, _O.SEND_NEXT_FIRST), _PROXY_LEAVES),
    (_S.JOINING, _E.EMPTY_BUT_JOINS): Transition(_S.JOINING, (_O.DISCARD, _O.AWAIT_ANSWER), _REJOINS),
    (_S.JOINED, _E.EMPTY_BUT_JOINS): Transition(_S.JOINING, (_O.DISCARD, _O.AWAIT_ANSWER), _REJOINS),
    (_S.JOINING, _E.STAYS): Transition(_S.JOINED, (), _NO_BANDWIDTH),
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
    (_S.JOINED, _E.DISTURBED): Transition(_S.RETURNING, (_O.AWAIT_ANSWER, _O.PUT_OFF, _O.ASK), _UNRELIABLE),
    (_S.JOINED, _E.UNREACHABLE): Transition(_S.LOST, (_O.HOLD,), _UNRELIABLE),
    (_S.JOINING, _E.INTERRUPTED): Transition(_S.RETURNING, (_O.AWAIT_ANSWER, _O.PUT_OFF, _O.ASK), _UNRELIABLE),
    # The first attempt to join anew.
    (_S.JOINING, _E.UNREACHABLE): Transition(_S.LOST, (_O.HOLD,), _UNRELIABLE),
    (_S.RETURNING, _E.DISTURBED): Transition(_S.RETURNING, (_O.ASK,), _UNRELIABLE),
    (_S.RETURNING, _E.UNREACHABLE): Transition(_S.LOST, (_O.HOLD,), _UNRELIABLE),
    (_S.LOST, _E.DISTURBED): Transition(_S.LOST, (_O.ASK,), _UNRELIABLE),
    (_S.LOST, _E.RETRY): Transition(_S.LOST, (_O.ASK,), _UNRELIABLE),
}
for _away in (_S.RETURNING, _S.LOST):
    TRANSITIONS |= {
        (_away, _E.JOIN): Transition(_away, (), _IN_ORDER),
        (_away, _E.RESUMED): Transition(_S.JOINED, (_O.CATCH_UP, _O.SEND_QUEUED), _UNRELIABLE),
        (_away, _E.DIFFERS): Transition(_away, (_O.TELL,), _UNRELIABLE),
        (_away, _E.STATE): Transition(_S.JOINING, (_O.COMPARE, _O.AWAIT_ANSWER), _SUBJECT_LAST),
        (_away, _E.FORGOTTEN): Transition(_S.JOINING, (_O.COMPARE, _O.AWAIT_ANSWER, _O.REJOIN), _REJOINS_ANEW),
        # An earlier leave may be lost, and the joined node still have its sender.
        (_away, _E.EMPTY_TOLD): Transition(_S.LEAVING, (_O.TELL, _O.DISCARD, _O.AWAIT_CONFIRMATION), _LAST),
        (_away, _E.LEFT): Transition(_S.IDLE, (_O.REMOVE_THEIRS, _O.LOG_LEFT, _O.SEND_NEXT_FIRST), _CONFIRMS),
        (_away, _E.GONE): Transition(_S.IDLE, (_O.DISCARD, _O.LOG_LEFT, _O.SEND_NEXT_FIRST), _DESTROYED),
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
