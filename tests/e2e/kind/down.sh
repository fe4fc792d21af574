#!/usr/bin/env bash
# Deletes the cluster with all that is in it.
set -euo pipefail
# shellcheck source=tests/e2e/kind/versions.sh
source "$(dirname "${BASH_SOURCE[0]}")/versions.sh"
kind delete cluster --name "$CLUSTER"
