"""
The sections of the status page: a summary, one for each component, and one for the files.

They are made from the items that services report, without knowledge of single services. So the items of a plugin
look like those of the shipped services.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from textwrap import dedent
from typing import Any

from twisted.web.template import Tag, tags

from gateway.http.plots import plots, size
from gateway.http.reports import Report, Stored
from gateway.log.printable import printable
from gateway.metrics.samples import History
from gateway.reports import StatusItem

# Items and rows of a component that the page has. All of them are on /status.
MAX_ITEMS = 60


def idOf(component: str) -> str:
    """Return the identifier of a component's section."""
    return f"c-{component}"


def outages(reports: Sequence[Report]) -> dict[str, list[str]]:
    """Return the components that are not connected, by their state, if several of them have the same."""
    found: dict[str, list[str]] = {}
    for each in reports:
        if each.isProblem and not each.isConnected:
            found.setdefault(each.state, []).append(each.component)
    return {state: components for state, components in found.items() if len(components) > 1}


def _problemCount(reports: Sequence[Report], others: Iterable[StatusItem]) -> int:
    """Return the number of problems; an outage of several components is one."""
    repeated = sum(len(components) - 1 for components in outages(reports).values())
    found = sum(each.isProblem + len(each.problems) for each in reports) - repeated
    return found + sum(each.isProblem for each in others)


def verdict(reports: Sequence[Report], others: Sequence[StatusItem]) -> str:
    """
    Return the state of everything in one sentence.

    @param others: the items that belong to no component.
    """
    up = sum(each.isConnected for each in reports)
    waiting = sum(not (each.isConnected or each.isProblem) for each in reports)
    links = f"{up} of {len(reports)} components are connected" if reports else "There are no components"
    if waiting:
        links += f", {waiting} on standby"
    return f"{links}. {_counted(_problemCount(reports, others), 'problem')}."


def title(reports: Sequence[Report], others: Sequence[StatusItem]) -> str:
    """Return the title of the page: it has the number of problems, for the tab of a browser."""
    found = _problemCount(reports, others)
    return f"{_counted(found, 'problem')}: XMPP gateway" if found else "XMPP gateway"


def contents(reports: Sequence[Report], kinds: Mapping[str, str]) -> Tag:
    """Return the list of components, with links to their sections."""
    rows = [
        tags.li(
            tags.a(each.component, href=f"#{idOf(each.component)}", id=f"to-{each.component}"),
            " ",
            tags.span(kinds.get(each.component, ""), class_="kind"),
            " ",
            _mark(each),
        )
        for each in reports
    ]
    content = tags.ul(*rows, class_="contents") if rows else tags.p("There are no components.")
    shared = [
        _problem(printable(f"{', '.join(components)}: {state}")) for state, components in outages(reports).items()
    ]
    return _section("summary", "Components", *shared, content)


def component(report: Report, kind: str, history: History | None, now: float, isShared: bool = False) -> Tag:
    """
    Return the section of a component.

    @param kind: the kind of its service; empty if it is not known.
    @param now: the time, as that of the samples.
    @param isShared: true if the summary has its state, as an outage of several components.
    """
    heading = (report.component, " ", tags.span(kind, class_="kind"), " ", _mark(report))
    others = [item for item in report.items if not item.isProblem]
    content: list[Any] = []
    if isShared:
        content.append(tags.p("Not connected, as others: see the ", tags.a("summary", href="#summary"), "."))
    elif report.isProblem:
        content.append(_problem(printable(report.state)))
    elif not report.isConnected:
        content.append(tags.p(printable(report.state)))
    content += map(_problemItem, report.problems[:MAX_ITEMS])
    if history is not None:
        content.append(tags.div(*plots(history, now), class_="plots"))
        stanzas, octets = history.totals
        content.append(tags.p(f"{stanzas:,} stanzas and {size(octets)} in both directions since the start."))
    content += _items(others, idOf(report.component))
    return _section(idOf(report.component), heading, *content)


def listed(identifier: str, heading: str, items: Sequence[StatusItem]) -> Tag:
    """Return a section of items that belong to no component, such as the files in the state folder."""
    problems = [_problemItem(each) for each in items if each.isProblem]
    others = [_sentence(each) for each in items if not each.isProblem]
    return _section(identifier, heading, *problems, tags.ul(*others) if others else "")


def fileItems(files: Iterable[Stored]) -> list[StatusItem]:
    """Return the items of files."""
    return [each.report() for each in files]


def _section(identifier: str, heading: Any, *content: Any) -> Tag:
    name = f"{identifier}-h"
    return tags.section(tags.h2(heading, id=name), *content, id=identifier, **{"aria-labelledby": name})


def _mark(report: Report) -> Tag:
    """Return the state of a component in a word; its colour is not needed to tell it."""
    if report.isProblem:
        return tags.strong("not connected" if not report.isConnected else "in conflict", class_="mark bad")
    if report.problems:
        return tags.strong(_counted(len(report.problems), "problem"), class_="mark warn")
    return tags.span("connected" if report.isConnected else "standby", class_="mark good")


def _problemItem(item: StatusItem) -> Tag:
    text = str(item)
    advice = item.values.get("advice")
    # A sentence usually contains its advice.
    if isinstance(advice, str) and advice and advice not in text:
        text = f"{text}\n{advice}"
    return _problem(*map(printable, text.rstrip("\n").split("\n")))


def _problem(*lines: str) -> Tag:
    return tags.div(tags.p(tags.strong("Problem: "), lines[0]), *_lines(lines[1:]), class_="problem")


def _lines(lines: Sequence[str]) -> Iterator[Tag]:
    """Yield the further lines of a sentence. Indented lines are to be pasted somewhere."""
    for isIndented, group in groupby(lines, lambda line: line.startswith(" ")):
        if isIndented:
            # A block that scrolls must be reachable by keyboard.
            block = tags.pre(tags.code(dedent("\n".join(group))), tabindex="0", role="group")
            yield block(**{"aria-label": "lines for the configuration"})
        else:
            # tags.p is a new element at each access.
            yield from (tags.p(each) for each in group)


def _items(items: Sequence[StatusItem], identifier: str) -> Iterator[Tag]:
    """Yield lists of sentences, and a table of each run of items with one name."""
    left = MAX_ITEMS
    sentences: list[Tag] = []
    for name, run in groupby(items, lambda item: item.name):
        group = list(run)
        if left <= 0:
            break
        shown = group[:left]
        left -= len(shown)
        if len(shown) > 1 and _areRows(shown):
            if sentences:
                yield tags.ul(*sentences)
            sentences = []
            yield _table(
                [_cells(each) for each in shown], list(shown[0].values), _words(name), f"{identifier}-{name}"
            )
        else:
            sentences += map(_sentence, shown)
    if sentences:
        yield tags.ul(*sentences)
    if len(items) > MAX_ITEMS:
        yield tags.p(f"{len(items) - MAX_ITEMS} more are on ", tags.a("/status", href="status"), ".")


def _areRows(items: Sequence[StatusItem]) -> bool:
    """True if the values of all items have the same names, and there are enough of them for a table."""
    names = items[0].values.keys()
    return len(names) > 1 and all(each.values.keys() == names for each in items)


def _sentence(item: StatusItem) -> Tag:
    first, *others = map(printable, str(item).rstrip("\n").split("\n"))
    hidden = [
        (name, value)
        for name, value in item.values.items()
        if isinstance(value, Mapping) and value and f"{{{name}}}" not in item.text
    ]
    return tags.li(first, *_lines(others), *(_counts(name, value) for name, value in hidden))


def _counts(name: str, counts: Mapping[str, float]) -> Tag:
    """Return a list of numbers by name that an item has, but its sentence does not show."""
    rows = [
        tags.li(f"{printable(str(each))}: {_cell(number)}") for each, number in list(counts.items())[:MAX_ITEMS]
    ]
    return tags.div(tags.p(f"{_words(name)}:"), tags.ul(*rows))


def _cells(item: StatusItem) -> list[Any]:
    return [_cell(value) for value in item.values.values()]


def _cell(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, Mapping):
        return "; ".join(f"{printable(str(name))}: {_cell(each)}" for name, each in value.items())
    if isinstance(value, tuple):
        return [tags.span(_cell(each), class_="part") for each in value]
    return printable(str(value))


def _table(rows: Sequence[Sequence[Any]], columns: Sequence[str], caption: str, identifier: str) -> Tag:
    head = tags.tr(*(tags.th(_words(each), scope="col") for each in columns))
    body = [tags.tr(tags.th(first, scope="row"), *(tags.td(each) for each in others)) for first, *others in rows]
    table = tags.table(tags.caption(caption), tags.thead(head), tags.tbody(*body))
    # A wide table scrolls in its own block, which must be reachable by keyboard.
    return tags.div(table, class_="scroll", tabindex="0", role="group", id=identifier, **{"aria-label": caption})


def _words(name: str) -> str:
    """Return a name of an item or a value as words: the part after the dot."""
    words = name.rpartition(".")[2].replace("_", " ")
    return words[:1].upper() + words[1:]


def _counted(count: int, noun: str) -> str:
    return f"{count or 'No'} {noun}{'' if count == 1 else 's'}"
