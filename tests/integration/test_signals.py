#!/usr/bin/python3
"""Goal: SIGTERM and SIGINT end our programs at any time, also as process 1 of a container, where the kernel drops what
is not caught.

Method: each as the first process of a PID namespace (needs root, else skipped), with brokers that do not answer: it
waits for them when the signal comes.
"""

import os
import pathlib
import signal
import subprocess
import tempfile
import unittest

import rig as servers

UNSHARE = ["unshare", "--pid", "--fork", "--kill-child"]


def can_unshare() -> bool:
    return subprocess.run([*UNSHARE, "true"], stdin=subprocess.DEVNULL, capture_output=True).returncode == 0


@unittest.skipUnless(can_unshare(), "no right to make a PID namespace")
class Process1(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.dir = pathlib.Path(folder.name)
        self.nobody = f"127.0.0.1:{servers.free_ports(1)[0]}"

    def end(self, argv: list, sig: int, waits_in: str) -> int:
        """Sends the signal once the program has a thread of that name; its exit code."""
        p = subprocess.Popen([*UNSHARE, *map(str, argv)], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL, env={**os.environ, "XDG_RUNTIME_DIR": str(self.dir)})
        self.addCleanup(p.wait)
        self.addCleanup(p.kill)

        def first() -> str:
            return pathlib.Path(f"/proc/{p.pid}/task/{p.pid}/children").read_text().strip()

        def waits() -> bool:
            try:
                return any(waits_in in c.read_text() for c in pathlib.Path(f"/proc/{first()}/task").glob("*/comm"))
            except OSError:  # a thread ends while it is looked at
                return False
        servers.wait_for(f"a thread {waits_in}", waits)
        os.kill(int(first()), sig)
        return p.wait(servers.HANG_S)

    def test_dispatcher(self) -> None:
        argv = [servers.BIN / "millrace-dispatcher", "--kafka-brokers", self.nobody, "--dispatcher-listen", ""]
        self.assertEqual(self.end(argv, signal.SIGTERM, "rdk:"), 143)
        self.assertEqual(self.end(argv, signal.SIGINT, "rdk:"), 130)

    def test_worker(self) -> None:
        """Its signals are caught as soon as it has a thread: this end is one in order."""
        argv = [servers.BIN / "millrace-worker", "--kafka-brokers", self.nobody, "--worker-listen", "",
                "--model-path", servers.DEMO_MODEL, "--threads", "1"]
        self.assertEqual(self.end(argv, signal.SIGTERM, "rdk:"), 0)

    def test_up_and_submit(self) -> None:
        for command in (["up", "-m", servers.DEMO_MODEL, "--kafka", self.nobody], ["submit", "--kafka", self.nobody, "x"]):
            with self.subTest(command=command[0]):
                self.assertEqual(self.end([servers.BIN / "millrace", *command], signal.SIGTERM, "rdk:"), 143)


if __name__ == "__main__":
    servers.main()
