#!/usr/bin/python3
"""Goal: several dispatchers share a worker's room and lose nothing when one of them goes; and people can see
it: `millrace status` says how far ahead a waiting job's turn is, `millrace top` what waits where.

Method: a real broker and two dispatchers. The worker is heartbeats by hand while room is counted, and the
stand-in without an engine while jobs are to end.
"""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import threading
import time
import unittest

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

import rig as servers
from jobs import JSON, Results, Topic, make_job, produce, producer
from stand_in import StandIn

PARTITIONS, JOBS, TENANTS = 4, 200, 20
FREE, LOOKAHEAD = 8, 2
SETTINGS = {"topic_partitions": PARTITIONS, "session_timeout_ms": 3000, "transaction_timeout_ms": 3000,
            "models": "demo", "lookahead_jobs": LOOKAHEAD,
            "beat_ms": 1000}  # who is silent for four of them is gone: a machine may stand still for some seconds


class Room:
    """A worker that says that it has room, and takes nothing."""

    def __init__(self, brokers: str) -> None:
        self.producer = Producer({"bootstrap.servers": brokers, "log_level": 0})
        self.stopping = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def beat(self, leaving: bool) -> None:
        self.producer.produce("millrace.workers", key="room", value=json.dumps({
            "worker": "room", "model": "demo", "sent_ms": int(time.time() * 1000), "leaving": leaving,
            "parts": [{"partition": p, "position": 0} for p in range(PARTITIONS)],
            "slots": {"free": FREE, "max": 16}, "running": 8, "waiting": 0,
            "kv_tokens": {"free": 1, "total": 2}, "n_ctx": 4096, "pressure": 0.0, "tokens_per_s": 1.0}))
        self.producer.flush(servers.HANG_S)

    def run(self) -> None:
        while not self.stopping.wait(0.1):
            self.beat(False)

    def __enter__(self) -> "Room":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stopping.set()
        self.thread.join()
        self.beat(True)


class Dispatchers(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.rig = servers.Rig()
        cls.rig.__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        admin = AdminClient({"bootstrap.servers": cls.rig.brokers, "log_level": 0})
        for name in ("a", "b"):
            cls.rig.start_dispatcher(name, dispatcher_id=name, **SETTINGS)
            servers.wait_for("the dispatcher has partitions",
                             lambda: "assigned" in cls.rig.log(name).read_text())
        for f in admin.create_topics([NewTopic("millrace.work.demo", PARTITIONS, 1)]).values():
            f.result(servers.HANG_S)

    def top(self) -> dict:
        return json.loads(self.rig.millrace("top", "--once", "--json").stdout)

    def status(self, job_id: str) -> dict:
        return json.loads(self.rig.millrace("status", "--json", job_id).stdout)

    def submit(self, n: int) -> list[str]:
        p = producer(self.rig.brokers)
        ids = [produce(p, make_job(model="demo", tenant=f"t{i % TENANTS}"), JSON, "low") for i in range(n)]
        self.assertEqual(p.flush(servers.HANG_S), 0)
        return ids

    def wait_top(self, what: str, condition) -> dict:
        def look():
            t = self.top()
            return t if condition(t) else None
        return servers.wait_for(what, look, step_s=0.2)

    def released(self, at_least: int, quiet_s: float) -> int:
        """Waits for so many, then for more that should not come."""
        topic = Topic(self.rig.brokers, "millrace.work.demo")
        servers.wait_for(f"{at_least} are released", lambda: topic.read() or len(topic.messages) >= at_least)
        end = time.monotonic() + quiet_s
        while time.monotonic() < end:
            topic.read()
        topic.close()
        return len(topic.messages)

    def test_two_share_and_one_is_killed(self) -> None:
        ids = self.submit(JOBS)
        t = self.wait_top("all jobs wait", lambda t: t["lanes"]["low"]["waiting"] == JOBS)
        self.assertEqual([d["dispatcher"] for d in t["dispatchers"]], ["a", "b"])
        for d in t["dispatchers"]:
            self.assertGreater(d["lanes"]["low"]["waiting"], 2 * (FREE + LOOKAHEAD), "jobs are spread over both")
        self.assertEqual({x["tenant"]: x["waiting"] for x in t["tenants"]},
                         {f"t{i}": JOBS // TENANTS for i in range(TENANTS)})
        s = self.status(ids[0])
        self.assertEqual((s["state"], s["lane"], s["tenant"]), ("queued", "low", "t0"))
        self.assertTrue(1 <= s["position"] <= JOBS, s)
        self.assertNotIn("start_in_s", s)  # nobody has left the lane yet
        time.sleep(2)  # two beats: each has heard that the other has jobs

        with Room(self.rig.brokers):
            n = self.released(FREE + LOOKAHEAD, 2)
            self.assertLessEqual(n, FREE + LOOKAHEAD + 1)
            self.rig.stop("b", signal.SIGKILL)
            most = FREE + LOOKAHEAD + (FREE + LOOKAHEAD) // 2  # what the dead one had sent may come on top
            self.wait_top("a has all that wait",
                          lambda t: t["dispatchers"][0]["lanes"]["low"]["waiting"] >= JOBS - most)
            self.assertLessEqual(self.released(n, 2), most)

        results = Results(self.rig.brokers)
        with StandIn(self.rig.brokers, partitions=PARTITIONS):
            got = results.wait(ids)
            self.assertEqual({r["status"] for r in got.values()}, {"succeeded"})
            time.sleep(1)
            results.read()
        self.assertEqual([i for i in ids if len(results.by_id[i]) != 1], [])
        results.close()
        self.positions_with_a_rate()
        self.on_a_terminal()
        self.who_leaves_is_not_shown()

    def positions_with_a_rate(self) -> None:
        """Jobs have left the lane within the last minute, and nobody takes these."""
        ids = self.submit(TENANTS)
        self.wait_top("they wait", lambda t: t["lanes"]["low"]["waiting"] == TENANTS)
        seen = [self.status(i) for i in ids]
        self.assertEqual(sorted(s["position"] for s in seen), list(range(1, TENANTS + 1)))
        for s in seen:
            self.assertGreater(s["start_in_s"], 0)
        text = self.rig.millrace("status", ids[0]).stdout
        self.assertRegex(text, r"position=about \d+ start=in about \d+ s")
        table = self.rig.millrace("top", "--once").stdout
        self.assertRegex(table, re.compile(rf"^low +{TENANTS} ", re.M))
        self.assertNotIn("\033", table)
        self.rig.millrace("cancel", *ids)
        self.wait_top("they have ended", lambda t: t["lanes"]["low"]["waiting"] == 0)

    def on_a_terminal(self) -> None:
        pid, fd = pty.fork()
        if pid == 0:
            os.environ.update(self.rig.env(), TERM="xterm")
            os.execv(servers.BIN / "millrace", ["millrace", "top", "--interval", "0.2"])
        out, end = b"", time.monotonic() + servers.HANG_S
        while out.count(b"A\033[?7l") < 3 and time.monotonic() < end:  # drawn over what was there
            if select.select([fd], [], [], 0.2)[0]:
                out += os.read(fd, 65536)
        os.write(fd, b"\x03")
        _, status = os.waitpid(pid, 0)
        os.close(fd)
        self.assertEqual(os.waitstatus_to_exitcode(status), 0)
        self.assertGreaterEqual(out.count(b"A\033[?7l"), 3)
        self.assertIn(b"\033[1mLANE", out)

    def who_leaves_is_not_shown(self) -> None:
        self.assertEqual(self.rig.stop("a"), 0)
        self.assertEqual([d["dispatcher"] for d in self.top()["dispatchers"] if d["state"] == "live"], [])
        self.assertNotIn("a", [d["dispatcher"] for d in self.top()["dispatchers"]])


if __name__ == "__main__":
    servers.main()
