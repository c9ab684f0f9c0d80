"""A fake web application in a process of its own: documents made in advance, HTTP/1.1, connections kept."""

import asyncio
import multiprocessing
import socket
from collections import Counter
from multiprocessing.connection import Connection

_HEAD_END = b"\r\n\r\n"
_NOT_FOUND = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"


class FakeApplication:
    """The process, as its owner sees it."""

    def __init__(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = listener.getsockname()[1]
        self._pipe, inside = multiprocessing.Pipe()
        self._process = multiprocessing.Process(target=_run, args=(listener, inside, self._pipe), daemon=True)
        self._process.start()
        listener.close()
        inside.close()

    def decide(self, documents: dict[str, bytes], tag: str) -> None:
        """Set the documents, by path; all of them have one entity tag."""
        self._pipe.send((documents, tag))
        self._pipe.recv()

    def asked(self) -> Counter[str]:
        """Return the paths that were requested since the last call, with their numbers."""
        self._pipe.send(None)
        asked: Counter[str] = self._pipe.recv()
        return asked

    def close(self) -> None:
        """End the process."""
        self._process.terminate()
        self._process.join()
        self._pipe.close()


class _State:
    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe
        self._answers: dict[str, bytes] = {}
        self._asked: Counter[str] = Counter()
        self._known = self._unchanged = b""

    def command(self) -> None:
        """Handle a command from the pipe; the process ends with the pipe."""
        try:
            said = self._pipe.recv()
        except EOFError:
            raise SystemExit from None
        if said is None:
            self._pipe.send(self._asked)
            self._asked = Counter()
            return
        documents, tag = said
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nETag: {tag}\r\nContent-Length: "
        self._answers = {
            path: f"{head}{len(document)}\r\n\r\n".encode() + document for path, document in documents.items()
        }
        self._known = f"if-none-match: {tag}\r\n".encode()
        self._unchanged = f"HTTP/1.1 304 Not Modified\r\nETag: {tag}\r\n\r\n".encode()
        self._pipe.send(None)

    def answer(self, head: bytes) -> bytes:
        """Answer one request."""
        path = head.split(b" ", 2)[1].decode()
        self._asked[path] += 1
        if path in self._answers and self._known in head.lower() + b"\r\n":
            return self._unchanged
        return self._answers.get(path, _NOT_FOUND)


class _Connection(asyncio.Protocol):
    def __init__(self, state: _State) -> None:
        self._state = state
        self._rest = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *heads, self._rest = (self._rest + data).split(_HEAD_END)
        for head in heads:
            self._transport.write(self._state.answer(head))


def _run(listener: socket.socket, pipe: Connection, other: Connection) -> None:
    # Both ends are open, so neither process ends.
    other.close()

    async def serve() -> None:
        state = _State(pipe)
        loop = asyncio.get_running_loop()
        loop.add_reader(pipe.fileno(), state.command)
        server = await loop.create_server(lambda: _Connection(state), sock=listener)
        await server.serve_forever()

    asyncio.run(serve())
