#!/usr/bin/python3
"""Goal: `millrace bench pipeline` measures what it says, counts every job once, and leaves nothing behind.

Method: a small run against a real broker and Redis. Asserted are the form of its lines, that all jobs came
out exactly once in each measurement, that figures which depend on each other do, and that its topics are
gone; no times, since this machine may be busy. What the dispatcher is told on the way is checked by a
setting that it refuses.
"""

import json
import re
import unittest

import rig as servers

JOBS = 10000  # some transactions
HEAD = {"bench", "phase", "jobs", "missing", "twice", "bytes", "partitions", "commit_ms", "jobs_per_s", "cpu_s",
        "jobs_per_cpu_s", "rss_most_mib", "rss_mib"}
RELEASE = {"bare_jobs", "bare_jobs_per_s", "of_bare", "bare_cpu_s", "bare_jobs_per_cpu_s", "of_bare_cpu"}
AT_A_RATE = {"asked_per_s", "append_p50_ms", "append_p99_ms", "seen_p50_ms", "seen_p99_ms"}
BARE_AT_A_RATE = {"bare_" + name for name in AT_A_RATE - {"asked_per_s"}}


class Pipeline(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.rig = servers.Rig().__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)

    def bench(self, *args, **kw):
        return self.rig.millrace("bench", "pipeline", "--kafka", self.rig.brokers, "--redis", self.rig.redis_url,
                                 "--seconds", 1, "--partitions", 3, *args, timeout=300, **kw)

    def assert_nothing_left(self) -> None:
        servers.wait_for("the bench's topics are gone", lambda: not [t for t in self.rig.topics() if "bench" in t])

    def test_figures(self) -> None:
        lines = [json.loads(line) for line in self.bench("--jobs", JOBS, "--json").stdout.splitlines()]
        self.assertEqual([x["phase"] for x in lines], ["release", "half_load", "whole", "whole_half_load"])
        for x, more in zip(lines, [RELEASE, AT_A_RATE | BARE_AT_A_RATE, set(), AT_A_RATE]):
            with self.subTest(x["phase"]):
                self.assertEqual(set(x), HEAD | more)
                self.assertEqual((x["bench"], x["bytes"], x["partitions"]), ("pipeline", 1024, 3))
                self.assertEqual((x["missing"], x["twice"]), (0, 0))
                self.assertGreater(x["cpu_s"], 0)
                self.assertAlmostEqual(x["jobs_per_cpu_s"] / (x["jobs"] / x["cpu_s"]), 1, delta=0.05)
                self.assertEqual(len(x["rss_mib"]), 11)
                self.assertLess(10, min(x["rss_mib"]))
                self.assertGreaterEqual(x["rss_most_mib"], max(x["rss_mib"]))
        release, half, whole, whole_half = lines
        self.assertEqual((release["jobs"], release["bare_jobs"], whole["jobs"]), (JOBS, JOBS, JOBS))
        self.assertAlmostEqual(half["asked_per_s"], release["jobs_per_s"] / 2, delta=1)
        self.assertAlmostEqual(whole_half["asked_per_s"], whole["jobs_per_s"] / 2, delta=1)
        for x in (half, whole_half):
            self.assertAlmostEqual(x["jobs"], x["asked_per_s"], delta=2)  # in one second
            self.assertLessEqual(x["append_p50_ms"], x["append_p99_ms"])
            self.assertLessEqual(x["seen_p50_ms"], x["seen_p99_ms"])
        for what in "append", "seen":
            self.assertLess(0, half[f"bare_{what}_p50_ms"])
            self.assertLessEqual(half[f"bare_{what}_p50_ms"], half[f"bare_{what}_p99_ms"])
        self.assert_nothing_left()

    def test_text(self) -> None:
        out = self.bench("--jobs", 500, "--bytes", 300, "--rate", 400).stdout
        self.assertRegex(out, r"release of 500 jobs of 300 bytes, 3 partitions\n")
        self.assertRegex(out, r"jobs/CPU s +\d+ +\d+ +\d+ %\n")
        self.assertEqual(out.count("at the rate asked for: "), 2)
        self.assertEqual(len(re.findall(r"seen committed after \d+ and \d+ ms", out)), 3)
        self.assert_nothing_left()

    def test_what_goes_wrong(self) -> None:
        """Said in one line, with the exit status of its kind, and nothing is left either."""
        p = self.bench("--jobs", 500, "--dispatcher", "window_jobs=none", check=False)
        self.assertEqual(p.returncode, 69)
        self.assertIn("the dispatcher ended with exit status 78", p.stderr)
        self.assertEqual(self.bench("--dispatcher", "window_jobs", "--jobs", 500, check=False).returncode, 65)
        self.assertEqual(self.bench("--jobs", 0, check=False).returncode, 64)
        self.assert_nothing_left()


if __name__ == "__main__":
    servers.main()
