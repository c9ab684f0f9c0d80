"""
Log events as lines: text, as twistd writes it, or JSON; pure.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from twisted.logger import LogLevel, eventAsText, formatEvent, formatEventAsClassicLogText

from gateway.log.printable import MAX_LINE

# Names in an event that are not copied as fields: Twisted's own, and those that every JSON object has.
_OTHERS = frozenset(
    ("time", "level", "part", "message", "traceback", "system", "format", "failure", "why", "isError", "source")
)

# Maximum number of items of a list, and of fields, in a JSON object.
_MAX_ITEMS = 100


def asText(event: dict[str, Any]) -> str:
    """Return an event as twistd writes it, with all its lines; empty if it has no text."""
    return formatEventAsClassicLogText(event) or ""


def asJson(event: dict[str, Any]) -> str:
    """
    Return an event as a JSON object in one line of ASCII; empty if it has no text.

    It has C{time} (UTC), C{level}, C{part}, which is the logger, C{message}, the C{traceback} of an exception, and
    the event's own fields: strings, numbers, booleans, and lists of strings. One of these is C{event}, the name.
    """
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    if not text:
        return ""
    # If the text was made printable, the event has no exception any longer.
    message = event.get("log_message") or formatEvent(event)
    if not text.startswith(message):
        message = text
    level = event.get("log_level", LogLevel.info)
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(event.get("log_time", 0.0), UTC).isoformat(timespec="milliseconds"),
        "level": level.name,
        "part": event.get("log_namespace", ""),
        "message": message,
    }
    if traceback := text[len(message) :].strip("\n"):
        line["traceback"] = traceback
    for name, value in list(event.items())[:_MAX_ITEMS]:
        if name not in _OTHERS and not name.startswith("log_") and (plain := _plain(value)) is not None:
            line[name] = plain
    # JSON does not escape the last control character of ASCII.
    return json.dumps(line).replace("\x7f", "\\u007f") + "\n"


def _plain(value: object) -> object:
    """Return a field as JSON can write it, with a bounded size; C{None} if it cannot."""
    if isinstance(value, str):
        return value[:MAX_LINE]
    if isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        return round(value, 3) if abs(value) < 1e15 else None
    if isinstance(value, list | tuple) and value and all(isinstance(each, str) for each in value):
        return [each[:MAX_LINE] for each in value[:_MAX_ITEMS]]
    return None
