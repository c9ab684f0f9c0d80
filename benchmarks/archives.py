"""
The time of a message beside a large archive: while nothing else happens, during searches, and during a backup.

This process is the component of all users. The archive is made first, in the file of the gateway's store. The exit
status is 1 if a message was lost or came twice, or if a search or the backup failed.
"""

import argparse
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import contestants
import fanout
import mucs
import rounds
import stalls
from fakeserver import Broken, FakeServer

from gateway.muc import archive_store
from gateway.muc.archive_values import ArchivedMessage, Retention
from gateway.muc.room import Settings
from gateway.muc.store import MIGRATIONS
from gateway.state.migrations import migrate
from gateway.state.sqlite import SqliteSession, connect

# Messages of one room: more exceed 32 MiB.
_OF_ROOM = 30_000
_OCCUPANTS, _SEARCHES = 20, 10
_READER = f"reader@{mucs.USERS}/phone"
_SEARCHED = f"old0@{mucs.ROOMS}"
_FORM = (
    "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>urn:xmpp:mam:2</value></field>"
    f"<field var='with'><value>{_SEARCHED}/nobody</value></field></x>"
)
_SEARCH = (
    f"<iq from='{_READER}' to='{_SEARCHED}' type='set' id='s'><query xmlns='urn:xmpp:mam:2'>{_FORM}</query></iq>"
).encode()


def fill(path: pathlib.Path, count: int) -> None:
    """Make a store with persistent rooms that have full archives."""
    retention = Retention(1_000_000, 1e9)
    with closing(connect(path, 1.0)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(SqliteSession(connection), MIGRATIONS)
        for number in range(-(-count // _OF_ROOM)):
            connection.execute("BEGIN")
            cursor, room = connection.cursor(), f"old{number}@{mucs.ROOMS}"
            messages = list(_messages(room, min(_OF_ROOM, count - number * _OF_ROOM)))
            archive_store.append(cursor, messages, retention)
            settings = {"persistent": True, "name": Settings().name}
            head = {"settings": settings, "creators": [], "isLocked": False, "subject": None, "card": None}
            cursor.execute("INSERT INTO records VALUES (?, 'room', '', ?)", (room, json.dumps(head)))
            connection.execute("COMMIT")


def _messages(room: str, count: int) -> Iterator[ArchivedMessage]:
    for number in range(count):
        user = f"user{number % 200}@{mucs.USERS}"
        yield ArchivedMessage(
            room=room,
            id=f"{os.urandom(12).hex()}",
            utc=int(time.time()) - 86_400 + number,
            nick=f"Nick{number % 200}",
            realJid=f"{user}/phone",
            person=user,
            role="participant",
            affiliation="none",
            occupantId="a" * 22,
            stanza=f"m{number}",
            payload=f"<body>{'What people write. ' * (1 + number % 12)}</body>",
        )


class Run:
    """A gateway with a large archive, and a small room in which users talk."""

    def __init__(self, server: FakeServer, contestant: contestants.Contestant) -> None:
        self._wire = server
        self._contestant = contestant
        self._room = fanout.Room(server)
        self._probe = stalls.Probe(contestant.http)
        self.rows: list[tuple[str, ...]] = []

    def close(self) -> None:
        """End the process that requests /healthz."""
        self._probe.close()

    def fillRoom(self) -> None:
        """Let the users join."""
        for _ in range(_OCCUPANTS):
            self._room.enter()
        join = "<x xmlns='http://jabber.org/protocol/muc'/>"
        self._wire.send(f"<presence from='{_READER}' to='{_SEARCHED}/reader'>{join}</presence>".encode())
        self._wire.readUntil(b"<subject", 10)

    def idle(self, seconds: float) -> None:
        """Measure while nothing else happens."""
        self._stage("nothing else", lambda elapsed: elapsed > seconds)

    def search(self, seconds: float) -> None:
        """Measure while one user has ten open searches through all messages of a room, which find nothing."""
        room, before = self._room, self._room.others
        self._wire.send(_SEARCH * _SEARCHES)
        sent = 0

        def again() -> None:
            nonlocal sent
            self._wire.send(_SEARCH * (room.others - before - sent))
            sent = room.others - before

        self._stage(f"{_SEARCHES} searches", lambda elapsed: elapsed > seconds, again)
        if not sent:
            raise Broken("no search was answered")

    def backUp(self) -> None:
        """Measure during a backup."""
        program = pathlib.Path(sys.executable).parent / "xmpp-gateway"
        command = [str(program), "state", "backup", "--config", "gateway.toml", "../backup.tar"]
        with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
            command[-1] = f"{folder}/backup.tar"
            environment = {**os.environ, "PYTHONPATH": str(pathlib.Path(__file__).resolve().parent.parent)}
            process = subprocess.Popen(
                command, cwd=self._contestant.directory, env=environment, stdout=subprocess.DEVNULL
            )
            self._stage("a backup", lambda elapsed: process.poll() is not None)
        if process.returncode:
            raise Broken(f"the backup failed: {process.returncode}")

    def _stage(
        self, name: str, isOver: Callable[[float], bool], between: Callable[[], None] = lambda: None
    ) -> None:
        self._probe.taken()
        started, times = time.perf_counter(), []
        while not times or not isOver(time.perf_counter() - started):
            sent = time.perf_counter()
            self._room.say()
            times.append(time.perf_counter() - sent)
            between()
        self.rows.append((name, str(len(times)), *_spread(times), *_spread(self._probe.taken())))


def _spread(times: list[float]) -> tuple[str, str, str]:
    """Return the median, the 99th percentile and the maximum in ms."""
    ordered = sorted(times)
    found = statistics.median(ordered), ordered[int(len(ordered) * 0.99)], ordered[-1]
    return f"{found[0] * 1e3:.1f}", f"{found[1] * 1e3:.1f}", f"{found[2] * 1e3:.1f}"


def main() -> int:
    """Make the archive, run the stages and print the table. Return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n\n")[0])
    parser.add_argument("--messages", type=int, default=1_000_000, help="in all archives (%(default)s)")
    parser.add_argument("--seconds", type=float, default=10.0, help="of a stage (%(default)s)")
    parser.add_argument("--markdown", action="store_true", help="print the table as Markdown")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="gateway-bench-") as folder:
        store = pathlib.Path(folder) / "store"
        fill(store, options.messages)
        size = store.stat().st_size
        server = FakeServer()
        contestant = contestants.archivedRooms(server.port, mucs.ROOMS, store)
    with closing(server), contestant:
        server.accept(mucs.ROOMS.encode())
        with closing(Run(server, contestant)) as run:
            try:
                run.fillRoom()
                run.idle(options.seconds)
                run.search(options.seconds)
                run.backUp()
            except Broken as reason:
                print(reason, file=sys.stderr)
                return 1
            journal = contestant.directory / "state" / f"{mucs.ROOMS}.rooms-wal"
            print(f"{options.messages} messages; the file has {size / 1e6:.0f} MB", end="")
            print(f", its journal {journal.stat().st_size / 1e6:.1f} MB at the end\n")
            heading = ("beside", "messages", "ms/message", "p99", "slowest", "/healthz ms", "p99", "slowest")
            print(rounds.table([heading, *run.rows], options.markdown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
