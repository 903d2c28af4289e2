#!/usr/bin/python3
"""Goal: what Prometheus and Grafana are given fits the programs: no panel and no alert asks for a metric or a
label that is not there, every alert has its place in the runbook, and docs/METRICS.md is what the tables say.

Method: the tables are what mr_metrics_doc prints; dashboards and rules are parsed, and every name in their
expressions is looked up there. promtool checks the rules and tries the main ones. There is no Grafana here:
that it draws the panels is not tested.
"""

import json
import pathlib
import re
import subprocess
import tempfile
import unittest

import rig as servers

PAGE = servers.SOURCE / "docs/METRICS.md"
DASHBOARDS = sorted((servers.SOURCE / "compose/grafana/dashboards").glob("*.json"))
RULES = servers.SOURCE / "compose/prometheus/alerts.yml"
OF_PROMETHEUS = {"up": set(), "ALERTS": {"alertname", "alertstate"}}
TARGET_LABELS = {"job", "instance", "model_name", "le"}
SELECTOR = re.compile(r"\b((?:millrace|process)_[a-z0-9_]+|up|ALERTS)\b(?:\{([^}]*)\})?")
BY = re.compile(r"\bby \(([^)]*)\)")


def tables() -> dict[str, set[str]]:
    """Names of samples, and their labels."""
    names = {}
    for name, kind, labels in re.findall(r"^\| `([a-z0-9_]+)`(?: \*)? \| (\w+) \| ([^|]*) \|", PAGE.read_text(), re.M):
        own = {labels.split(":")[0]} if ":" in labels else set()
        for suffix in ("_bucket", "_sum", "_count") if kind == "histogram" else ("",):
            names.setdefault(name + suffix, set()).update(own)
    return {**names, **OF_PROMETHEUS}


def promtool(*args) -> None:
    out = subprocess.run(["promtool", *map(str, args)], text=True, capture_output=True, check=False)
    assert out.returncode == 0, out.stdout + out.stderr


class Dashboards(unittest.TestCase):
    def check_expression(self, expr: str, where: str) -> None:
        there = tables()
        found = SELECTOR.findall(expr)
        self.assertTrue(found, f"{where}: no metric in {expr}")
        labels = set(TARGET_LABELS)
        for name, selector in found:
            self.assertIn(name, there, where)
            asked = set(re.findall(r"(\w+)\s*=~?", selector))
            self.assertLessEqual(asked, there[name] | TARGET_LABELS, f"{where}: {expr}")
            labels |= there[name]
        for by in BY.findall(expr):
            self.assertLessEqual({x.strip() for x in by.split(",")}, labels, f"{where}: {expr}")

    def test_the_page_is_what_the_tables_say(self) -> None:
        printed = subprocess.run([servers.BIN / "mr_metrics_doc"], text=True, capture_output=True, check=True).stdout
        self.assertEqual(PAGE.read_text(), printed, "run mr_metrics_doc > docs/METRICS.md")

    def test_panels_ask_for_what_is_there(self) -> None:
        self.assertEqual([d.stem for d in DASHBOARDS], ["job", "operators", "users"])
        for path in DASHBOARDS:
            board = json.loads(path.read_text())
            ids = [p["id"] for p in board["panels"]]
            self.assertEqual(len(ids), len(set(ids)), path.name)
            self.assertGreaterEqual(board["schemaVersion"], 36)
            cells = set()
            for panel in board["panels"]:
                at = panel["gridPos"]
                mine = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
                self.assertLessEqual(at["x"] + at["w"], 24)
                self.assertFalse(mine & cells, f"{path.name}: {panel['title']} lies on another")
                cells |= mine
                for target in panel.get("targets", []):
                    self.check_expression(target["expr"], f"{path.name}: {panel['title']}")
                    shown = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
                    self.assertLessEqual(shown, set().union(TARGET_LABELS, *tables().values()))
            for variable in board["templating"]["list"]:
                if variable["type"] == "query":
                    self.check_expression(variable["definition"], f"{path.name}: {variable['name']}")

    def rules(self) -> list[tuple[str, str]]:
        """Names and expressions; each is one line in our file."""
        found = re.findall(r"- alert: (\w+)\n\s+expr: (.+)\n", RULES.read_text())
        self.assertEqual(len(found), RULES.read_text().count("- alert:"))
        return found

    def test_alerts_ask_for_what_is_there_and_have_a_runbook(self) -> None:
        runbook = (servers.SOURCE / "docs/RUNBOOK.md").read_text()
        names = [name for name, _ in self.rules()]
        for name, expr in self.rules():
            self.check_expression(expr, name)
        self.assertEqual(re.findall(r"^## (\w+)$", runbook, re.M), names)
        self.assertEqual(re.findall(r"runbook_url: docs/RUNBOOK.md#(\w+)", RULES.read_text()),
                         [name.lower() for name in names])

    def test_promtool_takes_and_tries_the_rules(self) -> None:
        promtool("check", "rules", RULES)
        cases = (servers.SOURCE / "tests/integration/alerts_test.yml").read_text()
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "alerts_test.yml"
            path.write_text(cases.replace("[RULES]", f"[{RULES}]"))
            promtool("test", "rules", path)
            config = pathlib.Path(folder) / "prometheus.yml"
            text = (servers.SOURCE / "compose/prometheus/prometheus.yml").read_text()
            self.assertIn("rule_files: [alerts.yml]", text)
            config.write_text(text.replace("[alerts.yml]", f"[{RULES}]"))
            promtool("check", "config", config)


if __name__ == "__main__":
    servers.main()
