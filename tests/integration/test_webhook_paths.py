#!/usr/bin/python3
"""Goal: callbacks on the less trodden paths: of results and refusals that had to be shortened, of events that wait in
the delay topics while dispatchers die, while secrets change, and with receivers that answer without end, or many
of whom do not answer at all.

Method: as in test_webhook.py, but `millrace.results` takes only small records, so that what is larger is answered in
short. A record is put into the topics of 5 minutes and of an hour with the time stamp of one that has waited there
for so long. MR_WEBHOOK_HANGING: how many events the last test has (800), over a hundred receivers of which half are
silent; it prints how long the others took.
"""

from __future__ import annotations

import json
import os
import pathlib
import signal
import time
import unittest

import rig as servers
from hooks import OTHER, SECRET, Caller, Receiver, event_id
from jobs import Topic, make_job, produce, producer

EVENTS = int(os.environ.get("MR_WEBHOOK_HANGING", "800"))
RECORD_BYTES = 4000  # of a result
HOSTS = [f"127.0.3.{n}" for n in range(1, 101)]


class Paths(Caller, unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.rig = servers.Rig()
        cls.rig.__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        cls.make_results()
        cls.receiver = Receiver(cls.rig)
        cls.other = Receiver(cls.rig, "receiver-other", secret=OTHER)
        cls.hundred = Receiver(cls.rig, "receivers", hosts="127.0.0.1," + ",".join(HOSTS))
        cls.secrets = cls.rig.dir / "secrets.yaml"
        cls.secrets.write_text(f"default: {SECRET}\n")
        cls.start()
        cls.producer = producer(cls.rig.brokers)
        servers.wait_for("the dispatcher has its partitions", lambda: "assigned" in cls.rig.log("d").read_text())

    @classmethod
    def make_results(cls) -> None:
        from confluent_kafka.admin import AdminClient, NewTopic
        topic = NewTopic("millrace.results", 4, 1, config={"max.message.bytes": str(RECORD_BYTES)})
        admin = AdminClient({"bootstrap.servers": cls.rig.brokers})
        for f in admin.create_topics([topic]).values():
            f.result(servers.HANG_S)

    @classmethod
    def start(cls, **settings) -> None:
        allowed = [f"127.0.0.1:{r.port}" for r in (cls.receiver, cls.other)] + [f"{h}:{cls.hundred.port}" for h in HOSTS]
        cls.rig.start_dispatcher("d", **{
            "dispatcher_id": "d", "topic_partitions": 4, "model_grace_ms": 0, "models": "demo", "session_timeout_ms": 3000,
            "transaction_timeout_ms": 3000, "webhook_delays": "0,200ms", "webhook_timeout_ms": 60000,
            "webhook_allow": ",".join(allowed), "webhook_secrets_file": cls.secrets, **settings})

    def restart(self, sig: int = signal.SIGTERM, **settings) -> None:
        self.rig.stop("d", sig)
        self.start(**settings)

    def tries(self, receiver: Receiver, path: str, job_id: str, status: str = "rejected") -> list[dict]:
        return [c for c in receiver.calls(path) if c["id"] == event_id(job_id, status)]

    # ---- answers in short

    def test_a_refusal_in_short(self) -> None:
        """Its metadata would make the record larger than its topic takes."""
        metadata = {f"key-{n}": os.urandom(250).hex() for n in range(16)}  # brokers see it compressed
        (job_id,) = self.submit(self.receiver.url("/ok/short"), metadata=metadata)
        (call,) = self.delivered(self.receiver, "/ok/short", [job_id])
        self.assertIn("could not be written", call["body"]["data"]["error"]["message"])
        self.assertNotIn("metadata", call["body"]["data"])

    def test_a_result_that_is_too_large(self) -> None:
        self.rig.start_worker(worker_id="w")
        (job_id,) = self.submit(self.receiver.url("/ok/large"), model="demo",
                                params={"max_tokens": 300, "ignore_eos": True, "logprobs": True, "top_logprobs": 5})
        (call,) = self.delivered(self.receiver, "/ok/large", [job_id], "failed")
        self.assertEqual(call["body"]["data"]["error"]["code"], "result_too_large")
        self.rig.stop("worker")

    # ---- waiting in topics

    def owed(self, tier: str, job_id: str) -> dict:
        """The record of the event in the topic of this delay, once it is there."""
        topic = Topic(self.rig.brokers, "millrace.webhooks" + tier)
        try:
            def found():
                topic.read()
                return [m for m in topic.messages if m.key() == job_id.encode()]
            return json.loads(servers.wait_for(f"{job_id} in {topic}", found)[0].value())
        finally:
            topic.close()

    def test_each_delay_through_a_restart(self) -> None:
        """5 s pass as they are. 5 minutes and an hour have nearly passed: the events come back as records that have
        waited for so long, and are due in 1 s, and in 6 s, for which the topic of 5 s is the next place."""
        self.restart(webhook_delays="0,6s")
        (short,) = self.submit(self.receiver.url("/fail/1/short"))
        self.owed(".5s", short)
        self.restart(signal.SIGKILL, webhook_delays="0,6m")
        (minutes,) = self.submit(self.receiver.url("/fail/1/minutes"))
        minutes_owed = self.owed(".5m", minutes)
        self.restart(signal.SIGKILL, webhook_delays="0,2h")
        (hours,) = self.submit(self.receiver.url("/fail/1/hours"))
        hours_owed = self.owed(".1h", hours)
        self.restart(signal.SIGKILL)
        now_ms = int(time.time() * 1000)
        for tier, waited_ms, record, left_ms in ((".5m", 300_000, minutes_owed, 1000), (".1h", 3600_000, hours_owed, 6000)):
            record["due_ms"] = now_ms + left_ms
            self.producer.produce("millrace.webhooks" + tier, json.dumps(record), key=record["job_id"],
                                  timestamp=now_ms - waited_ms)
        self.producer.flush(servers.HANG_S)
        for job_id, path, wait_ms in ((short, "short", 6000), (minutes, "minutes", 1000), (hours, "hours", 6000)):
            calls = servers.wait_for(f"the second try of {path}", lambda p=path, j=job_id: (
                found if len(found := self.tries(self.receiver, f"/fail/1/{p}", j)) >= 2 else None))
            self.assertEqual({c["error"] for c in calls}, {""})
            since_ms = calls[0]["time_ms"] if path == "short" else now_ms
            self.assertGreaterEqual(calls[1]["time_ms"] - since_ms, wait_ms, path)

    def test_what_is_put_off_uses_up_no_try(self) -> None:
        """A receiver is slow for so long that most of its events are put off; the dispatcher dies meanwhile."""
        self.restart(webhook_per_host=1)
        ids = self.submit(self.receiver.url("/slow/2/put-off"), 30)
        topic = Topic(self.rig.brokers, "millrace.webhooks.5s")
        self.addCleanup(topic.close)
        servers.wait_for("some are put off", lambda: topic.read() or
                         len({m.key().decode() for m in topic.messages} & set(ids)) >= 10)
        self.restart(signal.SIGKILL)
        self.delivered(self.receiver, "/slow/2/put-off", ids)
        put_off = [json.loads(m.value()) for m in topic.messages if m.key().decode() in ids]
        self.assertEqual({record.get("tries", 0) for record in put_off}, {0})
        self.assertGreaterEqual(min(record["put_off"] for record in put_off), 1)

    # ---- secrets that change

    def test_secrets_change_while_calls_are_under_way(self) -> None:
        self.restart()
        before = self.submit(self.receiver.url("/slow/9/before"), 3)
        servers.wait_for("they are asked", lambda: len(self.receiver.calls("/slow/9/before")) == 3)
        self.secrets.write_text(f"default: {OTHER}\n")
        self.rig.processes["d"].send_signal(signal.SIGHUP)
        after: list[str] = []

        def with_the_new_one() -> bool:
            after.extend(self.submit(self.other.url("/ok/after")))
            return any(c["error"] == "" for c in self.other.calls("/ok/after"))
        servers.wait_for("a call with the new secret", with_the_new_one, step_s=0.2)
        self.secrets.write_text("default: not-a-secret\n")
        self.rig.processes["d"].send_signal(signal.SIGHUP)
        servers.wait_for("the mistake is told",
                         lambda: "secrets of webhooks not read again" in self.rig.log("d").read_text())
        last = self.submit(self.other.url("/ok/last"))
        self.delivered(self.other, "/ok/last", last)
        self.delivered(self.receiver, "/slow/9/before", before)
        for job_id in before:
            self.assertEqual([line["outcome"] for line in self.log_of(job_id, "delivered")], ["delivered"])
        self.assertNotIn("not-a-secret", self.rig.log("d").read_text())
        self.secrets.write_text(f"default: {SECRET}\n")

    # ---- receivers that say too much, or nothing

    def test_answers_without_end(self) -> None:
        """A body that drips runs into the time, one that pours is cut and counts, headers without end do not."""
        self.restart(webhook_timeout_ms=1500)
        ids = {kind: self.submit(self.receiver.url(f"/{kind}"))[0] for kind in ("drip", "flood", "head")}
        fine = self.submit(self.receiver.url("/ok/beside"), 50)
        self.delivered(self.receiver, "/ok/beside", fine)
        self.assertEqual(self.log_of(ids["flood"], "delivered")[-1]["code"], 200)
        for kind, word in (("drip", "timed out"), ("head", "headers")):
            for line in self.log_of(ids[kind], "dead"):
                self.assertIn(word, line["why"].lower(), kind)
        status = pathlib.Path(f"/proc/{self.rig.processes['d'].pid}/status").read_text()
        peak_kb = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM"))
        print(f"(dispatcher: {peak_kb / 1024:.0f} MiB at most) ", end="", flush=True)
        self.assertLess(peak_kb, 200 << 10)

    def test_half_of_a_hundred_receivers_are_silent(self) -> None:
        """The others have all of theirs while those are still being waited for."""
        self.restart(webhook_timeout_ms=1500, webhook_delays="0,5s,10s,20s,40s,80s")
        fine, silent = [], []
        for n, host in enumerate(HOSTS):
            url = self.hundred.url("/silent/many" if n % 2 else "/ok/many", host)
            job = {"model": "nobody-has-it", "callback": {"url": url}}
            (silent if n % 2 else fine).extend(produce(self.producer, make_job(**job))
                                               for _ in range(EVENTS // len(HOSTS)))
        self.assertEqual(self.producer.flush(servers.HANG_S), 0)
        answered = sorted(c["time_ms"] for c in self.delivered(self.hundred, "/ok/many", fine) if c["n"] == 1)
        calls = self.hundred.calls("/silent/many")
        self.assertLessEqual({c["id"] for c in calls}, {event_id(i) for i in silent})
        began_ms = min(answered[0], calls[0]["time_ms"])
        most, last = ((answered[at] - began_ms) / 1000 for at in (len(answered) * 99 // 100 - 1, -1))
        print(f"({EVENTS} events, half to silent ones: of the others' 99 % came within {most:.1f} s and all within "
              f"{last:.1f} s, beside {len(calls)} calls that nobody answered) ", end="", flush=True)


if __name__ == "__main__":
    servers.main()
