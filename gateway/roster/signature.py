"""
Signatures of requests; pure.
"""

from __future__ import annotations

import hashlib
import hmac

# Header with the signature, as GitHub calls it, and with the time of a request that is signed as a whole.
SIGNATURE = b"x-hub-signature-256"
TIME = b"x-signature-time"

# Seconds by which a request's time may differ from ours.
WINDOW = 300

_SCHEME = b"sha256="


def isSignedBody(shown: bytes, body: bytes, secret: bytes) -> bool:
    """True if a header is the signature of a body alone: C{sha256=} and the HMAC-SHA-256 in hexadecimal."""
    right = _SCHEME + hmac.new(secret, body, hashlib.sha256).hexdigest().encode()
    return hmac.compare_digest(shown.lower(), right)


def isSigned(shown: bytes, time: bytes, method: bytes, uri: bytes, body: bytes, secret: bytes, now: float) -> bool:
    """
    True if a header signs a whole request: method, path with query, time and body, each on a line of its own.

    @param time: seconds since 1970 UTC, in decimal.
    @param now: the same on our clock.
    """
    # No more digits than a clock has for the next 30,000 years.
    if not time.isdigit() or len(time) > 12 or abs(int(time) - now) > WINDOW:
        return False
    return isSignedBody(shown, b"\n".join((method, uri, time, body)), secret)
