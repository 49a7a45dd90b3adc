"""A few messages at each of very many slow senders, whose slots are spread over the time.

Together they ask for less than the machine can do, so that what is measured is their pace.
"""

import statistics

from devtools.bench.harness.figures import Bound, Sample
from devtools.bench.harness.pace import used, worst_window
from devtools.bench.harness.sizes import Sizes
from devtools.bench.paced.ground import USED, Ground, whole_bounds, whole_figures

MANY = "many senders"
_LEAST_USED = "use of the rate, least of a sender (%)"
_WORST = "worst window of a message's length (x rate)"
_SENDERS = "+1500557{:04d}"


async def many_senders(ground: Ground) -> dict[str, Sample]:
    """Measure it."""
    lines, sizes = ground.lines, ground.sizes
    rate, length = sizes.slow_rate, 1 / sizes.slow_rate
    senders = [_SENDERS.format(number) for number in range(sizes.many_senders)]
    line = await ground.line_up(
        senders, each=sizes.each_sender, segments=1, rate=rate, apart=length / len(senders)
    )
    missing = await lines.until_posted(
        within=ground.patience(line, sizes.each_sender * length),
    )
    posted = await lines.posted()
    by_sender = [posted.of(sender) for sender in senders]
    uses = [100 * used(posts, rate=rate) for posts in by_sender]
    return {
        MANY: {
            "messages": line.messages,
            "segments": line.messages,
            USED: statistics.median(uses),
            _LEAST_USED: min(uses),
            # A second of such a sender holds one message or none: its window is as long as that.
            _WORST: max(worst_window(posts, seconds=length) for posts in by_sender),
            **whole_figures(line, posted, missing=missing),
        }
    }


def bounds(_sizes: Sizes) -> list[Bound]:
    """What must hold; a timer that is late by some tenths of a second does not spoil it."""
    return [
        Bound(side=MANY, figure=_LEAST_USED, at_least=98),
        Bound(side=MANY, figure=_WORST, at_most=2),
        *whole_bounds(MANY),
    ]
