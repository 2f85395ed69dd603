"""A service with aio-pika and opentelemetry-instrumentation-aio-pika; for its arguments see
report.py."""

import asyncio
import json

import aio_pika
from opentelemetry import context, propagate
from opentelemetry.instrumentation.aio_pika import AioPikaInstrumentor

import report


async def send(channel, queue):
    message = aio_pika.Message(b"from aio-pika")
    await channel.default_exchange.publish(message, routing_key=queue)


async def publish(channel, queue, carrier):
    token = context.attach(propagate.extract(json.loads(carrier)))
    await send(channel, queue)
    context.detach(token)


async def consume(channel, queue, count, onward=None):
    left = int(count)
    finished = asyncio.get_running_loop().create_future()

    async def handle(message):
        nonlocal left
        try:
            report.message(message.headers, message.body)
            if onward:
                await send(channel, onward)
            await message.ack()
        except Exception as error:
            # aio-pika would keep it to itself, and the end would never come.
            finished.set_exception(error)
            raise
        left -= 1
        if left == 0:
            finished.set_result(None)

    await channel.set_qos(prefetch_count=1)
    source = await channel.get_queue(queue)
    tag = await source.consume(handle)
    await finished
    await source.cancel(tag)


async def main():
    report.install()
    AioPikaInstrumentor().instrument()
    url, mode, queue, rest = report.arguments()
    async with await aio_pika.connect(url) as connection:
        channel = await connection.channel()
        await {"publish": publish, "consume": consume}[mode](channel, queue, *rest)


asyncio.run(main())
