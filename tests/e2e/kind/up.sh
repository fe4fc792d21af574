#!/usr/bin/env bash
# Makes the cluster with all that a run needs: operators, an S3 store, secrets, rights. A second call mends.
set -euo pipefail
# shellcheck source=tests/e2e/kind/versions.sh
source "$(dirname "${BASH_SOURCE[0]}")/versions.sh"

for program in docker kind kubectl; do
  command -v "$program" >/dev/null || stop "this needs $program, which is not on the PATH."
done

if kind get clusters | grep -qx "$CLUSTER"; then
  say "the cluster $CLUSTER is there"
else
  kind create cluster --name "$CLUSTER" --config "$here/kind.yaml" --wait 120s
fi

bash "$here/image.sh"

say "operators: $TRAINER_API, KubeRay $KUBERAY"
if [ "$TRAINER_API" = pytorchjob ]; then
  kube apply --server-side -k "https://github.com/kubeflow/trainer.git/manifests/overlays/standalone?ref=$TRAINING_OPERATOR"
  operator=(kubeflow training-operator)
else
  kube apply --server-side -k "https://github.com/kubeflow/trainer.git/manifests/overlays/manager?ref=$TRAINER"
  operator=(kubeflow-system kubeflow-trainer-controller-manager)
fi
kube apply --server-side -k "https://github.com/ray-project/kuberay.git/ray-operator/config/default?ref=$KUBERAY"
kube -n "${operator[0]}" rollout status deployment "${operator[1]}" --timeout 300s
kube -n ray-system rollout status deployment kuberay-operator --timeout 300s ||
  kube -n default rollout status deployment kuberay-operator --timeout 300s

if [ "$WITH_KFP" != 0 ]; then
  say "Kubeflow Pipelines $KFP"
  source=https://github.com/kubeflow/pipelines.git/manifests/kustomize
  kube apply -k "$source/cluster-scoped-resources?ref=$KFP"
  kube wait --for condition=established --timeout 60s crd/applications.app.k8s.io
  kube apply -k "$source/env/platform-agnostic?ref=$KFP"
  kube -n kubeflow rollout status deployment ml-pipeline --timeout 900s
fi

say "store, secrets and rights in the namespace $NAMESPACE"
kube get namespace "$NAMESPACE" >/dev/null 2>&1 || kube create namespace "$NAMESPACE"
if ! kube -n "$NAMESPACE" get secret fundus-r1-store >/dev/null 2>&1; then
  access=$(od -An -N10 -tx1 /dev/urandom | tr -d ' \n') secret=$(od -An -N20 -tx1 /dev/urandom | tr -d ' \n')
  # From a file that is gone at once, so that no key is on a command line.
  umask 077
  private=$(mktemp -d)
  trap 'rm -rf "$private"' EXIT
  printf %s "$access" > "$private/accesskey"
  printf %s "$secret" > "$private/secretkey"
  printf '{"identities":[{"name":"fundus-r1","credentials":[{"accessKey":"%s","secretKey":"%s"}],"actions":["Admin","Read","Write","List","Tagging"]}]}' \
    "$access" "$secret" > "$private/s3.json"
  kube -n "$NAMESPACE" create secret generic fundus-r1-store --from-file "$private"
fi
filled s3.yaml | kube -n "$NAMESPACE" apply -f -
filled rights.yaml | kube -n "$NAMESPACE" apply -f -
kube -n "$NAMESPACE" rollout status deployment fundus-r1-s3 --timeout 300s
say "ready; next: bash $here/run.sh"
