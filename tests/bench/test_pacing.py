from dataclasses import replace

import pytest

from bench.harness.house import furnish
from bench.harness.sizes import QUICK
from bench.lines import lines_of, text
from bench.pacing import BACKLOG, BESIDE, IDLE, MANY, Ground, behind_one_sender, many_senders
from messaging.segments import count_segments
from stack.local import LocalStack
from stack.processes import ProcessGroup

_FEW = replace(QUICK, paced_messages=15, idle_messages=2, many_senders=3, each_sender=2)


@pytest.mark.parametrize("segments", [1, 2, 10])
def test_a_text_of_so_many_segments(segments: int) -> None:
    """What the reckoning counts on is what is sent."""
    assert segments == count_segments(text(segments)).count


@pytest.mark.integration
async def test_lines_at_one_sender_and_at_many(stack: LocalStack) -> None:
    """Every message waits before the first slot comes, is posted, and is in the figures."""
    with ProcessGroup() as group:
        house = await furnish(stack, group)
        with lines_of(house) as lines:
            ground = Ground(house, lines, _FEW, seconds_a_life=0.2)

            samples = await behind_one_sender(ground) | await many_senders(ground)
            posted = await lines.posted()

    assert {BACKLOG, IDLE, BESIDE, MANY} == set(samples)
    assert 0 == samples[BACKLOG]["not posted"] == samples[MANY]["not posted"]
    assert samples[BACKLOG]["set up before the first slot (s)"] > 0
    assert samples[BACKLOG]["use of the rate (%)"] > 10
    assert samples[BACKLOG]["worst second (x rate)"] > 0.2
    assert samples[BACKLOG]["urgent p99 (ms)"] > 0
    assert samples[MANY]["seconds"] >= samples[MANY]["seconds by the rates alone"] / 2
    assert 15 * 10 + 2 == sum(post.segments for post in posted.of("+15005560001"))
