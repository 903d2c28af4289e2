#!/bin/sh
# Goal: what our encoders write is what schemas/*.schema.json promise, and asyncapi.yaml is a valid
# AsyncAPI 3 document that uses these schemas.
# Method: mr_schema_examples prints records of every kind; ajv checks them, also with every unlisted
# property forbidden, so that a new field cannot be forgotten in a schema. Broken records must be
# refused, so that a schema that accepts everything shows. The npm packages are installed once, into
# the given folder; afterwards no network is needed.
#
#   tests/integration/schemas.sh [NPM_DIR]      MR_BIN: folder of the built programs
set -eu
source_dir=$(cd "$(dirname "$0")/../.." && pwd)
npm_dir=${1:-${MR_NPM_DIR:-${TMPDIR:-/tmp}/millrace-npm}}
bin=${MR_BIN:-$source_dir/build/dev/bin}

command -v node >/dev/null || { echo "schemas.sh: node is needed" >&2; exit 69; }
[ -x "$bin/mr_schema_examples" ] || { echo "schemas.sh: no $bin/mr_schema_examples; set MR_BIN" >&2; exit 69; }

mkdir -p "$npm_dir"
if ! [ -f "$npm_dir/installed-1" ]; then
    command -v npm >/dev/null || { echo "schemas.sh: npm is needed" >&2; exit 69; }
    npm install --prefix "$npm_dir" --no-audit --no-fund --loglevel=error \
        @asyncapi/parser@3.6.3 ajv@8.20.0 ajv-formats@3.0.1 >/dev/null
    touch "$npm_dir/installed-1"
fi
"$bin/mr_schema_examples" > "$npm_dir/examples.txt"
NODE_PATH=$npm_dir/node_modules exec node "$source_dir/tests/integration/schemas.js" \
    "$source_dir/schemas" "$npm_dir/examples.txt"
