"""Packages from npm for the tests that speak to us with somebody else's library."""

from __future__ import annotations

import fcntl
import os
import pathlib
import subprocess

FOLDER = pathlib.Path(os.environ.get("MR_NPM_DIR", "/tmp/millrace-npm"))


def modules(name: str, packages: list[str]) -> pathlib.Path:
    """The node_modules with these name@version, for NODE_PATH. Installed once, by one test at a time; then no
    network is needed."""
    folder = FOLDER / name
    mark = folder / "installed"
    wanted = "\n".join(packages)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not mark.exists() or mark.read_text() != wanted:
            subprocess.run(["npm", "install", "--prefix", folder, "--no-audit", "--no-fund", "--loglevel=error",
                            *packages], check=True, stdout=subprocess.DEVNULL)
            mark.write_text(wanted)
    return folder / "node_modules"
