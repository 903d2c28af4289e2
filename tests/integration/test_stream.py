#!/usr/bin/python3
"""Goal: a token stream has no gap and no repeat, whoever reads it, and whoever dies while it runs.

Method: a real broker and a real Redis, a dispatcher and two workers with the demo model, and jobs long enough
to be hit in the middle: both workers are stopped when they are there, so that none of them ends before the
blow, however slow the machine is. `Reader` is what docs/PROTOCOL.md tells a program of one's own to do; `millrace tail`
is the library's way. Readers are cut off over and over, workers are killed, put to sleep and drained, Redis is
wiped and restarted; what each reader has in the end is compared with the result, byte by byte.
"""

import contextlib
import json
import random
import select
import signal
import subprocess
import threading
import time
import unittest

import redis

import rig as servers
from jobs import Results, make_job, produce, producer, stream_frames, stream_text

CUTS = 100
SESSION_MS = 3000
WORKERS = ("worker", "worker-b")
N_RUNNING = 16  # all seats of both
LONG = 400      # tokens of a job
TRIES = 20


class Reader(threading.Thread):
    """Follows one job. Cut off after every few messages, as rng says, when there is one."""

    def __init__(self, port: int, job_id: str, rng: random.Random | None = None) -> None:
        super().__init__(daemon=True)
        self.redis = redis.Redis(port=port)
        self.key, self.channel, self.last = f"mr:{{{job_id}}}:s", f"mr:{{{job_id}}}:t", "-"
        self.text, self.index, self.restart, self.done = "", 0, 0, None
        self.rng, self.restarts, self.cuts = rng, 0, 0
        self.start()

    def run(self) -> None:
        while not self.done:
            with contextlib.suppress(redis.ConnectionError, ConnectionError), self.redis.pubsub() as sub:
                self.listen(sub)

    def listen(self, sub) -> None:
        sub.subscribe(self.channel)
        while (sub.get_message(timeout=5) or {}).get("type") != "subscribe":
            pass
        self.catch_up()
        left = self.rng.randint(1, 5) if self.rng else -1
        while not self.done and left != 0:
            message = sub.get_message(timeout=1)
            left -= message is not None
            if message is None or not self.take(json.loads(message["data"])):
                self.catch_up()
        self.cuts += not self.done

    def catch_up(self) -> None:
        for entry, fields in self.redis.xrange(self.key, self.last):
            self.take(json.loads(fields[b"f"]), stored=True)
            self.last = entry

    def take(self, frame: dict, stored: bool = False) -> bool:
        """False: something is missing before it."""
        if frame["type"] == "restart":
            if frame["attempt"] > self.restart:
                self.text, self.index, self.restart = "", 0, frame["attempt"]
                self.restarts += 1
        elif frame["type"] == "token":
            if frame["attempt"] <= self.restart or frame["index"] < self.index:
                return True
            if frame["index"] > self.index and not stored:
                return False
            assert frame["index"] == self.index, f"{frame['index']} follows {self.index - 1}"
            self.text, self.index = self.text + frame["text"], self.index + 1
        elif frame["index"] > self.index and not stored:
            return False
        else:
            self.done = frame
        return True


class Stream(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.rig = servers.Rig().__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        cls.rig.start_dispatcher(session_timeout_ms=SESSION_MS)
        cls.start("worker")
        cls.start("worker-b")
        cls.redis = redis.Redis(port=cls.rig.redis_port)
        cls.rig.wait_topics("millrace.results", "millrace.jobs.low", "millrace.workers")
        cls.results = Results(cls.rig.brokers)
        cls.addClassCleanup(cls.results.close)
        cls.producer = producer(cls.rig.brokers)
        cls.results.wait([produce(cls.producer, make_job())])

    @classmethod
    def start(cls, name: str) -> None:
        cls.rig.start_worker(name, model_name="demo", max_jobs=8, session_timeout_ms=SESSION_MS, drain_ms=300)

    def setUp(self) -> None:
        self.addCleanup(self.thaw)
        for name in WORKERS:
            if name not in self.rig.processes:
                self.start(name)

    def submit(self, n: int, max_tokens: int = LONG, **params) -> list[str]:
        """Each with a text of its own, since their seeds differ."""
        ids = [produce(self.producer, make_job(params={"max_tokens": max_tokens, "temperature": 1,
                                                       "ignore_eos": True, **params}))
               for _ in range(n)]
        self.producer.flush(servers.HANG_S)
        return ids

    def follow(self, ids: list[str]) -> dict[str, Reader]:
        return {i: Reader(self.rig.redis_port, i) for i in ids}

    def lengths(self, ids) -> list[int]:
        """Entries of the streams."""
        with self.redis.pipeline(transaction=False) as p:
            for i in ids:
                p.xlen(f"mr:{{{i}}}:s")
            return p.execute()

    def freeze(self) -> None:
        for name in WORKERS:
            self.rig.processes[name].send_signal(signal.SIGSTOP)

    def thaw(self, *names: str) -> None:
        for name in names or WORKERS:
            if name in self.rig.processes:
                self.rig.processes[name].send_signal(signal.SIGCONT)

    def catch(self, n: int, max_tokens: int = LONG, **params) -> tuple[list[str], dict[str, Reader], subprocess.Popen]:
        """Jobs in mid-stream, the longest streams first, with readers that have what there is, and a `millrace
        tail` of the first job. Both workers are stopped. Where a job has ended by then, others are tried."""
        for _ in range(TRIES):
            ids = self.submit(n, max_tokens, **params)
            readers = self.follow(ids)
            servers.wait_for("streams run", lambda: sum(x >= 20 for x in self.lengths(ids)) >= n // 2, step_s=0.01)
            self.freeze()
            if max(self.lengths(ids)) < max_tokens - 20 and not self.results.read() and \
                    not set(ids) & self.results.by_id.keys():
                servers.wait_for("readers are there", lambda: [r.index for r in readers.values()] == self.lengths(ids))
                ids.sort(key=lambda i: readers[i].index, reverse=True)
                tail = self.tail(ids[0])
                self.assertTrue(select.select([tail.stdout], [], [], servers.HANG_S)[0], "tail prints nothing")
                return ids, readers, tail
            self.thaw()
            self.check(readers)
        raise AssertionError(f"{TRIES} times a job ended before it could be caught")

    def worker_of(self, job_id: str) -> str:
        return (self.redis.hget(f"mr:{{{job_id}}}", "worker") or b"").decode()

    def check(self, readers: dict[str, Reader]) -> dict[str, dict]:
        """Every reader has the text of the result and the end; so has the stream itself."""
        got = self.results.wait(list(readers))
        for job_id, reader in readers.items():
            reader.join(servers.HANG_S)
            with self.subTest(job=job_id):
                self.assertIsNotNone(reader.done, f"no end after {reader.index} tokens")
                self.assertEqual(got[job_id]["status"], "succeeded")
                self.assertFalse(got[job_id]["stream_degraded"])
                self.assertEqual(reader.text, got[job_id]["text"])
                self.assertEqual(reader.index, got[job_id]["usage"]["completion_tokens"])
                self.assertEqual(stream_text(self.redis, job_id), got[job_id]["text"])
                self.assertEqual(len(self.results.by_id[job_id]), 1)
        return got

    def tail(self, job_id: str) -> subprocess.Popen:
        return subprocess.Popen([str(servers.BIN / "millrace"), "tail", job_id], text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, env={**servers.os.environ, **self.rig.env()})

    def check_tail(self, tail: subprocess.Popen, text: str) -> None:
        out, err = tail.communicate(timeout=servers.HANG_S)
        self.assertEqual(tail.returncode, 0, err)
        self.assertEqual(out, text + "\n")

    # ---- readers

    def test_a_reader_cut_off_a_hundred_times(self) -> None:
        rng, cuts, jobs = random.Random(3), 0, 0
        while cuts < CUTS:
            ids = self.submit(8)
            readers = {i: Reader(self.rig.redis_port, i, random.Random(rng.random())) for i in ids}
            self.check(readers)
            cuts, jobs = cuts + min(r.cuts for r in readers.values()), jobs + 1
        print(f"  each of 8 readers cut off {cuts} times or more in {jobs} jobs", flush=True)

    def test_tail_cut_off_a_hundred_times(self) -> None:
        rng, cuts, jobs = random.Random(4), 0, 0
        while cuts < CUTS:
            job_id, *others = self.submit(16)
            tail = self.tail(job_id)
            while tail.poll() is None:
                for c in self.redis.client_list():
                    if c["name"] in ("millrace-follow", "millrace-client") and rng.random() < 0.7:
                        with contextlib.suppress(redis.ResponseError):  # gone by itself
                            self.redis.client_kill(f"{c['addr']}")
                            cuts += 1
                time.sleep(rng.random() * 0.06)
            jobs += 1
            self.check_tail(tail, self.results.wait([job_id])[job_id]["text"])
            self.results.wait(others)
        print(f"  millrace tail cut off {cuts} times in {jobs} jobs", flush=True)

    # ---- workers

    def test_a_worker_killed_in_mid_stream(self) -> None:
        ids, readers, tail = self.catch(N_RUNNING)
        hit = [i for i in ids if readers[i].index > 0 and self.worker_of(i) == self.worker_of(ids[0])]
        self.rig.stop(self.worker_of(ids[0]), signal.SIGKILL)
        self.thaw()
        got = self.check(readers)
        self.check_tail(tail, got[ids[0]]["text"])
        self.assertEqual({got[i]["attempt"] > 1 for i in hit}, {True})
        self.assertEqual(sum(r.restarts for r in readers.values()), 0)
        seams = [len({f["attempt"] for _, f in stream_frames(self.redis, i)}) for i in hit]
        self.assertGreater(max(seams), 1, "none had begun")

    def test_a_worker_that_wakes_up(self) -> None:
        ids, readers, tail = self.catch(N_RUNNING)
        victim = self.worker_of(ids[0])
        p = self.rig.processes[victim]
        self.thaw(*set(WORKERS) - {victim})
        servers.wait_for("its jobs are another's", lambda: self.worker_of(ids[0]) != victim)
        self.thaw(victim)
        got = self.check(readers)
        self.check_tail(tail, got[ids[0]]["text"])
        self.assertEqual(sum(r.restarts for r in readers.values()), 0)
        self.assertIsNone(p.poll())

    def test_a_worker_that_hands_over(self) -> None:
        ids, readers, tail = self.catch(N_RUNNING)
        p = self.rig.processes.pop(victim := self.worker_of(ids[0]))
        p.send_signal(signal.SIGTERM)
        p.send_signal(signal.SIGCONT)
        self.thaw()
        self.assertEqual(p.wait(servers.HANG_S), 0, servers.tail(self.rig.log(victim)))
        got = self.check(readers)
        self.check_tail(tail, got[ids[0]]["text"])
        self.assertEqual(sum(r.restarts for r in readers.values()), 0)

    def test_logprobs_are_whole_behind_a_seam(self) -> None:
        """Frames carry none, so such a job is made again from its prompt; readers notice nothing."""
        ids, readers, tail = self.catch(N_RUNNING, 300, logprobs=True, top_logprobs=2)
        self.rig.stop(self.worker_of(ids[0]), signal.SIGKILL)
        self.thaw()
        got = self.check(readers)
        self.check_tail(tail, got[ids[0]]["text"])
        self.assertEqual(sum(r.restarts for r in readers.values()), 0)
        self.assertGreater(got[ids[0]]["attempt"], 1)
        for r in got.values():
            self.assertEqual(len(r["logprobs"]), 300)

    # ---- Redis

    def test_redis_wiped(self) -> None:
        ids, readers, tail = self.catch(12)
        hit = [r for r in readers.values() if r.index > 0]
        self.redis.flushall()
        self.thaw()
        got = self.check(readers)
        self.assertEqual({r.restarts for r in hit}, {1})
        self.check_tail(tail, got[ids[0]]["text"])

    def test_redis_restarted_empty(self) -> None:
        ids, readers, tail = self.catch(12)
        self.rig.stop("redis", signal.SIGKILL)
        self.thaw()
        self.rig.start_redis()
        got = self.check(readers)
        self.check_tail(tail, got[ids[0]]["text"])
        print(f"  {sum(r.restarts for r in readers.values())} of {len(ids)} streams started again", flush=True)

    def test_redis_wiped_and_a_worker_killed(self) -> None:
        """Nobody is left who knows what readers have seen."""
        ids, readers, tail = self.catch(N_RUNNING)
        hit = [readers[i] for i in ids if readers[i].index > 0 and self.worker_of(i) == self.worker_of(ids[0])]
        self.rig.stop(self.worker_of(ids[0]), signal.SIGKILL)
        self.redis.flushall()
        self.thaw()
        got = self.check(readers)
        self.check_tail(tail, got[ids[0]]["text"])
        self.assertEqual({r.restarts for r in hit}, {1})


if __name__ == "__main__":
    servers.main()
