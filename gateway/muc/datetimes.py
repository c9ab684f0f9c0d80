"""Dates and times as text (XEP-0082), and the time of day of the link's clock. No clock is read here."""

from __future__ import annotations

import calendar
import re

from attrs import define

# The second form is that of XEP-0289's examples and of XEP-0091.
_STAMP = re.compile(r"(\d{4})-?(\d\d)-?(\d\d)T(\d\d):(\d\d):(\d\d)(?:\.\d{1,9})?(Z|[+-]\d\d:\d\d)?", flags=re.ASCII)
_DAY = 86_400


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
    seconds = calendar.timegm((year, month, 1, hour, minute, second)) + (day - 1) * _DAY
    zone = found.group(7)
    if zone and zone != "Z":
        offset = int(zone[1:3]) * 3_600 + int(zone[4:6]) * 60
        seconds -= offset if zone[0] == "+" else -offset
    return float(seconds)


def formatDateTime(seconds: float) -> str:
    """Return the text of seconds since 1970: whole seconds of UTC."""
    days, rest = divmod(int(seconds), _DAY)
    # Days of a calendar that starts on March 1st, in periods of 400 years: leap days come last.
    era, dayOfEra = divmod(days + 719_468, 146_097)
    yearOfEra = (dayOfEra - dayOfEra // 1_460 + dayOfEra // 36_524 - dayOfEra // 146_096) // 365
    dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra // 4 - yearOfEra // 100)
    shifted = (5 * dayOfYear + 2) // 153
    day = dayOfYear - (153 * shifted + 2) // 5 + 1
    month = shifted + 3 if shifted < 10 else shifted - 9
    year = yearOfEra + era * 400 + (month <= 2)
    return f"{year:04}-{month:02}-{day:02}T{rest // 3_600:02}:{rest // 60 % 60:02}:{rest % 60:02}Z"
