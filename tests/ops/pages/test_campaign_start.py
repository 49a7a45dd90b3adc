"""Starting a campaign on the operations page: upload, checks, preview, start."""

import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import Engine, func, select
from starlette.applications import Starlette
from temporalio.client import Client

from ops.app import create_app
from ops.settings import OpsSettings
from signedfor.campaigns.progress import WorkflowState, fetch_workflow_state
from signedfor.consent import Reason, Source, Suppression
from signedfor.contract import CampaignState
from signedfor.store.audit_log import AuditLog
from signedfor.store.campaign_uploads import LIFETIME, CampaignUploads
from signedfor.store.campaigns import Campaigns
from signedfor.store.database import transaction
from signedfor.store.suppressions import Suppressions
from signedfor.store.tables import campaign_upload_parts, campaign_uploads
from tests.ops.conftest import Browser
from tests.ops.pages.campaign_support import BODY, FILE, FORM, NUMBERS, hidden, upload, words
from tests.signedfor.campaigns.support import message
from tests.workflows.fakes import SENDER


@pytest.fixture
def app(ops_settings: OpsSettings, sqlite_engine: Engine, temporal: Client) -> Starlette:
    """The application with a Temporal server, and small uploads."""
    settings = ops_settings.model_copy(update={"ops_max_upload_mb": 1})
    return create_app(settings, client=temporal, engine=sqlite_engine)


def _is_empty(folder: Path) -> bool:
    return not list(folder.iterdir())


def _kept(engine: Engine) -> int:
    """How many parts of files are kept."""
    with transaction(engine, read_only=True) as connection:
        return connection.execute(
            select(func.count()).select_from(campaign_upload_parts)
        ).scalar_one()


def _actions(engine: Engine) -> list[str]:
    return [each.action for each in AuditLog(engine).entries() if each.action != "sign-in"]


async def _has_workflow(temporal: Client, campaign_id: str) -> bool:
    return await fetch_workflow_state(temporal, campaign_id) is not WorkflowState.NOT_STARTED


async def test_the_preview_says_what_would_be_sent(
    actor: Browser, sqlite_engine: Engine, temporal: Client
) -> None:
    """As the command line does, with masked numbers; nothing is started or recorded."""
    Suppressions(sqlite_engine).record(
        Suppression(
            recipient=NUMBERS[1], reason=Reason.MANUAL, source=Source.OPERATOR, evidence="-"
        ),
        by="ops",
    )

    answer = await upload(actor)

    assert 200 == answer.status_code
    read = words(answer)
    assert "Send to 3 recipients?" in read
    assert "Opted out 1, or unreachable; nothing is sent to them" in read
    assert "Segments 2 to send" in read
    assert "Duplicates none" in read
    assert "To +*******0000, 1 segment in GSM-7 Hi Ann 0, your code is C0." in read
    assert not any(number in answer.text for number in NUMBERS)
    assert [] == _actions(sqlite_engine)
    assert [] == Campaigns(sqlite_engine).newest(limit=1)
    assert not await _has_workflow(temporal, hidden(answer)["id"])


async def test_what_was_checked_is_started_once(
    actor: Browser, sqlite_engine: Engine, temporal: Client
) -> None:
    """With its derived id, however often the form is sent; then the file is not kept any more."""
    fields = hidden(await upload(actor)) | {"why": "the shop opens"}

    started = await actor.post("/campaigns/start", fields)
    again = await actor.post("/campaigns/start", fields)

    assert 303 == started.status_code
    assert started.headers["location"].startswith(f"/campaign?id={fields['id']}&done=Started.&")
    assert "started+earlier" in again.headers["location"]
    (record,) = Campaigns(sqlite_engine).newest(limit=5)
    assert (fields["id"], CampaignState.RUNNING, 3) == (
        record.campaign_id,
        record.state,
        record.rows,
    )
    assert BODY == record.message.body
    rows = Campaigns(sqlite_engine).page(record.campaign_id, after=0, limit=9)
    assert list(NUMBERS) == [row.to for row in rows]
    assert await _has_workflow(temporal, record.campaign_id)
    assert 0 == _kept(sqlite_engine)
    (entry,) = AuditLog(sqlite_engine).entries(filters={"action": "campaign.start"})
    assert (record.campaign_id, "the shop opens", "3 rows") == (
        entry.subject,
        entry.why,
        entry.details,
    )


async def test_another_process_of_the_page_starts_it(
    actor: Browser, ops_settings: OpsSettings, sqlite_engine: Engine, temporal: Client
) -> None:
    """The checked file is in the database, not in the process that has checked it."""
    fields = hidden(await upload(actor))
    other = create_app(ops_settings, client=temporal, engine=sqlite_engine)
    http = httpx.AsyncClient(
        transport=httpx.ASGITransport(other),
        base_url="http://127.0.0.1",
        cookies=actor.http.cookies,
    )
    async with http:
        answer = await Browser(http).post("/campaigns/start", fields)

    assert "done=Started." in answer.headers["location"]


async def test_the_same_file_again_starts_nothing(actor: Browser, sqlite_engine: Engine) -> None:
    """The preview says that it was started, and the start sends nothing twice."""
    await actor.post("/campaigns/start", hidden(await upload(actor)))

    preview = await upload(actor)
    answer = await actor.post("/campaigns/start", hidden(preview))

    assert "This campaign was started earlier" in words(preview)
    assert "started+earlier" in answer.headers["location"]
    assert 1 == len(Campaigns(sqlite_engine).newest(limit=5))
    assert ["campaign.start"] == _actions(sqlite_engine)


async def test_the_same_text_to_others_needs_a_yes(actor: Browser, sqlite_engine: Engine) -> None:
    """People in both files would get it twice."""
    await actor.post("/campaigns/start", hidden(await upload(actor)))
    preview = await upload(actor, FILE + "+15552000009,Zoë,C9\n")
    fields = hidden(preview)
    assert "recipients in both get it twice" in words(preview)

    refused = await actor.post("/campaigns/start", fields)
    assert 409 == refused.status_code
    assert 1 == len(Campaigns(sqlite_engine).newest(limit=5))

    answer = await actor.post("/campaigns/start", fields | {"again": "1"})
    assert "done=Started." in answer.headers["location"]


async def test_every_problem_of_a_file_is_listed(actor: Browser, sqlite_engine: Engine) -> None:
    """By line and column, never with a value; nothing is kept of it."""
    bad = f"to,name,code\n5558675344,Eve,C1\n{NUMBERS[0]},,C2\n{NUMBERS[0]},Ben,C3\n"

    answer = await upload(actor, bad)

    assert 400 == answer.status_code
    read = words(answer)
    assert "the file has 3 problems" in read
    assert "2 to must" in read or "2 to " in read
    assert "3 name is empty, and the text needs it" in read
    assert "4 to is already in line 3" in read
    assert not any(value in answer.text for value in ("5558675344", NUMBERS[0], "Eve", "Ben"))
    assert BODY in words(answer)
    assert 0 == _kept(sqlite_engine)


async def test_more_problems_than_are_listed(actor: Browser) -> None:
    """The number of all of them is shown."""
    rows = "".join(f"{number},Ann,C\n" for number in range(1500))

    read = words(await upload(actor, f"to,name,code\n{rows}"))

    assert "the file has 1,500 problems" in read
    assert "the first 1,000" in read


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"from": ""}, "Sender: is needed"),
        ({"body": " "}, "Text: is needed"),
        ({"body": "Hi {nobody}"}, "Text: {nobody} is not a column of the file"),
        ({"priority": "urgent"}, "Priority: must be normal or bulk"),
        ({"expires_at": "tomorrow"}, "Expires: must be a time"),
        ({"expires_at": "2020-01-01T00:00"}, "Expires: has passed"),
        ({"opens": "09:00"}, "Send window: must have both"),
        ({"opens": "25:00", "closes": "26:00"}, "Send window: must be HH:MM"),
        ({"days": "mon"}, "Send window: must have from and until, or quiet_hours"),
        ({"quiet_hours": "nowhere"}, "Quiet hours: has a name that is not known"),
        ({"opens": "09:00", "closes": "20:00", "time_zone": "Mars"}, "Time zone: is not an IANA"),
        ({"id": "no spaces allowed"}, "Campaign ID: must be 1 to 64"),
        ({"to_column": "phone"}, "no column phone; see “Column with the recipients”"),
        ({"tenant": "t15552000001"}, "Tenant contains this recipient's number"),
        ({"price": "-1"}, "Price per segment: must be a number from 0 to 1000"),
        ({"receipt_timeout_seconds": "0"}, "Wait for receipts: "),
        ({"receipt_timeout_seconds": "soon"}, "Wait for receipts: "),
        ({"on_unknown_outcome": "pray"}, "whether Twilio took a message: "),
        ({"tags": "no equals sign"}, "Tags: must be name=value"),
        ({"tags": "a=1\na=2"}, "Tags: has a name twice"),
    ],
)
async def test_a_field_that_cannot_be_used(
    fields: dict[str, str], sentence: str, actor: Browser
) -> None:
    """The form is shown again, names the field as it does itself, and keeps what was filled in."""
    answer = await upload(actor, **fields)

    assert (400, True) == (answer.status_code, sentence in words(answer)), words(answer)
    assert "--" not in words(answer)
    if "body" not in fields:
        assert BODY in words(answer)


@pytest.mark.parametrize("files", [{}, {"file": ("", "", "text/csv")}])
async def test_a_form_without_a_file(files: dict[str, object], actor: Browser) -> None:
    """It is asked for."""
    answer = await actor.post("/campaigns/preview", FORM, files=files or None)

    assert (400, True) == (answer.status_code, "File: is needed" in words(answer))


async def test_options_reach_the_message(actor: Browser, sqlite_engine: Engine) -> None:
    """Line breaks are those of the command line, so that the id is the same too."""
    fields: dict[str, Any] = {
        "body": "Hi {name},\r\nbye.",
        "category": "marketing",
        "tenant": "acme",
        "priority": "normal",
        "expires_at": "2099-01-31T09:00",
        "opens": "09:00",
        "closes": "20:00",
        "days": ["mon", "tue"],
        "quiet_hours": ["us"],
        "time_zone": "America/New_York",
        "id": "spring",
        "receipt_timeout_seconds": "3600",
        "on_unknown_outcome": "resend",
        "tags": "season=spring\r\n\r\n shop = 4 ",
    }

    await actor.post("/campaigns/start", hidden(await upload(actor, **fields)))

    (record,) = Campaigns(sqlite_engine).newest(limit=5)
    assert "spring" == record.campaign_id
    sent = record.message.model_dump(mode="json", by_alias=True)
    assert "Hi {name},\nbye." == sent["body"]
    assert ("marketing", "acme", "normal") == (sent["category"], sent["tenant"], sent["priority"])
    assert "2099-01-31T09:00:00Z" == sent["expires_at"]
    assert ["mon", "tue"] == sent["send_window"]["days"]
    assert "America/New_York" == sent["send_window"]["time_zone"]
    assert ["us"] == sent["send_window"]["quiet_hours"]
    assert ("09:00", "20:00") == (sent["send_window"]["from"], sent["send_window"]["until"])
    assert (3600, "resend") == (sent["receipt_timeout_seconds"], sent["on_unknown_outcome"])
    assert {"season": "spring", "shop ": " 4"} == sent["tags"]


async def test_a_price_is_for_the_estimate(actor: Browser) -> None:
    """It is no part of the message, and so not of the id."""
    plain, priced = await upload(actor), await upload(actor, price="0.01")

    assert "Cost not known; give a price, or set PRICE_PER_SEGMENT" in words(plain)
    assert "Cost 0.03 USD at 0.01 per segment" in words(priced)
    assert hidden(plain)["id"] == hidden(priced)["id"]


async def test_bad_rows_are_left_out_on_request(actor: Browser, sqlite_engine: Engine) -> None:
    """They are listed by line; the others are the same campaign as without them."""
    bad = FILE + "12,Eve,C\n" + NUMBERS[0] + ",Ann 0,C0\n"
    refused = await upload(actor, bad)
    whole = hidden(await upload(actor))

    previewed = await upload(actor, bad, skip_bad="1")
    read, fields = words(previewed), hidden(previewed)
    without_it = await actor.post(
        "/campaigns/start", {name: each for name, each in fields.items() if name != "skip_bad"}
    )
    started = await actor.post("/campaigns/start", fields)

    assert (400, 200, 400) == (
        refused.status_code,
        previewed.status_code,
        without_it.status_code,
    )
    assert "Send to 3 recipients?" in read
    assert "Skipped 2 bad rows" in read
    assert "2 problems" in read
    assert "5 to " in read
    assert "6 to is already in line 2" in read
    assert "12,Eve" not in previewed.text
    assert whole["id"] == fields["id"]
    assert 303 == started.status_code
    (record,) = Campaigns(sqlite_engine).newest(limit=5)
    assert 3 == record.rows
    assert "3 rows, 2 bad ones left out" == AuditLog(sqlite_engine).entries()[0].details


async def test_without_a_good_row_nothing_can_be_left_out(actor: Browser) -> None:
    """The problems are shown as usual."""
    answer = await upload(actor, "to,name,code\n12,Eve,C\n", skip_bad="1")

    assert (400, True) == (answer.status_code, "the file has 1 problem" in words(answer))


async def test_an_id_of_another_campaign_is_refused(actor: Browser) -> None:
    """With other rows or another text; the form stays."""
    await actor.post("/campaigns/start", hidden(await upload(actor, id="spring")))

    answer = await upload(actor, id="spring", body="Another text.")

    assert (409, True) == (answer.status_code, "already exists" in words(answer))


async def test_a_file_that_is_too_large(
    actor: Browser, sqlite_engine: Engine, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The sentence has the limit and its setting; nothing stays on disk."""
    folder = tmp_path_factory.mktemp("uploads")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tempfile, "tempdir", str(folder))
        answer = await upload(actor, b"to\n" + b"x" * 3_000_000)

    assert 413 == answer.status_code
    assert "larger than 1 MB, the limit that OPS_MAX_UPLOAD_MB sets" in answer.text
    assert _is_empty(folder)
    assert 0 == _kept(sqlite_engine)


async def test_what_was_checked_belongs_to_one_person(
    actor: Browser, sqlite_engine: Engine
) -> None:
    """Somebody else can neither start nor discard it."""
    fields = hidden(await upload(actor))
    await actor.post("/sign-out")
    await actor.sign_in("administer")

    for path in ("/campaigns/start", "/campaigns/discard"):
        assert 409 == (await actor.post(path, fields)).status_code
    assert [] == Campaigns(sqlite_engine).newest(limit=1)


async def test_what_was_checked_long_ago_is_not_started(
    actor: Browser, sqlite_engine: Engine
) -> None:
    """After an hour it must be checked again."""
    fields = hidden(await upload(actor))
    with transaction(sqlite_engine) as connection:
        connection.execute(
            campaign_uploads.update().values(created_at=datetime.now(UTC) - LIFETIME)
        )

    answer = await actor.post("/campaigns/start", fields)

    assert (409, True) == (answer.status_code, "Check it again" in answer.text)
    assert [] == Campaigns(sqlite_engine).newest(limit=1)


async def test_a_file_of_which_a_part_is_gone_is_not_started(
    actor: Browser, sqlite_engine: Engine
) -> None:
    """Half of the rows would be another campaign."""
    fields = hidden(await upload(actor, id="spring"))
    with transaction(sqlite_engine) as connection:
        connection.execute(campaign_upload_parts.delete())

    assert 409 == (await actor.post("/campaigns/start", fields)).status_code
    assert [] == Campaigns(sqlite_engine).newest(limit=1)


async def test_another_campaign_than_the_one_shown_is_not_started(
    actor: Browser, sqlite_engine: Engine
) -> None:
    """The id that the person has seen must be the file's."""
    fields = hidden(await upload(actor)) | {"id": "c-another"}

    assert 409 == (await actor.post("/campaigns/start", fields)).status_code
    assert [] == Campaigns(sqlite_engine).newest(limit=1)


async def test_a_checked_file_is_discarded(actor: Browser, sqlite_engine: Engine) -> None:
    """At once, not after the hour."""
    fields = hidden(await upload(actor))
    assert 1 == _kept(sqlite_engine)

    answer = await actor.post("/campaigns/discard", fields)

    assert "nothing+was+started" in answer.headers["location"]
    assert 0 == _kept(sqlite_engine)
    assert 409 == (await actor.post("/campaigns/start", fields)).status_code


async def test_it_has_expired_since_it_was_checked(
    actor: Browser, sqlite_engine: Engine, tmp_path: Path
) -> None:
    """The file is checked once more before it is started."""
    uploads = CampaignUploads(sqlite_engine)
    expired = message(BODY, expires_at=datetime.now(UTC) - timedelta(seconds=1))
    path = tmp_path / "file"
    path.write_text(FILE)
    with path.open("rb") as file:
        upload_id = uploads.add(file, expired, to_column="to", campaign_id="spring", by="act")

    answer = await actor.post("/campaigns/start", {"id": "spring", "upload": upload_id})

    assert (400, True) == (answer.status_code, "Expires: has passed" in answer.text)
    assert [] == Campaigns(sqlite_engine).newest(limit=1)


async def test_who_may_only_look_starts_nothing(looker: Browser) -> None:
    """There is no button, and the form is refused."""
    assert "/campaigns/new" not in (await looker.get("/campaigns")).text
    assert 403 == (await looker.get("/campaigns/new")).status_code


async def test_nothing_of_a_file_is_logged(
    actor: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither of a good one nor of a bad one."""
    caplog.set_level("DEBUG")

    await actor.post("/campaigns/start", hidden(await upload(actor)))
    await upload(actor, "to,name,code\n5558675344,Eve,C1\n")
    await upload(actor, b"to,name,code\n+15558675344,\xe4,C1\n")

    secrets = (*NUMBERS, "5558675344", "Ann 0", "Eve", SENDER)
    assert [] == [each for each in secrets if each in caplog.text]


async def test_the_reason_has_no_recipients_number(actor: Browser, sqlite_engine: Engine) -> None:
    """As for everything else that is done with a campaign; nothing is started."""
    fields = hidden(await upload(actor, id="spring"))

    answer = await actor.post("/campaigns/start", {**fields, "why": "for 555-2000002"})

    assert 400 == answer.status_code
    assert "Reason: must not contain a recipient&#39;s number" in answer.text
    assert Campaigns(sqlite_engine).find("spring") is None
