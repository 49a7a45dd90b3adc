from pathlib import Path
from typing import Any

from signedfor import contract
from signedfor.contract.schema import contract_schema, schema_text


def test_the_committed_schema_matches_the_models() -> None:
    """`python -m signedfor.contract.schema` updates the schema in docs/."""
    committed = Path(__file__).parents[3] / "docs" / "contract.schema.json"

    assert schema_text() == committed.read_text(encoding="utf-8")


def test_the_root_refers_to_every_definition() -> None:
    """So a code generator that starts at the root generates a type for each."""
    schema = contract_schema()

    assert "object" == schema["type"]
    assert set(schema["$defs"]) == _referenced(schema, schema["properties"])


def test_inputs_and_outputs_are_properties_of_the_root() -> None:
    """Each model that is sent or received on its own is a property there."""
    base_classes = {"ContractModel"}
    parts = {"CampaignMessage", "InboundMedia", "MessageChanges", "SendWindow"}
    models = {
        name
        for name, each in vars(contract).items()
        if isinstance(each, type) and issubclass(each, contract.ContractModel)
    }

    assert models - base_classes - parts == set(contract_schema()["properties"])


def test_every_field_is_described() -> None:
    """Also those of models that are in no schema, such as what a campaign's messages share."""
    undescribed = {
        f"{each.__name__}.{field}"
        for each in vars(contract).values()
        if isinstance(each, type) and issubclass(each, contract.ContractModel)
        for field, info in each.model_fields.items()
        if not info.description
    }

    assert set() == undescribed


def test_a_described_reference_is_still_a_reference() -> None:
    """Generators copy a type for each `$ref` that has anything beside it."""

    def mixed(part: Any) -> list[Any]:
        if isinstance(part, dict):
            here = [part] if "$ref" in part and len(part) > 1 else []
            return here + [found for each in part.values() for found in mixed(each)]
        return [found for each in part for found in mixed(each)] if isinstance(part, list) else []

    assert [] == mixed(contract_schema())


def _referenced(schema: dict[str, Any], part: Any) -> set[str]:
    """The definitions that a part of the schema refers to, directly or indirectly."""
    if isinstance(part, list):
        return set[str]().union(*(_referenced(schema, each) for each in part))
    if not isinstance(part, dict):
        return set()
    if isinstance(reference := part.get("$ref"), str):
        name = reference.removeprefix("#/$defs/")
        return {name} | _referenced(schema, schema["$defs"][name])
    return _referenced(schema, list(part.values()))
