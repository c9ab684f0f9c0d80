"""Dates and times as text."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.muc.datetimes import formatDateTime, parseDateTime
from tests.profiles import steady

# Seconds since 1970, and their text.
TEXTS = {
    0: "1970-01-01T00:00:00Z",
    -1: "1969-12-31T23:59:59Z",
    951_827_696: "2000-02-29T12:34:56Z",
    4_107_542_400: "2100-03-01T00:00:00Z",
    -2_203_891_200: "1900-03-01T00:00:00Z",
    -62_135_596_800: "0001-01-01T00:00:00Z",
    -62_135_596_801: "0000-12-31T23:59:59Z",
    -62_198_755_200: "-001-01-01T00:00:00Z",
    253_402_300_799: "9999-12-31T23:59:59Z",
    253_402_300_800: "10000-01-01T00:00:00Z",
}
# Texts of other forms, and their seconds.
FORMS = {
    "20020910T23:08:25": 1_031_699_305.0,
    "2002-09-10T23:08:25.123456789Z": 1_031_699_305.0,
    "2002-09-10T23:08:25+01:30": 1_031_693_905.0,
    "2002-09-10T23:08:25-01:30": 1_031_704_705.0,
    "2001-02-31T00:00:00Z": 983_577_600.0,
    "2001-01-01T24:00:60Z": 978_393_660.0,
    "9999-12-31T24:00:00-99:99": 253_402_663_140.0,
    "0001-01-01T00:00:00+00:01": -62_135_596_860.0,
}
BAD = (
    *("", "yesterday", "2002-09-10", "2002-09-10T23:08", "2002-09-10 23:08:25Z", " 2002-09-10T23:08:25Z"),
    *("0000-01-01T00:00:00Z", "10000-01-01T00:00:00Z", "2002-00-10T23:08:25Z", "2002-13-10T23:08:25Z"),
    *("2002-09-00T23:08:25Z", "2002-09-32T23:08:25Z", "2002-09-10T25:08:25Z", "2002-09-10T23:60:25Z"),
    *("2002-09-10T23:08:61Z", "2002-09-10T23:08:25.Z", "2002-09-10T23:08:25+1:00", "٢٠٠٢-09-10T23:08:25Z"),
)


class DateTimeTests(SynchronousTestCase):
    """XEP-0082."""

    def test_format(self) -> None:
        """A time is whole seconds of UTC in any year; a fraction is cut off."""
        for seconds, text in TEXTS.items():
            self.assertEqual(formatDateTime(seconds), text)
            if seconds > 0:
                self.assertEqual(formatDateTime(seconds + 0.9), text)

    def test_parse(self) -> None:
        """Text in the form that is written, and in the other forms that are in use."""
        inRange = {text: seconds for seconds, text in TEXTS.items() if text[:4] >= "0001" and text[4] == "-"}
        self.assertEqual(len(inRange), 7)
        for text, seconds in (inRange | FORMS).items():
            self.assertEqual(parseDateTime(text), seconds, text)

    def test_bad(self) -> None:
        """Other text is no date."""
        for text in BAD:
            self.assertIsNone(parseDateTime(text), text)

    @steady
    @given(st.datetimes(timezones=st.just(UTC)))
    def test_same(self, date: datetime) -> None:
        """Both agree with the dates of the standard library."""
        date = date.replace(microsecond=0)
        text = date.isoformat().replace("+00:00", "Z")
        self.assertEqual(formatDateTime(date.timestamp()), text)
        self.assertEqual(parseDateTime(text), date.timestamp())
