#!/usr/bin/python3
"""Goal: bench/gpu.sh, which has minutes on a machine that is lent, comes to its tables whatever goes wrong on the way:
a cuBLASLt that it cannot be built with, a test that fails, a model that is not made, a figure that hangs or fails.

Method: a copy of the script in a folder of its own, and in front of PATH programs that answer like a GPU's machine: the
build "makes" a millrace that prints a figure at once.
"""

import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from rig import SOURCE

TOOLS = {
    "nvidia-smi": """case "$*" in *name*) echo "Some GPU, 9.0, 1, 2 MiB, 3 MHz" ;; *) echo 9.0 ;; esac""",
    "ctest": """echo "1/1 Test #1: unit/engine/test_cuda_layout ... $(cat tested)"
grep -q Passed tested""",
    "compute-sanitizer": """echo "ERROR SUMMARY: 0 errors" """,
    "cmake": """[ "$1" = --build ] || { echo "$*" >options; exit 0; }
[ ! -e no_cublas ] || grep -q MR_CUBLASLT_INCLUDE=OFF options || { echo "cublasLt.h: error"; exit 1; }
mkdir -p "$2/bin" "$2/tests" && cp "$TOOLS/made" "$2/bin/millrace" """,
    "made": """if [ "$1" = model ]; then
    [ ! -e no_model ] || case "$*" in *tinyllama*) exit 1 ;; esac
    while [ "$1" != -o ]; do shift; done
    echo model >"$2"
    exit
fi
case "$*" in *--intruder*) [ ! -e hangs ] || sleep 60 ;; *qwen3*) exit 1 ;; esac
case "$*" in
    *--workload*) echo '{"in":1,"out":2,"model":"a load","output_tps":100}' ;;
    *) echo '{"batch":1,"model":"a step","gpu_quant":"none","type":"F16","decode_tps":50,"prefill_tps":1000}' ;;
esac""",
}


class GpuScript(unittest.TestCase):
    def setUp(self) -> None:
        self.top = pathlib.Path(tempfile.mkdtemp(prefix="millrace-gpu-"))
        self.addCleanup(shutil.rmtree, self.top)
        self.out = self.top / "out"
        (self.top / "bench").mkdir()
        shutil.copy(SOURCE / "bench/gpu.sh", self.top / "bench/gpu.sh")
        (self.top / "tools").mkdir()
        for name, text in TOOLS.items():
            path = self.top / "tools" / name
            path.write_text("#!/bin/sh\n" + text + "\n")
            path.chmod(0o755)
        (self.top / "tested").write_text("Passed\n")

    def run_it(self, seconds: int) -> subprocess.CompletedProcess:
        tools = self.top / "tools"
        env = os.environ | {"OUT": str(self.out), "TOOLS": str(tools), "PATH": f"{tools}:{os.environ['PATH']}"}
        return subprocess.run(["bash", self.top / "bench/gpu.sh", str(seconds)], env=env, capture_output=True, text=True,
                              timeout=120)

    def figures(self, name: str) -> int:
        return len((self.out / name).read_text().splitlines())

    def test_everything_is_measured(self) -> None:
        run = self.run_it(400)
        self.assertEqual(run.returncode, 0, run.stderr)
        wanted = [line.split() for line in (self.top / "bench/gpu.sh").read_text().splitlines()
                  if line.startswith(("measure ", "load "))]
        self.assertEqual(self.figures("load.jsonl"), sum(w[0] == "load" for w in wanted))
        self.assertEqual(self.figures("bench.jsonl"), sum(w[0] == "measure" and w[1] != "qwen3-0.6b" for w in wanted))
        self.assertIn("not measured: measure qwen3-0.6b", run.stderr)
        self.assertIn("memcheck: exit code 0", run.stdout)
        self.assertEqual(run.stdout.count("a load"), self.figures("load.jsonl"))
        self.assertEqual(run.stdout.count("a step"), self.figures("bench.jsonl"))
        self.assertIn("a step", (self.out / "table.txt").read_text())
        self.assertEqual(list((self.top / "build/gpu").glob("models.*")), [])

    def test_what_goes_wrong_costs_its_own_figures(self) -> None:
        for name in ("no_cublas", "no_model", "hangs"):
            (self.top / name).touch()
        (self.top / "tested").write_text("***Failed\n")
        run = self.run_it(104)  # 4 seconds for figures, since 100 are kept
        self.assertNotEqual(run.returncode, 0)
        self.assertIn("without cuBLASLt", run.stderr)
        self.assertIn("***Failed", run.stdout)
        self.assertIn("not measured: measure tinyllama", run.stderr)
        self.assertIn("not measured: load llama3-8b q4_k_m none 128x256 64 --intruder", run.stderr)
        self.assertIn("a step", run.stdout)


if __name__ == "__main__":
    unittest.main()
