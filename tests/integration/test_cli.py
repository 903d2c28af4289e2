#!/usr/bin/python3
"""Goal: the command line keeps its promises: exit codes, streams, batches that survive whatever happens, a
stack that starts, stops and cleans up after itself; and what is installed can be used.

Method: the programs as a user runs them. `millrace up` with its embedded broker for the everyday commands,
a real Kafka broker and a real Redis for batches, a tree installed under DESTDIR for the library.
"""

from __future__ import annotations

import collections
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import unittest

import rig as servers
from jobs import Results

MILLRACE = str(servers.BIN / "millrace")
README = (servers.SOURCE / "README.md").read_text()
COMMANDS = ["up", "submit", "batch", "tail", "status", "top", "cancel", "dead list", "dead show",
            "dead replay", "webhook log", "webhook replay", "model info", "model synth", "generate",
            "tokenize", "bench engine", "bench pipeline", "completion", "man"]
NOBODY = "00000000-0000-4000-8000-000000000000"
TEXT = "This library reads and writes TIFF images, and comes with tools to convert them."


def run(argv: list, limit_s: float = servers.HANG_S, env: dict | None = None, **kw) -> subprocess.CompletedProcess:
    return subprocess.run([str(a) for a in argv], text=True, capture_output=True, timeout=limit_s,
                          stdin=subprocess.DEVNULL, env={**os.environ, **(env or {})}, **kw)


class Documents(unittest.TestCase):
    """What is printed from the table of commands; no servers."""

    def test_help_of_every_command(self) -> None:
        for command in COMMANDS:
            with self.subTest(command=command):
                p = run([MILLRACE, *command.split(), "--help"])
                self.assertEqual(p.returncode, 0, p.stderr)
                self.assertIn(f"millrace {command}", p.stdout)
                self.assertIn(command.split()[0], run([MILLRACE, "--help"]).stdout)

    def test_wrong_usage(self) -> None:
        for argv, part in [([], "Usage"), (["sumbit"], "submit"), (["model"], "info"), (["submit"], "TEXT"),
                           (["submit", "--strem", "x"], "--stream"), (["tail"], "JOB"),
                           (["submit", "-n", "many", "x"], "--max-tokens"), (["up"], "--model"),
                           (["submit", "--prompt", "--system", "s", "x"], "--prompt"),
                           (["submit", "--priority", "urgent", "x"], "high, normal, low"),
                           (["submit", "--not-before", "tomorrow", "x"], "2026-01-02T03:04:05Z"),
                           (["submit", "--not-before", "+31d", "x"], "30 days"),
                           (["submit", "--deadline", "8d", "x"], "from 1s to 7d"),
                           (["tail", "--timeout", "soon", "x"], "such as 90s, 10m, 2h, 1d"),
                           (["top", "--interval", "0"], "from 0.1s to 1h"),
                           (["submit", "--idempotency-key", "", "x"], "1 to 128 bytes"),
                           (["submit", "--max-attempts", "21", "x"], "--max-attempts"),
                           (["dead"], "replay"), (["dead", "show"], "JOB"), (["dead", "replay"], "--cause"),
                           (["batch", "x"], "--output"), (["batch", "x", "-o", "y", "-t", "9"], "--temperature")]:
            with self.subTest(argv=argv):
                p = run([MILLRACE, *argv])
                self.assertEqual(p.returncode, 64, p.stderr)
                self.assertEqual(p.stdout, "")
                self.assertIn(part, p.stderr)

    def test_a_full_disk_behind_stdout(self) -> None:
        with open("/dev/full", "w") as full:
            p = subprocess.run([MILLRACE, "man"], stdout=full, stderr=subprocess.PIPE, text=True)
        self.assertEqual(p.returncode, 74)
        self.assertIn("No space", p.stderr)

    def test_man_pages(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(run([MILLRACE, "man", "--output", folder]).returncode, 0)
            pages = sorted(pathlib.Path(folder).iterdir())
            self.assertEqual(len(pages), len(COMMANDS) + 1)
            for page in pages:
                p = run(["man", "-l", "--warnings", page], env={"MANWIDTH": "80", "MAN_KEEP_FORMATTING": ""})
                self.assertEqual((p.returncode, p.stderr), (0, ""), page.name)
                self.assertIn(page.name.removesuffix(".1").upper(), p.stdout)
        self.assertEqual(run([MILLRACE, "man", "nothing"]).returncode, 64)

    def test_bash_completion(self) -> None:
        script = run([MILLRACE, "completion"]).stdout
        self.assertEqual(subprocess.run(["bash", "-n"], input=script, text=True).returncode, 0)

        def complete(*words: str) -> list[str]:
            line = " ".join(f"'{w}'" for w in words)
            p = run(["bash", "-c", f"{script}\nCOMP_WORDS=(millrace {line}); COMP_CWORD={len(words)}\n"
                                   '_millrace; printf "%s\\n" "${COMPREPLY[@]}"'])
            self.assertEqual(p.stderr, "")
            return p.stdout.split()
        self.assertEqual(complete("su"), ["submit"])
        self.assertEqual(sorted(complete("model", "")), ["info", "synth"])
        self.assertEqual(sorted(complete("dead", "")), ["list", "replay", "show"])
        self.assertEqual(complete("submit", "--pri"), ["--priority"])
        self.assertEqual(complete("submit", "--priority", ""), ["high", "normal", "low"])
        self.assertIn("--batch", complete("bench", "engine", "--"))


class Up:
    """`millrace up` in a folder of its own."""

    def __init__(self, *args, **env) -> None:
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="millrace-up."))
        servers.log_folders.append(self.dir)
        self.env = {**{k: v for k, v in os.environ.items() if not k.startswith("MILLRACE_")},
                    "XDG_RUNTIME_DIR": str(self.dir), "MILLRACE_MODEL_NAME": "demo", **env}
        self.out = open(self.dir / "up.out", "w+")
        self.err = open(self.dir / "up.err.log", "w+")
        self.process = subprocess.Popen([MILLRACE, "up", "-m", servers.DEMO_MODEL, "--log-dir", self.dir, "--json",
                                         "--threads", "1", *args], stdin=subprocess.DEVNULL, stdout=self.out,
                                        stderr=self.err, env=self.env, start_new_session=True)

    def read(self, f) -> str:
        f.flush()
        return pathlib.Path(f.name).read_text()

    def wait_ready(self) -> dict:
        servers.wait_for("millrace up", lambda: self.read(self.out) or self.process.poll() is not None)
        if self.process.poll() is not None:
            raise AssertionError(self.read(self.err) + servers.tail(self.dir / "worker.log"))
        return json.loads(self.read(self.out))

    def children(self) -> list[int]:
        """Processes that `up` has started: by their environment; redis-server, which overwrites it, by
        its folder."""
        found = []
        for p in pathlib.Path("/proc").iterdir():
            if not p.name.isdigit() or int(p.name) == self.process.pid:
                continue
            try:
                if str(self.dir) in (p / "environ").read_text(errors="replace") + os.readlink(p / "cwd"):
                    found.append(int(p.name))
            except OSError:
                pass  # it has ended meanwhile
        return found

    def worker(self) -> int:
        return next(p for p in self.children()
                    if b"millrace-worker" in pathlib.Path(f"/proc/{p}/cmdline").read_bytes())

    def stop(self, sig: int = signal.SIGINT) -> int:
        if self.process.poll() is None:
            self.process.send_signal(sig)
        return self.process.wait(servers.HANG_S)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        servers.wait_for("no process left", lambda: not self.children())
        self.out.close()
        self.err.close()
        servers.log_folders.remove(self.dir)
        shutil.rmtree(self.dir, ignore_errors=True)

    def millrace(self, *args, limit_s: float = servers.HANG_S) -> subprocess.CompletedProcess:
        return subprocess.run([MILLRACE, *map(str, args)], text=True, capture_output=True, timeout=limit_s,
                              stdin=subprocess.DEVNULL, env=self.env)


class Embedded(unittest.TestCase):
    """The everyday commands, on one stack of `millrace up`."""

    @classmethod
    def setUpClass(cls) -> None:
        with socket.socket() as taken:  # the port that a private Redis likes
            try:
                taken.bind(("127.0.0.1", 6379))
                taken.listen()
            except OSError:
                pass  # somebody has it: as good
            cls.up = Up("--max-jobs", "4")
            cls.addClassCleanup(cls.up.close)
            cls.state = cls.up.wait_ready()
        cls.redis_port = int(cls.state["redis_url"].rsplit(":", 1)[1])
        # found by the state file: no command below names a server
        cls.job_id = cls.up.millrace("submit", "-t", "0", "-n", "12", TEXT).stdout.strip()
        cls.text = cls.up.millrace("tail", cls.job_id).stdout

    def test_redis_took_another_port(self) -> None:
        self.assertNotEqual(self.redis_port, 6379)

    def test_submit(self) -> None:
        stream = self.up.millrace("submit", "--stream", "-t", "0", "-n", "12", TEXT)
        wait = self.up.millrace("submit", "--wait", "-t", "0", "-n", "12", TEXT)
        self.assertEqual((stream.returncode, stream.stdout), (0, self.text), stream.stderr)
        self.assertEqual((wait.returncode, wait.stdout), (0, self.text), wait.stderr)
        self.assertGreater(len(self.text.strip()), 3)
        self.assertRegex(stream.stderr, r"^job [0-9a-f-]{36}\n$")

    def test_submit_json(self) -> None:
        plain = json.loads(self.up.millrace("submit", "--json", TEXT).stdout)
        self.assertRegex(plain["job_id"], r"^[0-9a-f-]{36}$")
        p = self.up.millrace("submit", "--stream", "--json", "-t", "0", "-n", "12", TEXT)
        *frames, result = [json.loads(line) for line in p.stdout.splitlines()]
        self.assertEqual([f["type"] for f in frames], ["token"] * (len(frames) - 1) + ["done"])
        self.assertEqual("".join(f["text"] for f in frames[:-1]), result["text"])
        self.assertEqual(result["status"], "succeeded")

    def test_text_from_a_file_and_prompts(self) -> None:
        path = self.up.dir / "text"
        path.write_text(TEXT)
        p = self.up.millrace("submit", "--wait", "-t", "0", "-n", "12", "--file", path)
        self.assertEqual(p.stdout, self.text)
        self.assertEqual(self.up.millrace("submit", "--wait", "-n", "3", "-p", "Once upon").returncode, 0)
        self.assertEqual(self.up.millrace("submit", "--file", "/nonexistent").returncode, 74)
        path.write_bytes(b"\xff\xfe\xfd")
        p = self.up.millrace("submit", "--wait", "--file", path)
        self.assertEqual(p.returncode, 65)
        self.assertIn("UTF-8", p.stderr)

    def test_rejected_and_timed_out(self) -> None:
        p = self.up.millrace("submit", "--wait", "word " * 20000)
        self.assertEqual(p.returncode, 65)
        self.assertRegex(p.stderr, r"rejected: .* \d+ tokens")
        p = self.up.millrace("submit", "--stream", "word " * 20000)
        self.assertEqual(p.returncode, 65)

    def test_tail(self) -> None:
        frames = [json.loads(line) for line in self.up.millrace("tail", "--json", self.job_id).stdout.splitlines()]
        self.assertEqual([f["index"] for f in frames], list(range(len(frames))))
        rest = [json.loads(line) for line in
                self.up.millrace("tail", "--json", "--from", "5", self.job_id).stdout.splitlines()]
        self.assertEqual(rest, frames[5:])
        p = self.up.millrace("tail", "--timeout", "1", NOBODY)
        self.assertEqual(p.returncode, 66)
        self.assertIn("not known", p.stderr)
        self.assertEqual(self.up.millrace("tail", "no-uuid").returncode, 65)

    def test_status(self) -> None:
        p = self.up.millrace("status", "--json", self.job_id)
        view = json.loads(p.stdout)
        self.assertEqual((view["state"], view["model"]), ("succeeded", "demo"))
        p = self.up.millrace("status", self.job_id, NOBODY)
        self.assertEqual(p.returncode, 66)
        self.assertIn("succeeded", p.stdout)
        self.assertIn(NOBODY, p.stderr)

    def test_cancel(self) -> None:
        p = self.up.millrace("cancel", self.job_id)
        self.assertEqual(p.returncode, 0)
        self.assertRegex(p.stderr, r"was over already: succeeded at 20\d\d-")
        p = self.up.millrace("cancel", "--wait", "--json", self.job_id)
        self.assertEqual(json.loads(p.stdout), {"job_id": self.job_id, "state": "succeeded", "was": "succeeded"})
        worker = self.up.worker()
        os.kill(worker, signal.SIGSTOP)  # none of them ends before it is cancelled
        self.addCleanup(os.kill, worker, signal.SIGCONT)
        many = [self.up.millrace("submit", "--prompt", "-t", "1", "-n", "400", "x").stdout.strip() for _ in range(12)]
        p = self.up.millrace("cancel", *many)
        self.assertEqual(p.returncode, 0, p.stderr)
        os.kill(worker, signal.SIGCONT)
        ends = [self.up.millrace("tail", job) for job in many]
        states = {json.loads(self.up.millrace("status", "--json", job).stdout)["state"] for job in many}
        self.assertLessEqual(states, {"cancelled", "succeeded"})
        self.assertIn("cancelled", states)
        self.assertIn(75, {e.returncode for e in ends})

    def test_cancel_and_wait(self) -> None:
        later = [self.up.millrace("submit", "--not-before", "+1h", "x").stdout.strip() for _ in range(2)]
        p = self.up.millrace("cancel", "--wait", *later)
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertEqual(sorted(p.stdout.splitlines()), sorted(f"{job} cancelled" for job in later))
        p = self.up.millrace("cancel", "--wait", "--timeout", "1", NOBODY)
        self.assertEqual(p.returncode, 75)
        self.assertIn("nothing is known about it", p.stderr)
        self.assertEqual(self.up.millrace("cancel", "nonsense").returncode, 65)

    def test_the_same_key_twice(self) -> None:
        first = self.up.millrace("submit", "--idempotency-key", "k 1", "-n", "3", "--wait", "x")
        self.assertEqual(first.returncode, 0, first.stderr)
        job_id = re.search(r"job (\S+)", first.stderr).group(1)
        p = self.up.millrace("submit", "--idempotency-key", "k 1", "-n", "3", "--wait", "y")
        self.assertEqual(p.returncode, 65)
        self.assertIn(f"rejected: duplicate of {job_id}", p.stderr)
        p = self.up.millrace("submit", "--idempotency-key", "k 1", "-n", "3", "--wait", "--json", "y")
        self.assertEqual(json.loads(p.stdout)["duplicate_of"], job_id)

    def test_not_before(self) -> None:
        begin = time.time()
        p = self.up.millrace("submit", "--not-before", "+3s", "-n", "3", "--wait", "--json", "x")
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertGreaterEqual(json.loads(p.stdout)["timings"]["finished_ms"] / 1000, begin + 3)

    def test_readme_python(self) -> None:
        code = re.search(r"```python\n(.*?)```", README, re.S).group(1)
        self.assertIn("localhost:9092", code)
        code = code.replace("localhost:9092", self.state["kafka_brokers"])
        code = code.replace("redis.Redis()", f"redis.Redis(port={self.redis_port})")
        p = run(["/usr/bin/python3", "-c", code])
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertGreater(len(p.stdout.strip()), 3)

    def test_readme_kcat(self) -> None:
        block = re.search(r"From `kcat`.*?\n\n((?:    .*\n)+)", README).group(1)
        block = block.replace("localhost:9092", self.state["kafka_brokers"])
        block = block.replace("redis-cli ", f"redis-cli -p {self.redis_port} ")
        *begin, collect = block.strip().splitlines()
        self.assertIn("kcat -C", collect)
        folder = self.up.dir
        out = folder / "kcat.out"
        with open(out, "w") as f:
            p = subprocess.Popen(["bash", "-c", "\n".join(begin) + "\nwait"], stdout=f, stderr=f,
                                 start_new_session=True, env={**os.environ, "PATH": f"{os.environ['PATH']}:{folder}"})
        try:
            servers.wait_for("done on the channel", lambda: '"type":"done"' in out.read_text())
        finally:
            os.killpg(p.pid, signal.SIGTERM)
            p.wait()
        job = json.loads(re.search(r'^(\{"type":"done".*\})$', out.read_text(), re.M).group(1))["job_id"]
        self.assertIn(job, run(["bash", "-c", collect]).stdout)


class UpLife(unittest.TestCase):
    """Starting, stopping and failing of `millrace up`."""

    def test_it_refuses_what_cannot_work(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            env = {"XDG_RUNTIME_DIR": folder}
            p = run([MILLRACE, "up", "-m", "/nonexistent.gguf"], env=env)
            self.assertEqual(p.returncode, 66)
            self.assertIn("/nonexistent.gguf", p.stderr)
            bad = pathlib.Path(folder) / "bad.gguf"
            bad.write_bytes(b"no model at all")
            p = run([MILLRACE, "up", "-m", bad], env=env)
            self.assertEqual(p.returncode, 65, p.stderr)
            self.assertIn("worker does not start", p.stderr)
            self.assertIn("no GGUF file", p.stderr)
            p = run([MILLRACE, "up", "-m", bad], env={"XDG_RUNTIME_DIR": f"{folder}/none"})
            self.assertEqual(p.returncode, 74)
            p = run([MILLRACE, "up", "-m", servers.DEMO_MODEL, "--log-dir", f"{folder}/none"], env=env)
            self.assertEqual(p.returncode, 74)
            self.assertEqual(p.stderr.count("\n"), 1)
            self.assertIn(f"log folder {folder}/none: No such file", p.stderr)
            left = [f for f in pathlib.Path(folder, "millrace").iterdir() if f.name == "up.yaml"]
            self.assertEqual(left, [])

    def test_its_life(self) -> None:
        """One at a time; killed, its children end and the next one starts; Ctrl-C, twice is at once."""
        up = Up()
        self.addCleanup(up.close)
        up.wait_ready()
        second = up.millrace("up", "-m", servers.DEMO_MODEL)
        self.assertEqual(second.returncode, 75)
        self.assertIn(str(up.process.pid), second.stderr)
        state = up.dir / "millrace/up.yaml"
        self.assertEqual(state.stat().st_mode & 0o777, 0o600)
        self.assertGreaterEqual(len(up.children()), 3)

        up.process.send_signal(signal.SIGKILL)
        up.process.wait()
        servers.wait_for("no child left", lambda: not up.children())
        self.assertTrue(state.exists())
        stale = up.millrace("status", NOBODY)  # looks at localhost instead
        self.assertEqual(stale.returncode, 69)
        self.assertIn("start a stack with millrace up", stale.stderr)

        up.out.seek(0)
        up.out.truncate()
        up.process = subprocess.Popen([MILLRACE, "up", "-m", servers.DEMO_MODEL, "--json", "--log-dir", up.dir],
                                      stdin=subprocess.DEVNULL, stdout=up.out, stderr=up.err, env=up.env)
        up.wait_ready()
        self.assertEqual(up.stop(signal.SIGINT), 0, up.read(up.err))
        self.assertEqual(up.children(), [])
        self.assertFalse(state.exists())

    def test_a_second_signal_ends_it_at_once(self) -> None:
        up = Up("--max-jobs", "2")
        self.addCleanup(up.close)
        up.wait_ready()
        os.kill(up.worker(), signal.SIGSTOP)  # it will not answer
        up.process.send_signal(signal.SIGINT)
        servers.wait_for("it stops", lambda: "stopping" in up.read(up.err))
        time.sleep(0.5)
        self.assertIsNone(up.process.poll())
        up.process.send_signal(signal.SIGINT)
        self.assertEqual(up.process.wait(servers.HANG_S), 130)  # and a worker that was waited for: 0
        servers.wait_for("no child left", lambda: not up.children())


class Batch(unittest.TestCase):
    """On a real broker: each custom_id once in the output, whatever happens meanwhile."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.rig = servers.Rig().__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        tenants = cls.rig.dir / "tenants.yaml"
        tenants.write_text("tenants:\n  slow: {jobs_per_s: 5, over: reject}\n  narrow: {backlog: 3}\n"
                           "  idle: {tokens_per_min: 1, over: reject}\n")
        cls.rig.start_dispatcher(tenants_file=tenants)
        cls.start_worker()
        cls.results = None
        servers.wait_for("topics", lambda: cls.rig.millrace("status", NOBODY, check=False).returncode == 66)
        cls.results = Results(cls.rig.brokers)
        cls.addClassCleanup(cls.results.close)

    @classmethod
    def start_worker(cls) -> None:
        cls.rig.start_worker(max_jobs=4, threads=1, model_name="demo")

    def setUp(self) -> None:
        self.input = self.rig.dir / f"{self.id()}.in.jsonl"
        self.output = self.rig.dir / f"{self.id()}.out.jsonl"

    def write(self, n: int, tokens: int = 8, spoil=None) -> list[str]:
        ids = [f"doc-{i}" for i in range(n)]
        with open(self.input, "w") as f:
            for i, custom_id in enumerate(ids):
                body = {"messages": [{"role": "user", "content": f"{TEXT} Part {i}."}], "max_tokens": tokens,
                        "temperature": 0, "ignore_eos": True}
                line = {"custom_id": custom_id, "method": "POST", "url": "/v1/chat/completions", "body": body}
                f.write(json.dumps(spoil(i, line) if spoil else line) + "\n")
        return ids

    def argv(self, *args) -> list[str]:
        return [MILLRACE, "batch", str(self.input), "-o", str(self.output), "--in-flight", "12", *args]

    def start(self, *args, **kw) -> subprocess.Popen:
        p = subprocess.Popen(self.argv(*args), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, env={**os.environ, **self.rig.env()}, **kw)
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)
        self.addCleanup(p.stdout.close)
        self.addCleanup(p.stderr.close)
        return p

    def lines(self) -> int:
        return self.output.read_bytes().count(b"\n") if self.output.exists() else 0

    def check_output(self, ids: list[str], failed: set = frozenset()) -> dict[str, dict]:
        rows = [json.loads(line) for line in self.output.read_text().splitlines()]
        count = collections.Counter(r["custom_id"] for r in rows)
        self.assertEqual(set(count), set(ids))
        self.assertEqual(set(count.values()), {1})
        self.assertEqual({r["custom_id"] for r in rows if r["error"]}, set(failed))
        self.assertFalse(pathlib.Path(f"{self.output}.journal").exists())
        return {r["custom_id"]: r for r in rows}

    def ran(self, rows: dict[str, dict]) -> collections.Counter:
        """How many result records each job of the output has, and those of no line of it."""
        jobs = {r["id"].removeprefix("batch_req_") for r in rows.values()}
        self.results.wait(jobs)
        self.results.read(1)
        return collections.Counter({j: len(self.results.by_id[j]) for j in jobs})

    def test_a_worker_killed_half_way(self) -> None:
        ids = self.write(200, tokens=24)
        p = self.start()
        servers.wait_for("some", lambda: self.lines() > 15, step_s=0.01)
        self.rig.stop("worker", signal.SIGKILL)
        self.assertLess(self.lines(), 200)
        self.start_worker()
        out, err = p.communicate(timeout=servers.HANG_S)
        self.assertEqual(p.returncode, 0, err)
        self.assertIn("200 succeeded, 0 failed", err)
        self.check_output(ids)

    def test_killed_while_its_jobs_wait(self) -> None:
        """Jobs that are not due yet are alive: the next run waits for them instead of sending them again."""
        ids = self.write(5)
        begin = time.time()
        p = self.start("--not-before", "+8s")
        journal = pathlib.Path(f"{self.output}.journal")
        servers.wait_for("all are sent", lambda: journal.exists() and journal.read_text().count("doc-") == 5)
        jobs = [json.loads(line)["job_id"] for line in journal.read_text().splitlines() if "doc-" in line]

        def delayed() -> bool:
            p = self.rig.millrace("status", "--json", *jobs, check=False)
            return p.stdout.count('"delayed"') == 5
        servers.wait_for("all are delayed", delayed)
        p.kill()
        p.communicate()
        _, err = self.start("--not-before", "+8s").communicate(timeout=servers.HANG_S)
        self.assertIn("5 succeeded, 0 failed", err)
        self.assertEqual(set(self.ran(self.check_output(ids)).values()), {1}, "a job was sent twice")
        self.assertGreaterEqual(time.time(), begin + 8)

    def test_interrupted_and_killed_it_goes_on(self) -> None:
        ids = self.write(200, tokens=24)
        others = Results(self.rig.brokers)
        self.addCleanup(others.close)
        others.read_all()
        p = self.start()
        servers.wait_for("some", lambda: self.lines() > 10, step_s=0.01)
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=servers.HANG_S)
        self.assertEqual(p.returncode, 130, err)
        self.assertIn("the same command goes on", err)
        self.assertTrue(pathlib.Path(f"{self.output}.journal").exists())
        n = self.lines()
        self.assertLess(n, 150)
        p = self.start()
        servers.wait_for("some more", lambda: self.lines() > n + 5, step_s=0.01)
        p.kill()
        p.communicate()
        with open(self.output, "a") as f:
            f.write('{"id":"batch_req_torn","custom_id":"doc-5')  # as a crash in mid-write would leave it
        time.sleep(1)  # some of what was in flight ends while nobody listens
        p = self.start("--json")
        out, err = p.communicate(timeout=servers.HANG_S)
        self.assertEqual(p.returncode, 0, err)
        summary = json.loads(out)
        self.assertTrue(summary["finished"])
        self.assertGreater(summary["done_before"], n)
        self.assertEqual(summary["done_before"] + summary["succeeded"], 200)
        rows = self.check_output(ids)
        self.assertEqual(set(self.ran(rows).values()), {1})  # nothing ran twice
        mine = set(self.results.by_id) - set(others.by_id)
        self.assertEqual(len(mine), 200)  # and nothing under another id
        again = run(self.argv(), env=self.rig.env())
        self.assertEqual(again.returncode, 0)
        self.assertIn("200 done before", again.stderr)

    def test_failures_are_in_the_output(self) -> None:
        def spoil(i: int, line: dict) -> dict:
            if i == 1:
                line["body"]["temprature"] = 1
            elif i == 2:
                line["body"]["messages"][0]["content"] = "word " * 20000
            elif i == 3:
                line["method"] = "GET"
            return line
        ids = self.write(6, spoil=spoil)
        with open(self.input, "a") as f:
            f.write("this is not JSON\n\n")
        p = run(self.argv(), env=self.rig.env())
        self.assertEqual(p.returncode, 65, p.stderr)
        self.assertIn("3 succeeded, 4 failed", p.stderr)
        rows = self.check_output([*ids, "line-7"], {"doc-1", "doc-2", "doc-3", "line-7"})
        self.assertEqual(rows["doc-1"]["error"]["code"], "unknown_field")
        self.assertEqual(rows["doc-2"]["error"]["code"], "context_exceeded")
        self.assertIsNone(rows["doc-2"]["response"])
        self.assertIn("line 7", rows["line-7"]["error"]["message"])
        self.assertEqual(rows["doc-0"]["response"]["body"]["choices"][0]["finish_reason"], "length")
        self.assertEqual(run(self.argv(), env=self.rig.env()).returncode, 65)  # they are still there

    def test_what_is_refused_for_now_is_submitted_again(self) -> None:
        """Each job has one result under its last id, and one that says when to come back under those before."""
        for tenant, n in (("slow", 20), ("narrow", 15)):
            with self.subTest(tenant=tenant):
                ids = self.write(n)
                self.output.unlink(missing_ok=True)
                begin = time.monotonic()
                p = run(self.argv("--tenant", tenant, "--json"), env=self.rig.env())
                self.assertEqual(p.returncode, 0, p.stderr)
                self.assertIn(f"{n} succeeded, 0 failed", p.stderr)
                self.assertIn("refused for now, submitting again in", p.stderr)
                self.assertGreater(json.loads(p.stdout)["retries"], 0)
                print(f"  {tenant}: {n} jobs, {json.loads(p.stdout)['retries']} submitted again, "
                      f"{time.monotonic() - begin:.1f} s", flush=True)
                self.assertEqual(set(self.ran(self.check_output(ids)).values()), {1})
                if tenant == "slow":
                    self.assertGreater(time.monotonic() - begin, (n - 5 - 1) / 5)  # a second's jobs go at once

    def test_interrupted_while_it_is_refused(self) -> None:
        """The place is kept: the next run goes on with what was refused, under ids that have no result."""
        ids = self.write(12)
        p = self.start("--tenant", "slow")
        servers.wait_for("it is refused", lambda: "refused for now" in p.stderr.readline(), step_s=0)
        p.send_signal(signal.SIGINT)
        _, err = p.communicate(timeout=servers.HANG_S)
        self.assertEqual(p.returncode, 130, err)
        self.assertIn("the same command goes on", err)
        p = run(self.argv("--tenant", "slow"), env=self.rig.env())
        self.assertEqual(p.returncode, 0, p.stderr)
        rows = self.check_output(ids)
        self.assertEqual({len(rows[i]["response"]["body"]["choices"]) for i in ids}, {1})
        self.assertEqual(set(self.ran(rows).values()), {1})

    def test_refused_jobs_are_not_submitted_again_for_ever(self) -> None:
        ids = self.write(2)
        self.rig.millrace("submit", "--wait", "-n", "8", "--tenant", "idle", TEXT)  # minutes' worth of tokens
        p = run(self.argv("--tenant", "idle", "--retries", "0"), env=self.rig.env())
        self.assertEqual(p.returncode, 65, p.stderr)
        self.assertIn("0 succeeded, 2 failed", p.stderr)
        rows = self.check_output(ids, set(ids))
        self.assertEqual(rows["doc-0"]["error"]["code"], "rate_limited")
        p = self.rig.millrace("submit", "--wait", "--tenant", "idle", TEXT, check=False)
        self.assertEqual(p.returncode, 65)
        self.assertRegex(p.stderr, r"rejected for now: tenant .idle. is limited to 1 tokens .*; submit it again in [0-9]+")

    def test_what_is_refused_before_anything_is_sent(self) -> None:
        self.write(3)
        with open(self.input, "a") as f:
            f.write(json.dumps({"custom_id": "doc-1", "body": {"messages": []}}) + "\n")
        p = run(self.argv(), env=self.rig.env())
        self.assertEqual(p.returncode, 65)
        self.assertIn('line 4: custom_id "doc-1"', p.stderr)
        self.assertEqual(self.lines(), 0)
        p = run([MILLRACE, "batch", self.input, "-o", "/dev/full"], env=self.rig.env())
        self.assertEqual(p.returncode, 65)
        self.assertIn("regular file", p.stderr)
        self.assertEqual(run([MILLRACE, "batch", "/nonexistent", "-o", self.output], env=self.rig.env()).returncode, 74)
        self.output.write_text("my diary\n")
        p = run(self.argv(), env=self.rig.env())
        self.assertEqual(p.returncode, 65)
        self.assertEqual(self.output.read_text(), "my diary\n")

    def test_a_disk_that_fills_up(self) -> None:
        ids = self.write(30)

        def small_disk() -> None:  # the same as a full disk: the file may not grow, a write is cut short
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))
        p = self.start(preexec_fn=small_disk, restore_signals=False)
        _, err = p.communicate(timeout=servers.HANG_S)
        self.assertEqual(p.returncode, 74, err)
        self.assertIn("cannot write", err)
        self.assertLess(self.lines(), 30)
        p = run(self.argv(), env=self.rig.env())
        self.assertEqual(p.returncode, 0, p.stderr)
        self.check_output(ids)

    def test_brokers_that_stand_still(self) -> None:
        ids = self.write(200, tokens=24)
        p = self.start()
        servers.wait_for("some", lambda: self.lines() > 5, step_s=0.01)
        self.rig.processes["kafka"].send_signal(signal.SIGSTOP)
        time.sleep(3)
        self.assertIsNone(p.poll())
        self.rig.processes["kafka"].send_signal(signal.SIGCONT)
        _, err = p.communicate(timeout=servers.HANG_S)
        self.assertEqual(p.returncode, 0, err)
        self.check_output(ids)

    def test_redis_away(self) -> None:
        """A batch needs Redis only to settle what it inherits, and can do without."""
        ids = self.write(30)
        p = self.start()
        servers.wait_for("some", lambda: self.lines() > 5, step_s=0.01)
        p.kill()
        p.communicate()
        self.rig.stop("redis", signal.SIGKILL)
        try:
            p = run(self.argv(), env=self.rig.env())
            self.assertEqual(p.returncode, 0, p.stderr)
            self.check_output(ids)
            p = run([MILLRACE, "submit", "--stream", "-n", "5", TEXT], env=self.rig.env())
            self.assertEqual(p.returncode, 0, p.stderr)
            self.assertIn("redis", p.stderr)
            self.assertGreater(len(p.stdout.strip()), 3)  # it came through Kafka
        finally:
            self.rig.start_redis()


PROGRAM = r"""
#include <millrace/millrace.h>
#include <stdio.h>

static bool on_frame(void *owner, const mr_frame *frame) {
    if (frame->type == MR_FRAME_TOKEN) ++*(int *)owner;
    return true;
}

int main(int argc, char **argv) {
    const mr_client_options options = {.config_path = argc > 1 ? argv[1] : NULL};
    const mr_message message = {"user", "A game of chess.", 16};
    const mr_result *result;
    mr_client *client;
    mr_job_spec job;
    mr_err err;
    int n = 0;

    mr_job_defaults(&job);
    job.messages = &message;
    job.n_messages = 1;
    job.params.max_tokens = 8;
    if (mr_client_connect(&client, &options, &err) != MR_OK) goto fail;
    if (mr_submit(client, &job, 10000, &err) != MR_OK) goto fail;
    if (mr_follow(client, job.job_id, 0, 30000, on_frame, &n, &err) != MR_OK) goto fail;
    if (mr_wait(client, job.job_id, 30000, &result, &err) != MR_OK) goto fail;
    printf("%s %d %u %s\n", mr_job_status_name(result->status), n, result->completion_tokens, result->text);
    mr_client_close(client);
    return 0;
fail:
    fprintf(stderr, "%s: %s\n", mr_status_name(err.status), err.text);
    return mr_status_exit_code(err.status);
}
"""
API = {"mr_client_connect", "mr_client_close", "mr_interrupt", "mr_job_defaults", "mr_submit", "mr_submit_async",
       "mr_watch_results", "mr_watch_caught_up", "mr_poll", "mr_follow", "mr_wait", "mr_job_look", "mr_cancel",
       "mr_priority_name", "mr_job_status_name", "mr_attempt_outcome_name", "mr_fail", "mr_status_name", "mr_status_exit_code",
       "mr_check_failed"}


class Installed(unittest.TestCase):
    """A tree under DESTDIR: everything is there, and a C program builds against it and runs."""

    def test_install_and_use(self) -> None:
        root = pathlib.Path(tempfile.mkdtemp(prefix="millrace-install."))
        self.addCleanup(shutil.rmtree, root)
        build = servers.BIN.parent
        p = run(["cmake", "--install", build], env={"DESTDIR": str(root)})
        self.assertEqual(p.returncode, 0, p.stderr)
        prefix = re.search(r"^CMAKE_INSTALL_PREFIX:PATH=/(.*)$", (build / "CMakeCache.txt").read_text(), re.M)
        tree = root / prefix.group(1)
        found = {str(f.relative_to(tree)) for f in tree.rglob("*") if not f.is_dir()}
        for name in ["bin/millrace", "bin/millrace-worker", "bin/millrace-dispatcher",
                     "include/millrace/millrace.h", "include/millrace/job.h",
                     "include/millrace/error.h", "share/man/man1/millrace.1",
                     "share/man/man1/millrace-model-info.1", "share/doc/millrace/LICENSE",
                     "share/doc/millrace/PROTOCOL.md", "share/millrace/schemas/job.schema.json",
                     "share/bash-completion/completions/millrace"]:
            self.assertIn(name, found)
        self.assertNotIn("include/millrace/engine.h", found)
        library = next(root.rglob("libmillrace.so"))
        self.assertTrue((library.parent / "libmillrace.so.0").exists())
        symbols = run(["nm", "-D", "--defined-only", library]).stdout
        self.assertEqual(set(re.findall(r" [A-Z] (\w+)$", symbols, re.M)), API)
        self.use(root, library)

    def use(self, root: pathlib.Path, library: pathlib.Path) -> None:
        source, program = root / "use.c", root / "use"
        source.write_text(PROGRAM)
        sanitized = ["-fsanitize=address,undefined"] if "libasan" in run(["readelf", "-d", library]).stdout else []
        env = {"PKG_CONFIG_PATH": str(library.parent / "pkgconfig"), "PKG_CONFIG_SYSROOT_DIR": str(root)}
        flags = run(["pkg-config", "--cflags", "--libs", "millrace"],
                    env={**env, "PKG_CONFIG_ALLOW_SYSTEM_CFLAGS": "1", "PKG_CONFIG_ALLOW_SYSTEM_LIBS": "1"})
        self.assertEqual(flags.returncode, 0, flags.stderr)
        p = run(["gcc", "-std=c11", "-Wall", "-Wextra", "-Werror", *sanitized, source, "-o", program,
                 *flags.stdout.split()])
        self.assertEqual(p.returncode, 0, p.stderr)
        if shutil.which("g++"):
            header = next(root.rglob("millrace.h"))
            p = run(["g++", "-x", "c++", "-fsyntax-only", "-Wall", "-Wextra", "-Werror", f"-I{header.parent.parent}",
                     "-include", header, "/dev/null"])
            self.assertEqual(p.returncode, 0, p.stderr)
        up = Up()
        self.addCleanup(up.close)
        up.wait_ready()
        p = run([program, up.dir / "millrace/up.yaml"], env={"LD_LIBRARY_PATH": str(library.parent)})
        self.assertEqual(p.returncode, 0, p.stderr)
        status, frames, tokens, _ = p.stdout.split(" ", 3)
        self.assertEqual((status, frames), ("succeeded", tokens))


if __name__ == "__main__":
    servers.main()
