"""Processor time when each step ended; the same in all environments."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from transformers import TrainerCallback


class Clock(TrainerCallback):
    """Leaves the times in a file."""

    def __init__(self, out: Path):
        self.out, self.times = out, []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.times.append(time.process_time())

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        Path(self.out, "times.json").write_text(json.dumps(self.times))
