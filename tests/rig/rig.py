"""Servers for the integration tests: a real Kafka broker (KRaft), a real Redis, our own programs.

Everything listens on free ports of 127.0.0.1, lives in one temporary folder and is stopped at the end,
also when a test fails: use `with Rig() as rig`. Kafka comes from the jars that scripts/test fetched
(MR_KAFKA_LIBS); `Rig(kafka=False)` starts the broker embedded in `millrace up` instead, and none of
this.
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
import uuid

SOURCE = pathlib.Path(os.environ.get("MR_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
BIN = pathlib.Path(os.environ.get("MR_BIN", SOURCE / "build/release/bin"))
DEMO_MODEL = SOURCE / "models/demo.gguf"
START_S = 60  # a broker on a busy machine of two cores


def free_ports(n: int) -> list[int]:
    """n different ports that are free now; held together so that none is given twice.

    None of the range that outgoing connections take theirs from: a client that keeps trying to reach a
    server that is down would some day be connected to itself, and hold the port.
    """
    with contextlib.ExitStack() as stack:
        socks = [stack.enter_context(socket.socket()) for _ in range(n)]
        for s in socks:
            while s.getsockname()[1] == 0:
                with contextlib.suppress(OSError):
                    s.bind(("127.0.0.1", random.randint(12000, 32000)))
        return [s.getsockname()[1] for s in socks]


def wait_port(port: int, process: subprocess.Popen, log: pathlib.Path, limit_s: float = START_S) -> None:
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if process.poll() is not None:
            raise RuntimeError(f"{log.name} ended with {process.returncode}:\n{tail(log)}")
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 0.5):
            return
        time.sleep(0.1)
    raise RuntimeError(f"{log.name}: port {port} not open after {limit_s:.0f} s:\n{tail(log)}")


def wait_for(what: str, condition, limit_s: float = 60.0, step_s: float = 0.05):
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


class Rig:
    """One temporary folder with a broker and a Redis; programs are started by the tests."""

    def __init__(self, kafka: bool = True, redis: bool = True, proxied: bool = False,
                 broker: dict | None = None) -> None:
        """broker: more of Kafka's properties. proxied: the broker also listens on proxied_port and tells
        whoever comes there that it is reached at proxy_port, where a test starts a proxy.Proxy."""
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="millrace-test."))
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
            for log in sorted(self.dir.glob("*.log")):
                if log.name != "kafka.log":
                    print(f"--- {log.name}\n{tail(log)}", file=sys.stderr)
        self.close()

    def close(self) -> None:
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
        """stdout and stderr go to <name>.log; a new start of the same name appends."""
        with open(self.log(name), "ab") as out:
            p = subprocess.Popen([str(a) for a in argv], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                 cwd=self.dir, env={**os.environ, **(env or {})}, start_new_session=True)
        self.processes[name] = p
        return p

    def stop(self, name: str, sig: int = signal.SIGTERM, limit_s: float = 40) -> int | None:
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
        return ["java", "-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1",
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
        wait_for("Kafka answers", answers, START_S)

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
                              timeout=kw.pop("timeout", 120), **kw)


def flags(settings: dict) -> list[str]:
    return [f"--{name.replace('_', '-')}={value}" for name, value in settings.items()]
