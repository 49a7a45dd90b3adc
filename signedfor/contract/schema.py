"""The contract as JSON Schema.

`python -m signedfor.contract.schema` writes `docs/contract.schema.json`.
"""

import json
import sys
from pathlib import Path  # noqa: TID251 - a command, no part of a workflow
from typing import Any

from pydantic.json_schema import GenerateJsonSchema, models_json_schema

from signedfor.contract import (
    CampaignDecision,
    CampaignProgress,
    CampaignReport,
    CampaignRequest,
    CancelRequest,
    CancelResult,
    DeadLetterDetails,
    DeadLetterReport,
    DeadLetterRequest,
    DeliveryStatus,
    InboundMessage,
    MessageReport,
    MessageRequest,
    Progress,
    Resolution,
)

_INPUTS = (
    MessageRequest,
    DeadLetterRequest,
    DeliveryStatus,
    CancelRequest,
    Resolution,
    CampaignRequest,
    CampaignDecision,
)
_OUTPUTS = (
    MessageReport,
    DeadLetterReport,
    Progress,
    CancelResult,
    DeadLetterDetails,
    CampaignProgress,
    CampaignReport,
    InboundMessage,
)


class _WithoutFieldTitles(GenerateJsonSchema):
    """Generators make a separate type of everything that has a title."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        del schema
        return False


def contract_schema() -> dict[str, Any]:
    """One JSON Schema document with a definition for each input and output of the contract.

    Its root is an object that refers to them all: generators make types only of what the root
    refers to.
    """
    references, schema = models_json_schema(
        [(model, "validation") for model in _INPUTS]
        + [(model, "serialization") for model in _OUTPUTS],
        by_alias=True,
        schema_generator=_WithoutFieldTitles,
        title="SignedforContract",
        description="Inputs, results, signals, updates and queries of SendMessage, DeadLetter and "
        "Campaign, and the input of your workflow for inbound messages.",
    )
    _wrap_references(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "type": "object",
        "properties": {model.__name__: reference for (model, _), reference in references.items()},
        **schema,
    }


def _wrap_references(schema: Any) -> None:
    """Put each `$ref` that has a description or default beside it into an `anyOf` of its own.

    Otherwise generators make a copy of the type for each such field.
    """
    if isinstance(schema, list):
        for each in schema:
            _wrap_references(each)
    elif isinstance(schema, dict):
        if "$ref" in schema and len(schema) > 1:
            schema["anyOf"] = [{"$ref": schema.pop("$ref")}]
        for each in schema.values():
            _wrap_references(each)


def schema_text() -> str:
    """The document as it is committed."""
    return json.dumps(contract_schema(), indent=2, sort_keys=True) + "\n"


def main(path: str = "docs/contract.schema.json") -> None:
    """Write the document."""
    Path(path).write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:2])
