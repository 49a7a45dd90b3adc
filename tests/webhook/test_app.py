import asyncio
from datetime import UTC, datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import Engine
from temporalio.client import Client

from signedfor.store.database import open_engine
from signedfor.store.inbound import Watermarks
from tests.webhook.support import PERSON, SENDER, SETTINGS, Twilio, metric
from webhook.app import create_app


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/docs",
        "/redoc",
        "/openapi.json",
        "/webhook",
        "/webhook/status/",
        "/webhook/inbound/",
        "/healthz/",
        "/sms/webhook/status",
        "//webhook/status",
    ],
)
async def test_other_paths_are_not_found(twilio: Twilio, path: str) -> None:
    """There are no redirects: they would be built from the Host header."""
    responses = [await twilio.http.get(path), await twilio.http.post(path)]

    assert [(404, {"detail": "Not Found"})] * 2 == [
        (response.status_code, response.json()) for response in responses
    ]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/webhook/status", "POST"),
        ("GET", "/webhook/inbound", "POST"),
        ("PUT", "/webhook/inbound", "POST"),
        ("OPTIONS", "/webhook/inbound", "POST"),
        ("POST", "/healthz", "GET"),
        ("POST", "/readyz", "GET"),
        ("DELETE", "/metrics", "GET"),
    ],
)
async def test_other_methods_are_not_allowed(
    twilio: Twilio, method: str, path: str, allowed: str
) -> None:
    """The response names the allowed method; Twilio's GET is not supported."""
    response = await twilio.http.request(method, path)

    assert (405, {"detail": "Method Not Allowed"}) == (response.status_code, response.json())
    assert allowed in response.headers["allow"]


async def test_metrics_have_known_labels_only(twilio: Twilio) -> None:
    """Requests are counted by path, method and code; unknown paths and methods are `other`."""
    await twilio.http.get("/healthz")
    await twilio.http.get(f"/{PERSON}")
    await twilio.http.request("BREW", "/healthz")
    await twilio.inbound("STOP")

    async def requests(**labels: str) -> float:
        return await metric(twilio.http, "signedfor_webhook_requests_total", **labels)

    assert 1 == await requests(path="/healthz", method="GET", code="200")
    assert 1 == await requests(path="/healthz", method="other", code="405")
    assert 1 == await requests(path="other", code="404")
    assert 1 == await requests(path="/webhook/inbound", method="POST", code="200")
    text = (await twilio.http.get("/metrics")).text
    assert PERSON not in text
    assert SENDER not in text
    names = {family.name for family in text_string_to_metric_families(text)}
    assert "signedfor_webhook_request_seconds" in names


async def test_two_apps_count_separately(
    client_without_server: Client, sqlite_engine: Engine
) -> None:
    """Each application has its own counters."""
    first, second = (
        Twilio.calling(create_app(SETTINGS, client=client_without_server, engine=sqlite_engine))
        for _ in range(2)
    )

    await first.http.get("/healthz")

    counts = [
        await metric(each.http, "signedfor_webhook_requests_total", path="/healthz")
        for each in (first, second)
    ]
    assert [1, 0] == counts


async def test_a_bug_in_an_endpoint_is_a_500(
    client_without_server: Client, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted, and the JSON response contains no details."""
    engine = open_engine(sqlite_url)
    with engine.connect() as connection:
        # A check that refuses every message: an IntegrityError, which is a bug and not an outage.
        connection.exec_driver_sql(
            "CREATE TRIGGER refuse BEFORE INSERT ON inbound_messages "
            "BEGIN SELECT RAISE(ABORT, 'refused'); END"
        )
        connection.commit()
    twilio = Twilio.calling(create_app(SETTINGS, client=client_without_server, engine=engine))

    response = await twilio.inbound("please stop texting me")

    assert (500, {"detail": "Internal error."}) == (response.status_code, response.json())
    assert 1 == await metric(twilio.http, "signedfor_webhook_requests_total", code="500")
    assert "Unexpected IntegrityError" in caplog.text
    assert not any(text in caplog.text for text in (PERSON, SENDER, "texting me"))
    engine.dispose()


async def test_a_webhook_says_which_workflow_it_starts(
    client_without_server: Client, sqlite_engine: Engine
) -> None:
    """In the database, where workers compare it."""
    since, prefix = datetime.now(UTC), "inbound-workflow:webhook:"
    app = create_app(SETTINGS, client=client_without_server, engine=sqlite_engine)
    watermarks = Watermarks(sqlite_engine)

    async with app.router.lifespan_context(app), asyncio.timeout(30):
        while not watermarks.names(prefix, since=since):  # noqa: ASYNC110 - the database
            await asyncio.sleep(0.05)
