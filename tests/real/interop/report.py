"""What the Python peers share: spans and messages as lines of JSON on stdout.

A line is {"span": {...}} when a span ends, and {"message": {...}} when a message is handled.
"""

import json
import sys

from opentelemetry import baggage, trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult


def line(value):
    print(json.dumps(value), flush=True)


def message(headers, body):
    """Call it where the message is handled: it says the baggage that is active there."""
    seen = {key: value for key, value in headers.items() if isinstance(value, str)}
    active = dict(baggage.get_all())
    line({"message": {"headers": seen, "baggage": active, "body": body.decode()}})


class Lines(SpanExporter):
    def export(self, spans):
        for span in spans:
            line({"span": described(span)})
        return SpanExportResult.SUCCESS


def described(span: ReadableSpan):
    return {
        "name": span.name,
        "trace": ids(span.context)[0],
        "span": ids(span.context)[1],
        "parent": ids(span.parent)[1] if span.parent else None,
        "kind": span.kind.name.lower(),
        "attributes": dict(span.attributes),
        "links": [ids(link.context)[1] for link in span.links],
    }


def ids(context):
    return trace.format_trace_id(context.trace_id), trace.format_span_id(context.span_id)


def install():
    """Makes the global tracer provider; the propagators are the SDK's own."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Lines()))
    trace.set_tracer_provider(provider)


def arguments():
    """The broker's URL, the mode, the queue, and what the mode takes besides.

    publish QUEUE CARRIER: publishes one message; CARRIER is JSON with the headers of the request
    that it belongs to. consume QUEUE COUNT [ONWARD]: handles COUNT messages, and answers each by
    one to the queue ONWARD.
    """
    url, mode, queue, *rest = sys.argv[1:]
    return url, mode, queue, rest
