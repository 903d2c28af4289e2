#!/usr/bin/python3
"""Goal: the audit finds what it must find, and nothing else.

Method: an invented run, once as it should be, then with one thing wrong in each test: a result lost, doubled
or with another text, a stream with a gap, a repeat or an early done, a missing dead letter. The plans of
faults and jobs are checked to follow from their seed alone.
"""

import json
import unittest

import faults
import load
import report
from audit import Facts, audit
from readers import View, view_of_entries
from topics import Record

TEXT = "A tool that prints"
PIECES = ["A", " tool", " that", " prints"]


def job(number: int, **fields) -> load.Job:
    at = ("millrace.jobs.low", 0, number)
    usual = {"content": 0, "stream": True, "sent_s": 10.0, "at": at}
    return load.Job(f"job-{number}", b"", "", "low", **{**usual, **fields})


def result(job_id: str, offset: int, text: str = TEXT, at_s: float = 20.0, **fields) -> Record:
    body = {"job_id": job_id, "status": "succeeded", "text": text, "finish_reason": "stop", "attempt": 1,
            "usage": {"completion_tokens": len(PIECES)}, "worker": "worker-0"} | fields
    return Record(body, 0, offset, at_s)


def token(job_id: str, index: int, attempt: int = 1, text: str | None = None) -> dict:
    return {"type": "token", "job_id": job_id, "attempt": attempt, "index": index,
            "text": PIECES[index] if text is None else text}


def mark(kind: str, job_id: str, index: int, attempt: int = 1) -> dict:
    return {"type": kind, "job_id": job_id, "attempt": attempt, "index": index}


def whole(job_id: str, attempt: int = 1) -> list[dict]:
    return [token(job_id, i, attempt) for i in range(len(PIECES))] + [mark("done", job_id, len(PIECES), attempt)]


def view(job_id: str, frames: list[dict]) -> View:
    v = View(job_id)
    for frame in frames:
        v.take(frame)
    v.ends = [{0: 100}] if v.dones else []
    return v


class Audit(unittest.TestCase):
    """Jobs 0 (calm), 1, 2 and 3 are good, 4 is wrong, 5 is noise; 1 has a live reader."""

    def setUp(self) -> None:
        self.jobs = [job(0, calm=True, sent_s=1.0), job(1), job(2), job(3, cancel_after_s=1.0),
                     job(4, content=None, code="bad_type", stream=False), job(5, content=None, noise=True)]
        self.results = [result(f"job-{i}", i) for i in range(4)]
        self.results.append(result("job-4", 4, "", status="rejected", error={"code": "bad_type"}))
        self.dead = [Record({"cause": "malformed", "origin": {"topic": "millrace.jobs.low", "partition": 0,
                                                              "offset": 5}}, 0, 0, 20.0)]
        self.live = {"job-1": view("job-1", whole("job-1"))}
        self.streams = {f"job-{i}": view(f"job-{i}", whole(f"job-{i}")) for i in range(4)}
        self.states = {r.body["job_id"]: r.body["status"] for r in self.results}
        self.more: dict = {}

    def facts(self) -> Facts:
        return Facts(self.jobs, self.results, self.dead, self.live, self.streams, self.states,
                     **{"left_over": [], "trouble": [], **self.more})

    def found(self) -> list[tuple[str, str]]:
        return [(v.check, v.job_id) for v in audit(self.facts())]

    def finds(self, check: str, job_id: str) -> None:
        found = self.found()
        self.assertEqual(set(found), {(check, job_id)}, found)

    def test_a_good_run(self) -> None:
        self.assertEqual(self.found(), [])

    # ---- results

    def test_lost(self) -> None:
        del self.results[2]
        self.finds("lost", "job-2")

    def test_not_accepted_is_not_lost(self) -> None:
        self.jobs[2].at = None
        del self.results[2]
        self.assertEqual(self.found(), [])

    # ---- keys, times, attempts

    def share_a_key(self, duplicate_of: str = "job-1") -> None:
        """Job 2 is rejected as a duplicate of job 1."""
        self.jobs[1].key = self.jobs[2].key = "k"
        self.results[2] = result("job-2", 2, "", status="rejected", error={"code": "duplicate"},
                                 duplicate_of=duplicate_of, usage={"completion_tokens": 0})
        self.states["job-2"] = "rejected"
        del self.streams["job-2"]

    def test_a_duplicate(self) -> None:
        self.share_a_key()
        self.assertEqual(self.found(), [])

    def test_a_duplicate_of_another(self) -> None:
        self.share_a_key(duplicate_of="job-3")
        self.finds("key", "job-2")

    def test_one_key_taken_twice(self) -> None:
        self.jobs[1].key = self.jobs[2].key = "k"
        self.finds("key", "job-1")

    def test_a_duplicate_without_a_key(self) -> None:
        self.share_a_key()
        self.jobs[2].key = None
        self.finds("status", "job-2")

    def run_late(self, first_token_ms: int) -> None:
        self.jobs[2].wait_s, self.jobs[2].spec = 5.0, {"not_before_ms": 15_000}
        self.results[2].body["timings"] = {"received_ms": 10_000, "first_token_ms": first_token_ms}

    def test_not_before_its_time(self) -> None:
        self.run_late(5_000)
        self.assertEqual(self.found(), [])

    def test_before_its_time(self) -> None:
        self.run_late(4_999)
        self.finds("time", "job-2")

    def test_expired(self) -> None:
        self.results[2].body |= {"status": "expired", "error": {"code": "expired"}}
        self.states["job-2"] = "expired"
        self.finds("status", "job-2")
        self.jobs[2].deadline = True
        self.assertEqual(self.found(), [])

    def end_unseen(self) -> None:
        """Job 1 was streamed, expires, and its done has the ID of its first token."""
        self.jobs[1].deadline = True
        self.results[1] = result("job-1", 1, "", status="expired", usage={"completion_tokens": 0})
        self.states["job-1"] = "expired"
        self.live["job-1"] = view("job-1", whole("job-1")[:-1] + [mark("done", "job-1", 0)])
        self.streams["job-1"] = view("job-1", [mark("done", "job-1", 0)])

    def test_an_end_under_a_known_id(self) -> None:
        self.end_unseen()
        self.assertIn(("live stream", "job-1"), self.found())

    def test_an_end_under_a_known_id_behind_a_wipe(self) -> None:
        self.end_unseen()
        self.more["wipes"] = [15.0]
        self.assertIn(("live stream", "job-1"), self.found())

    def give_up(self, letters: int) -> None:
        """Job 4 is one that the engine always fails with."""
        self.jobs[4] = job(4, content=None, doomed=True, stream=False)
        self.results[4] = result("job-4", 4, "", status="failed", error={"code": "attempts_exhausted"})
        self.states["job-4"] = "failed"
        self.dead += [Record({"cause": "attempts_exhausted", "job_id": "job-4", "origin": {}}, 0, 1 + i, 20.0)
                      for i in range(letters)]

    def test_given_up(self) -> None:
        self.give_up(1)
        self.assertEqual(self.found(), [])

    def test_given_up_without_a_letter(self) -> None:
        self.give_up(0)
        self.finds("given up", "job-4")

    def test_given_up_with_two_letters(self) -> None:
        self.give_up(2)
        self.finds("given up", "job-4")

    def test_doomed_and_yet_done(self) -> None:
        self.give_up(0)
        self.results[4].body |= {"status": "succeeded", "error": None}
        self.states["job-4"] = "succeeded"
        self.finds("status", "job-4")

    def test_doubled(self) -> None:
        self.results.append(result("job-2", 9))
        self.finds("doubled", "job-2")

    def test_doubled_rejection(self) -> None:
        self.results.append(self.results[4])
        self.finds("doubled", "job-4")

    def test_unknown(self) -> None:
        self.results.append(result("nobody", 9))
        self.finds("unknown", "nobody")

    def test_a_result_that_is_no_record(self) -> None:
        self.results.append(Record({}, 0, 9, 20.0))
        self.finds("unknown", "")

    def test_wrong_text(self) -> None:
        self.results[2] = result("job-2", 2, TEXT + "s")
        self.streams["job-2"].segments[-1] += "s"
        self.assertIn(("text", "job-2"), self.found())

    def test_wrong_end(self) -> None:
        self.results[2] = result("job-2", 2, finish_reason="length")
        self.finds("text", "job-2")

    def test_wrong_number_of_tokens(self) -> None:
        self.jobs[2].stream = False
        self.results[2] = result("job-2", 2, usage={"completion_tokens": 5})
        self.finds("text", "job-2")

    def test_no_undisturbed_answer(self) -> None:
        self.jobs[2].content = 7
        self.assertIn(("text", "job-2"), self.found())

    def test_logprobs_missing(self) -> None:
        self.jobs[2].logprobs = True
        self.results[2] = result("job-2", 2, logprobs=[{}] * 3)
        self.finds("text", "job-2")

    def test_failed(self) -> None:
        self.results[2] = result("job-2", 2, status="failed", error={"code": "internal"})
        self.states["job-2"] = "failed"
        self.finds("status", "job-2")

    def test_cancelled_only_when_asked(self) -> None:
        for i, found in ((3, []), (2, [("status", "job-2")])):
            self.results[i] = result(f"job-{i}", i, TEXT[:6], status="cancelled")
            self.states[f"job-{i}"] = "cancelled"
            self.assertEqual(self.found(), found)

    def test_cancelled_with_another_text(self) -> None:
        self.results[3] = result("job-3", 3, "What", status="cancelled")
        self.states["job-3"] = "cancelled"
        self.finds("text", "job-3")

    def test_wrong_rejection(self) -> None:
        self.results[4].body["error"]["code"] = "internal"
        self.finds("status", "job-4")

    # ---- dead letters

    def test_dead_letter_missing_or_doubled(self) -> None:
        letter = self.dead.pop()
        self.finds("dead letter", "job-5")
        self.dead += [letter, letter]
        self.finds("dead letter", "job-5")

    def test_dead_letter_of_a_good_job(self) -> None:
        origin = {"topic": "millrace.work.demo", "partition": 0, "offset": 1}
        self.dead.append(Record({"cause": "malformed", "origin": origin}, 0, 1, 20.0))
        self.finds("dead letter", "")

    def poison(self, crashes: list[float], letters: int = 1) -> None:
        self.results[2] = result("job-2", 2, TEXT[:6], status="failed", error={"code": "poison"})
        self.states["job-2"] = "failed"
        self.dead += [Record({"cause": "poison", "job_id": "job-2"}, 0, 2, 20.0)] * letters
        self.more["crashes"] = crashes

    def test_poison_after_three_crashes(self) -> None:
        self.poison([11.0, 12.0, 13.0])
        self.finds("poison", "job-2")
        self.more["allow_poison"] = True
        self.assertEqual(self.found(), [])

    def test_poison_without_crashes(self) -> None:
        self.more["allow_poison"] = True
        self.poison([5.0, 12.0, 13.0, 21.0])
        self.finds("poison", "job-2")

    def test_poison_without_a_letter(self) -> None:
        self.more["allow_poison"] = True
        self.poison([11.0, 12.0, 13.0], 0)
        self.finds("poison", "job-2")

    # ---- streams

    def test_gap(self) -> None:
        frames = whole("job-1")
        del frames[2]
        self.live["job-1"] = view("job-1", frames)
        self.assertEqual(set(self.found()), {("live stream", "job-1")})

    def test_gap_is_not_excused_by_a_wipe(self) -> None:
        frames = whole("job-2")
        del frames[0]
        self.streams["job-2"] = view("job-2", frames)
        self.more["wipes"] = [15.0]
        self.finds("kept stream", "job-2")

    def test_cut_end(self) -> None:
        for frames in (whole("job-2")[:3] + whole("job-2")[4:], whole("job-2")[:4] + [mark("done", "job-2", 5)]):
            self.streams["job-2"] = view("job-2", frames)
            self.finds("kept stream", "job-2")
        self.results[2].body["stream_degraded"] = True
        self.assertEqual(self.found(), [])

    def test_repeat(self) -> None:
        frames = whole("job-1")
        frames.insert(3, token("job-1", 1, attempt=2))
        frames[4:] = whole("job-1", 2)[2:]
        self.live["job-1"] = view("job-1", frames)
        self.finds("live stream", "job-1")

    def test_seen_twice_is_no_repeat(self) -> None:
        frames = whole("job-1")
        self.live["job-1"] = view("job-1", frames[:3] + frames[1:])
        self.assertEqual(self.found(), [])

    def test_a_dead_worker_writes_on(self) -> None:
        frames = [token("job-1", i) for i in range(2)] + whole("job-1", 2)[2:4] + [token("job-1", 2)]
        self.live["job-1"] = view("job-1", frames + [mark("done", "job-1", 4, 2)])
        self.finds("live stream", "job-1")

    def test_two_frames_with_one_id(self) -> None:
        frames = whole("job-1")
        frames.insert(2, token("job-1", 1, text=" other"))
        self.live["job-1"] = view("job-1", frames)
        self.finds("live stream", "job-1")

    def test_restart(self) -> None:
        frames = [token("job-1", i) for i in range(2)] + [mark("restart", "job-1", 0, 2)] + whole("job-1", 3)
        self.live["job-1"] = view("job-1", frames)
        self.assertEqual(self.found(), [])

    def test_restart_after_another_text(self) -> None:
        frames = [token("job-1", 0, text="B"), mark("restart", "job-1", 0, 2)] + whole("job-1", 3)
        self.live["job-1"] = view("job-1", frames)
        self.finds("live stream", "job-1")

    def test_lower_restart(self) -> None:
        """A reader knows a restart by its larger number, also after Redis has lost all."""
        frames = [token("job-1", 0, 3), mark("restart", "job-1", 0, 1)] + whole("job-1", 2)
        self.live["job-1"] = view("job-1", frames)
        self.more["wipes"] = [15.0]
        self.finds("live stream", "job-1")

    def test_lower_done_only_after_a_wipe(self) -> None:
        self.live["job-1"] = view("job-1", whole("job-1", 3)[:4] + [mark("done", "job-1", 4, 1)])
        self.finds("live stream", "job-1")
        self.more["wipes"] = [15.0]
        self.assertEqual(self.found(), [])

    def test_a_cancelled_job_was_shown_more_than_its_result_has(self) -> None:
        self.results[3] = result("job-3", 3, "", status="cancelled", usage={"completion_tokens": 0})
        self.states["job-3"] = "cancelled"
        self.streams["job-3"] = view("job-3", whole("job-3")[:3] + [mark("done", "job-3", 0, 2)])
        self.assertEqual(self.found(), [])

    def test_an_empty_piece_too_many(self) -> None:
        frames = whole("job-2")[:4] + [token("job-2", 4, text=""), mark("done", "job-2", 5)]
        self.streams["job-2"] = view("job-2", frames)
        self.finds("kept stream", "job-2")

    def test_wrong_text_in_the_stream(self) -> None:
        frames = whole("job-2")
        frames[3]["text"] = " paints"
        self.streams["job-2"] = view("job-2", frames)
        self.more["wipes"] = [15.0]
        self.finds("kept stream", "job-2")

    def test_a_degraded_stream_has_its_done(self) -> None:
        self.results[2].body["stream_degraded"] = True
        self.streams["job-2"] = view("job-2", whole("job-2")[:2])
        self.finds("kept stream", "job-2")

    def test_done_missing_doubled_or_followed(self) -> None:
        done = mark("done", "job-1", 4)
        for frames in (whole("job-1")[:-1], whole("job-1") + [done | {"attempt": 2}],
                       whole("job-1") + [token("job-1", 0, 2)]):
            self.live["job-1"] = view("job-1", frames)
            self.finds("live stream", "job-1")

    def test_done_before_the_result(self) -> None:
        self.live["job-1"].ends = [{0: 1}]
        self.finds("live stream", "job-1")
        self.live["job-1"].ends = [{0: 2}]
        self.assertEqual(self.found(), [])

    def test_stream_missing(self) -> None:
        del self.streams["job-2"]
        self.finds("kept stream", "job-2")
        self.more["wipes"] = [5.0]
        self.finds("kept stream", "job-2")
        self.more["wipes"] = [15.0]
        self.assertEqual(self.found(), [])

    def test_entry_id(self) -> None:
        frame = {b"f": json.dumps(token("job-2", 0)).encode()}
        self.assertEqual(view_of_entries("job-2", [(b"1-0", frame)]).faults, [])
        self.assertEqual(view_of_entries("job-2", [(b"2-0", frame)]).faults, ["entry 2-0 holds frame 1-0"])

    def test_status_hash(self) -> None:
        self.states["job-2"] = "running"
        self.finds("status hash", "job-2")
        del self.states["job-2"]
        self.finds("status hash", "job-2")

    def test_offsets_and_processes(self) -> None:
        self.more["left_over"] = ["millrace-worker.demo: 1 record"]
        self.finds("offsets", "")
        self.more = {"trouble": ["worker-0 ended by itself"]}
        self.finds("process", "")


class Views(unittest.TestCase):
    """What one reader notes, fault by fault."""

    def faults(self, *frames: dict) -> list[str]:
        return view("j", list(frames)).faults

    def test_each_fault_has_its_words(self) -> None:
        t, done = token("j", 0), mark("done", "j", 1)
        self.assertEqual(self.faults(t, done), [])
        self.assertEqual(self.faults(t, token("j", 2)), ["index 2 after 0: a gap"])
        self.assertEqual(self.faults(t, token("j", 1), token("j", 1, text="x")), ["two frames with the ID (1, 1)"])
        self.assertEqual(self.faults(t, token("j", 1, 3), token("j", 2, 2)), ["token (2, 2) behind (3, 1)"])
        self.assertEqual(self.faults(t, token("j", 0, 2)), ["index 0 after 0 without a restart"])
        self.assertEqual(self.faults(t, done, token("j", 1, 2)), ["token (2, 1) behind done"])
        self.assertEqual(self.faults(token("k", 0)), ["a frame of k"])

    def test_text_ends_at_a_gap(self) -> None:
        v = view("j", [token("j", 0), token("j", 2), token("j", 3)])
        self.assertEqual(v.segments, ["A"])

    def test_an_empty_last_piece_counts(self) -> None:
        v = view("j", [token("j", 0), mark("done", "j", 2)])
        self.assertTrue(v.cut)
        self.assertFalse(view("j", [token("j", 0), token("j", 1, text=""), mark("done", "j", 2)]).cut)

    def test_missing(self) -> None:
        v = view("j", [token("j", 0), token("j", 1)])
        self.assertTrue(v.missing(token("j", 3)) and v.missing(mark("done", "j", 4)))
        for known in (token("j", 1), token("j", 2), mark("restart", "j", 0, 2), mark("done", "j", 2)):
            self.assertFalse(v.missing(known))


class Plans(unittest.TestCase):
    def test_same_seed_same_jobs(self) -> None:
        a, b, c = (load.Plan(seed, 300, 40, 20) for seed in (1, 1, 2))
        self.assertEqual([j.body for j in a.storm], [j.body for j in b.storm])
        self.assertNotEqual([j.body for j in a.storm], [j.body for j in c.storm])
        self.assertEqual(len({j.id for j in a.calm + a.storm}), 320)
        self.assertEqual({j.content for j in a.calm}, set(range(20)))

    def test_a_mix(self) -> None:
        jobs = load.Plan(3, 2000, 40, 50).storm
        self.assertEqual({j.code for j in jobs if j.code}, set(load.WRONG))
        for some in ([j for j in jobs if j.noise], [j for j in jobs if j.cancel_after_s is not None],
                     [j for j in jobs if j.logprobs], [j for j in jobs if j.wait_s], [j for j in jobs if j.deadline],
                     [j for j in jobs if j.key], [j for j in jobs if j.doomed], [j for j in jobs if j.content is not None and not j.stream]):
            self.assertGreater(len(some), 5)

    def test_counts(self) -> None:
        self.assertEqual(faults.counts("worker:50,redis-wipe:1", 3), {"worker": 50, "redis-wipe": 1})
        spread = faults.counts(",".join(faults.KINDS), 40)
        self.assertEqual(sum(spread.values()), 40)
        self.assertEqual(set(spread), set(faults.KINDS))
        with self.assertRaises(ValueError):
            faults.counts("flood", 3)

    def test_same_seed_same_faults(self) -> None:
        wanted = {"worker": 50, "broker": 5}
        plan = faults.make_plan(1, wanted)
        self.assertEqual(plan, faults.make_plan(1, wanted))
        self.assertNotEqual(plan, faults.make_plan(2, wanted))
        self.assertEqual(sum(f.kind == "worker" for f in plan), 50)
        dues = [f.due for f in plan]
        self.assertEqual(dues, sorted(dues))
        self.assertTrue(faults.FIRST <= dues[0] and dues[-1] <= faults.LAST)
        self.assertGreater(len(dues) - len(set(dues)), 5)  # some come together

    def test_silence(self) -> None:
        arrivals = [10.0, 10.5, 14.0, 14.1, 30.0]
        self.assertAlmostEqual(report.silence(10.2, arrivals, 30.0), 3.5)
        self.assertAlmostEqual(report.silence(14.0, arrivals, 30.0), 15.9)


if __name__ == "__main__":
    unittest.main(verbosity=1)
