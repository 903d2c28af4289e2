#!/usr/bin/python3
"""Goal: a worker whose engine finds no memory, fails or loses its device costs time, never a job.

Method: real brokers, a real Redis, a dispatcher, and workers over an engine that fails as a file says
(tests/fault/worker): a storm without memory over 200 jobs, a worker that never has any beside a healthy
one, sequences that always fail, a device that is lost in mid-job. In the end each job has one answer, the
text of an undisturbed run and a stream that says the same, without a restart.
"""

import base64
import contextlib
import re
import time
import unittest
import urllib.request

import msgpack
import redis

import rig as servers
from jobs import Results, Topic, decode, make_job, produce, producer, stream_frames, stream_text

FAULTY = servers.BIN.parent / "tests/worker_faulty"
SEATS = 8
TEXTS = ["A tool that prints text files on printers.", "A library to read and write archives.",
         "Fonts for people who like to read at night.", "A game about snakes and ladders."]
BAD = 77  # a prompt that begins with this token always fails


def job(i: int = 0, max_tokens: int = 24, **fields) -> dict:
    return make_job(TEXTS[i % len(TEXTS)], model="demo",
                    params={"max_tokens": max_tokens, "temperature": 0, "ignore_eos": True}, **fields)


class Pressure(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.rig = servers.Rig().__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        cls.rig.start_dispatcher(retry_base_ms=100, max_attempts=3)
        cls.ports = {"one": servers.free_ports(1)[0], "two": servers.free_ports(1)[0]}
        cls.start("one")
        cls.redis = redis.Redis(port=cls.rig.redis_port)
        cls.rig.wait_topics("millrace.results", "millrace.dead", "millrace.work.demo", "millrace.attempts")
        cls.results = Results(cls.rig.brokers)
        cls.addClassCleanup(cls.results.close)
        cls.producer = producer(cls.rig.brokers)
        cls.results.wait([produce(cls.producer, job())])
        ids = [produce(cls.producer, job(i)) for i in range(len(TEXTS))]
        got = cls.results.wait(ids)
        cls.texts = [got[i]["text"] for i in ids]

    @classmethod
    def start(cls, name: str, **more) -> None:
        settings = {"worker_listen": f"127.0.0.1:{cls.ports[name]}", "model_path": servers.DEMO_MODEL,
                    "worker_id": name, "max_jobs": SEATS, "session_timeout_ms": 6000, "heartbeat_ms": 100, **more}
        cls.rig.start(name, [FAULTY, *servers.flags(settings)],
                      {**cls.rig.env(), "MR_FAULTS": str(cls.faults(name))})

    def start_second(self, **more) -> None:
        def shares_the_work() -> bool:
            with contextlib.suppress(OSError):  # it does not listen yet
                return self.metric("two", "partitions") > 0
            return False
        self.start("two", **more)
        servers.wait_for("two shares the work", shares_the_work)

    @classmethod
    def faults(cls, name: str):
        return cls.rig.dir / f"{name}.faults"

    def set_faults(self, name: str = "one", seqs: int = 0, rows: int = 0, none: int = 0, bad: int = 0,
                   lost: int = 0) -> None:
        path = self.faults(name)
        path.with_suffix(".new").write_text(f"{seqs} {rows} {none} {bad} {lost}\n")
        path.with_suffix(".new").rename(path)

    def tearDown(self) -> None:
        for name in self.ports:
            self.faults(name).unlink(missing_ok=True)
        self.rig.stop("two")

    def metric(self, name: str, metric: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}/metrics", timeout=servers.HANG_S) as answer:
            found = re.search(rf"^millrace_{re.escape(metric)}\S* (\S+)$", answer.read().decode(), re.M)
        return float(found.group(1))

    def returns(self, name: str, outcome: str) -> float:
        return self.metric(name, f'job_returns_total{{model_name="demo",outcome="{outcome}"}}')

    def produce(self, n: int, **fields) -> list[str]:
        return [produce(self.producer, job(i, **fields)) for i in range(n)]

    def check(self, ids: list[str], got: dict) -> None:
        """All succeeded, each once, with the undisturbed text, no attempt used up; a stream that is whole says the
        same, and none has a restart."""
        self.results.read()
        for i, job_id in enumerate(ids):
            r = got[job_id]
            self.assertEqual((r["status"], r["tries"], len(self.results.by_id[job_id])), ("succeeded", 1, 1), r)
            self.assertTrue(r["text"].startswith(self.texts[i % len(TEXTS)]), r)
            self.assertEqual(r["text"], got[ids[i % len(TEXTS)]]["text"])
            servers.wait_for("done", lambda: self.redis.hget(f"mr:{{{job_id}}}", "state") == b"succeeded")
            self.assertNotIn("restart", {frame["type"] for _, frame in stream_frames(self.redis, job_id)})
            if not r["stream_degraded"]:  # Redis had no processor for half a second
                self.assertEqual(stream_text(self.redis, job_id), r["text"])

    def seconds_for(self, n: int) -> float:
        began = time.monotonic()
        ids = self.produce(n)
        self.check(ids, self.results.wait(ids))
        return time.monotonic() - began

    def test_a_storm_without_memory_costs_time_only(self) -> None:
        undisturbed_s = self.seconds_for(60)
        began = time.monotonic()
        ids = self.produce(100)
        self.set_faults(none=1)
        ids += self.produce(100)  # whatever has become of the others, these are hit
        servers.wait_for("jobs go back", lambda: self.returns("one", "oom") > 0)
        first = self.metric("one", "engine_out_of_memory_total")
        self.assertGreater(first, 0)
        self.set_faults(seqs=2, rows=16)
        servers.wait_for("some memory is not enough", lambda: self.metric("one", "engine_out_of_memory_total") > first)
        time.sleep(3)
        storm_s = time.monotonic() - began
        self.faults("one").unlink()
        back = time.monotonic()
        self.check(ids, self.results.wait(ids))
        all_s = time.monotonic() - back
        servers.wait_for("it may run all its jobs", lambda: self.metric("one", "running_limit") == SEATS)
        limit_s = time.monotonic() - back
        again_s = self.seconds_for(60)
        print(f"\nstorm of {storm_s:.1f} s: {self.returns('one', 'oom'):.0f} returns; all 200 jobs {all_s:.1f} s after "
              f"it, all seats {limit_s:.1f} s after it; 60 jobs {undisturbed_s:.2f} s before, {again_s:.2f} s behind")

    def test_b_jobs_leave_a_worker_without_memory(self) -> None:
        self.start_second()
        self.set_faults("two", none=1)
        ids = self.produce(100)
        got = self.results.wait(ids)
        self.check(ids, got)
        self.assertEqual({r["worker"] for r in got.values()}, {"one"})
        print(f"\nof 100 jobs {self.returns('two', 'oom'):.0f} times one came back from the worker without memory")

    def test_c_a_sequence_that_always_fails_ends_as_a_dead_letter(self) -> None:
        self.set_faults(bad=BAD)
        bad = [make_job(model="demo", input={"tokens": [BAD, 5, 6, i]}) for i in range(3)]
        ids = [produce(self.producer, b) for b in bad]
        good = self.produce(40)
        got = self.results.wait(ids + good)
        self.check(good, {i: got[i] for i in good})
        for i in ids:
            self.assertEqual((got[i]["status"], got[i]["tries"]), ("failed", 3), got[i])
            self.assertIn("a sequence that always fails", got[i]["error"]["message"])
        dead = Topic(self.rig.brokers, "millrace.dead")
        self.addCleanup(dead.close)
        servers.wait_for("dead letters", lambda: dead.read() or len(dead.messages) >= 3)
        letters = {d["job_id"]: d for d in map(decode, dead.messages)}
        self.assertEqual(letters.keys(), set(ids))
        for letter in letters.values():
            self.assertEqual(letter["cause"], "attempts_exhausted")
            history = msgpack.unpackb(base64.b64decode(letter["payload_b64"]))["history"]
            self.assertEqual([(h["outcome"], h["worker"]) for h in history], [("fault", "one")] * 3)
            self.assertEqual(len({h["attempt"] for h in history}), 3)

    def test_d_a_lost_device_hands_its_jobs_over(self) -> None:
        """In mid-job, and while others have come that wait for their mark: those have not begun, for nobody."""
        ids = []

        def runs() -> bool:
            ids.extend(self.produce(4, max_tokens=400))  # the dispatcher may not know of it yet
            return self.metric("two", "num_requests_running") > 0
        self.start_second(commit_ms=700)
        servers.wait_for("two runs", runs, step_s=0.3)
        ids += self.produce(16, max_tokens=400)
        servers.wait_for("more have come", step_s=0.01, condition=lambda: (
            self.metric("two", "jobs_in_hand") > self.metric("two", "num_requests_running")))
        self.set_faults("two", lost=1)
        servers.wait_for("two ends", lambda: self.rig.processes["two"].poll() is not None)
        self.assertEqual(self.rig.processes.pop("two").returncode, 75)
        self.check(ids, self.results.wait(ids))
        self.assertEqual(self.metric("one", "jobs_poisoned_total"), 0)


if __name__ == "__main__":
    servers.main()
