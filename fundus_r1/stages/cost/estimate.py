"""The arithmetic of an estimate: what each of the ten stages asks of models and of the store.

Pure: it reads nothing. The counts follow the pipeline (paper, Sec. 3.2 to 3.4, 4.1): rollouts of
one image share one prompt, each triplet gets one trace, GRPO shows each prompt once an epoch and
asks the judge as its process reward does (Eq. 4). A stage that is in the store takes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from fundus_r1.spec import RunSpec
from fundus_r1.stages import STAGES
from fundus_r1.stages.cost.rows import Asked, Quantities, StageCost
from fundus_r1.stages.cost.texts import Texts
from fundus_r1.stages.cost.work import Work
from fundus_r1.training.grpo_history import KEPT_ROLLOUTS

COPIES = 2
"""Parts and batches stay in the store beside the one file that they are merged into."""
Taken = tuple[list[Asked], float]
"""What models do, and bytes in the store."""


def cost(spec: RunSpec, known: Quantities) -> list[StageCost]:
    """What the ten stages take, in their order.

    Args:
        spec: the run.
        known: how much there is to do.
    """
    estimate = _Estimate(spec, known)
    stages: dict[str, Callable[[], Taken]] = {name: getattr(estimate, name) for name in STAGES}
    found = []
    for name, take in stages.items():
        if name in known.hits:
            found.append(StageCost(name, True, (), 0.0))
            continue
        asked, size = take()
        busy = tuple(row for row in asked if row.requests or row.prompt_tokens)
        found.append(StageCost(name, False, busy, size + estimate.cached(busy)))
    return found


class _Estimate:
    """One method for each stage, of its name."""

    def __init__(self, spec: RunSpec, known: Quantities):
        self.science, self.endpoints, self.known = spec.science, spec.placement.endpoints, known
        self.assumed = spec.placement.cost
        self.texts = Texts(spec.science.knowledge.datasets or spec.science.index.datasets, self.assumed)
        self.work = Work(self.assumed, known)

    def index(self) -> Taken:
        """Keeps the images of samples and questions, and their rows."""
        images = self.known.total + self.known.questions
        return [], images * self._image_bytes + self._rows(images + self.known.triplets)

    def knowledge(self) -> Taken:
        """One record for each (label, modality); a reviewed vocabulary is taken to cover them all."""
        science = self.science.knowledge
        pairs = self.known.pairs if science.vocabulary is None else 0.0
        prompt = self.texts.prompt("knowledge", passages=science.passages)
        pages = pairs * science.pages * sum(source != "notes" for source in science.sources)
        passages = pairs * science.passages * (self.assumed.passage_characters + self.assumed.row_bytes)
        rows = self._rows(pairs, self.texts.record())
        return [self._writer(pairs, prompt, self.texts.record())], (
            pages * self.assumed.page_bytes + passages + rows
        )

    def findings(self) -> Taken:
        """One joint question for each image, answered in several rollouts."""
        science, known = self.science.findings, self.known
        images = known.total - (0.0 if science.observe_masked else known.masked)
        prompt = self.texts.prompt("findings", findings=known.asked)
        answer = science.rollouts * min(self.texts.findings_answer(known.asked), science.max_tokens)
        row = self.work.vision("observer", known.observer, images, prompt, answer, self.endpoints.observer)
        return [row], COPIES * self._rows(known.total, answer)

    def traces(self) -> Taken:
        """One trace for each triplet, and a free-form one of each image with masks for Tab. 6."""
        science, known = self.science.traces, self.known
        shown = self.assumed.findings_present
        knowledge, free = known.triplets, known.masked * science.baseline
        if science.mode == "free":
            knowledge, free = 0.0, known.triplets
        rows = [
            self._writer(knowledge, self.texts.prompt("trace", findings=shown), self.texts.trace()),
            self.work.vision(
                "free_form",
                known.free_form,
                free,
                self.texts.prompt("free"),
                min(self.texts.trace(), science.free_max_tokens),
                self.endpoints.free_form,
            ),
        ]
        return rows, COPIES * self._rows(knowledge + free, self.texts.trace())

    def quality(self) -> Taken:
        """The rules see all traces; the writer those that passed, and some that did not."""
        science, traces = self.science.quality, self.known.triplets
        passed = self.assumed.rules_pass_share
        seen = passed + (1 - passed) * science.audit_share if science.checks == "rules+writer" else 0.0
        prompt = self.texts.prompt("check", findings=self.assumed.findings_present)
        return [self._writer(traces * seen, prompt, self.texts.verdict())], COPIES * self._rows(traces)

    def trainset(self) -> Taken:
        """Each row carries its image."""
        rows = self._conversations + self._prompts
        return [], rows * self._image_bytes + self._rows(rows, self.texts.prompt("student") + self._response)

    def sft(self) -> Taken:
        """Passes over the conversations of the training split; then there is a model."""
        science, student = self.science.sft, self.known.student
        shown = self._conversations * self._train_share * science.epochs
        image = self.work.image_tokens(student)
        text = self.texts.prompt("student" if self.science.recipe.traces else "student_plain")
        hours = self.work.training(
            student, shown, text + self._response, image, forwards=0, vision=science.train_vision
        )
        row = Asked("student", 0.0, shown * (text + image), shown * self._response, hours, None)
        return [row], self._model_bytes if self.science.recipe.sft else 0.0

    def grpo(self) -> Taken:
        """Rollouts, the judge's verdicts, and passes of the policy (twice) and of its reference."""
        science, student = self.science.grpo, self.known.student
        shown = self._prompts * science.epochs
        rollouts = shown * science.rollouts
        text = self.texts.prompt("student")
        image = min(self.work.image_tokens(student), max(science.max_prompt_length - text, 0.0))
        answer = min(self.assumed.rollout_tokens, science.max_response_length)
        rolled = self.work.vision(
            "student", student, shown, text, science.rollouts * answer, None, images=image
        )
        hours = self.work.training(student, rollouts, text + answer, image, forwards=2, vision=True)
        if hours is not None and rolled.gpu_hours is not None:
            hours += rolled.gpu_hours
        row = Asked("student", rollouts, rolled.prompt_tokens, rolled.completion_tokens, hours, None)
        kept = min(float(KEPT_ROLLOUTS), science.batch_size * science.rollouts) * shown / science.batch_size
        written = self._rows(kept, answer) + (self._model_bytes if self.science.recipe.grpo else 0.0)
        return [row, self._judged(rollouts)], written

    def evaluate(self) -> Taken:
        """The student before and after each training."""
        recipe, known = self.science.recipe, self.known
        requests = known.questions * (1 + recipe.sft + recipe.grpo)
        answer = min(self.assumed.rollout_tokens, self.science.evaluate.max_tokens)
        row = self.work.vision("student", known.student, requests, self.texts.prompt("student"), answer)
        return [row], self._rows(requests, answer)

    def report(self) -> Taken:
        """The gallery shows each trace with its image."""
        traces = self.known.triplets
        return [], traces * self.assumed.thumbnail_bytes + self._rows(traces, self.texts.trace())

    # ---- what several stages share -----------------------------------------------------

    def cached(self, rows: Iterable[Asked]) -> float:
        """Bytes of the answers that are kept so that no endpoint is asked the same twice.

        The observer's stand in the parts of the findings.
        """
        remote = {"writer", "free_form"} if self.endpoints.free_form else {"writer"}
        return sum(
            self._rows(row.requests) + row.completion_tokens * self.assumed.characters_per_token
            for row in rows
            if row.role in remote
        )

    def _writer(self, requests: float, prompt: float, answer: float) -> Asked:
        writer = self.science.models.writer
        return self.work.text("writer", writer, requests, prompt, answer, self.endpoints.writer)

    def _judged(self, rollouts: float) -> Asked:
        """What the process reward asks the judge, if each rollout has a trace and names a known label."""
        right = self.assumed.correct_share
        of_findings, of_knowledge = {
            "none": (0.0, 0.0),
            "selective": (right, 1 - right),
            "vf": (right, 0.0),
            "dk": (0.0, 1 - right),
            "sum": (1.0, 1.0),
        }[self.science.recipe.process]
        share = of_findings + of_knowledge
        prompts = of_findings * self.texts.prompt("judge_findings", findings=self.assumed.findings_present)
        prompts += of_knowledge * self.texts.prompt("judge_knowledge")
        return self.work.text(
            "judge",
            self.science.models.judge,
            rollouts * share,
            prompts / share if share else 0.0,
            self.texts.verdict(),
            self.endpoints.judge,
        )

    def _share(self, part: float) -> float:
        return part / self.known.total if self.known.total else 0.0

    @property
    def _train_share(self) -> float:
        return 1 - self.science.index.validation_share

    @property
    def _conversations(self) -> float:
        recipe, known = self.science.recipe, self.known
        if not recipe.sft:
            return 0.0
        everything = not recipe.traces and self.science.trainset.answers == "all"
        return known.triplets if everything else known.accepted

    @property
    def _prompts(self) -> float:
        """GRPO prompts, all of the training split."""
        science, known = self.science.trainset, self.known
        if not self.science.recipe.grpo:
            return 0.0
        prompts = (known.triplets if science.prompts == "all" else known.accepted) * self._train_share
        return min(prompts, float(science.limit)) if science.limit else prompts

    @property
    def _response(self) -> float:
        """Tokens of an answer that SFT learns."""
        return self.texts.trace() if self.science.recipe.traces else self.texts.answer()

    @property
    def _image_bytes(self) -> float:
        known = self.known
        pixels = sum(known.images[modality] * known.sides[modality] ** 2 for modality in known.images)
        return self._share(pixels) * self.assumed.image_bytes_per_pixel

    @property
    def _model_bytes(self) -> float:
        """A trained model in bf16."""
        student = self.known.student
        return 2 * (student.parameters + student.vision) if student else 0.0

    def _rows(self, count: float, tokens: float = 0.0) -> float:
        """Bytes of rows, each with a text."""
        return count * (self.assumed.row_bytes + tokens * self.assumed.characters_per_token)
