from collections import Counter

from tests.faults.soak.workload import (
    SCRIPTS,
    UNSENDABLE,
    Kind,
    healthy_jobs,
    mixed_jobs,
    unsendable_jobs,
)


def test_a_seed_reproduces_its_workload() -> None:
    """The same seed gives the same messages at the same times; another seed does not."""
    first, again, other = (
        mixed_jobs(seed, messages=200, seconds=30, late_retries=True) for seed in (7, 7, 8)
    )

    assert first == again
    assert first != other


def test_a_workload_has_all_kinds() -> None:
    """As many messages as requested, each with its own id, and some of every kind."""
    jobs = mixed_jobs(7, messages=1000, seconds=100, late_retries=True)

    assert 1000 == len(jobs) == len({each.message_id for each in jobs})
    kinds = Counter(each.kind for each in jobs)
    elsewhere = {Kind.AFTER_STOP, Kind.HEALTHY, *UNSENDABLE}
    assert set(Kind) - elsewhere == set(kinds)
    assert all(count >= 10 for count in kinds.values())
    assert any(each.starts == 50 for each in jobs)


def test_only_duplicates_share_a_recipient() -> None:
    """Everything recorded about a recipient is about one message, except for duplicates."""
    jobs = mixed_jobs(7, messages=1000, seconds=100, late_retries=True)

    shared = {to for to, count in Counter(each.to for each in jobs).items() if count > 1}
    assert shared
    assert {Kind.DUPLICATE} == {each.kind for each in jobs if each.to in shared}


def test_late_retries_are_optional() -> None:
    """They take five minutes: a short soak has none."""
    jobs = mixed_jobs(7, messages=1000, seconds=100, late_retries=False)

    assert Kind.DELAYED not in {each.kind for each in jobs}


def test_healthy_messages_have_no_faults() -> None:
    """Twilio accepts and delivers them under any plan; their ids are unique."""
    unsendable = unsendable_jobs(first=100)
    healthy = healthy_jobs(first=100 + len(unsendable))

    assert ((), {}) == SCRIPTS[Kind.HEALTHY]
    assert {Kind.HEALTHY} == {each.kind for each in healthy}
    assert set() == {each.to for each in unsendable} & {each.to for each in healthy}
