"""The judge of Eq. 4 (paper, Sec. 3.3) as an asynchronous adapter of any `ChatModel`.

A verdict that cannot be read, after the one repair that `models.openai_http` asks for, is None, and
the reward counts it as a failure of the judge. An endpoint that does not answer is a `ModelError`,
which is not caught here: rewards of zero would go on teaching.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

from fundus_r1.models.chat import open_chat
from fundus_r1.models.protocol import ChatModel, ChatRequest
from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.prompts.verdicts import (
    FINDINGS_SCHEMA,
    KNOWLEDGE_SCHEMA,
    FindingsVerdict,
    findings_question,
    knowledge_question,
    read_verdict,
)
from fundus_r1.spec.models import Chat
from fundus_r1.spec.placement import Endpoint


class Judge:
    """Grades traces; satisfies `rewards.process.TraceJudge`.

    Args:
        model: who answers.
        concurrency: calls under way at once.
    """

    def __init__(self, model: ChatModel, *, concurrency: int = 8):
        self.model = model
        self._pool = ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="judge")

    async def _ask(self, request: ChatRequest) -> str | None:
        loop = asyncio.get_running_loop()
        assert request.schema is not None
        [answer] = await loop.run_in_executor(self._pool, self.model.complete, [request])
        return read_verdict(answer.text, request.schema)

    async def grade_findings(self, trace: str, findings: Sequence[str]) -> FindingsVerdict | None:
        """How well a trace agrees with VF(x); None if the verdict could not be read.

        Args:
            trace: the reasoning, without its tags.
            findings: canonical keys of VF(x).
        """
        names = [FINDINGS[key].name for key in findings]
        request = ChatRequest(
            task="judge_findings",
            messages=(("user", findings_question(trace, names)),),
            inputs={"trace": trace, "findings": list(findings)},
            schema=FINDINGS_SCHEMA,
        )
        return cast(FindingsVerdict | None, await self._ask(request))

    async def grade_knowledge(self, trace: str, answer: str, description: str) -> bool | None:
        """Whether a trace is plausible against D[y^, m]; None if the verdict could not be read.

        Args:
            trace: the reasoning, without its tags.
            answer: the predicted answer.
            description: D[y^, m].
        """
        request = ChatRequest(
            task="judge_knowledge",
            messages=(("user", knowledge_question(trace, answer, description)),),
            inputs={"trace": trace, "answer": answer, "description": description},
            schema=KNOWLEDGE_SCHEMA,
        )
        verdict = await self._ask(request)
        return None if verdict is None else verdict == "plausible"


def open_judge(chat: Chat, endpoint: Endpoint | None, concurrency: int) -> Judge:
    """The judge that a spec names.

    Raises:
        ModelError: its model cannot be opened.
    """
    return Judge(open_chat(chat, endpoint, role="judge"), concurrency=concurrency)
