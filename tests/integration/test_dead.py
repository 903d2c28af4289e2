#!/usr/bin/python3
"""Goal: what was given up can be seen, and can be done again, without a job running twice or a prompt being shown
to somebody who did not ask for it.

Method: dead letters as dispatchers and workers write them, put into a real broker by the test; `millrace dead`
as an operator runs it; and what it submits, read from the lanes with a plain client. Then the same with a
dispatcher and a worker behind it.
"""

from __future__ import annotations

import base64
import json
import os
import pty
import subprocess
import time
import unittest
import uuid

import msgpack
from confluent_kafka.admin import AdminClient, NewTopic

import rig as servers
from jobs import JSON, MSGPACK, Results, Topic, decode, make_job, producer

CUT = 512 * 1024  # bytes of a payload that a dead letter holds at most
LANES = ("high", "normal", "low")
TOPICS = [*(f"jobs.{lane}" for lane in LANES), "results", "control", "dead", "attempts", "work.demo"]
SECRET = "The patient is called Jane Roe."


def passed_on(text: str = SECRET, **fields) -> dict:
    """A job as a worker hands it back."""
    job = make_job(text, model="demo", tenant="acme", metadata={"doc": "17"}, idempotency_key="order-17",
                   not_before_ms=1767225600000, deadline_ms=60000, attempt=5, received_ms=1767225600000,
                   expires_ms=1767225660000, reply_format="msgpack", tries=4, charged=30, key_held=True,
                   history=[{"attempt": n, "outcome": "fault", "worker": f"worker-{n}", "message": f"step {n} failed",
                             "time_ms": 1767225600000 + n} for n in range(1, 5)])
    job.update(fields)
    return job


class Letters:
    """Writes records where dead letters come from and go to."""

    def __init__(self, brokers: str) -> None:
        self.producer = producer(brokers)
        self.n = 0

    def put(self, topic: str, value: bytes, **kw) -> tuple[int, int]:
        """Partition and offset."""
        at = []
        self.producer.produce(f"millrace.{topic}", value, on_delivery=lambda e, m: at.append((e, m)), **kw)
        self.producer.flush(servers.HANG_S)
        assert at and at[0][0] is None, at
        return at[0][1].partition(), at[0][1].offset()

    def letter(self, payload: bytes, cause: str = "attempts_exhausted", job_id: str | None = None,
               topic: str = "attempts", at: tuple[int, int] = (3, 99), message: str = "4 of 4 attempts") -> str:
        """The letter's place; each is a second younger than the one before."""
        self.n += 1
        d = {"cause": cause, "message": message, "time_ms": 1767225600000 + 1000 * self.n,
             "origin": {"topic": f"millrace.{topic}", "partition": at[0], "offset": at[1]},
             "payload_b64": base64.b64encode(payload[:CUT]).decode()}
        if job_id:
            d["job_id"] = job_id
        return "%d:%d" % self.put("dead", json.dumps(d).encode(), key=job_id, headers=[("content-type", JSON)])

    def job(self, job: dict, **kw) -> str:
        return self.letter(msgpack.packb(job), job_id=job["job_id"], **kw)


class DeadCase(unittest.TestCase):
    """An empty cluster for each class."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.rig = servers.Rig()
        cls.addClassCleanup(cls.rig.close)
        cls.rig.__enter__()
        admin = AdminClient({"bootstrap.servers": cls.rig.brokers, "log_level": 0})
        for f in admin.create_topics([NewTopic(f"millrace.{t}", 4, 1) for t in TOPICS]).values():
            f.result(servers.HANG_S)
        cls.letters = Letters(cls.rig.brokers)

    def dead(self, *args, **kw) -> subprocess.CompletedProcess:
        return self.rig.millrace("dead", *args, check=False, **kw)

    def listed(self, *args) -> list[dict]:
        p = self.dead("list", "--json", *args)
        self.assertEqual(p.returncode, 0, p.stderr)
        return [json.loads(line) for line in p.stdout.splitlines()]

    def submitted(self) -> dict[str, tuple[dict, str, dict]]:
        """All jobs in the lanes by what they repeat: job, lane, headers."""
        found: dict[str, tuple[dict, str, dict]] = {}
        for lane in LANES:
            t = Topic(self.rig.brokers, f"millrace.jobs.{lane}")
            t.read_all()
            t.close()
            for m in t.messages:
                job = decode(m)
                self.assertNotIn(job["replay_of"], found, "submitted twice")
                found[job["replay_of"]] = (job, lane, dict(m.headers() or []))
        return found


class Shown(DeadCase):
    def test_list_and_show(self) -> None:
        p = self.dead("list")
        self.assertEqual((p.returncode, p.stdout), (0, ""), p.stderr)
        self.assertIn("no dead letters", p.stderr)

        twice, once = passed_on(), passed_on()
        first = self.letters.job(twice)
        alien = self.letters.letter(b"\xff\xfe\x1b[31m", "malformed", topic="jobs.low", at=(0, 7),
                                    message="is not msgpack\x1b[31m at byte 1")
        self.letters.job(once, cause="poison", topic="work.demo")
        second = self.letters.job(twice)
        self.letters.put("dead", b"what is this?")

        rows = self.listed()
        self.assertEqual([r.get("job_id") for r in rows], [twice["job_id"], None, once["job_id"], twice["job_id"]])
        self.assertEqual([r["letter"] for r in rows if r.get("job_id") != once["job_id"]], [first, alien, second])
        self.assertEqual(rows[1]["origin"], {"topic": "millrace.jobs.low", "partition": 0, "offset": 7})
        self.assertEqual(rows[1]["payload_bytes"], 7)
        self.assertEqual(len(self.listed("--cause", "poison")), 1)
        self.assertEqual(len(self.listed("--job", twice["job_id"])), 2)
        self.assertEqual([r["letter"] for r in self.listed("--job", alien)], [alien])
        self.assertEqual([r["letter"] for r in self.listed("--limit", "1")], [second])

        p = self.dead("list")
        lines = p.stdout.splitlines()
        self.assertEqual(lines[0].split(), ["TIME", "JOB", "CAUSE", "ORIGIN", "MESSAGE"])
        self.assertEqual(lines[1].split()[:4], ["2026-01-01T00:00:01Z", twice["job_id"], "attempts_exhausted",
                                                "millrace.attempts[3]@99"])
        self.assertEqual(lines[2].split()[1], alien)
        self.assertNotIn("\x1b", p.stdout)
        self.assertIn("1 records in the topic are no dead letters", p.stderr)

        p = self.dead("show", twice["job_id"])
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertLess(p.stdout.index(first), p.stdout.index(second))
        for part in ("attempt 4 on worker-4: fault: step 4 failed", "tenant    acme", "lane      normal",
                     f"input     {len(SECRET)} bytes", "4 used up"):
            self.assertEqual(p.stdout.count(part), 2, part)
        self.assertNotIn("Jane", p.stdout)
        self.assertIn("Jane", self.dead("show", twice["job_id"], "--payload").stdout)

        p = self.dead("show", "--json", first)
        shown = json.loads(p.stdout)
        self.assertEqual([h["outcome"] for h in shown["job"]["history"]], ["fault"] * 4)
        self.assertNotIn("Jane", p.stdout)
        whole = json.loads(self.dead("show", "--json", "--payload", first).stdout)
        self.assertEqual(whole["payload"]["input"], twice["input"])

        p = self.dead("show", alien)
        self.assertIn("no job", p.stdout)
        self.assertNotIn("\x1b", p.stdout)
        self.assertEqual(base64.b64decode(json.loads(self.dead("show", alien, "--json", "--payload").stdout)
                                          ["payload_b64"]), b"\xff\xfe\x1b[31m")
        p = self.dead("show", str(uuid.uuid4()))
        self.assertNotEqual(p.returncode, 0)
        self.assertIn("no dead letter of", p.stderr)


class Replayed(DeadCase):
    def test_replay(self) -> None:
        twice = passed_on()
        self.letters.job({**twice, "input": {"prompt": "of the older letter"}})
        place = self.letters.job(twice)
        low = passed_on(priority="low", params={"max_tokens": 7, "temperature": 0.5, "seed": 3, "stop": ["x"]})
        self.letters.job(low)
        outside = make_job()  # as its producer sent it, with a header that nobody knows
        self.letters.letter(json.dumps(outside).encode(), "unsupported", outside["job_id"], "jobs.low")
        alien = self.letters.letter(b"\xff\xfe", "malformed", topic="jobs.low")
        large = passed_on("x" * (CUT + 1000))
        record = msgpack.packb(large)
        at = self.letters.put("attempts", record, key=large["job_id"])
        self.letters.letter(record, "poison", large["job_id"], at=at)
        gone = passed_on("y" * (CUT + 1000))
        self.letters.letter(msgpack.packb(gone), "poison", gone["job_id"], at=(1, 4711))
        other = passed_on("z" * (CUT + 1000))  # its origin has somebody else's record
        self.letters.letter(msgpack.packb(other), "poison", other["job_id"], at=at)

        for argv in [[], ["--all", "--cause", "poison"], ["--job", place, "--all"], ["--all", "--limit", "0"], ["--all"]]:
            self.assertEqual(self.dead("replay", *argv, stdin=subprocess.DEVNULL).returncode, 64, argv)
        p = self.dead("replay", "--job", str(uuid.uuid4()), "--yes")
        self.assertNotEqual(p.returncode, 0)
        self.assertEqual(self.answered(b"n\n", "--job", twice["job_id"]), 0)
        self.assertEqual(self.submitted(), {})

        self.assertEqual(self.answered(b"y\n", "--job", twice["job_id"]), 0)
        job, lane, headers = self.submitted().pop(twice["job_id"])
        self.assertEqual((lane, headers["content-type"].decode()), ("normal", MSGPACK))
        self.assertEqual(job.pop("replay_of"), twice["job_id"])
        self.assertEqual(job.pop("idempotency_key"), f"replay/{twice['job_id']}/{place}")
        fresh = job.pop("job_id")
        self.assertNotEqual(fresh, twice["job_id"])
        kept = ("model", "tenant", "input", "params", "deadline_ms", "metadata")
        self.assertEqual(job, {"priority": "normal", **{k: twice[k] for k in kept}})
        self.assertEqual([(r["letter"] == place, r.get("replay")) for r in self.listed("--job", twice["job_id"])],
                         [(False, None), (True, fresh)])
        self.assertIn(f"(replayed as {fresh})", self.dead("list").stdout)
        p = self.dead("replay", "--job", twice["job_id"], "--yes")
        self.assertEqual(p.returncode, 0)
        self.assertIn("replayed already", p.stderr)

        p = self.dead("replay", "--all", "--yes", "--json")
        self.assertEqual(p.returncode, 65, p.stderr)
        lines = [json.loads(line) for line in p.stdout.splitlines()]
        refused = {line["letter"]: line["refused"] for line in lines if "refused" in line}
        self.assertEqual(len(refused), 3)
        self.assertIn("its payload is no job: ", refused[alien])
        self.assertIn("4711 is no longer in topic millrace.attempts", " ".join(refused.values()))
        self.assertIn("its origin has another job now", " ".join(refused.values()))
        got = self.submitted()
        self.assertEqual(got.keys(), {j["job_id"] for j in (twice, low, outside, large)})
        self.assertEqual({line["job_id"]: line["replay"] for line in lines if "replay" in line},
                         {i: got[i][0]["job_id"] for i in got if i != twice["job_id"]})
        self.assertEqual([got[j["job_id"]][1] for j in (low, outside, large)], ["low", "low", "normal"])
        self.assertEqual(got[low["job_id"]][0]["params"], low["params"])
        self.assertEqual(got[outside["job_id"]][2]["content-type"].decode(), JSON)
        self.assertEqual(got[outside["job_id"]][0]["input"], outside["input"])
        self.assertEqual(got[large["job_id"]][0]["input"], large["input"])

        p = self.dead("replay", "--all", "--yes", "--limit", "2")
        self.assertIn("0 replayed, 2 refused", p.stderr)  # what is left

    def answered(self, answer: bytes, *args) -> int:
        """Exit code of a replay that is asked for at a terminal."""
        ours, theirs = pty.openpty()
        p = subprocess.Popen([servers.BIN / "millrace", "dead", "replay", *args], stdin=theirs, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, env={**os.environ, **self.rig.env()})
        os.close(theirs)
        os.write(ours, answer)
        _, err = p.communicate(timeout=servers.HANG_S)
        os.close(ours)
        self.assertIn(b"Submit 1 dead job again? [y/N]", err)
        return p.returncode


class Many(DeadCase):
    def test_more_than_is_held_at_one_time(self) -> None:
        """30 MB of payloads: they are read in parts, each job once."""
        jobs = [passed_on("m" * 300_000) for _ in range(75)]
        for j in jobs:
            self.letters.job(j)
        begin = time.monotonic()
        p = self.dead("replay", "--cause", "attempts_exhausted", "--limit", "70", "--yes")
        seconds = time.monotonic() - begin
        self.assertEqual(p.returncode, 0, p.stderr)
        self.assertIn("70 replayed, 0 refused", p.stderr)
        print(f"  70 dead letters of 300 kB replayed in {seconds:.1f} s", flush=True)
        self.assertEqual(self.submitted().keys(), {j["job_id"] for j in jobs[:70]})  # the oldest
        self.assertIn("5 replayed", self.dead("replay", "--all", "--yes").stderr)
        self.assertEqual(len(self.submitted()), 75)


class Served(DeadCase):
    """With a dispatcher and a worker."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.rig.start_dispatcher()
        cls.rig.start_worker(threads=1)
        cls.results = Results(cls.rig.brokers)
        cls.addClassCleanup(cls.results.close)

    def test_a_replay_runs_once(self) -> None:
        known, lost = passed_on(), passed_on()
        self.letters.job(known)
        place = self.letters.job(lost)
        earlier = make_job(tenant="acme", idempotency_key=f"replay/{lost['job_id']}/{place}")
        self.letters.put("jobs.normal", json.dumps(earlier).encode())  # replayed, but the note was lost
        self.results.wait([earlier["job_id"]])

        p = self.dead("replay", "--cause", "attempts_exhausted", "--yes", "--json")
        self.assertEqual(p.returncode, 0, p.stderr)
        fresh = {row["job_id"]: row["replay"] for row in map(json.loads, p.stdout.splitlines())}
        self.assertEqual(fresh.keys(), {known["job_id"], lost["job_id"]})
        got = self.results.wait(fresh.values())
        self.assertEqual(got[fresh[known["job_id"]]]["status"], "succeeded")
        self.assertEqual(got[fresh[known["job_id"]]]["metadata"], known["metadata"])
        refused = got[fresh[lost["job_id"]]]
        self.assertEqual((refused["status"], refused["error"]["code"], refused["duplicate_of"]),
                         ("rejected", "duplicate", earlier["job_id"]))
        p = self.dead("replay", "--job", lost["job_id"], "--again", "--yes", "--json")
        again = json.loads(p.stdout)["replay"]
        self.assertEqual(self.results.wait([again])[again]["status"], "succeeded")
        self.assertEqual([r["replay"] for r in self.listed("--job", lost["job_id"])], [again])

    def test_a_record_that_is_no_job(self) -> None:
        partition, offset = self.letters.put("jobs.high", b"{]")
        row = servers.wait_for("a dead letter", lambda: self.listed("--cause", "malformed"))[0]
        self.assertEqual(row["origin"], {"topic": "millrace.jobs.high", "partition": partition, "offset": offset})
        self.assertNotIn("job_id", row)
        p = self.dead("replay", "--job", row["letter"], "--yes")
        self.assertEqual(p.returncode, 65)
        self.assertIn("its payload is no job: ", p.stderr)

    def test_a_job_with_an_unknown_type_is_replayed(self) -> None:
        """The dispatcher could not tell what it is; what is in it is a job all the same."""
        job = make_job()
        self.letters.put("jobs.low", json.dumps(job).encode(), headers=[("content-type", "text/html")])
        row = servers.wait_for("a dead letter", lambda: self.listed("--cause", "content_type"))[0]
        p = self.dead("replay", "--job", row["letter"], "--yes", "--json")
        self.assertEqual(p.returncode, 0, p.stderr)
        done = json.loads(p.stdout)
        self.assertEqual((done["job_id"], done["lane"]), (job["job_id"], "low"))
        self.assertEqual(self.results.wait([done["replay"]])[done["replay"]]["status"], "succeeded")


if __name__ == "__main__":
    servers.main()
