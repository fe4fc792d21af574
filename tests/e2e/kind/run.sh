#!/usr/bin/env bash
# Preflight, the tiny run on CPU with its training as jobs of their own, and its report.
set -euo pipefail
# shellcheck source=tests/e2e/kind/versions.sh
source "$(dirname "${BASH_SOURCE[0]}")/versions.sh"

out=${OUT:-$root/out/kind}
mkdir -p "$out"
filled placement.yaml > "$out/placement.yaml"
kube -n "$NAMESPACE" create configmap fundus-r1-run --dry-run=client -o yaml \
  --from-file "$root/pipelines/specs/tiny.yaml" --from-file "$out/placement.yaml" \
  --from-file "$here/inside.sh" | kube -n "$NAMESPACE" apply -f -
kube -n "$NAMESPACE" delete pod fundus-r1-run --ignore-not-found
filled run.yaml | sed "s|@WITH_KFP@|$WITH_KFP|" | kube -n "$NAMESPACE" apply -f -
kube -n "$NAMESPACE" wait --for condition=Ready pod/fundus-r1-run --timeout 300s || true

say "following the run; it takes some minutes"
kube -n "$NAMESPACE" logs --follow pod/fundus-r1-run &
follower=$!
trap 'kill "$follower" 2>/dev/null || true' EXIT
until ended=$(kube -n "$NAMESPACE" exec fundus-r1-run -- cat /scratch/ended 2>/dev/null); do
  phase=$(kube -n "$NAMESPACE" get pod fundus-r1-run -o jsonpath='{.status.phase}')
  case $phase in Succeeded | Failed) stop "the run's pod has ended ($phase) before the run" ;; esac
  sleep 5
done
kube -n "$NAMESPACE" get pytorchjobs,trainjobs,rayjobs,pods --ignore-not-found 2>/dev/null || true
[ "$ended" = 0 ] || stop "the run failed with exit code $ended; bash $here/run.sh goes on from what was done"
if kube -n "$NAMESPACE" exec fundus-r1-run -- cat /scratch/out/report.html > "$out/report.html" 2>/dev/null; then
  say "the report is $out/report.html"
else
  say "the report is an artifact of the run: kubectl --context $context -n kubeflow port-forward svc/ml-pipeline-ui 8080:80"
fi
