"""
Advice about a file that is not TOML. Pure.
"""

from __future__ import annotations

import re

_LINE = re.compile(r"\(at line (\d+), column")
_KEY = re.compile(r"[A-Za-z0-9_.-]+")
_TYPOGRAPHIC = "\u201c\u201d\u201e\u2018\u2019\u00ab\u00bb"
_TRUTH = ("true", "false", "yes", "no", "on", "off")

_LINES = "a line is a table, such as [server], or KEY = VALUE, or a comment, which begins with #"
# Advice by the beginning of the parser's message.
_ADVICE = {
    "Cannot overwrite": "the same key is there twice: remove one of the two lines",
    "Cannot declare": "the same table is there twice: put all its keys below one of the two lines",
    "Expected ']'": 'write the dot and the quotes of a table\'s name: [proxy."proxy.example.com"]',
    "Expected newline": "write one KEY = VALUE in each line: texts in quotes, lists in brackets, comments after #",
    "Illegal character": "close the quotes in the line in which they begin",
    "Invalid statement": _LINES,
    "Invalid initial character": _LINES,
    "Unclosed array": "end the list with ]",
    "Unescaped '\\'": "write each backslash twice, or put the text in single quotes",
    "Unterminated string": "close the quotes in the line in which they begin",
}
_OTHERS = "compare the line with gateway.example.toml"


def advice(text: str, error: str) -> str:
    """
    Return advice about a syntax error. It shows a key at most, because a value may be a secret.

    @param error: the message of C{tomllib}.
    """
    found = _LINE.search(error)
    line = text.split("\n")[int(found[1]) - 1] if found else text.rstrip("\n").rpartition("\n")[2]
    if any(each in line for each in _TYPOGRAPHIC):
        return "write straight quotes, as programs do: \""
    key, _, value = line.partition("=")
    key, value = key.strip(), value.strip()
    shown = key if _KEY.fullmatch(key) else "KEY"
    if error.startswith("Invalid value"):
        if not value:
            return f"write a value after {shown} ="
        return "write true or false" if value.lower() in _TRUTH else f'write a text in quotes: {shown} = "..."'
    if error.startswith("Expected '='"):
        name = line.partition(":")[0].strip()
        return f"write = after the key: {name} = ..." if _KEY.fullmatch(name) else _LINES
    return next((each for beginning, each in _ADVICE.items() if error.startswith(beginning)), _OTHERS)
