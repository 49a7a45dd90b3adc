from pathlib import Path

from signedfor.contract.schema import schema_text


def test_the_committed_schema_is_the_models() -> None:
    """The schema in docs/ says what the models say; `signedfor.contract.schema` renews it."""
    committed = Path(__file__).parents[3] / "docs" / "contract.schema.json"

    assert schema_text() == committed.read_text(encoding="utf-8")
