#!/usr/bin/python3
"""Goal: SIGHUP changes what may change at once, names what needs a new start, and a mistake changes nothing.

Method: dispatcher and worker read a file that the test rewrites; their logs tell what they did, and a job
before and after shows that they work on. What the page's token opens is asked with each that there was.
"""

import http.client
import json
import pathlib
import re
import signal
import time
import unittest

import rig as servers
from jobs import Results, make_job, produce, producer

PROGRAMS = ("dispatcher", "worker")
TOKENS = ("first-token-of-the-page", "second-token-of-the-page")


class Reload(unittest.TestCase):
    def test_sighup(self) -> None:
        with servers.Rig() as rig:
            file = rig.dir / "millrace.yaml"
            file.write_text("window_jobs: 100\ndrain_ms: 1000\n")
            self.port = servers.free_ports(1)[0]
            rig.start_dispatcher("dispatcher", config=file, default_model="demo",
                                 dispatcher_listen=f"127.0.0.1:{self.port}")
            rig.start_worker("worker", config=file)
            for name in PROGRAMS:
                self.wait_log(rig, name, "started" if name == "dispatcher" else "serving")
            results, p = Results(rig.brokers), producer(rig.brokers)
            self.addCleanup(results.close)
            results.wait([produce(p, make_job(model="demo"))])
            self.check_token(rig, file, produce(p, make_job(not_before_ms=int(time.time() * 1000) + 3600_000)))

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

    def check_token(self, rig: servers.Rig, file: pathlib.Path, job_id: str) -> None:
        """One more, another, one that is none, none; who was let in by the first is sent away by the second."""
        first, second = TOKENS
        rest = file.read_text()

        def change(token: str) -> None:
            file.write_text(f"{rest}http_token: {token}\n")
            rig.processes["dispatcher"].send_signal(signal.SIGHUP)

        def wait_open(*states: bool) -> None:
            servers.wait_for(f"open: {states}", lambda: tuple(map(self.is_open, TOKENS)) == states)

        wait_open(False, False)
        change(first)
        wait_open(True, False)
        reader = self.ask("GET", f"jobs/{job_id}/events", Authorization=f"Bearer {first}")
        self.assertEqual((reader.status, reader.readline()), (200, b"retry: 1000\n"))
        login = self.ask("POST", "session", first)
        cookie = {"Cookie": login.getheader("Set-Cookie").split(";")[0]}
        self.assertTrue(json.loads(self.ask("GET", "session", **cookie).read())["open"])
        self.assertEqual(self.ask("POST", f"jobs/{job_id}/cancel", Authorization=f"Bearer {first}").status, 202)
        change(second)
        wait_open(False, True)
        reader.read()  # it has come to its end
        self.assertFalse(json.loads(self.ask("GET", "session", **cookie).read())["open"])
        change("too-short")
        self.wait_log(rig, "dispatcher", "nothing has changed.*http_token: .*must be 16..256")
        wait_open(False, True)
        change("''")
        wait_open(False, False)
        for text in (*TOKENS, "too-short"):
            self.assertNotIn(text, rig.log("dispatcher").read_text())
        file.write_text(rest)

    def ask(self, method: str, path: str, body: str | None = None, **headers) -> http.client.HTTPResponse:
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=servers.HANG_S)
        c.request(method, f"/api/v1/{path}", body, headers)
        return c.getresponse()

    def is_open(self, token: str) -> bool:
        return json.loads(self.ask("GET", "session", Authorization=f"Bearer {token}").read())["open"]

    def wait_log(self, rig: servers.Rig, name: str, pattern: str) -> None:
        servers.wait_for(f"{name} says {pattern}", lambda: re.search(pattern, rig.log(name).read_text()))

    def hang_up(self, rig: servers.Rig) -> None:
        for name in PROGRAMS:
            rig.processes[name].send_signal(signal.SIGHUP)


if __name__ == "__main__":
    servers.main()
