"""
The lower limit: expat with empty start and end handlers on both incoming stanzas of each exchange.

Usage: floor.py EXCHANGES; prints, as JSON, the seconds of CPU and of time for one exchange, and the peak MiB.
"""

import json
import resource
import sys
import time
from xml.parsers import expat

import traffic

_CHUNK = 1 << 16
_BODY = 2000  # exchanges in the bytes that are parsed repeatedly


def main(exchanges: int) -> None:
    """Parse, and print the cost."""
    body = b"".join(
        traffic.request(n) + traffic.answer(n, traffic.RESOURCES[n % 3], traffic.token(n)) for n in range(_BODY)
    )
    chunks = [body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK)]
    parser = expat.ParserCreate("utf-8", " ")
    parser.StartElementHandler = lambda name, attributes: None
    parser.EndElementHandler = lambda name: None
    parser.Parse(traffic.streamHeader(traffic.COMPONENT))
    rounds = max(1, round(exchanges / _BODY))
    started, cpu = time.perf_counter(), time.process_time()
    for _ in range(rounds):
        for chunk in chunks:
            parser.Parse(chunk)
    cpu, elapsed = time.process_time() - cpu, time.perf_counter() - started
    json.dump(
        {
            "cpu": cpu / (rounds * _BODY),
            "elapsed": elapsed / (rounds * _BODY),
            "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        },
        sys.stdout,
    )


if __name__ == "__main__":
    main(int(sys.argv[1]))
