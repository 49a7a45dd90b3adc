"""The checks of the database by its URL, of which they change nothing."""

from pathlib import Path

from signedfor.checks.database import check_account_hold, check_database
from signedfor.store.account_hold import AccountHold
from signedfor.store.database import open_engine


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
