"""Servers for the integration tests: a real Kafka broker (KRaft), a real Redis, our own programs.

Everything listens on free ports of 127.0.0.1, lives in one temporary folder and is stopped at the end,
also when a test fails: use `with Rig() as rig`. Kafka comes from the jars that scripts/test fetched
(MR_KAFKA_LIBS); `Rig(kafka=False)` starts the broker embedded in `millrace up` instead, and none of
this. main() runs a test file: a test that fails shows what the programs said last.

Tests run beside each other on machines that may stand still for a while: a wait has no limit but HANG_S,
which is long enough that only what never comes is missed.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
import uuid

SOURCE = pathlib.Path(os.environ.get("MR_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
BIN = pathlib.Path(os.environ.get("MR_BIN", SOURCE / "build/release/bin"))
DEMO_MODEL = SOURCE / "models/demo.gguf"
# Of the broker: a start in seconds. MR_KAFKA_JVM takes its place, for measurements that last.
JVM = "-Xmx512m -XX:+UseSerialGC -XX:TieredStopAtLevel=1"
HANG_S = 180  # what takes longer never comes, also on a machine that others keep busy
# A broker keeps a killed one's place until its session is over; then it lets it in again.
BROKER_SESSION = {"broker.session.timeout.ms": 5000, "broker.heartbeat.interval.ms": 500}
log_folders: list[pathlib.Path] = []  # of what runs now
held_ports: list[socket.socket] = []  # until this process ends


def hold_port(port: int) -> bool:
    """False: another test's. Whoever has a port has an abstract socket of its number, as long as it lives."""
    mark = socket.socket(socket.AF_UNIX)
    try:
        mark.bind(f"\0millrace-test-port-{port}")
    except OSError:
        mark.close()
        return False
    held_ports.append(mark)
    return True


def free_ports(n: int) -> list[int]:
    """n different ports that nobody uses, and that no other test is given while this process lives.

    None of the range that outgoing connections take theirs from: a client that keeps trying to reach a
    server that is down would some day be connected to itself, and hold the port.
    """
    ports: list[int] = []
    while len(ports) < n:
        port = random.randint(12000, 32000)
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("127.0.0.1", port))
            if hold_port(port):
                ports.append(port)
    return ports


def wait_port(port: int, process: subprocess.Popen, log: pathlib.Path, limit_s: float = HANG_S) -> None:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{log.name} ended with {process.returncode}:\n{tail(log)}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{log.name}: port {port} not open after {limit_s:.0f} s:\n{tail(log)}")


def wait_for(what: str, condition, limit_s: float = HANG_S, step_s: float = 0.05):
    """Polls until condition() is true and returns its value; raises with `what` otherwise."""
    end = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError(f"not within {limit_s:.0f} s: {what}")
        time.sleep(step_s)


def tail(path: pathlib.Path, n: int = 30) -> str:
    if not path.exists():
        return ""
    return "\n".join(path.read_text(errors="replace").splitlines()[-n:])


def show_logs() -> None:
    """What everybody said last, on stderr: a failed test explains itself."""
    for folder in log_folders:
        for log in sorted(folder.glob("*.log")):
            print(f"--- {log.name}\n{tail(log)}", file=sys.stderr)


class TestResult(unittest.TextTestResult):
    """Shows the logs of a test that fails, while they are there, and how long each one took."""

    def startTest(self, test) -> None:
        self.began_s, self.shown = time.monotonic(), False
        super().startTest(test)

    def addSuccess(self, test) -> None:
        self.stream.write(f"({time.monotonic() - self.began_s:.1f} s) ")
        super().addSuccess(test)

    def addError(self, test, err) -> None:
        super().addError(test, err)
        self.explain()

    def addFailure(self, test, err) -> None:
        super().addFailure(test, err)
        self.explain()

    def addSubTest(self, test, subtest, err) -> None:
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.explain()

    def explain(self) -> None:
        """Once for each test: a subtest that fails is seldom alone."""
        if not getattr(self, "shown", False):
            show_logs()
        self.shown = True


def main() -> None:
    unittest.main(testRunner=unittest.TextTestRunner(resultclass=TestResult, verbosity=2))


class Rig:
    """One temporary folder with a broker and a Redis; programs are started by the tests."""

    def __init__(self, kafka: bool = True, redis: bool = True, proxied: bool = False,
                 broker: dict | None = None) -> None:
        """broker: more of Kafka's properties. proxied: the broker also listens on proxied_port and tells
        whoever comes there that it is reached at proxy_port, where a test starts a proxy.Proxy."""
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="millrace-test."))
        log_folders.append(self.dir)
        self.processes: dict[str, subprocess.Popen] = {}
        self.want_kafka, self.want_redis = kafka, redis
        self.proxied, self.broker = proxied, broker or {}
        (self.kafka_port, self.controller_port, self.redis_port, self.proxied_port,
         self.proxy_port) = free_ports(5)
        self.brokers = f"127.0.0.1:{self.kafka_port}"
        self.redis_url = f"redis://127.0.0.1:{self.redis_port}"

    def __enter__(self) -> "Rig":
        try:
            if self.want_redis:
                self.start_redis()
            if self.want_kafka:
                self.format_kafka()
                self.start_kafka()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, kind, value, trace) -> None:
        if kind is not None and kind is not KeyboardInterrupt:
            show_logs()
        self.close()

    def close(self) -> None:
        if self.dir in log_folders:
            log_folders.remove(self.dir)
        for name in list(self.processes):
            self.stop(name, signal.SIGKILL)
        if os.environ.get("MR_KEEP"):
            print(f"kept {self.dir}", file=sys.stderr)
        else:
            shutil.rmtree(self.dir, ignore_errors=True)

    # ---- processes

    def log(self, name: str) -> pathlib.Path:
        return self.dir / f"{name}.log"

    def start(self, name: str, argv: list, env: dict | None = None) -> subprocess.Popen:
        """stdout and stderr go to <name>.log; a new start of the same name appends. It dies with the test."""
        argv = ["setpriv", "--pdeathsig", "KILL", "--", *argv]
        with open(self.log(name), "ab") as out:
            p = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                 cwd=self.dir, env={**os.environ, **(env or {})}, start_new_session=True)
        self.processes[name] = p
        return p

    def stop(self, name: str, sig: int = signal.SIGTERM, limit_s: float = HANG_S) -> int | None:
        """Exit status; raises when the process ignores the signal for limit_s."""
        p = self.processes.pop(name, None)
        if p is None:
            return None
        if p.poll() is None:
            p.send_signal(sig)
        try:
            return p.wait(limit_s)
        except subprocess.TimeoutExpired:
            p.kill()
            p.wait()
            raise AssertionError(f"{name} did not end within {limit_s} s of {signal.Signals(sig).name}:\n"
                                 f"{tail(self.log(name))}") from None

    # ---- Redis

    def start_redis(self) -> None:
        p = self.start("redis", ["redis-server", "--port", self.redis_port, "--bind", "127.0.0.1",
                                 "--save", "", "--appendonly", "no", "--dir", self.dir])
        wait_port(self.redis_port, p, self.log("redis"))

    # ---- Kafka

    def java(self, main: str, *args) -> list:
        libs = os.environ.get("MR_KAFKA_LIBS")
        if not libs or not pathlib.Path(libs).is_dir():
            raise RuntimeError("MR_KAFKA_LIBS names no folder of Kafka's jars; scripts/test sets it")
        return ["java", *os.environ.get("MR_KAFKA_JVM", JVM).split(),
                "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{libs}/*", main, *args]

    def format_kafka(self) -> None:
        listen, tell, kinds = "", "", ""
        if self.proxied:
            listen = f",PROXIED://127.0.0.1:{self.proxied_port}"
            tell = f",PROXIED://127.0.0.1:{self.proxy_port}"
            kinds = ("listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,PROXIED:PLAINTEXT\n"
                     "inter.broker.listener.name=PLAINTEXT\n")
        (self.dir / "server.properties").write_text(
            "process.roles=broker,controller\nnode.id=1\n"
            f"controller.quorum.voters=1@127.0.0.1:{self.controller_port}\n"
            f"listeners=PLAINTEXT://127.0.0.1:{self.kafka_port},CONTROLLER://127.0.0.1:{self.controller_port}{listen}\n"
            f"advertised.listeners=PLAINTEXT://127.0.0.1:{self.kafka_port}{tell}\n{kinds}"
            "controller.listener.names=CONTROLLER\n"
            f"log.dirs={self.dir}/kafka\n"
            "num.partitions=4\noffsets.topic.num.partitions=4\noffsets.topic.replication.factor=1\n"
            "transaction.state.log.num.partitions=4\ntransaction.state.log.replication.factor=1\n"
            "transaction.state.log.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n"
            "group.min.session.timeout.ms=1000\n"
            "transaction.abort.timed.out.transaction.cleanup.interval.ms=500\n"
            "auto.create.topics.enable=false\n" +
            "".join(f"{name}={value}\n" for name, value in self.broker.items()))
        subprocess.run(self.java("kafka.tools.StorageTool", "format", "-t", uuid.uuid4().hex[:22], "-c",
                                 str(self.dir / "server.properties")), check=True, stdout=subprocess.DEVNULL)

    def start_kafka(self) -> None:
        p = self.start("kafka", self.java("kafka.Kafka", str(self.dir / "server.properties")))
        wait_port(self.kafka_port, p, self.log("kafka"))
        self.wait_kafka()

    def wait_kafka(self) -> None:
        """Open is not ready: wait until metadata is answered."""
        from confluent_kafka.admin import AdminClient

        def answers() -> bool:
            try:
                return bool(AdminClient({"bootstrap.servers": self.brokers, "log_level": 0})
                            .list_topics(timeout=5).brokers)
            except Exception:  # noqa: BLE001 - any failure means: not yet
                return False
        wait_for("Kafka answers", answers)

    def topics(self) -> set[str]:
        from confluent_kafka.admin import AdminClient
        return set(AdminClient({"bootstrap.servers": self.brokers, "log_level": 0}).list_topics(timeout=HANG_S).topics)

    def wait_topics(self, *names: str) -> None:
        wait_for("topics", lambda: set(names) <= self.topics())

    # ---- ours

    def env(self) -> dict:
        return {"MILLRACE_KAFKA_BROKERS": self.brokers, "MILLRACE_REDIS_URL": self.redis_url}

    def start_dispatcher(self, name: str = "dispatcher", **settings) -> subprocess.Popen:
        return self.start(name, [BIN / "millrace-dispatcher", *flags({"dispatcher_listen": "", **settings})],
                          self.env())

    def start_worker(self, name: str = "worker", model=DEMO_MODEL, **settings) -> subprocess.Popen:
        return self.start(name, [BIN / "millrace-worker",
                                 *flags({"worker_listen": "", "model_path": model, "worker_id": name, **settings})],
                          self.env())

    def millrace(self, *args, check: bool = True, **kw) -> subprocess.CompletedProcess:
        return subprocess.run([str(BIN / "millrace"), *map(str, args)], check=check, text=True,
                              capture_output=True, env={**os.environ, **self.env()},
                              timeout=kw.pop("timeout", HANG_S), **kw)


def flags(settings: dict) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
