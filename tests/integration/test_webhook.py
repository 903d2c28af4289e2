#!/usr/bin/python3
"""Goal: whoever a job names as its callback hears of its end: at least once, under one id, never before the
result is committed, with a signature that the reference library accepts; whatever the receiver does, and
however dispatchers die. What may not be asked is not asked.

Method: a real broker and dispatchers; most jobs name a model that nobody has, so their ends come from the
dispatcher at once, one comes from a real worker. The receiver (webhook/receiver.js) verifies every call with
npm's `standardwebhooks`, and answers as the path says. MR_WEBHOOK_EVENTS: how many events the test with
the kill has, 500 if not set; it prints how long they took and the memory of the dispatcher.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import threading
import time
import unittest

import rig as servers
from hooks import OLD_SECRET, OTHER, SECRET, Caller, Receiver, event_id
from jobs import JSON, Results, make_job, produce, producer

EVENTS = int(os.environ.get("MR_WEBHOOK_EVENTS", "500"))
DELAYS = "0,200ms,300ms,400ms,500ms,600ms"  # tries that fail for good are over in 3 s


class Webhooks(Caller, unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.rig = servers.Rig()
        cls.rig.__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        cls.make_certificate()
        cls.receiver = Receiver(cls.rig)
        cls.tls = Receiver(cls.rig, "receiver-tls", (cls.rig.dir / "cert.pem", cls.rig.dir / "key.pem"))
        (cls.closed_port,) = servers.free_ports(1)
        (cls.rig.dir / "secrets.yaml").write_text(f"default: {OLD_SECRET} {SECRET}\nacme/own: {SECRET}\n"
                                                  f"own: {OTHER}\n")
        (cls.rig.dir / "tenants.yaml").write_text(
            "tenants:\n  hooked: {callback_url: '" + cls.receiver.url("/tenant") +
            "', callback_events: 'rejected,failed'}\n")
        cls.start("a")
        cls.producer = producer(cls.rig.brokers)
        servers.wait_for("the dispatcher has its partitions",
                         lambda: "assigned" in cls.rig.log("a").read_text())
        cls.results = Results(cls.rig.brokers)
        cls.addClassCleanup(cls.results.close)

    @classmethod
    def make_certificate(cls) -> None:
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "1", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost",
                        "-keyout", "key.pem", "-out", "cert.pem"],
                       cwd=cls.rig.dir, check=True, stderr=subprocess.DEVNULL)

    @classmethod
    def start(cls, name: str, **settings) -> None:
        cls.rig.start_dispatcher(name, **{
            "dispatcher_id": name, "topic_partitions": 4, "model_grace_ms": 0, "models": "demo", "session_timeout_ms": 3000,
            "transaction_timeout_ms": 3000, "webhook_delays": DELAYS, "webhook_timeout_ms": 60000,
            "webhook_allow": f"127.0.0.1:{cls.receiver.port},127.0.0.1:{cls.closed_port},localhost:{cls.tls.port}",
            "webhook_secrets_file": cls.rig.dir / "secrets.yaml", "tenants_file": cls.rig.dir / "tenants.yaml",
            "webhook_ca_file": cls.rig.dir / "cert.pem", **settings})

    # ---- what is sent

    def test_the_trace_of_the_job_goes_along(self) -> None:
        """With each try, and through the topics between them."""
        trace = ["00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=17"]
        headers = list(zip(("traceparent", "tracestate"), (t.encode() for t in trace)))
        job = make_job(model="nobody-has-it", callback={"url": self.receiver.url("/fail/2/traced")})
        job_id = produce(self.producer, job, headers=headers)
        self.assertEqual(self.producer.flush(servers.HANG_S), 0)
        self.delivered(self.receiver, "/fail/2/traced", [job_id])
        servers.wait_for("three tries", lambda: len(self.receiver.calls("/fail/2/traced")) == 3)
        self.assertEqual([c["trace"] for c in self.receiver.calls("/fail/2/traced")], [trace] * 3)

    def test_an_event_is_signed_and_says_where_the_result_is(self) -> None:
        (job_id,) = self.submit(self.receiver.url("/ok/one"), metadata={"doc": "17"})
        (call,) = self.delivered(self.receiver, "/ok/one", [job_id])
        self.assertEqual((call["method"], call["type"], call["signatures"]), ("POST", "application/json", 2))
        body = call["body"]
        self.assertEqual(body["type"], "job.rejected")
        self.assertEqual(set(body), {"type", "timestamp", "data"})
        data = body["data"]
        self.assertEqual((data["job_id"], data["status"], data["metadata"]), (job_id, "rejected", {"doc": "17"}))
        self.assertEqual(data["error"]["code"], "unknown_model")
        self.assertEqual(data["usage"]["total_tokens"], 0)
        self.assertNotIn("result", data)
        self.results.wait([job_id])
        _, message = self.results.by_id[job_id][0]
        self.assertEqual(data["result_at"], {"topic": message.topic(), "partition": message.partition(),
                                             "offset": message.offset()})
        self.assertNotIn(SECRET[6:], self.rig.log("a").read_text())

    def test_over_tls(self) -> None:
        ids = self.submit(self.tls.url("/ok", "localhost"), 3)
        self.delivered(self.tls, "/ok", ids)

    def test_events_and_tenants(self) -> None:
        """Who wants only successes hears of no refusal; a tenant's callback is for jobs without one; a tenant
        has a secret that only it can name."""
        self.submit(self.receiver.url("/ok/never"), callback={"events": ["succeeded"]})
        theirs = self.submit(None, 2, tenant="hooked")
        self.delivered(self.receiver, "/tenant", theirs)
        ours = self.submit(self.receiver.url("/ok/own"), tenant="acme", callback={"secret_id": "own"})
        self.delivered(self.receiver, "/ok/own", ours)
        self.assertEqual(self.receiver.calls("/ok/never"), [])

    def test_a_worker_s_result(self) -> None:
        self.rig.start_worker(worker_id="w")
        job = make_job(model="demo", callback={"url": self.receiver.url("/ok/worker")})
        produce(self.producer, job, JSON)
        self.producer.flush(servers.HANG_S)
        (call,) = self.delivered(self.receiver, "/ok/worker", [job["job_id"]], "succeeded")
        self.assertEqual(call["body"]["type"], "job.succeeded")
        self.assertGreater(call["body"]["data"]["usage"]["completion_tokens"], 0)
        self.rig.stop("worker")

    # ---- what receivers do

    def test_failures_are_tried_again_under_one_id(self) -> None:
        kinds = {"/fail/2": 3, "/later": 2, "/cut": 2}
        ids = {path: self.submit(self.receiver.url(path))[0] for path in kinds}
        for path, n in kinds.items():
            log = self.log_of(ids[path], "delivered")
            self.assertEqual([line["tries"] for line in log], list(range(1, n + 1)), path)
            calls = self.receiver.calls(path)
            self.assertEqual({c["id"] for c in calls}, {event_id(ids[path])})
            self.assertEqual(len({json.dumps(c["body"]) for c in calls}), 1)
            if path == "/later":
                self.assertGreaterEqual(calls[1]["time_ms"] - calls[0]["time_ms"], 1000)

    def test_a_receiver_that_is_down(self) -> None:
        (job_id,) = self.submit(f"http://127.0.0.1:{self.closed_port}/x")
        log = self.log_of(job_id, "dead")
        self.assertEqual([line["tries"] for line in log], [1, 2, 3, 4, 5, 6])
        (letter,) = self.letters(job_id)
        self.assertEqual(letter["cause"], "webhook_undelivered")

    def test_a_silent_receiver_holds_nobody_up(self) -> None:
        silent = Receiver(self.rig, "receiver-silent")
        self.rig.stop("a")
        self.start("a", webhook_timeout_ms=1500,
                   webhook_allow=f"127.0.0.1:{silent.port},localhost:{self.tls.port}")
        self.submit(silent.url("/silent"), 40)
        ids = self.submit(self.tls.url("/ok/fast", "localhost"), 40)
        self.delivered(self.tls, "/ok/fast", ids)
        self.rig.stop("a")
        self.start("a")

    def test_gone_is_the_end_until_somebody_asks(self) -> None:
        """410 ends an event at once and disables the URL; a replay asks again."""
        (first,) = self.submit(self.receiver.url("/gone"))
        self.assertEqual([line["code"] for line in self.log_of(first, "dead")], [410])
        (second,) = self.submit(self.receiver.url("/gone"))
        self.log_of(second, "dead")
        self.assertEqual(self.letters(second)[0]["cause"], "webhook_disabled")
        self.assertEqual(len(self.receiver.calls("/gone")), 1)
        out = self.rig.millrace("webhook", "replay", "--job", second, "--yes")
        self.assertIn(second, out.stdout)
        servers.wait_for("the replay asks", lambda: len(self.receiver.calls("/gone")) == 2)
        servers.wait_for("its second letter", lambda: len(self.letters(second)) == 2)
        older, newer = (row["letter"] for row in self.letters(second))
        p = self.rig.millrace("webhook", "replay", "--job", older, "--yes")
        self.assertEqual((p.stdout, "replayed already" in p.stderr), ("", True))
        p = self.rig.millrace("webhook", "replay", "--job", newer, "--yes", "--json")
        self.assertEqual(json.loads(p.stdout)["job_id"], second)
        p = self.rig.millrace("webhook", "replay", "--job", first + "0", "--yes", check=False)
        self.assertIn("no such dead letters", p.stderr)
        self.assertNotEqual(p.returncode, 0)

    # ---- what is not asked

    def test_what_may_not_be_asked(self) -> None:
        for url, word in [(f"http://127.0.0.1:{self.closed_port + 1}/x", "https"), ("https://10.0.0.1/x", "private"),
                          ("https://0x7f000001/x", "decimal"), ("https://user:pw@example.com/", "user"),
                          ("https://example.com:22/", "port"), ("https://[::ffff:127.0.0.1]/", "mapped")]:
            (job_id,) = self.submit(url)
            result = self.results.wait([job_id])[job_id]
            self.assertEqual(result["error"]["field"], "callback.url", url)
            self.assertIn(word, result["error"]["message"], url)

    def test_a_name_that_leads_inside_and_a_redirect(self) -> None:
        """localhost is allowed at one port only: at others its address is looked at, and it is loopback."""
        (inside,) = self.submit("https://localhost:8443/x")
        (redirected,) = self.submit(self.receiver.url("/redirect"))
        for line in self.log_of(inside, "dead"):
            self.assertIn("loopback", line["why"])
            self.assertNotIn("code", line)
        self.assertEqual({line["code"] for line in self.log_of(redirected, "dead")}, {302})
        self.assertEqual(self.receiver.calls("/trap"), [])

    # ---- many, and a dispatcher that dies

    def test_many_and_a_kill(self) -> None:
        """Exactly the events that are due arrive, each verified, though the dispatcher is killed when a tenth
        of them has; what it was doing at that moment arrives twice, under the same id."""
        path, began_s, ids = "/ok/many", time.monotonic(), []

        def submit_all() -> None:
            ids.extend(self.submit(self.receiver.url(path), EVENTS))
        submitting = threading.Thread(target=submit_all)
        submitting.start()
        servers.wait_for("a tenth", lambda: len(self.receiver.calls(path)) >= EVENTS / 10)
        self.rig.stop("a", 9)
        self.start("a")
        submitting.join()
        calls = self.delivered(self.receiver, path, ids)
        took_s = time.monotonic() - began_s
        self.assertEqual({c["id"] for c in self.receiver.calls(path)}, {event_id(i) for i in ids})
        times = {}
        for c in calls:
            times[c["id"]] = times.get(c["id"], 0) + 1
        rss_kb = next(int(line.split()[1]) for line in
                      pathlib.Path(f"/proc/{self.rig.processes['a'].pid}/status").read_text().splitlines()
                      if line.startswith("VmRSS"))
        print(f"{EVENTS} events in {took_s:.1f} s, with a restart; {sum(n > 1 for n in times.values())} came "
              f"twice; dispatcher {rss_kb / 1024:.0f} MiB", flush=True)


if __name__ == "__main__":
    servers.main()
