"""
Escape untrusted text in the log, on the terminal and on status pages: it must not control the reader's screen.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.logger import ILogObserver, eventAsText, formatEvent
from zope.interface import provider

# Characters of one line, and of the whole text of one event.
MAX_LINE = 4096
MAX_EVENT = 64 * 1024

# Characters that control a terminal or the direction of text, end lines, or are not visible: all of the Unicode
# categories Cc, Cs, Zl and Zp, and those of Cf that have no glyph. A surrogate cannot even be encoded.
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)


def printable(text: str) -> str:
    r"""Return one line of text in which each unprintable character is replaced by an escape such as C{\x1b}."""
    if len(text) > MAX_LINE:
        text = f"{text[:MAX_LINE]}... ({len(text)} characters)"
    return _UNPRINTABLE.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return match[0].encode("unicode_escape", "surrogatepass").decode("ascii")


def _printableLines(text: str) -> str:
    """Return several lines of text, each printable, with a bounded total length."""
    if len(text) > MAX_EVENT:
        # Keep the end: a traceback ends with the exception.
        half = MAX_EVENT // 2
        text = f"{text[:half]}\n... ({len(text) - MAX_EVENT} characters are left out)\n{text[-half:]}"
    return "\n".join(map(printable, text.split("\n")))


@provider(ILogObserver)
def makePrintable(event: dict[str, Any]) -> None:
    """
    Make the text of a log event printable: message, traceback and system. This observer runs before all others, so
    that code which logs does not have to escape anything. A printable event is not changed.

    Line feeds are kept. Twisted's observers start every line except the first with a tab, and tabs in the message
    are escaped, so no text can look like a separate event.
    """
    system = event.get("log_system")
    if system is not None and printable(str(system)) != system:
        event["log_system"] = event["system"] = printable(str(system))
    text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    safe = _printableLines(text)
    if safe == text:
        return
    if "log_failure" in event:
        event["log_message"] = _printableLines(formatEvent(event))
    # Twisted's observers, new and legacy, take the text from these keys.
    for key in ("log_failure", "failure", "log_flattened", "format", "why"):
        event.pop(key, None)
    event.update(log_format="{log_printable}", log_printable=safe, message=())
