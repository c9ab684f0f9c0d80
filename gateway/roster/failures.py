"""
Failures of a refresh.
"""

from __future__ import annotations

# The reason if the gateway itself has failed.
INTERNAL_ERROR = "an internal error, see the gateway's log"


class RefreshFailed(Exception):
    """
    A user's roster is not refreshed; the text is the reason, for people.
    """


class UserUnknown(RefreshFailed):
    """
    The application does not know the user.
    """


class RosterTooLarge(RefreshFailed):
    """
    The server's roster is too large to be read.
    """
