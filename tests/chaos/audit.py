"""The audit: does what Kafka and Redis hold after a run keep the promise? Pure.

A Facts says what was sent, what came back and what was done to the system; audit() returns one Violation
for each thing that is not as promised. Each check below stands for one sentence of the promise.
"""

from __future__ import annotations

import collections
import dataclasses

from load import Job
from readers import View
from topics import Record, origin

POISON = "poison"
EXHAUSTED = "attempts_exhausted"
GIVEN_UP = (POISON, EXHAUSTED)  # causes of dead letters of jobs, not of bytes
FAULTS_TOLD = 3  # of one stream


@dataclasses.dataclass(frozen=True)
class Violation:
    check: str
    job_id: str  # "" when it is not about one job
    what: str


@dataclasses.dataclass
class Facts:
    jobs: list[Job]
    results: list[Record]
    dead: list[Record]
    live: dict[str, View]              # readers that were there from the beginning
    streams: dict[str, View]           # what Redis holds in the end; missing: it holds nothing
    states: dict[str, str]             # of the status hashes; missing: none
    left_over: list[str]               # see topics.left_over
    trouble: list[str]                 # what processes did that they should not
    wipes: list[float] = dataclasses.field(default_factory=list)   # when Redis lost all
    crashes: list[float] = dataclasses.field(default_factory=list)  # when a worker lost what it ran
    max_deaths: int = 3
    allow_poison: bool = False

    def __post_init__(self) -> None:
        self.by_id: dict[str, list[Record]] = collections.defaultdict(list)
        for r in self.results:
            self.by_id[r.body.get("job_id", "")].append(r)
        # What each content must be answered with, since it was when nothing disturbed it.
        self.answers = {j.content: answer(self.result(j.id)) for j in self.jobs
                        if j.calm and (self.result(j.id) or {}).get("status") == "succeeded"}

    def result(self, job_id: str) -> dict | None:
        return self.by_id[job_id][0].body if job_id in self.by_id else None

    def wiped(self, job: Job) -> bool:
        """Redis lost what it knew of this job, or may have."""
        return any(t >= job.sent_s for t in self.wipes)


def audit(f: Facts) -> list[Violation]:
    out: list[Violation] = []
    for check in (ends, statuses, texts, keys, times, dead_letters, given_up, poison, live_streams, kept_streams,
                  states):
        out += check(f)
    out += [Violation("offsets", "", line) for line in f.left_over]
    out += [Violation("process", "", line) for line in f.trouble]
    return out


def counted(f: Facts) -> list[Job]:
    """Jobs that were accepted and have an id."""
    return [j for j in f.jobs if j.at is not None and not j.noise]


def is_duplicate(result: dict) -> bool:
    return (result.get("error") or {}).get("code") == "duplicate"


def is_poison(result: dict) -> bool:
    return (result.get("error") or {}).get("code") == POISON


def ends(f: Facts):
    """Exactly one terminal record per job id, and none of a job that nobody sent."""
    known = {j.id for j in f.jobs if not j.noise}
    for j in counted(f):
        records = f.by_id.get(j.id, [])
        if not records:
            yield Violation("lost", j.id, f"accepted at {place(j.at)}, no result")
        elif len(records) > 1:
            yield Violation("doubled", j.id, f"{len(records)} results: " + "; ".join(map(brief, records)))
    for job_id in f.by_id.keys() - known:
        yield Violation("unknown", job_id, f"{len(f.by_id[job_id])} results of a job that was not sent")


def may_end(j: Job, status: str, code: str | None) -> bool:
    """It may end so instead of with success."""
    return (status == "cancelled" and j.cancel_after_s is not None or status == "expired" and j.deadline or
            (status, code) == ("rejected", "duplicate") and j.key is not None)


def statuses(f: Facts):
    """A good job succeeds, or ends as it may; a wrong one is rejected with its error, a doomed one fails."""
    for j in counted(f):
        for r in f.by_id.get(j.id, []):
            status, code = r.body.get("status"), (r.body.get("error") or {}).get("code")
            must = ("rejected", j.code) if j.code else ("failed", EXHAUSTED) if j.doomed else None
            if must:
                if (status, code) != must and not is_poison(r.body):
                    yield Violation("status", j.id, f"{status} {code}, not {' '.join(must)}")
            elif status != "succeeded" and not is_poison(r.body) and not may_end(j, status, code):
                yield Violation("status", j.id, f"{status} {code}, not succeeded: {brief(r)}")


def keys(f: Facts):
    """Of the jobs with one idempotency key exactly one is taken, and the others name it."""
    groups = collections.defaultdict(list)
    for j in counted(f):
        if j.key and (result := f.result(j.id)):
            groups[j.key].append(result)
    for key, results in groups.items():
        taken = [r["job_id"] for r in results if not is_duplicate(r)]
        if len(taken) != 1:
            yield Violation("key", taken[0] if taken else "", f"{len(taken)} of {len(results)} jobs with {key} were taken")
            continue
        for r in results:
            if is_duplicate(r) and r.get("duplicate_of") != taken[0]:
                yield Violation("key", r["job_id"], f"duplicate of {r.get('duplicate_of')}, not of {taken[0]}")


def times(f: Facts):
    """No job has a token before its time."""
    for j in counted(f):
        result = f.result(j.id)
        timings = (result or {}).get("timings", {})
        if not j.wait_s or not timings.get("first_token_ms"):
            continue
        early_ms = j.spec["not_before_ms"] - timings["received_ms"] - timings["first_token_ms"]
        if early_ms > 0:
            yield Violation("time", j.id, f"its first token came {early_ms} ms before not_before_ms")


def answer(result: dict) -> tuple:
    """Text, reason of the end, number of tokens."""
    return result["text"], result["finish_reason"], result["usage"]["completion_tokens"]


def texts(f: Facts):
    """The answer is the one of an undisturbed run; what a cancelled job has is the beginning of it."""
    wanted = f.answers
    for j in counted(f):
        if j.content is None:
            continue
        if j.content not in wanted:
            yield Violation("text", j.id, f"no undisturbed answer of content {j.content} to compare with")
            continue
        for r in f.by_id.get(j.id, []):
            if r.body["status"] == "succeeded" and answer(r.body) != wanted[j.content]:
                yield Violation("text", j.id, "another answer than undisturbed: "
                                              f"{differ(wanted[j.content], answer(r.body))}")
            elif not wanted[j.content][0].startswith(r.body.get("text", "")):
                yield Violation("text", j.id, f"{r.body['status']}: no beginning of the undisturbed answer")
            if j.logprobs and r.body["status"] == "succeeded" and \
                    len(r.body.get("logprobs", [])) != r.body["usage"]["completion_tokens"]:
                yield Violation("text", j.id, f"{len(r.body.get('logprobs', []))} logprobs for "
                                              f"{r.body['usage']['completion_tokens']} tokens")


def dead_letters(f: Facts):
    """Bytes that are no job get exactly one dead letter; nothing else has one, but jobs that were given up."""
    letters = collections.Counter(origin(r.body) for r in f.dead if r.body.get("cause") not in GIVEN_UP)
    noise = {j.at: j for j in f.jobs if j.noise and j.at is not None}
    for at, j in noise.items():
        if letters[at] != 1:
            yield Violation("dead letter", j.id, f"{letters[at]} dead letters for the bytes at {place(at)}")
    for at in letters.keys() - noise.keys():
        yield Violation("dead letter", "", f"{letters[at]} of {place(at)}, which is no noise")


def given_up(f: Facts):
    """A job whose attempts are used up has exactly one dead letter, and nobody else has one for that."""
    letters = collections.Counter(r.body.get("job_id") for r in f.dead if r.body.get("cause") == EXHAUSTED)
    failed = {i for i, rs in f.by_id.items() if (rs[0].body.get("error") or {}).get("code") == EXHAUSTED}
    for job_id in failed | letters.keys():
        if letters[job_id] != (job_id in failed):
            yield Violation("given up", job_id or "", f"{letters[job_id]} dead letters; its result says "
                                                      f"{'so' if job_id in failed else 'something else'}")


def poison(f: Facts):
    """Given up only after so many crashes, and then with one dead letter."""
    letters = collections.Counter(r.body.get("job_id") for r in f.dead if r.body.get("cause") == POISON)
    given_up = {i: rs[0] for i, rs in f.by_id.items() if any(is_poison(r.body) for r in rs)}
    sent = {j.id: j.sent_s for j in f.jobs}
    for job_id, r in given_up.items():
        crashes = sum(sent.get(job_id, 0) <= t <= r.at_s for t in f.crashes)
        if letters[job_id] != 1:
            yield Violation("poison", job_id, f"{letters[job_id]} dead letters of a job that was given up")
        if crashes < f.max_deaths:
            yield Violation("poison", job_id, f"given up although only {crashes} workers died in its time")
        elif not f.allow_poison:
            yield Violation("poison", job_id, f"given up; {crashes} workers died in its time")
    for job_id in letters.keys() - given_up.keys():
        yield Violation("poison", job_id or "", "a dead letter for poison, but its result does not say so")


def live_streams(f: Facts):
    """Readers saw no gap, no repeat, the text of the result, and one done, not before the result."""
    jobs = {j.id: j for j in f.jobs}
    for job_id, view in f.live.items():
        result = f.result(job_id)
        if jobs[job_id].at is None or result is None:
            continue
        yield from stream_faults(f, "live stream", jobs[job_id], view, result)
        first = min(f.by_id[job_id], key=lambda r: r.at_s)
        if view.ends and view.ends[0] and first.offset >= view.ends[0][first.partition]:
            yield Violation("live stream", job_id, f"done before its result: {first.partition}-{first.offset} "
                                                   f"when the end was {view.ends[0][first.partition]}")


def kept_streams(f: Facts):
    """What Redis holds after the run says the same; only a wipe or a degraded stream may leave nothing."""
    for j in counted(f):
        result = f.result(j.id)
        if result is None or j.code or j.doomed or is_duplicate(result):
            continue
        view = f.streams.get(j.id)
        if view is not None:
            yield from stream_faults(f, "kept stream", j, view, result)
        elif not f.wiped(j) and not result.get("stream_degraded"):
            yield Violation("kept stream", j.id, "Redis holds nothing of it")


def stream_faults(f: Facts, check: str, j: Job, view: View, result: dict):
    """Every text that was shown is a beginning of the right one; the last one is whole, and done says so."""
    full = f.answers.get(j.content, ("", "", 0))[0]
    may_miss = f.wiped(j) or result.get("stream_degraded") or not j.stream
    for fault in view.faults[:FAULTS_TOLD]:
        yield Violation(check, j.id, fault)
    if len(view.faults) > FAULTS_TOLD:
        yield Violation(check, j.id, f"and {len(view.faults) - FAULTS_TOLD} more faults of this stream")
    for text in view.segments:
        if not full.startswith(text):
            yield Violation(check, j.id, f"readers were shown another text, {differ((full,), (text,))}")
    if len(view.dones) != 1:
        yield Violation(check, j.id, f"{len(view.dones)} done frames: shown were {view.index} tokens, last ID "
                                     f"{view.last}; the result is {result['status']}, attempt {result.get('attempt')}, "
                                     f"{(result.get('usage') or {}).get('completion_tokens')} tokens")
    if may_miss:
        return
    if view.cut:
        yield Violation(check, j.id, f"done says {view.dones[-1]['index']} tokens, shown were {view.index}")
    elif result["status"] == "succeeded" and not view.hole and \
            (view.segments[-1], view.index) != (result["text"], result["usage"]["completion_tokens"]):
        yield Violation(check, j.id, f"shown {view.index} tokens, {len(view.segments[-1])} characters; the result has "
                                     f"{result['usage']['completion_tokens']} and {len(result['text'])}")
    if view.late_done:
        yield Violation(check, j.id, f"the ID of done, {view.last}, is not above those before it")


def states(f: Facts):
    """The status hash ends with the status of the result."""
    for j in counted(f):
        result = f.result(j.id)
        if result and f.states.get(j.id) != result["status"] and not (f.wiped(j) and j.id not in f.states):
            yield Violation("status hash", j.id, f"says {f.states.get(j.id)}, the result {result['status']}")


# ---- words


def place(at) -> str:
    return f"{at[0]}-{at[1]} offset {at[2]}" if at else "nowhere"


def brief(r: Record) -> str:
    b = r.body
    return (f"{r.partition}-{r.offset} {b.get('status')} attempt {b.get('attempt')} by {b.get('worker')}, "
            f"{(b.get('usage') or {}).get('completion_tokens')} tokens")


def differ(wanted: tuple, got: tuple) -> str:
    """Where they part; never what they say."""
    same = next((i for i, (a, b) in enumerate(zip(wanted[0], got[0])) if a != b), min(len(wanted[0]), len(got[0])))
    return f"wanted {len(wanted[0])} characters {wanted[1:]}, got {len(got[0])} {got[1:]}, equal up to {same}"
