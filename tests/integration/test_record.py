#!/usr/bin/python3
"""Goal: a result says how its job went: how long it waited and ran, what was computed and computed again, where, and
the how manyth time; also of a job that lost its seat, failed once, or lost its worker.

Method: workers over an engine that fails as a file says (tests/fault/worker). Each result must agree with itself,
with what the job asked for, and all of them together, to the last token, with the counters of the worker.
"""

from __future__ import annotations

import unittest

import rig as servers
from jobs import Results, make_job, produce, producer
from scrape import Page

FAULTY = servers.BIN.parent / "tests/worker_faulty"
SEATS, LONG, SHORT = 4, 400, 8
BAD = 77  # a prompt that begins with this token fails


class Record(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.rig = servers.Rig().__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        cls.rig.start_dispatcher(retry_base_ms=100, max_attempts=5)
        cls.ports = {name: servers.free_ports(1)[0] for name in ("one", "two")}
        cls.start("one")
        servers.wait_for("a worker", lambda: "assigned" in cls.rig.log("one").read_text())
        cls.results = Results(cls.rig.brokers)
        cls.addClassCleanup(cls.results.close)
        cls.producer = producer(cls.rig.brokers)

    @classmethod
    def start(cls, name: str) -> None:
        settings = {"worker_listen": f"127.0.0.1:{cls.ports[name]}", "model_path": servers.DEMO_MODEL, "worker_id": name,
                    "max_jobs": SEATS, "max_preemptions": 3, "session_timeout_ms": 6000, "heartbeat_ms": 100}
        cls.rig.start(name, [FAULTY, *servers.flags(settings)],
                      {**cls.rig.env(), "MR_FAULTS": str(cls.rig.dir / f"{name}.faults")})
        servers.wait_port(cls.ports[name], cls.rig.processes[name], cls.rig.log(name))

    def set_faults(self, name: str, bad: int = 0, lost: int = 0) -> None:
        path = self.rig.dir / f"{name}.faults"
        path.with_suffix(".new").write_text(f"0 0 0 {bad} {lost}\n")
        path.with_suffix(".new").rename(path)

    def metric(self, name: str, metric: str, **labels: str) -> float:
        return Page(self.ports[name]).get(f"millrace_{metric}", **labels)

    def submit(self, n: int, lane: str = "normal", made: int = SHORT, **fields) -> list[str]:
        params = {"max_tokens": made, "temperature": 0, "ignore_eos": True}
        return [produce(self.producer, make_job(model="demo", priority=lane, params=params, **fields), lane=lane)
                for _ in range(n)]

    def check(self, r: dict, made: int, **expected) -> None:
        """What holds for each that has succeeded."""
        usage, times = r["usage"], r["timings"]
        self.assertEqual((r["status"], r["finish_reason"]), ("succeeded", "length"), r)
        self.assertEqual(usage["completion_tokens"], made)
        self.assertEqual(usage["total_tokens"], usage["prompt_tokens"] + made)
        self.assertLessEqual(usage["cached_tokens"], usage["prompt_tokens"])
        self.assertEqual(times["first_token_ms"], times["queue_ms"] + times["prefill_ms"])
        whole_ms = times["finished_ms"] - times["received_ms"]
        sum_ms = times["queue_ms"] + times["prefill_ms"] + times["decode_ms"]
        self.assertGreaterEqual(whole_ms + 2, sum_ms)  # the record is made a moment after the last token
        for name, value in expected.items():
            self.assertEqual(r[name], value, name)

    def test_it_all(self) -> None:
        """In this order: the counters of the first worker are compared before it is alone no longer."""
        self.lost_seats()
        self.one_fault()
        self.compare_with_counters()
        self.a_lost_worker()

    def lost_seats(self) -> None:
        def displaced() -> list[dict]:
            lows = self.submit(2 * SEATS, "low", LONG)
            highs = []
            for _ in range(3):
                highs += self.submit(SEATS, "high")
                self.results.wait(highs)
            for r in self.results.wait(highs).values():
                self.check(r, SHORT, attempt=1, tries=1, preemptions=0, worker="one")
                self.assertEqual(r["usage"]["wasted_tokens"], 0)
            got = self.results.wait(lows).values()
            for r in got:
                self.check(r, LONG, attempt=1, tries=1, worker="one")
            return [r for r in got if r["preemptions"]]
        for r in servers.wait_for("a job has lost its seat", displaced):
            most = r["preemptions"] * r["usage"]["total_tokens"]
            self.assertLessEqual(r["usage"]["wasted_tokens"], most)

    def one_fault(self) -> None:
        """The engine refuses it once: nothing of the attempt is left, so all of its prompt is computed again."""
        before = self.metric("one", "job_returns_total", outcome="fault")
        self.set_faults("one", bad=BAD)
        (job_id,) = self.submit(1, input={"tokens": [BAD, *range(100, 140)]})
        servers.wait_for("it came back", lambda: self.metric("one", "job_returns_total", outcome="fault") > before)
        self.set_faults("one")
        r = self.results.wait([job_id])[job_id]
        self.check(r, SHORT, worker="one", preemptions=0)
        self.assertGreaterEqual(r["tries"], 2)
        self.assertEqual(r["attempt"], r["tries"])
        usage = r["usage"]
        self.assertEqual(usage["prompt_tokens"], 41)
        self.assertGreaterEqual(usage["wasted_tokens"], usage["prompt_tokens"] - usage["cached_tokens"])
        self.assertLessEqual(usage["wasted_tokens"], (r["tries"] - 1) * usage["prompt_tokens"])
        self.assertGreaterEqual(r["timings"]["queue_ms"], 100)  # the wait before the next try

    def compare_with_counters(self) -> None:
        got = [r for records in self.results.by_id.values() for r, _ in records]
        self.assertEqual(self.metric("one", "num_preemptions_total"), sum(r["preemptions"] for r in got))
        self.assertEqual(self.metric("one", "wasted_tokens_total"), sum(r["usage"]["wasted_tokens"] for r in got))
        self.assertEqual(self.metric("one", "generation_tokens_total"), sum(r["usage"]["completion_tokens"] for r in got))
        self.assertEqual(self.metric("one", "jobs_total", status="succeeded"), len(got))
        for stage, field in (("queue", "queue_ms"), ("prefill", "prefill_ms"), ("decode", "decode_ms")):
            self.assertAlmostEqual(self.metric("one", f"request_{stage}_time_seconds_sum"),
                                   sum(r["timings"][field] for r in got) / 1000, 3)

    def a_lost_worker(self) -> None:
        """Its jobs go on elsewhere behind what was made: prompt and made tokens are computed a second time."""
        self.start("two")
        servers.wait_for("two shares the work", lambda: self.metric("two", "partitions") > 0)
        ids = self.submit(24, made=LONG)
        servers.wait_for("two makes tokens", lambda: self.metric("two", "generation_tokens_total") > 200)
        self.set_faults("two", lost=1)
        servers.wait_for("two ends", lambda: self.rig.processes["two"].poll() is not None)
        self.rig.processes.pop("two")
        got = self.results.wait(ids).values()
        again = [r for r in got if r["attempt"] > 1]
        for r in got:
            self.check(r, LONG, tries=1, preemptions=0)
            self.assertEqual(r["attempt"] > 1, r["usage"]["wasted_tokens"] > 0, r)
        self.assertGreater(len(again), 0)
        self.assertEqual({r["worker"] for r in again}, {"one"})
        print(f"({len(again)} jobs went on elsewhere, {sum(r['usage']['wasted_tokens'] for r in again)} tokens again) ",
              end="", flush=True)


if __name__ == "__main__":
    servers.main()
