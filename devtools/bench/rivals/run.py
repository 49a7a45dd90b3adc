"""`python -m devtools.bench rivals`: two tables, performance and faults, of the same contenders."""

from collections.abc import Sequence
from dataclasses import replace

from devtools.bench.environment import PRODUCT
from devtools.bench.figures import Bound, Rounds
from devtools.bench.report import Report
from devtools.bench.rivals import faults, performance
from devtools.bench.rivals.contenders import RECEIPT_TIMEOUT_SECONDS, available
from devtools.bench.sizes import Sizes


class NoContender(Exception):
    """None of those that were asked for can run here."""


async def run(sizes: Sizes, *, seed: int = 1, only: Sequence[str] = ()) -> list[Report]:
    """Measure what can run here, and say what cannot."""
    contenders, missing = available(only)
    if not contenders:
        raise NoContender(f"Nothing to measure: {missing or ', '.join(only)}.")
    versions = {f"{each.name}:": each.version() for each in contenders}
    left_out = {f"{name} is left out:": reason for name, reason in missing.items()}
    speed = await performance.measure(contenders, sizes)
    stalled = {
        f"rounds of {name} that did not end:": sum(not sample for sample in samples)
        for name, samples in speed.by_side.items()
        if not all(samples)
    }
    counts = await faults.measure(contenders, sizes, seed=seed)
    return [
        Report(
            benchmark="rivals",
            question="the same job with others: speed and cost",
            rounds=speed,
            conditions={
                "messages": sizes.rival_messages,
                "in flight": sizes.rival_concurrency,
                "worker processes": 1,
                "idle messages": sizes.rival_idle_messages,
                **versions,
                **stalled,
                **left_out,
            },
        ),
        Report(
            benchmark="rivals, faults",
            question="the same job with others: messages that went wrong under the same faults",
            rounds=_without_empty_rows(counts),
            bounds=[
                Bound(side=PRODUCT, figure=what, at_most=0)
                for what in (faults.TWICE, faults.NEVER, faults.UNKNOWN)
                if PRODUCT in counts.by_side
            ],
            conditions={
                "messages of each": sizes.fault_messages,
                "seed": seed,
                "of these killed, and frozen": sizes.fault_batch,
                "frozen (s)": sizes.freeze_seconds,
                "receipt timeout (s)": RECEIPT_TIMEOUT_SECONDS,
                "waited for outcomes (s)": sizes.settle_seconds,
                **{f"workers of {each.name}:": each.max_workers for each in contenders},
                **left_out,
            },
        ),
    ]


def _without_empty_rows(counts: Rounds) -> Rounds:
    """Only what happened to somebody; the totals always."""
    totals = {faults.TWICE, faults.NEVER, faults.UNKNOWN}
    shown = {
        name
        for name in counts.figures()
        if name in totals or any(any(counts.values(side, name)) for side in counts.by_side)
    }
    return replace(
        counts,
        by_side={
            side: [{name: value for name, value in each.items() if name in shown} for each in all_]
            for side, all_ in counts.by_side.items()
        },
    )
