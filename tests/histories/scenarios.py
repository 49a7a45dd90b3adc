"""Every scenario by name."""

from tests.histories import (
    bad_inputs,
    campaigns,
    cancels,
    dead_letter_jobs,
    dead_letters,
    inbound,
    limits,
    messages,
    receipts,
    unknowns,
)
from tests.histories.recording import Play, plays_in
from tests.histories.refusals import TERMINAL


def scenarios() -> dict[str, Play]:
    """All scenarios; the name of a scenario is also the name of its file."""
    found = dict(TERMINAL)
    for module in (
        messages,
        cancels,
        unknowns,
        limits,
        receipts,
        bad_inputs,
        dead_letters,
        dead_letter_jobs,
        inbound,
        campaigns,
    ):
        plays = plays_in(module)
        assert not found.keys() & plays.keys(), f"{module.__name__} repeats a name"
        found |= plays
    return found
