"""The text model that needs no language model: one pure function for each task.

It reads the same texts as a language model would and gives answers of the same form, so that the
whole pipeline runs on a laptop, and tests can say what must come out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fundus_r1.errors import ModelError
from fundus_r1.models.protocol import ChatAnswer, ChatRequest
from fundus_r1.models.usage import Usage

MODEL_ID = "rules"


def _function(task: str) -> Callable[[dict[str, Any]], str]:
    match task:
        case "knowledge":
            from fundus_r1.models.rules_knowledge import extract_knowledge

            return extract_knowledge
        case "trace":
            from fundus_r1.models.rules_traces import compose_trace

            return compose_trace
        case "check":
            from fundus_r1.models.rules_judge import check_trace

            return check_trace
        case "judge_findings":
            from fundus_r1.models.rules_judge import judge_findings

            return judge_findings
        case "judge_knowledge":
            from fundus_r1.models.rules_judge import judge_knowledge

            return judge_knowledge
    raise ModelError(
        f"The model {MODEL_ID!r} has no rule for the task {task!r}",
        hint="use an OpenAI-compatible model for this role (engine: openai)",
    )


class RulesModel:
    """Answers by rules; the same request always gets the same answer."""

    def __init__(self) -> None:
        self.usage = Usage()

    def complete(self, requests: list[ChatRequest]) -> list[ChatAnswer]:
        """Answers in the order of the requests; only their `inputs` are read.

        Raises:
            ModelError: there is no rule for a request's task.
        """
        return [ChatAnswer(_function(request.task)(request.inputs), MODEL_ID) for request in requests]
