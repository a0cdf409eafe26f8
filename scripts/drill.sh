#!/usr/bin/env bash
# The long drill: BURNS sites burned in a row, then every scenario with SEEDS seeds, then every planted weakness, which must be found. Those that
# need disks and networks of their own run as root only. Reports are in out/drill. Ends with status 1 if a promise was broken, or a
# weakness not found.
set -euo pipefail
cd "$(dirname "$0")/.."
: "${BURNS:=50}" "${SEEDS:=10}" "${SCENARIOS:=full random restarts rolling upgrade clock amnesia stale leader majority flips power disk slowdisk cuts surge}"
: "${PLANTS:=rollback ack-early forget-txn skip-record ignore-hole}"
out=out/drill
mkdir -p "$out"
failed=()

# drill NAME ARGUMENTS... runs one drill and keeps what it says.
drill() {
  local name=$1
  shift
  printf '%-24s ' "$name"
  if bin/bongsu drill "$@" --report "$out/$name.html" --json "$out/$name.json" >"$out/$name.log" 2>&1; then
    tail -n 1 "$out/$name.log"
  else
    echo "FAILED, see $out/$name.log"
    return 1
  fi
}

# A program that knows the first rules version only: what the cluster is upgraded from.
older=bin/bongsu-rules1
CGO_ENABLED=0 go build -buildvcs=false -trimpath -tags rules1 -o "$older" ./cmd/bongsu

[ "$BURNS" -eq 0 ] || drill burns --burns "$BURNS" || failed+=(burns)
for scenario in $SCENARIOS; do
  args=()
  case $scenario in
    upgrade) args=(--upgrade-from "$older") ;;
    power | disk | slowdisk) [ "$(id -u)" = 0 ] || continue ;;
    cuts)
      [ "$(id -u)" = 0 ] || continue
      args=(--netns)
      ;;
  esac
  for seed in $(seq 1 "$SEEDS"); do
    drill "$scenario-$seed" "$scenario" --seed "$seed" "${args[@]}" || failed+=("$scenario-$seed")
  done
done
for plant in $PLANTS; do
  scenario=full
  [ "$plant" != ignore-hole ] || scenario=flips
  if drill "plant-$plant" "$scenario" --plant "$plant" --seed 1; then
    failed+=("plant-$plant")
  else
    echo "$(printf '%-24s ' "plant-$plant") found, as it must be"
  fi
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "failed: ${failed[*]}"
  exit 1
fi
echo "all drills were passed"
