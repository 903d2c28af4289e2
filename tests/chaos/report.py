"""Figures of a run, and how they are shown: Markdown for people, JSON for programs."""

from __future__ import annotations

import bisect
import collections
import dataclasses
import statistics

from audit import Facts, Violation, counted, is_poison
from faults import Event, KINDS

WINDOW_S = 3.0  # a silence that a fault causes begins at most so long after it
TITLES = {"worker": "worker killed", "pause": "stopped past its session, then woken", "dispatcher": "dispatcher killed",
          "broker": "broker killed", "redis": "Redis killed, data kept", "redis-wipe": "Redis wiped",
          "rebalance": "one more worker, then one less",
          "memory": "a worker's engine finds no memory for some seconds"}


@dataclasses.dataclass
class Part:
    """The calm part of a run, or the storm."""
    jobs: int
    seconds: float
    counters: collections.Counter  # of the workers, as they grew meanwhile


@dataclasses.dataclass
class Run:
    options: dict
    facts: Facts
    events: list[Event]
    calm: Part
    storm: Part


def silence(at_s: float, arrivals: list[float], end_s: float) -> float:
    """The longest time without a result that begins within WINDOW_S after the fault."""
    i = bisect.bisect_right(arrivals, at_s)
    points, longest = [at_s, *arrivals[i:], end_s], 0.0
    for a, b in zip(points, points[1:]):
        if a - at_s > WINDOW_S:
            break
        longest = max(longest, b - a)
    return longest


def back(event: Event, facts: Facts) -> float | None:
    """From the fault until the next result that its victim wrote. Only workers sign results that often."""
    after = [r.at_s for r in facts.results if r.at_s > event.at_s + event.length_s
             and r.body.get("worker") == event.victim]
    return min(after) - event.at_s if after else None


def decoded_again(run: Run) -> dict:
    """Tokens that were generated, against those that results have."""
    in_results = sum((run.facts.result(j.id) or {}).get("usage", {}).get("completion_tokens", 0)
                     for j in counted(run.facts) if not j.calm)
    generated = run.storm.counters["generation_tokens_total"]
    return {"generated_tokens": generated, "tokens_in_results": in_results,
            "decoded_again": max(0, generated - in_results)}


def spread(values: list[float]) -> dict:
    return {"n": len(values), "median_s": round(statistics.median(values), 2) if values else None,
            "max_s": round(max(values), 2) if values else None}


def figures(run: Run, violations: list[Violation]) -> dict:
    f = run.facts
    arrivals = sorted(r.at_s for r in f.results)
    results = [f.result(j.id) for j in counted(f) if f.result(j.id)]
    by_kind = {}
    for kind in KINDS:
        events = [e for e in run.events if e.kind == kind]
        if events:
            returns = [b for e in events if e.victim.startswith("worker") and (b := back(e, f)) is not None]
            by_kind[kind] = {"n": len(events), "away": spread([e.length_s for e in events]),
                             "silence": spread([silence(e.at_s, arrivals, arrivals[-1]) for e in events]),
                             "back": spread(returns) if returns else None}
    return {
        "options": run.options,
        "accepted": len(counted(f)), "noise": sum(j.noise and j.at is not None for j in f.jobs),
        "statuses": collections.Counter(r["status"] for r in results),
        "results_visible": len(f.results),
        "calm_jobs_per_s": round(run.calm.jobs / run.calm.seconds, 2),
        "storm_jobs_per_s": round(run.storm.jobs / run.storm.seconds, 2), "storm_seconds": round(run.storm.seconds),
        "faults": by_kind, **decoded_again(run),
        "degraded": sum(bool(r.get("stream_degraded")) for r in results),
        "poison": sum(is_poison(r) for r in results),
        "attempts": collections.Counter(r.get("attempt", 0) for r in results),
        "live_readers": len(f.live), "live_restarts": sum(v.restarts for v in f.live.values()),
        "kept_streams": len(f.streams), "kept_streams_with_restart": sum(v.restarts > 0 for v in f.streams.values()),
        "counters": {k: v for k, v in sorted(run.storm.counters.items()) if v},
        "violations": collections.Counter(v.check for v in violations),
    }


def markdown(n: dict) -> str:
    def s(part, key) -> str:
        return "–" if not part or part[key] is None else f"{part[key]:.1f}"

    o = n["options"]
    lines = [
        f"{n['accepted']} jobs and {n['noise']} records of noise, {o['workers']} workers, {o['dispatchers']} "
        f"dispatchers, seed {o['seed']}, {n['storm_seconds']} s under faults.", "",
        "| fault | times | away, median s | longest silence, median s | the longest | victim's next result, median s |",
        "|---|---|---|---|---|---|"]
    for kind, k in n["faults"].items():
        lines.append(f"| {TITLES[kind]} | {k['n']} | {s(k['away'], 'median_s')} | {s(k['silence'], 'median_s')} | "
                     f"{s(k['silence'], 'max_s')} | {s(k['back'], 'median_s')} |")
    lines += ["", "| | |", "|---|---|"]
    rows = [("terminal records visible", n["results_visible"]),
            *[(f"of these {status}", c) for status, c in sorted(n["statuses"].items())],
            ("jobs/s undisturbed", n["calm_jobs_per_s"]), ("jobs/s under faults", n["storm_jobs_per_s"]),
            ("tokens in results", n["tokens_in_results"]), ("tokens generated again", n["decoded_again"]),
            ("results marked `stream_degraded`", n["degraded"]), ("jobs given up as poison", n["poison"]),
            ("live readers", n["live_readers"]), ("`restart` frames that they saw", n["live_restarts"]),
            ("streams audited in Redis", n["kept_streams"]),
            *[(f"violations: {check}", c) for check, c in sorted(n["violations"].items())]]
    if not n["violations"]:
        rows.append(("violations", 0))
    return "\n".join(lines + [f"| {a} | {b} |" for a, b in rows]) + "\n"
