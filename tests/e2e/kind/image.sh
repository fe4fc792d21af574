#!/usr/bin/env bash
# Builds the CPU image and loads it into the cluster, also under the names that compiled pipelines use.
set -euo pipefail
# shellcheck source=tests/e2e/kind/versions.sh
source "$(dirname "${BASH_SOURCE[0]}")/versions.sh"

docker build -f "$root/images/cpu/Dockerfile" -t "$IMAGE" "$root"
names=("$IMAGE")
# images.lock: repository and tag of each image; one image stands for all of them here.
while read -r name; do
  docker tag "$IMAGE" "$name"
  names+=("$name")
done < <(awk '$1 == "repository:" { name = $2 } $1 == "tag:" { print name ":" $2 }' "$root/images/images.lock")
kind load docker-image --name "$CLUSTER" "${names[@]}"
