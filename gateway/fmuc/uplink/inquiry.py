"""
Questions of a mirror to its joined node about that room itself, by disco#info (XEP-0045 section 6.4). Pure.

A gateway is not asked: it answers each join, and its presence tells who sees real JIDs. A room is asked if it
answers a first join with nothing for a while, and a room of Openfire is asked whether it is anonymous.
"""

from __future__ import annotations

from enum import Enum
from math import inf

from attrs import define

from gateway.fmuc.profiles import Profile


class Silence(Enum):
    """State of a first join that is not answered."""

    NONE = "it is answered, or none was sent"
    WAITS = "the answer may be on its way"
    ASKED = "the joined node was asked"
    REPEATED = "the join was sent once more, after a leave"


@define(eq=False)
class Inquiry:
    """
    The questions of one mirror. Nothing waits for an answer: the join has a deadline of its own.

    @ivar token: part of the ids, by which answers to an earlier process are recognised.
    @ivar silence: state of the first join.
    @ivar dueAt: seconds of the link's clock at which the silence has lasted long enough.
    @ivar hasAsked: True if the node was asked since the first join.
    """

    token: str
    silence: Silence = Silence.NONE
    dueAt: float = inf
    hasAsked: bool = False
    _asked: int = 0
    _isOpen: bool = False

    def begin(self, profile: Profile, now: float) -> None:
        """Begin with a first join; one that is sent again has its time, too."""
        if self.silence is not Silence.REPEATED:
            self.silence, self.hasAsked, self._isOpen = Silence.WAITS, False, False
        self.dueAt = now + profile.silence

    def end(self) -> None:
        """The join is answered, or nobody waits for an answer any longer."""
        self.silence, self.dueAt = Silence.NONE, inf

    def ask(self) -> str:
        """Return the id of a question."""
        self._asked += 1
        self.dueAt, self.hasAsked, self._isOpen = inf, True, True
        if self.silence is Silence.WAITS:
            self.silence = Silence.ASKED
        return self._id

    @property
    def _id(self) -> str:
        return f"room-{self.token}-{self._asked}"

    def answered(self, identifier: str) -> bool:
        """Return True if an answer with this id is that to the open question, which it closes."""
        isAnswer = self._isOpen and identifier == self._id
        self._isOpen = self._isOpen and not isAnswer
        return isAnswer
