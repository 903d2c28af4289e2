#!/usr/bin/python3
"""Goal: a job of lane high does not wait for lane low, however much of that there is, and lane low loses
nothing by it but time.

Method: real brokers, a real Redis, a dispatcher and a worker of four seats, whose engine leaves a core to
the servers. High jobs come one after another, on an idle system and again while 1,000 long low jobs are
queued. Counted is how many low jobs end between a high job's record and its first token: one that waited
behind the queue would see most of them end. The times are printed for people. Low jobs that lost their
seat are found by their results: their texts must be those of an undisturbed run, and so must their streams.
"""

import json
import statistics
import time
import unittest

import redis

import rig as servers
from jobs import JSON, Results, make_job, produce, producer, stream_text

SEATS = 4
N_LOW, N_HIGH = 1000, 7
TEXTS = ["A tool that prints text files on printers.", "A library to read and write archives.",
         "Fonts for people who like to read at night."]


def low(i: int) -> dict:
    """As long as the context of the demo model allows."""
    params = {"max_tokens": 512, "temperature": 0, "ignore_eos": True}
    if i % len(TEXTS) == 1:
        params |= {"temperature": 0.9, "seed": 5, "repetition_penalty": 1.2}
    return make_job(TEXTS[i % len(TEXTS)], model="demo", params=params, tenant="bulk")


class Preempt(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.rig = servers.Rig().__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        cls.rig.start_dispatcher()
        cls.rig.start_worker(max_jobs=SEATS, max_preemptions=2, threads=1)
        cls.redis = redis.Redis(port=cls.rig.redis_port)
        cls.rig.wait_topics("millrace.results", "millrace.jobs.low", "millrace.work.demo")
        cls.results = Results(cls.rig.brokers)
        cls.addClassCleanup(cls.results.close)
        cls.producer = producer(cls.rig.brokers)
        cls.results.wait([produce(cls.producer, low(0))])

    def first_tokens(self) -> list[dict]:
        """Times of high jobs one after another."""
        times = []
        for i in range(N_HIGH):
            job = make_job(TEXTS[i % len(TEXTS)], model="demo", priority="high",
                           params={"max_tokens": 8, "temperature": 0})
            r = self.results.wait([produce(self.producer, job, lane="high")])[job["job_id"]]
            self.assertEqual((r["status"], r["preemptions"]), ("succeeded", 0), r)
            times.append(r["timings"])
            time.sleep(0.1)
        return times

    def cancel(self, ids) -> None:
        for i in ids:
            self.producer.produce("millrace.control", json.dumps({"type": "cancel", "job_id": i}), key=i,
                                  headers=[("content-type", JSON)])
        self.producer.flush(servers.HANG_S)

    def check_displaced(self, ids: list[str], texts: list[str]) -> int:
        """Results of low jobs that ended by themselves; how many of them had lost their seat."""
        n = 0
        for i, job_id in enumerate(ids):
            for r, _ in self.results.by_id.get(job_id, []):
                if r["status"] != "succeeded":
                    continue
                self.assertEqual(r["text"], texts[i % len(TEXTS)])
                self.assertLessEqual(r["preemptions"], 2)
                if r["preemptions"] > 0:
                    servers.wait_for("done", lambda: self.redis.hget(f"mr:{{{job_id}}}", "state") == b"succeeded")
                    self.assertEqual(stream_text(self.redis, job_id), r["text"])
                    n += 1
        return n

    def test_a_high_job_does_not_wait_for_a_thousand_low_ones(self) -> None:
        alone = [produce(self.producer, low(i), lane="low") for i in range(len(TEXTS))]
        got = self.results.wait(alone)
        texts = [got[i]["text"] for i in alone]
        idle = self.first_tokens()
        ids = [produce(self.producer, low(i), lane="low") for i in range(N_LOW)]
        self.producer.flush(servers.HANG_S)
        self.results.wait(ids[:SEATS])  # every seat has been taken, and the queue stands
        busy = self.first_tokens()
        self.results.read()
        self.assertGreater(len([i for i in ids if i not in self.results.by_id]), N_LOW // 4, "the queue ran dry")
        time.sleep(2)  # those that were displaced come to their end
        self.results.read()
        self.cancel(i for i in ids if i not in self.results.by_id)
        self.results.wait(ids)
        n = self.check_displaced(ids, texts)
        ends = [self.results.by_id[i][0][0]["timings"]["finished_ms"] for i in ids]
        passed = [sum(t["received_ms"] <= end <= t["received_ms"] + t["first_token_ms"] for end in ends) for t in busy]
        idle_ms, busy_ms = [t["first_token_ms"] for t in idle], [t["first_token_ms"] for t in busy]
        print(f"\nfirst token of a high job: idle {statistics.median(idle_ms)} ms {idle_ms}, behind {N_LOW} low jobs "
              f"{statistics.median(busy_ms)} ms {busy_ms}, meanwhile {passed} of them ended; {n} low jobs that lost "
              "their seat are checked")
        self.assertGreater(n, 0)
        self.assertLessEqual(statistics.median(passed), SEATS)


if __name__ == "__main__":
    servers.main()
