"""
Reasons for which a user's roster stays as it is.
"""

from __future__ import annotations


class RefreshFailed(Exception):
    """
    A user's roster stays as it is; the text says why, to people.
    """


class UserUnknown(RefreshFailed):
    """
    The application has nothing to say about the user.
    """


class RosterTooLarge(RefreshFailed):
    """
    The roster that the server has is too large to be read.
    """
