"""The judge of Eq. 4 (paper, Sec. 3.3) as an asynchronous adapter of any `ChatModel`.

The rule: a trace is cleared of what addresses the judge, then asked about; identical requests are
answered once, those under way at the same time included; a verdict that cannot be had is no error
here, but a `Graded` that says why. (An endpoint is tried again until its deadline, and an answer that
is no verdict is sent back once, by `models.openai_http`.) Whether so many are missing that training
must stop, `rewards.missing` decides.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar, cast

from fundus_r1.errors import ModelError
from fundus_r1.models.chat import open_chat
from fundus_r1.models.protocol import ChatModel, ChatRequest
from fundus_r1.models.rules_judge import findings_verdict, knowledge_verdict
from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.prompts.verdicts import (
    FINDINGS_SCHEMA,
    KNOWLEDGE_SCHEMA,
    FindingsVerdict,
    Graded,
    KnowledgeVerdict,
    cleared,
    findings_question,
    knowledge_question,
    read_verdict,
)
from fundus_r1.spec.models import Chat
from fundus_r1.spec.placement import Endpoint

V = TypeVar("V", FindingsVerdict, KnowledgeVerdict)

_KEPT = 100_000
"""Verdicts that are remembered; those that were not asked for longest are forgotten first."""
_HEAD_START_S = 0.15
"""The rules look at a trace when its request has been on its way for so long: they take a processor, and
other requests are to leave first."""
_SHOWN = 120


@dataclass(frozen=True)
class _Said:
    verdict: str | None
    seconds: float
    problem: str | None = None


class Judge:
    """Grades traces; satisfies `rewards.process.TraceJudge`. To be used in one event loop.

    Args:
        model: who answers.
        concurrency: requests under way at once.
    """

    def __init__(self, model: ChatModel, *, concurrency: int):
        self.model = model
        self._pool = ThreadPoolExecutor(max_workers=concurrency, thread_name_prefix="judge")
        self._kept: OrderedDict[bytes, _Said] = OrderedDict()
        self._under_way: dict[bytes, asyncio.Task[_Said]] = {}

    async def grade_findings(self, trace: str, findings: Sequence[str]) -> Graded[FindingsVerdict]:
        """How well a trace agrees with VF(x).

        Args:
            trace: the reasoning, without its tags.
            findings: canonical keys of VF(x).
        """
        text, addressed = cleared(trace)
        request = ChatRequest(
            task="judge_findings",
            messages=(("user", findings_question(text, [FINDINGS[key].name for key in findings])),),
            inputs={"trace": text, "findings": list(findings)},
            schema=FINDINGS_SCHEMA,
        )
        return await self._grade(request, lambda: findings_verdict(text, frozenset(findings)), addressed)

    async def grade_knowledge(self, trace: str, answer: str, description: str) -> Graded[KnowledgeVerdict]:
        """Whether a trace is plausible against D[y^, m].

        Args:
            trace: the reasoning, without its tags.
            answer: the predicted answer, in the question's words.
            description: D[y^, m].
        """
        text, addressed = cleared(trace)
        request = ChatRequest(
            task="judge_knowledge",
            messages=(("user", knowledge_question(text, answer, description)),),
            inputs={"trace": text, "answer": answer, "description": description},
            schema=KNOWLEDGE_SCHEMA,
        )
        return await self._grade(request, lambda: knowledge_verdict(text, description), addressed)

    async def _grade(self, request: ChatRequest, rules: Callable[[], V], addressed: bool) -> Graded[V]:
        answering = asyncio.ensure_future(self._answer(request))
        await asyncio.wait({answering}, timeout=_HEAD_START_S)
        by_rules = rules()
        said, shared = await answering
        return Graded(
            verdict=cast(V | None, said.verdict),
            by_rules=by_rules,
            seconds=said.seconds,
            shared=shared,
            addressed=addressed,
            problem=said.problem,
        )

    async def _answer(self, request: ChatRequest) -> tuple[_Said, bool]:
        """What the model says, and whether it said so to an identical request."""
        key = hashlib.sha256(f"{request.task}\n{request.messages[0][1]}".encode()).digest()
        if (kept := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
            return kept, True
        if (other := self._under_way.get(key)) is not None:
            return await asyncio.shield(other), True
        asking = asyncio.ensure_future(self._ask(request))
        self._under_way[key] = asking
        asking.add_done_callback(lambda asked: self._keep(key, asked))
        return await asyncio.shield(asking), False

    def _keep(self, key: bytes, asked: asyncio.Task[_Said]) -> None:
        del self._under_way[key]
        if asked.cancelled() or asked.exception() is not None or asked.result().verdict is None:
            return
        self._kept[key] = _Said(asked.result().verdict, seconds=0.0)
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)

    async def _ask(self, request: ChatRequest) -> _Said:
        loop = asyncio.get_running_loop()
        assert request.schema is not None
        start = loop.time()
        try:
            [answer] = await loop.run_in_executor(self._pool, self.model.complete, [request])
        except ModelError as error:
            return _Said(None, loop.time() - start, str(error))
        verdict = read_verdict(answer.text, request.schema)
        problem = None if verdict else f"there is no verdict in the answer {answer.text[:_SHOWN]!r}"
        return _Said(verdict, loop.time() - start, problem)


def open_judge(chat: Chat, endpoint: Endpoint | None) -> Judge:
    """The judge that a spec names; it is asked as much at once as its endpoint takes.

    Raises:
        ModelError: its model cannot be opened.
    """
    # Without an endpoint it is rules, which compute in this process.
    return Judge(open_chat(chat, endpoint, role="judge"), concurrency=endpoint.concurrency if endpoint else 1)
