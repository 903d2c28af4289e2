#!/usr/bin/env bash
# gpu.sh - builds the engine with its CUDA kernels on a machine with a GPU, tests it there, measures it.
#
# usage: bench/gpu.sh [seconds]     most that the measurements may take: 300
#
# Needs CUDA (nvcc), CMake and a C compiler, and no network. Prints one table; the figures as JSON lines, the
# log of the tests and that of compute-sanitizer go to $OUT, or to build/gpu. Exit code: that of the tests.
set -uo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
case ${1:-300} in
    *[!0-9]*) sed -n '2,7s/^# \{0,1\}//p' "$0"; [ "$1" = --help ] && exit 0 || exit 64 ;;
esac
seconds=${1:-300}
build=$top/build/gpu
out=${OUT:-$build}
jobs=$(nproc)
mkdir -p "$build" "$out"
say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS" >&2; }
export PATH=$PATH:/usr/local/cuda/bin

say "GPU"
nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total,clocks.max.sm --format=csv,noheader || exit 69
arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')

say "building for $arch"
generator=(); command -v ninja >/dev/null && generator=(-G Ninja)
{ cmake "${generator[@]}" -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DMR_ENGINE_ONLY=ON -DMR_CUDA=ON \
        "-DMR_CUDA_ARCHS=$arch" && cmake --build "$build" -j "$jobs"; } >"$out/build.log" 2>&1 ||
    { tail -n 40 "$out/build.log"; exit 70; }

say "tests: kernels, golden models, invariance"
ctest --test-dir "$build" -R 'cuda|golden|invariance' --output-on-failure --timeout 240 >"$out/tests.log" 2>&1
tested=$?
grep -hE 'Passed|Failed|Timeout|tests passed' "$out/tests.log"
[ $tested = 0 ] || tail -n 60 "$out/tests.log"
"$build/tests/golden_test_golden" 2>/dev/null | grep ' cuda: '

# A fault of memory or a missing barrier shows here, if anywhere. Not every driver lets the tool in.
if command -v compute-sanitizer >/dev/null; then
    for tool in memcheck racecheck; do
        say "compute-sanitizer $tool"
        timeout 90 compute-sanitizer --tool $tool --error-exitcode 9 "$build/tests/unit_engine_test_cuda_layout" \
            >"$out/$tool.log" 2>&1
        echo "exit code $? (9: found something; 124: out of time)"
        grep -E 'ERROR SUMMARY|RACECHECK SUMMARY|=== (Error|Invalid|Program hit)' "$out/$tool.log" | sort | uniq -c | head -n 8
    done
fi

say "measuring"
results=$out/bench.jsonl
: >"$results"
end=$((SECONDS + seconds))
# shape type batches pp ctx
while read -r shape type batches pp ctx; do
    [ $SECONDS -lt $end ] || { echo "out of time before $shape $type" >&2; break; }
    model=$build/$shape-$type.gguf
    [ -e "$model" ] || "$build/bin/millrace" model synth --shape "$shape" --type "$type" --seed 1 -o "$model" >&2 || continue
    timeout 120 "$build/bin/millrace" bench engine -m "$model" --device cuda --pp "$pp" --ctx "$ctx" --tg 64 \
        --batch "$batches" --step-tokens 2048 --json | tee -a "$results" | sed 's/^/  /' >&2
    rm -f "$model"
done <<'LIST'
tinyllama-1.1b q8_0 1,8,32 512 0
llama3-8b q4_k_m 1,4,16,64 512 0
llama3-8b q8_0 1,16,64 512 0
llama3-8b f16 1,16 512 0
llama3-8b q4_k_m 1,16 512 8000
qwen3-0.6b q4_0 1,64 512 0
LIST

say "result"
awk '
function field(name,   s) { s = $0; if (!sub(".*\"" name "\":\"?", "", s)) return "-"; sub("[,\"}].*", "", s); return s }
BEGIN { printf "%-34s %-6s %6s %6s %12s %12s\n", "model", "type", "batch", "ctx", "prefill t/s", "decode t/s" }
{ m = field("model"); sub(".*/", "", m)
  printf "%-34s %-6s %6s %6s %12.0f %12.1f\n", m, field("type"), field("batch"), field("ctx"), field("prefill_tps"), field("decode_tps") }' "$results"
exit $tested
