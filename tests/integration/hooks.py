"""What the tests of callbacks share: receivers, and a dispatcher whose jobs end at once, since they name a model
that nobody has.

The receiver (webhook/receiver.js) verifies every call with npm's `standardwebhooks`, and answers as the path says.
"""

from __future__ import annotations

import base64
import json
import pathlib

import rig as servers
from jobs import JSON, make_job, produce
from npm import modules

HERE = pathlib.Path(__file__).resolve().parent
PACKAGES = ["standardwebhooks@1.0.0"]
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OLD_SECRET = "whsec_" + base64.b64encode(bytes(range(100, 132))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(50, 82))).decode()


class Receiver:
    """The calls that came, as they come."""

    def __init__(self, rig: servers.Rig, name: str = "receiver", tls: tuple = (), secret: str = SECRET,
                 hosts: str = "127.0.0.1") -> None:
        self.rig, self.name, self.tls, self.secret, self.hosts = rig, name, tls, secret, hosts
        (self.port,) = servers.free_ports(1)
        self.start()

    def start(self) -> None:
        p = self.rig.start(self.name, ["node", HERE / "webhook/receiver.js", self.port, self.secret, *self.tls],
                           {"NODE_PATH": str(modules("webhook", PACKAGES)), "HOSTS": self.hosts})
        servers.wait_port(self.port, p, self.rig.log(self.name))

    def stop(self) -> None:
        self.rig.stop(self.name)

    def calls(self, path: str = "") -> list[dict]:
        """Whole lines only: the last one may be being written."""
        lines = self.rig.log(self.name).read_text().split("\n")[:-1]
        return [c for c in map(json.loads, lines) if c["path"].startswith(path)]

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http{'s' if self.tls else ''}://{host}:{self.port}{path}"


def event_id(job_id: str, status: str = "rejected") -> str:
    return f"msg_{job_id}_{status}"


class Caller:
    """For a TestCase: its class has `rig` and `producer`."""

    def submit(self, url: str | None, n: int = 1, **fields) -> list[str]:
        if url:
            fields["callback"] = {"url": url, **fields.get("callback", {})}
        ids = [produce(self.producer, make_job(**{"model": "nobody-has-it", **fields}), JSON) for _ in range(n)]
        self.assertEqual(self.producer.flush(servers.HANG_S), 0)
        return ids

    def delivered(self, receiver: Receiver, path: str, ids: list[str], status: str = "rejected") -> list[dict]:
        """Waits until each event has been called for; every call must be verified."""
        wanted = {event_id(i, status) for i in ids}

        def all_there():
            calls = receiver.calls(path)
            return calls if wanted <= {c["id"] for c in calls} else None
        calls = servers.wait_for(f"all events at {path}", all_there)
        self.assertEqual({c["error"] for c in calls}, {""})
        return [c for c in calls if c["id"] in wanted]

    def log_of(self, job_id: str, outcome: str) -> list[dict]:
        """Its lines in the log, oldest first, once the last has this outcome."""
        def lines():
            out = self.rig.millrace("webhook", "log", "--job", job_id, "--json").stdout
            found = [json.loads(line) for line in out.splitlines()]
            return found if found and found[-1]["outcome"] == outcome else None
        return servers.wait_for(f"{job_id} is {outcome}", lines, step_s=0.3)

    def letters(self, job_id: str) -> list[dict]:
        out = self.rig.millrace("dead", "list", "--job", job_id, "--json").stdout
        return [json.loads(line) for line in out.splitlines()]
