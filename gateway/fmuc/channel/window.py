"""The sending window of a channel: congestion control as in RFC 5681, in stanzas. Pure."""

from __future__ import annotations

from attrs import define, field


@define
class Window:
    """
    The number of stanzas that may be on their way.

    @ivar most: maximum.
    @ivar size: the window; its fraction counts acknowledged stanzas.
    """

    most: int
    size: float = field(init=False)

    def __attrs_post_init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """
        Begin with half of the maximum. The other node acknowledges a quarter at once (rule 10); another quarter is
        on its way meanwhile.
        """
        self.size = max(1.0, self.most // 2)

    def acknowledged(self, count: int, used: int) -> None:
        """
        Grow by one for each window that is acknowledged.

        @param count: newly acknowledged stanzas.
        @param used: stanzas that were on their way before; a window that is not used up does not grow.
        """
        if used >= int(self.size):
            self.size = min(float(self.most), self.size + min(1.0, count / self.size))

    def halve(self) -> None:
        """No acknowledgement has come in time."""
        self.size = max(1.0, self.size / 2)
