"""What Kafka holds: results and dead letters as they become visible, ends of topics, offsets of groups.

All reads are read_committed, as a user's would be.
"""

from __future__ import annotations

import dataclasses
import queue
import threading
import time
import uuid

from confluent_kafka import OFFSET_BEGINNING, OFFSET_INVALID, Consumer, KafkaError, KafkaException, TopicPartition

from jobs import decode
from rig import HANG_S

CONF = {"enable.auto.commit": False, "isolation.level": "read_committed", "auto.offset.reset": "earliest",
        "enable.partition.eof": True, "reconnect.backoff.max.ms": 500, "log_level": 0}


@dataclasses.dataclass
class Record:
    """A value of a topic; body is {} when the bytes say nothing."""
    body: dict
    partition: int
    offset: int
    at_s: float


def consumer(brokers: str, group: str | None = None) -> Consumer:
    return Consumer({**CONF, "bootstrap.servers": brokers, "group.id": group or f"chaos-{uuid.uuid4()}"})


def partitions(c: Consumer, topic: str) -> list[int]:
    return sorted(c.list_topics(topic, timeout=HANG_S).topics[topic].partitions)


class Reader:
    """A topic from its beginning, record by record."""

    def __init__(self, brokers: str, topic: str) -> None:
        self.consumer = consumer(brokers)
        self.parts = partitions(self.consumer, topic)
        self.consumer.assign([TopicPartition(topic, p, OFFSET_BEGINNING) for p in self.parts])
        self.records: list[Record] = []
        self.at_end: set[int] = set()

    def read(self, timeout_s: float = 0.0) -> list[Record]:
        """What is new; at_end has the partitions that had nothing more."""
        fresh = []
        for m in self.consumer.consume(1000, timeout_s):
            if m.error() is None:
                self.at_end.discard(m.partition())
                fresh.append(Record(body_of(m), m.partition(), m.offset(), time.monotonic()))
            elif m.error().code() == KafkaError._PARTITION_EOF:
                self.at_end.add(m.partition())
        self.records += fresh
        return fresh

    def read_to_end(self, limit_s: float, quiet_s: float = 2.0) -> None:
        """Until nothing has come for quiet_s and all partitions were read to their end."""
        end = last = time.monotonic()
        end += limit_s
        while time.monotonic() < end:
            if self.read(0.2):
                last = time.monotonic()
            if time.monotonic() - last > quiet_s and self.at_end >= set(self.parts):
                return
        raise RuntimeError(f"end of a topic not reached within {limit_s:.0f} s")

    def close(self) -> None:
        self.consumer.close()


def body_of(message) -> dict:
    try:
        body = decode(message)
    except Exception:  # noqa: BLE001 - whatever a decoder raises: the audit reports an unknown record
        body = {}
    return body if isinstance(body, dict) else {}


class Ends:
    """Notes how far read_committed consumers could read, at moments that others name.

    A stamp is taken as soon as the brokers answer, so it is never earlier than the moment: a record below
    it may have been committed shortly after, one above it certainly was not.
    """

    def __init__(self, brokers: str, topic: str) -> None:
        self.consumer, self.topic = consumer(brokers), topic
        self.parts = partitions(self.consumer, topic)
        self.asked: queue.SimpleQueue = queue.SimpleQueue()
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def stamp(self, into: list) -> None:
        """Any thread: the ends per partition will be appended to that list."""
        self.asked.put(into)

    def close(self) -> None:
        self.asked.put(None)
        self.thread.join()
        self.consumer.close()

    def _work(self) -> None:
        while (first := self.asked.get()) is not None:
            group = [first]
            while not self.asked.empty() and (more := self.asked.get()) is not None:
                group.append(more)
            ends = self._ends()
            for into in group:
                into.append(ends)

    def _ends(self) -> dict[int, int]:
        for _ in range(60):
            try:
                return {p: self.consumer.get_watermark_offsets(TopicPartition(self.topic, p), timeout=2,
                                                               cached=False)[1] for p in self.parts}
            except KafkaException:
                time.sleep(0.5)
        return {}


def left_over(brokers: str, group: str, topics: list[str]) -> list[str]:
    """One line for each partition of these topics with records that the group has not finished."""
    c = consumer(brokers, group)
    known = c.list_topics(timeout=HANG_S).topics
    assigned = c.committed([TopicPartition(t, p) for t in topics if t in known for p in partitions(c, t)], timeout=30)
    starts = {}
    for tp in assigned:
        starts[tp.topic, tp.partition] = tp.offset
        if tp.offset == OFFSET_INVALID:
            tp.offset = OFFSET_BEGINNING
    c.assign(assigned)
    left: dict[tuple, int] = {}
    at_end, end = set(), time.monotonic() + 60
    while len(at_end) < len(assigned) and time.monotonic() < end:
        for m in c.consume(1000, 0.2):
            key = (m.topic(), m.partition())
            if m.error() is None:
                left[key] = left.get(key, 0) + 1
            elif m.error().code() == KafkaError._PARTITION_EOF:
                at_end.add(key)
    c.close()
    lines = [f"{group}: {n} records of {t}-{p} behind the committed offset {starts[t, p]}"
             for (t, p), n in sorted(left.items())]
    lines += [f"{group}: {t}-{p} not read to its end" for t, p in sorted(set(starts) - at_end)]
    return lines


def origin(letter: dict) -> tuple[str, int, int] | None:
    o = letter.get("origin")
    return (o["topic"], o["partition"], o["offset"]) if isinstance(o, dict) else None


