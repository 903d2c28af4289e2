#!/usr/bin/python3
"""Goal: of all jobs of a tenant with one idempotency key one runs, and the others hear its id, whichever
dispatcher decides and whenever one dies; a key is free again after its time.

Method: a real broker, one or two dispatchers, a worker with the demo model; jobs with equal keys come from
several producers at once, while dispatchers are killed; index records and open transactions are written
by the test itself. In the end every job has one result, every key one job that ran and one index record.
Times are printed for people.
"""

import json
import random
import re
import signal
import threading
import time
import unittest
import uuid

from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic

import rig as servers
from jobs import MSGPACK, Results, Topic, make_job, produce, producer

PARTITIONS = 4
TTL_S = 60  # the least that the setting takes
LANES = ("high", "normal", "low")
TOO_LONG_AGO_S = 3600
MANY = 100_000
UNDECIDED_S = 3


def keyed_job(key: str, **fields) -> dict:
    return make_job(model="demo", idempotency_key=key, stream=False,
                    params={"max_tokens": 4, "temperature": 0}, **fields)


class Keys(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.rig = servers.Rig().__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        cls.start("dispatcher")
        cls.rig.start_worker(max_jobs=8, model_name="demo")
        cls.rig.wait_topics("millrace.results", "millrace.keys")
        cls.results = Results(cls.rig.brokers)
        cls.addClassCleanup(cls.results.close)
        cls.producer = producer(cls.rig.brokers)
        cls.results.wait([produce(cls.producer, keyed_job("first"))])

    @classmethod
    def start(cls, name: str, **settings) -> None:
        """A name that lasts: who comes back ends what it left open, and has its partitions at once."""
        cls.rig.start_dispatcher(name, **{
            "dispatcher_id": name, "default_model": "demo", "topic_partitions": PARTITIONS,
            "session_timeout_ms": 3000, "transaction_timeout_ms": 3000, "idempotency_ttl_s": 3600, **settings})

    def setUp(self) -> None:
        self.key = uuid.uuid4().hex  # no test meets another's keys
        if "dispatcher" not in self.rig.processes:
            self.start("dispatcher")

    def tearDown(self) -> None:
        for name in [n for n in self.rig.processes if n.startswith("dispatcher-")]:
            self.assertEqual(self.rig.stop(name), 0)

    # ---- parts

    def submit(self, jobs: list[dict]) -> list[str]:
        ids = [produce(self.producer, j, lane=random.choice(LANES)) for j in jobs]
        self.producer.flush(servers.HANG_S)
        return ids

    def write_index(self, key: str, age_s: float, p: Producer | None = None) -> str:
        """An index record in every partition, since only the dispatcher knows the right one."""
        job_id, p = str(uuid.uuid4()), self.producer if p is None else p
        value = json.dumps({"job_id": job_id, "time_ms": int((time.time() - age_s) * 1000)})
        for part in range(PARTITIONS):
            p.produce("millrace.keys", value, key=b"default\0" + key.encode(), partition=part)
        p.flush(servers.HANG_S)
        return job_id

    def check_duplicate(self, result: dict, of: str) -> None:
        self.assertEqual((result["status"], result.get("duplicate_of")), ("rejected", of))
        self.assertEqual((result["error"]["code"], result["error"]["field"]), ("duplicate", "idempotency_key"))
        self.assertIn(of, result["error"]["message"])

    def check_one_each(self, jobs: list[dict]) -> None:
        """Of each key one job succeeded, the others are its duplicates, and none has two results."""
        got = self.results.wait([j["job_id"] for j in jobs])
        self.results.read(1.0)
        self.assertEqual({i for i in got if len(self.results.by_id[i]) != 1}, set())
        by_key: dict = {}
        for j in jobs:
            by_key.setdefault(j["idempotency_key"], []).append(got[j["job_id"]])
        for key, results in by_key.items():
            ran = [r["job_id"] for r in results if r["status"] == "succeeded"]
            self.assertEqual(len(ran), 1, (key, [r["status"] for r in results]))
            for r in results:
                if r["job_id"] != ran[0]:
                    self.check_duplicate(r, ran[0])
        self.check_index(by_key)

    def check_index(self, keys) -> None:
        index = Topic(self.rig.brokers, "millrace.keys")
        seen = dict.fromkeys(keys, 0)

        def all_there() -> bool:
            index.read()
            for m in index.messages:
                key = m.key().split(b"\0")[1].decode()
                if key in seen:
                    seen[key] += 1
            index.messages.clear()
            return all(seen.values())
        servers.wait_for("an index record of each key", all_there, step_s=0)  # each look reads some more
        self.assertEqual(set(seen.values()), {1})
        index.close()

    def logged_loads(self, name: str) -> list[int]:
        """Milliseconds that each partition took to load, as far as this log says."""
        return [int(ms) for ms in re.findall(r'msg="index loaded".* ms=(\d+)',
                                             self.rig.log(name).read_text(errors="replace"))]

    def restart(self, **settings) -> None:
        self.assertEqual(self.rig.stop("dispatcher"), 0)
        self.start("dispatcher", **settings)

    def wait_served(self) -> None:
        """Somebody reads the topics, and who had to be waited for is gone."""
        job = keyed_job(uuid.uuid4().hex)
        del job["idempotency_key"]
        self.results.wait(self.submit([job]))

    # ---- what a key is

    def test_the_first_runs_and_later_ones_hear_of_it(self) -> None:
        first, second = keyed_job(self.key), keyed_job(self.key, metadata={"doc": "17"})
        self.submit([first])
        self.assertEqual(self.results.wait([first["job_id"]])[first["job_id"]]["status"], "succeeded")
        self.submit([second])
        result = self.results.wait([second["job_id"]])[second["job_id"]]
        self.check_duplicate(result, first["job_id"])
        self.assertEqual(result["metadata"], {"doc": "17"})

    def test_another_tenant_has_keys_of_its_own(self) -> None:
        jobs = [keyed_job(self.key, tenant=t) for t in ("acme", "globex", "default")]
        jobs.append(keyed_job(self.key))
        del jobs[-1]["idempotency_key"]
        self.submit(jobs)
        got = self.results.wait([j["job_id"] for j in jobs])
        self.assertEqual([r["status"] for r in got.values()], ["succeeded"] * 4)

    def test_one_record_sent_thrice_has_one_result(self) -> None:
        jobs = [keyed_job(f"{self.key}-{i}") for i in range(20)]
        self.submit(jobs)
        self.submit(jobs)
        self.results.wait([j["job_id"] for j in jobs])
        self.submit(jobs)
        self.submit([keyed_job(f"{self.key}-end")])
        self.check_one_each(jobs)

    def test_msgpack_and_odd_keys(self) -> None:
        for key in ("k" * 128, "Schlüssel 17", '{"a":"b"}'):
            a, b = keyed_job(key), keyed_job(key)
            produce(self.producer, a, MSGPACK)
            self.producer.flush(servers.HANG_S)
            self.results.wait([a["job_id"]])
            produce(self.producer, b, MSGPACK)
            self.producer.flush(servers.HANG_S)
            self.check_duplicate(self.results.wait([b["job_id"]])[b["job_id"]], a["job_id"])

    def test_a_key_that_waits_keeps_its_place(self) -> None:
        """A job that is not due holds its key from the start."""
        self.wait_served()
        first = keyed_job(self.key, not_before_ms=int(time.time() * 1000) + 4000)
        second = keyed_job(self.key)
        self.submit([first])
        self.check_index([self.key])  # it has come first, whatever lane each of them takes
        self.submit([second])
        self.check_duplicate(self.results.wait([second["job_id"]])[second["job_id"]], first["job_id"])
        result = self.results.wait([first["job_id"]])[first["job_id"]]
        self.assertEqual(result["status"], "succeeded")
        self.assertGreaterEqual(result["timings"]["finished_ms"], first["not_before_ms"])

    # ---- who decides

    def test_two_producers_and_two_dispatchers(self) -> None:
        self.start("dispatcher-b")
        servers.wait_for("both have partitions", lambda: self.logged_loads("dispatcher-b"))
        pairs = [[keyed_job(f"{self.key}-{i}") for i in range(100)] for _ in range(2)]

        def send(jobs) -> None:
            p = producer(self.rig.brokers)
            for j in jobs:
                produce(p, j, lane=random.choice(LANES))
            p.flush(servers.HANG_S)
        threads = [threading.Thread(target=send, args=(jobs,)) for jobs in pairs]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.check_one_each(pairs[0] + pairs[1])

    def test_dispatchers_killed_while_they_decide(self) -> None:
        """Each key comes four times, while now the one, now the other dispatcher is killed."""
        self.start("dispatcher-b")
        servers.wait_for("both have partitions", lambda: self.logged_loads("dispatcher-b"))
        jobs = [keyed_job(f"{self.key}-{i % 150}") for i in range(600)]
        random.shuffle(jobs)
        for i, j in enumerate(jobs):
            produce(self.producer, j, lane=random.choice(LANES))
            if i % 100 == 50:
                self.producer.flush(servers.HANG_S)
                time.sleep(random.uniform(0, 0.3))
                name = ("dispatcher", "dispatcher-b")[i // 100 % 2]
                self.rig.stop(name, signal.SIGKILL)
                self.start(name)
                time.sleep(random.uniform(0, 1.5))
        self.producer.flush(servers.HANG_S)
        self.check_one_each(jobs)

    def test_an_open_transaction_in_the_index_is_waited_for(self) -> None:
        """Whether its record counts is not known before it ends, so nothing is decided."""
        for commit in (True, False):
            key = f"{self.key}-{commit}"
            p = Producer({"bootstrap.servers": self.rig.brokers, "transactional.id": f"test-{key}",
                          "transaction.timeout.ms": 600000, "log_level": 0})
            p.init_transactions(30)
            p.begin_transaction()
            other = self.write_index(key, 0, p)
            self.restart()
            job = keyed_job(key)
            self.submit([job])
            with self.assertRaises(AssertionError):
                self.results.wait([job["job_id"]], UNDECIDED_S)
            if commit:
                p.commit_transaction(30)
                self.check_duplicate(self.results.wait([job["job_id"]])[job["job_id"]], other)
            else:
                p.abort_transaction(30)
                result = self.results.wait([job["job_id"]])[job["job_id"]]
                self.assertEqual(result["status"], "succeeded")

    # ---- time and size

    def test_a_key_is_free_after_its_time(self) -> None:
        left_s = 8
        old = self.write_index(f"{self.key}-old", TOO_LONG_AGO_S)
        free_ms = int((time.time() + left_s) * 1000)
        still = self.write_index(f"{self.key}-still", TTL_S - left_s)
        self.restart(idempotency_ttl_s=TTL_S)
        a, b = keyed_job(f"{self.key}-old"), keyed_job(f"{self.key}-still")
        self.submit([a, b])
        got = self.results.wait([a["job_id"], b["job_id"]])
        self.assertEqual(got[a["job_id"]]["status"], "succeeded")
        if got[b["job_id"]]["status"] == "succeeded":  # on a very slow machine it came too late to be refused
            self.assertGreaterEqual(got[b["job_id"]]["timings"]["finished_ms"], free_ms)
        else:
            self.check_duplicate(got[b["job_id"]], still)
            time.sleep(max(0, free_ms / 1000 + 1 - time.time()))
            c = keyed_job(f"{self.key}-still")
            self.submit([c])
            self.assertEqual(self.results.wait([c["job_id"]])[c["job_id"]]["status"], "succeeded")
        self.assertNotIn(old, self.results.by_id)
        self.restart()

    def test_many_keys_are_loaded_after_a_restart(self) -> None:
        p = Producer({"bootstrap.servers": self.rig.brokers, "linger.ms": 20, "log_level": 0})
        now_ms = int(time.time() * 1000)
        for i in range(MANY):
            p.produce("millrace.keys", json.dumps({"job_id": str(uuid.uuid4()), "time_ms": now_ms}),
                      key=f"default\0{self.key}-{uuid.UUID(int=i)}", partition=i % PARTITIONS)
            p.poll(0)
        p.flush(servers.HANG_S)
        known = self.write_index(f"{self.key}-known", 0)
        start = time.monotonic()
        self.restart()
        job = keyed_job(f"{self.key}-known")
        self.submit([job])
        self.check_duplicate(self.results.wait([job["job_id"]])[job["job_id"]], known)
        loads = self.logged_loads("dispatcher")[-PARTITIONS:]
        print(f"  {MANY} keys: loaded in {max(loads)} ms, restart to answer {time.monotonic() - start:.1f} s",
              flush=True)

    def test_topics_of_different_sizes_are_refused(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.rig.brokers, "log_level": 0})
        for f in admin.create_topics([NewTopic("odd.keyed", 3, 1), NewTopic("odd.keys", 5, 1)]).values():
            f.result(servers.HANG_S)
        self.rig.start_dispatcher("odd", topic_prefix="odd")
        servers.wait_for("it ends", lambda: self.rig.processes["odd"].poll() is not None)
        self.assertEqual(self.rig.stop("odd"), 65)
        self.assertIn("odd.keyed has 3 partitions and odd.keys has 5", servers.tail(self.rig.log("odd")))


if __name__ == "__main__":
    servers.main()
