"""
Occupant ids (XEP-0421) and stanza ids (XEP-0359).

An occupant id is an HMAC of the user's bare JID. The key of a room, its salt, follows from a secret of the service
that is kept over restarts and that nobody else knows. The component's secret would be no such key: the server has
it, too, and its operator may change it, which would change all ids.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable

# XEP-0421 section 4.1: "a maximum length of 128 characters"; also for stanza ids that other nodes give.
MAX_ID = 128
# Bytes of the secret and of an occupant id: a longer id would only take room on each link.
SECRET, _OCCUPANT = 32, 16
# Stanza ids are made in runs. Bytes at the beginning of each id, which those of a run share; bytes of the rest;
# number of ids of a run.
_SHARED, _OWN, _RUN = 3, 9, 64
# Characters of the rest.
_LENGTH = _OWN * 4 // 3


class Ids:
    """
    Makes the ids of one service.

    @param secret: of L{SECRET} bytes; the default is a new one, with which ids end with the process.
    @param random: returns this number of random bytes.
    """

    def __init__(self, secret: bytes | None = None, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._secret = random(SECRET) if secret is None else secret
        self._random = random

    def salt(self, room: str) -> bytes:
        """
        Return the salt of a room's occupant ids.

        XEP-0421 section 4.1: the id of a user "in one room of the service does not match the occupant identifier of
        the same user in another room".

        @param room: bare JID.
        """
        return hmac.digest(self._secret, room.encode(), "sha256")

    def stanzaId(self, run: list[str]) -> str:
        """
        Return a new stanza id. Section 3: "The values of the 'id' attribute SHOULD be unpredictable".

        The ids of a run ascend: those of messages that follow each other are in one page of an archive's
        index then, and a commit writes each changed page as a whole.

        @param run: the rest of a room's run, the next one last; it is changed. Two rooms must not have one run:
            its ids would tell how many messages the other one has.
        """
        if not run:
            shared = urlsafe_b64encode(self._random(_SHARED)).decode()
            own = urlsafe_b64encode(self._random(_OWN * _RUN)).decode()
            parts = [own[start : start + _LENGTH] for start in range(0, len(own), _LENGTH)]
            run += [shared + part for part in sorted(parts, reverse=True)]
        return run.pop()


def occupantId(salt: bytes, user: str) -> str:
    """
    Return an occupant id.

    @param salt: of the room.
    @param user: bare JID, prepared.
    """
    return urlsafe_b64encode(hmac.digest(salt, user.encode(), "sha256")[:_OCCUPANT]).rstrip(b"=").decode()
