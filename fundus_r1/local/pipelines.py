"""Finds, compiles and runs pipelines, without knowing them: they register an entry point.

Run as a module, this is the child of `local.run` in which ``kfp.local`` works:
``python -m fundus_r1.local.pipelines SPEC PIPELINE_YAML ROOT``.
"""

from __future__ import annotations

import importlib.metadata
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from fundus_r1 import processes
from fundus_r1.errors import FundusError, SpecError, StageError
from fundus_r1.spec import RunSpec, load_spec
from fundus_r1.stages.runs import PinnedRun

GROUP = "fundus_r1.pipelines"
PIPELINE = "fundus-r1"


def _build(spec: RunSpec) -> Callable[..., Any]:
    found = importlib.metadata.entry_points(group=GROUP, name=PIPELINE)
    if not found:
        raise StageError(
            f"No pipeline {PIPELINE!r} is installed",
            hint="install the project with its pipelines, as `make setup` does",
        )
    build: Callable[[RunSpec], Callable[..., Any]] = next(iter(found)).load()
    return build(spec)


def compile_pipeline(spec: RunSpec, target: Path) -> None:
    """Writes the pipeline of a resolved spec as Kubeflow's intermediate representation (YAML).

    The same spec gives the same bytes.
    """
    from kfp import compiler

    target.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(_build(spec), str(target))


def held_by(package: Path) -> PinnedRun:
    """What a compiled pipeline holds of its run.

    Raises:
        SpecError: the file is no compiled pipeline of ours.
    """
    try:
        ir = next(iter(yaml.safe_load_all(package.read_text(encoding="utf-8"))))
        told = ir["root"]["dag"]["tasks"]["finish"]["inputs"]["parameters"]["run"]
        return PinnedRun.model_validate_json(told["runtimeValue"]["constant"])
    except OSError as error:
        raise SpecError(f"The pipeline cannot be read: {error.strerror}", where=str(package)) from error
    except (yaml.YAMLError, LookupError, TypeError, ValidationError) as error:
        raise SpecError(
            "The file is no compiled pipeline of this program",
            where=str(package),
            hint="write it with fundus-r1 compile, in the installed version",
        ) from error


def run_pipeline(spec: RunSpec, root: Path) -> None:
    """Runs the pipeline of a resolved spec with ``kfp.local``, steps as processes.

    Raises:
        RuntimeError: kfp.local's word for a failed step.
    """
    from kfp import local

    # It says of each step that its size and its name have no effect here.
    warnings.filterwarnings("ignore", message=".*no effect in the current local runner.*")
    local.init(local.SubprocessRunner(use_venv=False), pipeline_root=str(root), raise_on_error=True)
    _build(spec)()


def main() -> int:
    """The child process of a local run."""
    processes.die_with_parent()
    spec_file, compiled, root = map(Path, sys.argv[1:4])
    try:
        spec = load_spec(spec_file)
        compile_pipeline(spec, compiled)
        run_pipeline(spec, root)
    except FundusError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
