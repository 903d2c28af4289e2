"""Packages from npm for the tests that speak to us with somebody else's library."""

from __future__ import annotations

import os
import pathlib
import subprocess

FOLDER = pathlib.Path(os.environ.get("MR_NPM_DIR", "/tmp/millrace-npm"))


def modules(name: str, packages: list[str]) -> pathlib.Path:
    """The node_modules with these name@version, for NODE_PATH. Installed once; then no network is needed."""
    folder = FOLDER / name
    mark = folder / "installed"
    wanted = "\n".join(packages)
    if not mark.exists() or mark.read_text() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--loglevel=error", *packages],
                       check=True, stdout=subprocess.DEVNULL)
        mark.write_text(wanted)
    return folder / "node_modules"
