#!/usr/bin/env bash
# What the run's pod does: preflight, the run, and then it waits to be read.
set -uo pipefail

run() {
  local spec=(--spec /run/spec/tiny.yaml --placement /run/spec/placement.yaml)
  fundus-r1 preflight "${spec[@]}" || return
  if [ "$WITH_KFP" = 0 ]; then
    fundus-r1 run "${spec[@]}" --out /scratch/out
  else
    fundus-r1 submit "${spec[@]}" --host http://ml-pipeline:8888 --unpinned --wait
  fi
}

run
code=$?
echo "$code" > /scratch/ended
sleep 600
exit "$code"
