"""The fields that all messages of a campaign share."""

import pytest
from pydantic import ValidationError

from signedfor.contract import CampaignMessage
from signedfor.contract.fields import problems_in

FIELDS = {"from": "+15005550006", "body": "Hi {name}"}


def _problems(**fields: object) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        CampaignMessage.model_validate({**FIELDS, **fields})
    return dict(problems_in(caught.value))


def test_a_campaign_cannot_be_urgent() -> None:
    """The urgent priority is for messages such as one-time codes."""
    problem = "must be normal or bulk: an urgent campaign would delay one-time codes"

    assert {"priority": problem} == _problems(priority="urgent")
    assert "bulk" == CampaignMessage.model_validate(FIELDS).priority
    assert "normal" == CampaignMessage.model_validate({**FIELDS, "priority": "normal"}).priority


def test_a_template_may_be_longer_than_a_message() -> None:
    """Its placeholders are replaced with values of another length."""
    body = "{name}" * 1600

    assert body == CampaignMessage.model_validate({**FIELDS, "body": body}).body
    assert {"body": "is longer than 10000 characters"} == _problems(body="x" * 10_001)
