"""Goal: what is deployed keeps its promises on paper: every service of compose.yaml is bounded, watched and without
rights that it does not need; names of settings, variables, ports and files in compose/, in the systemd units and in
the Kubernetes manifests are real ones.

Method: the files are parsed (PyYAML), and compared with the table of settings (mr_settings_doc), with each other and
with the tree. Units also go through systemd-analyze, where it is there. `run` starts the stack for real.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import yaml

TOP = pathlib.Path(os.environ.get("MR_SOURCE", pathlib.Path(__file__).resolve().parents[2]))
BIN = pathlib.Path(os.environ.get("MR_BIN", TOP / "build/release/bin"))
HERE = TOP / "compose"
VARIABLE = re.compile(r"\$\{(\w+):-([^}]*)\}")
CLOSE_MS = 10_000  # to commit and to leave the group, behind drain_ms
MAX_EXPOSURE = 20  # systemd-analyze's, times ten
bad: list[str] = []


def check(ok: object, what: str) -> None:
    if not ok:
        bad.append(what)


# ---- settings


def settings_table() -> dict[str, dict[str, tuple[str, str]]]:
    """program -> setting -> (default, limits), out of the printed page; "" are those of all programs."""
    page = subprocess.run([BIN / "mr_settings_doc"], check=True, capture_output=True, text=True).stdout
    table: dict[str, dict[str, tuple[str, str]]] = {}
    program = None
    for line in page.splitlines():
        if line.startswith("## "):
            program = "" if line == "## All programs" else line[3:].strip()
            table[program] = {}
        elif program is not None and line.startswith("| `"):
            name, default, limits = (cell.strip(" `") for cell in line.split("|")[1:4])
            table[program][name] = (default, limits)
    return table


TABLE = settings_table()


def check_environment(where: str, program: str, environment: dict) -> None:
    known = {**TABLE[""], **TABLE.get(program, {})}
    for variable, value in environment.items():
        if not variable.startswith("MILLRACE_") or variable == "MILLRACE_CONFIG":
            continue
        name = variable[len("MILLRACE_"):].lower()
        everywhere = set().union(*TABLE.values())
        check(name in everywhere, f"{where}: {variable} is no setting")
        mine = name in known or name not in everywhere or program == ""
        check(mine, f"{where}: {variable} is no setting of {program}")
        limits = re.fullmatch(r"(-?\d+)\.\.(\d+)", known.get(name, ("", ""))[1])
        if limits and value is not None:
            check(re.fullmatch(r"\d+", str(value)) and int(limits[1]) <= int(value) <= int(limits[2]),
                  f"{where}: {variable}={value} is outside {limits[0]}")


def seconds(text: str) -> int:
    return sum(int(n) * {"s": 1, "m": 60, "h": 3600}[unit] for n, unit in re.findall(r"(\d+)(s|m|h)", text))


# ---- compose


def compose_file() -> tuple[dict, dict[str, str]]:
    """The parsed file with all defaults filled in, and the variables."""
    text = (HERE / "compose.yaml").read_text()
    variables: dict[str, str] = {}
    for name, default in VARIABLE.findall(text):
        check(variables.setdefault(name, default) == default, f"compose.yaml: two defaults of {name}")
    check("${" not in VARIABLE.sub("", text), "compose.yaml: a variable without a default")

    def filled(node: object) -> object:  # as compose does it: in the texts of the parsed file
        if isinstance(node, dict):
            return {key: filled(value) for key, value in node.items()}
        if isinstance(node, list):
            return [filled(value) for value in node]
        return VARIABLE.sub(lambda m: m[2], node) if isinstance(node, str) else node

    return filled(yaml.safe_load(text)), variables


def check_service(name: str, s: dict) -> None:
    where = f"compose.yaml: {name}"
    one_shot = s.get("restart") == "no"
    check(re.fullmatch(r"[\w./-]+:v?\d+\.\d+\.\d+(-\w+)?", s.get("image", "")), f"{where}: image not pinned by version")
    check(s.get("user", "0").split(":")[0] != "0", f"{where}: runs as root")
    check(s.get("read_only") is True, f"{where}: root file system can be written")
    check(s.get("cap_drop") == ["ALL"] and "cap_add" not in s, f"{where}: capabilities")
    check("no-new-privileges:true" in s.get("security_opt", []), f"{where}: no-new-privileges")
    check("privileged" not in s and s.get("network_mode", "none") == "none", f"{where}: the host's rights or network")
    limits = s.get("deploy", {}).get("resources", {}).get("limits", {})
    check(set(limits) == {"cpus", "memory", "pids"}, f"{where}: limits of cpus, memory and pids")
    check(set(s.get("logging", {}).get("options", {})) == {"max-size", "max-file"}, f"{where}: log without bound")
    check(one_shot or s.get("restart") == "unless-stopped", f"{where}: restart")
    check(one_shot or s.get("healthcheck", {}).get("test"), f"{where}: no health check")
    for port in s.get("ports", []):
        check(str(port).startswith("127.0.0.1:"), f"{where}: port {port} is not bound to loopback")
    for key, value in s.get("environment", {}).items():
        check(not re.search(r"PASSWORD|SECRET|TOKEN", key) or key.endswith("__FILE"), f"{where}: {key} is no file")
        check(isinstance(value, str), f"{where}: {key} is not a text")


def check_compose() -> None:
    c, variables = compose_file()
    services = c["services"]
    for name, s in services.items():
        check_service(name, s)
        program = {"worker-gpu": "millrace-worker", "worker": "millrace-worker",
                   "dispatcher": "millrace-dispatcher"}.get(name, "")
        check_environment(f"compose.yaml: {name}", program, s.get("environment", {}))
        for volume in s.get("volumes", []):
            source = volume.split(":")[0]
            check(source in c["volumes"] if not source.startswith(".") else (HERE / source).exists(),
                  f"compose.yaml: {name}: {source} is not there")
        for needed, how in s.get("depends_on", {}).items():
            ends = services[needed].get("restart") == "no"
            check(how["condition"] == ("service_completed_successfully" if ends else "service_healthy"),
                  f"compose.yaml: {name}: depends on {needed} being {how['condition']}")
        check(not s.get("profiles") or name in ("cli", "worker-gpu"), f"compose.yaml: {name} is not started by `up`")
    for name in ("worker", "worker-gpu"):
        drain_ms = int(services[name]["environment"].get("MILLRACE_DRAIN_MS", TABLE["millrace-worker"]["drain_ms"][0]))
        grace_ms = seconds(services[name]["stop_grace_period"]) * 1000
        check(grace_ms >= drain_ms + CLOSE_MS, f"compose.yaml: {name}: stop_grace_period")
    lines = re.findall(r"^#(MR_\w+)=(.*)$", (HERE / ".env.example").read_text(), re.M)
    example = dict(lines[::-1])  # the first of a name is its default
    other = set(example.items()) ^ set(variables.items())
    check(not other, f".env.example: differs from compose.yaml in {sorted(other)}")
    demo = TOP / "models" / services["worker"]["environment"]["MILLRACE_MODEL_PATH"].split("/")[-1]
    check(demo.exists(), f"{demo} is not there")


def check_images() -> None:
    text = (HERE / "Dockerfile").read_text()
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", text, re.M))
    for name, s in compose_file()[0]["services"].items():
        if "build" in s:
            check(s["build"]["target"] in stages, f"compose.yaml: {name}: Dockerfile has no such target")
            check(s["image"].startswith("millrace-" + s["build"]["target"]), f"compose.yaml: {name}: image and target")
    version = re.search(r"project\(millrace VERSION (\S+)", (TOP / "CMakeLists.txt").read_text())[1]
    check(f'image.version="{version}"' in text, f"Dockerfile: version is not {version}")
    compose = (HERE / "compose.yaml").read_text()
    check(f"millrace-worker:{version}" in compose, f"compose.yaml: version is not {version}")
    ignore = (TOP / ".dockerignore").read_text().splitlines()
    let_in = {line[1:].split("/")[0] for line in ignore if line.startswith("!")}
    for folder in re.findall(r"add_subdirectory\((\w+)\)", (TOP / "CMakeLists.txt").read_text()):
        check(folder in let_in or folder == "tests", f".dockerignore: {folder} is left out")


# ---- Prometheus and Grafana


def check_watchers() -> None:
    services = compose_file()[0]["services"]
    ports = {"dispatcher": 9464, "worker": 9465}
    prometheus = yaml.safe_load((HERE / "prometheus/prometheus.yml").read_text())
    found = {}
    for job in prometheus["scrape_configs"]:
        for sd in job.get("dns_sd_configs", []):
            found |= {name: sd.get("port") for name in sd["names"]}
    check(ports.items() <= found.items(), f"prometheus.yml: looks up {found}, not {ports}")
    for pattern in prometheus.get("rule_files", []):
        check(list((HERE / "prometheus").glob(pathlib.Path(pattern).name)), f"prometheus.yml: no file {pattern}")
    mounts = dict(v.rsplit(":", 1)[0].split(":") for v in services["grafana"]["volumes"] if v.startswith("."))
    inside = {target: HERE / source for source, target in mounts.items()}
    provisioning = inside["/etc/grafana/provisioning"]
    sources = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())["datasources"]
    check([s["url"] for s in sources] == ["http://prometheus:9090"], "Grafana: the data source")
    uids = {s["uid"] for s in sources}
    for provider in yaml.safe_load((provisioning / "dashboards/millrace.yaml").read_text())["providers"]:
        folder = inside.get(provider["options"]["path"])
        check(folder, f"Grafana: {provider['options']['path']} is not mounted")
        for file in folder.glob("*.json") if folder else []:
            board = json.loads(file.read_text())
            named = set(re.findall(r'"datasource": *\{[^}]*"uid": *"([^"$]+)"', file.read_text()))
            check(board.get("uid") and board.get("title"), f"{file.name}: no uid or title")
            check(named <= uids | {"-- Grafana --", "grafana"}, f"{file.name}: data sources {named - uids}")


# ---- Kubernetes


def manifests() -> list[dict]:
    folder = HERE / "kubernetes"
    names = yaml.safe_load((folder / "kustomization.yaml").read_text())["resources"]
    there = {p.name for p in folder.glob("*.yaml")} - {"kustomization.yaml"}
    check(set(names) == there, f"kustomization.yaml: {set(names) ^ there}")
    return [doc for name in names for doc in yaml.safe_load_all((folder / name).read_text())]


def check_pod(name: str, spec: dict) -> None:
    where, (container,) = f"kubernetes: {name}", spec["containers"]
    environment = {entry["name"]: entry.get("value") for entry in container["env"]}
    check_environment(where, name, environment)
    drain_ms = int(environment.get("MILLRACE_DRAIN_MS", 0))  # a dispatcher's is none
    grace_ms = spec["terminationGracePeriodSeconds"] * 1000
    check(grace_ms >= drain_ms + CLOSE_MS, f"{where}: terminationGracePeriodSeconds")
    paths = {probe: container[probe + "Probe"]["httpGet"]["path"] for probe in ("startup", "liveness", "readiness")}
    check(list(paths.values()) == ["/startupz", "/livez", "/readyz"], f"{where}: probes {paths}")
    pod, own = spec["securityContext"], container["securityContext"]
    check(pod["runAsNonRoot"] and pod["runAsUser"] > 0 and pod["seccompProfile"], f"{where}: the pod's securityContext")
    check(own == {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
          f"{where}: securityContext")
    check(container["resources"]["limits"]["memory"], f"{where}: no memory limit")
    check(":latest" not in container["image"] and ":" in container["image"], f"{where}: image not pinned")


def check_kubernetes() -> None:
    docs = manifests()
    shared = next(d["data"] for d in docs if d["kind"] == "ConfigMap")
    check_environment("kubernetes: settings.yaml", "", shared)
    sets = {d["metadata"]["name"]: d for d in docs if d["kind"] == "StatefulSet"}
    check(set(sets) == {"millrace-dispatcher", "millrace-worker"}, f"kubernetes: {set(sets)}")
    for name, d in sets.items():
        labels = d["spec"]["template"]["metadata"]["labels"]
        check(d["spec"]["selector"]["matchLabels"] == labels, f"kubernetes: {name}: labels")
        check_pod(name, d["spec"]["template"]["spec"])
        for kind, selector in (("Service", lambda s: s["selector"]),
                               ("PodDisruptionBudget", lambda s: s["selector"]["matchLabels"])):
            found = [selector(x["spec"]) for x in docs if x["kind"] == kind and x["metadata"]["name"] == name]
            check(found == [labels], f"kubernetes: {name}: {kind}")
    scaler = next(d["spec"] for d in docs if d["kind"] == "ScaledObject")
    n_partitions = int(shared["MILLRACE_TOPIC_PARTITIONS"])
    check(scaler["maxReplicaCount"] <= n_partitions, "scaler.yaml: more workers than partitions")
    model = next(e["value"] for e in sets["millrace-worker"]["spec"]["template"]["spec"]["containers"][0]["env"]
                 if e["name"] == "MILLRACE_MODEL_NAME")
    lanes = {("millrace-dispatcher", f"millrace.jobs.{lane}") for lane in ("high", "normal", "low")}
    watched = {(t["metadata"]["consumerGroup"], t["metadata"]["topic"]) for t in scaler["triggers"]}
    work = (f"millrace-worker.{model}", f"millrace.work.{model}")
    check(watched == lanes | {work}, f"scaler.yaml: watches {sorted(watched)}")


# ---- systemd


def check_units() -> None:
    work = pathlib.Path(tempfile.mkdtemp(prefix="millrace-units."))
    for template in sorted((HERE / "systemd").glob("*.service.in")):
        unit, program = work / template.name[:-3], template.name[:-len(".service.in")]
        text = template.read_text().replace("@CMAKE_INSTALL_FULL_BINDIR@", str(BIN))
        unit.write_text(text)
        check(not re.search(r"@\w+@", text), f"{unit.name}: a variable is left")
        check("Type=notify" in text and re.search(r"^WatchdogSec=", text, re.M), f"{unit.name}: notify")
        environment = dict(re.findall(r"(MILLRACE_\w+)=(\S+)", text))
        check_environment(unit.name, program, environment)
        if program == "millrace-worker":
            stop_s = seconds(re.search(r"^TimeoutStopSec=(\S+)", text, re.M)[1])
            drain_ms = int(TABLE[program]["drain_ms"][0])
            check(stop_s * 1000 >= drain_ms + CLOSE_MS, f"{unit.name}: TimeoutStopSec")
        if shutil.which("systemd-analyze"):
            for tool in (["verify", "--man=no"], ["security", "--offline=true", f"--threshold={MAX_EXPOSURE}"]):
                p = subprocess.run(["systemd-analyze", "--no-pager", *tool, str(unit)], capture_output=True, text=True)
                said = (p.stderr or p.stdout).strip().splitlines() or [""]
                check(p.returncode == 0, f"{unit.name}: systemd-analyze {tool[0]}: {said[-1]}")
    shutil.rmtree(work)


def main() -> None:
    for part in (check_compose, check_images, check_watchers, check_kubernetes, check_units):
        part()
        print(part.__name__.replace("_", " "), "- done")
    print("\n".join(bad) or "compose.yaml, units and manifests are as promised")
    raise SystemExit(1 if bad else 0)


if __name__ == "__main__":
    main()
