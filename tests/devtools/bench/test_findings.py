from dataclasses import replace

from devtools.bench.books import Account
from devtools.bench.crowd import Done, Errand, Kind
from devtools.bench.findings import Findings, find
from signedfor.contract import Outcome
from signedfor.contract.failures import FailureClass
from tests.devtools.bench.crafting import GOOD, TO, a_report, account_with, at, begun, books_of

_PARKED = account_with(
    begun(0), report=a_report(Outcome.UNCONFIRMED, None, FailureClass.OUTCOME_UNKNOWN)
)


def _findings(*, good: int = 0, parked: int = 0, poisoned: int = 0) -> Findings:
    """Of that many messages, `poisoned` ones parked too."""
    models: list[tuple[Account, Kind]] = [
        *[(GOOD, Kind.PLAIN)] * good,
        *[(_PARKED, Kind.PLAIN)] * parked,
        *[(_PARKED, Kind.UNHEARD)] * poisoned,
    ]
    accounts, done = [], {}
    for number, (model, kind) in enumerate(models):
        account = replace(model, message_id=f"m-{number}")
        errand = Errand(message_id=account.message_id, to=TO, kind=kind, at=0)
        accounts.append(account)
        done[account.message_id] = Done(errand=errand, handed_in_at=at(0))
    return find(
        replace(books_of(), accounts=accounts),
        [],
        done=done,
        faults={},
        seed=1,
        storm_seconds=1,
        seconds_to_settle=1,
        quiet=True,
        strikes={},
        ended_by_itself=[],
    )


def test_one_in_a_thousand_may_be_parked() -> None:
    """More than that is a broken promise, though each of them has its dead letter."""
    assert _findings(good=2997, parked=2).is_clean
    assert not _findings(good=2996, parked=3).is_clean


def test_one_of_few_may_be_parked() -> None:
    """A short storm has fewer than a thousand, and twins that nobody can tell apart."""
    assert _findings(good=199, parked=1).is_clean
    assert not _findings(good=198, parked=2).is_clean


def test_poison_may_be_parked() -> None:
    """Twilio never answers it: neither it nor its number counts."""
    assert _findings(good=10, poisoned=5).is_clean
    assert 1 == _findings(good=1990, poisoned=12).parked_at_most
