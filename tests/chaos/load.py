"""The jobs of a run: what is sent, when, and what Kafka said to it.

All of it follows from the seed: a pool of contents (input, parameters, seed of the sampler), and jobs that
draw from it. The calm part of a run sends each content once and so learns the answer that every later job
of that content must give; the storm sends the rest while things die. Three idempotent producers that never
give up: what is not acknowledged at the end was not accepted.
"""

from __future__ import annotations

import dataclasses
import json
import random
import time
import uuid

from confluent_kafka import Producer

from jobs import JSON, MSGPACK, encode

WORDS = ("library package for reading and writing files of many kinds with a simple interface in the shell "
         "python tool documentation development headers network server daemon game music video font").split()
LANES = ("high", "normal", "low")
DOOMED = 77  # a prompt of tokens that begins with it always fails, see tests/fault/worker
WRONG = {"unknown_field": lambda j: {**j, "params": {**j["params"], "temprature": 1}},
         "out_of_range": lambda j: {**j, "params": {**j["params"], "top_p": 7}},
         "missing_field": lambda j: {**j, "input": {}},
         "unknown_model": lambda j: {**j, "model": "no-such-model"},
         "context_exceeded": lambda j: {**j, "input": {"messages": [{"role": "user", "content": "word " * 9000}]}}}


@dataclasses.dataclass
class Job:
    """One record that is sent, and where it got to."""
    id: str
    body: bytes
    content_type: str
    lane: str
    content: int | None = None  # number in the pool; None: no answer is expected
    code: str | None = None     # the rejection that it must get
    noise: bool = False         # bytes that are no job: a dead letter
    cancel_after_s: float | None = None
    wait_s: float = 0.0         # not_before is so long after it is sent
    deadline: bool = False      # it may expire
    key: str | None = None      # idempotency key; others may have the same
    doomed: bool = False        # the engine fails with it: given up after its attempts
    spec: dict = dataclasses.field(default_factory=dict)
    stream: bool = False
    logprobs: bool = False
    calm: bool = False
    sent_s: float = 0.0
    at: tuple[str, int, int] | None = None  # topic, partition, offset: accepted


def make_content(rng: random.Random, max_tokens: int) -> dict:
    """Input and parameters. Without ignore_eos and stop strings most answers have max_tokens tokens."""
    text = " ".join(rng.choice(WORDS) for _ in range(rng.randint(3, 40)))
    kind = rng.random()
    if kind < 0.1:
        given = {"prompt": text}
    elif kind < 0.2:
        given = {"tokens": [rng.randint(300, 1000) for _ in range(rng.randint(1, 30))]}
    else:
        given = {"messages": [{"role": "user", "content": text}]}
    params: dict = {"max_tokens": rng.randint(max(1, max_tokens // 4), max_tokens), "temperature": 0}
    if rng.random() < 0.5:
        params |= {"temperature": rng.choice([0.7, 1.0]), "seed": rng.randint(0, 2**31)}
    if rng.random() < 0.85:
        params["ignore_eos"] = True
    if rng.random() < 0.1:
        params["stop"] = rng.choice([[" the "], ["tool", "ing "], "."])
    if rng.random() < 0.05:
        params |= {"logprobs": True, "top_logprobs": 2}
    return {"input": given, "params": params}


class Plan:
    """n jobs over a pool of contents, as lists: calm, then storm."""

    def __init__(self, seed: int, n: int, max_tokens: int, n_contents: int) -> None:
        rng = random.Random(f"load {seed}")
        self.n_keys = max(4, n // 30)
        self.pool = [make_content(rng, max_tokens) for _ in range(n_contents)]
        self.calm = [self._good(rng, i, calm=True) for i in range(n_contents)]
        self.storm = [self._any(rng) for _ in range(n)]

    def _job(self, rng: random.Random, make, **fields) -> Job:
        job_id = str(uuid.UUID(int=rng.getrandbits(128), version=4))
        content_type = rng.choice([JSON, MSGPACK])
        spec = make(job_id)
        return Job(job_id, encode(spec, content_type), content_type, rng.choice(LANES), spec=spec, **fields)

    def _good(self, rng: random.Random, i: int, calm: bool) -> Job:
        content, stream = self.pool[i], calm or rng.random() < 0.75
        extra: dict = {} if stream else {"stream": False}
        if rng.random() < 0.1:
            extra["deadline_ms"] = 3_600_000
        if rng.random() < 0.2:
            extra["tenant"] = rng.choice(["red", "green", "blue"])
        return self._job(rng, lambda job_id: {"job_id": job_id, **content, **extra}, content=i, stream=stream,
                         logprobs=bool(content["params"].get("logprobs")), calm=calm)

    def _any(self, rng: random.Random) -> Job:
        kind = rng.random()
        if kind < 0.01:
            bad = self._job(rng, lambda job_id: {"job_id": job_id}, noise=True)
            return dataclasses.replace(bad, body=rng.randbytes(rng.randint(1, 200)))
        if kind < 0.05:
            code = rng.choice(sorted(WRONG))
            content = rng.choice(self.pool)
            return self._job(rng, lambda job_id: WRONG[code]({"job_id": job_id, **content}), code=code)
        if kind < 0.06:
            return self._job(rng, lambda job_id: {
                "job_id": job_id, "input": {"tokens": [DOOMED, *(rng.randint(300, 1000) for _ in range(9))]},
                "params": {"max_tokens": 4}, "max_attempts": rng.randint(1, 3), "stream": False}, doomed=True)
        job = self._good(rng, rng.randrange(len(self.pool)), calm=False)
        self._complicate(rng, job)
        return dataclasses.replace(job, body=encode(job.spec, job.content_type))

    def _complicate(self, rng: random.Random, job: Job) -> None:
        """Some jobs wait for their time, some may come too late, some are sent twice under two ids."""
        if rng.random() < 0.06:
            job.wait_s = rng.choice([0.3, 2.0, 7.5]) * rng.uniform(0.5, 1.5)
        kind = rng.random()
        if kind < 0.04:
            job.cancel_after_s = rng.uniform(0, 8)
        elif kind < 0.08:
            job.deadline = True
            job.spec["deadline_ms"] = rng.randint(200, 5000)
        elif kind < 0.14:
            job.key = f"key-{rng.randrange(self.n_keys)}"
            job.spec |= {"idempotency_key": job.key, "tenant": "keys"}


class Feeder:
    """Sends the jobs of a list, at most `ahead` of those that have ended. Called from one thread."""

    def __init__(self, brokers: str) -> None:
        conf = {"bootstrap.servers": brokers, "enable.idempotence": True, "message.timeout.ms": 0,
                "reconnect.backoff.max.ms": 500, "linger.ms": 2, "log_level": 0}
        self.producers = [Producer(conf) for _ in range(3)]
        self.cancels: list[tuple[float, str]] = []
        self.refused: list[str] = []
        self.n_sent = 0

    def feed(self, jobs: list[Job], n_ended: int, ahead: int) -> None:
        """The next jobs of the list; n_ended of it have ended."""
        now = time.monotonic()
        while self.n_sent < len(jobs) and self.n_sent - n_ended < ahead:
            self._send(jobs[self.n_sent], now)
            self.n_sent += 1
        for due, job_id in [c for c in self.cancels if c[0] <= now]:
            self.cancels.remove((due, job_id))
            body = json.dumps({"type": "cancel", "job_id": job_id}).encode()
            self.producers[0].produce("millrace.control", body, key=job_id)
        for p in self.producers:
            p.poll(0)

    def next_list(self) -> None:
        self.n_sent = 0

    def _send(self, job: Job, now: float) -> None:
        def on_delivery(err, message) -> None:
            if err is None:
                job.at = (message.topic(), message.partition(), message.offset())
            else:
                self.refused.append(f"{job.id}: {err}")

        job.sent_s = now
        if job.wait_s:
            job.spec["not_before_ms"] = int((time.time() + job.wait_s) * 1000)
            job.body = encode(job.spec, job.content_type)
        self.producers[self.n_sent % 3].produce(
            f"millrace.jobs.{job.lane}", job.body, key=f"tenant-{self.n_sent % 7}", on_delivery=on_delivery,
            headers=[("content-type", job.content_type)])
        if job.cancel_after_s is not None:
            self.cancels.append((now + job.cancel_after_s, job.id))

    def flush(self, limit_s: float) -> int:
        """Records without an answer after that time."""
        return sum(p.flush(limit_s) for p in self.producers)
