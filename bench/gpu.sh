#!/usr/bin/env bash
# gpu.sh - builds the engine with its CUDA kernels on a machine with a GPU, tests it there, measures it.
#
# usage: bench/gpu.sh [seconds]     most that all of it may take: 540
#
# Needs CUDA (nvcc and its host compiler), CMake, a C compiler and 35 GB of /dev/shm or of disk, and no network.
# cuBLASLt is measured if it is in the toolkit, in MR_CUBLAS_DIR or in one of Python's packages. Prints two tables; they,
# the figures as JSON lines and the logs of build, models, tests and compute-sanitizer go to $OUT, or to build/gpu: each
# figure as soon as it is there, so what ends this early costs one. What finds no time any more is left out, and said.
# Exit code: that of the tests.
set -uo pipefail
top=$(cd "$(dirname "$0")/.." && pwd)
cd "$top"
case ${1:-540} in
    *[!0-9]*) sed -n '2,10s/^# \{0,1\}//p' "$0"; [ "$1" = --help ] && exit 0 || exit 64 ;;
esac
deadline=$((SECONDS + ${1:-540}))
build=$top/build/gpu
out=${OUT:-$build}
kernels='cuda_layout cuda_draw cuda_e4m3 cuda_library' # of tests/unit/engine
golden='golden invariance'                             # of tests/golden: those that look for a GPU
models='tinyllama-1.1b-q8_0 llama3-8b-q4_k_m llama3-8b-f16 llama3-8b-q8_0 qwen3-0.6b-q4_0'
models_kib=$((35 << 20)) # what they take
sanitizers="memcheck racecheck synccheck"
for_sanitizers=100 # seconds
mkdir -p "$build" "$out"
export PATH=$PATH:/usr/local/cuda/bin

say() { printf '\n== %s (%d s)\n' "$*" "$SECONDS" >&2; }

# within SECONDS RESERVE COMMAND...: runs it, for so long and not into the last RESERVE seconds; 124: out of time
within() {
    local most=$1 left=$((deadline - $2 - SECONDS))
    shift 2
    [ $left -gt 0 ] || { echo "no time for: $*" >&2; return 124; }
    timeout -k 5 $((left < most ? left : most)) "$@"
}

# The library of the same place is the one that programs load.
find_cublas() {
    local packages dir
    packages=$(python3 -c 'import nvidia; print(*nvidia.__path__)' 2>/dev/null)
    for dir in "${MR_CUBLAS_DIR-}" $(for p in $packages; do echo "$p/cu13" "$p/cublas"; done); do
        [ -e "$dir/include/cublasLt.h" ] || continue
        MR_CUBLAS_DIR=$dir
        export LD_LIBRARY_PATH=$dir/lib:$dir/lib64:${LD_LIBRARY_PATH-}
        return
    done
}

# build_all [OPTION...]: of CMake
build_all() {
    local generator=()
    command -v ninja >/dev/null && generator=(-G Ninja)
    within 60 0 cmake "${generator[@]}" -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DMR_ENGINE_ONLY=ON -DMR_CUDA=ON \
        "-DMR_CUDA_ARCHS=$arch" "-DMR_CUBLAS_DIR=${MR_CUBLAS_DIR-}" "$@" &&
        within 240 0 cmake --build "$build" -j "$(nproc)" --target millrace \
            $(printf 'unit_engine_test_%s ' $kernels) $(printf 'golden_test_%s ' $golden)
}

# Models go to memory, if it can spare them, as they are written and read faster there.
room_for_models() {
    local shm available
    shm=$(df -kP /dev/shm 2>/dev/null | awk 'NR == 2 { print $4 }')
    available=$(awk '/^MemAvailable:/ { print $2 }' /proc/meminfo)
    if [ "${shm:-0}" -gt $models_kib ] && [ "${available:-0}" -gt $((2 * models_kib)) ]; then
        mktemp -d /dev/shm/millrace.XXXXXX
    else
        mktemp -d "$build/models.XXXXXX"
    fi
}

# All at once, each on a core of its own. A file has its name when it is whole.
make_models() {
    local name
    for name in $models; do
        timeout -k 5 "$((deadline - SECONDS))" "$build/bin/millrace" model synth --shape "${name%-*}" \
            --type "${name##*-}" --seed 1 -o "$room/$name.gguf" >>"$out/models.log" 2>&1 &
    done
    wait
}

# A fault of memory or a missing barrier shows here, if anywhere. Not every driver lets the tool in.
sanitize() {
    command -v compute-sanitizer >/dev/null || { echo "compute-sanitizer is not there" >&2; return; }
    for tool in $sanitizers; do
        say "compute-sanitizer $tool"
        within 45 0 compute-sanitizer --tool $tool --error-exitcode 9 "$build/tests/unit_engine_test_cuda_layout" \
            >"$out/$tool.log" 2>&1
        echo "$tool: exit code $? (9: found something; 124: out of time)"
        grep -E 'ERROR SUMMARY|RACECHECK SUMMARY|=== (Error|Invalid|Barrier|Program hit)' "$out/$tool.log" |
            sort | uniq -c | head -n 8
    done
}

# model_of SHAPE TYPE: waits for it; sets model
model_of() {
    model=$room/$1-$2.gguf
    until [ -e "$model" ]; do
        [ $SECONDS -lt $((deadline - for_sanitizers)) ] || return 124
        kill -0 "$maker" 2>/dev/null || [ -e "$model" ] || return 1
        sleep 0.2
    done
}

# measure SHAPE TYPE QUANT BATCHES PROMPT CONTEXT [OPTION]
measure() {
    model_of "$1" "$2" || return
    within 75 $for_sanitizers "$build/bin/millrace" bench engine -m "$model" --device cuda --gpu-quant "$3" \
        --pp "$5" --ctx "$6" --tg 64 --batch "$4" --repeat 1 --step-tokens 2048 --json ${7-} 2>>"$out/engine.log" |
        sed -u "s/^{/{\"file_bytes\":$(stat -c %s "$model"),\"way\":\"${7-}\",/" |
        tee -a "$out/bench.jsonl" | sed -u 's/^/  /' >&2
}

# load SHAPE TYPE QUANT INxOUT SEATS OPTION...: requests through the scheduler
load() {
    local shape=$1 type=$2 quant=$3 what=$4 seats=$5
    shift 5
    model_of "$shape" "$type" || return
    within 75 $for_sanitizers "$build/bin/millrace" bench engine -m "$model" --device cuda --gpu-quant "$quant" \
        --workload "$what" --seats "$seats" --step-tokens 2048 --json "$@" 2>>"$out/engine.log" |
        tee -a "$out/load.jsonl" | sed -u 's/^/  /' >&2
}

field='
function field(name,   s) {
    s = $0
    if (!sub(".*\"" name "\":\"?", "", s)) return "-"
    sub("[,\"}].*", "", s)
    return s
}
function type() { return field("gpu_quant") == "none" ? field("type") : field("gpu_quant") }'

# way: what is switched off, or kept in another form; step ms, gap: the device's time for a decode step, and what it waits between two, as a
# part of that. weights GB/s: what decode reads of the file for every step, as if it were all weights; of FP8, made from
# F16, half
table() {
    awk "$field"'
BEGIN { printf "%-28s %-6s %-18s %6s %6s %12s %12s %13s %8s %6s\n", "model", "type", "way", "batch", "ctx",
        "prefill t/s", "decode t/s", "weights GB/s", "step ms", "gap" }
{ steps = field("decode_tps") / field("batch")
  bytes = field("file_bytes") / (type() == "fp8" ? 2 : 1)
  printf "%-28s %-6s %-18s %6s %6s %12.0f %12.1f %13.0f %8s %6s\n", field("model"), type(), field("way"), field("batch"),
         field("ctx"), field("prefill_tps"), field("decode_tps"), steps * bytes / 1e9, field("step_ms"),
         field("gap_of_step") }' "$out/bench.jsonl"
}

# of bare: what the scheduler leaves of the same requests stepped without it; beside: first token of a long prompt while
# the others generate, and the longest 1 % of their gaps then
load_table() {
    awk "$field"'
BEGIN { printf "%-28s %-6s %5s %5s %8s %6s %11s %11s %9s %9s %8s %10s %10s\n", "model", "type", "in", "out", "requests",
        "seats", "output t/s", "total t/s", "ttft p50", "gap p99", "of bare", "beside ms", "gap p99" }
{ printf "%-28s %-6s %5s %5s %8s %6s %11.0f %11.0f %9.0f %9.1f %8s %10s %10s\n", field("model"), type(), field("in"),
         field("out"), field("requests"), field("most_running"), field("output_tps"), field("total_tps"),
         field("ttft_ms_p50"), field("gap_ms_p99"), field("of_bare"), field("intruder_ttft_ms"),
         field("intruder_gap_ms_p99") }' "$out/load.jsonl"
}

# As far as there are figures.
result() { { table; load_table; } >"$out/table.txt"; }

say "GPU"
nvidia-smi --query-gpu=name,compute_cap,driver_version,memory.total,clocks.max.sm --format=csv,noheader |
    tee "$out/gpu.txt" || exit 69
arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d '. ')

say "building for $arch"
find_cublas
if ! build_all >"$out/build.log" 2>&1; then
    tail -n 40 "$out/build.log"
    say "building for $arch, without cuBLASLt"
    build_all -DMR_CUBLASLT_INCLUDE=OFF >"$out/build2.log" 2>&1 || { tail -n 40 "$out/build2.log"; exit 70; }
fi
: >"$out/bench.jsonl"
: >"$out/load.jsonl"
: >"$out/engine.log"
room=$(room_for_models)
make_models &
maker=$!
trap '{ pkill -P "$maker"; kill "$maker"; rm -rf "$room"; } 2>/dev/null' EXIT

say "tests: kernels, golden models, invariance"
within 150 0 ctest --test-dir "$build" -R "${kernels// /|}|golden/test_(${golden// /|})\$" -V -j 4 --timeout 120 \
    >"$out/tests.log" 2>&1
tested=$?
grep -hE ' Passed| Failed|\*\*\*|tests passed|not tested on a GPU| cuda: ' "$out/tests.log"
[ $tested = 0 ] || grep -vE ' RUN | OK ' "$out/tests.log" | tail -n 60

say "measuring"
while read -r what work; do
    $what $work </dev/null || echo "not measured: $what $work" >&2
    result
done <<'LIST'
measure tinyllama-1.1b q8_0 none 1,8,32 512 0
measure llama3-8b q4_k_m none 1,16,64 512 0
load llama3-8b q4_k_m none 128x256 64 --intruder 2048
measure llama3-8b f16 none 1,16,64 512 0 --not-reproducible
measure llama3-8b f16 fp8 1,16,64 512 0
measure llama3-8b f16 fp8 1,16,64 512 0 --not-reproducible
measure llama3-8b f16 none 1,16,64 512 0
measure llama3-8b q8_0 none 1,16,64 512 0
load llama3-8b f16 fp8 128x128 256 --requests 512 --not-reproducible
load llama3-8b q4_k_m none 128x128 256 --requests 512
measure llama3-8b q4_k_m none 1,16 512 8000
measure llama3-8b q4_k_m none 1,16 512 8000 --kv-type=q8_0
measure tinyllama-1.1b q8_0 none 1,32 512 0 --no-overlap
measure tinyllama-1.1b q8_0 none 1,32 512 0 --no-graphs
measure tinyllama-1.1b q8_0 none 1,32 512 0 --host-sampling
measure qwen3-0.6b q4_0 none 1,64 512 0
load llama3-8b f16 fp8 128x128 256 --requests 512
load llama3-8b q4_k_m none 2048x128 64 --requests 64
load llama3-8b q4_k_m none 512x256 512 --requests 512 --bare
load llama3-8b f16 fp8 1000x1000 64 --requests 64
load llama3-8b f16 fp8 500x2000 64 --requests 64
load llama3-8b f16 fp8 128x2048 64 --requests 64
load llama3-8b f16 fp8 2048x2048 64 --requests 64
LIST
sanitize

say "result"
grep -h 'products measured\|no such product' "$out/engine.log" | sed 's/.*msg=/  /' | sort -u
result
cat "$out/table.txt"
exit $tested
