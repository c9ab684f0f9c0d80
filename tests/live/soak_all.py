"""
The fault run of all services, in its long form: C{make soak}, with the table and the charts of docs/soak.md.

The variable SECONDS changes its length, SEED repeats its faults. With REPORT=1, the page is written anew.
"""

from __future__ import annotations

import os
import sys
import time
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import chart
from tests.link.core import Side
from tests.link.records import Figures
from tests.live.case import scenario
from tests.live.link_storm import Scale as Talk
from tests.live.link_storm import seedOr
from tests.live.measures import Measures
from tests.live.servers import Ejabberd, Prosody
from tests.live.soak import KINDS, Scale, Site, Soak, SoakCase, accounts
from tests.live.visitors import CUT_OFF

DOCS = Path(__file__).resolve().parents[2] / "docs"
SECONDS = float(os.environ.get("SECONDS") or 600)
TALK = Talk(occupants=20, messages=100, faults=0, kills=0, servers=(), shortest=0, longest=0, rest=0, pause=0.1)
LONG = Scale(talk=TALK, seconds=SECONDS, rest=2.0, away=5.0)
# Largest growth of the memory, as a part, and longest stall, in seconds.
GROWTH, STALL = 0.05, 0.1
NAMES = {Side.A: "Prosody", Side.B: "ejabberd"}


class SoakTests(SoakCase, SynchronousTestCase):
    """Prosody and ejabberd."""

    serverClass, mirrorClass = Prosody, Ejabberd
    accounts = accounts(TALK)

    @scenario(3 * SECONDS + 300)
    async def test_soak(self) -> None:
        """
        Nothing that was accepted is lost or comes twice, each request is answered once, the memory does not grow,
        descriptors are closed, and there is no long stall.
        """
        soak = Soak(self, LONG, seedOr(int(time.time())), self.report)
        await soak.run()
        self.report("\n" + table(soak))
        if os.environ.get("REPORT"):
            write(soak)
        for measures in soak.measures.values():
            self.assertLess(measures.growth, GROWTH)
            self.assertLess(measures.longest, STALL)

    def report(self, line: str) -> None:
        """Write a line of the report."""
        sys.stdout.write(f"{line}\n")
        sys.stdout.flush()


def table(soak: Soak) -> str:
    """Return the figures of a run in Markdown, with a column for each site."""
    columns = [
        _column(site, soak.figures[site.domain.split(".")[0]], soak.measures[site.side]) for site in soak.sites
    ]
    lines = [["beside", *(NAMES[site.side] for site in soak.sites)], ["---"] * (1 + len(columns))]
    lines += [[name, *(column[name] for column in columns)] for name in columns[0]]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _column(site: Site, talk: Figures, measures: Measures) -> dict[str, str]:
    """Return the figures of a site by their names."""
    late = max(late for *_, late in measures.stalls())
    faults = {kind: str(site.faults[kind]) for kind in KINDS}
    return {
        **{kind: _requests(site, kind) for kind in ("proxy", "private storage", "rosters")},
        "messages in the room here": f"{talk.said:,}; {talk.refused.total()} refused; {talk.lost} {CUT_OFF}",
        "copies of them": f"{talk.deliveries:,}",
        **faults,
        "memory after the warm-up": f"{measures.medians()[0]:.1f} MiB (after {measures.warmAt:.0f} s)",
        "memory at the end": f"{measures.medians()[1]:.1f} MiB ({measures.growth:+.1%})",
        "open descriptors at the begin": str(measures.descriptors[0]),
        "the same at the end": str(measures.descriptors[1]),
        "longest stall": f"{measures.longest * 1_000:.0f} ms",
        "the same with waits for a processor": f"{late * 1_000:.0f} ms",
        "CPU time": f"{measures.cpu:.1f} s of {measures.seconds:.0f} s",
    }


def _requests(site: Site, kind: str) -> str:
    """Return the numbers of requests of a kind by outcome."""
    found: Counter[str] = Counter()
    for each in site.visitors:
        if each.kind == kind:
            found += each.outcomes
    results, cut = found.pop("result", 0), found.pop(CUT_OFF, 0)
    errors = ", ".join(f"{count} {name}" for name, count in found.most_common())
    return f"{results:,} results; {errors or 'no errors'}; {cut} cut off"


def write(soak: Soak) -> None:
    """Write the table and the charts into docs/soak.md."""
    page = DOCS / "soak.md"
    head, mark, rest = page.read_text().partition("<!-- table -->\n")
    _, end, tail = rest.partition("<!-- end -->\n")
    page.write_text(f"{head}{mark}{table(soak)}{end}{tail}")
    memory, stalls = {}, {}
    for site in soak.sites:
        name, measures = f"beside {NAMES[site.side]}", soak.measures[site.side]
        memory[name] = measures.memory
        stalls[name] = [(at, own * 1_000) for at, own, _ in measures.stalls()]
    images = DOCS / "images"
    (images / "soak-memory.svg").write_text(chart.lines(memory, None, "seconds", "resident memory, MiB"))
    (images / "soak-stalls.svg").write_text(
        chart.lines(stalls, STALL * 1_000, "seconds", "longest stall in each second, ms")
    )
