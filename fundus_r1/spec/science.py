"""``science``: what is computed. Portable, and the only part that is fingerprinted.

Section and table numbers are the paper's (arXiv 2604.08322). A default that the paper gives
stands plainly; one that it leaves open carries an `Assumed` with the reason.
"""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from fundus_r1.spec.base import UNPINNED, Assumed, Spec
from fundus_r1.spec.models import ModelRef, Models
from fundus_r1.spec.setups import SETUPS, Recipe, Setup
from fundus_r1.spec.training import GrpoScience, Pixels, SftScience

_PROMPTS = "the paper keeps its prompts in an unpublished supplement"


class Synthetic(Spec):
    """Drawn eyes for testing the system. They are drawings, not medical data."""

    seed: int = 7
    """Of everything that is drawn."""
    patients: int = Field(default=24, ge=4)
    """Patients in each of the three collections (CFP, OCT, UWF)."""
    masked: int = Field(default=24, ge=0)
    """CFP images that get exact lesion masks, in IDRiD's segmentation layout."""
    benchmark: int = Field(default=12, ge=0)
    """Held-out patients in each modality about whom benchmark questions are asked."""
    size: int = Field(default=224, ge=64, le=2048)
    """Side of the images in pixels."""


Dataset = Literal[
    "fgadr", "idrid", "grape", "jsiec", "retinal_lesions", "rfmid", "odir", "ddr", "octid", "octdl", "oimhs",
    "retouch", "neh", "kermany", "top", "deepdrid", "mmc_amd",
]  # fmt: skip
"""The 17 datasets of Tab. 2, in its order."""
Benchmark = Literal["funbench", "omnimedvqa", "gmai"]
"""The benchmarks of Tab. 4, in its order."""


class Index(Spec):
    """Stage 1: the training collection (Tab. 2) and the benchmarks (Tab. 4)."""

    datasets: tuple[Dataset, ...] = get_args(Dataset)
    """Which datasets are looked for in the data folders."""
    benchmarks: tuple[Benchmark, ...] = get_args(Benchmark)
    """Which benchmarks are looked for."""
    synthetic: Synthetic | None = None
    """Draws a small collection beside what the data folders hold."""
    manifests: dict[Dataset | Benchmark, str] = Field(default_factory=dict)
    """Dataset or benchmark -> SHA-256 of its manifest (its files, or its questions with their images), or
    ``unpinned``. What is pinned here must be what the data folders hold; else the run is refused."""
    data_digest: str | None = None
    """SHA-256 over names and contents of the data folders; filled in when the spec is resolved."""
    validation_share: Annotated[float, Assumed("no validation split is published")] = Field(
        default=0.1, ge=0, lt=1
    )
    """Share of the patients kept for the SFT evaluation loss."""
    seed: int = 0
    """Of the split by patient and of the order of options."""
    part_size: int = Field(default=256, ge=1)
    """Samples in a part, the unit of work of stage 3."""
    min_side: int = 32
    """Images with a smaller side are quarantined."""
    max_pixels: int = 100_000_000
    """Images with more pixels are quarantined before they are decoded."""
    bad_share: float = Field(default=0.2, ge=0, le=1)
    """The stage fails if more than this share of a dataset's rows is quarantined."""


class ReviewedVocabulary(Spec):
    """A YAML as `fundus-r1 vocabulary export` writes it, edited by a person."""

    path: str
    """The file; its place is not fingerprinted, its digest is."""
    digest: str | None = None
    """SHA-256 of the file; filled in when the spec is resolved."""


class KnowledgeScience(Spec):
    """Stage 2: RAG-based knowledge and vocabulary (Sec. 3.2.1)."""

    sources: tuple[Literal["eyewiki", "aao", "pmc", "notes"], ...] = ("eyewiki", "aao", "pmc")
    """The paper's sources; ``notes`` are bundled short texts with their references."""
    datasets: tuple[Dataset, ...] | None = None
    """Datasets whose labels are covered; None covers those of `index.datasets`."""
    aao_documents: Annotated[
        tuple[str, ...], Assumed("the paper cites one Preferred Practice Pattern and names no others")
    ] = ("Assets/811c9cb7-279d-4b3d-9cca-032191e4891c/638749627918470000/diabetic-retinopathy-ppp-pdf",)
    """PDFs of the AAO, below the base address in `placement.retrieval`."""
    pages: Annotated[int, Assumed("the number of retrieved pages is not published")] = Field(default=3, ge=1)
    """Pages taken from each source for one (label, modality), at most."""
    passages: Annotated[int, Assumed("the number of retrieved passages is not published")] = Field(
        default=4, ge=1
    )
    """Passages kept for one (label, modality)."""
    embedder: Annotated[
        ModelRef | None, Assumed("how passages were ranked is not published; None ranks by words alone")
    ] = None
    """A sentence-embedding model, whose ranking is joined with that by words (BM25)."""
    snapshot: str | None = None
    """Digest of a set of kept pages: only these are used. None (or ``unpinned``, as a paper run says)
    takes what the sources say now."""
    vocabulary: ReviewedVocabulary | None = None
    """A vocabulary that a person has reviewed; its entries take the place of the writer's."""
    bad_share: float = Field(default=0.2, ge=0, le=1)
    """The stage fails if for more than this share of the labels the writer gives no readable record."""
    scope: Annotated[
        Literal["task", "label"],
        Assumed("Sec. 3.2.2 asks Vocab[y,m]; the specificities of Tab. 6 suggest one list a task"),
    ] = "task"
    """Whether the observer is asked the findings of the label alone or of the whole task."""

    @property
    def pinned_snapshot(self) -> str | None:
        """Digest of the only pages that may be used; None where none is pinned."""
        return None if self.snapshot == UNPINNED else self.snapshot


class FindingsScience(Spec):
    """Stage 3: image-specific findings (Sec. 3.2.2)."""

    rollouts: int = Field(default=5, ge=1)
    """Rollouts for an image."""
    votes_over: int = Field(default=2, ge=0)
    """An entry is kept if it has more votes than this."""
    temperature: Annotated[float, Assumed("not published; rollouts must differ to be a vote")] = 1.0
    """Sampling temperature of the rollouts."""
    max_tokens: Annotated[int, Assumed("not published; room for one line a finding, of up to 72")] = 1024
    """Tokens of a rollout at most."""
    seed: int = 0
    """Of the sampling."""
    observe_masked: Annotated[bool, Assumed("needed to measure Tab. 6; masks still win")] = True
    """Ask the observer about images with masks too."""


class TracesScience(Spec):
    """Stage 4: trace composition (Sec. 3.2.3)."""

    prompt: Annotated[Literal["trace"], Assumed(_PROMPTS)] = "trace"
    """Name of the prompt text."""
    mode: Literal["knowledge", "free"] = "knowledge"
    """``free`` composes all traces free-form, as the baseline of Tab. 3 does."""
    baseline: bool = True
    """Composes free-form traces of the images with masks too, so that Tab. 6 has both its columns."""
    free_prompt: Annotated[Literal["free"], Assumed(_PROMPTS)] = "free"
    """Name of the prompt text of free-form traces."""
    free_temperature: Annotated[float, Assumed("not published; 0 makes the traces repeatable")] = 0.0
    """Sampling temperature of free-form traces."""
    free_max_tokens: Annotated[int, Assumed("not published; room for a trace of some sentences")] = 1024
    """Tokens of a free-form trace at most."""


class QualityScience(Spec):
    """Stage 5: the automatic quality check (Sec. 3.2.3)."""

    checks: Annotated[
        Literal["rules", "rules+writer"],
        Assumed("the paper prompts the writer; typed rules come first because they can be read"),
    ] = "rules"
    """Rules alone, or rules and then the writer on what passed."""
    audit_share: Annotated[float, Assumed("ours: shows where rules and writer disagree")] = Field(
        default=0.05, ge=0, le=1
    )
    """Share of the traces rejected by the rules that the writer sees too; it cannot rescue them."""


class TrainsetScience(Spec):
    """Stage 6: training data for both stages (Sec. 3.4)."""

    prompts: Annotated[
        Literal["accepted", "all"],
        Assumed("which prompts GRPO sees is not published; accepted traces have checked findings"),
    ] = "accepted"
    """Triplets that become GRPO prompts: those with an accepted trace, or all."""
    answers: Annotated[
        Literal["accepted", "all"],
        Assumed("which samples setups B-D use is not published; the same samples compare fairly"),
    ] = "accepted"
    """Triplets of the setups without traces."""
    seed: int = 0
    """Of the drawing of prompts where there is a limit."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many GRPO prompts, drawn by `seed`; None is all."""


class EvaluateScience(Spec):
    """Stage 9: benchmarks (Sec. 4.1)."""

    max_tokens: Annotated[int, Assumed("not published; FunBench's own 256 is short for a trace")] = 2048
    """Tokens of an answer at most."""
    limit: int | None = Field(default=None, ge=1)
    """At most so many questions of a benchmark and source, spread over its tasks; None is all."""
    seed: int = 0
    """Of the sampling; answers are greedy, so it decides nothing by itself."""


class Science(Spec):
    """All of what is computed."""

    setup: Setup = "G"
    """Training setup of Tab. 5; G is Fundus-R1."""
    models: Models = Models()
    """Who looks, writes, judges and learns."""
    pixels: Pixels = Pixels()
    """Of the images that the student is shown, in training and evaluation; its folder carries them on."""
    prompts: dict[str, str] = Field(default_factory=dict)
    """Prompt name -> SHA-256 of its text. What is pinned here must be what is installed; else the run
    is refused. (Fingerprints hold the hashes of the installed texts in any case.)"""
    index: Index = Index()
    """Stage 1."""
    knowledge: KnowledgeScience = KnowledgeScience()
    """Stage 2."""
    findings: FindingsScience = FindingsScience()
    """Stage 3."""
    traces: TracesScience = TracesScience()
    """Stage 4."""
    quality: QualityScience = QualityScience()
    """Stage 5."""
    trainset: TrainsetScience = TrainsetScience()
    """Stage 6."""
    sft: SftScience = SftScience()
    """Stage 7."""
    grpo: GrpoScience = GrpoScience()
    """Stage 8."""
    evaluate: EvaluateScience = EvaluateScience()
    """Stage 9."""

    @property
    def recipe(self) -> Recipe:
        """What the setup trains with."""
        return SETUPS[self.setup]

    @model_validator(mode="after")
    def _votes_can_win(self) -> Science:
        if self.findings.votes_over >= self.findings.rollouts:
            raise ValueError(
                f"findings.votes_over is {self.findings.votes_over} but there are only "
                f"{self.findings.rollouts} rollouts: no finding could ever be kept"
            )
        return self
