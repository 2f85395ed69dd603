// A service with amqplib and @opentelemetry/instrumentation-amqplib. Arguments and lines on stdout
// are those of the Python peers: see report.py.

'use strict';

const { context, propagation, SpanKind, ROOT_CONTEXT } = require('@opentelemetry/api');
const { ExportResultCode } = require('@opentelemetry/core');
const { registerInstrumentations } = require('@opentelemetry/instrumentation');
const { AmqplibInstrumentation } = require('@opentelemetry/instrumentation-amqplib');
const { SimpleSpanProcessor } = require('@opentelemetry/sdk-trace-base');
const { NodeTracerProvider } = require('@opentelemetry/sdk-trace-node');

const line = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);

const described = (span) => ({
  name: span.name,
  trace: span.spanContext().traceId,
  span: span.spanContext().spanId,
  parent: span.parentSpanContext?.spanId ?? null,
  kind: SpanKind[span.kind].toLowerCase(),
  attributes: span.attributes,
  links: span.links.map((link) => link.context.spanId),
});

const exporter = {
  export(spans, done) {
    for (const span of spans) line({ span: described(span) });
    done({ code: ExportResultCode.SUCCESS });
  },
  async shutdown() {},
};

const provider = new NodeTracerProvider({ spanProcessors: [new SimpleSpanProcessor(exporter)] });
provider.register();
registerInstrumentations({ instrumentations: [new AmqplibInstrumentation()] });
// Only what is loaded from here on is instrumented.
const amqp = require('amqplib');

const send = (channel, queue) => channel.sendToQueue(queue, Buffer.from('from amqplib'));

async function publish(channel, queue, carrier) {
  const request = propagation.extract(ROOT_CONTEXT, JSON.parse(carrier));
  context.with(request, () => send(channel, queue));
}

function report(message) {
  const text = Object.entries(message.properties.headers).filter(([, value]) => typeof value === 'string');
  const baggage = propagation.getActiveBaggage()?.getAllEntries() ?? [];
  const body = message.content.toString();
  const values = Object.fromEntries(baggage.map(([key, entry]) => [key, entry.value]));
  line({ message: { headers: Object.fromEntries(text), baggage: values, body } });
}

async function consume(channel, queue, count, onward) {
  let left = Number(count);
  await channel.prefetch(1);
  await new Promise((finished, failed) => {
    const handle = (message) => {
      report(message);
      if (onward) send(channel, onward);
      channel.ack(message);
      left -= 1;
      if (left === 0) finished();
    };
    channel.consume(queue, handle).catch(failed);
  });
}

async function main() {
  const [url, mode, queue, ...rest] = process.argv.slice(2);
  const connection = await amqp.connect(url);
  const channel = await connection.createChannel();
  await { publish, consume }[mode](channel, queue, ...rest);
  await channel.close();
  await connection.close();
  await provider.shutdown();
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
