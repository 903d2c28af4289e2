#!/usr/bin/python3
"""Goal: each input has exactly one visible output, whatever happens between the committer and Kafka.

Method: commit_driver (a worker without a model) reads records, finishes them in any order and answers
each through base/commit; a real broker; the driver is killed, stopped, doubled, and its EndTxn requests
and responses are held back by a proxy. Then the outputs are read with read_committed and counted by
input. MR_COMMIT_SCALE=10 makes it ten times longer. Times are printed for people, never asserted.
"""

import contextlib
import json
import os
import random
import signal
import threading
import time
import unittest
import uuid

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

import rig as servers
from jobs import Topic
from proxy import DROP, END_TXN, HOLD_REQUEST, HOLD_RESPONSE, PASS, Proxy

DRIVER = os.environ["MR_DRIVER"]
SCALE = float(os.environ.get("MR_COMMIT_SCALE", "1"))
SEED = int(os.environ.get("MR_COMMIT_SEED", "0")) or random.randrange(1 << 30)
PARTITIONS = 4
SESSION_MS = 2000


class Commit(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        print(f"  seed {SEED}", flush=True)
        cls.rig = servers.Rig(redis=False, proxied=True, broker=servers.BROKER_SESSION).__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        cls.producer = Producer({"bootstrap.servers": cls.rig.brokers, "linger.ms": 5, "log_level": 0})
        cls.random = random.Random(SEED)

    def setUp(self) -> None:
        self.name = uuid.uuid4().hex[:8]
        self.inputs = 0
        self.create(f"in.{self.name}", PARTITIONS)
        self.create(f"out.{self.name}", PARTITIONS)

    def tearDown(self) -> None:
        for name in [n for n in self.rig.processes if n != "kafka"]:
            self.rig.stop(name, signal.SIGKILL)

    # ---- parts

    def create(self, topic: str, partitions: int, **config) -> None:
        config = {name.replace("_", "."): value for name, value in config.items()}
        admin = AdminClient({"bootstrap.servers": self.rig.brokers, "log_level": 0})
        for f in admin.create_topics([NewTopic(topic, partitions, 1, config=config)]).values():
            f.result(servers.HANG_S)

    def feed(self, n: int, topic: str | None = None) -> None:
        for i in range(n):
            while True:
                with contextlib.suppress(BufferError):
                    self.producer.produce(topic or f"in.{self.name}", b"x", partition=i % PARTITIONS)
                    break
                self.producer.poll(0.1)
        self.producer.flush(servers.HANG_S)
        self.inputs += n

    def drive(self, name: str = "driver", **settings):
        settings = {"brokers": self.rig.brokers, "in": f"in.{self.name}", "out": f"out.{self.name}",
                    "group": f"g.{self.name}", "id": f"tx.{self.name}.{name}", "session": SESSION_MS,
                    "timeout": 2000, **settings}
        return self.rig.start(name, [DRIVER, *(f"{k}={v}" for k, v in settings.items())])

    def stats(self, name: str = "driver") -> dict:
        """The last counts that the driver printed; the newest line may be half there."""
        lines = [x for x in servers.tail(self.rig.log(name), 50).splitlines() if x[:1] == "{" and x[-1:] == "}"]
        return json.loads(lines[-1]) if lines else {"done": 0}

    def committed(self, group: str | None = None, topic: str | None = None) -> list[int]:
        c = Consumer({"bootstrap.servers": self.rig.brokers, "group.id": group or f"g.{self.name}",
                      "isolation.level": "read_committed", "log_level": 0})
        with contextlib.closing(c):
            return [p.offset for p in c.committed(
                [TopicPartition(topic or f"in.{self.name}", i) for i in range(PARTITIONS)], 20)]

    def audit(self, out: str | None = None, inputs: int | None = None, quiet_s: float = 1) -> None:
        """Waits until as many outputs as inputs are visible, then quiet_s for more that must not come."""
        inputs = self.inputs if inputs is None else inputs
        with contextlib.closing(Topic(self.rig.brokers, out or f"out.{self.name}")) as topic:
            servers.wait_for(f"{inputs} outputs", lambda: topic.read() or len(topic.messages) >= inputs)
            end = time.monotonic() + quiet_s
            while time.monotonic() < end:
                topic.read()
            keys = [m.key().decode() for m in topic.messages]
        want = {f"{i % PARTITIONS}:{i // PARTITIONS}" for i in range(inputs)}
        self.assertEqual(len(keys), len(set(keys)), "an input has two outputs")
        self.assertEqual(set(keys), want)

    def finish(self, name: str = "driver") -> dict:
        self.assertEqual(self.rig.stop(name, signal.SIGTERM), 0, servers.tail(self.rig.log(name)))
        return self.stats(name)

    def check_offsets(self) -> None:
        self.assertEqual(sum(self.committed()), self.inputs)

    # ---- tests

    def test_out_of_order(self) -> None:
        self.feed(int(10000 * SCALE))
        self.drive(session=60000, timeout=60000)  # nobody is expelled, however slow the machine is
        self.audit()
        s = self.finish()
        print(f"  batches {s['batches']}, median {s['median_us'] / 1000:.1f} ms", flush=True)
        self.assertEqual((s["aborts"], s["unknown"], s["unfinished"]), (0, 0, 0))
        self.check_offsets()

    def test_killed_at_any_time(self) -> None:
        """A static member takes over at once, so that many deaths take little time. Every other one comes
        when something has been done, so that there is something to know again."""
        kills = int(20 * SCALE)
        self.feed(2000)
        for k in range(kills):
            self.feed(200)
            name = f"driver{k}"
            self.drive(name, id=f"tx.{self.name}", instance="one", per_tick=2, rest=300)
            if k % 2:
                servers.wait_for("it works", lambda n=name: self.stats(n)["done"] > 0)
            time.sleep(self.random.uniform(0, 0.6))
            self.rig.stop(name, signal.SIGKILL)
        self.drive("last", id=f"tx.{self.name}", instance="one")
        self.audit()
        skipped = self.finish("last")["skipped"] + sum(self.stats(f"driver{k}").get("skipped", 0) for k in range(kills))
        print(f"  {kills} kills, {skipped} records were known to be finished above the watermark", flush=True)
        self.assertGreater(skipped, 0)
        self.check_offsets()

    def test_refused_records(self) -> None:
        """No such topic, too large for its topic: known soon, and replaced by a record that is taken."""
        self.create(f"small.{self.name}", 1, max_message_bytes="100000")
        self.feed(2000)
        self.drive(small=f"small.{self.name}", odd_every=50)
        self.audit()
        s = self.finish()
        print(f"  {s['refused']} refusals, the slowest known after {s['worst_refusal_ms']} ms", flush=True)
        self.assertGreaterEqual(s["refused"], 2000 // 50)
        self.check_offsets()

    def test_same_transactional_id_twice(self) -> None:
        self.feed(20000)
        first = self.drive("first", id=f"tx.{self.name}", per_tick=1)
        servers.wait_for("first works", lambda: self.stats("first")["done"] > 0)
        self.drive("second", id=f"tx.{self.name}", group=f"other.{self.name}", out=f"in.{self.name}", per_tick=1)
        servers.wait_for("first ends", lambda: first.poll() is not None)
        text = self.rig.log("first").read_text()
        self.assertRegex(text, "fatal fenced: another process uses transactional.id .*worker_id or dispatcher_id")

    def test_wrong_settings_are_named(self) -> None:
        for name, settings, words in (
                ("timeout", {"timeout": 2000000000}, "transaction_timeout_ms is above the brokers'"),):
            p = self.drive(name, **settings)
            servers.wait_for(f"{name} ends", lambda p=p: p.poll() is not None)
            self.assertIn(words, self.rig.log(name).read_text())

    def test_zombie(self) -> None:
        """A stopped process whose partitions another one has taken finishes nothing when it wakes: its
        transaction has timed out, or, where that takes longer, its generation is refused."""
        self.feed(8000)
        for k in range(2):
            zombie, heir = f"zombie{k}", f"heir{k}"
            self.drive(zombie, per_tick=2, rest=300, timeout=(2000, 12000)[k])
            servers.wait_for("zombie works", lambda z=zombie: self.stats(z)["done"] > 0)
            os.kill(self.rig.processes[zombie].pid, signal.SIGSTOP)
            self.drive(heir, per_tick=2, rest=300)
            servers.wait_for("heir works", lambda h=heir: self.stats(h)["done"] > 50)
            os.kill(self.rig.processes[zombie].pid, signal.SIGCONT)
            servers.wait_for("what the zombie held is canceled", lambda z=zombie: self.stats(z).get("canceled"))
            s = self.stats(zombie)
            print(f"  {s['canceled']} jobs of the zombie went to its heir, {s['aborts']} batches refused", flush=True)
            self.finish(zombie)
            self.finish(heir)
        self.drive("last")
        self.audit()
        self.finish("last")
        self.check_offsets()

    def test_members_come_and_go(self) -> None:
        """Partitions move in mid-work, with both ways to move them; what is done is committed before."""
        for assignor in ("range", "cooperative-sticky"):
            with self.subTest(assignor):
                self.setUp()
                self.feed(8000)
                self.drive(f"{assignor}-stays", assignor=assignor, per_tick=2, rest=100)
                for k in range(3):
                    guest = f"{assignor}-{k}"
                    self.drive(guest, assignor=assignor, per_tick=2, rest=100)
                    servers.wait_for("guest works", lambda g=guest: self.stats(g)["done"] > 0)
                    self.finish(guest)
                self.audit()
                self.finish(f"{assignor}-stays")
                self.check_offsets()

    def test_broker_restart(self) -> None:
        self.feed(6000)
        self.drive(per_tick=3, timeout=10000)
        servers.wait_for("some work", lambda: self.stats()["done"] > 500)
        self.rig.stop("kafka", signal.SIGKILL)
        self.rig.start_kafka()
        self.audit()
        s = self.finish()
        print(f"  rebuilds {s['rebuilds']}, unknown {s['unknown']}, of them committed {s['found_committed']}", flush=True)
        self.check_offsets()

    def test_held_back_end_of_transaction(self) -> None:
        """On 5 of 100 transactions the EndTxn is late, lost or unanswered. Several drivers at a time: each
        fault costs a time-out. The slower the machine, the fewer and larger are the transactions."""
        want, drivers, timeout_s = int(1000 * SCALE), 8, 1.0
        faults = [(PASS, 0)] * 95 + [(HOLD_REQUEST, timeout_s * 1.5)] * 2 + \
            [(HOLD_RESPONSE, timeout_s * 2)] * 2 + [(DROP, timeout_s * 1.2)]
        names = [f"d{k}" for k in range(drivers)]
        for name in names:
            self.create(f"in.{self.name}.{name}", PARTITIONS)
            self.create(f"out.{self.name}.{name}", PARTITIONS)
        per_driver = int(4000 * SCALE)
        for name in names:
            self.feed(per_driver, f"in.{self.name}.{name}")
        self.inputs = 0
        lock, deck = threading.Lock(), []

        def rule():
            with lock:
                if not deck:
                    deck.extend(self.random.sample(faults, len(faults)))
                return deck.pop()

        def enough() -> bool:
            stats = [self.stats(n) for n in names]
            return sum(s.get("batches", 0) for s in stats) >= want or min(s["done"] for s in stats) >= per_driver

        with Proxy(self.rig.proxy_port, self.rig.proxied_port) as proxy:
            proxy.rules[END_TXN] = rule
            for name in names:
                self.drive(name, brokers=f"127.0.0.1:{self.rig.proxy_port}", timeout=int(timeout_s * 1000),
                           group=f"g.{self.name}.{name}", out=f"out.{self.name}.{name}",
                           per_tick=1, tick=5, linger=10, rest=300, session=10000, **{"in": f"in.{self.name}.{name}"})
            servers.wait_for("transactions", enough, servers.HANG_S * max(1, SCALE))
            proxy.rules.clear()
            for name in names:
                os.kill(self.rig.processes[name].pid, signal.SIGUSR1)
            for name in names:
                servers.wait_for("the last jobs", lambda n=name: self.stats(n)["done"] >= per_driver)
            stats = [self.finish(name) for name in names]
        for name in names:
            self.audit(f"out.{self.name}.{name}", per_driver, 0.1)
        batches, unknown, found, aborts = (
            sum(s[f] for s in stats) for f in ("batches", "unknown", "found_committed", "aborts"))
        print(f"  {batches} transactions, {unknown} of unknown outcome: {found} found committed, "
              f"{unknown - found} found aborted; {aborts} sent again; proxy {proxy.counts}", flush=True)
        self.assertGreater(min(unknown, found, unknown - found), 0)


if __name__ == "__main__":
    servers.main()
