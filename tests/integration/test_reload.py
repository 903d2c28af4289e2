#!/usr/bin/python3
"""Goal: SIGHUP changes what may change at once, names what needs a new start, and a mistake changes nothing.

Method: dispatcher and worker read a file that the test rewrites; their logs tell what they did, and a job
before and after shows that they work on.
"""

import re
import signal
import unittest

import rig as servers
from jobs import Results, make_job, produce, producer

PROGRAMS = ("dispatcher", "worker")


class Reload(unittest.TestCase):
    def test_sighup(self) -> None:
        with servers.Rig() as rig:
            file = rig.dir / "millrace.yaml"
            file.write_text("window_jobs: 100\ndrain_ms: 1000\n")
            rig.start_dispatcher("dispatcher", config=file, default_model="demo")
            rig.start_worker("worker", config=file)
            for name in PROGRAMS:
                self.wait_log(rig, name, "started" if name == "dispatcher" else "serving")
            results, p = Results(rig.brokers), producer(rig.brokers)
            self.addCleanup(results.close)
            results.wait([produce(p, make_job(model="demo"))])

            file.write_text("window_jobs: 200\ndrain_ms: 3000\nlog_level: debug\ncommit_ms: 20\n")
            self.hang_up(rig)
            for name, changed in zip(PROGRAMS, ("window_jobs", "drain_ms")):
                self.wait_log(rig, name, f'"setting changed" name={changed}')
                self.wait_log(rig, name, '"setting changed" name=log_level')
                self.wait_log(rig, name, 'at the next start" name=commit_ms')
            results.wait([produce(p, make_job(model="demo"))])
            for name in PROGRAMS:
                self.wait_log(rig, name, "level=debug")

            file.write_text("window_jobs: 0\nlog_level: error\n")
            self.hang_up(rig)
            for name in PROGRAMS:
                self.wait_log(rig, name, "nothing has changed.*window_jobs: 0 is outside")
            results.wait([produce(p, make_job(model="demo"))])
            for name in PROGRAMS:
                self.assertEqual(rig.stop(name), 0)
                self.wait_log(rig, name, "level=info.*(stopping|stopped|finishing)")  # error was not taken

    def wait_log(self, rig: servers.Rig, name: str, pattern: str) -> None:
        servers.wait_for(f"{name} says {pattern}", lambda: re.search(pattern, rig.log(name).read_text()))

    def hang_up(self, rig: servers.Rig) -> None:
        for name in PROGRAMS:
            rig.processes[name].send_signal(signal.SIGHUP)


if __name__ == "__main__":
    servers.main()
