"""`python -m devtools.bench`: every benchmark, or those that are named, and one report.

A missed bound is written to stderr, and with `--strict` the exit code is 1. The tables are
Markdown; `--tables FILE` prints those of an existing report.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from devtools.bench import (
    campaigns,
    consent,
    cost,
    encryption,
    growth,
    growth_list,
    latency,
    memory,
    pacing,
    pages,
    throughput,
    webhook,
)
from devtools.bench.report import Report, machine, missed, tables
from devtools.bench.rivals import run as rivals
from devtools.bench.sizes import FULL, QUICK, Sizes
from devtools.stack.processes import interrupt_on_signals
from devtools.stack.temporal_cluster import build

BENCHMARKS: dict[str, Callable[[Sizes], Awaitable[Report]]] = {
    "throughput": throughput.run,
    "encryption": encryption.run,
    "latency": latency.run,
    "webhook": webhook.run,
    "consent": consent.run,
    "cost": cost.run,
    "workers": throughput.run_workers,
    "memory": memory.run,
    "pacing": pacing.run,
    "campaigns": campaigns.run,
    "growth": growth.run,
    "growth-list": growth_list.run,
    "pages": pages.run,
}
"""A new benchmark is a function and a line here."""
ON_CLUSTER = frozenset({"throughput", "encryption", "latency", "workers", "growth-list"})
RIVALS = "rivals"
"""Only if it is named: it installs packages that nothing else needs. It has two reports."""


def main() -> int:
    """Run them, print the tables and write the report."""
    # So that servers and folders are removed when the benchmark is interrupted.
    interrupt_on_signals()
    parser = _parser()
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - {*BENCHMARKS, RIVALS}:
        parser.error(f"no such benchmark: {', '.join(sorted(unknown))}")
    if arguments.tables:
        document = json.loads(arguments.tables.read_text())
    else:
        sizes = QUICK if arguments.quick else FULL
        if arguments.cluster:
            if not arguments.names or set(arguments.names) - ON_CLUSTER:
                parser.error(f"--cluster is for {', '.join(sorted(ON_CLUSTER))}")
            build()
            sizes = replace(sizes, on_cluster=True)
        if arguments.rounds:
            sizes = replace(sizes, rounds=arguments.rounds)
        document = measure(
            arguments.names or list(BENCHMARKS),
            sizes,
            report=arguments.report,
            seed=arguments.seed,
            only=arguments.only,
        )
    print("\n".join(tables(document)), flush=True)
    broken = missed(document)
    for bound in broken:
        sys.stderr.write(f"MISSED: {bound}\n")
    return 1 if broken and arguments.strict else 0


def measure(
    names: list[str],
    sizes: Sizes,
    *,
    report: Path | None = None,
    seed: int = 1,
    only: Sequence[str] = (),
) -> dict[str, Any]:
    """The whole report of these benchmarks, in the file too, if one is named.

    It is written after each: hours of figures are not lost when the last benchmark fails.
    """
    document: dict[str, Any] = {"machine": machine(), "benchmarks": []}
    for name in names:
        sys.stderr.write(f"{name} ...\n")
        found = asyncio.run(_run(name, sizes, seed=seed, only=only))
        document["benchmarks"] += [each.document() for each in found]
        if report is not None:
            report.write_text(json.dumps(document, indent=1) + "\n")
    return document


async def _run(name: str, sizes: Sizes, *, seed: int, only: Sequence[str]) -> list[Report]:
    if name == RIVALS:
        return await rivals.run(sizes, seed=seed, only=only)
    return [await BENCHMARKS[name](sizes)]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m devtools.bench", description=__doc__.splitlines()[0] if __doc__ else None
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help=f"of {', '.join([*BENCHMARKS, RIVALS])}"
    )
    parser.add_argument("--rounds", type=int, help=f"of each side (default {FULL.rounds})")
    parser.add_argument(
        "--cluster", action="store_true", help="on the compose file's Temporal and PostgreSQL"
    )
    parser.add_argument("--seed", type=int, default=1, help="of the faults of `rivals` (default 1)")
    parser.add_argument("--only", nargs="+", default=[], metavar="CONTENDER", help="of `rivals`")
    parser.add_argument("--quick", action="store_true", help="only to see that it runs")
    parser.add_argument("--strict", action="store_true", help="exit code 1 when a bound is missed")
    parser.add_argument("--report", type=Path, help="write the report here, as JSON")
    parser.add_argument("--tables", type=Path, help="only print the tables of this report")
    return parser


if __name__ == "__main__":
    sys.exit(main())
