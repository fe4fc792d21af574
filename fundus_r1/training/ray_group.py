"""A process group by Ray Train: the launcher ``ray`` of `process_group`, as a program of its own.

Ray is started here, or joined where ``RAY_ADDRESS`` names one; then the job's folder must lie on a disk
that all machines share. Ray Train sets what torchrun sets (``RANK`` and its like) and makes the process
group, so the processes run the same function. What fails is not tried again here: the stage goes on from
its checkpoint at its next try.

``python -m fundus_r1.training.ray_group MODULE ARGUMENT PROCESSES FOLDER TEMPORARY``
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from fundus_r1.training.process_group import KILLED, Failure, leave


def _work(config: dict[str, Any]) -> None:
    """A process's life."""
    import importlib

    importlib.import_module(config["module"]).main(Path(config["argument"]))


def main(module: str, argument: str, processes: int, folder: Path, temporary: str) -> int:
    """Runs the group; its exit code."""
    import ray
    import torch
    from ray.exceptions import RayActorError
    from ray.train import RunConfig, ScalingConfig, WorkerGroupError
    from ray.train.torch import TorchConfig, TorchTrainer

    gpu = torch.cuda.is_available()
    address = os.environ["RAY_ADDRESS"]
    own = {"num_cpus": processes, "include_dashboard": False, "_temp_dir": temporary}
    ray.init(address=address, **(own if address == "local" else {}))
    trainer = TorchTrainer(
        _work,
        train_loop_config={"module": module, "argument": argument},
        scaling_config=ScalingConfig(num_workers=processes, use_gpu=gpu, resources_per_worker={"CPU": 1}),
        torch_config=TorchConfig(backend="nccl" if gpu else "gloo"),
        run_config=RunConfig(storage_path=temporary if address == "local" else str(folder)),
    )
    try:
        trainer.fit()
    except WorkerGroupError as error:
        print(error, file=sys.stderr, flush=True)
        for rank, failure in error.worker_failures.items():
            cause = getattr(failure, "health_check_failure", failure)
            # It had no time to leave word of its end.
            if isinstance(cause, RayActorError) and not (folder / f"failure-{rank}.json").exists():
                what = f"Process {rank} of {processes} was ended from outside"
                leave(
                    folder,
                    Failure(
                        rank=rank, time=time.time(), what=what, hint=KILLED, transient=True, foreseen=True
                    ),
                )
        return 1
    finally:
        ray.shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4]), sys.argv[5]))
