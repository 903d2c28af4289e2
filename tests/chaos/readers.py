"""Readers of token streams: what a user of docs/PROTOCOL.md would see, live, and what Redis holds in the end.

A View is one reader: it is given frames in the order in which they come, and keeps what it saw. It is less
forgiving than a reader needs to be: what a reader would pass over in silence is a fault. Followers runs many
of them over one connection: subscribe, wait for the confirmation, read the stream from the last ID, then
live off the channel; a missing index is read from the stream, and a stream without frames for a while is
looked at; after a lost connection all begins again at the last ID.
"""

from __future__ import annotations

import json
import threading
import time

import redis

SILENT_S = 2.0
LOST = (redis.ConnectionError, redis.TimeoutError, redis.BusyLoadingError, OSError)


def stream_key(job_id: str) -> str:
    return f"mr:{{{job_id}}}:s"


def channel_key(job_id: str) -> str:
    return f"mr:{{{job_id}}}:t"


class View:
    """Texts and faults of one stream as seen by one reader. Pure."""

    def __init__(self, job_id: str) -> None:
        self.job_id = job_id
        self.last: tuple[int, int] | None = None  # ID of the newest frame
        self.seen: dict[tuple[int, int], str] = {}
        self.segments = [""]       # text since the beginning and since each restart, as far as contiguous
        self.index = 0             # the next one of the segment
        self.faults: list[str] = []
        self.hole = False          # tokens of the segment are missing before others: its text ends there
        self.cut = False           # tokens are missing before done
        self.late_done = False     # its ID is not above the last one
        self.dones: list[dict] = []
        self.done_at_s = 0.0
        self.ends: list[dict] = []  # of the results topic, taken after the first done
        self.restarts = 0
        self.heard_s = 0.0         # when the last frame came

    def missing(self, frame: dict) -> bool:
        """Something lies between what is known and this frame."""
        new = (frame["attempt"], frame["index"]) not in self.seen
        return new and frame["type"] != "restart" and frame["index"] > self.index

    def take(self, frame: dict) -> None:
        """A frame that is known already may come again: what was read from the stream is in the channel too."""
        if frame["job_id"] != self.job_id:
            self.faults.append(f"a frame of {frame['job_id']}")
            return
        frame_id, text = (frame["attempt"], frame["index"]), json.dumps(frame, sort_keys=True)
        if self.seen.get(frame_id) == text:
            return
        if frame_id in self.seen:
            self.faults.append(f"two frames with the ID {frame_id}")
            return
        if self.last is not None and frame_id <= self.last:
            if frame["type"] != "done":
                self.faults.append(f"{frame['type']} {frame_id} behind {self.last}")
                return
            self.late_done = True
        self.last, self.seen[frame_id] = frame_id, text
        if self.dones:
            self.faults.append(f"{frame['type']} {frame_id} behind done")
        if frame["type"] == "done":
            self.cut = frame["index"] > self.index
            self.dones.append(frame)
        elif frame["type"] == "restart":
            self.restarts += 1
            self.segments.append("")
            self.index, self.hole = 0, False
        else:
            self._token(frame)

    def _token(self, frame: dict) -> None:
        if frame["index"] < self.index:
            self.faults.append(f"index {frame['index']} after {self.index - 1} without a restart")
            return
        if frame["index"] > self.index:
            self.hole = True
            self.faults.append(f"index {frame['index']} after {self.index - 1}: a gap")
        self.index = frame["index"] + 1
        if not self.hole:
            self.segments[-1] += frame["text"]


def view_of_entries(job_id: str, entries: list[tuple[bytes, dict]]) -> View:
    """What a reader who comes after the end gets from the stream alone."""
    view = View(job_id)
    for entry, fields in entries:
        frame = json.loads(fields[b"f"])
        if entry.decode() != f"{frame['attempt']}-{frame['index']}":
            view.faults.append(f"entry {entry.decode()} holds frame {frame['attempt']}-{frame['index']}")
        view.take(frame)
    view.seen = {}  # there may be very many views
    return view


class Followers:
    """A thread with a View per job. on_done(view) is called in it, once per view."""

    def __init__(self, port: int, job_ids: list[str], on_done) -> None:
        self.port, self.on_done = port, on_done
        self.views = {i: View(i) for i in job_ids}
        self.open = set(job_ids)
        self.looked_s = 0.0
        self.failed: BaseException | None = None
        self.ready, self.stop = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def close(self) -> None:
        self.stop.set()
        self.thread.join()
        if self.failed:
            raise RuntimeError("a reader failed") from self.failed

    def _work(self) -> None:
        while not self.stop.is_set():
            try:
                self._session()
            except LOST:
                time.sleep(0.3)
            except BaseException as e:  # noqa: BLE001 - close() raises it
                self.failed = e
                return

    def _session(self) -> None:
        """From one connection to its loss."""
        with redis.Redis(port=self.port, socket_timeout=5, socket_connect_timeout=2) as r, r.pubsub() as channel:
            channel.subscribe(*[channel_key(i) for i in self.views])
            confirmed, waiting = 0, []
            while confirmed < len(self.views):
                m = channel.get_message(timeout=5)
                if m is None:
                    raise redis.TimeoutError("no confirmation")
                if m["type"] == "subscribe":
                    confirmed += 1
                elif m["type"] == "message":
                    waiting.append(m)
            for i in self.views:
                self._catch_up(r, i)
            for m in waiting:
                self._on_frame(r, json.loads(m["data"]))
            self.ready.set()
            while not self.stop.is_set():
                m = channel.get_message(timeout=0.5)
                if m is not None and m["type"] == "message":
                    self._on_frame(r, json.loads(m["data"]))
                self._look_at_silent(r)

    def _on_frame(self, r: redis.Redis, frame: dict) -> None:
        view = self.views[frame["job_id"]]
        if view.missing(frame):
            self._catch_up(r, frame["job_id"])
        self._take(view, frame)

    def _catch_up(self, r: redis.Redis, job_id: str) -> None:
        view = self.views[job_id]
        since = "-" if view.last is None else f"{view.last[0]}-{view.last[1]}"
        for _, fields in r.xrange(stream_key(job_id), since):
            self._take(view, json.loads(fields[b"f"]))

    def _look_at_silent(self, r: redis.Redis) -> None:
        """Those that have begun, and then said nothing for a while: a frame may have been lost on the way."""
        now = time.monotonic()
        if now - self.looked_s < SILENT_S:
            return
        self.looked_s = now
        for view in [self.views[i] for i in self.open]:
            if view.last is not None and now - view.heard_s > SILENT_S:
                view.heard_s = now
                self._catch_up(r, view.job_id)

    def _take(self, view: View, frame: dict) -> None:
        n = len(view.dones)
        view.heard_s = time.monotonic()
        view.take(frame)
        if len(view.dones) > n and n == 0:
            view.done_at_s = time.monotonic()
            self.open.discard(view.job_id)
            self.on_done(view)
