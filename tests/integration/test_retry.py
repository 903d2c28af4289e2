#!/usr/bin/python3
"""Goal: a job that comes back is tried again, never early, and is dead with its evidence when no attempt is
left; one that is not due waits; cancel and deadline find a job wherever it is held; and whichever dispatcher
is killed meanwhile, no job is lost and none runs twice.

Method: a real broker, dispatchers, and a worker without an engine (tests/rig/stand_in.py) that fails jobs as
they say and ends each work record with a result of its own: a job that is released twice shows as two results.
Lateness is printed for people, early is never allowed. MR_RETRY_JOBS: how many jobs wait in
test_not_before.
"""

from __future__ import annotations

import base64
import json
import os
import random
import signal
import time
import unittest

import msgpack

import rig as servers
from jobs import JSON, Results, Topic, make_job, produce, producer
from stand_in import StandIn

PARTITIONS = 4
SETTINGS = {"topic_partitions": PARTITIONS, "session_timeout_ms": 3000, "transaction_timeout_ms": 3000,
            "models": "demo", "max_attempts": 3, "worker_timeout_ms": 5000}


def now_ms() -> int:
    return int(time.time() * 1000)


def job(plan: str = "ok", **fields) -> dict:
    return make_job(model="demo", metadata={"plan": plan}, **fields)


def describe(name: str, late_ms: list[int]) -> None:
    late = sorted(late_ms)
    print(f"{name}: {len(late)} jobs, late by ms: median {late[len(late) // 2]}, "
          f"p99 {late[len(late) * 99 // 100]}, most {late[-1]}")


class Retries(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.rig = servers.Rig()
        cls.rig.__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        cls.start("a")
        servers.wait_for("the dispatcher has its partitions",
                         lambda: "assigned" in cls.rig.log("a").read_text())
        cls.make_work_topic()
        cls.producer = producer(cls.rig.brokers)
        cls.results = Results(cls.rig.brokers)
        cls.addClassCleanup(cls.results.close)
        cls.worker = StandIn(cls.rig.brokers, partitions=PARTITIONS, slots=2000)
        cls.worker.__enter__()
        cls.addClassCleanup(cls.worker.__exit__, None, None, None)

    @classmethod
    def start(cls, name: str) -> None:
        cls.rig.start_dispatcher(name, dispatcher_id=name, **SETTINGS)

    @classmethod
    def make_work_topic(cls) -> None:
        from confluent_kafka.admin import AdminClient, NewTopic
        admin = AdminClient({"bootstrap.servers": cls.rig.brokers, "log_level": 0})
        for f in admin.create_topics([NewTopic("millrace.work.demo", PARTITIONS, 1)]).values():
            f.result(servers.HANG_S)

    def submit(self, jobs: list[dict], lane: str = "normal") -> list[str]:
        ids = [produce(self.producer, j, JSON, lane) for j in jobs]
        self.assertEqual(self.producer.flush(servers.HANG_S), 0)
        return ids

    def cancel(self, job_id: str) -> None:
        self.producer.produce("millrace.control", json.dumps({"type": "cancel", "job_id": job_id}), key=job_id)
        self.assertEqual(self.producer.flush(servers.HANG_S), 0)

    def wait_record(self, topic: str, key: str) -> None:
        there = Topic(self.rig.brokers, topic)
        try:
            servers.wait_for(f"{key} in {topic}",
                             lambda: there.read() or key.encode() in [m.key() for m in there.messages])
        finally:
            there.close()

    def dead(self, ids) -> dict[str, dict]:
        topic = Topic(self.rig.brokers, "millrace.dead")
        try:
            def found():
                topic.read()
                letters = [json.loads(m.value()) for m in topic.messages]
                return {d["job_id"]: d for d in letters if d.get("job_id") in ids}
            servers.wait_for("dead letters", lambda: found().keys() >= set(ids))
            return found()
        finally:
            topic.close()

    def each_once(self, ids, wait_s: float = 1.0) -> None:
        end = time.monotonic() + wait_s
        while time.monotonic() < end:
            self.results.read()
        twice = [i for i in ids if len(self.results.by_id[i]) != 1]
        self.assertEqual(twice, [], f"{len(twice)} jobs have more than one result")

    # ---- retries

    def test_two_faults_and_then_it_works(self) -> None:
        ids = self.submit([job("fault,fault,ok") for _ in range(200)])
        got = self.results.wait(ids)
        late = []
        for i in ids:
            self.assertEqual(got[i]["status"], "succeeded")
            times = self.worker.times(i)
            self.assertEqual([j["attempt"] for _, j in times], [1, 2, 3])
            self.assertEqual([j.get("tries", 0) for _, j in times], [0, 1, 2])
            self.assertEqual([p["attempt"] for p in times[2][1]["history"]], [1, 2])
            for n, wait_ms in ((1, 1000), (2, 2000)):
                came, record = times[n]
                self.assertGreaterEqual(came, record["due_ms"], "released before it was due")
                self.assertGreaterEqual(record["due_ms"], times[n - 1][0] + wait_ms)
                self.assertLess(record["due_ms"], times[n - 1][0] + wait_ms * 5 // 4 + servers.HANG_S * 1000)
                late.append(came - record["due_ms"])
        describe("retries", late)
        self.each_once(ids)

    def test_no_attempt_is_left(self) -> None:
        ids = self.submit([job("fault,fault,fault,fault") for _ in range(3)] +
                          [job("fault,fault", max_attempts=1)])
        got = self.results.wait(ids)
        letters = self.dead(ids)
        for n, i in enumerate(ids):
            times = 3 if n < 3 else 1
            self.assertEqual((got[i]["status"], got[i]["error"]["code"]), ("failed", "attempts_exhausted"))
            self.assertIn("planned fault", got[i]["error"]["message"])
            self.assertEqual(got[i]["tries"], times)
            self.assertEqual(len(self.worker.times(i)), times)
            self.assertEqual(letters[i]["cause"], "attempts_exhausted")
            self.assertEqual(letters[i]["origin"]["topic"], "millrace.attempts")
            kept = msgpack.unpackb(base64.b64decode(letters[i]["payload_b64"]))
            self.assertEqual([p["worker"] for p in kept["history"]], ["stand-in"] * times)
        self.each_once(ids)

    def test_no_memory_uses_up_no_attempt(self) -> None:
        ids = self.submit([job("oom,oom,oom,oom,ok") for _ in range(20)])
        got = self.results.wait(ids)
        for i in ids:
            self.assertEqual(got[i]["status"], "succeeded")
            last = self.worker.times(i)[-1][1]
            self.assertEqual((last.get("tries", 0), last["backoffs"]), (0, 4))
        self.each_once(ids)

    def test_nobody_can_hold_it(self) -> None:
        ids = self.submit([job("no_fit:4096,ok"), job("no_fit:5000,ok")])
        got = self.results.wait(ids)
        self.assertEqual(got[ids[0]]["status"], "succeeded")
        self.assertEqual((got[ids[1]]["status"], got[ids[1]]["error"]["code"]), ("rejected", "context_exceeded"))
        self.assertIn("5000", got[ids[1]]["error"]["message"])
        self.assertIn("4096", got[ids[1]]["error"]["message"])
        self.each_once(ids)

    # ---- waits

    def test_not_before(self) -> None:
        rnd, n = random.Random(1), int(os.environ.get("MR_RETRY_JOBS", "300"))
        first = now_ms() + 2000 + n  # they are sent faster than one in a millisecond
        jobs = [job(not_before_ms=first + rnd.randint(0, 6000)) for _ in range(n)]
        ids = self.submit(jobs)
        self.assertLess(now_ms(), max(j["not_before_ms"] for j in jobs), "none had to wait: the test tests nothing")
        self.results.wait(ids, servers.HANG_S + n / 100)
        late = [self.worker.times(j["job_id"])[0][0] - j["not_before_ms"] for j in jobs]
        describe("not_before", late)
        self.assertGreaterEqual(min(late), 0, "released before it was due")
        self.each_once(ids)

    def test_cancel_in_a_delay_topic(self) -> None:
        """The one of the shortest tier may be due before its cancel comes; then it runs, once."""
        waits_s = {"1s": 4, "5s": 25, "30s": 100, "5m": 900, "30m": 3600}
        ids = dict(zip(waits_s, self.submit([job(not_before_ms=now_ms() + s * 1000) for s in waits_s.values()])))
        for tier, i in ids.items():
            self.wait_record(f"millrace.delay.{tier}", i)
            self.cancel(i)
        got = self.results.wait(ids.values())
        for tier, i in ids.items():
            if tier == "1s" and got[i]["status"] == "succeeded":
                self.assertEqual(len(self.worker.times(i)), 1)
            else:
                self.assertEqual((got[i]["status"], self.worker.times(i)), ("cancelled", []), tier)
        self.each_once(ids.values())

    def test_deadline_in_a_delay_topic(self) -> None:
        sent = now_ms()
        ids = self.submit([job(not_before_ms=sent + 3600_000, deadline_ms=d) for d in (500, 1500, 4000, 7000)])
        got = self.results.wait(ids)
        for i, d in zip(ids, (500, 1500, 4000, 7000)):
            self.assertEqual(got[i]["status"], "expired")
            self.assertGreaterEqual(got[i]["timings"]["finished_ms"], sent + d)
        ends = [got[i]["timings"]["finished_ms"] for i in ids]
        print(f"deadlines: late by ms: {[end - sent - d for end, d in zip(ends, (500, 1500, 4000, 7000))]}")
        self.assertEqual(ends, sorted(ends))
        self.each_once(ids)

    # ---- deaths

    def test_a_cancel_outlives_a_restart(self) -> None:
        self.assertEqual(self.rig.stop("a"), 0)
        ids = self.submit([job() for _ in range(20)])
        for i in ids:
            self.cancel(i)
        self.start("a")
        got = self.results.wait(ids)
        self.assertEqual({r["status"] for r in got.values()}, {"cancelled"})
        self.assertEqual([self.worker.times(i) for i in ids], [[]] * len(ids))

    def test_dispatchers_die_with_jobs_everywhere(self) -> None:
        rnd = random.Random(2)
        self.start("b")
        self.addCleanup(self.rig.stop, "b")
        jobs = []
        for n in range(400):
            fields = {}
            if n % 2:
                fields["not_before_ms"] = now_ms() + rnd.randint(500, 8000)
            if n % 5 == 0:
                fields["idempotency_key"] = f"key-{n}"
            if n % 20 == 7:
                fields["not_before_ms"] = now_ms() + 3600_000
                fields["deadline_ms"] = rnd.randint(3000, 10000)
            jobs.append(job(rnd.choice(["ok", "fault,ok", "oom,oom,ok", "fault,fault,ok", "no_fit:9,ok"]), **fields))
        ids = []
        for n in range(8):
            ids += self.submit(jobs[n * 50:n * 50 + 50], rnd.choice(["high", "normal", "low"]))
            time.sleep(1.0)
            name = "ab"[n % 2]
            self.rig.stop(name, signal.SIGKILL)
            time.sleep(0.3)
            self.start(name)
        got = self.results.wait(ids)
        self.each_once(ids, 3.0)
        for j in jobs:
            r = got[j["job_id"]]
            self.assertEqual(r["status"], "expired" if "deadline_ms" in j else "succeeded", r)
            for came, record in self.worker.times(j["job_id"]):
                self.assertGreaterEqual(came, record.get("due_ms", 0), "released before it was due")
        for i in ids: # each time that the worker saw it is one attempt
            self.assertEqual([r["attempt"] for _, r in self.worker.times(i)],
                             list(range(1, len(self.worker.times(i)) + 1)))


if __name__ == "__main__":
    servers.main()
