"""The contract as JSON Schema.

`python -m signedfor.contract.schema` writes `docs/contract.schema.json`.
"""

import json
import sys
from pathlib import Path  # noqa: TID251 - a command, no part of a workflow
from typing import Any

from pydantic.json_schema import models_json_schema

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
    MessageReport,
    MessageRequest,
    Progress,
    Resolution,
)

_TAKEN = (
    MessageRequest,
    DeadLetterRequest,
    DeliveryStatus,
    CancelRequest,
    Resolution,
    CampaignRequest,
    CampaignDecision,
)
_GIVEN = (
    MessageReport,
    DeadLetterReport,
    Progress,
    CancelResult,
    DeadLetterDetails,
    CampaignProgress,
    CampaignReport,
)


def contract_schema() -> dict[str, Any]:
    """One JSON Schema document with a definition for each thing that crosses the border."""
    _, schema = models_json_schema(
        [(model, "validation") for model in _TAKEN]
        + [(model, "serialization") for model in _GIVEN],
        by_alias=True,
        title="Signedfor's contract",
        description="Inputs, results, signals, updates and queries of SendMessage, DeadLetter and "
        "Campaign.",
    )
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def schema_text() -> str:
    """The document as it is committed."""
    return json.dumps(contract_schema(), indent=2, sort_keys=True) + "\n"


def main(path: str = "docs/contract.schema.json") -> None:
    """Write the document."""
    Path(path).write_text(schema_text(), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:2])
