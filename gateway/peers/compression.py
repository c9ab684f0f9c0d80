"""
Compression of a direct link: zstd (RFC 8878) with a dictionary that both sides have. Pure.

Each direction is one stream: what earlier stanzas have in common with a later one is not sent again. Each batch is
flushed, so that the other side can read it at once.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib.resources import files

from gateway.peers.frames import MAX_BATCH, BadFrame

# Python 3.14 has the module; earlier ones have the same module in a package.
if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

# The dictionaries in this folder, the newest one first. A released one is never changed: peers agree on its number.
DICTIONARIES = (1,)

# Both sides keep the latest 2**17 bytes of stanzas, 128 KiB. A peer that asks for more memory is refused.
_WINDOW_LOG = 17
# Stanzas are short, and such links are slow: bytes cost more than time.
_LEVEL = 9


@cache
def dictionary(number: int) -> zstd.ZstdDict:
    """Return a dictionary."""
    return zstd.ZstdDict((files("gateway.peers") / f"xmpp-{number}.dict").read_bytes())


class Compressor:
    """One direction of a link: the sending side."""

    def __init__(self, number: int) -> None:
        parameters = zstd.CompressionParameter
        options: dict[int, int] = {
            parameters.compression_level: _LEVEL,
            parameters.window_log: _WINDOW_LOG,
            parameters.checksum_flag: 0,
            parameters.dict_id_flag: 0,
        }
        self._stream = zstd.ZstdCompressor(options=options, zstd_dict=dictionary(number))

    def compress(self, batch: bytes) -> bytes:
        """Return the compressed bytes of a batch of at most L{MAX_BATCH}; the other side can read all of it."""
        return self._stream.compress(batch, zstd.ZstdCompressor.FLUSH_BLOCK)


class Decompressor:
    """One direction of a link: the receiving side."""

    def __init__(self, number: int) -> None:
        options: dict[int, int] = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
        self._stream = zstd.ZstdDecompressor(zstd_dict=dictionary(number), options=options)

    def decompress(self, data: bytes) -> bytes:
        """
        Return the batch in the content of a frame.

        @raise BadFrame: if it cannot be read, or has more than L{MAX_BATCH} bytes. No more of it is decompressed.
        """
        try:
            batch = self._stream.decompress(data, MAX_BATCH + 1)
        except (zstd.ZstdError, EOFError) as error:
            raise BadFrame(f"stanzas that cannot be decompressed: {error}") from None
        if len(batch) > MAX_BATCH:
            raise BadFrame(f"a frame with more than {MAX_BATCH} bytes of stanzas")
        if self._stream.eof:
            raise BadFrame("the compressed stream has ended")
        return batch
