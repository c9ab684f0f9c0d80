"""
C{xmpp-gateway refresh}: refresh rosters in the running gateway.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import click
from attrs import define
from twisted.internet.task import deferLater

from gateway.cli.program import CommandFailed, Program, configured, readConfig, say
from gateway.cli.web import Answer, RunningGateway
from gateway.composition.reader import Config

# Seconds between two queries of the progress.
_EVERY = 0.5
_MAX_SHOWN = 20


@click.command
@configured
@click.option("--domain", help="The domain of the users, if the gateway has rosters of several.")
@click.option("--dry-run", is_flag=True, help="Only report what would be changed.")
@click.option("--force", is_flag=True, help="Remove contacts even if there are more than max_removals.")
@click.option("--stdin", "fromStdin", is_flag=True, help="Read further user names from standard input, one a line.")
@click.argument("users", metavar="USER...", nargs=-1)
@click.pass_obj
def refresh(
    program: Program,
    users: tuple[str, ...],
    fromStdin: bool,
    force: bool,
    dry_run: bool,
    domain: str | None,
    file: str | None,
) -> None:
    """
    Fetch the contacts of each USER from the web application, and apply them to the user's roster.

    USER is the part of an address before the @. Exit with 1 if a user could not be refreshed.
    """
    names = [*users, *(line.strip() for line in sys.stdin if line.strip())] if fromStdin else list(users)
    if not names:
        raise click.UsageError("name at least one user")

    async def main(reactor: Any) -> None:
        config = readConfig(file, reactor)
        table = _table(config, domain)
        roster = _Roster(program.gateway(config, reactor), f"/roster_admin/{quote(table.domain)}", table, reactor)
        options = "&".join(["dry_run=1"] * dry_run + ["force=1"] * force)
        body = json.dumps(names).encode()
        answer = await roster.request("POST", f"/refresh{'?' + options if options else ''}", body)
        if answer.status == 202:
            answer = await _followed(roster, answer, len(names), reactor)
        _report(answer)

    program.run(main)


def _table(config: Config, domain: str | None) -> Any:
    """Return the table of the domain's rosters."""
    tables = [each.table for each in config.services if each.kind == "roster"]
    found: dict[str, Any] = {table.domain: table for table in tables if hasattr(table, "domain")}
    if not found:
        raise CommandFailed("this configuration has no [roster] table, so there is nothing to refresh")
    if domain is None and len(found) == 1:
        return next(iter(found.values()))
    if domain not in found:
        given = "nothing" if domain is None else f'"{domain}"'
        raise CommandFailed(f"--domain: found {given}; allowed: {', '.join(found)}")
    return found[domain]


@define
class _Roster:
    """
    The resources of one domain.

    @ivar path: of the domain.
    @ivar table: its table, which may have a secret of signatures.
    """

    gateway: RunningGateway
    path: str
    table: Any
    reactor: Any

    async def request(self, method: str, path: str, body: bytes = b"") -> Answer:
        """Send a request, signed if the gateway expects that."""
        path = self.path + path
        headers = {"prefer": "respond-async", "content_type": "application/json"} if body else {}
        secret = self.table.signature_secret
        if secret is not None:
            time = str(int(self.reactor.seconds()))
            signed = b"\n".join((method.encode(), path.encode(), time.encode(), body))
            digest = hmac.new(secret.encode(), signed, hashlib.sha256).hexdigest()
            headers |= {"x_signature_time": time, "x_hub_signature_256": f"sha256={digest}"}
        return await self.gateway.request(method, path, body, **headers)


async def _followed(roster: _Roster, answer: Answer, users: int, reactor: Any) -> Answer:
    """Show the progress of a request until its answer is there, and return that."""
    path = "/results/" + str((answer.document or {}).get("result", "")).rpartition("/")[2]
    hidden = not sys.stderr.isatty()
    with click.progressbar(length=users, label="Refreshing", file=sys.stderr, hidden=hidden, show_pos=True) as bar:
        while answer.status == 202:
            done = (answer.document or {}).get("done")
            bar.update((done if isinstance(done, int) else 0) - bar.pos)
            await deferLater(reactor, _EVERY)
            answer = await roster.request("GET", path)
        bar.update(users - bar.pos)
    return answer


def _report(answer: Answer) -> None:
    """Print the result; exit with 1 if there are failures."""
    document = answer.document
    if not isinstance(document, dict):
        raise CommandFailed(f"the gateway answers with status {answer.status}: {answer.text.strip()[:500]}")
    offline = document.get("offline")
    counts = (
        ("users", document.get("updated")),
        ("failed", document.get("errors")),
        ("offline, not refreshed now", len(offline) if isinstance(offline, list) else 0),
    )
    said = ", ".join(f"{name}: {count}" for name, count in counts if count or name == "users")
    say(f"{document.get('message', '')}; {said}")
    for name, text in (("changes", ""), ("failed", ""), ("skipped", "skipped contacts: ")):
        found = document.get(name)
        entries = list(found.items()) if isinstance(found, dict) else []
        for user, reason in entries[:_MAX_SHOWN]:
            for shown in _changes(reason) if name == "changes" else [_text(reason)]:
                say(f"  {user}: {text}{shown}", err=name != "changes")
        if len(entries) > _MAX_SHOWN:
            say(f"  ... and {len(entries) - _MAX_SHOWN} further users", err=True)
    if document.get("status") != "ok" or document.get("errors"):
        raise SystemExit(1)


def _text(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _changes(items: object) -> Iterator[str]:
    """Yield a text for each change of a user's roster that would be made."""
    found = [each for each in items if isinstance(each, dict)] if isinstance(items, list) else []
    if not found:
        yield "no change"
    for item in found[:_MAX_SHOWN]:
        if item.get("subscription") == "remove":
            yield f"remove {item.get('jid')}"
        else:
            others = ", ".join(f"{key} {_text(value)}" for key, value in item.items() if key != "jid" and value)
            yield f"set {item.get('jid')}: {others}"
    if len(found) > _MAX_SHOWN:
        yield f"... and {len(found) - _MAX_SHOWN} further changes"
