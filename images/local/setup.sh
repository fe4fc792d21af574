#!/usr/bin/env bash
# Makes the local environment in .venv: one lock, two repairs, no GPU. A second call does nothing.
#
# torch must be the CPU build, or several GB of CUDA arrive. It is looked for in two places:
#   1. a wheel file in a folder that pip is configured to look into (PIP_FIND_LINKS);
#      torchvision then comes from the package index as a CUDA build, and is repaired;
#   2. PyTorch's own CPU index, which has both as CPU builds.
# Set FUNDUS_R1_TORCH_INDEX to use a mirror of the second.
set -euo pipefail

TORCH=2.13.0 TORCHVISION=0.28.0 VLLM=0.30.0
TORCH_INDEX=${FUNDUS_R1_TORCH_INDEX:-https://download.pytorch.org/whl/cpu}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
venv=$root/.venv
say() { printf 'setup: %s\n' "$*" >&2; }
stop() { say "$*"; exit 1; }

[ "$(uname -s)-$(uname -m)" = Linux-x86_64 ] || stop "this needs Linux on x86-64, because the CPU builds of vLLM exist for nothing else (this is $(uname -s) on $(uname -m)); use a Linux x86-64 machine or container."
python=${PYTHON:-python3.11}
command -v "$python" >/dev/null || stop "this needs Python 3.11, for which the wheels are pinned, and '$python' is not on the PATH; install it (Debian 12: apt install python3.11 python3.11-venv) or set PYTHON=/path/to/python3.11."
"$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' || stop "this needs Python 3.11, for which the wheels are pinned, and $python is $("$python" -V 2>&1); set PYTHON=/path/to/python3.11."
"$python" -c 'import ensurepip, venv' 2>/dev/null || stop "$python lacks the venv module; install it (Debian 12: apt install python3.11-venv)."

wanted=$(cat "$here/setup.sh" "$here/repair.py" "$here/requirements.lock" "$here/deepspeed.lock" "$root/pyproject.toml" | sha256sum | cut -d' ' -f1)
[ "$(cat "$venv/.fundus-r1" 2>/dev/null)" = "$wanted" ] && exit 0

say "making the environment in $venv (some minutes, about 4 GB)"
started=$SECONDS
log=$root/.venv-setup.log
: > "$log"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check --no-input "$@" >>"$log" 2>&1; }
failed() {
  grep -E '^ERROR|error:' "$log" | tail -n 3 >&2 || true
  stop "$1 The whole log is $log."
}

rm -f "$venv/.fundus-r1"
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv" || stop "the folder $venv cannot be made; free some disk or choose a folder that can be written."

if pip install --no-index --no-deps "torch==$TORCH+cpu"; then
  say "torch $TORCH+cpu: from a local wheel file"
  pip install --no-deps "torchvision==$TORCHVISION" || failed "torchvision $TORCHVISION could not be installed: is the package index reachable?"
  build=cuda-torchvision
elif pip install --no-deps --index-url "$TORCH_INDEX" "torch==$TORCH+cpu" "torchvision==$TORCHVISION+cpu"; then
  say "torch $TORCH+cpu: from PyTorch's CPU index"
  build=cpu-torchvision
else
  failed "torch $TORCH+cpu was found neither as a wheel in pip's find-links folders nor at $TORCH_INDEX: connect to the network, or put the wheel into a folder and set PIP_FIND_LINKS to it."
fi
pip install --no-deps --require-hashes -r "$here/requirements.lock" || failed "the pinned packages could not be installed: is the package index reachable?"
# Its setup.py takes options that the distutils inside of setuptools 77 refuses; Python's own takes them.
DS_BUILD_OPS=0 SETUPTOOLS_USE_DISTUTILS=stdlib pip install --no-deps --no-build-isolation --require-hashes -r "$here/deepspeed.lock" || failed "deepspeed could not be built."
"$venv/bin/python" "$here/repair.py" "$VLLM" "$build"
pip install --no-deps --no-build-isolation --editable "$root" || failed "the project itself could not be installed."
"$venv/bin/python" -c 'import torch, torchvision, vllm, fundus_r1' >>"$log" 2>&1 || failed "the environment does not import."
echo "$wanted" > "$venv/.fundus-r1"
say "ready after $((SECONDS - started)) s"
