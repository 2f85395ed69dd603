"""A service with pika and opentelemetry-instrumentation-pika; for its arguments see report.py."""

import json

import pika
from opentelemetry import context, propagate
from opentelemetry.instrumentation.pika import PikaInstrumentor

import report


def publish(channel, queue, carrier):
    token = context.attach(propagate.extract(json.loads(carrier)))
    channel.basic_publish("", queue, b"from pika")
    context.detach(token)


def consume(channel, queue, count, onward=None):
    left = int(count)

    def handle(channel, method, properties, body):
        nonlocal left
        report.message(properties.headers, body)
        if onward:
            channel.basic_publish("", onward, b"from pika")
        channel.basic_ack(method.delivery_tag)
        left -= 1
        if left == 0:
            channel.stop_consuming()

    channel.basic_qos(prefetch_count=1)
    channel.basic_consume(queue, handle)
    channel.start_consuming()


report.install()
PikaInstrumentor().instrument()
url, mode, queue, rest = report.arguments()
connection = pika.BlockingConnection(pika.URLParameters(url))
{"publish": publish, "consume": consume}[mode](connection.channel(), queue, *rest)
connection.close()
