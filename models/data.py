"""data.py - the texts that the demo model is trained and judged on.

Each Debian package carries a long description and, written by the same
maintainer, a one-line synopsis of it. That is some 60,000 human-made summaries
that any Debian machine can fetch from its own mirror, so the model can be
rebuilt from public text alone, and judged on text that it has never seen.

The split goes by source package, not by binary package: siblings such as
foo, foo-data and foo-doc share most of their text. Digits are dropped from the
source name first, so gcc-11 and gcc-12 fall on the same side too. The side is a
hash of the name, hence the same on every machine and in every later release.
What is left is a text that two unrelated sources share word for word; such a
document is dropped from the training side.

Output: one JSON object per line in train.jsonl (88 %), dev.jsonl (2 %, for
choices made while training) and test.jsonl (10 %, for the published figures).
With --samples also a few hundred of the held-out documents as batch requests.
"""
from __future__ import annotations

import argparse
import glob
import hashlib
import json
import os
import re
import subprocess
from typing import Iterator

Doc = dict[str, str]  # package, source, description, synopsis

BULLET = re.compile(r"(?:[-*+•]|o(?= )|\d{1,2}[.)])\s+\S")
SYNOPSIS_CHARS = range(8, 121)
DESCRIPTION_CHARS_MIN = 40
SAMPLE_CHARS_MAX = 1400  # some 350 tokens: a sample needs no cutting


def read_list(path: str) -> str:
    """An apt list in plain text, whichever way apt has compressed it."""
    out = subprocess.run(["/usr/lib/apt/apt-helper", "cat-file", path], check=True,
                         stdout=subprocess.PIPE).stdout
    return out.decode("utf-8", errors="replace")


def stanzas(text: str) -> Iterator[dict[str, str]]:
    """Deb822 records; the lines of a folded field stay joined by newlines."""
    for block in text.split("\n\n"):
        fields: dict[str, str] = {}
        name = ""
        for line in block.split("\n"):
            if line[:1] in (" ", "\t"):
                if name:
                    fields[name] += "\n" + line
            elif ":" in line:
                name, _, value = line.partition(":")
                fields[name] = value.strip()
        if fields:
            yield fields


def unwrap(folded: str) -> str:
    """Debian's description markup as plain paragraphs.

    The leading blank of each line goes, " ." becomes an empty line, the hard
    wraps within a paragraph become blanks, and a list item keeps its own line.
    """
    out: list[str] = []
    indent_of_item = -1  # of the list item that is open, or -1
    fresh = True  # the next line starts a new output line
    for raw in folded.split("\n"):
        line = raw[1:].rstrip() if raw[:1] in (" ", "\t") else raw.rstrip()
        text = " ".join(line.split())
        if text in ("", "."):
            if out and out[-1]:
                out.append("")
            fresh, indent_of_item = True, -1
            continue
        indent = len(line) - len(line.lstrip())
        if BULLET.match(text):
            out.append(text)
            indent_of_item = indent
        elif indent_of_item >= 0 and (indent > indent_of_item or indent == 0 == indent_of_item):
            out[-1] += " " + text
        elif fresh or indent > 0 or indent_of_item >= 0:
            out.append(text)
            indent_of_item = -1
        else:
            out[-1] += " " + text
        fresh = indent > 0 and indent_of_item < 0
    return "\n".join(out).strip()


def family(source: str) -> str:
    """What the split hashes: the source name without its version numbers."""
    return re.sub(r"[\d.]+", "", source).strip("-") or source


def side(source: str) -> str:
    """test, dev or train; depends on nothing but the name."""
    bucket = int(hashlib.sha256(family(source).encode()).hexdigest()[:8], 16) % 100
    return "test" if bucket < 10 else "dev" if bucket < 12 else "train"


def load(lists: str, pattern: str) -> list[Doc]:
    """All usable documents, in the order of the list files."""
    source_of: dict[str, str] = {}
    for path in sorted(glob.glob(os.path.join(lists, f"*{pattern}*_Packages*"))):
        for s in stanzas(read_list(path)):
            if "Package" in s:
                source_of[s["Package"]] = s.get("Source", s["Package"]).split(" ")[0]
    docs: list[Doc] = []
    seen: set[tuple[str, str]] = set()
    for path in sorted(glob.glob(os.path.join(lists, f"*{pattern}*_Translation-en*"))):
        for s in stanzas(read_list(path)):
            package, folded = s.get("Package"), s.get("Description-en")
            if package not in source_of or not folded or "\n" not in folded:
                continue
            head, _, body = folded.partition("\n")
            synopsis, description = " ".join(head.split()), unwrap(body)
            if len(synopsis) not in SYNOPSIS_CHARS or len(description) < DESCRIPTION_CHARS_MIN:
                continue
            if re.search(r"transitional|dummy package", synopsis, re.I):
                continue  # says nothing about the text below it
            if (description, synopsis) in seen:
                continue
            seen.add((description, synopsis))
            docs.append({"package": package, "source": source_of[package],
                         "description": description, "synopsis": synopsis})
    return docs


def split(docs: list[Doc]) -> dict[str, list[Doc]]:
    sides: dict[str, list[Doc]] = {"train": [], "dev": [], "test": []}
    for d in docs:
        sides[side(d["source"])].append(d)
    held_out = {d["description"] for name in ("dev", "test") for d in sides[name]}
    sides["train"] = [d for d in sides["train"] if d["description"] not in held_out]
    return sides


def sample(docs: list[Doc], n: int) -> list[Doc]:
    """n documents of n different source families, in an order that says nothing."""
    def key(d: Doc) -> str:
        return hashlib.sha256(d["package"].encode()).hexdigest()
    first: dict[str, Doc] = {}
    for d in sorted(docs, key=key):
        if len(d["description"]) <= SAMPLE_CHARS_MAX:
            first.setdefault(family(d["source"]), d)
    return list(first.values())[:n]


def write_samples(docs: list[Doc], folder: str) -> None:
    """Ready-made requests in OpenAI's batch format, and what people wrote instead."""
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "samples.jsonl"), "w", encoding="utf-8") as requests, \
            open(os.path.join(folder, "references.jsonl"), "w", encoding="utf-8") as references:
        for i, d in enumerate(docs, 1):
            name = f"{i:03d}-{d['package']}"
            body = {"model": "demo", "messages": [{"role": "user", "content": d["description"]}],
                    "max_tokens": 40, "temperature": 0}
            request = {"custom_id": name, "method": "POST", "url": "/v1/chat/completions",
                       "body": body}
            requests.write(json.dumps(request, ensure_ascii=False) + "\n")
            references.write(json.dumps({"custom_id": name, "synopsis": d["synopsis"]},
                                        ensure_ascii=False) + "\n")


def read_jsonl(path: str) -> list[Doc]:
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def main() -> None:
    p = argparse.ArgumentParser(description="Extract and split Debian's package descriptions.")
    p.add_argument("--lists", default="/var/lib/apt/lists", help="apt's list folder")
    p.add_argument("--pattern", default="debian_dists_bookworm_main",
                   help="part of the list files' names: which release to read")
    p.add_argument("--out", required=True, help="folder for train.jsonl, dev.jsonl, test.jsonl")
    p.add_argument("--samples", help="folder for samples.jsonl and references.jsonl")
    p.add_argument("--n-samples", type=int, default=300, help="how many held-out documents")
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    sides = split(load(a.lists, a.pattern))
    if a.samples:
        write_samples(sample(sides["test"], a.n_samples), a.samples)
    for name, docs in sides.items():
        with open(os.path.join(a.out, name + ".jsonl"), "w", encoding="utf-8") as f:
            for d in docs:
                f.write(json.dumps(d, ensure_ascii=False) + "\n")
        print(f"{name}: {len(docs)} documents of {len({d['source'] for d in docs})} sources, "
              f"{sum(len(d['description']) for d in docs) / 1e6:.1f} M characters")


if __name__ == "__main__":
    main()
