"""Dates and times as text (XEP-0082), and the time of day of the link's clock. No clock is read here."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from attrs import define

# The second form is that of XEP-0289's examples and of XEP-0091.
_STAMP = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(Z|[+-]\d\d:\d\d)?", flags=re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_DAY = 86_400
# The calendar repeats after 400 years; datetime has no years after 9999.
_PERIOD = 146_097 * _DAY


@define
class UtcClock:
    """
    Converts the link's clock, which is monotonic, to UTC.

    @ivar offset: seconds since 1970 at 0 of the link's clock; changes whenever the wall clock is set.
    """

    offset: float = 0.0

    def utc(self, now: float) -> float:
        """Return seconds since 1970."""
        return now + self.offset

    def stampAfter(self, last: float, now: float) -> float:
        """
        Return the stamp of a message, in seconds since 1970.

        The stamp is never before the last one, so that a clock that is set back changes neither the order of the
        history nor what C{since} selects. If the clock was ahead by more than a day, the stamp follows the right
        time.
        """
        utc = self.utc(now)
        return last if utc < last <= utc + _DAY else utc


def parseDateTime(text: str) -> float | None:
    """Return seconds since 1970; C{None} if the text is not a date and time."""
    found = _STAMP.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(part) for part in found.groups()[:6])
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour <= 24 and minute <= 59 and second <= 60 and year):
        return None
    # Some senders write a day after the end of a month, or second 60: it is the next day or minute.
    elapsed = timedelta(day - 1, second, minutes=minute, hours=hour)
    zone = found.group(7)
    if zone and zone != "Z":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[4:6]))
        elapsed -= offset if zone[0] == "+" else -offset
    return (datetime(year, month, 1, tzinfo=UTC) - _EPOCH + elapsed).total_seconds()


def formatDateTime(seconds: float) -> str:
    """Return the text of seconds since 1970: whole seconds of UTC, also before year 1 and after year 9999."""
    periods, elapsed = divmod(int(seconds), _PERIOD)
    date = _EPOCH + timedelta(seconds=elapsed)
    return f"{date.year + 400 * periods:04}-{date:%m-%dT%H:%M:%SZ}"
