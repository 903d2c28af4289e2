#!/usr/bin/python3
"""Goal: no name can lead a callback inside. A name is looked up once for a call, each of its addresses is looked
at, one that may not be asked bars them all, and the connection goes to what was looked at and nowhere else,
whatever the name says a moment later; nor does a redirect lead there.

Method: a network of the test's own (a namespace; the test is skipped where none can be made): its loopback has
a global address of each kind beside its own, receivers with TLS stand at all of them, and its resolv.conf
names a server of the test's that says something else each time it is asked, with a time to live of 0. That the
receivers inside would answer is shown first, by asking them.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import http.server
import ipaddress
import json
import os
import pathlib
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import unittest

import rig as servers
from jobs import JSON, make_job, produce, producer

INSIDE = "MR_TEST_NETWORK"  # set for the process in the namespace
OUT, OUT6 = "11.22.33.44", "2620:fe::9"  # global addresses; nobody can be reached by them in here
IN, IN6 = "127.0.0.1", "::1"
PORT = 443
ZONE = ".hooks.example"
A, CNAME, AAAA = 1, 5, 28
SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()

# What a name says when it is asked for the first time, the second, ...; the last for ever.
NAMES = {
    "steady": [[OUT]],
    "outward-then-in": [[OUT], [IN]],
    "outward-then-in6": [[OUT6], [IN6]],
    "inward-then-out": [[IN], [OUT]],
    "both-in": [[OUT, IN]],
    "both-in6": [[OUT, OUT6, IN6]],
    "both-private": [["10.1.2.3", OUT]],
    "metadata": [["169.254.169.254"]],
    "mapped": [["::ffff:127.0.0.1"]],
    "compatible": [["::127.0.0.1"]],
    "nat64": [["64:ff9b::7f00:1"]],
    "sixtofour": [["2002:7f00:1::"]],
    "alias": [["to inner" + ZONE]],
    "alias-of-alias": [["to alias" + ZONE]],
    "inner": [[IN]],
    "redirect": [[OUT]],
    "failing": [[OUT], [IN]],
}
# Never asked, and why; of some the other address would have done.
BARRED = {"both-in": "loopback", "both-in6": "loopback", "both-private": "private", "mapped": "mapped",
          "metadata": "metadata", "compatible": "compatible", "nat64": "loopback", "sixtofour": "6to4",
          "alias": "loopback", "alias-of-alias": "loopback", "inner": "loopback"}


class Names(threading.Thread):
    """A name server: 127.0.0.1, port 53. Counts how often a name was asked for, in pairs of A and AAAA."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.asked: dict[tuple[str, int], int] = {}
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 53))
        self.start()

    def times(self, name: str) -> int:
        return max(self.asked.get((name, kind), 0) for kind in (A, AAAA))

    def run(self) -> None:
        while True:
            query, whom = self.socket.recvfrom(512)
            with contextlib.suppress(OSError):
                self.socket.sendto(self.answer(query), whom)

    def answer(self, query: bytes) -> bytes:
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1:at + 1 + query[at]].decode())
            at += 1 + query[at]
        (kind,) = struct.unpack_from(">H", query, at + 1)
        question = query[12:at + 5]
        records = self.records(".".join(labels), kind)
        known = records is not None
        head = struct.pack(">HHHHHH", *struct.unpack_from(">H", query), 0x8180 if known else 0x8183, 1,
                           len(records or ()), 0, 0)
        return head + question + b"".join(records or ())

    def records(self, name: str, kind: int) -> list[bytes] | None:
        """None: there is no such name. Of an alias also what its target has."""
        plan = NAMES.get(name.removesuffix(ZONE)) if name.endswith(ZONE) else None
        if plan is None:
            return None
        n = self.asked[name, kind] = self.asked.get((name, kind), 0) + 1
        found = []
        for said in plan[min(n, len(plan)) - 1]:
            if said.startswith("to "):
                found.append(record(name, CNAME, dotted(said[3:])))
                found += self.records(said[3:], kind) or []
            elif kind == (AAAA if ":" in said else A):
                found.append(record(name, kind, ipaddress.ip_address(said).packed))
        return found


def dotted(name: str) -> bytes:
    return b"".join(bytes([len(label)]) + label.encode() for label in name.split(".")) + b"\0"


def record(name: str, kind: int, data: bytes) -> bytes:
    return dotted(name) + struct.pack(">HHIH", kind, 1, 0, len(data)) + data


class Receiver(http.server.ThreadingHTTPServer):
    """Notes for whom it was called: (name, path)."""

    def __init__(self, address: str, folder: pathlib.Path) -> None:
        self.calls: list[tuple[str, str]] = []
        self.address_family = socket.AF_INET6 if ":" in address else socket.AF_INET
        super().__init__((address, PORT), Handler)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        tls.load_cert_chain(folder / "cert.pem", folder / "key.pem")
        self.socket = tls.wrap_socket(self.socket, server_side=True)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def for_name(self, name: str) -> list[str]:
        return [path for host, path in self.calls if host == name + ZONE]


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.calls.append((self.headers["Host"].split(":")[0], self.path))
        code = {"/failing": 500, "/redirect": 302}.get(self.path, 200)
        self.send_response(code)
        if code == 302:
            self.send_header("Location", f"https://inner{ZONE}/trap")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args) -> None:
        pass


def make_network() -> None:
    for command in ("ip link set lo up", f"ip addr add {OUT}/32 dev lo", f"ip -6 addr add {OUT6}/128 dev lo nodad"):
        subprocess.run(command.split(), check=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, text in (("resolv.conf", "nameserver 127.0.0.1\noptions timeout:30\n"),
                           ("nsswitch.conf", "hosts: files dns\n")):
            path = pathlib.Path(folder) / name
            path.write_text(text)
            subprocess.run(["mount", "--bind", path, f"/etc/{name}"], check=True)


@unittest.skipUnless(os.environ.get(INSIDE), "no network of its own can be made here (unshare)")
class Rebinding(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        make_network()
        cls.names = Names()
        cls.rig = servers.Rig(redis=False)
        cls.rig.__enter__()
        cls.addClassCleanup(cls.rig.__exit__, None, None, None)
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                        "-days", "1", "-subj", "/CN=hooks", "-addext", f"subjectAltName=DNS:*{ZONE}",
                        "-keyout", "key.pem", "-out", "cert.pem"],
                       cwd=cls.rig.dir, check=True, stderr=subprocess.DEVNULL)
        cls.outside = [Receiver(a, cls.rig.dir) for a in (OUT, OUT6)]
        cls.inside = [Receiver(a, cls.rig.dir) for a in (IN, IN6)]
        (cls.rig.dir / "secrets.yaml").write_text(f"default: {SECRET}\n")
        cls.start()
        cls.producer = producer(cls.rig.brokers)
        servers.wait_for("the dispatcher has its partitions", lambda: "assigned" in cls.rig.log("d").read_text())

    @classmethod
    def start(cls) -> None:
        cls.rig.start_dispatcher("d", dispatcher_id="d", topic_partitions=1, model_grace_ms=0, models="demo",
                                 session_timeout_ms=3000, transaction_timeout_ms=3000,
                                 webhook_delays="0,200ms,200ms", webhook_timeout_ms=60000,
                                 webhook_secrets_file=cls.rig.dir / "secrets.yaml",
                                 webhook_ca_file=cls.rig.dir / "cert.pem")

    def submit(self, name: str, path: str = "/ok") -> str:
        """Its model is nobody's, so that it ends, and calls back, at once."""
        job = make_job(model="nobody-has-it", callback={"url": f"https://{name}{ZONE}{path}"})
        produce(self.producer, job, JSON)
        self.assertEqual(self.producer.flush(servers.HANG_S), 0)
        return job["job_id"]

    def log_of(self, job_id: str, outcome: str) -> list[dict]:
        """Its tries, once there will be no other; this is what the last came to."""
        def lines():
            out = self.rig.millrace("webhook", "log", "--job", job_id, "--json").stdout
            found = [json.loads(line) for line in out.splitlines()]
            return found if found and found[-1]["outcome"] != "failed" else None
        found = servers.wait_for(f"{job_id} has an end", lines, step_s=0.2)
        self.assertEqual(found[-1]["outcome"], outcome, found)
        return found

    def calls(self, group: list[Receiver], name: str) -> int:
        return sum(len(r.for_name(name)) for r in group)

    def test_it_all(self) -> None:
        """One after the other: the last shows that the ones before have left no trace inside."""
        self.those_inside_would_answer()
        self.barred_names()
        self.a_name_that_changes_its_mind()
        self.a_name_that_gets_better()
        self.a_redirect()
        for r in self.inside:
            self.assertEqual(r.calls, [])

    def those_inside_would_answer(self) -> None:
        for address, r in zip((IN, IN6, OUT, OUT6), self.inside + self.outside):
            tls = ssl.create_default_context(cafile=str(self.rig.dir / "cert.pem"))
            with socket.create_connection((address, PORT), servers.HANG_S) as plain, \
                    tls.wrap_socket(plain, server_hostname="steady" + ZONE) as wrapped:
                wrapped.sendall(b"POST /ok HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                answer = http.client.HTTPResponse(wrapped)
                answer.begin()
                self.assertEqual(answer.status, 200)
            r.calls.clear()

    def barred_names(self) -> None:
        ids = {name: self.submit(name) for name in BARRED}
        for name, word in BARRED.items():
            log = self.log_of(ids[name], "dead")
            self.assertEqual(len(log), 3, name)
            for line in log:
                self.assertIn(word, line["why"], name)
                self.assertNotIn("code", line, name)
            self.assertEqual(self.calls(self.outside + self.inside, name), 0, name)
            self.assertEqual(self.names.times(name + ZONE), 3 + (name == "alias") * 3 + (name == "inner") * 6, name)

    def a_name_that_changes_its_mind(self) -> None:
        """The first answer counts for its call and for half a minute; the next one does not come through."""
        for name, path, tries in (("outward-then-in", "/ok", 1), ("outward-then-in6", "/ok", 1),
                                  ("failing", "/failing", 3)):
            log = self.log_of(self.submit(name, path), "delivered" if path == "/ok" else "dead")
            self.assertEqual(len(log), tries, name)
            self.assertEqual(self.calls(self.outside, name), tries, name)
            self.assertEqual(self.names.times(name + ZONE), 1, f"{name}: once for all tries")
        self.rig.stop("d")  # forgets the addresses
        self.start()
        for name in ("outward-then-in", "outward-then-in6", "failing"):
            before = self.calls(self.outside, name)
            for line in self.log_of(self.submit(name), "dead"):
                self.assertIn("loopback", line["why"], name)
            self.assertEqual(self.calls(self.outside, name), before, name)
            self.assertEqual(self.names.times(name + ZONE), 4, f"{name}: each try has looked again")

    def a_name_that_gets_better(self) -> None:
        log = self.log_of(self.submit("inward-then-out"), "delivered")
        self.assertIn("loopback", log[0]["why"])
        self.assertEqual([line["outcome"] for line in log], ["failed", "delivered"])
        self.assertEqual(self.calls(self.outside, "inward-then-out"), 1)
        self.log_of(self.submit("steady"), "delivered")

    def a_redirect(self) -> None:
        log = self.log_of(self.submit("redirect", "/redirect"), "dead")
        self.assertEqual([line["code"] for line in log], [302] * 3)
        self.assertEqual([path for r in self.outside + self.inside for _, path in r.calls if path == "/trap"], [])


def enter() -> None:
    """This program once more, in a network and a set of mounts of its own, if that can be had."""
    own = ["unshare", "--net", "--mount", "--kill-child"]
    if os.geteuid() != 0:
        own.append("--map-root-user")
    if not os.environ.get(INSIDE) and subprocess.run([*own, "true"], check=False, capture_output=True).returncode == 0:
        os.execvpe(own[0], [*own, "--fork", sys.executable, *sys.argv], {**os.environ, INSIDE: "1"})


if __name__ == "__main__":
    enter()
    servers.main()
