"""
Questions to a joined node that knows neither channels nor returns, such as other software, after a silence. Pure.

Such a node may forget this one without an error: Openfire does when it is restarted. So it is asked for its
occupants (XEP-0045 section 6.5). If occupants of this node are missing, it has forgotten them. A self-ping
(XEP-0410) does not tell that: to Openfire, a node's occupant is somebody who is not in the room.
"""

from __future__ import annotations

from collections.abc import Container, Iterable
from enum import Enum

from attrs import define

from gateway import ns
from gateway.addresses import jids
from gateway.errors import BadRequest
from gateway.fmuc.profiles import Profile
from gateway.fmuc.values import UNREACHABLE
from gateway.stream.stanzas import Stanza
from gateway.xml.cut import children

# Occupants in an answer; of more, nothing is concluded.
_MAX_LISTED = 5_000
# Requests without an answer after which the node cannot be reached.
_ATTEMPTS = 2
# Round trips that the silence before a request takes at least.
_ROUND_TRIPS = 4


class Verdict(Enum):
    """The meaning of an answer, or of its absence."""

    WELL = "the joined node has all occupants of this node, or does not tell"
    FORGOTTEN = "occupants of this node are missing there"
    UNREACHABLE = "the joined node cannot be reached"


@define(eq=False)
class Probing:
    """
    The questions of one mirror.

    @ivar token: part of the ids, by which answers to an earlier process are recognised.
    @ivar hasAnswered: True if any request was answered: the node may know no such requests.
    @ivar missing: nick of an occupant whose presence was lost, until a return that should bring it has ended; or
        empty.
    """

    token: str
    hasAnswered: bool = False
    missing: str = ""
    # False if a return has not brought such presence: rooms may leave out the presence of some roles (XEP-0045
    # section 10.2, C{muc#roomconfig_presencebroadcast}).
    _announcesAll: bool = True
    _asked: int = 0
    _attempts: int = 0
    _at: float = 0.0
    _roundTrip: float = 0.0
    _nicks: frozenset[str] = frozenset()
    # True if the last answer had all occupants of this node, False if answers tell nothing: the node does not list
    # its occupants. C{None} if that is unknown.
    _lists: bool | None = None
    _isAnswered: bool = False
    # True after a return that an answer has caused.
    _isSuspected: bool = False

    def silence(self, profile: Profile) -> float:
        """
        Return the seconds of silence after which the node is asked. The first request comes soon after a join, when
        the node cannot have forgotten it, and shows whether the node lists its occupants.
        """
        return max(_ROUND_TRIPS * self._roundTrip, profile.probe if self._isAnswered else profile.answer)

    @property
    def isSilent(self) -> bool:
        """True if the last requests were not answered, though earlier ones were: the node cannot be reached."""
        return self._attempts >= _ATTEMPTS and self.hasAnswered

    def ask(self, nicks: Iterable[str], now: float) -> str:
        """
        Return the id of a request.

        @param nicks: occupants of this node whom the joined node has admitted.
        """
        self._attempts += 1
        self._asked += 1
        self._at, self._nicks = now, frozenset(nicks)
        return self._id

    @property
    def _id(self) -> str:
        return f"items-{self.token}-{self._asked}"

    def wait(self, profile: Profile) -> float:
        """Return the seconds until the next request, if this one is not answered."""
        return profile.answer if self._attempts <= _ATTEMPTS else profile.probe

    def heard(self) -> None:
        """The node has sent something, so it can be reached."""
        self._attempts = 0

    def isAnswer(self, identifier: str) -> bool:
        """True if an answer with this id belongs to a request of this mirror."""
        return identifier.startswith(f"items-{self.token}-")

    def answered(self, stanza: Stanza, condition: str, now: float) -> Verdict:
        """
        Handle the answer to a request; one that is not the last one tells nothing.

        @param condition: of the error; empty for a result.
        """
        if stanza.id != self._id or not self._at:
            return Verdict.WELL
        self._roundTrip, self._at = now - self._at, 0.0
        self.heard()
        if condition in UNREACHABLE:
            return self._conclude(Verdict.UNREACHABLE)
        self.hasAnswered = True
        if condition:
            # A room that does not exist any longer has forgotten everybody.
            return self._conclude(Verdict.FORGOTTEN) if condition == "item-not-found" else Verdict.WELL
        try:
            listed = _listed(stanza)
        except BadRequest:
            return Verdict.WELL
        self._isAnswered = True
        if self._nicks <= listed:
            self._lists, self._isSuspected = True, False
            return Verdict.WELL
        # The list of a room may be private, or nobody may be there.
        isPrivate = self._lists is None and not listed
        return Verdict.WELL if isPrivate else self._conclude(Verdict.FORGOTTEN)

    def lacks(self, nick: str) -> bool:
        """
        An occupant has sent a message who was not announced: return True if its presence was lost, so that a return
        may bring it.
        """
        isNew = self._announcesAll and not self.missing
        if isNew:
            self.missing = nick
        return isNew

    def returned(self, nicks: Container[str]) -> None:
        """A return has ended, and the node has announced these occupants."""
        if self.missing:
            self._announcesAll, self.missing = self.missing in nicks, ""

    def _conclude(self, verdict: Verdict) -> Verdict:
        """Return a verdict that causes a return; if the last return did not help, answers tell nothing."""
        if self._isSuspected:
            self._lists, self._isSuspected, self._isAnswered = False, False, True
        if self._lists is False:
            return Verdict.WELL
        # The next request follows soon.
        self._isSuspected, self._isAnswered = True, False
        return verdict


def _listed(stanza: Stanza) -> set[str]:
    """
    Return the nicks in a result.

    @raise BadRequest: if it cannot be read.
    """
    query = next(iter(children(stanza.element)), None)
    if query is None or query.uri != ns.DISCO_ITEMS:
        raise BadRequest
    return {jids.split(each.getAttribute("jid", ""))[2] for each in children(query, _MAX_LISTED)}
