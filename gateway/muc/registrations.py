"""The users who are registered with a room (XEP-0045 section 7.10): each has a reserved nick."""

from __future__ import annotations

from attrs import define, field

from gateway.muc.changes import Tracked


@define(eq=False)
class Registrations:
    """
    Reserved nicks of users, and requests that no admin has answered. A user is a bare JID.

    @ivar nicks: by user.
    @ivar users: by nick.
    @ivar requests: the requested nick, by user.
    """

    nicks: Tracked = field(factory=Tracked)
    users: dict[str, str] = field(factory=dict)
    requests: Tracked = field(factory=Tracked)

    def reserve(self, user: str, nick: str) -> None:
        """Reserve a nick that is free; the user's former one becomes free."""
        self.release(user)
        self.nicks[user], self.users[nick] = nick, user
        self.requests.pop(user, None)

    def release(self, user: str) -> None:
        """Free a user's nick, if there is one."""
        nick = self.nicks.pop(user, None)
        if nick is not None:
            del self.users[nick]

    def clear(self) -> None:
        """Forget everything."""
        for table in (self.nicks, self.users, self.requests):
            table.clear()
