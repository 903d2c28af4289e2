#!/usr/bin/python3
"""Goal: a machine that runs short of memory, file handles, disk or readers costs time, never a result.

Method: worker and dispatcher run with tests/fault/preload.c, which makes the n-th allocation of their own
code fail, n drawn from a seed; who ends is started again, as a supervisor does. Handles are taken away from
running programs by prlimit and given back. The command line writes to a disk that is full, and to a pipe
that nobody reads. In the end every job has exactly one terminal record, with the text of an undisturbed run.
"""

import contextlib
import itertools
import json
import os
import pathlib
import random
import resource
import signal
import subprocess
import tempfile
import time
import unittest

import rig as servers
from jobs import Results, make_job, produce, producer

PRELOAD = servers.BIN.parent / "tests/libmr_preload.so"
SEED = int(os.environ.get("MR_SEED", "1"))
ROUNDS = int(os.environ.get("MR_ROUNDS", "6"))  # programs that lose memory, of each kind
TEXTS = ["A tool that prints text files on printers.", "A library to read and write archives.",
         "Fonts for people who like to read at night."]
ABORTS = "e->metadata is false"  # offsets for librdkafka, which aborts too when it has no memory for them
SANITIZED = b"__asan_init" in (servers.BIN / "millrace-dispatcher").read_bytes()


def jobs(n: int) -> list[dict]:
    return [make_job(TEXTS[i % len(TEXTS)], model="demo", params={"max_tokens": 12, "temperature": 0})
            for i in range(n)]


def cuda_runtime(program: str) -> str:
    """Where a program has CUDA's runtime linked in, for preload.c: the longest run of its names; or nothing.
    It dies of a failed allocation, as the libraries do that are let through."""
    lines = subprocess.run(["nm", "-n", "--defined-only", servers.BIN / program], check=True,
                           capture_output=True, text=True).stdout.splitlines()
    code = [line.split() for line in lines if line.split()[1] in "tT"]
    runs = [list(run) for is_cuda, run in itertools.groupby(code, lambda s: "cuda" in s[2]) if is_cuda]
    longest = max(runs, key=len, default=[])
    return f"{longest[0][0]}-{longest[-1][0]}" if len(longest) > 100 else ""


@unittest.skipIf(SANITIZED, "a sanitizer has its own malloc")
class Resources(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.rig = servers.Rig().__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        cls.start("dispatcher")
        cls.start("worker")
        cls.producer = producer(cls.rig.brokers)
        cls.rig.wait_topics("millrace.results", "millrace.jobs.normal", "millrace.work.demo")
        cls.results = Results(cls.rig.brokers)
        cls.addClassCleanup(cls.results.close)
        cls.texts = {}
        for job, text in zip(jobs(len(TEXTS)), TEXTS):
            cls.texts[text] = cls.results.wait([produce(cls.producer, job)])[job["job_id"]]["text"]

    @classmethod
    def start(cls, name: str, memory_fails_at: int = 0, **settings) -> None:
        env = {"LD_PRELOAD": str(PRELOAD), "MR_FAULT_MALLOC": str(memory_fails_at),
               "MR_FAULT_LET": cuda_runtime(f"millrace-{name}")} if memory_fails_at else {}
        with changed_environment(env):
            if name == "dispatcher":
                cls.rig.start_dispatcher(name, default_model="demo", session_timeout_ms=2000, **settings)
            else:
                cls.rig.start_worker(name, max_jobs=4, session_timeout_ms=6000, **settings)

    def supervise(self, name: str) -> bool:
        """Starts a program that has ended by itself again, with all its memory. True: it was started."""
        p, log = self.rig.processes.get(name), self.rig.log(name).read_text(errors="replace")
        if p is None or p.poll() is None:
            return False
        code = self.rig.processes.pop(name).returncode
        if not log.rstrip().endswith(ABORTS):
            self.assertGreater(code, 0, f"{name} died of signal {-code}:\n{servers.tail(self.rig.log(name))}")
        self.start(name)
        return True

    def finish(self, batch: list[dict], all_succeed: bool = False) -> None:
        """All of batch end, once each, with the text of an undisturbed run or a clear error."""
        ids = {j["job_id"]: j["input"]["messages"][0]["content"] for j in batch}
        end = time.monotonic() + servers.HANG_S
        while not ids.keys() <= self.results.by_id.keys():
            self.assertLess(time.monotonic(), end, f"{len(ids.keys() - self.results.by_id.keys())} jobs missing")
            self.results.read()
            for name in ("dispatcher", "worker"):
                self.supervise(name)
        for i, text in ids.items():
            self.assertEqual(len(self.results.by_id[i]), 1, f"{i}: {len(self.results.by_id[i])} terminal records")
            r = self.results.by_id[i][0][0]
            if r["status"] == "succeeded":
                self.assertEqual(r["text"], self.texts[text])
            else:
                self.assertFalse(all_succeed, r)
                self.assertIn(r["status"], ("failed", "rejected"), r)
                self.assertRegex(r["error"]["message"], "memory", r)

    def lose_memory(self, name: str) -> None:
        rng = random.Random(f"{SEED} {name}")
        ended = 0
        for _ in range(ROUNDS):
            at = int(10 ** rng.uniform(0.5, 3.6))  # start, first jobs, and well into the run
            self.rig.stop(name, signal.SIGKILL)
            self.start(name, at)
            batch = jobs(20)
            for job in batch:
                produce(self.producer, job)
            self.producer.flush()
            with self.subTest(program=name, allocation=at):
                self.finish(batch, name == "dispatcher")  # which needs a job's memory for a moment only
            ended += b"out of memory" in self.rig.log(name).read_bytes() or b"no memory" in self.rig.log(name).read_bytes()
        self.assertGreater(ended, 0, "no allocation failed: the test tests nothing")

    def test_worker_without_memory(self) -> None:
        self.lose_memory("worker")

    def test_dispatcher_without_memory(self) -> None:
        self.lose_memory("dispatcher")

    def test_no_file_handles(self) -> None:
        """Neither can open anything while Redis and broker connections are cut; then the handles come back."""
        batch = jobs(60)
        pids = {name: self.rig.processes[name].pid for name in ("dispatcher", "worker")}
        before = {name: resource.prlimit(pid, resource.RLIMIT_NOFILE) for name, pid in pids.items()}
        for job in batch[:30]:
            produce(self.producer, job)
        self.producer.flush()
        for pid in pids.values():
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (4, before["worker"][1]))
        self.rig.stop("redis", signal.SIGKILL)  # whoever wants it again needs a handle
        self.rig.start_redis()
        for job in batch[30:]:
            produce(self.producer, job)
        self.producer.flush()
        time.sleep(2)
        for name, pid in pids.items():
            self.assertIsNone(self.rig.processes[name].poll(), f"{name} ended: {servers.tail(self.rig.log(name))}")
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before[name])
        self.finish(batch)

    def test_output_on_a_full_disk(self) -> None:
        """The command line says so and stops; on a disk with room the same command goes on."""
        lines = [json.dumps({"custom_id": f"c{i}", "method": "POST", "url": "/v1/chat/completions", "body": {
            "model": "demo", "max_tokens": 8, "temperature": 0,
            "messages": [{"role": "user", "content": TEXTS[i % 3]}]}}) for i in range(60)]
        with tempfile.TemporaryDirectory() as d:
            source, out = pathlib.Path(d, "in.jsonl"), pathlib.Path(d, "out.jsonl")
            source.write_text("\n".join(lines) + "\n")

            def small_files() -> None:
                signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
                resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
            argv = [str(servers.BIN / "millrace"), "batch", str(source), "-o", str(out)]
            env = {**os.environ, **self.rig.env()}
            full = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=servers.HANG_S, preexec_fn=small_files)
            self.assertNotEqual(full.returncode, 0)
            self.assertRegex(full.stderr, "(?i)cannot write|too large|no space")
            again = subprocess.run(argv, env=env, capture_output=True, text=True, timeout=servers.HANG_S)
            self.assertEqual(again.returncode, 0, again.stderr)
            answers = [json.loads(line) for line in out.read_text().splitlines()]
            self.assertEqual(sorted(a["custom_id"] for a in answers), sorted(f"c{i}" for i in range(60)))

    def test_a_reader_who_leaves(self) -> None:
        """`millrace submit --stream | head -c 1`: a clean end, and the job ends all the same."""
        p = subprocess.Popen([str(servers.BIN / "millrace"), "submit", "--stream", "--model", "demo", TEXTS[0]],
                             env={**os.environ, **self.rig.env()}, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        p.stdout.read(1)
        p.stdout.close()
        self.assertNotIn(p.wait(servers.HANG_S), (-signal.SIGPIPE, -signal.SIGSEGV, -signal.SIGABRT), p.stderr.read())
        p.stderr.close()


@contextlib.contextmanager
def changed_environment(env: dict):
    before = dict(os.environ)
    os.environ.update(env)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


if __name__ == "__main__":
    servers.main()
