"""Frames: each is read as it was written, however it is cut; nothing else is accepted."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from gateway.peers.frames import MAX_FRAME, BadFrame, FrameReader, Kind, written
from tests.profiles import steady, thorough

FRAMES = st.lists(st.tuples(st.sampled_from(Kind), st.binary(max_size=300)), max_size=8)


def read(reader: FrameReader) -> list[tuple[Kind, bytes]]:
    """Return all frames that are complete."""
    found = []
    while (frame := reader.next()) is not None:
        found.append(frame)
    return found


class FrameTests(SynchronousTestCase):
    """The reader and the writer."""

    @thorough
    @given(FRAMES, st.integers(1, 50))
    def test_pieces(self, frames: list[tuple[Kind, bytes]], size: int) -> None:
        """Frames are the same in pieces of any size."""
        data = b"".join(written(*each) for each in frames)
        reader = FrameReader()
        found = []
        for start in range(0, len(data), size):
            reader.put(data[start : start + size])
            found += read(reader)
        self.assertEqual(found, frames)

    @thorough
    @given(st.binary(max_size=2_000), st.integers(1, 50))
    def test_anything(self, data: bytes, size: int) -> None:
        """Any bytes are frames or an error, the same for pieces of any size; what was read can be written again."""

        def outcome(pieces: list[bytes]) -> tuple[list[tuple[Kind, bytes]], str]:
            reader = FrameReader()
            found: list[tuple[Kind, bytes]] = []
            try:
                for piece in pieces:
                    reader.put(piece)
                    while (frame := reader.next()) is not None:
                        found.append(frame)
            except BadFrame as error:
                return found, str(error)
            return found, ""

        whole = outcome([data])
        self.assertEqual(outcome([data[at : at + size] for at in range(0, len(data), size)]), whole)
        again = b"".join(written(*each) for each in whole[0])
        self.assertTrue(data.startswith(again))

    @steady
    @given(st.sampled_from(Kind), st.integers(0, MAX_FRAME))
    def test_sizes(self, kind: Kind, size: int) -> None:
        """A header takes one byte below 16 bytes, two below 2,048, three otherwise."""
        header = len(written(kind, b"x" * size)) - size
        self.assertEqual(header, 1 if size < 16 else 2 if size < 2_048 else 3)

    def test_refused(self) -> None:
        """Frames that are too long, of an unknown kind, or with a header that is longer than needed."""
        for data, why in (
            (written(Kind.STANZAS, b"x" * (MAX_FRAME + 1)), "at most"),
            (b"\xff\xff\xff\xff", "header"),
            (b"\x80\x80\x00", "longer than needed"),
            (b"\x07", "unknown kind 7"),
        ):
            reader = FrameReader()
            reader.put(data[:4])
            with self.assertRaises(BadFrame) as raised:
                reader.next()
            self.assertIn(why, str(raised.exception))
