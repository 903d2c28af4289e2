#!/usr/bin/python3
"""Goal: a service that has never heard of our libraries gets along with us: the clients that its language has, as
they come, without a codec to add.

Method: a service on Node (clients/service.js: KafkaJS, ioredis, @msgpack/msgpack) sends jobs as JSON, as msgpack and
without a content type, plain, compressed and in transactions, one of which it aborts; it subscribes to every job's
channel and reads the results. What it printed is compared with what the jobs ask for. The texts are the ones that
break encoders. Before that the topics exist, so that nothing of the start is measured.
"""

from __future__ import annotations

import itertools
import json
import subprocess
import unittest

import rig as servers
from jobs import make_job
from npm import modules

PACKAGES = ["kafkajs@2.2.4", "ioredis@6.0.0", "@msgpack/msgpack@3.1.3"]
SERVICE = servers.SOURCE / "tests/integration/clients/service.js"
TEXTS = ("A game of chess.", "日本語のテキスト、絵文字🎉👩‍👩‍👧‍👦", "שלום RTL العربية", "tab\tline\nbell \u0007 zero \u200b width",
         "e\u0301 combining, \\ and \"quotes\"", "x" * 300, " ")
FORMATS = ("json", "msgpack", "unsaid")
HOWS = ("plain", "gzip", "transaction")


class Clients(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.node_path = modules("clients", PACKAGES)
        cls.rig = cls.enterClassContext(servers.Rig())
        cls.rig.start_dispatcher(log_level="debug")
        cls.rig.start_worker()
        servers.wait_for("the worker's partitions",
                         lambda: "partitions assigned" in cls.rig.log("worker").read_text())

    def talk(self, jobs: list[dict]) -> tuple[dict, dict]:
        """Frames by job id, and result lines by job id; a second result of a job fails."""
        env = {**self.rig.env(), "NODE_PATH": str(self.node_path)}
        p = subprocess.run(["node", SERVICE, self.rig.brokers, self.rig.redis_url], input=json.dumps(jobs), env=env,
                           text=True, capture_output=True, timeout=servers.HANG_S, check=False)
        self.assertEqual(p.returncode, 0, p.stderr)
        frames, results = {}, {}
        for line in map(json.loads, p.stdout.splitlines()):
            if line["kind"] == "frame":
                frames.setdefault(line["frame"]["job_id"], []).append(line["frame"])
            else:
                self.assertNotIn(line["key"], results)
                results[line["key"]] = line
        return frames, results

    def test_a_node_service_gets_what_it_asked_for(self) -> None:
        kinds = itertools.cycle(itertools.product(FORMATS, HOWS))
        jobs = [{"job": make_job(text), "format": f, "how": h} for text in TEXTS for f, h in itertools.islice(kinds, 9)]
        refused = [{"job": make_job("Half a token.", params={"max_tokens": 1.5}), "format": f, "how": "plain"}
                   for f in FORMATS]
        aborted = {"job": make_job("Never sent."), "format": "json", "how": "aborted"}
        frames, results = self.talk(jobs + refused + [aborted])

        self.assertNotIn(aborted["job"]["job_id"], results)
        self.assertNotIn(aborted["job"]["job_id"], frames)
        texts = {}
        for j in jobs:
            job_id = j["job"]["job_id"]
            line, mine = results[job_id], frames[job_id]
            self.assertEqual(line["type"], "application/msgpack" if j["format"] == "msgpack" else "application/json")
            self.assertEqual((line["result"]["status"], line["ce_type"]), ("succeeded", "millrace.result.succeeded"))
            tokens = [f for f in mine if f["type"] == "token"]
            self.assertEqual([f["index"] for f in tokens], list(range(len(tokens))))
            self.assertEqual("".join(f["text"] for f in tokens), line["result"]["text"])
            self.assertEqual(mine[-1]["type"], "done")
            texts.setdefault(j["job"]["input"]["messages"][0]["content"], set()).add(line["result"]["text"])
        self.assertEqual({text: len(answers) for text, answers in texts.items()}, dict.fromkeys(TEXTS, 1))
        for j in refused:
            result = results[j["job"]["job_id"]]["result"]
            self.assertEqual((result["status"], result["error"]["field"]), ("rejected", "params.max_tokens"))


if __name__ == "__main__":
    servers.main()
