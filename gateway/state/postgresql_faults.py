"""
Faults of PostgreSQL: the error that a requester gets, and a sentence for the operator with the remedy.
"""

from __future__ import annotations

import psycopg

from gateway.errors import GatewayError, StoreBroken, StoreBusy, StoreFull

_CHECK = "check PostgreSQL and its log"
# Characters of a message.
_MAX_REASON = 300


def domainError(error: BaseException) -> GatewayError | None:
    """Return the error for the requester, with a text for the operator; C{None} if PostgreSQL is not at fault."""
    if isinstance(error, GatewayError):
        return error
    if not isinstance(error, psycopg.Error):
        return None
    state = error.sqlstate
    if state is None and not isinstance(error, psycopg.OperationalError):
        # Found by psycopg: a wrong number of parameters, a text that PostgreSQL cannot hold.
        return None
    state, reason = state or "08000", reasonOf(error)
    # Faults of a statement or its values: data, constraints, limits.
    if state[:2] in ("21", "22", "23", "44", "54"):
        return None
    if state == "53100":
        return StoreFull("the disk of PostgreSQL is full: free some space")
    if state == "55P03":
        return StoreBusy(
            "another process holds the lock of the store: end that process (pg_stat_activity and pg_locks show it)"
        )
    if state in ("57014", "40001", "40P01") or state[:2] == "53":
        return StoreBusy(f"{reason}: {_CHECK}")
    if state == "25006":
        return StoreBroken("the server allows no changes: name the primary one in state.url, not a standby")
    if state == "42501":
        return StoreBroken(f"{reason}: grant it to the gateway's user of PostgreSQL")
    if state[:2] in ("08", "57", "28", "3D"):
        return StoreBroken(f"PostgreSQL cannot be reached ({reason}): start it, or correct state.url")
    return StoreBroken(f"{reason}: {_CHECK}")


def reasonOf(error: BaseException) -> str:
    """Return the reason of an error, in one line: further lines of a message may have values."""
    text = str(error).strip() or type(error).__name__
    lines = text.splitlines()
    # One line for each host.
    found = " ".join(lines[1:]) if lines[0].startswith("connection failed: Multiple") else lines[0]
    return " ".join(found.split())[:_MAX_REASON].rstrip(".: ")
