"""The retransmission timer of RFC 6298."""

from __future__ import annotations

from attrs import define

# Section 2.3 of RFC 6298: alpha and beta; section 2.2: K.
_ALPHA, _BETA, _K = 1 / 8, 1 / 4, 4
# Seconds: ticks come once a second.
_GRANULARITY = 1.0
# Limit of the exponent, so that the back-off is a number.
_MAX_DOUBLED = 16


@define
class RoundTrip:
    """
    The measured round trip of one path.

    @ivar first: seconds to wait while nothing was measured.
    @ivar least: minimum wait.
    @ivar most: maximum wait.
    @ivar smoothed: seconds; 0 if nothing was measured.
    """

    first: float
    least: float
    most: float
    smoothed: float = 0.0
    _variation: float = 0.0

    def measured(self, seconds: float) -> None:
        """Handle a measured round trip."""
        if not self.smoothed:
            self.smoothed, self._variation = max(seconds, 1e-3), seconds / 2
            return
        self._variation += _BETA * (abs(self.smoothed - seconds) - self._variation)
        self.smoothed += _ALPHA * (seconds - self.smoothed)

    def timeout(self, attempts: int = 0) -> float:
        """
        Return the seconds to wait for an answer.

        @param attempts: number of earlier attempts without one (section 5.5: "back off the timer").
        """
        wait = self.first
        if self.smoothed:
            wait = self.smoothed + max(_GRANULARITY, _K * self._variation)
        return min(self.most, max(self.least, wait) * 2.0 ** min(attempts, _MAX_DOUBLED))
