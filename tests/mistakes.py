"""
Usual mistakes in the configuration file, each with the whole message: the source of the first part of
docs/mistakes.md, which C{python -m tests.mistakes} prints.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from attrs import field, frozen
from twisted.internet.testing import MemoryReactorClock

from gateway import service
from gateway.config.tables import ConfigError
from gateway.log.printable import printable
from gateway.tap import errorsIn

SERVER = '[server]\nendpoint = "tcp:127.0.0.1:5347"\nsecret = "s3cret"\n'
PROXY = '[proxy."proxy.example.com"]\ntarget = "bot@example.com"\n'

# The folder and the user in the messages.
FOLDER = "/etc/gateway"
USER = 990


@frozen
class Mistake:
    """
    One mistake.

    @ivar group: heading above it.
    @ivar lines: the lines with the mistake.
    @ivar message: everything that C{twistd gateway --check} writes to standard error.
    @ivar before: lines above these.
    @ivar after: lines below these.
    @ivar files: other files in the folder.
    @ivar mode: the mode of the configuration file; C{None} if it does not exist.
    """

    group: str
    title: str
    lines: str
    message: str
    before: str = SERVER
    after: str = ""
    files: Mapping[str, str] = field(factory=dict)
    mode: int | None = 0o600


def messageOf(mistake: Mistake, folder: Path) -> str:
    """Return the message that C{--check} prints for a configuration in an empty folder."""
    path = folder / "gateway.toml"
    for name, content in mistake.files.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o600)
    if mistake.mode is not None:
        text = mistake.before + mistake.lines + mistake.after
        path.write_bytes(text.encode(errors="surrogateescape"))
        path.chmod(mistake.mode)
    try:
        config = service.read(path, MemoryReactorClock())
    except ConfigError as error:
        found = errorsIn(path, error)
    else:
        found = "".join(f"warning: {printable(each)}\n" for each in service.warnings(config))
    return found.replace(str(folder), FOLDER).replace(f"uid {os.geteuid()}", f"uid {USER}")


