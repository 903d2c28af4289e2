/* service.js - a backend service on Node as its authors would write it: KafkaJS, ioredis, @msgpack/msgpack, and no
 * codec or plug-in beside them.
 *
 * usage: node service.js BROKERS REDIS_URL < jobs.json      NODE_PATH says where the packages are
 *
 * jobs.json: [{"job": {...}, "format": "json"|"msgpack"|"unsaid", "how": "plain"|"gzip"|"transaction"|"aborted"}].
 * Prints one JSON line for each frame that comes by a job's channel and each committed result, with the format that
 * it came in; ends when every job that was not aborted has its result and its `done`. */
'use strict';

const { randomUUID } = require('node:crypto');
const { CompressionTypes, Kafka, logLevel } = require('kafkajs');
const { decode, encode } = require('@msgpack/msgpack');
const Redis = require('ioredis');

const [brokers, redisUrl] = process.argv.slice(2);
const types = { json: 'application/json; charset=utf-8', msgpack: 'application/msgpack' };

function message({ job, format }) {
    const value = Buffer.from(format === 'msgpack' ? encode(job) : JSON.stringify(job));
    return { key: job.tenant ?? null, value, headers: types[format] ? { 'content-type': types[format] } : {} };
}

function print(line) {
    process.stdout.write(JSON.stringify(line, (_, v) => (typeof v === 'bigint' ? Number(v) : v)) + '\n');
}

/* Resolves when each of ids has been passed to see() once. */
function waiter(ids) {
    const left = new Set(ids);
    let all;
    const done = new Promise((resolve) => { all = resolve; });
    if (left.size === 0) all();
    return { done, see: (id) => { left.delete(id); if (left.size === 0) all(); } };
}

async function follow(ids, seen) {
    const redis = new Redis(redisUrl);
    redis.on('message', (channel, text) => {
        const frame = JSON.parse(text);
        print({ kind: 'frame', channel, frame });
        if (frame.type === 'done') seen(frame.job_id);
    });
    await redis.subscribe(...ids.map((id) => `mr:{${id}}:t`));
    return redis;
}

async function collect(kafka, seen) {
    const consumer = kafka.consumer({ groupId: `service-${randomUUID()}`, readUncommitted: false });
    await consumer.connect();
    await consumer.subscribe({ topic: 'millrace.results', fromBeginning: true });
    await consumer.run({
        eachMessage: async ({ message: m }) => {
            const type = m.headers['content-type'].toString();
            const result = type === types.msgpack ? decode(m.value) : JSON.parse(m.value.toString());
            print({ kind: 'result', type, ce_type: m.headers.ce_type.toString(), key: m.key.toString(), result });
            seen(result.job_id);
        },
    });
    return consumer;
}

async function send(kafka, jobs) {
    const producer = kafka.producer();
    await producer.connect();
    for (const [how, compression] of [['plain', CompressionTypes.None], ['gzip', CompressionTypes.GZIP]]) {
        const messages = jobs.filter((j) => j.how === how).map(message);
        if (messages.length > 0) await producer.send({ topic: 'millrace.jobs.normal', compression, messages });
    }
    await producer.disconnect();
}

async function sendInTransactions(kafka, jobs) {
    const retry = { initialRetryTime: 50, retries: 20 }; /* the broker may still be ending the last one */
    const options = { transactionalId: `service-${randomUUID()}`, idempotent: true, maxInFlightRequests: 1, retry };
    const producer = kafka.producer(options);
    await producer.connect();
    for (const how of ['transaction', 'aborted']) {
        const messages = jobs.filter((j) => j.how === how).map(message);
        if (messages.length === 0) continue;
        const transaction = await producer.transaction();
        await transaction.send({ topic: 'millrace.jobs.high', messages });
        await (how === 'aborted' ? transaction.abort() : transaction.commit());
    }
    await producer.disconnect();
}

async function main() {
    let text = '';
    for await (const chunk of process.stdin) text += chunk;
    const jobs = JSON.parse(text);
    const ids = jobs.filter((j) => j.how !== 'aborted').map((j) => j.job.job_id);
    const kafka = new Kafka({ clientId: 'service', brokers: brokers.split(','), logLevel: logLevel.NOTHING });
    const results = waiter(ids), streams = waiter(ids);

    const redis = await follow(jobs.map((j) => j.job.job_id), streams.see);
    const consumer = await collect(kafka, results.see);
    consumer.on(consumer.events.CRASH, ({ payload }) => {
        console.error(payload.error);
        process.exit(1);
    });
    await sendInTransactions(kafka, jobs);
    await send(kafka, jobs);
    await Promise.all([results.done, streams.done]);
    await consumer.disconnect();
    redis.disconnect();
}

main().catch((error) => {
    console.error(error);
    process.exit(1);
});
