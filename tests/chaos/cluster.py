"""The processes of a run: who should be up, who is, and what their counters said before they died.

Servers and programs are started through the rig. A process that ends although nobody told it to is noted
and started again, as a supervisor would do it.
"""

from __future__ import annotations

import collections
import contextlib
import re
import shutil
import signal
import time
import urllib.request

import redis

import rig as servers
from load import DOOMED

RESTART_S = 1.0  # a process that ended by itself is started again after that
MAX_OWN_ENDS = 20
OTHER_LINES = 100  # that other threads may write behind the last words of one
# librdkafka's issue 5573, up to 2.15 at least: two stops of a partition on their way, and the second one aborts. To
# the jobs it is one more kill.
LIBRARY_ABORTS = "rd_kafka_assignment_partition_stopped: Assertion `rktp->rktp_started' failed"
STOP_LIMIT_S = 60
# An engine that fails as a file says, see tests/fault/worker: sequences, rows, no memory, bad token, lost.
WORKER = servers.BIN.parent / "tests/worker_faulty"
BAD_TOKEN_ONLY = f"0 0 0 {DOOMED} 0"
NO_MEMORY = f"0 0 1 {DOOMED} 0"
METRIC = re.compile(r"^millrace_(\w+_total|partitions)(?:\{[^}]*\})? ([0-9.e+]+)$", re.MULTILINE)


class Cluster:
    """Names: worker-N, dispatcher-N, guest-N, kafka, redis. One thread uses it."""

    def __init__(self, rig: servers.Rig, n_workers: int, n_dispatchers: int, worker: dict, dispatcher: dict,
                 note) -> None:
        self.rig, self.note = rig, note
        self.settings = {"worker": worker, "guest": worker, "dispatcher": dispatcher}
        self.names = [f"dispatcher-{i}" for i in range(n_dispatchers)] + [f"worker-{i}" for i in range(n_workers)]
        self.up = {"kafka", "redis"}
        self.paused: set[str] = set()
        self.leaving: dict[str, float] = {}
        self.ports: dict[str, int] = {}
        self.due: dict[str, float] = {}       # who ended by himself: when to start him again
        self.trouble: list[str] = []          # what processes did that they should not
        self.totals: collections.Counter = collections.Counter()  # counters of those that are gone
        self.wipes: list[float] = []
        self.n_guests = 0

    def start_all(self) -> None:
        for name in self.names:
            self.start(name)

    # ---- what a fault does

    def running(self, kind: str) -> list[str]:
        return sorted(n for n in self.up - self.paused if n.split("-")[0] == kind and n not in self.due)

    def start(self, name: str, wipe: bool = False) -> None:
        kind = name.split("-")[0]
        if kind == "kafka":
            self.rig.start("kafka", self.rig.java("kafka.Kafka", str(self.rig.dir / "server.properties")))
        elif kind == "redis":
            self.start_redis(wipe)
        else:
            listen = {f"{'dispatcher' if kind == 'dispatcher' else 'worker'}_listen": f"127.0.0.1:{self._port(name)}"}
            if kind == "dispatcher":
                self.rig.start_dispatcher(name, **self.settings[kind], **listen, dispatcher_id=name)
            else:
                self._start_worker(name, self.settings[kind] | listen)
        self.up.add(name)

    def _start_worker(self, name: str, settings: dict) -> None:
        self.engine_fails(name, BAD_TOKEN_ONLY)
        flags = servers.flags({"model_path": servers.DEMO_MODEL, "worker_id": name, **settings})
        self.rig.start(name, [WORKER, *flags], {**self.rig.env(), "MR_FAULTS": str(self._faults(name))})

    def _faults(self, name: str):
        return self.rig.dir / f"{name}.faults"

    def engine_fails(self, name: str, how: str) -> None:
        new = self._faults(name).with_suffix(".new")
        new.write_text(how + "\n")
        new.rename(self._faults(name))

    def start_redis(self, wipe: bool = False) -> None:
        """All that was answered is in the file (of this machine's page cache, which a kill leaves alone)."""
        folder = self.rig.dir / "redis"
        if wipe:
            shutil.rmtree(folder)
            self.wipes.append(time.monotonic())
        folder.mkdir(exist_ok=True)
        self.rig.start("redis", ["redis-server", "--port", self.rig.redis_port, "--bind", "127.0.0.1", "--save", "",
                                 "--appendonly", "yes", "--appendfsync", "no", "--dir", folder])

    def flush_redis(self) -> bool:
        """False: it has not come up yet."""
        r = redis.Redis(port=self.rig.redis_port, socket_timeout=10)
        try:
            r.ping()
        except redis.ConnectionError:
            return False
        r.flushall()
        self.wipes.append(time.monotonic())
        return True

    def kill(self, name: str) -> None:
        self._keep_counters(name)
        self.up.discard(name)
        self.rig.stop(name, signal.SIGKILL)

    def pause(self, name: str) -> None:
        self.rig.processes[name].send_signal(signal.SIGSTOP)
        self.paused.add(name)

    def go_on(self, name: str) -> None:
        self.paused.discard(name)
        if name in self.rig.processes:
            self.rig.processes[name].send_signal(signal.SIGCONT)

    def add_guest(self) -> str:
        name = f"guest-{self.n_guests}"
        self.n_guests += 1
        self.start(name)
        return name

    def leave(self, name: str) -> None:
        """SIGTERM; supervise() sees to it that it ends, and how."""
        self._keep_counters(name)
        self.up.discard(name)
        if name in self.rig.processes:
            self.rig.processes[name].send_signal(signal.SIGTERM)
            self.leaving[name] = time.monotonic() + STOP_LIMIT_S

    # ---- what goes on meanwhile

    def supervise(self) -> None:
        now = time.monotonic()
        for name in [n for n, p in self.rig.processes.items() if p.poll() is not None]:
            self._ended(name, self.rig.processes.pop(name).returncode, now)
        for name, limit in list(self.leaving.items()):
            if now > limit:
                self.trouble.append(f"{name} did not end within {STOP_LIMIT_S} s of SIGTERM")
                del self.leaving[name]
                self.rig.stop(name, signal.SIGKILL)
        for name in [n for n, due in self.due.items() if due <= now]:
            del self.due[name]
            self.start(name)
        if len(self.trouble) > MAX_OWN_ENDS:
            raise RuntimeError("processes keep ending by themselves:\n" + "\n".join(self.trouble[-3:]))

    def _ended(self, name: str, code: int, now: float) -> None:
        if self.leaving.pop(name, None) is None:
            what = f"{name} ended by itself with {code}: {servers.tail(self.rig.log(name), 2)}"
            self.note(what)
            aborted = code == -signal.SIGABRT and LIBRARY_ABORTS in servers.tail(self.rig.log(name), OTHER_LINES)
            if not aborted:
                self.trouble.append(what)
            if name in self.up:
                self.due[name] = now + RESTART_S
        elif code != 0:
            self.trouble.append(f"{name} left with {code}: {servers.tail(self.rig.log(name), 2)}")
            self.note(self.trouble[-1])

    def stop_ours(self) -> None:
        """All workers, then all dispatchers, in good order."""
        for kind in ("guest", "worker", "dispatcher"):
            for name in self.running(kind):
                self.leave(name)
            while self.leaving:
                self.supervise()
                time.sleep(0.05)

    def all_serve(self) -> bool:
        return all(self._scrape(name)["partitions"] > 0 for name in self.running("worker"))

    # ---- counters

    def counters(self) -> collections.Counter:
        """Sums over all that are or were."""
        total = collections.Counter(self.totals)
        for kind in ("worker", "guest"):
            for name in self.running(kind):
                total.update(self._scrape(name))
        del total["partitions"]  # no counter
        return total

    def _keep_counters(self, name: str) -> None:
        if name.split("-")[0] in ("worker", "guest"):
            self.totals.update(self._scrape(name))

    def _scrape(self, name: str) -> collections.Counter:
        got: collections.Counter = collections.Counter()
        with contextlib.suppress(OSError), urllib.request.urlopen(
                f"http://127.0.0.1:{self.ports[name]}/metrics", timeout=1) as page:
            for metric, value in METRIC.findall(page.read().decode()):
                got[metric] += int(float(value))
        return got

    def _port(self, name: str) -> int:
        if name not in self.ports:
            self.ports[name] = servers.free_ports(1)[0]
        return self.ports[name]
