"""A service with pika and no instrumentation: no OpenTelemetry at all.

publish QUEUE: one message without headers, then one with each of the odd values for
`traceparent`; the body of each names it. consume QUEUE COUNT: prints the headers of each message
and the Python types of their values, as a line of JSON.
"""

import json
import sys

import pika

VALID = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

ODD = {
    "valid text as bytes": VALID.encode(),
    "other text as bytes": b"not a traceparent",
    "29 raw bytes": bytes(range(0x80, 0x80 + 29)),
    "integer": 7,
    "long integer": 1 << 40,
    "empty text": "",
    "empty table": {},
    "table": {"traceparent": VALID},
    "list": [VALID],
    "boolean": True,
    "nothing": None,
}


def publish(channel, queue):
    channel.basic_publish("", queue, b"no headers")
    for name, value in ODD.items():
        # The same in the other two: they are read by other code.
        headers = {"traceparent": value, "tracestate": value, "baggage": value}
        channel.basic_publish("", queue, name.encode(), pika.BasicProperties(headers=headers))


def consume(channel, queue, count):
    for _ in range(int(count)):
        method, properties, body = next(channel.consume(queue))
        channel.basic_ack(method.delivery_tag)
        headers = properties.headers
        types = {key: type(value).__name__ for key, value in headers.items()}
        message = {"headers": headers, "types": types, "body": body.decode()}
        print(json.dumps({"message": message}), flush=True)
    channel.cancel()


url, mode, queue, *rest = sys.argv[1:]
connection = pika.BlockingConnection(pika.URLParameters(url))
{"publish": publish, "consume": consume}[mode](connection.channel(), queue, *rest)
connection.close()
