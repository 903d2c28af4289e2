#!/usr/bin/python3
"""Goal: on a real broker and a real Redis every job gets one answer, and its stream says the same text.

Method: a dispatcher and a worker with the demo model; 1,000 mixed jobs from three producers, msgpack and
JSON, three lanes, good and bad ones, sent at once; then each answer and each stream is checked. Smaller
tests follow for cancel, deadline, Redis lost, workers killed and drained, on the same servers.
"""

import json
import random
import re
import signal
import unittest

import redis

import rig as servers
from jobs import JSON, MSGPACK, Results, Topic, make_job, produce, producer, stream_text

# One that is stopped for a moment is not given up, however long a moment is on a busy machine.
WORKER = {"max_jobs": 16, "session_timeout_ms": 120000}
DEADLINES_MS = (400, 200, 1600, 6400, 25600)
WORDS = ("library package for reading and writing files of many kinds with a simple interface in the shell "
         "python tool documentation development headers network server daemon game music video font").split()


def text(rng: random.Random, n: int) -> str:
    return " ".join(rng.choice(WORDS) for _ in range(n))


def spoil(rng: random.Random, job: dict) -> tuple[dict, str, str]:
    """A job with one fault; which error code and field the answer must name."""
    return rng.choice([
        lambda: ({**job, "params": {**job["params"], "temprature": 1}}, "unknown_field", "params.temprature"),
        lambda: ({**job, "params": {**job["params"], "top_p": 7}}, "out_of_range", "params.top_p"),
        lambda: ({**job, "params": {**job["params"], "max_tokens": "many"}}, "bad_type", "params.max_tokens"),
        lambda: ({**job, "input": {}}, "missing_field", "input"),
        lambda: ({**job, "prioritty": "high"}, "unknown_field", "prioritty"),
        lambda: ({**job, "model": "no-such-model"}, "unknown_model", "model"),
        lambda: ({**job, "attempt": 3}, "unknown_field", "attempt"),
        lambda: ({**job, "input": {"messages": [{"role": "user", "content": "word " * 60000}]}},
                 "context_exceeded", "input"),
    ])()


class Pipeline(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.rig = servers.Rig().__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        cls.rig.start_dispatcher()
        cls.rig.start_worker(**WORKER)
        cls.redis = redis.Redis(port=cls.rig.redis_port)
        cls.rig.wait_topics("millrace.results", "millrace.dead", "millrace.jobs.low", "millrace.workers")
        cls.results = Results(cls.rig.brokers)
        cls.addClassCleanup(cls.results.close)
        cls.producer = producer(cls.rig.brokers)
        warm = produce(cls.producer, make_job())
        cls.results.wait([warm])

    def one(self, lane: str = "normal", **fields) -> dict:
        job_id = produce(self.producer, make_job(**fields), lane=lane)
        return self.results.wait([job_id])[job_id]

    def check_once(self, got: dict) -> None:
        """All succeeded, each with one answer, and each stream says the same as its answer."""
        self.results.read()
        for job_id, r in got.items():
            self.assertEqual((r["status"], len(self.results.by_id[job_id])), ("succeeded", 1))
            servers.wait_for("done", lambda: self.state(job_id) == "succeeded")
            self.assertEqual(stream_text(self.redis, job_id), r["text"])

    def state(self, job_id: str) -> str:
        return (self.redis.hget(f"mr:{{{job_id}}}", "state") or b"").decode()

    def test_a_thousand_mixed_jobs(self) -> None:
        rng = random.Random(11)
        producers = [producer(self.rig.brokers) for _ in range(3)]
        wanted, noise = {}, 0
        for i in range(1000):
            content_type = rng.choice([JSON, MSGPACK])
            job = make_job(text(rng, rng.randint(3, 40)), metadata={"n": str(i)})
            job["params"] = {"max_tokens": rng.randint(1, 12), "temperature": rng.choice([0, 0.8]),
                             "seed": i}
            kind = rng.random()
            expect = ("succeeded", None, None)
            if kind < 0.10:
                job, code, field = spoil(rng, job)
                expect = ("rejected", code, field)
            elif kind < 0.15:
                job["input"] = {"prompt": text(rng, 5)}
            elif kind < 0.20:
                job["input"] = {"tokens": [rng.randint(300, 1000) for _ in range(rng.randint(1, 30))]}
            elif kind < 0.22:
                noise += 1
                producers[i % 3].produce("millrace.jobs.normal", rng.randbytes(rng.randint(1, 200)),
                                         headers=[("content-type", content_type)])
                continue
            produce(producers[i % 3], job, content_type, rng.choice(["high", "normal", "low"]))
            wanted[job["job_id"]] = (expect, content_type, i)
        for p in producers:
            self.assertEqual(p.flush(servers.HANG_S), 0)
        got = self.results.wait(wanted)
        for job_id, ((status, code, field), content_type, i) in wanted.items():
            r = got[job_id]
            with self.subTest(job=i, result=r):
                self.assertEqual(r["status"], status)
                self.assertEqual(len(self.results.by_id[job_id]), 1)
                headers = dict(self.results.by_id[job_id][0][1].headers())
                self.assertEqual(headers["content-type"].decode(), content_type)
                self.assertEqual(headers["ce_type"].decode(), f"millrace.result.{status}")
                if status == "succeeded":
                    self.assertEqual(r["metadata"], {"n": str(i)})
                    self.assertIn(r["finish_reason"], ("stop", "length"))
                    self.assertFalse(r["stream_degraded"])
                else:
                    self.assertEqual(r["error"]["code"], code)
                    self.assertEqual(r["error"]["field"], field)
        for job_id, r in got.items():
            servers.wait_for(f"terminal state of {job_id}", lambda: self.state(job_id) == r["status"])
            if r["status"] == "succeeded":
                self.assertEqual(stream_text(self.redis, job_id), r["text"])
        dead = Topic(self.rig.brokers, "millrace.dead")
        servers.wait_for("dead letters", lambda: dead.read() or len(dead.messages) >= noise)
        self.assertEqual(len(dead.messages), noise)
        for m in dead.messages:
            letter = json.loads(m.value())
            self.assertEqual(letter["origin"]["topic"], "millrace.jobs.normal")
            self.assertTrue(letter["cause"] and letter["message"])
        dead.close()

    def test_same_job_same_text(self) -> None:
        """Greedy and seeded jobs give the same text alone and among others, and without a seed by job id."""
        params = {"max_tokens": 24, "temperature": 1, "seed": 5}
        alone = self.one(params=params)["text"]
        crowd = [make_job(params=params) for _ in range(20)] + [make_job(text(random.Random(i), 30)) for i in range(20)]
        ids = [produce(self.producer, j) for j in crowd]
        got = self.results.wait(ids)
        self.assertEqual({got[i]["text"] for i in ids[:20]}, {alone})

    def test_logprobs_and_stop(self) -> None:
        r = self.one(params={"max_tokens": 12, "temperature": 0, "logprobs": True, "top_logprobs": 3})
        self.assertEqual(len(r["logprobs"]), r["usage"]["completion_tokens"])
        for t in r["logprobs"]:
            self.assertEqual(len(t["top"]), 3)
            self.assertEqual(t["top"][0]["token"], t["token"])  # greedy takes the likeliest
        plain = self.one(params={"max_tokens": 12, "temperature": 0})["text"]
        stop = plain[len(plain) // 2:][:3]
        cut = self.one(params={"max_tokens": 12, "temperature": 0, "stop": [stop]})
        self.assertEqual(cut["text"], plain[:plain.index(stop)])
        self.assertEqual(cut["finish_reason"], "stop")

    def test_cancel_waiting_and_running(self) -> None:
        long = {"max_tokens": 400, "temperature": 1, "ignore_eos": True}
        ids = [produce(self.producer, make_job(params=long)) for _ in range(240)]
        self.producer.flush()
        servers.wait_for("some run", lambda: any(self.state(i) == "running" for i in ids))
        worker = self.rig.processes["worker"]
        worker.send_signal(signal.SIGSTOP)  # none of them ends before its cancel is on its way
        self.addCleanup(worker.send_signal, signal.SIGCONT)
        running = [i for i in ids if self.state(i) == "running"]
        waiting = [i for i in ids if self.state(i) == "queued"]
        self.assertTrue(running and waiting)
        self.rig.millrace("cancel", *ids, check=False)
        worker.send_signal(signal.SIGCONT)
        got = self.results.wait(ids)
        late = waiting[len(waiting) // 2:]  # those before them may have been let go meanwhile
        self.assertEqual({got[i]["status"] for i in late}, {"cancelled"})
        self.assertIn("cancelled", {got[i]["status"] for i in running})
        for i in ids:
            servers.wait_for("done", lambda: self.state(i) == got[i]["status"])
            self.assertEqual(stream_text(self.redis, i), got[i]["text"])

    def test_deadline(self) -> None:
        """Of a crowd some expire before they run, some while they do: at once on a fast machine."""
        long = {"max_tokens": 450, "temperature": 1, "ignore_eos": True}
        begun = waited = False
        for deadline_ms in DEADLINES_MS:
            ids = [produce(self.producer, make_job(params=long, deadline_ms=deadline_ms)) for _ in range(60)]
            got = self.results.wait(ids)
            self.assertLessEqual({r["status"] for r in got.values()}, {"expired", "succeeded"})
            tokens = [r["usage"]["completion_tokens"] for r in got.values() if r["status"] == "expired"]
            begun, waited = begun or any(tokens), waited or 0 in tokens
            if begun and waited:
                break
        self.assertTrue(begun and waited, (begun, waited))

    def test_redis_lost_and_back(self) -> None:
        """Without Redis jobs run on and results arrive, marked; with Redis back streams work again."""
        self.rig.stop("redis", signal.SIGKILL)
        ids = [produce(self.producer, make_job()) for _ in range(20)]
        got = self.results.wait(ids)
        self.assertEqual({r["status"] for r in got.values()}, {"succeeded"})
        self.assertTrue(all(r["stream_degraded"] for r in got.values()))
        self.rig.start_redis()
        job_id = None
        def streamed() -> bool:
            nonlocal job_id
            job_id = produce(self.producer, make_job())
            return not self.results.wait([job_id])[job_id]["stream_degraded"]
        servers.wait_for("streams again", streamed, step_s=0.2)
        servers.wait_for("done", lambda: self.state(job_id) == "succeeded")
        self.assertEqual(stream_text(self.redis, job_id), self.results.by_id[job_id][0][0]["text"])
        # the follower tells Redis the ends that it missed
        servers.wait_for("late ends", lambda: all(self.state(i) == "succeeded" for i in ids))

    def test_worker_killed_and_drained(self) -> None:
        """kill -9 in mid-job: each job still ends once. SIGTERM: the worker finishes what runs and leaves."""
        ids = [produce(self.producer, make_job(params={"max_tokens": 40, "temperature": 0, "ignore_eos": True}))
               for _ in range(80)]
        self.producer.flush()
        servers.wait_for("half-way", lambda: self.results.read() or len(set(ids) & self.results.by_id.keys()) > 20)
        self.rig.stop("worker", signal.SIGKILL)
        self.rig.start_worker(**WORKER)
        got = self.results.wait(ids)
        self.check_once(got)
        self.assertEqual(len({r["text"] for r in got.values()}), 1)
        more = [produce(self.producer, make_job(params={"max_tokens": 40, "temperature": 0})) for _ in range(40)]
        self.producer.flush()
        servers.wait_for("some done", lambda: self.results.read() or len(set(more) & self.results.by_id.keys()) > 5)
        self.assertEqual(self.rig.stop("worker", signal.SIGTERM), 0)
        self.rig.start_worker(**WORKER)
        self.check_once(self.results.wait(more))

    def test_dispatcher_restart(self) -> None:
        ids = [produce(self.producer, make_job(params={"max_tokens": 30, "temperature": 0, "ignore_eos": True}))
               for _ in range(100)]
        self.producer.flush()
        servers.wait_for("some done", lambda: self.results.read() or len(set(ids) & self.results.by_id.keys()) > 10)
        self.assertEqual(self.rig.stop("dispatcher", signal.SIGTERM), 0)
        self.rig.start_dispatcher()
        self.check_once(self.results.wait(ids))

    def test_settings_read_again(self) -> None:
        """SIGHUP: what can change does so at once; a file with a mistake changes nothing."""
        config = self.rig.dir / "reload.yaml"
        config.write_text("default_max_tokens: 3\n")
        self.rig.stop("worker")
        p = self.rig.start_worker(**WORKER, config=config)
        log = self.rig.log("worker").read_text

        def tokens() -> int:
            return self.one(params={"temperature": 0, "ignore_eos": True})["usage"]["completion_tokens"]

        def reload(text: str, words: str) -> None:
            config.write_text(text)
            p.send_signal(signal.SIGHUP)
            servers.wait_for(words, lambda: words in log())

        self.assertEqual(tokens(), 3)
        reload("default_max_tokens: 7\nmax_step_tokens: 300\n", "setting takes effect at the next start")
        self.assertIn("setting changed", log())
        self.assertEqual(tokens(), 7)
        reload("default_max_tokens: many\n", "nothing has changed")
        self.assertEqual(tokens(), 7)
        self.assertEqual(self.rig.stop("worker"), 0)
        self.rig.start_worker(**WORKER)

    def test_packed_weights_are_kept_and_the_cache_holds_bytes(self) -> None:
        """repack_cache and kv_type: the same answer whether the weights were packed, read, or found damaged."""
        folder = self.rig.dir / "packed"
        folder.mkdir()
        file = folder / "demo.gguf.tiles"

        def answer_after(words: str) -> str:
            """Of a worker that is started anew, and says them of the file."""
            self.rig.stop("worker")
            begin = self.rig.log("worker").stat().st_size
            self.rig.start_worker(**WORKER, model_name="demo", kv_type="q8_0", repack_cache=folder)
            text = self.one(params={"max_tokens": 24, "temperature": 0, "ignore_eos": True})["text"]
            log = self.rig.log("worker").read_text()[begin:]
            self.assertRegex(log, 'msg="model loaded" .*kv_type=q8_0 ')
            self.assertEqual(re.findall('msg="(packed weights [^"]*)"', log), [words] if words else [])
            return text

        first = answer_after("")
        self.assertEqual(file.stat().st_mode & 0o777, 0o600)
        whole = file.read_bytes()
        self.assertEqual(answer_after("packed weights read"), first)
        file.write_bytes(whole[:-1000] + bytes(b ^ 1 for b in whole[-1000:]))
        self.assertEqual(answer_after("packed weights cannot be used and are made anew"), first)
        self.assertEqual(file.read_bytes(), whole)
        job = make_job()
        said = self.rig.millrace("generate", "-m", servers.DEMO_MODEL, "--chat", "-p",
                                 job["input"]["messages"][0]["content"], "-n", 24, "--ignore-eos", "--json",
                                 "--kv-type", "q8_0", "--repack-cache", folder)
        self.assertEqual(json.loads(said.stdout)["text"], first)
        self.rig.stop("worker")
        self.rig.start_worker(**WORKER)

    def test_a_high_job_overtakes_a_backlog(self) -> None:
        backlog = [produce(self.producer, make_job(params={"max_tokens": 60, "temperature": 0, "ignore_eos": True}),
                           lane="low") for _ in range(600)]
        self.producer.flush()
        servers.wait_for("it runs", lambda: self.results.read() or len(set(backlog) & self.results.by_id.keys()) > 5)
        high = produce(self.producer, make_job(), lane="high")
        times = self.results.wait([high])[high]["timings"]
        ends = [r["timings"]["finished_ms"] for r in self.results.wait(backlog).values()]
        left = sum(end > times["received_ms"] for end in ends)
        overtaken = sum(end > times["finished_ms"] for end in ends)
        print(f"  {overtaken} of {left} low jobs overtaken", flush=True)
        self.assertGreater(overtaken, left // 2)


if __name__ == "__main__":
    servers.main()
