"""
Outages of the web application; pure.
"""

from __future__ import annotations

# Users for whom the application has not answered, without an answer to anybody in between, until it counts as down.
_USERS = 8

# Seconds from the first of these failures on for which refreshes wait for the application; and between two tries.
MAX_WAIT = 60.0
_INTERVAL = 2.0


class Outage:
    """
    The failures of an application since its last answer.

    @ivar reason: that of the last failure, as text.
    """

    def __init__(self) -> None:
        self.reason = ""
        self._users: set[str] = set()
        self._since = 0.0
        self._nextTry = 0.0

    @property
    def isDown(self) -> bool:
        """True if the application counts as down."""
        return len(self._users) >= _USERS

    def onFailure(self, user: str, reason: str, now: float) -> None:
        """The application has not answered for a user, after all tries."""
        if not self._users:
            self._since = now
        if not self.isDown:
            self._users.add(user)
        self.reason = reason
        self._nextTry = now + _INTERVAL

    def onAnswer(self) -> None:
        """The application has answered."""
        self._users.clear()

    def seconds(self, now: float) -> float:
        """Return the seconds since the first failure."""
        return now - self._since

    def isHopeless(self, now: float) -> bool:
        """True if refreshes do not wait for the application any longer."""
        return self.seconds(now) >= MAX_WAIT

    def untilTry(self, now: float) -> float:
        """Return the seconds until the application may be tried again; 0 if it may be tried now."""
        return max(0.0, self._nextTry - now)
