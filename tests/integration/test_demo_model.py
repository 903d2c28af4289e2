#!/usr/bin/python3
"""Goal: the engine does with the demo model what its training program says it does.

Method: models/samples/outputs.jsonl holds, for every sample, the prompt's ids and the greedy answer by an
independent NumPy forward pass on the file's weights. The ids of the prompt must be the same for all; the
answers for nearly all: where two tokens are all but equally likely, f16 keys and values may choose the other.
"""

import json
import subprocess
import unittest

import rig as servers
from rig import BIN, DEMO_MODEL, SOURCE

SAMPLES = 40
MIN_EQUAL = 0.8  # the engine rounds inputs of 8-bit weights to 8 bits, which turns a close choice now and then


def lines(name: str) -> list[dict]:
    return [json.loads(line) for line in (SOURCE / "models/samples" / name).read_text().splitlines()]


def content(request: dict) -> str:
    return request["body"]["messages"][-1]["content"]


class DemoModel(unittest.TestCase):
    def test_prompt_ids(self) -> None:
        head, tail = "<|im_start|>user\n", "<|im_end|>\n<|im_start|>assistant\n"
        texts = [json.dumps(head + content(r) + tail) for r in lines("samples.jsonl")]
        run = subprocess.run([BIN / "millrace", "tokenize", "-m", DEMO_MODEL, "--json", "--special"],
                             input="\n".join(texts) + "\n", capture_output=True, text=True, check=True)
        made = [json.loads(line) for line in run.stdout.splitlines()]
        self.assertEqual(made, [r["prompt_ids"] for r in lines("outputs.jsonl")])

    def test_answers(self) -> None:
        wanted = lines("outputs.jsonl")[:SAMPLES]
        equal = 0
        for request, want in zip(lines("samples.jsonl"), wanted):
            run = subprocess.run([BIN / "millrace", "generate", "-m", DEMO_MODEL, "--chat", "--json", "-t", "0",
                                  "-n", "40", "-f", "-"], input=content(request), capture_output=True, text=True,
                                 check=True)
            got = json.loads(run.stdout)
            self.assertEqual(got["usage"]["prompt_tokens"], len(want["prompt_ids"]))
            equal += got["text"].strip() == want["text"].strip()
        print(f"{equal} of {SAMPLES} answers equal")
        self.assertGreaterEqual(equal, MIN_EQUAL * SAMPLES)


if __name__ == "__main__":
    servers.main()
