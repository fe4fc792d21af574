# What is installed, and how it is called. Read by the other scripts; every value may be set from outside.
# shellcheck shell=bash
: "${CLUSTER:=fundus-r1}"
: "${NAMESPACE:=fundus-r1}"
: "${IMAGE:=fundus-r1-cpu:0.1.0}"
: "${TRAINING_OPERATOR:=v1.9.4}"
: "${TRAINER:=v2.3.0}"
: "${KUBERAY:=v1.7.0}"
: "${KFP:=2.17.0}"
# pytorchjob installs the Training Operator (v1), trainjob Kubeflow Trainer (v2).
: "${TRAINER_API:=pytorchjob}"
# 1 installs Kubeflow Pipelines too and starts the run there; it then lives in the namespace kubeflow.
: "${WITH_KFP:=0}"
[ "$WITH_KFP" = 0 ] || NAMESPACE=kubeflow

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034  # the scripts that read this file use it
root=$(cd "$here/../../.." && pwd)
context=kind-$CLUSTER

say() { printf 'kind: %s\n' "$*" >&2; }
stop() { say "$*"; exit 1; }
kube() { kubectl --context "$context" "$@"; }
# Files of this folder with the names of this cluster in them.
filled() { sed -e "s|@NAMESPACE@|$NAMESPACE|g" -e "s|@IMAGE@|$IMAGE|g" -e "s|@TRAINER_API@|$TRAINER_API|g" "$here/$1"; }
