"""A Ray that runs already, as in a RayJob: it is joined, and its processes get our environment."""

from __future__ import annotations

import ast
import os
import re
import secrets
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from fundus_r1.spec.placement import GrpoPlace
from fundus_r1.training.grpo_environment import environment, for_joined_ray

DRIVER = """
import os, ray
ray.init(include_dashboard=False, runtime_env={"env_vars": %r})
seen = ray.remote(num_gpus=1)(lambda: dict(os.environ)).remote()
print(ray.get(seen))
"""


@pytest.fixture
def cluster() -> Iterator[dict[str, str]]:
    """Environment of a pod of a Ray cluster with a token: one head with a GPU that is only counted."""
    # Sockets below it may have names of 107 bytes at most.
    with tempfile.TemporaryDirectory(prefix="fr1-ray-", ignore_cleanup_errors=True) as folder:
        pod = {
            **os.environ,
            "TMPDIR": folder,
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_USAGE_STATS_ENABLED": "0",
        }
        options = [
            "--head",
            "--block",
            "--port=0",
            "--num-gpus=1",
            "--num-cpus=1",
            "--include-dashboard=false",
        ]
        argv = [sys.executable, "-m", "ray.scripts.scripts", "start", *options]
        argv.append("--object-store-memory=100000000")
        with subprocess.Popen(
            argv, env=pod, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        ) as head:
            assert head.stdout is not None
            told = (re.search(r"--address='([0-9.]+:\d+)'", line) for line in head.stdout)
            address = next(found.group(1) for found in told if found)
            try:
                yield pod | {"RAY_ADDRESS": address}
            finally:
                head.terminate()
                head.communicate(timeout=60)


@pytest.mark.engines
def test_processes_of_a_ray_that_is_joined_have_our_environment_and_their_own_folder(
    cluster: dict[str, str],
) -> None:
    ours = environment(GrpoPlace(), Path("/shared/cache"), Path("/tmp/short"), ray=cluster["RAY_ADDRESS"])
    driver = [sys.executable, "-c", DRIVER % for_joined_ray(ours)]
    ended = subprocess.run(
        driver, env={**cluster, **ours}, capture_output=True, text=True, timeout=120, check=True
    )
    seen = ast.literal_eval(ended.stdout.splitlines()[-1])
    for name in ("HF_HOME", "VERL_USE_EXTERNAL_MODULES", "WANDB_MODE"):
        assert seen[name] == ours[name]
    assert seen["TMPDIR"] == cluster["TMPDIR"] != ours["TMPDIR"]
