#!/usr/bin/python3
"""Goal: a service manager hears from dispatcher and worker when they are ready, that they are alive, and when their
end begins, in this order.

Method: the test is the manager, with a datagram socket; `millrace up` with its embedded broker passes the address on
to both programs. What a message says is tests/unit/base/test_notify.c's matter.
"""

import os
import signal
import socket
import time
import unittest

import rig as servers


class Notify(unittest.TestCase):
    def test_ready_alive_stopping(self) -> None:
        with servers.Rig(kafka=False, redis=False) as rig, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            address = rig.dir / "notify"
            manager.bind(str(address))
            manager.settimeout(servers.HANG_S)
            env = {"NOTIFY_SOCKET": str(address), "WATCHDOG_USEC": "2000000", "XDG_RUNTIME_DIR": str(rig.dir)}
            up = rig.start("up", [servers.BIN / "millrace", "up", "-m", servers.DEMO_MODEL, "--log-dir", rig.dir],
                           env)

            def hear(what: bytes, times: int) -> set[bytes]:
                """Reads until `what` has come so often; returns what else came."""
                others, end = set(), time.monotonic() + servers.HANG_S
                while times > 0:
                    self.assertLess(time.monotonic(), end, f"{what} does not come")
                    message = manager.recv(100)
                    times -= message == what
                    others.add(message)
                return others - {what}

            self.assertLessEqual(hear(b"READY=1", 2), {b"WATCHDOG=1"})  # dispatcher and worker
            self.assertEqual(hear(b"WATCHDOG=1", 4), set())
            os.kill(up.pid, signal.SIGTERM)
            self.assertLessEqual(hear(b"STOPPING=1", 2), {b"WATCHDOG=1"})
            self.assertEqual(up.wait(servers.HANG_S), 0)


if __name__ == "__main__":
    servers.main()
