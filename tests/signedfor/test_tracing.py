"""Traces: when they are on, what their spans hold, and what they cost when they are off."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import baggage, trace
from opentelemetry.context import attach, detach
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Tracer
from temporalio.api.common.v1 import Payload
from temporalio.client import WorkflowHistory
from temporalio.converter import PayloadConverter
from temporalio.worker import Replayer

from devtools.workflow_sandbox import sandboxed_runner
from signedfor import tracing
from signedfor.errors import InvalidSettings
from signedfor.interceptors import OneArgument
from signedfor.payloads import data_converter
from signedfor.trace_export import _without_texts, exporting_traces
from signedfor.tracing_interceptors import MessageTracing, _MessageTracer
from tests.histories.recording import history_files, read
from workflows.dead_letter import DeadLetter
from workflows.send_message import SendMessage

_ROOT = Path(__file__).parents[2]
_NUMBER = "+15558675309"
_ENDPOINT = "http://127.0.0.1:4318"


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What would leave this process, with traces on."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(_without_texts(exporter)))
    monkeypatch.setattr(tracing.active, "tracer", provider.get_tracer("test"))
    yield exporter
    provider.shutdown()


@pytest.mark.parametrize(
    ("variables", "exporters"),
    [
        ({}, ()),
        ({"OTEL_SERVICE_NAME": "texts"}, ()),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": _ENDPOINT}, ("otlp",)),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, ()),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": _ENDPOINT}, ("otlp",)),
        ({"OTEL_TRACES_EXPORTER": "otlp, console"}, ("otlp", "console")),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": _ENDPOINT}, ()),
        ({"OTEL_SDK_DISABLED": "TRUE", "OTEL_EXPORTER_OTLP_ENDPOINT": _ENDPOINT}, ()),
    ],
)
def test_traces_are_off_until_asked_for(
    variables: dict[str, str], exporters: tuple[str, ...]
) -> None:
    """By an endpoint or an exporter; a name alone asks for nothing."""
    assert exporters == tracing.exporters_in(variables)


_IMPORTED = """
import sys
import {module}

print([name for name in sys.modules if name.startswith((
    "opentelemetry.{below}", "temporalio.contrib.opentelemetry", "signedfor.tracing_interceptors",
))])
"""


@pytest.mark.integration
@pytest.mark.parametrize(
    ("module", "below"),
    [("signedfor.client", ""), ("worker", ""), ("webhook.__main__", "sdk")],
)
def test_nothing_is_imported_while_traces_are_off(module: str, below: str) -> None:
    """FastAPI itself imports OpenTelemetry's API, which does nothing without its SDK."""
    done = subprocess.run(
        [sys.executable, "-c", _IMPORTED.format(module=module, below=below)],
        cwd=_ROOT,
        env={},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )

    assert "[]" == done.stdout.strip()


def test_nothing_is_done_while_traces_are_off() -> None:
    """The same object is entered for each message, and the URL of a callback stays as it is."""
    assert tracing.span("a", "order-1") is tracing.span("b", "order-2")
    with tracing.span("a", "order-1"), tracing.new_trace():
        tracing.annotate(twilio__error_code=1)
    assert (None, None) == (tracing.current_traceparent(), tracing.trace_id())


def test_a_span_has_the_message_id_and_no_text(exported: InMemorySpanExporter) -> None:
    """Of an error it has the type."""
    with (
        contextlib.suppress(ValueError),
        tracing.span("POST", "order-1", kind="client"),
    ):
        tracing.annotate(twilio__error_code=21211, twilio__message_sid=None)
        raise ValueError(_NUMBER)

    (span,) = exported.get_finished_spans()
    assert {"signedfor.message_id": "order-1", "twilio.error_code": 21211} == dict(
        span.attributes or {}
    )
    assert ("ValueError", ()) == (span.status.description, span.events)


def test_a_span_continues_the_trace_that_a_url_names(exported: InMemorySpanExporter) -> None:
    """And one without a trace, or with a broken one, begins one."""
    with tracing.span("POST", "order-1"):
        traceparent = tracing.current_traceparent()
        trace_id = tracing.trace_id()
    for each in (traceparent, "nonsense", None):
        with tracing.span("callback", "order-1", traceparent=each):
            pass

    post, *callbacks = exported.get_finished_spans()
    assert post.context is not None
    continued, *others = callbacks
    assert continued.parent is not None
    assert post.context.span_id == continued.parent.span_id
    assert trace_id == trace.format_trace_id(_trace_id(continued))
    assert [None, None] == [each.parent for each in others]


def test_a_campaigns_messages_have_traces_of_their_own(exported: InMemorySpanExporter) -> None:
    """Its dispatch is no parent."""
    with tracing.span("dispatch", "a"), tracing.new_trace(), tracing.span("start", "b"):
        pass

    start, dispatch = exported.get_finished_spans()
    assert start.parent is None
    assert _trace_id(start) != _trace_id(dispatch)


def test_what_libraries_record_of_an_error_is_not_exported(
    exported: InMemorySpanExporter,
) -> None:
    """Temporal's interceptor records its text as an event and as the status."""
    assert tracing.active.tracer is not None
    with (
        contextlib.suppress(ValueError),
        tracing.active.tracer.start_as_current_span("library"),
    ):
        raise ValueError(_NUMBER)

    (span,) = exported.get_finished_spans()
    assert "ValueError" == span.status.description
    (event,) = span.events
    assert {"exception.type": "ValueError"} == dict(event.attributes or {})
    assert _NUMBER not in span.to_json()


@pytest.mark.parametrize(
    ("workflow_id", "attributes"),
    [
        ("message:order-1", {"signedfor.message_id": "order-1"}),
        ("dead-letter:order-1", {"signedfor.message_id": "order-1"}),
        ("campaign:spring", {}),
        (f"message:{_NUMBER}", {"temporalWorkflowID": "(contains a number)"}),
    ],
)
def test_temporals_spans_get_the_message_id(
    exported: InMemorySpanExporter, workflow_id: str, attributes: dict[str, str]
) -> None:
    """From the workflow's id, unless that is a number: such a message is refused."""
    assert tracing.active.tracer is not None
    tracer = _MessageTracer(tracing.active.tracer)
    tracer.start_span("a", attributes={"temporalWorkflowID": workflow_id}).end()
    with tracer.start_as_current_span("b", attributes={"temporalWorkflowID": workflow_id}):
        pass

    expected = {"temporalWorkflowID": workflow_id, **attributes}
    assert [expected] * 2 == [dict(each.attributes or {}) for each in exported.get_finished_spans()]


def test_a_callers_baggage_stays_with_the_caller(exported: InMemorySpanExporter) -> None:
    """Temporal would store it in clear."""
    assert tracing.active.tracer is not None
    token = attach(baggage.set_baggage("person", _NUMBER))
    with tracing.active.tracer.start_as_current_span("order"):
        (header,) = MessageTracing()._context_to_headers({}).values()
    detach(token)

    (span,) = exported.get_finished_spans()
    assert trace.format_trace_id(_trace_id(span)).encode() in header.data
    assert b"person" not in header.data


def test_a_client_gets_the_interceptor_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that brings Temporal's interceptor keeps it."""
    assert [] == tracing.with_tracing([])
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", _ENDPOINT)
    (ours,) = tracing.with_tracing([])

    assert isinstance(ours, MessageTracing)
    assert [ours] == tracing.with_tracing([ours])


@pytest.mark.parametrize("name", ["delivered", "dead_letter_retried", "unknown_then_found"])
async def test_a_replay_makes_no_spans(exported: InMemorySpanExporter, name: str) -> None:
    """Nor does it matter to the history whether its worker had traces."""
    assert tracing.active.tracer is not None
    history = read(history_files()[name])
    for each in _with_trace(history), history:
        await _replay(each, tracing.active.tracer)

    assert () == exported.get_finished_spans()


def _with_trace(history: WorkflowHistory) -> WorkflowHistory:
    """The same history of a message whose caller has a trace."""
    traced = WorkflowHistory.from_json(history.workflow_id, history.to_json())
    carrier = {"traceparent": f"00-{1:032x}-{1:016x}-01"}
    header = traced.events[0].workflow_execution_started_event_attributes.header
    header.fields["_tracer-data"].CopyFrom(PayloadConverter.default.to_payloads([carrier])[0])
    return traced


@pytest.mark.usefixtures("exported")
@pytest.mark.parametrize(
    "header",
    [
        Payload(metadata={"encoding": b"\xff"}, data=b"{}"),
        Payload(metadata={"encoding": b"json/plain"}, data=b"{"),
        Payload(metadata={"encoding": b"json/plain"}, data=b'"a text"'),
        Payload(metadata={"encoding": b"json/plain"}, data=b'{"traceparent": 1}'),
        Payload(metadata={"encoding": b"json/plain"}, data=b"[" * 100_000),
        Payload(metadata={"encoding": b"json/protobuf", "messageType": b"\xff"}, data=b"{}"),
    ],
    ids=["encoding", "no JSON", "a text", "a number", "deep", "message type"],
)
async def test_a_trace_that_cannot_be_read_is_none(header: Payload) -> None:
    """Whoever starts or signals a workflow writes it; the workflow's tasks must not fail for it."""
    original = read(history_files()["delivered"])
    history = WorkflowHistory.from_json(original.workflow_id, original.to_json())
    for event in history.events:
        for attributes in (
            event.workflow_execution_started_event_attributes,
            event.workflow_execution_signaled_event_attributes,
        ):
            if attributes.ByteSize():
                attributes.header.fields["_tracer-data"].CopyFrom(header)

    assert tracing.active.tracer is not None
    await _replay(history, tracing.active.tracer)


async def _replay(history: WorkflowHistory, tracer: Tracer) -> None:
    assert tracing.active.tracer is tracer
    interceptor = MessageTracing()
    replayer = Replayer(
        workflows=[SendMessage, DeadLetter],
        data_converter=data_converter,
        interceptors=[interceptor, OneArgument()],
        workflow_runner=sandboxed_runner(),
    )
    await replayer.replay_workflow(history)


@pytest.mark.parametrize(
    ("exporter", "text"), [("nonesuch", "nonesuch"), ("otlp_proto_grpc", "otlp_proto_grpc")]
)
def test_an_exporter_that_is_not_installed_is_named(
    monkeypatch: pytest.MonkeyPatch, exporter: str, text: str
) -> None:
    """The process does not start without the traces that it was asked for."""
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", exporter)

    with pytest.raises(InvalidSettings, match=text), exporting_traces("test"):
        pass


def _trace_id(span: ReadableSpan) -> int:
    assert span.context is not None
    trace_id: int = span.context.trace_id
    return trace_id
