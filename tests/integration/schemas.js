// The checks behind schemas.sh: node schemas.js SCHEMA_DIR EXAMPLES
'use strict';
const fs = require('fs');
const path = require('path');
const Ajv = require('ajv/dist/2020').default;
const addFormats = require('ajv-formats').default;
const { Parser, fromFile } = require('@asyncapi/parser');

const [dir, examples] = process.argv.slice(2);
const kinds = ['job', 'result', 'frame', 'heartbeat', 'beat', 'attempt', 'key', 'dead', 'control',
               'webhook', 'delivery', 'event'];
let failures = 0;

function fail(text) {
  failures++;
  console.error('FAIL ' + text);
}

function readSchemas() {
  const files = fs.readdirSync(dir).filter((f) => f.endsWith('.schema.json'));
  return files.map((f) => JSON.parse(fs.readFileSync(path.join(dir, f), 'utf8')));
}

// The same schema with every property that it does not list forbidden.
function closed(node) {
  if (Array.isArray(node)) return node.map(closed);
  if (node === null || typeof node !== 'object') return node;
  const out = Object.fromEntries(Object.entries(node).map(([k, v]) => [k, closed(v)]));
  if (out.type === 'object' && out.properties && !('additionalProperties' in out))
    out.additionalProperties = false;
  return out;
}

function validators(schemas) {
  const ajv = new Ajv({ strict: true, strictRequired: false, strictTypes: false, allErrors: true });
  addFormats(ajv);
  for (const s of schemas) ajv.addSchema(s);
  return Object.fromEntries(kinds.map((k) => [k, ajv.getSchema(k + '.schema.json')]));
}

function checkExamples(open, strict) {
  const seen = new Set();
  for (const line of fs.readFileSync(examples, 'utf8').split('\n').filter(Boolean)) {
    const kind = line.slice(0, line.indexOf(' '));
    const record = JSON.parse(line.slice(kind.length + 1));
    seen.add(kind);
    for (const check of [open[kind], strict[kind]])
      if (!check(record)) fail(`${kind}: ${JSON.stringify(check.errors[0])} in ${line}`);
  }
  for (const kind of kinds) if (!seen.has(kind)) fail(`${kind}: no example`);
}

// Each of these must be refused; change(record) breaks the first example of its kind.
const broken = [
  ['job', (r) => delete r.job_id],
  ['job', (r) => (r.job_id = 'x')],
  ['job', (r) => (r.input = {})],
  ['job', (r) => (r.input.tokens = [1])],
  ['job', (r) => (r.params.temprature = 1)],
  ['job', (r) => (r.params.top_p = 0)],
  ['job', (r) => (r.params.n = 2)],
  ['job', (r) => (r.params.stop = Array(17).fill('a'))],
  ['job', (r) => (r.tenant = '')],
  ['job', (r) => (r.attempt = 1)],
  ['job', (r) => (r.tries = 1)],
  ['job', (r) => (r.idempotency_key = '')],
  ['job', (r) => (r.replay_of = 'x')],
  ['job', (r) => Object.assign(r, { attempt: 1, received_ms: 0, expires_ms: 0, reply_format: 'json',
                                    history: [{ attempt: 1, outcome: 'drained' }] })],
  ['job', (r) => (r.callback = { url: 'ftp://x' })],
  ['result', (r) => (r.status = 'done')],
  ['result', (r) => (r.usage.prompt_tokens = -1)],
  ['result', (r) => (r.error = {})],
  ['frame', (r) => delete r.token],
  ['frame', (r) => (r.type = 'done')],
  ['frame', (r) => (r.traceparent = 'x')],
  ['heartbeat', (r) => (r.pressure = 2)],
  ['heartbeat', (r) => delete r.parts],
  ['heartbeat', (r) => (r.prefixes = ['0123'])],
  ['beat', (r) => delete r.lanes],
  ['beat', (r) => (r.lanes.high.waiting = -1)],
  ['key', (r) => delete r.job_id],
  ['attempt', (r) => (r.outcome = 'succeeded')],
  ['attempt', (r) => delete r.worker],
  ['dead', (r) => delete r.origin.offset],
  ['control', (r) => (r.type = 'pause')],
  ['webhook', (r) => delete r.url],
  ['webhook', (r) => (r.tries = -1)],
  ['delivery', (r) => (r.outcome = 'maybe')],
  ['event', (r) => (r.type = 'job.done')],
  ['event', (r) => delete r.data.result_at.offset],
];

function checkBroken(open) {
  const lines = fs.readFileSync(examples, 'utf8').split('\n');
  for (const [kind, change] of broken) {
    const record = JSON.parse(lines.find((l) => l.startsWith(kind + ' ')).slice(kind.length + 1));
    change(record);
    if (open[kind](record)) fail(`${kind}: accepted after ${change}`);
  }
}

async function checkAsyncApi(schemas) {
  const file = path.join(dir, 'asyncapi.yaml');
  const { document, diagnostics } = await fromFile(new Parser(), file).parse();
  for (const d of diagnostics)
    if (d.severity === 0) fail(`asyncapi.yaml line ${d.range.start.line + 1}: ${d.message}`);
  if (!document) return fail('asyncapi.yaml: not parsed');
  if (document.version() !== '3.0.0') fail(`asyncapi.yaml: version ${document.version()}`);
  const titles = new Set(document.allMessages().all().map((m) => m.payload().title()));
  for (const kind of kinds) {
    const title = schemas.find((s) => s.$id === kind + '.schema.json').title;
    if (!titles.has(title)) fail(`asyncapi.yaml: no message has the payload "${title}"`);
  }
  return document.channels().all().length;
}

(async () => {
  const schemas = readSchemas();
  const open = validators(schemas);
  checkExamples(open, validators(closed(schemas)));
  checkBroken(open);
  const channels = await checkAsyncApi(schemas);
  console.log(`${kinds.length} schemas, ${broken.length} broken records, ${channels} channels: ` +
              (failures ? `${failures} failures` : 'ok'));
  process.exit(failures ? 1 : 0);
})();
