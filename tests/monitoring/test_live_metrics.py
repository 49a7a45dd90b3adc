"""What the real system publishes: the metrics of rules and panels, well named, without secrets."""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
from prometheus_client.parser import text_string_to_metric_families
from temporalio import workflow
from temporalio.client import Client
from temporalio.runtime import Runtime
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from devtools.stack.local import LocalStack
from signedfor.contract import MESSAGES_QUEUE, RESOLVE_UPDATE, DeadLetterReport, Outcome, Resolution
from signedfor.contract.failures import FailureClass
from signedfor.contract.names import STATUS_PATH
from signedfor.temporal import worker_runtime
from signedfor.twilio.rates import SenderKind
from tests.fixtures.stack import NewNumber
from tests.integration.support import Caller, until
from tests.monitoring.support import (
    OF_PROMETHEUS,
    expressions,
    grouped_by,
    published,
    used,
)

pytestmark = [
    pytest.mark.integration,
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.timeout(240),
]

CANARY = "label-canary"
_ABROAD = "+447700900123"
"""A sender of a kind that no other test of the stack uses, so that counts are exact."""
_REFUSED = {"respond": "error", "code": 20422, "http_status": 400}
_FILTERED = {"final": "undelivered", "error_code": 30007}
_LATE = {"final": "sent", "callbacks": {"statuses": ["sent", "delivered"], "delay": 4}}
_OTHER_UNITS = re.compile(r"_(ms|msec|milliseconds|s|minutes|hours|kb|kilobytes)(_total)?$")
_DURATION = re.compile(r"_(latency|age|delay|silence|oldest)(_|$)")
_MAX_SERIES = 2_500
"""Of worker and webhook together, after messages of every kind; 500 fit in a small Prometheus."""


class _Run:
    """Forgets what it did before, as a change of the code would."""

    number = 0


@workflow.defn
class _Nondeterministic:
    @workflow.run
    async def run(self) -> None:
        """Start a timer; the second time, something else."""
        _Run.number += 1
        if _Run.number > 1:
            workflow.upsert_memo({"a": "b"})
        await workflow.sleep(0.01)


async def _get(url: str) -> str:
    async with httpx.AsyncClient() as http:
        response = await http.get(url)
    assert 200 == response.status_code
    return response.text


async def _sdk_metrics_of_a_nondeterministic_workflow(stack: LocalStack) -> str:
    """What a worker's SDK publishes that runs changed code."""
    made = worker_runtime(with_metrics=True)
    runtime: Runtime = made.runtime
    client = await Client.connect(stack.temporal.address, runtime=runtime)
    queue = "nondeterministic"
    handle = await client.start_workflow(_Nondeterministic.run, id=queue, task_queue=queue)
    assert made.metrics_url is not None
    async with Worker(
        client,
        task_queue=queue,
        workflows=[_Nondeterministic],
        workflow_runner=UnsandboxedWorkflowRunner(),
        max_cached_workflows=0,
    ):
        url = made.metrics_url

        async def failed() -> str | None:
            text = await _get(url)
            return text if "NonDeterminismError" in text else None

        text = await until(failed, "a nondeterministic workflow task")
    await handle.terminate()
    return text


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scrape(stack: LocalStack, new_number: NewNumber) -> AsyncIterator[str]:
    """What worker and webhook publish after messages of several kinds."""
    caller = Caller(stack=stack, client=await stack.client())
    fields: dict[str, Any] = {"tenant": CANARY, "category": CANARY, "tags": {CANARY: CANARY}}
    delivered = [await caller.send(new_number(), sender=_ABROAD, **fields) for _ in range(3)]
    refused = await caller.send(new_number(), _REFUSED, **fields)
    filtered = await caller.send(new_number(), _FILTERED, **fields)
    late = await caller.send(new_number(), _LATE, **fields)
    reports = await asyncio.gather(
        *(each.report() for each in (*delivered, refused, filtered, late))
    )
    assert [*[Outcome.DELIVERED] * 3, Outcome.FAILED, Outcome.UNDELIVERED, Outcome.DELIVERED] == [
        each.outcome for each in reports
    ]
    async with httpx.AsyncClient() as http:
        forged = await http.post(f"{stack.webhook_url}{STATUS_PATH}?message_id={CANARY}")
    assert 403 == forged.status_code

    async def open_letters() -> bool:
        text = await _get(f"{stack.webhook_url}/metrics")
        return _value(text, "signedfor_dead_letters_open", failure_class="RequestRejected") > 0

    await until(open_letters, "the open dead letter in the gauges")
    resolved: DeadLetterReport = await refused.dead_letter_handle.execute_update(
        RESOLVE_UPDATE,
        Resolution(action="discard", by="tests", note="tests"),
        result_type=DeadLetterReport,
    )
    assert "discarded" == resolved.outcome
    address = stack.settings["WORKER_METRICS_ADDRESS"]
    yield await _get(f"http://{address}/metrics") + await _get(f"{stack.webhook_url}/metrics")


def _value(text: str, name: str, **labels: str) -> float:
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


async def test_every_metric_of_rules_and_panels_is_published(
    scrape: str, stack: LocalStack
) -> None:
    """With the labels by which it is selected and grouped."""
    found = published(scrape)
    changed = published(await _sdk_metrics_of_a_nondeterministic_workflow(stack))
    for metric, labels in changed.items():
        found[metric] = found.get(metric, set()) | labels

    unknown: list[str] = []
    for what, expression in expressions().items():
        metrics = used(expression)
        unknown += [f"{what}: {metric}" for metric in metrics if metric not in found]
        unknown += [
            f"{what}: {metric}{{{label}}}"
            for metric, labels in metrics.items()
            for label in labels - found.get(metric, set()) - OF_PROMETHEUS
        ]
        of_any = set().union(*(found.get(metric, set()) for metric in metrics))
        strange = grouped_by(expression) - of_any - OF_PROMETHEUS
        unknown += [f"{what}: by {label}" for label in strange]
    assert [] == unknown


async def test_names_have_one_form(scrape: str) -> None:
    """Prometheus': base units, `_total` for counters and nothing else, `_seconds` for durations."""
    wrong: list[str] = []
    for family in text_string_to_metric_families(scrape):
        names = {sample.name for sample in family.samples}
        if family.type == "counter" and not all(each.endswith("_total") for each in names):
            wrong.append(family.name)
        if family.type == "gauge" and family.name.endswith(("_total", "_created")):
            wrong.append(family.name)
        is_duration = family.type == "histogram" or _DURATION.search(family.name)
        if is_duration and not family.name.endswith("_seconds"):
            wrong.append(family.name)
        if _OTHER_UNITS.search(family.name):
            wrong.append(family.name)
    assert [] == wrong


async def test_what_happened_is_counted_once(scrape: str, stack: LocalStack) -> None:
    """Each outcome with its class, each submission with its result, the overdue receipt too."""
    kind = {"sender_kind": SenderKind.LONG_CODE.value}
    failed = FailureClass.REQUEST_REJECTED.value

    abroad = {"sender_kind": SenderKind.INTERNATIONAL.value}
    for name, labels in (
        ("signedfor_outcomes_total", {"outcome": "delivered", "failure_class": "none"}),
        ("signedfor_submissions_total", {"result": "accepted"}),
        ("signedfor_receipt_delay_seconds_count", {"status": "delivered"}),
        ("signedfor_pacing_wait_seconds_count", {}),
    ):
        assert 3 == _value(scrape, name, **abroad, **labels), name
        assert 3 == _value(scrape, name, **abroad), name
    # Other tests of the stack do the following too.
    assert _value(scrape, "signedfor_outcomes_total", outcome="delivered", **kind) >= 1
    assert _value(scrape, "signedfor_outcomes_total", outcome="failed", failure_class=failed) >= 1
    assert _value(scrape, "signedfor_submissions_total", result="accepted", **kind) >= 2
    assert _value(scrape, "signedfor_submissions_total", result=failed) >= 1
    assert _value(scrape, "signedfor_twilio_errors_total", code="20422") >= 1
    assert _value(scrape, "signedfor_receipts_overdue_total", **kind) >= 1
    assert _value(scrape, "signedfor_receipt_delay_seconds_count", status="delivered") >= 4
    assert _value(scrape, "signedfor_claims_total", result="claimed") >= 6
    assert _value(scrape, "signedfor_twilio_requests_total", operation="create", status="201") >= 5
    assert _value(scrape, "signedfor_dead_letters_closed_total", outcome="discarded") >= 1
    assert _value(scrape, "signedfor_workers", task_queue=MESSAGES_QUEUE) >= 1
    assert 1 == _value(scrape, "signedfor_worker_serving")

    # A query replays closed workflows; nothing is counted again.
    address = stack.settings["WORKER_METRICS_ADDRESS"]
    before = _value(await _get(f"http://{address}/metrics"), "signedfor_outcomes_total")
    client = await stack.client()
    closed = [
        each.id
        async for each in client.list_workflows(
            # One that was refused as bad input has nothing to replay.
            "WorkflowType = 'SendMessage' AND ExecutionStatus = 'Completed'",
            limit=20,
        )
    ]
    assert len(closed) >= 5
    for each in closed:
        await client.get_workflow_handle(each).query("progress")
    after = _value(await _get(f"http://{address}/metrics"), "signedfor_outcomes_total")
    assert before == after


async def test_labels_are_from_closed_sets(scrape: str) -> None:
    """No number, id or text of a message is in a label, and the series are few."""
    series: Counter[str] = Counter()
    for family in text_string_to_metric_families(scrape):
        for sample in family.samples:
            series[family.name] += 1
            for label, value in sample.labels.items():
                assert CANARY not in value, (sample.name, label)
                assert not re.search(r"\+?\d{7,}|[A-Z]{2}[0-9a-f]{32}|t-[0-9a-f]{8}", value), (
                    sample.name,
                    label,
                )
    assert sum(series.values()) < _MAX_SERIES, series.most_common(10)


async def test_the_worker_is_alive_and_ready(stack: LocalStack) -> None:
    """On the port of its metrics."""
    address = stack.settings["WORKER_METRICS_ADDRESS"]

    assert '"alive"' in await _get(f"http://{address}/healthz")
    assert '"ready": true' in await _get(f"http://{address}/readyz")
