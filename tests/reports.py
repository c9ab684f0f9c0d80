"""Items that services report."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

from attrs import asdict

from gateway.reports import StatusItem

NAME = re.compile(r"[a-z]+\.[a-z_]+|file")


def sentences(report: Iterable[StatusItem]) -> list[str]:
    """Return the sentences of items, after a check that a program can read each item as well."""
    items = list(report)
    for item in items:
        assert isinstance(item, StatusItem), item
        assert NAME.fullmatch(item.name), item.name
        json.dumps(asdict(item))
    return [str(item) for item in items]
