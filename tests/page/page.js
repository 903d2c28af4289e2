// page.js - what a person does with the page, in a headless Chromium; run by test_page.py:
//   node page.js PORT REDIS_PORT TOKEN DEAD_JOB
//
// Each step waits for what it wants to see, and says so when it does not come. A stream that is cut in the
// middle is one of our own making, written to Redis at a pace that the test decides. The browser reaches the
// dispatcher through a proxy that can cut all connections.
'use strict';
const { execFileSync } = require('child_process');
const assert = require('assert/strict');
const fs = require('fs');
const http = require('http');
const net = require('net');
const path = require('path');
const { randomUUID } = require('crypto');
const { chromium } = require('playwright-core');

const [port, redisPort, token, deadJob] = process.argv.slice(2);
const axe = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const HANG_MS = 150000; // the machine may stand still for a while

// ---- servers

function proxyTo(target) {
  const open = new Set();
  const server = net.createServer((ours) => {
    const theirs = net.connect(Number(target), '127.0.0.1');
    for (const [from, to] of [[ours, theirs], [theirs, ours]]) {
      open.add(from);
      from.on('data', (bytes) => to.write(bytes));
      from.on('close', () => { open.delete(from); to.destroy(); });
      from.on('error', () => {});
    }
  });
  return { server, cut: () => { for (const s of open) s.destroy(); } };
}

const listen = (server) => new Promise((done) => { server.listen(0, '127.0.0.1', () => done(server.address().port)); });

// One command at a time; the answers are not looked at but for errors.
function redisClient() {
  const socket = net.connect(Number(redisPort), '127.0.0.1');
  return (...words) => new Promise((done, fail) => {
    socket.once('data', (bytes) => (bytes[0] === 0x2d ? fail(new Error(String(bytes))) : done()));
    socket.write(`*${words.length}\r\n` + words.map((w) => `$${Buffer.byteLength(w)}\r\n${w}\r\n`).join(''));
  });
}

const submit = (...options) => execFileSync(process.env.MR_MILLRACE, ['submit', ...options, 'A mill'], { encoding: 'utf8' }).trim();
const sleep = (ms) => new Promise((done) => { setTimeout(done, ms); });

// ---- steps

const steps = [];
const step = (name, run) => steps.push({ name, run });
let browser, base, proxy, redis, page, context;
const complaints = [];
let expectRefusals = false; // the browser reports each answer that is no success

async function open(options = {}) {
  context = await browser.newContext(options);
  page = await context.newPage();
  page.setDefaultTimeout(HANG_MS);
  page.on('pageerror', (e) => complaints.push(e.message));
  page.on('console', (m) => {
    if (m.type() !== 'error' || (expectRefusals && m.text().startsWith('Failed to load resource'))) return;
    complaints.push(m.text());
  });
  await page.goto(base);
  await page.waitForSelector('#job-rows tr');
}

async function logIn() {
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByLabel('Token').fill(token);
  await page.keyboard.press('Enter');
  await page.waitForSelector('#logout:not([hidden])');
}

// The text of an element, when it has become what fits() wants.
async function becomes(selector, fits) {
  for (const end = Date.now() + HANG_MS; ;) {
    const text = await page.textContent(selector);
    if (fits(text)) return text;
    if (Date.now() > end) throw new Error(`${selector} is still "${text.slice(0, 200)}"`);
    await sleep(30);
  }
}

async function violations() {
  // Not addScriptTag: the page's own policy forbids what is not its own.
  await page.evaluate(axe);
  const found = await page.evaluate(async () => (await axe.run()).violations
    .map((v) => `${v.id}: ${v.nodes.map((n) => n.target.join(' ')).slice(0, 3).join(', ')}`));
  return found;
}

async function choose(id) {
  await page.getByLabel('Job id').fill(id);
  await page.getByRole('button', { name: 'Show', exact: true }).click();
  await becomes('#job-id', (t) => t === id);
}

step('numbers and rows follow what happens', async () => {
  await open();
  await becomes('#link', (t) => t === 'live');
  await becomes('#n-tokens', (t) => Number(t.replace(',', '')) > 0);
  await becomes('#workers', (t) => t.includes('demo'));
  await becomes('#tenants', (t) => t.includes('acme'));
  await becomes('#c-tokens figcaption', (t) => t.startsWith('Mean'));
  const rows = () => page.$$eval('#job-rows tr', (all) => all.map((r) => r.dataset.key));
  const before = new Set(await rows());
  await page.waitForFunction((old) => [...document.querySelectorAll('#job-rows tr')].some((r) => !old.includes(r.dataset.key)), [...before]);
  assert.equal(await page.locator('#job-rows button:has-text("Cancel"):visible').count(), 0, 'actions before the login');
});

step('the wrong token is refused, the right one opens', async () => {
  expectRefusals = true;
  await page.getByRole('button', { name: 'Log in' }).click();
  await page.getByLabel('Token').fill('not the token at all');
  await page.keyboard.press('Enter');
  await becomes('#login-error', (t) => t === 'That is not the token.');
  await page.keyboard.press('Escape');
  await logIn();
  await page.reload();
  await page.waitForSelector('#logout:not([hidden])'); // the session lives on
});

step('a stream goes on after a cut, nothing lost, nothing twice', async () => {
  const id = randomUUID(), key = `mr:{${id}}`;
  const words = Array.from({ length: 120 }, (_, i) => `w${i} `);
  const frame = (type, attempt, index, more) => JSON.stringify({ type, job_id: id, attempt, index, ...more });
  const put = async (attempt, index, f) => {
    await redis('XADD', `${key}:s`, `${attempt}-${index}`, 'f', f);
    await redis('PUBLISH', `${key}:t`, f);
  };
  await redis('HSET', key, 'state', 'running', 'model', 'demo', 'tenant', 'acme', 'attempt', '1');
  for (let i = 0; i < 5; i++) await put(1, i, frame('token', 1, i, { token: i, text: 'old ' }));
  await put(2, 0, frame('restart', 2, 0));
  await choose(id);
  await becomes('#job-text', (t) => t === '');
  for (let i = 0; i < words.length; i++) {
    await put(3, i, frame('token', 3, i, { token: i, text: words[i] }));
    if (i === 40) await becomes('#job-text', (t) => t.includes('w40 '));
    if (i === 41 || i === 80) proxy.cut();
    if (i > 40) await sleep(10);
  }
  const done = frame('done', 3, words.length, { status: 'succeeded', finish_reason: 'stop' });
  await redis('HSET', key, 'state', 'succeeded');
  await put(3, words.length, done);
  await becomes('#job-state', (t) => t === 'succeeded');
  assert.equal(await becomes('#job-text', (t) => t.includes('w119 ')), words.join(''));
  await page.waitForSelector('#job-text:not(.live)');
});

step('a real job is followed to its end', async () => {
  const id = submit('--max-tokens', '120', '-t', '0');
  await choose(id);
  await becomes('#job-state', (t) => t === 'succeeded');
  await becomes('#job-text', (t) => t !== '');
});

step('cancel ends a job', async () => {
  const id = submit('--not-before', '+1h');
  await choose(id);
  await becomes('#job-state', (t) => t === 'delayed');
  await page.getByRole('button', { name: 'Cancel this job' }).click();
  await becomes('#job-state', (t) => t === 'cancelled');
});

step('replay makes a new job of a dead one', async () => {
  const row = page.locator(`#dead tr:has([title="${deadJob}"])`);
  await row.getByRole('button', { name: /^Replay/ }).click();
  await becomes('#dead', (t) => t.includes('replayed as'));
  await page.waitForFunction((old) => !['', old].includes(document.getElementById('job-id').textContent), deadJob);
  await becomes('#job-state', (t) => t === 'succeeded');
});

step('another site can neither read nor act', async () => {
  const id = submit('--not-before', '+1h');
  await choose(id);
  await becomes('#job-state', (t) => t === 'delayed');
  const elsewhere = await listen(http.createServer((_, answer) => answer.end('<!doctype html><title>other</title>')));
  const other = await context.newPage(); // the same browser, logged in; ports do not count for cookies
  for (const host of ['127.0.0.1', 'localhost']) {
    await other.goto(`http://${host}:${elsewhere}/`);
    const tries = await other.evaluate(async ([to, job]) => {
      const cancel = `${to}api/v1/jobs/${job}/cancel`;
      const form = Object.assign(document.createElement('form'), { method: 'post', action: cancel, target: 'frame' });
      document.body.append(Object.assign(document.createElement('iframe'), { name: 'frame' }), form);
      form.submit();
      const all = await Promise.allSettled([
        fetch(cancel, { method: 'POST', credentials: 'include', mode: 'no-cors' }).then((r) => r.type),
        fetch(cancel, { method: 'POST', credentials: 'include', headers: { 'X-CSRF-Token': 'x' } }),
        fetch(`${to}api/v1/session`, { credentials: 'include' })]);
      return all.map((a) => a.status);
    }, [base, id]);
    assert.deepEqual(tries.slice(1), ['rejected', 'rejected'], host);
  }
  await other.close();
  await sleep(500); // a cancel that had been taken would show
  await becomes('#job-state', (t) => t === 'delayed');
  const own = await page.evaluate(async (job) => (await fetch(`api/v1/jobs/${job}/cancel`, { method: 'POST' })).status, id);
  assert.equal(own, 403); // from our own page, but without the second secret
});

step('the keyboard reaches everything', async () => {
  await page.evaluate(() => document.activeElement.blur());
  const next = async () => {
    await page.keyboard.press('Tab');
    return page.evaluate(() => ['id', 'class', 'title'].map((name) => document.activeElement.getAttribute(name) ?? ''));
  };
  const wanted = new Set(['skip', 'logout', 'find-id', 'link', 'job-text', 'job-cancel']);
  for (let i = 0; i < 120 && wanted.size; i++) for (const name of await next()) wanted.delete(name);
  assert.deepEqual([...wanted], []);
  for (let i = 0; i < 120; i++) {
    const [, className, id] = await next();
    if (className !== 'link') continue;
    await page.keyboard.press('Enter');
    await becomes('#job-id', (t) => t === id);
    return;
  }
  assert.fail('no job was reached');
});

step('nothing is wrong for those who see less', async () => {
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    assert.deepEqual(await violations(), [], colorScheme);
  }
  await page.getByRole('button', { name: 'Log out' }).click();
  await page.getByRole('button', { name: 'Log in' }).click();
  assert.deepEqual(await violations(), [], 'login');
  await page.keyboard.press('Escape');
});

step('it says when it may only read', async () => {
  await page.route('**/api/v1/session', (r) => r.fulfill({ json: { token: false, open: false } }));
  await page.reload();
  await becomes('#notice', (t) => t.startsWith('Read only'));
  assert.equal(await page.locator('#login-open').isVisible(), false);
  await page.unroute('**/api/v1/session');
});

step('a phone needs no sideways scrolling', async () => {
  await context.close();
  await open({ viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true });
  await logIn();
  await page.locator('#job-rows .link').first().click();
  await becomes('#job-id', (t) => t !== '');
  const [wide, shown] = await page.evaluate(() => [document.documentElement.scrollWidth, window.innerWidth]);
  assert.ok(wide <= shown, `${wide} > ${shown}`);
  assert.deepEqual(await violations(), []);
});

if (process.env.MR_SCREENSHOTS)
  step('screenshots', async () => {
    await context.close();
    await open({ viewport: { width: 1280, height: 930 } });
    await logIn();
    await sleep(60000); // charts want some history
    await page.locator('#job-rows tr:has(.running) .link').first().click();
    await page.mouse.move(0, 0);
    await becomes('#job-text', (t) => t.length > 60);
    for (const colorScheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme });
      await page.screenshot({ path: path.join(process.env.MR_SCREENSHOTS, `page-${colorScheme}.png`) });
    }
  });

(async () => {
  proxy = proxyTo(port);
  base = `http://127.0.0.1:${await listen(proxy.server)}/`;
  redis = redisClient();
  browser = await chromium.launch({ executablePath: '/usr/bin/chromium', args: ['--no-sandbox'] });
  for (const { name, run } of steps) {
    const began = Date.now();
    await run().catch((e) => { throw new Error(`${name}: ${e.stack}`); });
    assert.deepEqual(complaints, [], name);
    console.log(`  ${name} (${((Date.now() - began) / 1000).toFixed(1)} s)`);
  }
  await browser.close();
  process.exit(0);
})().catch((e) => { console.error(e.message); process.exit(1); });
