"""Goal: the stack of compose/compose.yaml does its main job, and no job of it is lost or answered twice, whatever
is killed, stopped, scaled or brought down while it runs.

Method: called by `run`, which has the engine and the images of others; `up` makes ours. One stack with two
dispatchers and two workers, its ports moved to free ones. A batch runs while a worker is killed from outside (as a
crash, so that its restart policy acts), then the broker, then a worker is stopped orderly; then jobs are left waiting
while all containers are removed and made again on the same volumes. At the end the results topic is read from its
beginning: every job that was accepted has exactly one result, and the batch's file has every line once. Each step
prints a line.
"""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/rig"))

import jobs  # noqa: E402 - found by the line above
import rig  # noqa: E402

COMPOSE = [*os.environ["MR_COMPOSE"].split(), "-f", str(TOP / "compose/compose.yaml")]
SERVERS = ["kafka", "redis", "prometheus", "dispatcher", "worker"]  # all but Grafana, which has no image here
OWNER = 1000
COPIES = 8  # of the 300 samples in the batch
BEGIN = time.monotonic()


def say(text: str) -> None:
    print(f"{time.monotonic() - BEGIN:6.1f} s  {text}", flush=True)


class Stack:
    def __init__(self, work: pathlib.Path) -> None:
        kafka, redis, prometheus, grafana = rig.free_ports(4)
        self.brokers, self.redis_port, self.prometheus = f"127.0.0.1:{kafka}", redis, prometheus
        self.work = work
        self.env = {**os.environ, "MR_KAFKA_PORT": str(kafka), "MR_REDIS_PORT": str(redis),
                    "MR_PROMETHEUS_PORT": str(prometheus), "MR_GRAFANA_PORT": str(grafana), "MR_WORKERS": "2",
                    "MR_WORKER_CPUS": "1", "MR_WORK": str(work), "MR_UID": str(OWNER), "MR_GID": str(OWNER)}

    def compose(self, *args: str, check: bool = True, limit_s: float = 1800) -> str:
        p = subprocess.run([*COMPOSE, *args], env=self.env, text=True, capture_output=True, timeout=limit_s)
        if check and p.returncode != 0:
            raise AssertionError(f"compose {' '.join(args)}: {p.returncode}\n{p.stderr[-2000:]}")
        return p.stdout

    def up(self) -> None:
        self.compose("up", "-d", "--wait", *SERVERS)

    def batch(self) -> subprocess.Popen:
        log = open(self.work / "batch.log", "wb")
        return subprocess.Popen([*COMPOSE, "run", "--rm", "-T", "cli", "batch", "in.jsonl", "-o", "out.jsonl"],
                                env=self.env, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def top(self) -> dict:
        return json.loads(self.compose("run", "--rm", "-T", "cli", "top", "--once", "--json"))

    def ids(self, service: str) -> list[str]:
        return self.compose("ps", "-q", service).split()

    def metric(self, query: str) -> list[dict]:
        url = f"http://127.0.0.1:{self.prometheus}/api/v1/{query}"
        with urllib.request.urlopen(url, timeout=10) as answer:
            return json.load(answer)["data"]


def docker(*args: str) -> str:
    return subprocess.run(["docker", *args], check=True, text=True, capture_output=True).stdout


def inspect(container: str) -> dict:
    return json.loads(docker("inspect", container))[0]


def crash(container: str) -> None:
    """From outside: `docker kill` would count as somebody's wish, and nothing would start it again."""
    os.kill(inspect(container)["State"]["Pid"], signal.SIGKILL)


def wait_healthy(container: str) -> None:
    rig.wait_for(f"{container} is healthy again",
                 lambda: inspect(container)["State"].get("Health", {}).get("Status") == "healthy", step_s=0.5)


def lines_done(path: pathlib.Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


# ---- steps


def check_containers(s: Stack) -> None:
    """What compose.yaml says about rights is what the engine did."""
    for service in SERVERS:
        for container in s.ids(service):
            c = inspect(container)
            host = c["HostConfig"]
            assert c["Config"]["User"].split(":")[0] not in ("", "0", "root"), service
            assert host["ReadonlyRootfs"] and host["CapDrop"] == ["ALL"] and host["Memory"] > 0, service
            assert "no-new-privileges:true" in host["SecurityOpt"], service
            for ports in c["NetworkSettings"]["Ports"].values():
                assert all(p["HostIp"] == "127.0.0.1" for p in ports or []), service
            assert docker("exec", container, "cat", "/proc/1/status").count("NoNewPrivs:\t1") == 1, service
    say("containers: no root, no capabilities, read-only, limited, on loopback only")


def check_secrets(s: Stack) -> None:
    worker, redis = s.ids("worker")[0], s.ids("redis")[0]
    settings = docker("exec", worker, "cat", "/secrets/millrace/settings.yaml")
    password = settings.split("millrace:", 1)[1].split("@", 1)[0]
    assert len(password) == 48, "a password of 24 bytes"
    for container in docker("ps", "-aq").split():
        logs = subprocess.run(["docker", "logs", container], capture_output=True, text=True)
        assert password not in docker("inspect", container) + logs.stdout + logs.stderr, container

    def ask(*command: str) -> str:
        return subprocess.run(["docker", "exec", "-e", f"REDISCLI_AUTH={password}", redis, "redis-cli", "--user",
                               "millrace", *command], capture_output=True, text=True).stdout

    assert "PONG" in ask("PING") and "OK" in ask("SET", "mr:{x}", "1"), "own keys"
    for command in ("KEYS *", "FLUSHALL", "CONFIG GET *", "SET other 1", "PUBLISH other 1"):
        assert "NOPERM" in ask(*command.split()), command
    assert "NOAUTH" in docker("exec", redis, "redis-cli", "PING")
    say("passwords: in no environment and no log; Redis keeps strangers out, and ours to its own keys")


def check_targets(s: Stack) -> None:
    def all_up() -> bool:
        found = [t["labels"]["job"] for t in s.metric("targets")["activeTargets"] if t["health"] == "up"]
        return found.count("dispatcher") == 2 and found.count("worker") == 2

    rig.wait_for("Prometheus sees two dispatchers and two workers", all_up, step_s=1)
    say("Prometheus: two dispatchers and two workers are up")


def run_batch(s: Stack) -> None:
    """The main job, with a crash of a worker, one of the broker, and an orderly stop of a worker in it."""
    samples = [json.loads(line) for line in open(TOP / "models/samples/samples.jsonl")]
    with open(s.work / "in.jsonl", "w") as f:
        for i in range(COPIES):
            for job in samples:
                f.write(json.dumps({**job, "custom_id": f"{i}/{job['custom_id']}"}) + "\n")
    total, out = COPIES * len(samples), s.work / "out.jsonl"
    begin, batch = time.monotonic(), s.batch()
    victims = [("a worker crashed", s.ids("worker")[0]), ("the broker crashed", s.ids("kafka")[0])]
    for n, (what, container) in enumerate(victims, 1):
        rig.wait_for("the batch gets on", lambda: lines_done(out) > total * n / 5)
        crash(container)
        say(f"{what} after {lines_done(out)} of {total} results")
        wait_healthy(container)
    rig.wait_for("the batch gets on", lambda: lines_done(out) > total * 3 / 5)
    stopped = s.ids("worker")[1]
    docker("stop", "-t", "60", stopped)
    assert inspect(stopped)["State"]["ExitCode"] == 0, "an orderly stop within stop_grace_period"
    say(f"a worker stopped orderly after {lines_done(out)} of {total} results")
    s.up()
    assert batch.wait(rig.HANG_S) == 0, (s.work / "batch.log").read_text()[-2000:]
    got = [json.loads(line) for line in open(out)]
    assert len({r["custom_id"] for r in got}) == len(got) == total, (len(got), total)
    assert all(r["error"] is None for r in got)
    assert out.stat().st_uid == OWNER
    say(f"batch: {total} of {total} jobs, each once, in {time.monotonic() - begin:.1f} s with all that")


def survive_down(s: Stack) -> list[str]:
    """Jobs wait, everything is removed but the volumes, and they are done after the next start."""
    docker("stop", "-t", "60", *s.ids("worker"))
    rig.wait_for("no worker is known any more", lambda: not s.top()["workers"], step_s=1)
    p = jobs.producer(s.brokers)
    waiting = [jobs.produce(p, jobs.make_job(f"Document {i}.")) for i in range(100)]
    assert p.flush(30) == 0

    def n_waiting() -> int:
        return sum(lane["waiting"] for lane in s.top()["lanes"].values())

    rig.wait_for("they wait", lambda: n_waiting() == len(waiting), step_s=1)
    s.compose("down")
    assert s.compose("ps", "-aq") == ""
    say("100 jobs wait, without a worker; all containers removed")
    s.up()
    results = jobs.Results(s.brokers)
    bad = [r for r in results.wait(waiting).values() if r["status"] != "succeeded"]
    assert not bad, (len(bad), bad[0])
    results.close()
    say("the next start has done them")
    return waiting


def scale(s: Stack) -> None:
    s.compose("up", "-d", "--wait", "--no-recreate", "--scale", "worker=3", *SERVERS)
    rig.wait_for("three workers with names of their own",
                 lambda: len({w["worker"] for w in s.top()["workers"]}) == 3, step_s=1)
    assert len(s.ids("worker")) == 3, "the command line leaves the number of workers alone"
    say("three workers, three names")


def audit(s: Stack, n_jobs: int) -> None:
    results = jobs.Results(s.brokers)
    results.read_all()
    twice = [i for i, of in results.by_id.items() if len(of) > 1]
    statuses = [of[0][0]["status"] for of in results.by_id.values()]
    results.close()
    assert not twice, f"{len(twice)} jobs have more than one result, such as {twice[:3]}"
    assert len(statuses) == n_jobs and set(statuses) == {"succeeded"}, (len(statuses), n_jobs, set(statuses))
    say(f"audit: {n_jobs} jobs, {len(statuses)} results, none twice, all succeeded")


def main() -> None:
    work = pathlib.Path(tempfile.mkdtemp(prefix="millrace-compose."))
    os.chown(work, OWNER, OWNER)
    s = Stack(work)
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, work, ignore_errors=True)
        stack.callback(s.compose, "down", "--volumes", check=False)
        s.up()
        say("up: images are built, everything is healthy")
        check_containers(s)
        check_secrets(s)
        check_targets(s)
        run_batch(s)
        waiting = survive_down(s)
        scale(s)
        audit(s, COPIES * 300 + len(waiting))
        say("no job lost, none answered twice")


if __name__ == "__main__":
    main()
