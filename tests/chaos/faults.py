"""What dies, and when: a plan made from the seed, and the one that carries it out.

A fault is due when a share of the storm's jobs has ended, so all of them hit a system at work, however fast
the machine is; a third of them come together with the one before. Which process is hit is drawn among
those that run at that moment. Nothing here waits: what must happen later (start again, let go on, leave)
is an action with a time of its own.
"""

from __future__ import annotations

import dataclasses
import random
import time

from cluster import BAD_TOKEN_ONLY, NO_MEMORY, Cluster

# Kinds, and their weights when a total number is spread over them.
KINDS = {"worker": 10, "pause": 4, "dispatcher": 2, "broker": 1, "redis": 1, "redis-wipe": 1, "rebalance": 1,
         "memory": 3}
FIRST, LAST = 0.03, 0.92  # share of the jobs between which faults come


@dataclasses.dataclass(frozen=True)
class Fault:
    due: float      # share of ended jobs
    kind: str
    choice: float   # 0..1: which of the processes that run
    length: float   # 0..1: how long it stays away, within the kind's limits


@dataclasses.dataclass
class Event:
    """A fault as it happened. Times are time.monotonic()."""
    kind: str
    victim: str
    at_s: float
    length_s: float


def counts(text: str, total: int) -> dict[str, int]:
    """"worker:50,pause" -> so many of each; kinds without a number share what is left of the total."""
    fixed, free = {}, []
    for item in filter(None, text.split(",")):
        kind, _, n = item.partition(":")
        if kind not in KINDS:
            raise ValueError(f"no such fault: {kind}; known: {', '.join(KINDS)}")
        if n:
            fixed[kind] = int(n)
        else:
            free.append(kind)
    left, weight = max(0, total - sum(fixed.values())), sum(KINDS[k] for k in free)
    return fixed | {k: max(1, round(left * KINDS[k] / weight)) for k in free}


def make_plan(seed: int, wanted: dict[str, int]) -> list[Fault]:
    rng = random.Random(f"faults {seed}")
    kinds = [k for k, n in sorted(wanted.items()) for _ in range(n) if k != "redis-wipe"]
    rng.shuffle(kinds)
    for _ in range(wanted.get("redis-wipe", 0)):  # early: what comes after them can be audited in the end
        kinds.insert(rng.randrange(len(kinds) // 3 + 1), "redis-wipe")
    plan, due = [], FIRST
    for i, kind in enumerate(kinds):
        if i == 0 or rng.random() > 1 / 3:
            due = FIRST + (LAST - FIRST) * (i + rng.random()) / len(kinds)
        plan.append(Fault(due, kind, rng.random(), rng.random()))
    return plan


class Injector:
    def __init__(self, cluster: Cluster, plan: list[Fault], session_s: float, note) -> None:
        self.cluster, self.plan, self.note = cluster, list(plan), note
        self.session_s = session_s
        self.later: list[tuple[float, object]] = []
        self.events: list[Event] = []

    def idle(self) -> bool:
        return not self.plan and not self.later

    def abandon(self) -> None:
        """No further faults; what was begun is brought to its end."""
        self.plan.clear()

    def tick(self, share: float) -> None:
        now = time.monotonic()
        for item in sorted((i for i in self.later if i[0] <= now), key=lambda i: i[0]):
            self.later.remove(item)
            item[1]()
        while self.plan and self.plan[0].due <= share and self._fire(self.plan[0], now):
            self.plan.pop(0)

    def _fire(self, f: Fault, now: float) -> bool:
        """False: there is nobody to hit now; try again."""
        return getattr(self, "_" + f.kind.replace("-", "_"))(f, now)

    def _event(self, f: Fault, victim: str, now: float, length_s: float, then) -> bool:
        self.events.append(Event(f.kind, victim, now, length_s))
        self.later.append((now + length_s, then))
        self.note(f"{f.kind}: {victim} for {length_s:.1f} s")
        return True

    def _pick(self, f: Fault, kinds: tuple[str, ...]) -> str | None:
        names = [n for k in kinds for n in self.cluster.running(k)]
        return names[int(f.choice * len(names))] if names else None

    def _kill(self, f: Fault, now: float, kind: str) -> bool:
        name = self._pick(f, (kind,))
        if not name:
            return False
        self.cluster.kill(name)
        # one in four stays away until others have its partitions
        away = self.session_s * 1.3 if f.length > 0.75 else 4 * f.length
        return self._event(f, name, now, away, lambda: self.cluster.start(name))

    def _worker(self, f: Fault, now: float) -> bool:
        return self._kill(f, now, "worker")

    def _dispatcher(self, f: Fault, now: float) -> bool:
        return self._kill(f, now, "dispatcher")

    def _pause(self, f: Fault, now: float) -> bool:
        """Longer than the session: it wakes up as one who lost his partitions and does not know it."""
        name = self._pick(f, ("worker", "worker", "worker", "dispatcher"))
        if not name:
            return False
        self.cluster.pause(name)
        return self._event(f, name, now, self.session_s * (1.2 + 0.5 * f.length),
                           lambda: self.cluster.go_on(name))

    def _server(self, f: Fault, now: float, name: str, away: float, wipe: bool = False) -> bool:
        if not self.cluster.running(name):
            return False
        self.cluster.kill(name)
        return self._event(f, name, now, away, lambda: self.cluster.start(name, wipe=wipe))

    def _broker(self, f: Fault, now: float) -> bool:
        return self._server(f, now, "kafka", 8 * f.length)

    def _redis(self, f: Fault, now: float) -> bool:
        return self._server(f, now, "redis", 5 * f.length)

    def _redis_wipe(self, f: Fault, now: float) -> bool:
        """Half of the wipes happen to a Redis that stays up."""
        if f.choice < 0.5:
            return self._server(f, now, "redis", 5 * f.length, wipe=True)
        if not self.cluster.running("redis") or not self.cluster.flush_redis():
            return False
        return self._event(f, "redis", now, 0, lambda: None)

    def _rebalance(self, f: Fault, now: float) -> bool:
        """One more worker comes, works for a while and leaves in good order."""
        name = self.cluster.add_guest()
        return self._event(f, name, now, 6 + 6 * f.length, lambda: self.cluster.leave(name))

    def _memory(self, f: Fault, now: float) -> bool:
        """A worker's engine finds no memory for anything, for a while."""
        name = self._pick(f, ("worker",))
        if not name:
            return False
        self.cluster.engine_fails(name, NO_MEMORY)
        return self._event(f, name, now, 1 + 3 * f.length,
                           lambda: self.cluster.engine_fails(name, BAD_TOKEN_ONLY))
