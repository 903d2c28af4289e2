"""Goal: an API server with KEDA would take the manifests of compose/kubernetes: no unknown field, no wrong type,
nothing that is required left out.

Method: the npm packages kubernetes-models and @kubernetes-models/keda hold the published schemas as TypeScript
types. Each manifest is written as a literal of its type, and the compiler, which refuses unknown fields in literals,
is asked. Manifests that were broken on purpose must be refused.

    kubernetes.py NPM_DIR       the packages are installed there once: 60 MB, so this is no part of scripts/test
"""

from __future__ import annotations

import copy
import json
import os
import pathlib
import subprocess
import sys

import yaml

TOP = pathlib.Path(__file__).resolve().parents[2]
PACKAGES = ["kubernetes-models@5.1.0", "@kubernetes-models/keda@2.0.0", "typescript@5.4.5"]


def install(folder: pathlib.Path) -> None:
    if (folder / "installed").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--loglevel=error", *PACKAGES],
                   check=True, stdout=subprocess.DEVNULL)
    (folder / "installed").touch()


def literal(doc: dict, n: int) -> str:
    package = "@kubernetes-models/keda" if doc["apiVersion"].startswith("keda.sh/") else "kubernetes-models"
    kind, module = doc["kind"], f"{package}/{doc['apiVersion']}/{doc['kind']}"
    return (f"import {{ I{kind} as T{n} }} from {json.dumps(module)};\n"
            f"export const d{n}: T{n} = {json.dumps(doc, indent=1)};\n")


def refused(folder: pathlib.Path, name: str, docs: list[dict]) -> str:
    """What the compiler says; "" when it takes them all."""
    file = folder / f"{name}.ts"
    file.write_text("".join(literal(doc, n) for n, doc in enumerate(docs)))
    p = subprocess.run(["node", "node_modules/typescript/bin/tsc", "--noEmit", "--strict", "--skipLibCheck", "--target",
                        "es2022", "--module", "esnext", "--moduleResolution", "bundler", file.name], cwd=folder,
                       capture_output=True, text=True, env={**os.environ, "NO_COLOR": "1"})
    return "" if p.returncode == 0 else p.stdout + p.stderr


def broken(docs: list[dict]) -> dict[str, list[dict]]:
    """name -> manifests with one mistake."""
    which = next(i for i, d in enumerate(docs) if d["kind"] == "StatefulSet")

    def with_spec(**fields: object) -> list[dict]:
        changed = copy.deepcopy(docs)
        changed[which]["spec"] = {k: v for k, v in {**changed[which]["spec"], **fields}.items() if v is not None}
        return changed

    return {"required": with_spec(selector=None), "type": with_spec(replicas="two"), "unknown": with_spec(replica=2)}


def main() -> None:
    folder = pathlib.Path(sys.argv[1]).resolve()
    install(folder)
    files = sorted(p for p in (TOP / "compose/kubernetes").glob("*.yaml") if p.name != "kustomization.yaml")
    docs = [doc for file in files for doc in yaml.safe_load_all(file.read_text())]
    said = refused(folder, "manifests", docs)
    if said:
        raise SystemExit(said)
    for name, mistaken in broken(docs).items():
        if not refused(folder, name, mistaken):
            raise SystemExit(f"a mistake is not noticed: {name}")
    print(f"{len(docs)} manifests fit their schemas")


if __name__ == "__main__":
    main()
