"""A relay before PostgreSQL that loses connections at chosen moments."""

from __future__ import annotations

import contextlib
import select
import socket
import threading

_COMMIT = b"COMMIT\0"


class Relay:
    """
    Passes connections on, one thread for each.

    @ivar port: on the loopback.
    @ivar isAway: True if connections are refused.
    @ivar isSilent: True if nothing is passed on; connections stay open.
    @ivar onCommit: what the next commit causes: "lost" if the server does not get it, "unanswered" if its answer is
        lost, with the connection; "silent" if the answer is lost, and the connection stays open.
    @ivar isAwayAfter: True if connections are refused after that commit.
    """

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.isAway = self.isSilent = self.isAwayAfter = False
        self.onCommit = ""
        self.commits = 0
        self._open: set[socket.socket] = set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """End all connections."""
        for each in list(self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End the relay."""
        self.isAway = True
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                if self.isAway:
                    client.close()
                else:
                    threading.Thread(target=self._pass, args=(client,), daemon=True).start()

    def _pass(self, client: socket.socket) -> None:
        with client, socket.create_connection(("127.0.0.1", self._server)) as server, contextlib.suppress(OSError):
            self._open |= {client, server}
            isLosing = False
            while True:
                ready, _, _ = select.select([client, server], [], [])
                for each in ready:
                    data = each.recv(65_536)
                    if not data:
                        return
                    if self.isSilent:
                        continue
                    if each is client and _COMMIT in data:
                        self.commits += 1
                        how, self.onCommit = self.onCommit, ""
                        if how and self.isAwayAfter:
                            self.isAway = True
                        if how == "lost":
                            return
                        self.isSilent = how == "silent"
                        isLosing = how == "unanswered"
                    elif each is server and isLosing:
                        return
                    (server if each is client else client).sendall(data)
