"""One run: servers, load, faults, audit. See scripts/chaos --help."""

from __future__ import annotations

import argparse
import collections
import json
import pathlib
import re
import shutil
import signal
import sys
import tempfile
import time

import redis

import faults
import load
import readers
import report
import rig as servers
import topics
from audit import Facts, Violation, audit
from cluster import Cluster
from jobs import TERMINAL

TROUBLE = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|runtime error:|millrace: bug:")
SESSION_S = 6           # the shortest that a broker allows by default
TRANSACTION_S = 10
SETTLE_S = 180          # for readers and status hashes after the last result
STALL_S = 180           # without a single new result the run is given up, and audited
HISTORY_LINES = 40      # of a job with a violation
SHOWN = 20              # violations with their history on stderr; the report has all
MODEL = "demo"


def note(text: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)


class Chaos:
    """The state of one run; run() is its order."""

    def __init__(self, args: argparse.Namespace, rig: servers.Rig) -> None:
        self.args, self.rig = args, rig
        self.begin = time.monotonic()
        common = {"session_timeout_ms": SESSION_S * 1000, "transaction_timeout_ms": TRANSACTION_S * 1000}
        self.cluster = Cluster(
            rig, args.workers, args.dispatchers,
            worker={"model_name": MODEL, "max_jobs": 8, "threads": 1, **common},
            dispatcher={"default_model": MODEL, "models": MODEL, "retry_base_ms": 100, **common}, note=note)
        n_contents = min(1000, max(60, args.jobs // 8))
        self.plan = load.Plan(args.seed, args.jobs, args.max_tokens, n_contents)
        self.jobs = self.plan.calm + self.plan.storm
        self.injector = faults.Injector(self.cluster, faults.make_plan(args.seed, args.wanted), SESSION_S, note)
        self.noise_ends: set[tuple] = set()
        self.told_s = 0.0

    # ---- the order of a run

    def run(self) -> report.Run:
        self.cluster.start_redis()
        self.cluster.start_all()
        self.rig.wait_topics("millrace.results", "millrace.dead", "millrace.jobs.low", "millrace.control",
                             f"millrace.work.{MODEL}")
        servers.wait_for("partitions of all workers", self.cluster.all_serve)
        self.results = topics.Reader(self.rig.brokers, "millrace.results")
        self.dead = topics.Reader(self.rig.brokers, "millrace.dead")
        self.ends = topics.Ends(self.rig.brokers, "millrace.results")
        self.feeder = load.Feeder(self.rig.brokers)
        self.followers = readers.Followers(self.rig.redis_port, self._sample(), lambda v: self.ends.stamp(v.ends))
        servers.wait_for("readers", self.followers.ready.is_set)
        note(f"calm: {len(self.plan.calm)} jobs, each content once")
        calm = self._part(self.plan.calm, inject=False)
        note(f"storm: {len(self.plan.storm)} jobs, {len(self.injector.plan)} faults, "
             f"{len(self.followers.views)} live readers")
        storm = self._part(self.plan.storm, inject=True)
        return report.Run({k: v for k, v in vars(self.args).items() if k not in ("report", "json")},
                          self._settle(), self.injector.events, calm, storm)

    def _part(self, jobs: list[load.Job], inject: bool) -> report.Part:
        """Sends the jobs and waits for their ends; faults come meanwhile, and are over in the end."""
        self.feeder.next_list()
        before, begin = self.cluster.counters(), time.monotonic()
        last_n, last_s = -1, begin
        while True:
            self.results.read(0.05)
            self.dead.read()
            n = self._n_ended(jobs)
            self.feeder.feed(jobs, n, max(100, len(jobs) // 6))
            self.cluster.supervise()
            if inject:
                self.injector.tick(n / len(jobs))
            now = time.monotonic()
            if n > last_n:
                last_n, last_s = n, now
            self._tell(n, len(jobs))
            if n == len(jobs) and (not inject or self.injector.idle()):
                break
            if n < len(jobs) and now - last_s > STALL_S:
                note(f"no new result for {STALL_S} s: {len(jobs) - n} jobs are missing")
                break
            if now - self.begin > self.args.minutes * 60:
                note(f"{self.args.minutes} minutes are over: {len(jobs) - n} jobs are missing")
                break
        if inject:
            self._calm_down()
        return report.Part(n, last_s - begin, self.cluster.counters() - before)

    def _calm_down(self) -> None:
        self.injector.abandon()
        while not self.injector.idle():
            self.injector.tick(0)
            self.cluster.supervise()
            time.sleep(0.05)

    def _settle(self) -> Facts:
        """Readers come to their ends, all stop in good order, and everything is read once more."""
        note("settling")
        r = redis.Redis(port=self.rig.redis_port)
        end = time.monotonic() + SETTLE_S
        while time.monotonic() < end and (self.followers.open or self._states(r, missing_only=True)):
            self.results.read(0.2)
            self.cluster.supervise()
        if self.feeder.flush(10):
            self.cluster.trouble.append("some records were never acknowledged")
        self.followers.close()
        self.ends.close()
        states = self._states(r)
        streams = {}
        for j in self.jobs:
            if entries := r.xrange(readers.stream_key(j.id)):
                streams[j.id] = readers.view_of_entries(j.id, entries)
        self.cluster.stop_ours()
        for topic in (self.results, self.dead):
            topic.read_to_end(TRANSACTION_S * 3 + 60)
        ingress = [f"millrace.jobs.{x}" for x in load.LANES] + ["millrace.attempts", "millrace.keyed"]
        ingress += [f"millrace.ready.{x}" for x in load.LANES]
        ingress += [f"millrace.delay.{x}" for x in ("1s", "5s", "30s", "5m", "30m")]
        left = topics.left_over(self.rig.brokers, "millrace-dispatcher", ingress)
        left += topics.left_over(self.rig.brokers, "millrace-dispatcher-follower", ["millrace.results"])
        left += topics.left_over(self.rig.brokers, f"millrace-worker.{MODEL}", [f"millrace.work.{MODEL}"])
        return Facts(
            jobs=self.jobs, results=self.results.records, dead=self.dead.records, live=self.followers.views,
            streams=streams, states=states, left_over=left, trouble=self.cluster.trouble + self._log_trouble(),
            wipes=self.cluster.wipes, allow_poison=self.args.allow_poison,
            crashes=[e.at_s for e in self.injector.events if e.kind == "worker" or
                     e.kind == "pause" and e.victim.startswith("worker")])

    # ---- parts of it

    def _sample(self) -> list[str]:
        """Streams that are followed live: spread over the storm, more of them when there are more jobs."""
        streamed = [j.id for j in self.plan.storm if j.stream]
        return streamed[::max(1, len(streamed) // max(200, self.args.jobs // 20))]

    def _n_ended(self, jobs: list[load.Job]) -> int:
        if not hasattr(self, "ended"):
            self.ended: set[str] = set()
            self.n_results = self.n_dead = 0
        for r in self.results.records[self.n_results:]:
            self.ended.add(r.body.get("job_id", ""))
        for r in self.dead.records[self.n_dead:]:
            self.noise_ends.add(topics.origin(r.body))
        self.n_results, self.n_dead = len(self.results.records), len(self.dead.records)
        return sum(j.id in self.ended or (j.noise and j.at in self.noise_ends) for j in jobs)

    def _states(self, r: redis.Redis, missing_only: bool = False) -> dict[str, str]:
        """States by job; missing_only: of those that have a hash that says no end."""
        jobs = [j for j in self.jobs if j.at is not None and not j.noise]
        with r.pipeline(transaction=False) as p:
            for j in jobs:
                p.hget(f"mr:{{{j.id}}}", "state")
            got = {j.id: s.decode() for j, s in zip(jobs, p.execute()) if s is not None}
        return {i: s for i, s in got.items() if s not in TERMINAL} if missing_only else got

    def _log_trouble(self) -> list[str]:
        return [f"{log.name}: {line[:300]}" for log in sorted(self.rig.dir.glob("*.log"))
                if log.name not in ("kafka.log", "redis.log")
                for line in log.read_text(errors="replace").splitlines() if TROUBLE.search(line)]

    def _tell(self, n: int, total: int) -> None:
        if time.monotonic() - self.told_s > 10:
            self.told_s = time.monotonic()
            note(f"  {n} of {total} ended, {len(self.injector.plan)} faults to come, "
                 f"up: {' '.join(sorted(self.cluster.up - self.cluster.paused - {'kafka', 'redis'}))}")

    def close(self) -> None:
        for name in ("followers", "ends", "results", "dead"):
            if hasattr(self, name):
                getattr(self, name).close()


def history(folder: pathlib.Path, job_id: str) -> list[str]:
    """What all processes said of the job, in order of time."""
    lines = []
    for log in folder.glob("*.log"):
        with open(log, errors="replace") as f:
            lines += [f"{log.stem}: {line.rstrip()}" for line in f if job_id in line]
    return sorted(lines, key=lambda s: s.split(" ", 1)[1])[:HISTORY_LINES]


def tell(run: report.Run, violations: list[Violation], args: argparse.Namespace, folder: pathlib.Path) -> None:
    n = report.figures(run, violations)
    text = report.markdown(n)
    by_job = collections.Counter()
    for v in violations[:500]:
        print(f"VIOLATION {v.check}: {v.job_id} {v.what}", file=sys.stderr)
        by_job[v.job_id] += 1
        if v.job_id and by_job[v.job_id] == 1 and len(by_job) <= SHOWN:
            for line in history(folder, v.job_id):
                print(f"    {line}", file=sys.stderr)
    if args.report:
        args.report.write_text(text)
        args.report.with_suffix(".json").write_text(json.dumps(
            n | {"list": [[v.check, v.job_id, v.what] for v in violations],
                 "events": [[e.kind, e.victim, round(e.at_s, 2), round(e.length_s, 2)] for e in run.events]},
            indent=1, default=str))
    print(json.dumps(n, default=str) if args.json else text)


def parse(argv: list[str]) -> argparse.Namespace:
    p = argparse.ArgumentParser(prog="scripts/chaos", description="Kills what can be killed while jobs run, then "
                                "checks that each job has one answer, the right one, and that no stream lied.")
    p.add_argument("--jobs", type=int, default=600, help="jobs of the storm [600]")
    p.add_argument("--kills", type=int, default=16, help="faults in all [16]")
    p.add_argument("--seed", type=int, default=1, help="all choices follow from it [1]")
    p.add_argument("--faults", default=",".join(faults.KINDS),
                   help="kinds, each with its own number if wanted (worker:50,pause) [all]")
    p.add_argument("--workers", type=int, default=4)
    p.add_argument("--dispatchers", type=int, default=2)
    p.add_argument("--max-tokens", type=int, default=80, help="longest answer [80]")
    p.add_argument("--minutes", type=float, default=30, help="the load is given up after that [30]")
    p.add_argument("--allow-poison", action="store_true", help="jobs may be given up after enough crashes")
    p.add_argument("--report", type=pathlib.Path, help="Markdown file; a .json is written beside it")
    p.add_argument("--json", action="store_true", help="figures as JSON on stdout")
    args = p.parse_args(argv)
    try:
        args.wanted = faults.counts(args.faults, args.kills)
    except ValueError as e:
        p.error(str(e))
    return args


def main(argv: list[str]) -> int:
    args = parse(argv)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with servers.Rig(redis=False, broker=servers.BROKER_SESSION) as rig:
        chaos, ok = None, False
        try:
            chaos = Chaos(args, rig)
            run = chaos.run()
            violations = audit(run.facts)
            tell(run, violations, args, rig.dir)
            ok = not violations
        except KeyboardInterrupt:
            return 130
        finally:
            if chaos:
                chaos.close()
            if not ok:
                kept = pathlib.Path(tempfile.mkdtemp(prefix="millrace-chaos."))
                for log in rig.dir.glob("*.log"):
                    shutil.copy(log, kept)
                note(f"logs are in {kept}")
    return 0 if ok else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
