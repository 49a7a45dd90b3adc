from collections import Counter

from devtools.bench.crowd import POISON, SCRIPTS, Kind, bystanders, poison_crowd, storm_crowd


def test_a_seed_reproduces_its_crowd() -> None:
    """The same seed hands in the same messages at the same times; another seed does not."""
    first, again, other = (
        storm_crowd(seed, messages=200, seconds=30, later_tries=True) for seed in (7, 7, 8)
    )

    assert first == again
    assert first != other


def test_a_crowd_has_all_kinds() -> None:
    """As many messages as asked for, each with an id of its own, and some of every kind."""
    crowd = storm_crowd(7, messages=1000, seconds=100, later_tries=True)

    assert 1000 == len(crowd) == len({each.message_id for each in crowd})
    kinds = Counter(each.kind for each in crowd)
    elsewhere = {Kind.AFTER_STOP, Kind.BYSTANDER, *POISON}
    assert set(Kind) - elsewhere == set(kinds)
    assert all(count >= 10 for count in kinds.values())
    assert any(each.starts == 50 for each in crowd)


def test_only_twins_share_a_recipient() -> None:
    """What is said of a recipient is said of one message, except for twins."""
    crowd = storm_crowd(7, messages=1000, seconds=100, later_tries=True)

    shared = {to for to, count in Counter(each.to for each in crowd).items() if count > 1}
    assert shared
    assert {Kind.TWIN} == {each.kind for each in crowd if each.to in shared}


def test_later_tries_only_when_there_is_time() -> None:
    """They take five minutes: a short storm has none."""
    crowd = storm_crowd(7, messages=1000, seconds=100, later_tries=False)

    assert Kind.LATER not in {each.kind for each in crowd}


def test_bystanders_have_no_faults() -> None:
    """Whatever the plan says, nothing goes wrong for them, and their ids are their own."""
    poison = poison_crowd(first=100)
    innocent = bystanders(first=100 + len(poison))

    assert ((), {}) == SCRIPTS[Kind.BYSTANDER]
    assert {Kind.BYSTANDER} == {each.kind for each in innocent}
    assert set() == {each.to for each in poison} & {each.to for each in innocent}
