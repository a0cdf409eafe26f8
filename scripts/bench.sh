#!/usr/bin/env bash
# Measures bin/bongsu on this machine: scripts/bench.sh [SCENARIO...]
#
# Each scenario gets a fresh server on an empty directory (BENCH_DIR, by default below out/bench; put it on the disk that you
# want to know about: a memory disk makes fsync free). Tables go to the terminal, reports to out/bench/SCENARIO.json.
set -euo pipefail
cd "$(dirname "$0")/.."

scenarios=("$@")
[ ${#scenarios[@]} -gt 0 ] || scenarios=(send sync steady initial-sync joins idle)
out=out/bench
dir=${BENCH_DIR:-$out/data}
port=${BENCH_PORT:-18008}
mkdir -p "$out"
ulimit -n "$(ulimit -Hn)" # ten thousand idle clients are ten thousand descriptors, twice

server=
stop() {
  [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" || true; }
  server=
}
trap stop EXIT

# What everything else is measured against: proposals without HTTP and without a messenger, 64 senders, synced to disk.
if [[ " ${scenarios[*]} " == *" send "* ]]; then
  echo "== engine"
  TMPDIR=$(realpath -m "$dir") && mkdir -p "$TMPDIR" && export TMPDIR
  go test -run '^$' -bench '^BenchmarkEngine$' -benchtime 5s ./app | tee "$out/engine.txt"
fi

for scenario in "${scenarios[@]}"; do
  echo "== $scenario"
  rm -rf "${dir:?}/$scenario"
  mkdir -p "$dir/$scenario"
  : >"$out/$scenario.ready"
  bin/bongsu serve --data "$dir/$scenario" --listen "127.0.0.1:$port" --server-name localhost --open-registration \
    --rate-limits=off >"$out/$scenario.ready" 2>"$out/$scenario.log" &
  server=$!
  until grep -q ready "$out/$scenario.ready"; do
    kill -0 "$server" || { cat "$out/$scenario.log"; exit 1; }
    sleep 0.05
  done
  bin/bongsu bench "$scenario" --url "http://127.0.0.1:$port" --server-pid "$server" --json "$out/$scenario.json"
  stop
  rm -rf "${dir:?}/$scenario"
done
