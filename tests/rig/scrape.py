"""A strict reader of Prometheus's text format 0.0.4, and of the probes beside it."""

from __future__ import annotations

import re
import urllib.error
import urllib.request

from rig import HANG_S

NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
LABEL = r'[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*"'
HEAD = re.compile(rf"# (HELP|TYPE) ({NAME}) (.+)")
SAMPLE = re.compile(rf"({NAME})(?:\{{({LABEL}(?:,{LABEL})*)\}})? (\S+)")
SUFFIXES = ("_bucket", "_sum", "_count")


class Family:
    def __init__(self, name: str) -> None:
        self.name, self.type = name, ""
        self.samples: dict[tuple[str, str], float] = {}  # by name and labels, in order

    def owns(self, name: str) -> bool:
        return name == self.name if self.type != "histogram" else name in {self.name + s for s in SUFFIXES}


def parse(text: str) -> dict[str, Family]:
    """Families by name. Raises on anything that a careful writer would not write."""
    families: dict[str, Family] = {}
    now = None
    assert text.endswith("\n")
    for line in text.splitlines():
        head = HEAD.fullmatch(line)
        if head and head[1] == "HELP":
            assert head[2] not in families, f"{head[2]} a second time"
            now = families[head[2]] = Family(head[2])
        elif head:
            assert now and now.name == head[2] and not now.type and not now.samples, line
            assert head[3] in ("counter", "gauge", "histogram"), line
            now.type = head[3]
        else:
            sample = SAMPLE.fullmatch(line)
            assert sample, f"not understood: {line}"
            assert now and now.type and now.owns(sample[1]), f"{line} stands in {now and now.name}"
            key = (sample[1], sample[2] or "")
            assert key not in now.samples, f"twice: {line}"
            now.samples[key] = float(sample[3])
    for f in families.values():
        check_histogram(f)
    return families


def check_histogram(f: Family) -> None:
    """Buckets rise to the count, for each set of labels."""
    if f.type != "histogram":
        return
    last: dict[str, float] = {}
    for (name, labels), value in f.samples.items():
        series = re.sub(r',?le="[^"]*"', "", labels)
        if name.endswith("_bucket"):
            assert value >= last.get(series, 0), (name, labels)
            last[series] = value
            assert labels.endswith('le="+Inf"') or 'le="+Inf"' not in labels
        elif name.endswith("_count"):
            assert value == last[series], (name, labels)


class Page:
    """One scrape."""

    def __init__(self, port: int) -> None:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=HANG_S) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=0.0.4")
            self.text = answer.read().decode()
        self.families = parse(self.text)

    def get(self, name: str, **labels: str) -> float:
        """The one sample of this full name that has these labels."""
        found = [value for f in self.families.values() for (n, text), value in f.samples.items()
                 if n == name and all(f'{k}="{v}"' in text for k, v in labels.items())]
        assert len(found) == 1, f"{name} {labels}: {len(found)} samples"
        return found[0]

    def rising(self) -> dict[tuple[str, str], float]:
        """Whatever must never go down."""
        return {key: value for f in self.families.values() if f.type != "gauge" for key, value in f.samples.items()}


def probe(port: int, path: str) -> tuple[int, str]:
    """Status and text; status 0: nobody is there."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=HANG_S) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode()
    except OSError:
        return 0, ""
