"""One trace for a message: caller, worker, Twilio's callback, webhook, outcome."""

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from devtools.sandbox.accounts import DEFAULT_AUTH_TOKEN
from devtools.stack.local import ROOT, LocalStack
from signedfor.contract import Outcome
from tests.fixtures.otlp import Collector, ReceivedSpan, running_collector
from tests.fixtures.stack import TEXT, NewNumber, silent_stack
from tests.integration.support import (
    Caller,
    Sent,
    new_id,
    payload_settings,
    until,
    until_true,
)

pytestmark = pytest.mark.integration

_CALLER = """
import asyncio, sys

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from signedfor.client import Client

_, address, message_id, to, body = sys.argv
provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter()))
trace.set_tracer_provider(provider)


async def main():
    client = await Client.connect(address)
    with trace.get_tracer("shop").start_as_current_span("order"):
        await client.send({"to": to, "body": body}, message_id=message_id)


asyncio.run(main())
provider.shutdown()
"""


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    """The collector of all processes."""
    with running_collector() as running:
        yield running


@pytest.fixture(scope="module")
def traced_stack(
    collector: Collector, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LocalStack]:
    """A stack that exports traces."""
    with silent_stack(
        tmp_path_factory.mktemp("traced-stack"),
        OTEL_EXPORTER_OTLP_ENDPOINT=collector.url,
        OTEL_BSP_SCHEDULE_DELAY="100",
        LOG_FORMAT="json",
    ) as running:
        yield running


async def _send_from_a_process(stack: LocalStack, collector: Collector, to: str) -> Sent:
    """Send a message from a process of its own, within its span `order`."""
    sent = Sent(message_id=new_id(), to=to, stack=stack, client=await stack.client())
    # The receipt comes well after the create's answer, as it does in production.
    stack.sandbox.script(to, [{"callbacks": {"delay": 0.7}}])
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _CALLER, stack.temporal.address, sent.message_id, to, TEXT),
        env={
            "PATH": "/usr/bin:/bin",
            "LC_ALL": "C.UTF-8",
            "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url,
            **payload_settings(stack),
        },
        cwd=ROOT,
    )
    assert 0 == await process.wait()
    return sent


async def _ended_trace(collector: Collector, sent: Sent) -> list[ReceivedSpan]:
    """All spans of the message, once the last ones of worker and webhook have come."""
    wanted = {"CompleteWorkflow:SendMessage", "SignalWorkflow:delivery_status"}

    async def complete() -> list[ReceivedSpan]:
        spans = [each for each in collector.spans() if _is_of(each, sent.message_id)]
        return spans if wanted <= {each.name for each in spans} else []

    return await until(complete, "the whole trace")


def _is_of(span: ReceivedSpan, message_id: str) -> bool:
    return any(message_id in str(value) for value in span.attributes.values())


async def test_a_message_is_one_trace_over_three_processes(
    traced_stack: LocalStack, collector: Collector, new_number: NewNumber
) -> None:
    """It begins in the caller's span; each span names the message, and none anything personal."""
    person = new_number()
    sent = await _send_from_a_process(traced_stack, collector, person)
    assert Outcome.DELIVERED is (await sent.report()).outcome
    spans = await _ended_trace(collector, sent)
    (order,) = [
        each
        for each in collector.spans()
        if each.name == "order" and each.trace_id == spans[0].trace_id
    ]
    by_name = {each.name: each for each in spans}

    assert {order.trace_id} == {each.trace_id for each in spans}
    assert {sent.message_id} == {each.attributes.get("signedfor.message_id") for each in spans}
    assert {
        ("shop", "StartWorkflow:SendMessage"),
        ("signedfor-worker", "RunWorkflow:SendMessage"),
        ("signedfor-worker", "StartActivity:send"),
        ("signedfor-worker", "RunActivity:send"),
        ("signedfor-worker", "claim"),
        ("signedfor-worker", "POST to Twilio"),
        ("signedfor-webhook", "status callback"),
        ("signedfor-webhook", "SignalWorkflow:delivery_status"),
        ("signedfor-worker", "HandleSignal:delivery_status"),
        ("signedfor-worker", "CompleteWorkflow:SendMessage"),
    } == {(each.service, each.name) for each in spans}
    assert order.span_id == by_name["StartWorkflow:SendMessage"].parent_id
    post = by_name["POST to Twilio"]
    assert by_name["RunActivity:send"].span_id == post.parent_id
    assert post.span_id == by_name["status callback"].parent_id
    (row,) = sent.accepted()
    assert (201, row["sid"]) == (
        post.attributes["http.response.status_code"],
        post.attributes["twilio.message_sid"],
    )
    secrets = (person.lstrip("+"), TEXT, quote_plus(TEXT), DEFAULT_AUTH_TOKEN)
    assert [] == [each for each in secrets if each.encode() in collector.bodies()]
    # As many as without a trace: see test_cost.py.
    assert 13 == len(await sent.events())


async def test_log_lines_have_the_ids_of_message_run_and_trace(
    traced_stack: LocalStack, collector: Collector, new_number: NewNumber
) -> None:
    """A line and its trace can be found by each other."""
    sent = await _send_from_a_process(traced_stack, collector, new_number())
    await sent.report()
    spans = await _ended_trace(collector, sent)
    run_id = (await sent.handle.describe()).run_id

    lines = _lines(traced_stack.worker.log, sent.message_id)

    for text in ("Sent", "Ended: delivered"):
        (line,) = [each for each in lines if each["message"] == text]
        assert (run_id, spans[0].trace_id) == (line["run_id"], line["trace_id"])
        assert sent.accepted()[0]["sid"] == line["twilio_sid"]


def test_every_line_is_a_json_object(traced_stack: LocalStack) -> None:
    """Also what uvicorn, Temporal's SDK and its core log."""
    lines = [
        line
        for process in (traced_stack.worker, traced_stack.webhook)
        for line in process.log.read_text().splitlines()
    ]
    documents = [json.loads(line) for line in lines]

    assert {"uvicorn.error", "signedfor.worker", "temporalio.activity"} <= {
        each["logger"] for each in documents
    }
    assert [] == [each for each in documents if not each["time"].endswith("Z")]


async def test_a_message_of_an_untraced_caller_has_a_trace_from_its_first_attempt(
    traced_stack: LocalStack, collector: Collector, new_number: NewNumber
) -> None:
    """The callback's URL continues the trace of the attempt."""
    caller = Caller(stack=traced_stack, client=await traced_stack.client())
    sent = await caller.send(new_number())
    await sent.report()
    names = {"RunActivity:send", "claim", "POST to Twilio", "status callback"}

    def spans() -> list[ReceivedSpan]:
        return [each for each in collector.spans() if _is_of(each, sent.message_id)]

    await until_true(lambda: names <= {each.name for each in spans()}, "its spans")
    assert 1 == len({each.trace_id for each in spans()})


def test_the_callback_url_has_no_more_than_the_trace(
    traced_stack: LocalStack, collector: Collector
) -> None:
    """Ids of trace and span: nothing that a recipient or a carrier could be told by."""
    del collector
    urls = [each["status_callback"] or "" for each in traced_stack.sandbox.ledger()["accepted"]]

    assert urls
    assert [] == [
        url
        for url in urls
        if not re.search(
            r"\?message_id=[^&#]+&traceparent=00-[0-9a-f]{32}-[0-9a-f]{16}-0[13]#", url
        )
    ]


def _lines(log: Path, message_id: str) -> list[dict[str, str]]:
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return [each for each in lines if each.get("message_id") == message_id]
