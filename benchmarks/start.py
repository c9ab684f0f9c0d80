"""
Measures the start of a gateway, and its memory after the start, by the services that are configured.

Each configuration runs in turn, in a fresh process, on a fake server for each component.
"""

import json
import pathlib
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import ExitStack, closing
from functools import partial

import rounds
from contestants import Contestant
from fakeserver import Broken, FakeServer

_TREE = pathlib.Path(__file__).resolve().parent.parent
# Seconds from the last connection until memory is read.
_REST = 2.0

# Endpoints of the services are those of the fake servers.
_SERVER = """\
state_dir = "state"

[server]
endpoint = "tcp:127.0.0.1:9"
secret = "secret"
domain = "example.com"
"""
_HTTP = '[http]\nlisten = "tcp:0:interface=127.0.0.1"\n'
_TABLES = {
    "proxy": 'target = "implementation@example.com"',
    "rooms": "",
    "mirror": 'allow = ["*"]\nusers = ["example.com"]',
    "roster": 'domain = "example.com"\nurl = "http://127.0.0.1:9/%s"',
    "delegation": (
        'servers = ["example.com"]\nnamespaces = { "jabber:iq:private" = { handler = "private-storage" } }'
    ),
}
_ALL = "all, http"
_CONFIGURATIONS: dict[str, tuple[Iterable[str], str]] = {
    "proxy": (("proxy",), ""),
    "proxy, http": (("proxy",), _HTTP),
    "rooms": (("rooms",), ""),
    _ALL: (_TABLES, _HTTP),
}


def measure(name: str, tree: pathlib.Path) -> rounds.Figures:
    """
    Start a gateway, and end it.

    @param tree: the checkout whose gateway runs.
    @return: C{cpu}: us of the process until all components are connected; C{seconds}: the time until then;
        C{memory}: resident MiB L{_REST} seconds later.
    @raise Broken: if it does not start.
    """
    kinds, config = _CONFIGURATIONS[name]
    config = _SERVER + config
    with ExitStack() as ends:
        servers = {kind: ends.enter_context(closing(FakeServer())) for kind in kinds}
        for kind, server in servers.items():
            config += f'[{kind}."{kind}.example.com"]\nendpoint = "tcp:127.0.0.1:{server.port}"\n{_TABLES[kind]}\n'
        twistd = str(pathlib.Path(sys.executable).parent / "twistd")
        command = [twistd, "-n", "--pidfile=", "gateway", "--config", "gateway.toml"]
        environment = {"PYTHONPATH": str(tree)}
        started = time.perf_counter()
        gateway = Contestant(name, command, {"gateway.toml": config}, environment=environment)
        ends.enter_context(gateway)
        for kind, server in servers.items():
            server.accept(f"{kind}.example.com".encode())
        figures = {"cpu": gateway.cpu() * 1e6, "seconds": time.perf_counter() - started}
        time.sleep(_REST)
        return {**figures, "memory": gateway.memory("VmRSS")}


def main() -> int:
    """Run the rounds and print the tables. Return the exit status."""
    parser = rounds.newParser(__doc__ or "", list(_CONFIGURATIONS), 5)
    parser.add_argument("--tree", type=pathlib.Path, help="a checkout of another version, which runs in turns")
    options = parser.parse_args()
    trees = {"": _TREE, **({f" in {options.tree.name}": options.tree.resolve()} if options.tree else {})}
    measures: dict[str, Callable[[], rounds.Figures]] = {}
    # The names of the largest configurations, of the same version.
    largest: dict[str, str] = {}
    for name in options.only or _CONFIGURATIONS:
        for where, tree in trees.items():
            measures[name + where] = partial(measure, name, tree)
            largest[name + where] = _ALL + where
    try:
        for each in measures.values():
            # The first process may have to compile the modules.
            each()
    except Broken as reason:
        print(reason, file=sys.stderr)
        return 1
    found = rounds.gather(measures, options)
    if not found:
        return 1
    rows = [("tables", "CPU s", "s", "MiB", f"MiB / those of {_ALL}")]
    for name, figures in found.items():
        cells = [rounds.spread([f["cpu"] / 1e6 for f in figures], 2)]
        cells.append(rounds.spread([f["seconds"] for f in figures], 2))
        cells.append(rounds.spread([f["memory"] for f in figures], 1))
        both = zip(figures, found.get(largest[name], []), strict=False)
        # Of the same round.
        ratios = [one["memory"] / other["memory"] for one, other in both]
        rows.append((name, *cells, f"{statistics.median(ratios):.2f}" if ratios else ""))
    print(rounds.table(rows, options.markdown))
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
