"""A campaign that runs to its end while workers and the Temporal server are killed."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable

from devtools.bench.campaigning.command import start_campaign
from devtools.bench.campaigning.desk import Desk, new_id, recipients
from devtools.bench.harness.figures import Bound, Sample
from devtools.bench.harness.house import OURS
from devtools.bench.harness.sizes import Sizes

KILLED = "killed"
_GAPS, _DOUBLES = "gaps", "doubles"
_PATIENCE_SECONDS = 180


async def killed(desk: Desk, sizes: Sizes) -> dict[str, list[Sample]]:
    """Measure it: `kill -9` when so much of it is posted, the server after the first worker.

    Where a worker dies in the middle of a POST, it is found out whether Twilio has the message; if
    not, it is sent again, as the campaign says. (Unless told so, a campaign's message would wait
    for somebody to decide.)
    """
    rows, campaign_id, since = sizes.killed_rows, new_id(), time.time()
    worker, server = desk.house.side(OURS).workers[0], desk.house.stack.temporal
    await start_campaign(desk, campaign_id, rows, "--on-unknown-outcome", "resend")
    victims = [worker, server, *[worker] * (sizes.kills - 1)]
    for number, victim in enumerate(victims, 1):
        posts = rows * number // (len(victims) + 1)
        await desk.until_posted(campaign_id, posts, since=since, within=_PATIENCE_SECONDS)
        await asyncio.to_thread(victim.kill)
        await asyncio.to_thread(victim.start)
    # Its own workflow sees that later: it looks for messages that run less and less often.
    await desk.until_ended(campaign_id, rows, within=_PATIENCE_SECONDS)
    wanted = [row["to"] for row in recipients(rows)]
    gaps, doubles = balance(wanted, (row["to"] for row in desk.accepted(campaign_id, since=since)))
    return {
        KILLED: [
            {
                "rows": rows,
                "seconds": time.time() - since,
                "kills": len(victims),
                _GAPS: gaps,
                _DOUBLES: doubles,
            }
        ]
    }


def bounds() -> list[Bound]:
    """What must hold."""
    return [Bound(side=KILLED, figure=figure, at_most=0) for figure in (_GAPS, _DOUBLES)]


def balance(wanted: Iterable[str], posted: Iterable[str]) -> tuple[int, int]:
    """How many recipients got nothing, and how many messages nobody was to get."""
    due, sent = Counter(wanted), Counter(posted)
    return (due - sent).total(), (sent - due).total()
