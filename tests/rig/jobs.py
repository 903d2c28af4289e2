"""Jobs, results and streams as another program would make and read them: plain Kafka and Redis clients."""

from __future__ import annotations

import json
import time
import uuid

import msgpack
import redis
from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition

from rig import HANG_S

JSON, MSGPACK = "application/json", "application/msgpack"
TERMINAL = {"succeeded", "failed", "rejected", "cancelled", "expired"}


def make_job(text: str = "A tool that prints text files on printers.", **fields) -> dict:
    job = {"job_id": str(uuid.uuid4()),
           "input": {"messages": [{"role": "user", "content": text}]},
           "params": {"max_tokens": 16, "temperature": 0}}
    job.update(fields)
    return job


def encode(job: dict, content_type: str) -> bytes:
    return msgpack.packb(job) if content_type == MSGPACK else json.dumps(job).encode()


def decode(message) -> dict:
    headers = dict(message.headers() or [])
    body = message.value()
    return msgpack.unpackb(body) if headers.get("content-type") == MSGPACK.encode() else json.loads(body)


def producer(brokers: str) -> Producer:
    return Producer({"bootstrap.servers": brokers, "linger.ms": 5, "log_level": 0})


def produce(p: Producer, job: dict, content_type: str = JSON, lane: str = "normal", headers=None) -> str:
    p.produce(f"millrace.jobs.{lane}", encode(job, content_type), key=job.get("tenant", "t"),
              headers=[("content-type", content_type), *(headers or [])])
    p.poll(0)
    return job["job_id"]


class Topic:
    """Everything in one topic from its beginning, read on demand."""

    def __init__(self, brokers: str, name: str) -> None:
        self.consumer = Consumer({"bootstrap.servers": brokers, "group.id": f"test-{uuid.uuid4()}",
                                  "enable.auto.commit": False, "isolation.level": "read_committed",
                                  "auto.offset.reset": "earliest", "enable.partition.eof": True,
                                  "log_level": 0})
        self.partitions = set(self.consumer.list_topics(name, timeout=HANG_S).topics[name].partitions)
        self.consumer.assign([TopicPartition(name, p, 0) for p in self.partitions])
        self.messages = []
        self.ended: set[int] = set()  # partitions whose end has been seen

    def read(self, timeout: float = 0.2) -> None:
        for m in self.consumer.consume(500, timeout):
            if m.error() is None:
                self.messages.append(m)
            elif m.error().code() == KafkaError._PARTITION_EOF:
                self.ended.add(m.partition())

    def read_all(self) -> list:
        """What was committed before the first call, and perhaps more; once in a topic's life."""
        end = time.monotonic() + HANG_S
        while self.ended < self.partitions:
            if time.monotonic() > end:
                raise AssertionError(f"the ends of {len(self.partitions - self.ended)} partitions do not come")
            self.read()
        return self.messages

    def close(self) -> None:
        self.consumer.close()


class Results(Topic):
    def __init__(self, brokers: str) -> None:
        super().__init__(brokers, "millrace.results")
        self.by_id: dict[str, list] = {}
        self.seen = 0

    def read(self, timeout: float = 0.2) -> None:
        super().read(timeout)
        for m in self.messages[self.seen:]:
            r = decode(m)
            self.by_id.setdefault(r["job_id"], []).append((r, m))
        self.seen = len(self.messages)

    def wait(self, ids, limit_s: float = HANG_S) -> dict[str, dict]:
        """Results of all ids; raises with the number that is missing."""
        ids, end = set(ids), time.monotonic() + limit_s
        while not ids <= self.by_id.keys():
            if time.monotonic() > end:
                missing = ids - self.by_id.keys()
                raise AssertionError(f"{len(missing)} of {len(ids)} results missing after {limit_s:.0f} s, "
                                     f"such as {sorted(missing)[:3]}")
            self.read()
        return {i: self.by_id[i][0][0] for i in ids}


def stream_frames(r: redis.Redis, job_id: str) -> list[tuple[str, dict]]:
    return [(entry.decode(), json.loads(fields[b"f"])) for entry, fields in r.xrange(f"mr:{{{job_id}}}:s")]


def stream_text(r: redis.Redis, job_id: str) -> str:
    """Text of a whole stream; checks IDs, order, and that nothing is missing or doubled."""
    text, index, done = "", 0, False
    for entry, frame in stream_frames(r, job_id):
        assert not done, f"{job_id}: a frame after done"
        assert entry == f"{frame['attempt']}-{frame['index']}", (entry, frame)
        assert frame["job_id"] == job_id
        if frame["type"] == "restart":
            text, index = "", frame["index"]
        elif frame["type"] == "token":
            assert frame["index"] == index, f"{job_id}: index {frame['index']} after {index - 1}"
            text += frame["text"]
            index += 1
        else:
            assert frame["type"] == "done" and frame["index"] == index, (frame, index)
            done = True
    assert done, f"{job_id}: no done frame"
    return text
