#!/usr/bin/env bash
# Runs every fuzz target of the module for a while: scripts/fuzz.sh DURATION [PACKAGE...]
#
# Each package is built once with the fuzzer's instrumentation; then its targets run, as many at a time as there are
# cores, one worker each. New inputs that a target found interesting are kept in Go's cache, failing ones in the package's
# testdata/fuzz, where they are test cases from then on.
set -euo pipefail
cd "$(dirname "$0")/.."

duration=${1:?how long each target runs, such as 3s}
shift
cache=$(go env GOCACHE)/fuzz
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

packages=("$@")
if [ ${#packages[@]} -eq 0 ]; then
  mapfile -t packages < <(grep -rlE --include='*_test.go' --exclude-dir=testdata --exclude-dir=node_modules '^func Fuzz[A-Z0-9_]' . |
    xargs -r -n1 dirname | sort -u)
fi
if [ ${#packages[@]} -eq 0 ]; then
  echo "fuzz: no fuzz targets in this tree"
  exit 0
fi

for dir in "${packages[@]}"; do
  binary=$work/$(tr / _ <<<"$dir").test
  go test -buildvcs=false -tags goolm -c -fuzz=. -o "$binary" "./${dir#./}"
  (cd "$dir" && "$binary" -test.list '^Fuzz') | while read -r target; do
    printf '%s\t%s\t%s\n' "$dir" "$target" "$binary"
  done >>"$work/targets"
done

# one DIR TARGET BINARY runs one target. Making smaller what is merely interesting could take all of a short run, so it is
# tried once. Go's fuzzer sometimes takes the end of its own time for a failure ("context
# deadline exceeded", with no failing input): that alone is tried once more.
one() {
  local dir=$1 target=$2 binary=$3 log
  log=$work/$(tr / _ <<<"$dir").$target.log
  for attempt in 1 2; do
    if (cd "$dir" && "$binary" -test.run "^$target\$" -test.fuzz "^$target\$" -test.fuzztime "$duration" -test.parallel 1 -test.fuzzminimizetime 1x \
      -test.fuzzcachedir "$cache/bongsu/${dir#./}" >"$log" 2>&1); then
      echo "ok    $dir $target: $(grep -o 'execs: [0-9]*' "$log" | tail -1)"
      return 0
    fi
    if [ "$attempt" = 2 ] || grep -q 'Failing input written' "$log" || ! grep -q 'context deadline exceeded' "$log"; then
      echo "FAIL  $dir $target"
      cat "$log"
      return 1
    fi
  done
}
export -f one
export duration cache work

tr '\t\n' '\0\0' <"$work/targets" |
  xargs -0 -r -n 3 -P "$(nproc)" bash -c 'one "$@" || exit 1' one
echo "fuzz: $(wc -l <"$work/targets") targets, $duration each"
