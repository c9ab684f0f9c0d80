"""Compression: what was written is read, with bounded memory; a dictionary is never changed."""

from __future__ import annotations

from hashlib import sha256
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from benchmarks.peer_dictionary import play
from gateway.peers.compression import DICTIONARIES, Compressor, Decompressor, dictionary, zstd
from gateway.peers.frames import MAX_BATCH, MAX_FRAME, BadFrame
from tests.profiles import steady

# Of each released dictionary.
DIGESTS = {1: "61650b7ab33233f5ba92397293ff85c1eb4347067e9accf4542fe53483e1e8fa"}


class CompressionTests(SynchronousTestCase):
    """One direction."""

    def test_dictionaries(self) -> None:
        """Peers of other releases have the same dictionaries by the same numbers."""
        found = {number: sha256(dictionary(number).dict_content).hexdigest() for number in DICTIONARIES}
        self.assertEqual(found, DIGESTS)

    @steady
    @given(st.lists(st.binary(max_size=2_000), max_size=10))
    def test_batches(self, batches: list[bytes]) -> None:
        """Each batch can be read before the next one is written."""
        one, other = Compressor(1), Decompressor(1)
        self.assertEqual([other.decompress(one.compress(each)) for each in batches], batches)

    def test_largest(self) -> None:
        """A batch of bytes that cannot be compressed fits into a frame."""
        batch = Random(1).randbytes(MAX_BATCH)
        compressed = Compressor(1).compress(batch)
        self.assertLessEqual(len(compressed), MAX_FRAME)
        self.assertEqual(Decompressor(1).decompress(compressed), batch)

    @steady
    @given(st.binary(min_size=1, max_size=500))
    def test_anything(self, data: bytes) -> None:
        """Any bytes are a batch or an error."""
        other = Decompressor(1)
        try:
            found = other.decompress(data)
        except BadFrame:
            return
        self.assertLessEqual(len(found), MAX_BATCH)

    def test_bomb(self) -> None:
        """A few bytes that stand for many are refused; no more than a batch is decompressed."""
        one = zstd.ZstdCompressor(zstd_dict=dictionary(1), options={zstd.CompressionParameter.window_log: 17})
        bomb = one.compress(b"x" * 100_000_000, zstd.ZstdCompressor.FLUSH_BLOCK)
        self.assertLess(len(bomb), MAX_FRAME)
        with self.assertRaises(BadFrame) as raised:
            Decompressor(1).decompress(bomb)
        self.assertIn("more than 65536 bytes", str(raised.exception))

    def test_window(self) -> None:
        """A stream that needs more memory than agreed is refused."""
        one = zstd.ZstdCompressor(zstd_dict=dictionary(1), options={zstd.CompressionParameter.window_log: 24})
        with self.assertRaises(BadFrame):
            Decompressor(1).decompress(one.compress(b"x", zstd.ZstdCompressor.FLUSH_BLOCK))

    def test_end(self) -> None:
        """The stream has no end."""
        one = zstd.ZstdCompressor(zstd_dict=dictionary(1), options={zstd.CompressionParameter.window_log: 17})
        with self.assertRaises(BadFrame):
            Decompressor(1).decompress(one.compress(b"x", zstd.ZstdCompressor.FLUSH_FRAME))

    def test_ratio(self) -> None:
        """Messages of a room that was not trained on take at most 40 % of their bytes, TLS and frame included."""
        random = Random(17)
        raw = small = 0
        for _ in range(6):
            stream = Compressor(DICTIONARIES[0])
            for each in play(random):
                size = len(stream.compress(each))
                if b"<body>" in each:
                    # A frame's header, the header of a TLS record, its type and its tag.
                    raw, small = raw + len(each), small + size + 2 + 22
        self.assertLess(small / raw, 0.4)
        self.assertGreater(raw, 20_000)
