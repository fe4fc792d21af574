"""The reward manager that verl asks for each rollout's reward: verl's own, and a line in a journal.

verl 0.9.1 keeps nothing of a reward but its score, and goes on with other rollouts if a reward
cannot be computed. Here every reward's parts are written down, and a failure is written down as
well, so that the stage can end the run: it would go on teaching on what is left.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from verl.experimental.reward_loop.reward_manager.naive import NaiveRewardManager

from fundus_r1.errors import FundusError
from fundus_r1.rows import Prompt
from fundus_r1.training.grpo import FAILURE, JOURNAL
from fundus_r1.training.grpo_history import Journal

if TYPE_CHECKING:
    from verl import DataProto


class RecordingRewardManager(NaiveRewardManager):
    """verl's manager for reward functions, which also keeps the journal of `training.grpo_history`."""

    def __init__(self, config: Any, *args: Any, **kwargs: Any):
        super().__init__(config, *args, **kwargs)
        work = Path(config.trainer.default_local_dir).parent
        self._journal, self._failure = Journal(work / JOURNAL), work / FAILURE

    async def run_single(self, data: DataProto) -> dict[str, Any]:
        """The reward of one rollout, whose function is told the step as well."""
        fields = data[-1].non_tensor_batch
        fields["extra_info"]["step"] = int(fields["global_steps"])
        try:
            result: dict[str, Any] = await super().run_single(data)
        except FundusError as error:
            self._failure.write_text(str(error), encoding="utf-8")
            raise
        text = self.tokenizer.decode(data[-1].batch["responses"], skip_special_tokens=True)
        self._journal.append(
            {
                "step": fields["extra_info"]["step"],
                "uid": f"{fields['uid']}_{fields['session_id']}_0",
                "triplet_id": Prompt.model_validate_json(fields["extra_info"]["prompt"]).triplet_id,
                "text": text,
                "response_length": int(fields["response_len"]),
                **result["reward_extra_info"],
            }
        )
        return result
