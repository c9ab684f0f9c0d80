"""
Many occupants join one room in bursts, get many messages in one burst, and then one large message.

This process is the server of all occupants. It counts every presence and every message that the gateway sends. The
exit status is 1 if the link was lost, or if the counts are wrong.
"""

import argparse
import sys
import time

import contestants
import mucs
from contestants import Contestant
from fakeserver import Broken, FakeServer

ROOM = f"room@{mucs.ROOMS}"
# Seconds that may pass without a byte.
_TIMEOUT = 60.0
_JOIN = "<presence from='{user}' to='{room}/n{number}'><x xmlns='http://jabber.org/protocol/muc'/></presence>"
_SAY = "<message from='{user}' to='{room}' type='groupchat' id='m{number}'><body>{body}</body></message>"
# The end of each stanza of a kind, and the number of bytes that may hold the beginning of one.
_ENDS = {"presence": b"</presence>", "message": b"</message>"}
_TAIL = 16
# Bytes of a message, of all copies of one, and of its elements.
_MAX_BODY, _MAX_COPIES, _ELEMENT_BYTES = 190_000, 64 * 1024 * 1024, 20


class Crowd:
    """
    One room with its occupants.

    @ivar received: number of bytes received from the gateway.
    """

    def __init__(self, server: FakeServer, contestant: Contestant) -> None:
        self._server = server
        self._contestant = contestant
        self.received = 0
        self.size = 0

    def join(self, count: int) -> None:
        """
        Send this number of joins in one burst; return when all occupants have each other's presence.

        @raise Broken: if stanzas are missing, or there are others.
        """
        first, self.size = self.size, self.size + count
        burst = "".join(_JOIN.format(user=_user(n), room=ROOM, number=n) for n in range(first, self.size))
        if not first:
            # The room waits for its owner's form.
            form = "<x xmlns='jabber:x:data' type='submit'/>"
            query = f"<query xmlns='http://jabber.org/protocol/muc#owner'>{form}</query>"
            burst += f"<iq from='{_user(0)}' to='{ROOM}' id='open' type='set'>{query}</iq>"
        # Each newcomer gets the presence of all occupants and its own; each occupant gets that of the newcomer.
        presences = sum(2 * number + 1 for number in range(first, self.size))
        self._exchange(burst.encode(), presence=presences, message=count)

    def say(self, count: int, body: str) -> None:
        """
        Send this number of messages in one burst; return when each occupant has all of them.

        @raise Broken: as above.
        """
        each = ((_user(number % self.size), number) for number in range(count))
        burst = "".join(_SAY.format(user=user, room=ROOM, number=number, body=body) for user, number in each)
        self._exchange(burst.encode(), message=count * self.size)

    def _exchange(self, burst: bytes, **expected: int) -> None:
        """
        Send a burst, and count the stanzas that come.

        @param expected: number of stanzas of each kind.
        """
        server = self._server
        server.send(burst)
        found = dict.fromkeys(_ENDS, 0)
        wanted = {**found, **expected}
        heard = time.monotonic()
        rest = b""
        while found != wanted:
            data = server.step(1.0)
            if data:
                heard = time.monotonic()
                self.received += len(data)
                data = rest + data
                for kind, end in _ENDS.items():
                    # Stanzas that were counted in the last piece are not counted again.
                    found[kind] += data.count(end) - rest.count(end)
                rest = data[-_TAIL:]
            if any(found[kind] > wanted[kind] for kind in found) or time.monotonic() > heard + _TIMEOUT:
                raise Broken(f"{found} came instead of {wanted}; last {rest!r}")


def _user(number: int) -> str:
    return f"u{number}@{mucs.USERS}/r"


def measure(size: int, burst: int, messages: int, large: int | None) -> None:
    """
    Measure one room; print a line for each step.

    @raise Broken: if the link was lost, or a stanza was lost or came twice.
    """
    server = FakeServer()
    try:
        with contestants.rooms(server.port, mucs.ROOMS, isArchived=True) as contestant:
            server.accept(mucs.ROOMS.encode())
            crowd = Crowd(server, contestant)
            base = contestant.memory("VmRSS")
            length = large or min(_MAX_BODY, _MAX_COPIES // size - _ELEMENT_BYTES)

            def told(what: str, started: float, cpu: float, before: int) -> None:
                megabytes = (crowd.received - before) / 1e6
                print(
                    f"{size:>5} {what:<44} {time.monotonic() - started:8.1f} s {contestant.cpu() - cpu:8.1f} s CPU "
                    f"{megabytes:9.1f} MB  peak {contestant.memory('VmHWM'):6.0f} MiB",
                    flush=True,
                )

            steps = (
                (f"join, {burst} in a burst", lambda: _joinAll(crowd, size, burst)),
                (f"{messages} messages in one burst", lambda: crowd.say(messages, "Hello, everybody!")),
                (f"one message of {length} bytes", lambda: crowd.say(1, "x" * length)),
            )
            print(f"{size:>5} {'at the start':<44} {'':>8}   {'':>8}       {'':>9}     now  {base:6.0f} MiB")
            for what, step in steps:
                started, cpu, before = time.monotonic(), contestant.cpu(), crowd.received
                step()
                told(what, started, cpu, before)
    finally:
        server.close()


def _joinAll(crowd: Crowd, size: int, burst: int) -> None:
    # The first join creates the room.
    crowd.join(1)
    while crowd.size < size:
        crowd.join(min(burst, size - crowd.size))


def main() -> int:
    """Measure each size. Return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, action="append", help="occupants; may be repeated (1000, 5000)")
    parser.add_argument("--burst", type=int, default=20, help="joins in one burst (%(default)s)")
    parser.add_argument("--messages", type=int, default=60, help="in one burst (%(default)s)")
    parser.add_argument("--large", type=int, help="bytes of the large message (as many as the room takes)")
    options = parser.parse_args()
    try:
        for size in options.size or (1_000, 5_000):
            measure(size, options.burst, options.messages, options.large)
    except Broken as error:
        print(f"failed: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
