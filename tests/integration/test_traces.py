#!/usr/bin/python3
"""Goal: one trace shows a job's whole way, from who sent it to who was told of its end, also over a retry, a
preemption, a cancel and a restart; whoever asks for none gets none; and a collector that is slow, broken or away
costs spans, never a job.

Method: a real broker, a real Redis, a dispatcher, a worker over an engine that fails as a file says, and a
collector that checks what it is sent against OTLP's JSON. The tree that the spans make is compared with the one
that docs/TRACING.md draws. The trace context is looked for in every topic, and no prompt in any span.
"""

from __future__ import annotations

import base64
import http.server
import json
import re
import secrets
import subprocess
import threading
import time
import unittest
import urllib.request

import redis

import rig as servers
from collector import Collector
from jobs import JSON, Results, Topic, make_job, produce, producer, stream_frames, stream_text

FAULTY = servers.BIN.parent / "tests/worker_faulty"
BAD = 77  # a prompt that begins with this token fails while the file of faults says so
STATE = "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"
SECRET = "Xylophone quartet for the deaf"  # in every prompt, in no span
PARAMS = {"max_tokens": 8, "temperature": 0, "ignore_eos": True}


def job(**fields) -> dict:
    return make_job(SECRET, model="demo", **{"params": PARAMS, **fields})


def bad_job(**fields) -> dict:
    return {**job(**fields), "input": {"tokens": [BAD, 5, 6, 7]}}


class Trace:
    """Of one job, as its producer has it."""

    def __init__(self, flags: str = "01") -> None:
        self.id, self.parent, self.flags = secrets.token_hex(16), secrets.token_hex(8), flags
        self.headers = [("traceparent", str(self)), ("tracestate", STATE)]

    def __str__(self) -> str:
        return f"00-{self.id}-{self.parent}-{self.flags}"


class Receiver(http.server.BaseHTTPRequestHandler):
    """Of callbacks: the first call fails."""
    traces: list = []

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        Receiver.traces.append((self.headers["traceparent"], self.headers["tracestate"]))
        self.send_response(500 if len(Receiver.traces) == 1 else 204)
        self.end_headers()

    def log_message(self, *args) -> None:
        pass


class Traces(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
        threading.Thread(target=cls.receiver.serve_forever, daemon=True).start()
        cls.addClassCleanup(cls.receiver.shutdown)
        cls.collector = Collector().__enter__()
        cls.addClassCleanup(cls.collector.__exit__, None, None, None)
        cls.rig = servers.Rig().__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        cls.ports = dict(zip(("dispatcher", "worker"), servers.free_ports(2)))
        cls.start_dispatcher()
        cls.start_worker()
        cls.redis = redis.Redis(port=cls.rig.redis_port)
        cls.rig.wait_topics("millrace.results", "millrace.dead", "millrace.work.demo", "millrace.attempts")
        cls.results = Results(cls.rig.brokers)
        cls.addClassCleanup(cls.results.close)
        cls.producer = producer(cls.rig.brokers)
        cls.results.wait([produce(cls.producer, job())])

    @classmethod
    def start_dispatcher(cls, **settings) -> None:
        secrets_file = cls.rig.dir / "secrets.yaml"
        secrets_file.write_text("default: whsec_" + base64.b64encode(bytes(32)).decode() + "\n")
        cls.rig.start_dispatcher(dispatcher_listen=f"127.0.0.1:{cls.ports['dispatcher']}", dispatcher_id="d-1",
                                 webhook_allow=f"127.0.0.1:{cls.receiver.server_port}", webhook_delays="0,100ms",
                                 webhook_secrets_file=secrets_file,
                                 otlp_endpoint=cls.collector.url, retry_base_ms=100, max_attempts=3,
                                 session_timeout_ms=6000, topic_partitions=2, **settings)

    @classmethod
    def start_worker(cls) -> None:
        settings = {"worker_listen": f"127.0.0.1:{cls.ports['worker']}", "model_path": servers.DEMO_MODEL,
                    "worker_id": "w-1", "max_jobs": 4, "threads": 1, "session_timeout_ms": 6000,
                    "heartbeat_ms": 100, "otlp_endpoint": cls.collector.url, "topic_partitions": 2}
        cls.rig.start("worker", [FAULTY, *servers.flags(settings)],
                      {**cls.rig.env(), "MR_FAULTS": str(cls.rig.dir / "faults")})

    def tearDown(self) -> None:
        self.collector.code = 200
        self.collector.answers.set()
        (self.rig.dir / "faults").unlink(missing_ok=True)
        self.assertEqual(self.collector.wrong, [])
        self.assertFalse([b for b in self.collector.bodies if SECRET.encode() in b])

    # ---- what is there

    def submit(self, j: dict, trace: Trace | None = None, headers=None, lane: str = "normal") -> str:
        job_id = produce(self.producer, j, JSON, lane, trace.headers if trace else headers)
        self.assertEqual(self.producer.flush(servers.HANG_S), 0)
        return job_id

    def spans(self, job_id: str, ends_with: str = "done") -> list[dict]:
        """All of a job's, when the last one of each process has come."""
        def all_there():
            spans = self.collector.of_job(job_id)
            names = {s["name"].split(" ")[0] for s in spans}
            return spans if {ends_with, "process"} <= names else None
        spans = servers.wait_for(f"spans of {job_id}", all_there)
        want = {s["attributes"]["millrace.attempt"] for s in spans if s["name"].startswith("send millrace.work")}

        def attempts_there():
            now = self.collector.of_job(job_id)
            have = {s["attributes"]["millrace.attempt"] for s in now if s["name"] == "process millrace.work.demo"}
            commits = sum(s["name"] == "commit" for s in now)
            return now if len(have) >= len(want) and commits >= len(have) else None
        return servers.wait_for(f"attempts of {job_id}", attempts_there)

    def tree(self, spans: list[dict], root: str | None) -> list:
        """[(name, [children])], by start; every span must be reached from the root."""
        below: dict[str | None, list[dict]] = {}
        for s in spans:
            below.setdefault(s.get("parentSpanId"), []).append(s)
        reached = []

        def grow(parent: str | None) -> list:
            here = sorted(below.get(parent, []), key=lambda s: (s["start"], s["end"], s["name"]))
            reached.extend(here)
            return [(s["name"], grow(s["spanId"])) for s in here]
        out = grow(root)
        self.assertEqual(len(reached), len(spans), f"spans without a parent: {[s['name'] for s in spans]}")
        return out

    @staticmethod
    def shape(tree: list) -> list:
        """Names alone, whatever their order in time: stages may take no time at all."""
        return sorted((name, Traces.shape(below)) for name, below in tree)

    def one(self, spans: list[dict], name: str) -> dict:
        found = [s for s in spans if s["name"] == name]
        self.assertEqual(len(found), 1, [s["name"] for s in spans])
        return found[0]

    ATTEMPT = ("process millrace.work.demo",
               [("queue", []), ("chat demo", [("prefill", []), ("decode", [])]), ("commit", [])])

    def metric(self, program: str, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[program]}/metrics", timeout=servers.HANG_S) as answer:
            found = re.search(rf"^{re.escape(name)} (\S+)$", answer.read().decode(), re.M)
        return float(found.group(1))

    def header(self, topic: str, job_id: str) -> list[dict]:
        reader = Topic(self.rig.brokers, topic)
        try:
            return [dict(m.headers() or []) for m in reader.read_all() if m.key() == job_id.encode()]
        finally:
            reader.close()

    # ---- one job's way

    def test_each_try_of_a_callback(self) -> None:
        """A span of its own below the job's; the receiver is told the trace."""
        trace = Trace()
        url = f"http://127.0.0.1:{self.receiver.server_port}/hook"
        job_id = self.submit(job(callback={"url": url}), trace)

        def two():
            found = [s for s in self.collector.of_job(job_id) if s["name"] == "POST"]
            return found if len(found) == 2 else None
        tries = sorted(servers.wait_for("two tries", two), key=lambda s: s["attributes"]["http.request.resend_count"])
        whole = self.one(self.spans(job_id), "process millrace.jobs.{lane}")
        self.assertEqual({s["parentSpanId"] for s in tries}, {whole["spanId"]})
        self.assertEqual([s["attributes"]["http.response.status_code"] for s in tries], [500, 204])
        self.assertEqual([s["attributes"].get("error.type") for s in tries], ["500", None])
        self.assertEqual({s["attributes"]["server.address"] for s in tries}, {url[7:-5]})
        self.assertEqual({s["kind"] for s in tries}, {3})
        self.assertEqual(Receiver.traces, [(str(trace), STATE)] * 2)

    def test_a_jobs_whole_way(self) -> None:
        trace = Trace()
        job_id = self.submit(job(tenant="acme"), trace)
        result = self.results.wait([job_id])[job_id]
        spans = self.spans(job_id)
        self.assertEqual(self.shape(self.tree(spans, trace.parent)), self.shape([
            ("process millrace.jobs.{lane}",
             [("wait", []), ("send millrace.work.demo", []), self.ATTEMPT, ("done", [])])]))
        self.assertEqual({s["traceId"] for s in spans}, {trace.id})
        self.assertEqual({s["traceState"] for s in spans}, {STATE})
        self.assertEqual({s["resource"]["service.name"] for s in spans}, {"millrace-dispatcher", "millrace-worker"})
        self.assertEqual({s["resource"]["service.instance.id"] for s in spans}, {"d-1", "w-1"})
        self.assertFalse([s for s in spans if "status" in s])
        whole = self.one(spans, "process millrace.jobs.{lane}")
        self.assertEqual(whole["kind"], 5)
        self.assertEqual(whole["start"], result["timings"]["received_ms"] * 10**6)
        self.assertEqual(whole["end"], result["timings"]["finished_ms"] * 10**6)
        self.assertEqual(whole["attributes"]["millrace.tenant"], "acme")
        chat = self.one(spans, "chat demo")["attributes"]
        self.assertEqual((chat["gen_ai.operation.name"], chat["gen_ai.request.model"]), ("chat", "demo"))
        self.assertEqual((chat["gen_ai.usage.input_tokens"], chat["gen_ai.usage.output_tokens"]),
                         (result["usage"]["prompt_tokens"], result["usage"]["completion_tokens"]))
        self.assertEqual(chat["gen_ai.response.finish_reasons"], ["length"])
        sent = self.one(spans, "send millrace.work.demo")
        work = self.one(spans, "process millrace.work.demo")
        self.assertEqual((sent["kind"], work["kind"]), (4, 5))
        for key in ("messaging.system", "messaging.destination.name", "messaging.destination.partition.id",
                    "messaging.kafka.offset"):
            self.assertEqual(sent["attributes"][key], work["attributes"][key], key)
        self.assertLessEqual(self.one(spans, "wait")["start"], sent["start"])
        for headers in (dict(self.results.by_id[job_id][0][1].headers()), *self.header("millrace.work.demo", job_id)):
            self.assertEqual((headers["traceparent"], headers["tracestate"]), (str(trace).encode(), STATE.encode()))
        self.assertEqual(self.redis.hget(f"mr:{{{job_id}}}", "traceparent"), str(trace).encode())
        self.check_frames(job_id, str(trace), result["text"])

    def check_frames(self, job_id: str, trace: str | None, text: str) -> None:
        """All of them, `done` too, for which `millrace tail` waits; and as it passes them on."""
        out = subprocess.run([servers.BIN / "millrace", "tail", "--json", job_id], env=self.rig.env(), check=True,
                             capture_output=True, text=True, timeout=servers.HANG_S).stdout
        frames = [frame for _, frame in stream_frames(self.redis, job_id)]
        self.assertEqual(stream_text(self.redis, job_id), text)
        self.assertEqual({f.get("traceparent") for f in frames}, {trace})
        self.assertEqual([json.loads(line) for line in out.splitlines()], frames)

    def test_attempts_stand_side_by_side(self) -> None:
        trace = Trace()
        (self.rig.dir / "faults").write_text(f"0 0 0 {BAD} 0\n")
        job_id = self.submit(bad_job(max_attempts=20), trace)
        servers.wait_for("a fault", lambda: self.header("millrace.attempts", job_id))
        (self.rig.dir / "faults").unlink()
        result = self.results.wait([job_id])[job_id]
        self.assertEqual(result["status"], "succeeded")
        spans = self.spans(job_id)
        n = result["tries"]
        self.assertGreater(n, 1)
        (top,) = self.tree(spans, trace.parent)
        names = [name for name, _ in top[1]]
        for name in ("wait", "send millrace.work.demo", "process millrace.work.demo"):
            self.assertEqual(names.count(name), n, names)
        works = sorted((s for s in spans if s["name"] == "process millrace.work.demo"), key=lambda s: s["start"])
        self.assertEqual([s["attributes"]["millrace.outcome"] for s in works], ["fault"] * (n - 1) + ["succeeded"])
        self.assertEqual([s.get("status", {}).get("message") for s in works], ["fault"] * (n - 1) + [None])
        waits = sorted((s for s in spans if s["name"] == "wait"), key=lambda s: s["start"])
        self.assertEqual([[e["name"] for e in s.get("events", [])] for s in waits], [[]] + [["due"]] * (n - 1))
        for headers in self.header("millrace.attempts", job_id):
            self.assertEqual(headers["traceparent"], str(trace).encode())

    def test_no_attempt_is_left(self) -> None:
        trace = Trace()
        (self.rig.dir / "faults").write_text(f"0 0 0 {BAD} 0\n")
        job_id = self.submit(bad_job(max_attempts=1), trace)
        self.assertEqual(self.results.wait([job_id])[job_id]["status"], "failed")
        spans = self.spans(job_id)
        self.assertEqual(self.one(spans, "process millrace.jobs.{lane}")["status"],
                         {"code": 2, "message": "attempts_exhausted"})
        (letter,) = self.header("millrace.dead", job_id)
        self.assertEqual((letter["traceparent"], letter["tracestate"]), (str(trace).encode(), STATE.encode()))

    def test_cancelled_while_it_waits(self) -> None:
        trace = Trace()
        job_id = self.submit(job(not_before_ms=int(time.time() * 1000) + 3600_000), trace)
        servers.wait_for("it is delayed", lambda: self.redis.hget(f"mr:{{{job_id}}}", "state") == b"delayed")
        self.producer.produce("millrace.control", json.dumps({"type": "cancel", "job_id": job_id}), key=job_id)
        self.assertEqual(self.results.wait([job_id])[job_id]["status"], "cancelled")
        spans = self.spans(job_id)
        self.assertEqual(self.shape(self.tree(spans, trace.parent)), self.shape([
            ("process millrace.jobs.{lane}", [("wait", []), ("done", [])])]))
        self.assertEqual(self.one(spans, "wait")["attributes"]["millrace.status"], "cancelled")
        self.assertFalse([s for s in spans if "status" in s], "it was asked for")
        for headers in self.header("millrace.delay.30m", job_id):
            self.assertEqual((headers["traceparent"], headers["tracestate"]), (str(trace).encode(), STATE.encode()))

    def test_a_preempted_job_stays_one_attempt(self) -> None:
        trace, long = Trace(), {**PARAMS, "max_tokens": 400}

        def lost_its_seat() -> str | None:
            lows = [self.submit(job(params=long), trace, lane="low") for _ in range(8)]
            for _ in range(3):
                self.results.wait([self.submit(job(priority="high"), lane="high")])
            got = self.results.wait(lows)
            return next((i for i in lows if got[i]["preemptions"]), None)
        low = servers.wait_for("a low job lost its seat", lost_its_seat)
        got = self.results.wait([low])
        spans = self.spans(low)
        self.assertEqual(self.shape(self.tree(spans, trace.parent)), self.shape([
            ("process millrace.jobs.{lane}",
             [("wait", []), ("send millrace.work.demo", []), self.ATTEMPT, ("done", [])])]))
        events = [e["name"] for e in self.one(spans, "decode").get("events", [])]
        self.assertEqual(events.count("preempted"), got[low]["preemptions"])

    # ---- who asks for none

    def test_who_asks_for_none_gets_none(self) -> None:
        malformed = [("traceparent", "00-" + "0" * 32 + "-00f067aa0ba902b7-01"), ("tracestate", STATE)]
        no_state = [Trace().headers[0], ("tracestate", "not a state")]
        ids = [self.submit(job(tenant="other")), self.submit(job(), headers=malformed),
               self.submit(job(), Trace("00")), self.submit(job(), headers=no_state)]
        got = self.results.wait(ids)
        self.assertEqual({r["status"] for r in got.values()}, {"succeeded"})
        headers = [dict(self.results.by_id[i][0][1].headers()) for i in ids]
        self.assertEqual([("traceparent" in h, "tracestate" in h) for h in headers],
                         [(False, False), (False, False), (True, True), (True, False)])
        for i, h in zip(ids, headers):
            self.check_frames(i, h.get("traceparent", b"").decode() or None, got[i]["text"])
        self.assertTrue(headers[2]["traceparent"].endswith(b"-00"))
        self.spans(ids[3])
        self.assertEqual([len(self.collector.of_job(i)) for i in ids[:3]], [0, 0, 0])

    # ---- the client

    def run_client(self, *args, env: dict) -> str:
        self.rig.start("client", [servers.BIN / "millrace", "submit", "--wait", "--json", "--prompt", SECRET,
                                  "-n", "4", *args], {**self.rig.env(), **env})
        self.assertEqual(self.rig.processes["client"].wait(servers.HANG_S), 0, servers.tail(self.rig.log("client")))
        return re.findall(r'"job_id":"([^"]+)"', self.rig.log("client").read_text())[-1]

    def test_the_client_begins_a_trace(self) -> None:
        job_id = self.run_client("--trace", env={"MILLRACE_OTLP_ENDPOINT": self.collector.url})
        spans = self.spans(job_id)
        ((root, below),) = self.tree(spans, None)
        self.assertEqual((root, [name for name, _ in below]),
                         ("send millrace.jobs.normal", ["process millrace.jobs.{lane}"]))
        self.assertEqual({s["traceId"] for s in spans}, {job_id.replace("-", "")})
        self.assertEqual(self.one(spans, root)["resource"]["service.name"], "millrace-client")
        self.assertIn("text_completion demo", {s["name"] for s in spans})

    def test_the_client_without_a_collector_leaves_the_root_to_the_job(self) -> None:
        job_id = self.run_client("--trace", env={})
        ((root, _),) = self.tree(self.spans(job_id), None)
        self.assertEqual(root, "process millrace.jobs.{lane}")

    def test_the_client_passes_its_environment_on(self) -> None:
        trace = Trace()
        job_id = self.run_client(env={"MILLRACE_OTLP_ENDPOINT": self.collector.url, "TRACEPARENT": str(trace),
                                      "TRACESTATE": STATE})
        spans = self.spans(job_id)
        ((root, _),) = self.tree(spans, trace.parent)
        self.assertEqual((root, {s["traceId"] for s in spans}), ("send millrace.jobs.normal", {trace.id}))
        self.results.wait([job_id])
        headers = dict(self.results.by_id[job_id][0][1].headers())
        self.assertEqual(headers["tracestate"], STATE.encode())

    # ---- collectors that are no help

    def run_through(self, n: int = 10) -> list[str]:
        ids = [self.submit(job(params={**PARAMS, "max_tokens": 2}), Trace()) for _ in range(n)]
        self.results.wait(ids)
        return ids

    def test_a_collector_that_refuses_costs_spans(self) -> None:
        before = self.metric("dispatcher", 'millrace_spans_total{state="dropped"}')
        self.collector.code = 500
        self.run_through()
        servers.wait_for("spans are dropped", lambda: self.metric(
            "dispatcher", 'millrace_spans_total{state="dropped"}') >= before + 10)
        self.collector.code = 200
        self.spans(self.run_through(1)[0])
        servers.wait_for("some are sent", lambda: self.metric("dispatcher", 'millrace_spans_total{state="sent"}') > 0)

    def test_a_silent_collector_holds_nobody_up(self) -> None:
        self.collector.answers.clear()
        ids = self.run_through()
        self.collector.answers.set()
        self.spans(ids[-1])


    # ---- ends

    def test_the_end_sends_what_is_left(self) -> None:
        """It gives the collector a second for that, which is the test's own thread: it may be late for once."""
        def ended() -> str | None:
            if "worker" not in self.rig.processes:
                self.start_worker()
            job_id = self.submit(job(), Trace())
            self.results.wait([job_id])
            self.assertEqual(self.rig.stop("worker"), 0)
            names = [s["name"] for s in self.collector.of_job(job_id)]
            return job_id if names.count("commit") == 1 else None
        job_id = servers.wait_for("a worker sends what is left", ended)
        servers.wait_for("done", lambda: self.redis.hget(f"mr:{{{job_id}}}", "state") == b"succeeded")
        self.assertEqual(self.rig.stop("dispatcher"), 0)
        self.spans(job_id)
        self.collector.answers.clear()
        self.start_dispatcher(trace_ratio=1)
        self.start_worker()
        job_id = self.submit(job())
        self.results.wait([job_id])
        self.assertEqual(self.rig.stop("worker"), 0)
        self.collector.answers.set()
        self.start_worker()
        self.addCleanup(self.start_dispatcher)
        self.addCleanup(self.rig.stop, "dispatcher")
        ((root, _),) = self.tree(self.spans(job_id), None)
        self.assertEqual(root, "process millrace.jobs.{lane}")


if __name__ == "__main__":
    servers.main()
