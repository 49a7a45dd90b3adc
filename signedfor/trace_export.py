"""Exports the traces of a process as OpenTelemetry's standard variables say."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from signedfor import tracing
from signedfor.errors import InvalidSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import ReadableSpan
    from opentelemetry.sdk.trace.export import SpanExporter

_EXPORTERS = "opentelemetry_traces_exporter"
"""The group of entry points in which packages offer exporters."""
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")


@contextmanager
def exporting_traces(service: str) -> Iterator[None]:
    """Export this process's spans in the block, and the last ones at its end.

    Spans wait in memory and are exported by a thread; if the collector does not keep up, they are
    dropped. `service` is the name without `OTEL_SERVICE_NAME`.

    Raises:
        InvalidSettings: a package is not installed, or the variables cannot be used.
    """
    exporters = tracing.exporters_in(os.environ)
    if not exporters:
        yield
        return
    try:
        from opentelemetry.sdk.resources import (  # noqa: PLC0415 - slow, and optional
            SERVICE_NAME,
            Resource,
        )
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        raise InvalidSettings(
            "OTEL_* variables ask for traces, but OpenTelemetry is not installed: "
            "install signedfor[tracing], or unset them."
        ) from None
    for name in [each for each in os.environ if each.startswith("OTEL_")]:
        if not os.environ[name]:
            # Docker Compose sets them all. The SDK takes an empty one for a value.
            del os.environ[name]
    resource = Resource.create()
    if str(resource.attributes.get(SERVICE_NAME, "")).startswith("unknown_service"):
        resource = resource.merge(Resource({SERVICE_NAME: service}))
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    for name in exporters:
        provider.add_span_processor(BatchSpanProcessor(_without_texts(_exporter(name))))
    # Not the global provider: FastAPI would export a span for every request, signed or not, with
    # its query.
    tracing.active.tracer = provider.get_tracer("signedfor")
    try:
        yield
    finally:
        tracing.active.tracer = None
        provider.shutdown()


def _exporter(name: str) -> "SpanExporter":
    if name == "otlp":
        protocols = [value for each in _PROTOCOLS if (value := os.environ.get(each))]
        name = "otlp_proto_grpc" if protocols[:1] == ["grpc"] else "otlp_proto_http"
    for found in entry_points(group=_EXPORTERS, name=name):
        try:
            exporter: SpanExporter = found.load()()
        except (ImportError, ValueError) as error:
            raise InvalidSettings(
                f"OTEL_*: the exporter {name} cannot be used ({type(error).__name__})."
            ) from None
        return exporter
    raise InvalidSettings(f"OTEL_TRACES_EXPORTER: no installed package offers the exporter {name}.")


def _without_texts(exporter: "SpanExporter") -> "SpanExporter":
    """The exporter, which gets no texts of exceptions: they may quote a number or a message."""
    from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult  # noqa: PLC0415

    class WithoutTexts(SpanExporter):
        def export(self, spans: "Sequence[ReadableSpan]") -> SpanExportResult:
            return exporter.export([_bare(each) for each in spans])

        def shutdown(self) -> None:
            exporter.shutdown()

        def force_flush(self, timeout_millis: int = 30_000) -> bool:
            return exporter.force_flush(timeout_millis)

    return WithoutTexts()


def _bare(span: "ReadableSpan") -> "ReadableSpan":
    from opentelemetry.sdk.trace import Event, ReadableSpan  # noqa: PLC0415
    from opentelemetry.trace import Status  # noqa: PLC0415

    if not span.events and not span.status.description:
        return span
    what = (span.status.description or "").partition(":")[0] or None
    return ReadableSpan(
        name=span.name,
        context=span.context,
        parent=span.parent,
        resource=span.resource,
        attributes=span.attributes,
        events=[
            Event(
                each.name,
                {
                    name: value
                    for name, value in (each.attributes or {}).items()
                    if name == "exception.type"
                },
                each.timestamp,
            )
            for each in span.events
        ],
        links=span.links,
        kind=span.kind,
        status=Status(span.status.status_code, what),
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )
