"""
Signatures of requests; pure.
"""

from __future__ import annotations

import hashlib
import hmac

# Headers: the signature, under GitHub's name, and the time of a request that is signed as a whole.
SIGNATURE = b"x-hub-signature-256"
TIME = b"x-signature-time"

# Seconds by which a request's time may differ from the gateway's clock.
WINDOW = 300

_SCHEME = b"sha256="


def isSignedBody(shown: bytes, body: bytes, secret: bytes) -> bool:
    """True if a header is the signature of a body alone: C{sha256=} and its HMAC-SHA-256 in hexadecimal."""
    right = _SCHEME + hmac.new(secret, body, hashlib.sha256).hexdigest().encode()
    return hmac.compare_digest(shown.lower(), right)


def isSigned(shown: bytes, time: bytes, method: bytes, uri: bytes, body: bytes, secret: bytes, utc: float) -> bool:
    """
    True if a header is the signature of a whole request: of method, path with query, time and body, joined by line
    breaks.

    @param time: seconds since 1970 UTC, in decimal.
    @param utc: the same on the gateway's clock.
    """
    # 12 digits are sufficient for the next 30,000 years.
    if not time.isdigit() or len(time) > 12 or abs(int(time) - utc) > WINDOW:
        return False
    return isSignedBody(shown, b"\n".join((method, uri, time, body)), secret)
