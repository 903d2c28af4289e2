#!/usr/bin/python3
"""Goal: the dispatcher's page shows what happens while it happens, does what it is asked by those who may ask,
and nothing for others; its interface refuses what it should.

Method: a real broker and a real Redis, a dispatcher with a token, a worker with the demo model, and jobs all the
while. page.js drives a headless Chromium against it (playwright-core and axe-core from npm, installed once into
MR_NPM_DIR); this file starts the servers, tests the interface with a plain HTTP client, and then the same
dispatcher without a token. With MR_SCREENSHOTS set to a folder the page is also drawn there, light and dark.
"""

from __future__ import annotations

import base64
import http.client
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time
import unittest
import uuid

import msgpack
import redis

import rig as servers
from jobs import make_job, produce, producer
from npm import modules

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ["playwright-core@1.65.1", "axe-core@4.14.1"]
TOKEN = "visible-ascii-of-some-length"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
LANES = ("high", "normal", "low")
TENANTS = ("acme", "acme", "bulk", "research")


def letter_of(payload: bytes, job_id: str, n: int, cause: str = "attempts_exhausted") -> dict:
    return {"cause": cause, "message": f"4 of 4 attempts have failed; the last: step {n} failed", "job_id": job_id,
            "time_ms": int(time.time() * 1000) - 1000 * n, "payload_b64": base64.b64encode(payload).decode(),
            "origin": {"topic": "millrace.attempts", "partition": 0, "offset": 4711 + n}}


def dead_job() -> dict:
    return {**make_job("A tool that reads what was given up."), "tenant": "acme", "attempt": 5, "tries": 4,
            "received_ms": 1767225600000, "expires_ms": 0, "reply_format": "json"}


class Load(threading.Thread):
    """Jobs of all lanes until it is stopped; heavy: more than the workers can do."""

    def __init__(self, brokers: str, heavy: bool) -> None:
        super().__init__(daemon=True)
        self.producer, self.stopping, self.heavy = producer(brokers), threading.Event(), heavy

    def run(self) -> None:
        n = 0
        while not self.stopping.wait(0.25):
            for _ in range(9 if self.heavy else 3):
                n += 1
                params = {"max_tokens": 40 + n % 7 * (40 if self.heavy else 20), "ignore_eos": self.heavy}
                produce(self.producer, make_job(f"A mill, number {n}", tenant=TENANTS[n % len(TENANTS)],
                                                params=params), lane=LANES[n % 3])

    def stop(self) -> None:
        self.stopping.set()
        self.join()
        self.producer.flush(10)


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.node_path = modules("page", PACKAGES)
        cls.rig = servers.Rig()
        cls.addClassCleanup(cls.rig.close)
        cls.rig.__enter__()
        cls.port = servers.free_ports(1)[0]
        cls.start_dispatcher(cls.port, http_token=TOKEN)
        cls.rig.start_worker(threads=1)
        servers.wait_for("a worker", lambda: cls.get("overview")[1]["workers"])

    @classmethod
    def start_dispatcher(cls, port: int, **settings) -> None:
        cls.rig.start_dispatcher(dispatcher_listen=f"127.0.0.1:{port}", dispatcher_id="mill-1",
                                 http_hosts="mill.example", **settings)
        log = cls.rig.log("dispatcher")
        servers.wait_port(port, cls.rig.processes["dispatcher"], log)

    @classmethod
    def call(cls, method: str, path: str, body: str | None = None, **headers) -> tuple[int, dict, dict]:
        c = http.client.HTTPConnection("127.0.0.1", cls.port, timeout=servers.HANG_S)
        c.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = c.getresponse()
        text = answer.read()
        c.close()
        return answer.status, json.loads(text or "{}"), dict(answer.getheaders())

    @classmethod
    def get(cls, path: str, **headers) -> tuple[int, dict, dict]:
        return cls.call("GET", f"/api/v1/{path}", **headers)

    @classmethod
    def post(cls, path: str, body: str | None = None, **headers) -> tuple[int, dict, dict]:
        return cls.call("POST", f"/api/v1/{path}", body, **headers)

    def code(self, answer: tuple[int, dict, dict]) -> tuple[int, str]:
        return answer[0], answer[1]["error"]["code"]

    def put_dead(self, payload: bytes, job_id: str, n: int, **kw) -> None:
        p = producer(self.rig.brokers)
        p.produce("millrace.dead", json.dumps(letter_of(payload, job_id, n, **kw)).encode(), key=job_id)
        self.assertEqual(p.flush(20), 0)

    def letters(self) -> list[dict]:
        return self.get("dead")[1]["letters"]

    # ---- the interface

    def test_1_requests_that_are_refused(self) -> None:
        job = str(uuid.uuid4())
        self.assertEqual(self.code(self.get("overview", Host="evil.example")), (421, "host"))
        self.assertEqual(self.get("overview", Host="mill.example:80")[0], 200)
        self.assertEqual(self.code(self.get("nothing")), (404, "not_found"))
        self.assertEqual(self.code(self.get("jobs/7")), (400, "bad_id"))
        self.assertEqual(self.code(self.get(f"jobs/{job}")), (404, "unknown_job"))
        self.assertEqual(self.code(self.post("overview")), (405, "method"))
        self.assertEqual(self.code(self.get(f"jobs/{job}/events")), (401, "no_token"))
        self.assertEqual(self.code(self.post(f"jobs/{job}/cancel")), (401, "no_token"))
        wrong = {"Authorization": f"Bearer {TOKEN}x"}
        self.assertEqual(self.code(self.post(f"jobs/{job}/cancel", **wrong)), (401, "no_token"))
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}):
            self.assertEqual(self.code(self.post(f"jobs/{job}/cancel", **BEARER, **headers)), (403, "cross_site"))
            self.assertEqual(self.code(self.post("session", TOKEN, **headers)), (403, "cross_site"))
        self.assertEqual(self.code(self.post("session", TOKEN + "x")), (401, "wrong_token"))
        self.assertEqual(self.post(f"jobs/{job}/cancel", **BEARER)[0], 202)

    def test_2_sessions(self) -> None:
        status, body, headers = self.post("session", TOKEN)
        self.assertEqual((status, body["open"]), (200, True))
        cookie = headers["Set-Cookie"]
        for part in ("HttpOnly", "SameSite=Strict", "Path=/"):
            self.assertIn(part, cookie)
        cookie = {"Cookie": cookie.split(";")[0]}
        self.assertEqual(self.get("session", **cookie)[1]["csrf"], body["csrf"])
        job = str(uuid.uuid4())
        self.assertEqual(self.code(self.post(f"jobs/{job}/cancel", **cookie)), (403, "csrf"))
        csrf = {"X-CSRF-Token": body["csrf"]}
        self.assertEqual(self.post(f"jobs/{job}/cancel", **cookie, **csrf)[0], 202)
        self.assertEqual(self.post("session/end", **cookie, **csrf)[1], {"token": True, "open": False})
        self.assertEqual(self.code(self.post(f"jobs/{job}/cancel", **cookie, **csrf)), (401, "no_token"))
        for path in ("/", "/page.js", "/api/v1/overview", "/nothing"):
            c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=servers.HANG_S)
            c.request("GET", path)
            headers = c.getresponse().headers
            c.close()
            self.assertEqual((headers["Cache-Control"], headers["X-Content-Type-Options"]), ("no-store", "nosniff"))
            self.assertTrue(headers["Content-Security-Policy"].startswith("default-src 'self';"))
            self.assertIsNone(headers["Access-Control-Allow-Origin"])

    def test_3_replays(self) -> None:
        twice, alien = dead_job(), str(uuid.uuid4())
        self.put_dead(msgpack.packb(twice), twice["job_id"], 3)
        self.put_dead(msgpack.packb(twice), twice["job_id"], 2)
        self.put_dead(b"\xff\xfe", alien, 1, cause="malformed")
        servers.wait_for("three letters", lambda: len(self.letters()) == 3)
        older, newest, broken = (row["letter"] for row in sorted(self.letters(), key=lambda row: row["time_ms"]))
        self.assertEqual(self.code(self.post(f"dead/{older}/replay", **BEARER)), (409, "newer"))
        status, done, _ = self.post(f"dead/{newest}/replay", **BEARER)
        self.assertEqual((status, done["job_id"], done["lane"]), (202, twice["job_id"], "normal"))
        servers.wait_for("the note", lambda: any(row.get("replay") == done["replay"] for row in self.letters()))
        self.assertEqual(self.code(self.post(f"dead/{newest}/replay", **BEARER)), (409, "replayed"))
        servers.wait_for("the replayed job's end",
                         lambda: self.get(f"jobs/{done['replay']}")[1].get("state") == "succeeded")
        self.assertEqual(self.code(self.post(f"dead/{broken}/replay", **BEARER)), (422, "no_job"))
        self.assertEqual(self.code(self.post("dead/0:4711/replay", **BEARER)), (404, "gone"))
        self.assertEqual(self.code(self.post("dead/9:0/replay", **BEARER)), (404, "gone"))

    # ---- token streams

    def put_stream(self, n: int) -> str:
        """A job of n tokens that has ended, with nothing but its stream."""
        job, pipe = str(uuid.uuid4()), redis.Redis(port=self.rig.redis_port).pipeline()
        for i in range(n):
            frame = {"type": "token", "job_id": job, "attempt": 2, "index": i, "token": i, "text": f"w{i} "}
            pipe.xadd(f"mr:{{{job}}}:s", {"f": json.dumps(frame)}, f"2-{i}")
        done = {"type": "done", "job_id": job, "attempt": 2, "index": n, "status": "succeeded", "finish_reason": "stop"}
        pipe.xadd(f"mr:{{{job}}}:s", {"f": json.dumps(done)}, f"2-{n}")
        pipe.execute()
        return job

    def events(self, job: str, wait_s: float = 0, **headers) -> list[tuple[str, str, dict]]:
        """Id, name and data of all events up to the end; the reader stands still for a while first."""
        c = http.client.HTTPConnection("127.0.0.1", self.port, timeout=servers.HANG_S)
        c.request("GET", f"/api/v1/jobs/{job}/events", headers={**BEARER, **headers})
        answer = c.getresponse()
        self.assertEqual((answer.status, answer.headers["Content-Type"]), (200, "text/event-stream"))
        time.sleep(wait_s)
        blocks = answer.read().decode().split("\n\n")
        c.close()
        events = [dict(line.split(": ", 1) for line in b.split("\n")) for b in blocks if b.startswith("id: ")]
        return [(e["id"], e["event"], json.loads(e["data"])) for e in events]

    def test_4_streams(self) -> None:
        job = self.put_stream(10)
        whole = self.events(job)
        self.assertEqual([(name, data["index"]) for _, name, data in whole],
                         [("token", i) for i in range(10)] + [("done", 10)])
        self.assertEqual(self.events(job, **{"Last-Event-ID": whole[4][0]}), whole[5:])
        self.assertEqual(self.events(job, **{"Last-Event-ID": "nonsense"}), whole)
        gone = str(uuid.uuid4())
        redis.Redis(port=self.rig.redis_port).hset(f"mr:{{{gone}}}", "state", "failed")
        self.assertEqual([(name, data["state"]) for _, name, data in self.events(gone)], [("over", "failed")])

    def test_5_a_reader_that_stands_still(self) -> None:
        """Holds up nobody, and misses nothing: what it has not got stays in Redis."""
        job, seen = self.put_stream(20000), []
        reader = threading.Thread(target=lambda: seen.extend(self.events(job, wait_s=1)))
        reader.start()
        for _ in range(20):
            self.assertEqual(self.get("overview")[0], 200)
        reader.join()
        self.assertEqual([data["index"] for _, _, data in seen], list(range(20001)))

    # ---- the page

    def test_6_in_a_browser(self) -> None:
        dead = dead_job()
        self.put_dead(msgpack.packb(dead), dead["job_id"], 0)
        drawn = bool(os.environ.get("MR_SCREENSHOTS"))
        if drawn:
            self.rig.start_worker("worker-b", threads=1)
        load = Load(self.rig.brokers, heavy=drawn)
        load.start()
        self.addCleanup(load.stop)
        env = {**os.environ, **self.rig.env(), "NODE_PATH": str(self.node_path),
               "MR_MILLRACE": str(servers.BIN / "millrace")}
        print(flush=True)
        p = subprocess.run(["node", HERE / "page.js", str(self.port), str(self.rig.redis_port), TOKEN, dead["job_id"]],
                           env=env, timeout=3 * servers.HANG_S)
        self.assertEqual(p.returncode, 0)

    def test_7_guessing(self) -> None:
        """For a while nobody from this address is heard any more, but who has a session is."""
        status, body, headers = self.post("session", TOKEN)
        self.assertEqual(status, 200)
        cookie = {"Cookie": headers["Set-Cookie"].split(";")[0]}
        job, codes = str(uuid.uuid4()), []
        for n in range(30):
            wrong = self.post("session", f"guess {n}") if n % 2 else \
                self.post(f"jobs/{job}/cancel", Authorization=f"Bearer guess {n}")
            codes.append(wrong[0])
        first = codes.index(429)
        self.assertEqual(set(codes[:first]), {401})
        self.assertGreaterEqual(first, 5)  # others of these tests have failed from here, too
        status, answer, headers = self.post("session", TOKEN)
        if status == 429:
            self.assertEqual(answer["error"]["code"], "too_many_tries")
            self.assertGreater(int(headers["Retry-After"]), 0)
        self.assertEqual(self.get("session", **cookie)[1]["csrf"], body["csrf"])
        servers.wait_for("a pause later the token is heard", lambda: self.post("session", TOKEN)[0] == 200, step_s=0.5)

    def test_8_without_a_token(self) -> None:
        """Numbers and states, no texts, no actions."""
        self.assertEqual(self.rig.stop("dispatcher"), 0)
        type(self).port = servers.free_ports(1)[0]
        self.start_dispatcher(self.port)
        job = str(uuid.uuid4())
        self.assertEqual(self.get("session")[1], {"token": False, "open": False})
        self.assertEqual(self.get("overview")[0], 200)
        self.assertEqual(self.code(self.post("session", TOKEN)), (401, "wrong_token"))
        self.assertEqual(self.code(self.post("session", "")), (401, "wrong_token"))
        self.assertEqual(self.code(self.get(f"jobs/{job}/events", **BEARER)), (403, "read_only"))
        self.assertEqual(self.code(self.post(f"jobs/{job}/cancel", **BEARER)), (403, "read_only"))
        self.assertEqual(self.code(self.post("dead/0:0/replay", **BEARER)), (403, "read_only"))


if __name__ == "__main__":
    if not shutil.which("chromium"):
        sys.exit("test_page.py: chromium is needed")
    servers.main()
