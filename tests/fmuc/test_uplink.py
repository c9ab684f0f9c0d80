"""The uplink's machine: each row of its table, and the table in the documentation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.fmuc.federation import Federation
from gateway.fmuc.nodes import JoinedNode
from gateway.fmuc.uplink import returning
from gateway.fmuc.uplink.pending import JoinState, PendingJoin
from gateway.fmuc.uplink.returning import Uplink
from gateway.fmuc.uplink.states import TRANSITIONS, Event, Output, UplinkState, describe
from gateway.fmuc.values import Dialect, FederationMode, Mode
from gateway.muc.datetimes import UtcClock
from gateway.muc.ids import Ids
from gateway.muc.room import Bounds, Room
from gateway.muc.values import JoinRequest, Standing
from tests.profiles import steady

DOCS = Path(__file__).resolve().parents[2] / "docs" / "fmuc.md"


class TableTests(SynchronousTestCase):
    """The table as a whole."""

    maxDiff = None

    def test_documented(self) -> None:
        """docs/fmuc.md has the tables that C{python -m gateway.fmuc.uplink.states} prints."""
        self.assertIn(describe(), DOCS.read_text())

    def test_quoted(self) -> None:
        """Each row has the words of a specification, and the section if the specification has sections."""
        for place, row in TRANSITIONS.items():
            source = r"(XEP-\d{4}|RFC \d{4}) section \d+(\.\d+)*|ProtoXEP"
            self.assertRegex(row.rule.source, f"^({source})$", place)
            self.assertGreater(len(row.rule.quote.split()), 5, place)

    def test_complete(self) -> None:
        """Each state can be entered and left, each event and each output is used."""
        self.assertEqual({state for state, _ in TRANSITIONS}, set(UplinkState))
        entered = {row.state for (state, _), row in TRANSITIONS.items() if row.state is not state}
        self.assertEqual(entered, set(UplinkState))
        self.assertEqual({event for _, event in TRANSITIONS}, set(Event))
        self.assertEqual({output for row in TRANSITIONS.values() for output in row.outputs}, set(Output))
        self.assertEqual(set(returning._OUTPUTS), set(Output))

    def test_waits(self) -> None:
        """A state that waits is entered with a deadline, and left when the deadline passes."""
        for (_, event), row in TRANSITIONS.items():
            if row.state is UplinkState.JOINING and event not in (Event.JOIN, Event.PART):
                self.assertIn(Output.AWAIT_ANSWER, row.outputs)
            if row.state in (UplinkState.LEAVING, UplinkState.WITHDRAWING) and event is not Event.JOIN:
                self.assertIn(Output.AWAIT_CONFIRMATION, row.outputs)
        for state in (UplinkState.LEAVING, UplinkState.WITHDRAWING):
            self.assertIs(TRANSITIONS[state, Event.DEADLINE].state, UplinkState.IDLE)

    def test_joinsAreNotForgotten(self) -> None:
        """Each way to IDLE ends with the join that has waited longest."""
        for row in TRANSITIONS.values():
            if row.state is UplinkState.IDLE:
                self.assertIs(row.outputs[-1], Output.SEND_NEXT_FIRST)


class MachineTests(SynchronousTestCase):
    """The machine follows the table."""

    def make(self, dialect: Dialect = Dialect.XEP_0289, mode: Mode = Mode.REPLICA) -> Uplink:
        room = Room("room@mirror.example", Bounds(), UtcClock(), Ids(), b"salt")
        room.nodes = federation = Federation(room)
        federation.uplink = Uplink(federation, JoinedNode("room@talk.example", dialect, FederationMode(mode)), "t")
        return federation.uplink

    @steady
    @given(st.lists(st.sampled_from(Event), max_size=12))
    def test_anyOrder(self, events: list[Event]) -> None:
        """In any order of events, each event has the outputs and the state of the table, or is ignored."""
        uplink = self.make()
        for number, event in enumerate(events):
            join = PendingJoin(JoinRequest(nick=f"n{number}", realJid=f"u{number}@here.example/r"), None, 1e9)
            if event is Event.JOIN:
                uplink.pending[join.request.nick] = join
            before = uplink.state
            row = TRANSITIONS.get((before, event))
            done: list[Output] = []
            self.patch(returning, "_OUTPUTS", {output: self.recorder(done, output) for output in Output})
            uplink.feed(event, 0.0, join)
            self.assertEqual(done, [] if row is None else list(row.outputs))
            self.assertIs(uplink.state, before if row is None else row.state)

    def recorder(self, done: list[Output], output: Output) -> Any:
        return lambda uplink, now, join: done.append(output)

    def test_mode(self) -> None:
        """A joined node that does not agree to replica mode is one in primary mode; the ProtoXEP does not ask."""
        for dialect, asked, answers, current in (
            (Dialect.XEP_0289, Mode.REPLICA, Mode.REPLICA, Mode.REPLICA),
            (Dialect.XEP_0289, Mode.REPLICA, Mode.PRIMARY, Mode.PRIMARY),
            (Dialect.XEP_0289, Mode.PRIMARY, Mode.REPLICA, Mode.PRIMARY),
            (Dialect.PROTOXEP, Mode.REPLICA, Mode.PRIMARY, Mode.REPLICA),
            (Dialect.PROTOXEP, Mode.PRIMARY, Mode.PRIMARY, Mode.PRIMARY),
        ):
            uplink = self.make(dialect, asked)
            uplink.join(JoinRequest(nick="ann", realJid="ann@here.example/r"), None, 0.0)
            uplink.confirm(uplink.pending["ann"], Standing(), answers, 0.0)
            uplink.feed(Event.COMPLETE, 0.0)
            self.assertIs(uplink.node.mode.current, current, (dialect, asked, answers))
            self.assertIs(uplink.state, UplinkState.JOINED)

    def test_joins(self) -> None:
        """A join that was sent is kept until it is answered, even if the user has left meanwhile."""
        uplink = self.make()
        for nick in ("ann", "ben"):
            uplink.join(JoinRequest(nick=nick, realJid=f"{nick}@here.example/r"), None, 0.0)
        ann, ben = uplink.pending["ann"], uplink.pending["ben"]
        self.assertEqual((ann.state, ben.state), (JoinState.SENT, JoinState.QUEUED))
        uplink.withdraw(ann, 0.0)
        self.assertIs(ann.state, JoinState.WITHDRAWN)
        # The waiting user's join is the first one now.
        self.assertIs(uplink.state, UplinkState.WITHDRAWING)
        uplink.feed(Event.RETURNED, 0.0)
        self.assertEqual((uplink.state, ben.state), (UplinkState.JOINING, JoinState.SENT))
        uplink.confirm(ben, Standing(), True, 0.0)
        self.assertIs(ben.state, JoinState.CONFIRMED)
        uplink.withdraw(ben, 0.0)
        self.assertIs(ben.state, JoinState.WITHDRAWN_CONFIRMED)
        uplink.join(JoinRequest(nick="ben", realJid="ben@here.example/r"), None, 0.0)
        self.assertIs(uplink.pending["ben"].state, JoinState.QUEUED)
