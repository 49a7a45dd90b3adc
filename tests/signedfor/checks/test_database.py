"""The checks of the database by its URL, of which they change nothing."""

from pathlib import Path

from signedfor.checks.database import check_account_hold, check_breakers, check_database
from signedfor.store.account_hold import AccountHold
from signedfor.store.database import open_engine
from signedfor.store.rate_limiter import RateLimiter
from tests.signedfor.store.open_breaker import BECAUSE, open_breaker
from tests.workflows.fakes import SENDER


def test_a_migrated_database(database_url: str) -> None:
    """Nothing is wrong with it."""
    assert {"database": "ok", "reviews": "ok"} == {
        each.name: each.level.value for each in check_database(database_url)
    }


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """It lacks all migrations, and is not created."""
    (found,) = check_database(f"sqlite:///{tmp_path}/none.db")

    assert "fail" == found.level
    assert "Lacks migrations" in found.what
    assert not (tmp_path / "none.db").exists()


def test_a_database_that_does_not_answer() -> None:
    """The password is not shown."""
    (found,) = check_database("postgresql://user:secret@127.0.0.1:9/db")

    assert "fail" == found.level
    assert "secret" not in str(found)


def test_the_account_hold(sqlite_url: str) -> None:
    """By itself and among the others; with Twilio's code and what to do."""
    engine = open_engine(sqlite_url)
    AccountHold(engine).begin(20003)

    (found,) = check_account_hold(engine)
    engine.dispose()

    assert "(code 20003); messages wait." in found.what
    assert found.remedy
    assert found in check_database(sqlite_url)


def test_an_open_breaker(sqlite_url: str) -> None:
    """Which sender, masked, since when, because of what, and what to do."""
    engine = open_engine(sqlite_url)
    opened = open_breaker(engine, SENDER)

    (found,) = check_breakers(engine)
    RateLimiter(engine).resume(SENDER)
    closed = check_breakers(engine)
    engine.dispose()

    assert (
        f"+1500***0006 has been paused since {opened.opened_at:%Y-%m-%d %H:%M} UTC: {BECAUSE} "
        "Its messages wait."
    ) == found.what
    assert "fail" == found.level
    assert "signedfor senders resume" in str(found.remedy)
    assert [] == closed


def test_an_open_breaker_is_among_the_findings(sqlite_url: str) -> None:
    """Of `signedfor doctor`."""
    engine = open_engine(sqlite_url)
    open_breaker(engine, SENDER)
    engine.dispose()

    assert ["breaker"] == [each.name for each in check_database(sqlite_url) if each.level == "fail"]
