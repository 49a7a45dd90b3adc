from dataclasses import replace

import pytest

from bench.campaigns import (
    BARE,
    CHECKED,
    HANDED_OVER,
    LOADED,
    UNDER_WAY,
    Pause,
    check_and_load,
    hand_over,
    under_way,
)
from bench.desk import desk_of
from bench.harness.house import furnish
from bench.harness.sizes import QUICK
from stack.local import LocalStack
from stack.processes import ProcessGroup

_FEW = replace(QUICK, campaign_rows=40, campaign_page=20, pause_every_seconds=0.5)


def test_only_what_came_while_it_held_is_after_a_pause() -> None:
    """What came before the answer, or once it was to go on, is not held against it."""
    pause = Pause(answered_within=0.5, answered_at=100, resumed_at=103)

    assert [0.25, 2] == pause.after_its_answer([99, 100, 100.25, 102, 103, 104])
    assert 3.5 == pause.lasted


@pytest.mark.integration
async def test_a_campaign_from_its_file_to_its_pause(stack: LocalStack) -> None:
    """Rows are checked, loaded and handed over, and while it is paused no POST begins."""
    with ProcessGroup() as group:
        house = await furnish(stack, group)
        with desk_of(house) as desk:
            checked = await check_and_load(desk, rows=50)
            (paused,) = (await under_way(desk, _FEW))[UNDER_WAY]
            handed = await hand_over(desk, _FEW)

    assert {CHECKED, LOADED} == set(checked)
    assert all(sample["rows/s"] > 0 for (sample,) in checked.values())
    assert all(sample["most memory (MB)"] > 20 for (sample,) in checked.values())
    assert 1 == paused["pauses"]
    assert 0 == paused["POSTs begun after the answer"]
    assert {HANDED_OVER: 2, BARE: 2} == {side: len(pages) for side, pages in handed.items()}
