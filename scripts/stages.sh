#!/usr/bin/env bash
# Runs make targets one after the other, goes on after a failure, and ends with the time and result of each.
set -uo pipefail
cd "$(dirname "$0")/.."

begin=$SECONDS
rows=()
passed=0
failed=0
for stage in "$@"; do
  printf '\n=== %s ===\n' "$stage"
  started=$SECONDS
  if make --no-print-directory "$stage"; then result=passed; passed=$((passed + 1)); else result=FAILED; failed=$((failed + 1)); fi
  rows+=("$(printf '%-18s %-7s %5d s' "$stage" "$result" $((SECONDS - started)))")
  printf '%s\n' "${rows[-1]}"
done

printf '\n=== stages ===\n'
printf '%s\n' "${rows[@]}"
printf '%-18s %-7s %5d s\n' total "" $((SECONDS - begin))
printf '\nstages: %d passed, %d failed\n' "$passed" "$failed"
[ "$failed" -eq 0 ]
