"""What the encryption of payloads costs: the product with it, against the product without.

Each round of each side has a fresh stack of its own: whether payloads are encrypted is a setting of
every process.
"""

from devtools.bench.environment import (
    PRODUCT,
    UNPACED,
    fresh_stack,
    log_progress,
    servers,
    set_up,
)
from devtools.bench.figures import Bound, Rounds, Sample, mean
from devtools.bench.report import Report
from devtools.bench.sizes import Sizes
from devtools.bench.throughput import RATE, measure_throughput

ENCRYPTED, CLEAR = "encrypted", "in clear"


async def run(sizes: Sizes) -> Report:
    """Measure it, in the order A, B, B, A."""
    samples: dict[str, list[Sample]] = {ENCRYPTED: [], CLEAR: []}
    for number in range(sizes.rounds):
        order = (ENCRYPTED, CLEAR) if number % 2 == 0 else (CLEAR, ENCRYPTED)
        found: dict[str, list[Sample]] = {side: [] for side in samples}
        for side in (*order, *reversed(order))[: sizes.legs * len(order)]:
            with fresh_stack(encrypted=side == ENCRYPTED, on_cluster=sizes.on_cluster) as (
                stack,
                group,
            ):
                environment = await set_up(stack, group)
                found[side].append(await measure_throughput(environment, PRODUCT, sizes))
            log_progress(f"round {number + 1} of {sizes.rounds}, {side}", found[side][-1])
        for side, legs in found.items():
            samples[side].append(mean(legs))
    return Report(
        benchmark="encryption",
        question="messages a second and CPU a message, with and without encrypted payloads",
        rounds=Rounds(samples),
        baseline=CLEAR,
        bounds=[Bound(side=ENCRYPTED, figure=RATE, at_least=0.9, against=CLEAR)],
        conditions={
            "messages": sizes.messages,
            "in flight": sizes.concurrency,
            **servers(sizes),
            **UNPACED,
        },
    )
