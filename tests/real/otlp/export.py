"""Exports spans and metrics with the OpenTelemetry SDK, and prints what it exported as JSON.

Arguments: grpc or http, and the number of spans. The endpoint and the compression come from
the standard OTEL_ variables.
"""

import json
import sys

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, SpanKind, Status, StatusCode

protocol, number = sys.argv[1], int(sys.argv[2])
if protocol == "grpc":
    from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
else:
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

resource = Resource.create({"service.name": "gateway", "host.name": "h-1"})
tracing = TracerProvider(resource=resource)
tracing.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_export_batch_size=64))
tracer = tracing.get_tracer("test")
kinds = list(SpanKind)
spans = []
with tracer.start_as_current_span("root", kind=SpanKind.SERVER) as root:
    for index in range(number):
        kind = kinds[index % len(kinds)]
        link = Link(root.get_span_context(), {"why": "creation"})
        with tracer.start_as_current_span(f"publish {index % 3}", kind=kind, links=[link]) as span:
            span.set_attribute("messaging.system", "rabbitmq")
            span.set_attribute("index", index)
            span.set_attribute("half", index / 2)
            span.set_attribute("even", index % 2 == 0)
            span.set_attribute("unicode", "Grüße \u00e9 \U0001f407")
            span.set_attribute("list", ["a", "b"])
            span.add_event("settled", {"by": "ack"})
            if index % 2:
                span.set_status(Status(StatusCode.ERROR, "boom"))
        context = span.get_span_context()
        spans.append({
            "trace_id": f"{context.trace_id:032x}",
            "span_id": f"{context.span_id:016x}",
            "parent": f"{root.get_span_context().span_id:016x}",
            "name": span.name,
            "kind": kind.name.lower(),
            "status": "error" if index % 2 else "unset",
            "start": span.start_time,
            "end": span.end_time,
            "index": index,
        })

reader = PeriodicExportingMetricReader(OTLPMetricExporter(), export_interval_millis=3_600_000)
metering = MeterProvider(resource=resource, metric_readers=[reader])
meter = metering.get_meter("test")
meter.create_counter("requests").add(7, {"endpoint": "/ask"})
meter.create_gauge("cpu").set(0.25)
meter.create_histogram("latency").record(0.1)
flushed = tracing.force_flush()
tracing.shutdown()
# It exports once more before it stops.
metering.shutdown()
print(json.dumps({"spans": spans, "flushed": flushed}))
