"""C{[log]}: the lines of a gateway that has been told to write them."""

from __future__ import annotations

import json
from io import StringIO

from twisted.application.service import Application
from twisted.logger import Logger, LogPublisher

from gateway.log.output import LogOutput, Standard
from gateway.tap import ConfiguredLog
from tests.effects.connections import PROXY, SERVER
from tests.effects.effect import HERE, Effect
from tests.effects.world import Gateway

FILE = f"{SERVER}{PROXY}[log]\n{HERE}"
LEVELS = ("debug", "info", "warn", "error", "critical")


def written(gateway: Gateway) -> dict[str, list[str]]:
    """Return the lines of a gateway under twistd, by the name of the file; those of standard output without one."""
    stdout = StringIO()
    output = LogOutput(Standard({"syslog": 0, "nodaemon": True}, stdout))
    ConfiguredLog(output).begin(gateway.service.config.log)
    output.attach(Application("gateway"))
    for part in ("gateway.proxy.handler", "gateway.roster.handler"):
        for level in LEVELS:
            getattr(Logger(part, observer=LogPublisher(output)), level)(level)
    found = {each.name: each.read_text() for each in gateway.folder.glob("*.log")}
    return {name: text.splitlines() for name, text in {"": stdout.getvalue(), **found}.items() if text}


def files(gateway: Gateway) -> list[str]:
    """Return the names of the files that are written; empty for standard output."""
    return sorted(written(gateway))


def areJson(gateway: Gateway) -> bool:
    """True if the lines are JSON."""
    [lines] = written(gateway).values()
    try:
        return all(json.loads(line) for line in lines)
    except ValueError:
        return False


def counts(gateway: Gateway) -> list[int]:
    """Return the number of levels that are written, for two parts."""
    [lines] = written(gateway).values()
    return [sum(f"[{part}" in line for line in lines) for part in ("gateway.proxy", "gateway.roster")]


EFFECTS = (
    Effect(
        "log.format",
        FILE,
        areJson,
        {"": False, 'format = "text"': False, 'format = "json"': True, 'format = "xml"': ["log.format"]},
    ),
    Effect(
        "log.level",
        FILE,
        counts,
        {
            "": [4, 4],
            'level = "debug"': [5, 5],
            'level = "info"': [4, 4],
            'level = "warn"': [3, 3],
            'level = "error"': [2, 2],
            'level = "critical"': [1, 1],
            'level = "warning"': ["log.level"],
        },
    ),
    Effect(
        "log.levels",
        FILE,
        counts,
        {
            "": [4, 4],
            'levels = { "gateway.roster" = "debug" }': [4, 5],
            'levels = { "gateway.roster.handler.RosterHandler" = "error" }': [4, 4],
            'levels = { "gateway.roster" = "error", "gateway.roster.handler" = "info" }': [4, 4],
            'levels = { "gateway" = "critical", other = "warn" }': [1, 1],
            'levels = { "gateway.rooster" = "debug" }': ['log.levels."gateway.rooster"'],
            'levels = { "gateway.roster" = "all" }': ['log.levels."gateway.roster"'],
            'levels = { "" = "debug" }': ['log.levels.""'],
        },
    ),
    Effect(
        "log.file",
        FILE,
        files,
        {
            "": [""],
            'file = "mine.log"': ["mine.log"],
            'file = "none/mine.log"': ["log.file"],
            'file = "."': ["log.file"],
            "file = 5": ["log.file"],
        },
    ),
)
