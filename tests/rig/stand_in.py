"""A worker without an engine: says what room it has, takes work records, and ends or hands back each job as
its plan says. For tests of the dispatcher; it commits nothing, so it must not be restarted under one name.

A job's plan is metadata: {"plan": "fault,oom,no_fit:5000,ok"}, one word per time that the job comes; behind
the last, and without one, "ok".
"""

from __future__ import annotations

import json
import threading
import time

import msgpack
from confluent_kafka import Consumer, Producer, TopicPartition

from rig import HANG_S

BEAT_S = 0.1
HISTORY_MAX = 32


class StandIn:
    """Use it as a context manager. `seen`: job id -> list of (time in ms, work record), in order."""

    def __init__(self, brokers: str, worker: str = "stand-in", model: str = "demo", partitions: int = 8,
                 slots: int = 64, n_ctx: int = 4096) -> None:
        self.worker, self.model, self.slots, self.n_ctx = worker, model, slots, n_ctx
        self.topic = f"millrace.work.{model}"
        self.producer = Producer({"bootstrap.servers": brokers, "linger.ms": 2, "log_level": 0})
        self.consumer = Consumer({"bootstrap.servers": brokers, "group.id": f"stand-in-{worker}",
                                  "enable.auto.commit": False, "isolation.level": "read_committed",
                                  "auto.offset.reset": "earliest", "fetch.wait.max.ms": 5, "log_level": 0})
        self.positions = {p: 0 for p in range(partitions)}
        self.consumer.assign([TopicPartition(self.topic, p, 0) for p in range(partitions)])
        self.seen: dict[str, list[tuple[int, dict]]] = {}
        self.lock = threading.Lock()
        self.stopping = threading.Event()
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self) -> "StandIn":
        self.thread.start()
        return self

    def __exit__(self, *_) -> None:
        self.stopping.set()
        self.thread.join()
        self.consumer.close()
        if self.failure:
            raise self.failure

    def times(self, job_id: str) -> list[tuple[int, dict]]:
        with self.lock:
            return list(self.seen.get(job_id, []))

    # ---- the thread

    def run(self) -> None:
        beat = 0.0
        try:
            while not self.stopping.is_set():
                for m in self.consumer.consume(100, 0.02):
                    if m.error() is None:
                        self.take(m)
                if time.monotonic() >= beat:
                    beat = time.monotonic() + BEAT_S
                    self.beat(False)
            self.beat(True)
            self.producer.flush(HANG_S)
        except BaseException as e:  # noqa: BLE001 - the test must hear of it
            self.failure = e

    def beat(self, leaving: bool) -> None:
        self.producer.produce("millrace.workers", key=self.worker, value=json.dumps({
            "worker": self.worker, "model": self.model, "sent_ms": int(time.time() * 1000), "leaving": leaving,
            "parts": [{"partition": p, "position": at} for p, at in self.positions.items()],
            "slots": {"free": self.slots, "max": self.slots}, "running": 0, "waiting": 0,
            "kv_tokens": {"free": 65536, "total": 65536}, "n_ctx": self.n_ctx, "pressure": 0.0,
            "tokens_per_s": 0.0}))
        self.producer.poll(0)

    def take(self, m) -> None:
        job = msgpack.unpackb(m.value())
        self.positions[m.partition()] = m.offset() + 1
        with self.lock:
            times = self.seen.setdefault(job["job_id"], [])
            times.append((int(time.time() * 1000), job))
            turn = len(times) - 1
        plan = job.get("metadata", {}).get("plan", "ok").split(",")
        word = plan[turn] if turn < len(plan) else "ok"
        if word == "ok":
            self.end(job)
        else:
            self.hand_back(job, *word.split(":"))

    def hand_back(self, job: dict, outcome: str, need: str = "0") -> None:
        past = {"attempt": job["attempt"], "outcome": outcome, "worker": self.worker,
                "message": f"planned {outcome}", "time_ms": int(time.time() * 1000)}
        job["history"] = [*job.get("history", []), past][-HISTORY_MAX:]
        if int(need):
            job["need_tokens"] = int(need)
        self.producer.produce("millrace.attempts", key=job["job_id"], value=msgpack.packb(job),
                              headers=[("content-type", "application/msgpack")])

    def end(self, job: dict) -> None:
        now = int(time.time() * 1000)
        self.producer.produce("millrace.results", key=job["job_id"], value=json.dumps({
            "job_id": job["job_id"], "model": self.model, "tenant": job.get("tenant", "default"),
            "status": "succeeded", "finish_reason": "stop", "text": "done",
            "usage": {"prompt_tokens": 5, "completion_tokens": 1, "total_tokens": 6, "cached_tokens": 0},
            "attempt": job["attempt"], "worker": self.worker, "stream_degraded": False,
            "timings": {"received_ms": job["received_ms"], "finished_ms": now, "queue_ms": 0,
                        "first_token_ms": 0, "prefill_ms": 0, "decode_ms": 0}}),
            headers=[("content-type", "application/json")])
