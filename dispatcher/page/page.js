// page.js - asks the dispatcher once in a while and shows what it says; follows the tokens of one job.
//
// Rows are kept by their key and only what differs is written, so focus and selection stay where they are.
// Nothing is asked for while nobody looks. All text from outside goes through textContent.

import { Chart, Spark } from './chart.js';

const OVERVIEW_MS = 1000, JOBS_MS = 2000, HISTORY_MS = 5000, DEAD_MS = 10000;
const JOB_ROWS = 14;
const ENDED = new Set(['succeeded', 'failed', 'rejected', 'cancelled', 'expired']);

const $ = (id) => document.getElementById(id);
const session = { token: false, open: false, csrf: '' };
let clockSkewMs = 0; // the dispatcher's clock less ours

// ---- words

const whole = new Intl.NumberFormat('en');
const oneDigit = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const rate = (x) => (x > 0 && x < 100 ? oneDigit : whole).format(x < 100 ? x : Math.round(x));
const percent = (x) => `${Math.round(100 * x)} %`;
const plural = (n, word) => `${whole.format(n)} ${word}${n === 1 ? '' : 's'}`;

function duration(s) {
  if (s < 1) return 'now';
  if (s < 90) return `${Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.floor(s / 3600)} h ${Math.round(s % 3600 / 60)} min`;
  return `${Math.round(s / 86400)} days`;
}

const age = (ms) => (ms ? duration(Math.max(Date.now() + clockSkewMs - ms, 0) / 1000) : '–');
const shortId = (id) => `${id.slice(0, 8)}…${id.slice(-6)}`;
const part = (free, total) => (total > 0 ? (total - free) / total : 0);
const mean = (values) => values.reduce((a, b) => a + b, 0) / Math.max(values.length, 1);

// ---- the dispatcher

class Refused extends Error {
  constructor(status, error) {
    super(error.message);
    Object.assign(this, { status, code: error.code });
  }
}

async function ask(path, options = {}) {
  const answer = await fetch(`api/v1/${path}`, { cache: 'no-store', ...options });
  const body = await answer.json().catch(() => ({ error: { code: 'broken', message: answer.statusText } }));
  if (!answer.ok) throw new Refused(answer.status, body.error);
  return body;
}

const post = (path, body) => ask(path, { method: 'POST', body, headers: { 'X-CSRF-Token': session.csrf } });

let toastTimer;
function say(text) {
  $('said').textContent = text;
  $('said').hidden = false;
  clearTimeout(toastTimer);
  toastTimer = setTimeout(() => { $('said').hidden = true; }, 6000);
}

// A session that has run out, or a dispatcher that was started anew.
function failed(e) {
  if (e.status === 401) showSession({ token: true, open: false });
  say(e.message);
}

// Calls fn now, every so often, and when somebody looks again; never twice at a time.
function every(ms, fn) {
  let timer, busy = false;
  const run = async () => {
    clearTimeout(timer);
    if (!busy && !document.hidden) {
      busy = true;
      await fn().catch(() => {}); // the overview tells when the dispatcher is away
      busy = false;
    }
    timer = setTimeout(run, ms);
  };
  document.addEventListener('visibilitychange', () => { if (!document.hidden) run(); });
  run();
  return run;
}

// ---- showing

function put(e, text) {
  if (e.textContent !== text) e.textContent = text;
}

function cell(row, className = '', text = '') {
  const td = row.insertCell();
  td.className = className;
  td.textContent = text;
  return td;
}

// One row per item; make(row) builds its cells and returns what update(parts, item) fills in.
function showRows(body, items, keyOf, make, update) {
  const rows = new Map([...body.rows].map((r) => [r.dataset.key, r]));
  items.forEach((item, i) => {
    let row = rows.get(keyOf(item));
    rows.delete(keyOf(item));
    if (!row) {
      row = document.createElement('tr');
      row.dataset.key = keyOf(item);
      row.parts = make(row, item);
    }
    if (body.rows[i] !== row) body.insertBefore(row, body.rows[i] ?? null);
    update(row.parts, item, row);
  });
  for (const row of rows.values()) row.remove();
}

function meter(td, className) {
  const div = document.createElement('div');
  div.className = `meter ${className}`;
  const bar = document.createElement('i');
  const text = document.createElement('span');
  div.append(bar, text);
  td.append(div);
  return (x, words) => {
    bar.style.setProperty('--part', String(Math.min(Math.max(x, 0), 1)));
    put(text, words);
  };
}

function button(parent, text, className, onClick) {
  const b = document.createElement('button');
  b.type = 'button';
  b.className = className;
  b.textContent = text;
  b.addEventListener('click', onClick);
  parent.append(b);
  return b;
}

function showState(e, state) {
  const name = `state ${state}`;
  if (e.className !== name) e.className = name;
  put(e, state);
}

// ---- overview

const lanes = ['high', 'normal', 'low'];
const sparks = { lanes: {}, workers: {} };

const backlog = (lane) => lane.waiting + lane.unread; // in the dispatchers' memory, and behind it in Kafka

function showFigures(o) {
  const waiting = lanes.reduce((n, l) => n + backlog(o.lanes[l]), 0);
  const pace = lanes.reduce((n, l) => n + o.lanes[l].jobs_per_s, 0);
  put($('n-waiting'), whole.format(waiting));
  put($('n-waiting-more'), waiting === 0 ? 'nothing waits'
    : pace > 0 ? `all gone in about ${duration(waiting / pace)}` : 'nothing has left within a minute');
  put($('n-running'), whole.format(o.running));
  put($('n-running-more'), `of ${plural(o.slots, 'slot')}`);
  put($('n-tokens'), rate(o.tokens_per_s));
  put($('n-tokens-more'), `${plural(o.workers.filter((w) => w.state === 'live').length, 'worker')}, ${rate(pace)} jobs/s`);
  put($('n-kv'), percent(o.kv));
  put($('n-kv-more'), 'of all workers');
}

function makeLane(row, lane) {
  const name = document.createElement('th');
  name.scope = 'row';
  name.textContent = lane.name;
  row.append(name);
  const parts = [cell(row, 'num'), cell(row, 'num'), cell(row, 'num')];
  sparks.lanes[lane.name] = new Spark(cell(row, 'line'));
  return parts;
}

function showLanes(o) {
  showRows($('lanes'), lanes.map((name) => ({ name, ...o.lanes[name] })), (l) => l.name, makeLane,
    ([waiting, pace, eta], l) => {
      put(waiting, whole.format(backlog(l)));
      put(pace, rate(l.jobs_per_s));
      put(eta, backlog(l) === 0 ? '–' : l.eta_s === undefined ? 'not moving' : duration(l.eta_s));
    });
  const notes = [];
  if (o.delayed) notes.push(`${plural(o.delayed, 'job')} not due yet`);
  if (o.partitions.paused) notes.push(`${o.partitions.paused} of ${o.partitions.total} partitions paused: the window is full`);
  put($('lanes-note'), notes.join('; '));
}

function makeWorker(row, w) {
  const parts = {
    row, name: cell(row), model: cell(row, 'less'), fill: meter(cell(row), ''), kv: meter(cell(row), 'kv'),
    tokens: cell(row, 'num'), pressure: cell(row, 'num less'),
  };
  sparks.workers[w.worker] = new Spark(cell(row, 'line'));
  return parts;
}

function showWorkers(o) {
  showRows($('workers'), o.workers, (w) => w.worker, makeWorker, (p, w) => {
    p.row.classList.toggle('silent', w.state !== 'live');
    put(p.name, w.state === 'live' ? w.worker : `${w.worker} (silent for ${duration(w.age_ms / 1000)})`);
    put(p.model, w.model);
    p.fill(w.slots.max ? w.running / w.slots.max : 0, `${w.running} of ${w.slots.max}`);
    p.kv(part(w.kv_tokens.free, w.kv_tokens.total), percent(part(w.kv_tokens.free, w.kv_tokens.total)));
    put(p.tokens, rate(w.tokens_per_s));
    put(p.pressure, percent(w.pressure));
  });
  $('workers-none').hidden = o.workers.length > 0;
}

function showTenants(o) {
  showRows($('tenants'), o.tenants, (t) => t.tenant,
    (row) => [cell(row), cell(row, 'num'), cell(row, 'num'), cell(row, 'num')],
    ([name, waiting, tokens, weight], t) => {
      put(name, t.limited ? `${t.tenant} (held back by its rate)` : t.tenant);
      put(waiting, whole.format(t.waiting));
      put(tokens, rate(t.tokens_per_s));
      put(weight, whole.format(t.weight));
    });
  $('tenants-none').hidden = o.tenants.length > 0;
}

function showLink(ok, text) {
  put($('link'), text);
  $('link').className = `pill ${ok ? 'good' : 'bad'}`;
}

async function refreshOverview() {
  let o;
  try {
    o = await ask('overview');
  } catch (e) {
    showLink(false, 'no answer');
    throw e;
  }
  clockSkewMs = o.time_ms - Date.now();
  showLink(o.redis, o.redis ? 'live' : 'Redis is away: no live tokens');
  const others = o.dispatchers.filter((d) => d.state === 'live' && d.dispatcher !== o.dispatcher).length;
  put($('who'), others ? `${o.dispatcher} and ${plural(others, 'other dispatcher')}` : o.dispatcher);
  put($('foot'), `millrace ${o.version}`);
  showFigures(o);
  showLanes(o);
  showWorkers(o);
  showTenants(o);
}

// ---- history

const past = { next: 0, most: 180, periodMs: 5000, series: {}, workers: {} };

const charts = {
  tokens: new Chart($('c-tokens'), {
    series: [{ name: 'tokens/s', show: rate }],
    summary: ([t]) => (t.length ? `Mean ${rate(mean(t))}, peak ${rate(Math.max(...t))} tokens per second over ${duration(t.length * past.periodMs / 1000)}.` : 'No samples yet.'),
  }),
  fill: new Chart($('c-fill'), {
    series: [{ name: 'batch', show: percent }, { name: 'KV cache', show: percent }],
    fixed: 1,
    summary: ([fill, kv]) => (fill.length ? `Mean fill of the batch ${percent(mean(fill))}, peak of the KV cache ${percent(Math.max(...kv))}.` : 'No samples yet.'),
  }),
};

// What a chart spans: all there is, and no less than two minutes.
const span = () => Math.min(past.most, Math.max(past.series.tokens.length, 24));

// Appends what is new; a dispatcher that was started anew, or that we missed too much of, starts over.
function append(old, values, goesOn) {
  return [...(goesOn ? old ?? [] : []), ...values].slice(-past.most);
}

async function refreshHistory() {
  const h = await ask(`history?since=${past.next}`);
  if (h.next < past.next) { past.next = 0; return refreshHistory(); }
  const goesOn = h.first === past.next && past.next > 0;
  Object.assign(past, { next: h.next, most: h.most, periodMs: h.period_ms });
  const s = past.series;
  s.tokens = append(s.tokens, h.tokens_per_s, goesOn);
  s.fill = append(s.fill, h.running.map((n, i) => (h.slots[i] ? Math.min(n / h.slots[i], 1) : 0)), goesOn);
  s.kv = append(s.kv, h.kv, goesOn);
  for (const l of lanes) s[l] = append(s[l], h.lanes[l].waiting, goesOn);
  for (const w of h.workers) past.workers[w.worker] = append(past.workers[w.worker], w.tokens_per_s, goesOn);
  charts.tokens.draw([s.tokens], span(), past.periodMs);
  charts.fill.draw([s.fill, s.kv], span(), past.periodMs);
  for (const l of lanes) sparks.lanes[l]?.draw(s[l], span());
  for (const [name, spark] of Object.entries(sparks.workers)) spark.draw((past.workers[name] ?? []).slice(-span()), span());
  return undefined;
}

// ---- one job, live

const live = { id: '', source: null, next: 0, ended: false };

function facts(pairs) {
  $('job-facts').replaceChildren(...pairs.filter(([, value]) => value !== undefined && value !== '').map(([name, value]) => {
    const div = document.createElement('div');
    const dt = document.createElement('dt'), dd = document.createElement('dd');
    dt.textContent = name;
    dd.textContent = value;
    div.append(dt, dd);
    return div;
  }));
}

async function refreshJob() {
  const id = live.id;
  if (!id) return;
  let j;
  try {
    j = await ask(`jobs/${id}`);
  } catch (e) {
    if (id === live.id && e.status) put($('job-note'), e.message);
    return;
  }
  if (id !== live.id) return;
  $('job-state').hidden = false;
  put($('job-state'), j.state);
  $('job-cancel').hidden = !session.open || ENDED.has(j.state);
  facts([['model', j.model], ['tenant', j.tenant], ['lane', j.lane], ['worker', j.worker], ['attempt', j.attempt],
    ['tokens', j.tokens], ['received', j.received_ms ? `${age(j.received_ms)} ago` : undefined],
    ['ended by', j.finish_reason], ['error', j.error]]);
}

function stopFollowing(note) {
  live.source?.close();
  live.source = null;
  $('job-text').classList.remove('live');
  put($('job-note'), note);
}

function addText(text) {
  const box = $('job-text');
  const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
  if (box.lastChild) box.lastChild.appendData(text);
  else box.append(document.createTextNode(text));
  if (atEnd) box.scrollTop = box.scrollHeight;
}

const onFrame = {
  token(f) {
    if (f.index < live.next) return;
    if (f.index > live.next) addText(' […] ');
    live.next = f.index + 1;
    addText(f.text);
  },
  restart() {
    live.next = 0;
    $('job-text').replaceChildren();
  },
  done(f) {
    live.ended = true;
    stopFollowing(f.index > live.next ? 'Some tokens were lost on the way; the result has them all.' : '');
    refreshJob();
    refreshJobs();
  },
  over(f) {
    live.ended = true;
    stopFollowing(f.state === 'unknown' ? 'Nothing is known of this job.'
      : `The job is over (${f.state}), and its stream is gone; its result is in Kafka.`);
    refreshJob();
  },
};

// The browser connects again by itself, and says with Last-Event-ID where it was.
function follow() {
  stopFollowing('');
  if (!live.id || live.ended) return;
  if (!session.open) {
    stopFollowing(session.token ? 'Log in to read the text.' : 'Texts are not shown: the dispatcher has no http_token.');
    return;
  }
  const source = new EventSource(`api/v1/jobs/${live.id}/events`);
  live.source = source;
  $('job-text').classList.add('live');
  for (const name of Object.keys(onFrame))
    source.addEventListener(name, (e) => { if (live.source === source) onFrame[name](JSON.parse(e.data)); });
  source.onopen = () => put($('job-note'), '');
  source.onerror = () => {
    if (live.source !== source) return;
    if (source.readyState === EventSource.CLOSED) stopFollowing('The stream was refused; log in again, or try later.');
    else put($('job-note'), 'Connection lost; going on when it is back.');
  };
}

function choose(id) {
  Object.assign(live, { id, next: 0, ended: false });
  $('job-none').hidden = true;
  $('job-body').hidden = false;
  $('job-state').hidden = true;
  $('job-cancel').hidden = true;
  put($('job-id'), id);
  facts([]);
  $('job-text').replaceChildren();
  for (const row of $('job-rows').rows) markChosen(row);
  follow();
  refreshJob();
}

function markChosen(row) {
  row.classList.toggle('chosen', row.dataset.key === live.id);
  row.querySelector('.link')?.setAttribute('aria-pressed', String(row.dataset.key === live.id));
}

// ---- jobs

async function cancel(id) {
  try {
    await post(`jobs/${id}/cancel`);
    say(`Cancel of ${id} is on its way.`);
  } catch (e) {
    failed(e);
  }
}

function makeJob(row, j) {
  const name = cell(row);
  button(name, shortId(j.job_id), 'link', () => choose(j.job_id)).title = j.job_id;
  const state = document.createElement('span');
  cell(row).append(state);
  const parts = { state, tenant: cell(row, 'less'), worker: cell(row, 'less'), tokens: cell(row, 'num'), age: cell(row, 'num') };
  parts.cancel = button(cell(row, 'act'), 'Cancel', 'button', () => cancel(j.job_id));
  parts.cancel.setAttribute('aria-label', `Cancel job ${j.job_id}`);
  return parts;
}

function showJob(p, j, row) {
  row.item = j;
  showState(p.state, j.state);
  put(p.tenant, j.tenant ?? '');
  put(p.worker, j.worker ?? '');
  put(p.tokens, j.tokens === undefined ? '–' : whole.format(j.tokens));
  put(p.age, age(j.received_ms));
  p.cancel.hidden = !session.open || ENDED.has(j.state);
  markChosen(row);
}

// Those that run first: who was released last may still wait for a slot.
const rank = (j) => (j.state === 'running' ? 0 : ENDED.has(j.state) ? 2 : 1);

// While somebody is about to press something the rows stay where they are.
const canHover = matchMedia('(hover: hover)');
const isHeld = (body) => (canHover.matches && body.matches(':hover')) || body.querySelector(':focus-visible') !== null;

function rowsToShow(jobs) {
  const body = $('job-rows');
  if (!isHeld(body) || !body.rows.length) return jobs.sort((a, b) => rank(a) - rank(b)).slice(0, JOB_ROWS);
  const now = new Map(jobs.map((j) => [j.job_id, j]));
  return [...body.rows].map((row) => now.get(row.dataset.key) ?? row.item);
}

async function loadJobs() {
  const { jobs } = await ask('jobs?limit=60');
  showRows($('job-rows'), rowsToShow(jobs), (j) => j.job_id, makeJob, showJob);
  $('jobs-none').hidden = jobs.length > 0;
  await refreshJob();
}

// ---- dead letters

async function replay(letter, b) {
  b.disabled = true;
  try {
    const done = await post(`dead/${letter.letter}/replay`);
    say(`Replayed as ${done.replay}.`);
    choose(done.replay);
  } catch (e) {
    failed(e);
  }
  b.disabled = false;
  refreshDead();
}

function makeLetter(row, l) {
  const parts = { when: cell(row), cause: cell(row), job: cell(row, 'mono'), message: cell(row, 'less') };
  const act = cell(row, 'act');
  parts.replay = button(act, 'Replay', 'button', () => replay(l, parts.replay));
  parts.replay.setAttribute('aria-label', `Replay dead letter ${l.letter}`);
  parts.done = document.createElement('span');
  parts.done.className = 'quiet';
  act.append(parts.done);
  return parts;
}

function showLetter(p, l) {
  put(p.when, `${age(l.time_ms)} ago`);
  put(p.cause, l.cause.replaceAll('_', ' '));
  put(p.job, l.job_id ? shortId(l.job_id) : l.letter);
  p.job.title = l.job_id ?? '';
  put(p.message, l.message);
  put(p.done, l.replay ? `replayed as ${shortId(l.replay)}` : '');
  p.replay.hidden = !session.open || l.replay !== undefined || l.job_id === undefined;
}

async function loadDead() {
  const { letters, complete } = await ask('dead');
  showRows($('dead'), letters, (l) => l.letter, makeLetter, showLetter);
  $('dead-none').hidden = letters.length > 0 || !complete;
  if (!complete) setTimeout(refreshDead, 500);
}

// ---- sessions

function showSession(s) {
  const opened = session.open !== s.open;
  Object.assign(session, { token: s.token, open: s.open, csrf: s.csrf ?? '' });
  $('login-open').hidden = !s.token || s.open;
  $('logout').hidden = !s.open;
  $('notice').hidden = s.token;
  put($('notice'), s.token ? '' : 'Read only: no http_token is set, so texts of jobs are not shown and nothing can be changed here.');
  if (!opened) return;
  follow();
  refreshJobs();
  refreshDead();
}

async function logIn(event) {
  event.preventDefault();
  put($('login-error'), '');
  try {
    showSession(await ask('session', { method: 'POST', body: $('token').value }));
    $('login').close();
  } catch (e) {
    put($('login-error'), e.status === 401 ? 'That is not the token.' : e.message);
    $('token').select();
  }
}

$('login-open').addEventListener('click', () => { put($('login-error'), ''); $('login').showModal(); });
$('login-close').addEventListener('click', () => $('login').close());
$('login').addEventListener('close', () => { $('token').value = ''; });
$('login-form').addEventListener('submit', logIn);
$('logout').addEventListener('click', () => post('session/end').then(showSession, failed));
$('job-cancel').addEventListener('click', () => cancel(live.id));
$('find').addEventListener('submit', (event) => {
  event.preventDefault();
  const id = $('find-id').value.trim();
  if (/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id)) choose(id);
  else say('A job id is a UUID, such as 0193e2a4-7a51-7c6e-9d2f-3f8b1c0a5e77.');
});

const refreshJobs = every(JOBS_MS, loadJobs);
const refreshDead = every(DEAD_MS, loadDead);
every(OVERVIEW_MS, refreshOverview);
every(HISTORY_MS, refreshHistory);
ask('session').then(showSession, () => {});
