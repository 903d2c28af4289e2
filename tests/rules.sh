#!/bin/sh
# rules.sh - who may include whom: the layout's rules, checked by grep.
#
# base: nothing of ours but error.h. schemas: base. engine: base's error, arena, log, clock, and engine;
# never schemas, uv, Kafka, Redis. dispatcher: schemas, base. worker: all but dispatcher and client. client:
# schemas, base. cli: client, engine, schemas, base, and of worker the scheduler. Only base/kafka includes
# rdkafka.h, only base/redis hiredis, only base/http microhttpd, only base/fetch curl, only base/hmac sodium.
set -u
cd "${MR_SOURCE:-$(dirname "$0")/..}" || exit 1
bad=0

# forbid FOLDER PATTERN WHY: no file of the folder includes what matches
forbid() {
    found=$(grep -nE "^[[:space:]]*#[[:space:]]*include[[:space:]]*[<\"]($2)" -r "$1" --include='*.[ch]' --include='*.cu' --include='*.cuh')
    [ -z "$found" ] && return
    printf '%s\n    rule: %s\n' "$found" "$3"
    bad=1
}
ours='(engine|schemas|worker|dispatcher|cli|client)/'
forbid base "$ours|millrace/(job|engine|millrace)\.h" "base includes nothing of ours but error.h"
forbid schemas "(engine|worker|dispatcher|cli|client)/|millrace/(engine|millrace)\.h|uv\.h" "schemas: base, msgpack, yaml"
forbid engine "(schemas|worker|dispatcher|cli|client)/|millrace/(job|millrace)\.h|uv\.h|librdkafka|hiredis|base/(kafka|redis|http|queue|uuid|b64|offsets)\.h" "engine: base's error, arena, log, clock"
forbid dispatcher "(engine|worker|cli|client)/|millrace/(engine|millrace)\.h" "dispatcher: schemas, base"
forbid worker "(dispatcher|cli|client)/|millrace/millrace\.h" "worker: all but dispatcher and client"
forbid client "(engine|worker|dispatcher|cli)/|millrace/engine\.h" "client: schemas, base"
forbid cli "dispatcher/" "cli: client, engine, schemas, base"
found=$(grep -n 'include "worker/' -r cli --include='*.[ch]' | grep -v 'worker/sched\.h"')
[ -z "$found" ] || { printf '%s\n    rule: of worker the cli includes only sched.h, which is pure\n' "$found"; bad=1; }
for rule in "librdkafka|rdkafka:base/kafka" "hiredis:base/redis" "microhttpd:base/http" "curl/:base/fetch" "sodium:base/hmac"; do
    found=$(grep -lE "include[[:space:]]*<(${rule%%:*})" -r base engine schemas worker dispatcher cli client include --include='*.[ch]' | grep -v "^${rule#*:}")
    [ -z "$found" ] || { printf '%s\n    rule: only %s*.c includes %s\n' "$found" "${rule#*:}" "${rule%%:*}"; bad=1; }
done
found=$(grep -ln 'millrace/engine\.h' -r worker --include='*.[ch]' | grep -vE '^worker/runner(_run|_internal)?\.[ch]$')
[ -z "$found" ] || { printf '%s\n    rule: in worker only runner includes millrace/engine.h\n' "$found"; bad=1; }
pure='worker/(admit|job|pressure|prefixes|sched|suspects|takeover|stream_book)|base/(heap|offsets|parts|span|trace|txn_plan)|dispatcher/(board|cost|delay|entries|history|keys_table|names|page_guard|page_path|placement|policy|recent|retry|roll|rules|webhook_(address|hosts|plan|sign|url)|window)'
found=$(grep -lE 'include[[:space:]]*[<"](uv\.h|base/(kafka|redis|http|clock)\.h)' -r worker base dispatcher --include='*.[ch]' | grep -E "^($pure)\.[ch]$")
[ -z "$found" ] || { printf '%s\n    rule: pure modules know no loop, no clock, no I/O\n' "$found"; bad=1; }
[ "$bad" = 0 ] && echo "include rules hold"
exit $bad
