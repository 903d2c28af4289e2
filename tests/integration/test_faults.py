#!/usr/bin/python3
"""Goal: whatever dies, stalls or talks nonsense, each job ends with one answer, and nothing stops.

Method: real brokers, real Redis, dispatchers and workers with the demo model; while jobs run a process is
killed, stopped, restarted or made slow, or noise is written to a topic that only our programs write to. In
the end the logs are searched for what a sanitizer says and for the words of the prompts. Times are printed
for people, never asserted.
"""

import contextlib
import ctypes
import json
import os
import random
import re
import shutil
import signal
import time
import unittest
import urllib.error
import urllib.request
import uuid

import redis
from confluent_kafka import KafkaException, Producer
from confluent_kafka.admin import AdminClient, NewTopic

import rig as servers
from jobs import JSON, MSGPACK, Results, Topic, decode, make_job, produce, producer, stream_text

MARK = "Xylopyrographer"  # in each prompt, and so in no log line
WORK = "millrace.work.demo"
SHORT_SESSION_MS = 2000  # of those that are to die
TRIES = 10
ASAN = b"__asan_init" in (servers.BIN / "millrace-dispatcher").read_bytes()
TROUBLE = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|millrace: bug:")


def job(max_tokens: int = 24, **fields) -> dict:
    """Greedy and without an end token: the same text each time, and some work to do."""
    return make_job(f"{MARK} tool that prints text files on printers.", model="demo",
                    params={"max_tokens": max_tokens, "temperature": 0, "ignore_eos": True}, **fields)


def rss_kb(pid: int, field: str = "VmRSS") -> int:
    with open(f"/proc/{pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith(field + ":"))


class StoppedThread:
    """Stops one thread of another process, as a debugger does."""

    SEIZE, INTERRUPT, DETACH, WALL = 0x4206, 0x4207, 17, 0x40000000

    def __init__(self, tid: int) -> None:
        self.tid = tid
        self.ptrace(self.SEIZE)
        self.ptrace(self.INTERRUPT)
        os.waitpid(tid, self.WALL)

    def ptrace(self, request: int) -> None:
        if ctypes.CDLL(None, use_errno=True).ptrace(request, self.tid, None, None) != 0:
            raise unittest.SkipTest(f"ptrace: {os.strerror(ctypes.get_errno())}")

    def has_ended(self) -> bool:
        with contextlib.suppress(ChildProcessError):
            return os.waitpid(self.tid, self.WALL | os.WNOHANG)[0] != 0
        return True

    def release(self) -> None:
        if not self.has_ended():
            self.ptrace(self.DETACH)


def busiest_thread(pid: int, enough: int = 10) -> int:
    """The engine's, while a job runs: nobody else in a worker computes for so many ticks of 10 ms."""
    def ticks(tid: str) -> int:
        with open(f"/proc/{pid}/task/{tid}/stat") as f:
            return int(f.read().rsplit(")", 1)[1].split()[11])
    before = {tid: ticks(tid) for tid in os.listdir(f"/proc/{pid}/task")}
    return int(servers.wait_for("an engine at work", lambda: next(
        (tid for tid in before if ticks(tid) - before[tid] >= enough), None), step_s=0.01))


class Answers(Results):
    """Results beside noise: what is none is passed over."""

    def read(self, timeout: float = 0.2) -> None:
        Topic.read(self, timeout)
        for m in self.messages[self.seen:]:
            with contextlib.suppress(ValueError, TypeError, KeyError):
                r = decode(m)
                self.by_id.setdefault(r["job_id"], []).append((r, m))
        self.seen = len(self.messages)


class Faults(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.rig = servers.Rig(broker=servers.BROKER_SESSION).__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        cls.model = shutil.copy(servers.DEMO_MODEL, cls.rig.dir)  # the same one until the end
        cls.port = servers.free_ports(1)[0]
        cls.start("dispatcher")
        cls.start_worker()
        cls.redis = redis.Redis(port=cls.rig.redis_port)
        cls.rig.wait_topics("millrace.results", "millrace.dead", "millrace.jobs.low", "millrace.workers", WORK)
        cls.results = Answers(cls.rig.brokers)
        cls.addClassCleanup(cls.results.close)
        cls.producer = producer(cls.rig.brokers)
        cls.results.wait([produce(cls.producer, job())])

    @classmethod
    def start(cls, name: str, **settings) -> None:
        if name.startswith("dispatcher"):
            cls.rig.start_dispatcher(name, default_model="demo", **settings)
        else:
            cls.rig.start_worker(name, **{"model": cls.model, "model_name": "demo", "max_jobs": 8, **settings})

    @classmethod
    def start_worker(cls, **settings) -> None:
        """The one whose probes are asked."""
        cls.start("worker", **{"worker_listen": f"127.0.0.1:{cls.port}", **settings})

    def probe(self, path: str) -> tuple[int, str]:
        """Status and text; 0 when nobody answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=servers.HANG_S) as r:
                return r.status, r.read().decode()
        except urllib.error.HTTPError as e:
            return e.code, e.read().decode()
        except OSError:
            return 0, ""

    def logged(self, name: str, words: str) -> int:
        return self.rig.log(name).read_text(errors="replace").count(words)

    def setUp(self) -> None:
        if "dispatcher" not in self.rig.processes:
            self.start("dispatcher")
        if "worker" not in self.rig.processes:
            self.start_worker()

    def tearDown(self) -> None:
        """Nobody has ended by himself; who is here only for a test that failed is stopped."""
        ended = [name for name, p in self.rig.processes.items() if p.poll() is not None]
        for name in set(self.rig.processes) - {"kafka", "redis", "dispatcher", "worker"} | set(ended):
            self.rig.stop(name)
        for name in ended:
            self.fail(f"{name} ended:\n{servers.tail(self.rig.log(name))}")

    def submit(self, n: int, **fields) -> list[str]:
        ids = [produce(self.producer, job(**fields)) for _ in range(n)]
        self.producer.flush(servers.HANG_S)
        return ids

    def wait_done(self, ids, n: int) -> None:
        servers.wait_for(f"{n} of {len(ids)} jobs ended",
                         lambda: self.results.read() or len(set(ids) & self.results.by_id.keys()) >= n)

    def check_all(self, ids) -> dict:
        """All succeeded, each once, all with one text. Returns the results."""
        got = self.results.wait(ids)
        self.results.read()
        self.assertEqual({r["status"] for r in got.values()}, {"succeeded"})
        self.assertEqual({i: len(self.results.by_id[i]) for i in ids}, dict.fromkeys(ids, 1))
        self.assertEqual(len({r["text"] for r in got.values()}), 1)
        return got

    def check_streams(self, got: dict) -> None:
        """What readers were shown is what the results say."""
        for i, r in got.items():
            servers.wait_for("done", lambda: self.state(i) == r["status"])
            if not r["stream_degraded"]:
                self.assertEqual(stream_text(self.redis, i), r["text"])

    def state(self, job_id: str) -> str:
        return (self.redis.hget(f"mr:{{{job_id}}}", "state") or b"").decode()

    # ---- what dies

    def test_broker_killed_and_back(self) -> None:
        ids = self.submit(150)
        self.wait_done(ids, 20)
        servers.wait_for("ready", lambda: self.probe("/readyz") == (200, "ok\n"))
        self.rig.stop("kafka", signal.SIGKILL)
        servers.wait_for("not ready", lambda: "kafka is away" in self.probe("/readyz")[1])
        self.assertEqual(self.probe("/readyz")[0], 503)
        self.assertEqual(self.probe("/livez")[0], 200)
        self.rig.start_kafka()
        self.check_all(ids)
        self.check_all(self.submit(20))
        servers.wait_for("ready again", lambda: self.probe("/readyz")[0] == 200)

    def test_topics_made_again(self) -> None:
        """What a new topic holds is done, though the old one had jobs under the same offsets."""
        for topic, reader in (("millrace.jobs.normal", "dispatcher"), (WORK, "worker")):
            before = self.logged(reader, "a log begins anew")
            self.check_all(self.submit(80))
            self.remake(topic)
            self.check_all(self.submit(40))
            self.assertGreater(self.logged(reader, "a log begins anew"), before)

    def remake(self, topic: str) -> None:
        admin = AdminClient({"bootstrap.servers": self.rig.brokers, "log_level": 0})
        n = len(admin.list_topics(topic, timeout=servers.HANG_S).topics[topic].partitions)
        for f in admin.delete_topics([topic], operation_timeout=servers.HANG_S).values():
            f.result(servers.HANG_S)
        with contextlib.suppress(KafkaException):  # the broker has made it for somebody who asked
            admin.create_topics([NewTopic(topic, n, 1)])[topic].result(servers.HANG_S)
        type(self).producer = producer(self.rig.brokers)  # the old one may have heard that it is gone, and give up

    def test_one_of_two_killed(self) -> None:
        self.start("dispatcher-b", session_timeout_ms=SHORT_SESSION_MS)
        self.start("worker-b", session_timeout_ms=SHORT_SESSION_MS)
        self.check_all(self.submit(20))
        ids = self.submit(300)
        self.wait_done(ids, 40)
        self.rig.stop("dispatcher-b", signal.SIGKILL)
        self.rig.stop("worker-b", signal.SIGKILL)
        self.check_streams(self.check_all(ids))

    def test_rolling_restart_of_workers(self) -> None:
        self.start("worker-b")
        self.check_all(self.submit(20))
        before = self.logged("worker", "runs alone")
        ids = self.submit(200)
        for i, name in enumerate(("worker", "worker-b", "worker")):
            self.wait_done(ids, 30 * (i + 1))
            self.assertEqual(self.rig.stop(name, signal.SIGTERM), 0)
            self.start_worker() if name == "worker" else self.start(name)
        self.check_streams(self.check_all(ids))
        self.assertEqual(self.logged("worker", "runs alone"), before, "a job handed over counts as dead")
        self.assertEqual(self.rig.stop("worker-b"), 0)

    def test_worker_stopped_past_its_session(self) -> None:
        """Presumed dead it wakes up: what it holds is another's by then, and none of it gets through."""
        self.start("worker-b")
        self.rig.stop("worker")
        self.start_worker(session_timeout_ms=SHORT_SESSION_MS)
        self.check_all(self.submit(20))
        ids = self.submit(150, max_tokens=100)
        self.wait_done(ids, 20)
        p = self.rig.processes["worker"]
        p.send_signal(signal.SIGSTOP)
        try:
            got = self.check_all(ids)  # the other one has done its jobs, too
        finally:
            p.send_signal(signal.SIGCONT)
        self.check_all(self.submit(20))
        self.assertEqual(self.rig.stop("worker-b"), 0)
        self.assertEqual(self.rig.stop("worker"), 0)
        self.results.read(1)
        self.check_all(ids)
        self.check_streams(got)

    def test_a_job_that_kills_its_workers(self) -> None:
        """Whenever it runs the worker is killed: after three deaths it is given up, and nobody else is."""
        dead = Topic(self.rig.brokers, "millrace.dead")
        self.addCleanup(dead.close)
        ids = self.submit(10)
        poison = self.submit(1, max_tokens=400)[0]
        ids += self.submit(10)
        attempt = 0
        for _ in range(3):
            def runs() -> bool:
                state = self.redis.hmget(f"mr:{{{poison}}}", "state", "attempt", "tokens")
                return state[0] == b"running" and int(state[1]) > attempt and int(state[2]) > 3 * attempt
            servers.wait_for("the job runs", runs, step_s=0.002)
            attempt = int(self.redis.hget(f"mr:{{{poison}}}", "attempt"))
            self.rig.stop("worker", signal.SIGKILL)
            self.start_worker()
        self.check_all(ids)
        r = self.results.wait([poison])[poison]
        self.results.read()
        self.assertEqual(len(self.results.by_id[poison]), 1)
        self.assertEqual((r["status"], r["error"]["code"]), ("failed", "poison"))
        self.assertIn("3 worker processes died", r["error"]["message"])
        servers.wait_for("its dead letter", lambda: dead.read() or any(
            json.loads(m.value()).get("job_id") == poison for m in dead.messages))
        letter = next(x for x in map(json.loads, (m.value() for m in dead.messages)) if x.get("job_id") == poison)
        self.assertEqual((letter["cause"], letter["origin"]["topic"]), ("poison", WORK))

    def test_an_engine_that_hangs(self) -> None:
        """A step that does not end: the process says so and ends, and a new one does the job."""
        self.rig.stop("worker")
        self.start_worker(step_timeout_ms=3000)
        self.check_all(self.submit(5))
        ids, p = [], self.rig.processes["worker"]
        for _ in range(TRIES):  # one that is hit between two steps hangs in none
            ids += self.submit(30, max_tokens=400)
            thread = StoppedThread(busiest_thread(p.pid))
            self.addCleanup(thread.release)
            seen = set()
            with contextlib.suppress(AssertionError):
                servers.wait_for("the end", lambda: seen.add(self.probe("/livez")[0]) or thread.has_ended(), 15)
                break
            thread.release()
        self.assertEqual(p.wait(servers.HANG_S), 75)
        self.assertIn(503, seen)
        self.assertTrue(self.logged("worker", "an engine step does not end"))
        self.rig.processes.pop("worker")
        self.start_worker()
        self.check_streams(self.check_all(ids))

    def test_a_worker_stopped_for_a_while_is_no_hanging_engine(self) -> None:
        self.rig.stop("worker")
        self.start_worker(step_timeout_ms=3000)
        self.check_all(self.submit(5))
        ids = self.submit(4, max_tokens=400)
        servers.wait_for("it runs", lambda: self.state(ids[0]) == "running", step_s=0.002)
        p = self.rig.processes["worker"]
        p.send_signal(signal.SIGSTOP)
        time.sleep(4.5)
        p.send_signal(signal.SIGCONT)
        self.check_streams(self.check_all(ids))
        self.assertIsNone(p.poll())

    def test_second_signal(self) -> None:
        """The first lets jobs end, the second does not wait: they are handed over, and no death is counted."""
        before = self.logged("worker", "runs alone")
        ids = self.submit(60, max_tokens=400)  # eight at a time
        servers.wait_for("some run", lambda: sum(self.state(i) == "running" for i in ids) >= 6, step_s=0.002)
        p = self.rig.processes.pop("worker")
        p.send_signal(signal.SIGSTOP)  # it gets both at once, however slow we are
        p.send_signal(signal.SIGTERM)
        p.send_signal(signal.SIGINT)
        p.send_signal(signal.SIGCONT)
        self.assertEqual(p.wait(servers.HANG_S), 75)
        self.start_worker()
        self.check_streams(self.check_all(ids))
        self.assertEqual(self.logged("worker", "runs alone"), before)

    def test_dispatcher_stops_while_the_broker_hangs(self) -> None:
        ids = self.submit(60)
        self.wait_done(ids, 5)
        kafka = self.rig.processes["kafka"]
        kafka.send_signal(signal.SIGSTOP)
        try:
            time.sleep(1)
            p = self.rig.processes["dispatcher"]
            p.send_signal(signal.SIGTERM)
            time.sleep(2)
        finally:
            kafka.send_signal(signal.SIGCONT)
        self.assertEqual(p.wait(servers.HANG_S), 0)
        self.start("dispatcher")
        self.check_all(ids)

    def test_redis_restarted_under_load(self) -> None:
        ids = self.submit(150)
        self.wait_done(ids, 20)
        self.rig.stop("redis", signal.SIGKILL)
        away = self.submit(30)
        self.wait_done(away, 1)
        ids += away
        self.rig.start_redis()
        got = self.check_all(ids)
        degraded = [i for i in ids if got[i]["stream_degraded"]]
        self.assertTrue(degraded, "no job ran while Redis was away")
        servers.wait_for("streams again", lambda: not any(
            r["stream_degraded"] for r in self.check_all(self.submit(1)).values()), step_s=0.2)
        self.check_streams(self.check_all(self.submit(10)))

    def test_redis_stands_still(self) -> None:
        """Jobs do not wait until it goes on."""
        self.check_all(self.submit(5))
        server = self.rig.processes["redis"]
        began = time.monotonic()
        server.send_signal(signal.SIGSTOP)
        try:
            self.check_all(self.submit(30))
        finally:
            server.send_signal(signal.SIGCONT)
        print(f"  30 jobs in {time.monotonic() - began:.1f} s while Redis stood still", flush=True)
        self.check_all(self.submit(5))

    # ---- what is large, or many

    def test_two_models(self) -> None:
        self.start("second", model_name="second")
        ids = {}
        servers.wait_for("second model", lambda: self.results.wait(
            [i := produce(self.producer, job() | {"model": "second"})])[i]["status"] == "succeeded")
        for n in range(40):
            wanted = ("demo", "second", "")[n % 3]
            j = job() | {"model": wanted}
            if not wanted:
                del j["model"]
            ids[produce(self.producer, j)] = wanted or "demo"
        for job_id, r in self.check_all(list(ids)).items():
            self.assertEqual(r["model"], ids[job_id])
            self.assertEqual(r["worker"], "second" if ids[job_id] == "second" else "worker")
        self.assertEqual(self.rig.stop("second"), 0)

    def test_jobs_of_a_mebibyte(self) -> None:
        big = Producer({"bootstrap.servers": self.rig.brokers, "message.max.bytes": 1100000, "log_level": 0})
        wanted = {}
        for content_type in (JSON, MSGPACK):
            for size in (900_000, 1_000_000, 1_047_800):
                j = make_job(f"{MARK} " * (size // len(MARK + " ")), model="demo")
                wanted[produce(big, j, content_type)] = "too long for the context"
            j = make_job(model="demo") | {"input": {"tokens": [300 + i % 700 for i in range(131072)]}}
            wanted[produce(big, j, content_type)] = "as many tokens as a job may have"
        self.assertEqual(big.flush(servers.HANG_S), 0)
        for job_id, what in wanted.items():
            r = self.results.wait([job_id])[job_id]
            with self.subTest(what):
                self.assertIn(r["status"], ("rejected", "failed"))
                self.assertIn(r["error"]["code"], ("context_exceeded", "too_large"))
        self.check_all(self.submit(5))

    def test_twenty_thousand_bad_jobs(self) -> None:
        pid = self.rig.processes["dispatcher"].pid
        before, n = rss_kb(pid), 20_000
        ids = []
        began = time.monotonic()
        for i in range(n):
            j = make_job() | {"prioritty": "high"}
            while True:
                try:
                    ids.append(produce(self.producer, j))
                    break
                except BufferError:
                    self.producer.poll(0.1)
        self.producer.flush(servers.HANG_S)
        got = self.results.wait(ids)
        took = time.monotonic() - began
        self.assertEqual({(r["status"], r["error"]["field"]) for r in got.values()}, {("rejected", "prioritty")})
        peak = rss_kb(pid, "VmHWM")
        print(f"  {n} bad jobs answered in {took:.1f} s; dispatcher {before // 1024} -> {rss_kb(pid) // 1024} MiB, "
              f"peak {peak // 1024} MiB", flush=True)
        self.assertLess(peak - before, (600 if ASAN else 160) * 1024)
        self.check_all(self.submit(5))

    # ---- nonsense

    def test_noise_in_topics_of_our_own(self) -> None:
        rng = random.Random(5)
        beat = {"worker": "ghost", "model": "demo", "sent_ms": 1, "leaving": False, "parts": [],
                "slots": {"free": 1, "max": 1}, "running": 0, "waiting": 0,
                "kv_tokens": {"free": 1, "total": 1}, "n_ctx": 1, "pressure": 0.0, "tokens_per_s": 0.0}
        part = [{"partition": 0, "position": 1}]
        nonsense = {
            "millrace.workers": [
                beat | {"parts": [{"partition": -1, "position": 0}]},
                beat | {"parts": [{"partition": 1 << 30, "position": 0}]},
                beat | {"parts": [{"partition": 0, "position": -5}]},
                beat | {"model": "x" * 300}, beat | {"model": ""}, beat | {"worker": ""},
                beat | {"slots": {"free": -1, "max": 1}}, beat | {"pressure": 17},
                *[beat | {"worker": f"ghost-{i}", "model": f"ghost-{i}", "parts": part} for i in range(80)],
            ],
            "millrace.control": [{"type": "cancel"}, {"type": "explode", "job_id": str(uuid.uuid4())},
                                 {"type": "cancel", "job_id": "../../etc/passwd"}, [], 7],
            WORK: [{"job_id": str(uuid.uuid4())}, {"job_id": 5}, make_job(), [[[[[[]]]]]]],
            "millrace.results": [{"job_id": str(uuid.uuid4())}, {"status": "succeeded"},
                                 {"job_id": str(uuid.uuid4()), "status": "rejected", "error": {"code": "x"}},
                                 {"job_id": "7", "status": "succeeded"}],
        }
        for topic, records in nonsense.items():
            bodies = [json.dumps(r).encode() for r in records]
            bodies += [rng.randbytes(rng.randint(0, 300)) for _ in range(30)]
            for body in [*bodies, b"{" * 100_000, rng.randbytes(990_000), None]:
                self.producer.produce(topic, body, key="ghost")  # a compacted topic takes none without a key
            self.producer.poll(0)
        self.assertEqual(self.producer.flush(servers.HANG_S), 0)
        self.check_all(self.submit(40))
        log = self.rig.log("dispatcher").read_text() + self.rig.log("worker").read_text()
        for words in ("not a heartbeat", "not a control record", "not a result", "work record not understood"):
            self.assertTrue(words in log, f"nobody logged: {words}")
        dead = Topic(self.rig.brokers, "millrace.dead")
        servers.wait_for("a dead letter of the work topic", lambda: dead.read() or any(
            json.loads(m.value())["origin"]["topic"] == WORK for m in dead.messages))
        dead.close()
        self.assertEqual(self.rig.stop("dispatcher"), 0)  # it has no room for further models until ghosts are forgotten

    def test_memory_of_a_worker(self) -> None:
        """A worker's memory is its weights, the KV cache and at most 64 MiB: packed weights replace the file's pages."""
        model = self.rig.dir / "synthetic.gguf"
        self.rig.millrace("model", "synth", "--shape",
                          "custom:layers=8,embd=768,ff=2048,heads=12,kv_heads=4,vocab=32000,ctx=1024", "--type", "q8_0", "-o", model)
        self.start("synthetic", model=model, model_name="synthetic", kv_tokens=2048, n_ctx=512, max_jobs=4)
        ids = [produce(self.producer, job() | {"model": "synthetic"}) for _ in range(4)]
        got = self.results.wait(ids)
        self.assertEqual({r["status"] for r in got.values()}, {"succeeded"})
        rss = rss_kb(self.rig.processes["synthetic"].pid)
        file = model.stat().st_size >> 10
        kv = int(re.search(r"kv_bytes=(\d+)", self.rig.log("synthetic").read_text()).group(1)) // 1024
        print(f"  file {file >> 10} MiB, KV {kv >> 10} MiB, resident {rss >> 10} MiB", flush=True)
        if not ASAN:
            self.assertLess(rss - file - kv, 64 * 1024)
        self.assertEqual(self.rig.stop("synthetic"), 0)

    # ---- the end

    def test_zz_all_stop_and_the_logs_are_clean(self) -> None:
        self.check_all(self.submit(2))
        for name in ("worker", "dispatcher"):
            self.assertEqual(self.rig.stop(name), 0)
        for log in self.rig.dir.glob("*.log"):
            if log.name in ("kafka.log", "redis.log"):
                continue
            text = log.read_text(errors="replace")
            self.assertIsNone(TROUBLE.search(text), log.name)
            self.assertNotIn(MARK, text, f"{log.name} holds words of a prompt")


if __name__ == "__main__":
    servers.main()
