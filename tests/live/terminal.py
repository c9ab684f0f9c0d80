"""An interactive program on a terminal of its own: lines are typed, and its screen is read."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.live.processes import Program, holds


class Terminal(Program):
    """A tmux server without its user's configuration, and with one terminal."""

    name = "tmux"

    @classmethod
    def missing(cls, program: str) -> str | None:
        """Return the reason why the program cannot run here on a terminal, or None."""
        gone = [each for each in (program, "tmux") if not shutil.which(each)]
        return f"{gone[0]} is not installed" if gone else None

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self._socket = directory / "tmux"

    async def start(self, program: str, seconds: float = 5) -> None:
        """Run a program whose home is the directory."""
        home = {f"XDG_{kind}_HOME": str(self.directory / kind.lower()) for kind in ("CONFIG", "DATA", "CACHE")}
        environment = {"HOME": str(self.directory), "LC_ALL": "C.UTF-8", "TERM": "xterm", "TMUX": "", **home}
        # In the foreground, so that it is a child process, and ends with its program.
        self._run(["tmux", "-D", "-S", str(self._socket), "-f", "/dev/null"], environment)
        await holds(self._socket.exists, seconds, "tmux has its socket")
        self._tmux("new-session", "-d", "-x", "160", "-y", "60", program)

    def screen(self) -> str:
        """Return the visible text."""
        return self._tmux("capture-pane", "-p").rstrip()

    async def type(self, line: str) -> None:
        """Type one line; wait until the program shows it, then enter it."""
        self._tmux("send-keys", "-l", "--", line)
        await self.expect(line)
        self._tmux("send-keys", "Enter")

    def typeHidden(self, line: str) -> None:
        """Type a line that is not echoed."""
        self._tmux("send-keys", "-l", "--", line)
        self._tmux("send-keys", "Enter")

    async def expect(self, *texts: str, seconds: float = 5) -> None:
        """Wait until all these are visible at the same time; AssertionError, with the screen, if not."""
        try:
            await holds(lambda: all(text in self.screen() for text in texts), seconds, f"the screen shows {texts}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.screen()}") from None

    def _tmux(self, *command: str) -> str:
        return subprocess.run(
            ["tmux", "-S", str(self._socket), *command], check=True, capture_output=True, text=True, timeout=5
        ).stdout


class Profanity(Terminal):
    """A user of profanity."""

    async def login(self, jid: str, port: int, password: str, tls: bool = True) -> None:
        """
        Log in.

        @param tls: True for STARTTLS, with any certificate of the server; False for no encryption.
        """
        await self.start("profanity")
        await self.expect("Type '/help' to show complete help.")
        await self.type(f"/connect {jid} server 127.0.0.1 port {port} tls {'trust' if tls else 'disable'}")
        await self.expect("Enter password:")
        self.typeHidden(password)
        await self.expect(f"{jid} logged in successfully", *(["[TLS]"] if tls else []))
