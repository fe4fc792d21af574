"""Every row that a stage persists.

Rows are frozen pydantic models. They travel as JSON lines, or as parquet where image bytes
travel with them (`storage.tables`). ``schema_version`` of the file format is in the record.
"""

from __future__ import annotations

import enum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Row(BaseModel):
    """Base of all rows: frozen, and unknown fields are an error, not a silent loss."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Modality(enum.StrEnum):
    """Imaging modality (paper, Sec. 1): colour fundus photo, B-scan, ultra-widefield."""

    CFP = "CFP"
    OCT = "OCT"
    UWF = "UWF"


class Split(enum.StrEnum):
    TRAIN = "train"
    VALIDATION = "validation"


# ---- stage 1: index --------------------------------------------------------------------


class Sample(Row):
    """One training image with its labels (paper, Tab. 2)."""

    sample_id: str
    """``<dataset>/<path below the dataset's folder>``; unique in a run."""
    dataset: str
    modality: Modality
    labels: tuple[str, ...]
    """Canonical label keys (`ontology.labels`), at least one; several for multi-label sets."""
    split: Split
    patient: str
    """``<dataset>:<id>``; where the dataset names no patient, the image stands for one."""
    eye: Literal["left", "right", ""] = ""
    path: str
    digest: str
    """SHA-256 of the file's bytes."""
    pixels: str
    """SHA-256 of mode, size and decoded pixels: equal for re-encoded loss-free copies."""
    width: int
    height: int
    media_type: Literal["image/png", "image/jpeg"]
    """Of the bytes that travel with the row; other formats are re-encoded as PNG."""
    findings: tuple[str, ...] | None = None
    """Canonical findings from pixel-level masks; None where the image has no masks."""
    attributes: dict[str, str] = Field(default_factory=dict)
    """What the dataset says beside the labels (sex, age, risk of macular oedema, ...)."""


class Triplet(Row):
    """A VQA triplet (image, question, answer) from a task template (paper, Sec. 3.2.3)."""

    triplet_id: str
    sample_id: str
    task: str
    modality: Modality
    label: str
    """The canonical label y that the answer states."""
    question: str
    options: dict[str, str]
    """Letter -> option text; empty for an open question."""
    answer: str
    """The text of the right option (not its letter)."""
    option_labels: dict[str, str] = Field(default_factory=dict)
    """Letter -> canonical label of the option, where it states one."""
    right: tuple[str, ...] | None = None
    """Letters of all right options, where any number may be chosen; None where one option is right."""


class Quarantined(Row):
    """An input row or file that was left out, and why."""

    dataset: str
    path: str
    reason: Literal[
        "empty", "truncated", "unreadable", "too_large", "too_small", "missing", "unlabelled",
        "bad_label", "duplicate", "bad_row",
    ]  # fmt: skip
    detail: str


class Leak(Row):
    """A training image that is, or whose patient is, in a benchmark."""

    sample_id: str
    patient: str
    kind: Literal["content", "patient"]
    benchmark: str
    benchmark_image: str


class Question(Row):
    """One benchmark question about one image."""

    question_id: str
    benchmark: str
    """``funbench``, ``omnimedvqa`` or ``gmai``."""
    source: Literal["synthetic", "given"]
    task: str
    """FunBench L1a...L4d (file stem kept), Omni MR/AI/LG/DD, GMAI AR/NT/BVR/DD/SG."""
    subtask: str = ""
    """FunBench: the file's stem; Omni: the source dataset; GMAI: the category."""
    question: str
    options: dict[str, str]
    """Letter -> option text."""
    answers: tuple[str, ...]
    """Right letters, at least one; several for FunBench's multi-label tasks."""
    modality: Modality | None = None
    image: str
    """Path of the image as the benchmark names it."""
    digest: str
    pixels: str
    patient: str | None = None
    """In the same naming as `Sample.patient`, where the benchmark's file name tells it."""
    media_type: Literal["image/png", "image/jpeg"]


# ---- stage 2: knowledge ----------------------------------------------------------------


class Passage(Row):
    """A retrieved piece of text. Text is data, never an instruction."""

    passage_id: str
    source: str
    title: str
    section: str
    reference: str
    """Where the fact can be read up: a citation or an address."""
    licence: str
    text: str
    """Empty where a reviewed vocabulary names a source that was not retrieved."""
    digest: str


REMOVED = "[removed: text addressed to a model]"
"""Stands in a passage where something was taken out."""


class Neutralised(Row):
    """A piece of a retrieved text that tried to instruct a model, and was taken out."""

    source: str
    title: str
    section: str
    reference: str
    kind: str
    """How it tried: ``override``, ``role``, ``hidden``, ... (`retrieval.guard`)."""
    excerpt: str
    """Its beginning, for a person to judge."""


class RefusedPage(Row):
    """A page of a source that could not be used, and why."""

    source: str
    page: str
    """The request within the source, without host and credentials."""
    reason: Literal[
        "not_found", "forbidden", "robots", "redirect", "too_large", "api_error", "not_a_pdf", "encrypted",
        "not_xml", "no_body",
    ]  # fmt: skip
    detail: str


class Knowledge(Row):
    """D[y, m] with its JSON record and its vocabulary entry (paper, Sec. 3.2.1)."""

    label: str
    modality: Modality
    query: str
    """"What are the key {m} findings for diagnosing {y}?" (Sec. 3.2.1)."""
    description: str
    """D[y, m], natural language."""
    required: tuple[str, ...]
    """Canonical findings that are decisive for y on m."""
    supportive: tuple[str, ...]
    """Canonical findings that add evidence and decide nothing; disjoint from `required`."""
    absent: tuple[str, ...]
    """Findings whose presence speaks against y ("no neovascularization")."""
    evidence: dict[str, tuple[str, ...]]
    """Finding -> ids of the passages that support it."""
    passages: tuple[str, ...]
    model: str
    """The id of the writer that answered; ``reviewed`` where a person gave the entry, ``none`` where there
    was no passage. Without a record (`Uncovered`) description and groups are empty."""

    @property
    def covered(self) -> bool:
        """Whether anything is known of y on m that an image could be held against."""
        return bool(self.required or self.supportive or self.absent)


class Uncovered(Row):
    """A (label, modality) whose vocabulary is empty, and why."""

    label: str
    modality: Modality
    reason: Literal["no_passage", "no_record", "no_finding"]
    """``no_passage``: the sources say nothing of it; ``no_record``: the writer's answer cannot be read;
    ``no_finding``: its record names no finding that a passage speaks of."""
    detail: str


class LeftOut(Row):
    """What the writer named and the vocabulary does not hold."""

    label: str
    modality: Modality
    kind: Literal["unknown", "ungrounded", "conflict"]
    """``unknown``: no finding of the ontology; ``ungrounded``: no retrieved passage speaks of it;
    ``conflict``: said to belong and to be absent, and kept as belonging."""
    what: str
    """The phrase, or the finding."""


class VocabularyEntry(Row):
    """Vocab[y, m] as it is asked of the observer: by label or by task (assumed, see spec)."""

    label: str
    modality: Modality
    required: tuple[str, ...]
    supportive: tuple[str, ...]
    absent: tuple[str, ...]
    asked: tuple[str, ...]
    """All findings in the joint question of Sec. 3.2.2, in the order in which they are asked."""


# ---- stage 3: findings -----------------------------------------------------------------


class Findings(Row):
    """VF(x): the findings kept for one image (paper, Sec. 3.2.2, Eq. 3)."""

    sample_id: str
    modality: Modality
    source: Literal["pixel", "observer"]
    """``pixel``: from masks, which take precedence; ``observer``: majority of rollouts."""
    asked: tuple[str, ...]
    rollouts: int
    votes: dict[str, int]
    """Finding -> number of rollouts that said present."""
    abstentions: dict[str, int]
    """Finding -> number of rollouts whose answer on it could not be read."""
    observed: tuple[str, ...]
    """What the vote alone would keep (for Tab. 6 where masks exist)."""
    present: tuple[str, ...]
    """VF(x)."""
    raw: tuple[str, ...]
    """The rollouts' texts."""
    model: str


class WorkerRun(Row):
    """What one worker of stage 3 did in one of its attempts, killed or not."""

    worker: int
    attempt: str
    parts: int
    images: int
    seconds: float
    """From its first question to the end of its last part; loading the observer is not in it."""
    images_per_s: float
    usage: dict[str, int] = Field(default_factory=dict)
    """What asking the observer took (`models.usage`): requests, tries, tokens."""


# ---- stages 4, 5: traces and quality ---------------------------------------------------


class Trace(Row):
    """A reasoning trace ``<think>...</think> <answer>...</answer>`` (paper, Sec. 3.2.3)."""

    triplet_id: str
    sample_id: str
    label: str
    modality: Modality
    mode: Literal["knowledge", "free"] = "knowledge"
    """``free``: composed free-form from image, question and answer, without findings or knowledge."""
    findings: tuple[str, ...]
    """VF(x) that the writer was given, or would have been."""
    source: Literal["pixel", "observer"]
    text: str
    model: str


class Reason(enum.StrEnum):
    """Why a trace is rejected (paper, Sec. 3.2.3, last paragraph, names the first six and "etc.")."""

    MODALITY = "modality_inconsistency"
    REQUIRED_OMITTED = "required_finding_omitted"
    FINDING_INCORRECT = "incorrect_finding"
    FINDING_REDUNDANT = "redundant_finding"
    KNOWLEDGE_OMITTED = "knowledge_omitted"
    KNOWLEDGE_MISMATCH = "knowledge_mismatch"
    NOT_DERIVED = "answer_not_derived"
    """The last step of the trace does not lead from the findings to the answer."""
    ANSWER_MISMATCH = "answer_mismatch"
    FORMAT = "format"
    OTHER = "other"
    """The writer objects to what no other reason names; its words are in the detail."""
    UNREADABLE = "check_unreadable"
    """The writer was asked and its opinion could not be read; doubt rejects."""


class Verdict(Row):
    """The result of the automatic check of one trace: what the rules say and what the writer says.

    Accepted is what neither rejects; the writer cannot rescue what the rules reject.
    """

    triplet_id: str
    sample_id: str
    accepted: bool
    rules: tuple[tuple[Reason, str], ...]
    """(reason, detail) pairs of the rules; empty exactly if they accept."""
    writer: Literal["accepted", "rejected", "unreadable", "not_asked"]
    """The writer's opinion; of what the rules reject it is asked about a share only."""
    objections: tuple[tuple[Reason, str], ...]
    """(reason, detail) pairs of the writer; empty exactly if it accepts or was not asked."""
    model: str | None
    """Id of the writer that was asked."""

    @property
    def reasons(self) -> tuple[tuple[Reason, str], ...]:
        """All that speaks against the trace: the rules' reasons, then the writer's."""
        return self.rules + self.objections

    @model_validator(mode="after")
    def _accepted_by_both(self) -> Verdict:
        if bool(self.objections) != (self.writer in ("rejected", "unreadable")):
            raise ValueError(f"the writer's opinion is {self.writer}, with {len(self.objections)} objections")
        if self.accepted != (not self.reasons):
            raise ValueError(f"accepted is {self.accepted}, with {len(self.reasons)} reasons against it")
        return self


# ---- stage 6: trainset -----------------------------------------------------------------


class Conversation(Row):
    """One SFT conversation; the image travels beside it."""

    triplet_id: str
    sample_id: str
    prompt: str
    """The user's text, without the image placeholder."""
    response: str
    """The assistant's text: trace and answer, or the answer alone."""
    split: Split


class Prompt(Row):
    """One GRPO prompt with what its rewards need; the image travels beside it."""

    triplet_id: str
    sample_id: str
    prompt: str
    answer: str
    """The text of the right option, or the right answer of an open question."""
    options: dict[str, str]
    option_labels: dict[str, str]
    right: tuple[str, ...] | None = None
    """Letters of all right options, where any number may be chosen ("Which of these are present?"): the
    answer is right if it chooses exactly these. None where one option is right, which is `answer`."""
    modality: Modality
    findings: tuple[str, ...]
    """VF(x), for the process reward of a right answer."""
    split: Split

    @model_validator(mode="after")
    def _right_options_exist(self) -> Prompt:
        if self.right is not None and (not self.right or not set(self.right) <= set(self.options)):
            raise ValueError(f"right is {self.right}, which is no choice among {tuple(self.options)}")
        return self


# ---- stage 9: evaluate -----------------------------------------------------------------


class Prediction(Row):
    """What a model said to one benchmark question."""

    model: str
    """``base``, ``sft``, ``grpo`` or the name given for a model evaluated alone."""
    benchmark: str
    source: str
    task: str
    subtask: str
    question_id: str
    raw: str
    extracted: tuple[str, ...]
    """Letters that were read out of the answer; empty if none could be."""
    answers: tuple[str, ...]
    correct: bool


class Score(Row):
    """One figure of one model on one (part of a) benchmark."""

    model: str
    benchmark: str
    source: str
    level: Literal["overall", "level", "task", "subtask"]
    name: str
    metric: Literal["accuracy", "f1"]
    """``f1`` is FunBench's own: the harmonic mean of sensitivity and specificity."""
    value: float | None
    """0..1; None where it is not defined (no question of the kind)."""
    questions: int


class FindingQuality(Row):
    """Sensitivity, specificity and their harmonic mean S2 of one finding (paper, Tab. 6)."""

    method: Literal["ours", "free"]
    """``ours``: the observer's vote; ``free``: what a free-form trace states."""
    finding: str
    images: int
    positives: int
    sensitivity: float | None
    specificity: float | None
    s2: float | None


# ---- models ----------------------------------------------------------------------------


class Response(Row):
    """What an endpoint answered to one request, kept so that it is not asked again."""

    request: str
    """Fingerprint of the request."""
    role: str
    model: str
    """Id of the model that answered."""
    texts: tuple[str, ...]
    answered: str
    """When, ISO 8601 in UTC."""
    checksum: str
    """Fingerprint of all other fields."""
