"""``placement``: where a run happens and how big it is. Never fingerprinted.

Moving a run to another cluster changes this part alone, and no result. Credentials are no part
of it: they come from the environment (``FUNDUS_R1_S3_ACCESS_KEY``, ``FUNDUS_R1_S3_SECRET_KEY``
and the variables named by ``api_key_env``).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from fundus_r1.spec.base import Spec
from fundus_r1.spec.cluster import Cluster
from fundus_r1.spec.cost import CostAssumptions


class StorePlace(Spec):
    """Where outputs lie."""

    kind: Literal["s3", "folder"] = "s3"
    """``s3`` is anything that speaks S3; ``folder`` is the alternative for a single machine."""
    endpoint: str | None = None
    """``http(s)://host:port``. None starts a server on loopback for the time of the run."""
    region: str = "us-east-1"
    """Region of the bucket."""
    bucket: str = "fundus-r1"
    """The bucket; it is made if it is not there."""
    prefix: str = ""
    """Put before every key."""
    path: str | None = None
    """The folder, for ``kind: folder``."""
    port: int = Field(default=0, ge=0, le=65535)
    """S3 port of the server on loopback; 0 takes a free one."""

    @property
    def is_placed(self) -> bool:
        """Whether it says where it is; else a run on one machine makes one in its folder."""
        return (self.path if self.kind == "folder" else self.endpoint) is not None


class Endpoint(Spec):
    """An OpenAI-compatible endpoint."""

    url: str
    """Base address, ending in ``/v1``."""
    api_key_env: str | None = None
    """Name of the secret: the environment variable that holds the key."""
    model: str | None = None
    """Id under which this endpoint serves the model, where that is not the one that `science` names."""
    timeout_s: float = Field(default=120.0, gt=0)
    """Seconds until one try of a request counts as lost."""
    deadline_s: float = Field(default=900.0, gt=0)
    """Seconds until a request is given up, all its tries and waits counted. An endpoint that is away
    for a shorter time costs nothing but this time."""
    concurrency: int = Field(default=32, ge=1)
    """Requests under way at once, at most; fewer where the endpoint says that it is too much."""
    usd_per_million_prompt_tokens: float | None = Field(default=None, ge=0)
    """Price of what is sent, for the accounts."""
    usd_per_million_completion_tokens: float | None = Field(default=None, ge=0)
    """Price of what is answered, for the accounts."""


class Endpoints(Spec):
    """Where models answer that are not loaded in process."""

    writer: Endpoint | None = None
    """The writer, whose engine is ``openai``."""
    judge: Endpoint | None = None
    """The judge, whose engine is ``openai``."""
    observer: Endpoint | None = None
    """The observer; None loads it into vLLM in process."""
    free_form: Endpoint | None = None
    """The writer of free-form traces; None loads it into vLLM in process."""


class RetrievalPlace(Spec):
    """Where the sources of knowledge answer, and how politely they are asked (paper, Sec. 3.2.1)."""

    offline: bool = False
    """Uses only pages that the store keeps; nothing is contacted."""
    eyewiki: tuple[str, ...] = ("https://eyewiki.org/w/api.php", "https://eyewiki.aao.org/w/api.php")
    """Addresses of EyeWiki's MediaWiki API; the next is asked where one does not answer."""
    pmc: str = "https://eutils.ncbi.nlm.nih.gov/entrez/eutils"
    """Base address of NCBI's E-utilities."""
    pmc_bulk: str = "https://pmc-oa-opendata.s3.amazonaws.com"
    """Base address of the bucket with PMC's open-access subset."""
    pmc_articles: Literal["efetch", "bulk"] = "efetch"
    """How full texts are fetched; NCBI wants large jobs to take ``bulk``."""
    aao: str = "https://www.aao.org"
    """Base address of the AAO's documents."""
    hosts: tuple[str, ...] = ()
    """Further hosts (``name`` or ``name:port``) that redirects may lead to; no other is contacted."""
    contact: str | None = None
    """E-mail address that NCBI and other hosts are told, as NCBI asks for."""
    ncbi_key_env: str | None = None
    """Name of the secret: the environment variable that holds an NCBI API key."""
    requests_per_s: float = Field(default=1.0, gt=0)
    """Requests a second to each host but NCBI's, which states its own limits."""
    timeout_s: float = Field(default=30.0, gt=0)
    """Seconds without a byte until one try of a request counts as lost."""
    deadline_s: float = Field(default=300.0, gt=0)
    """Seconds until a page is given up, all its tries and waits counted."""
    max_bytes: int = Field(default=20_000_000, ge=1)
    """Pages with more bytes are refused."""


class Workers(Spec):
    """Fan-out of stage 3."""

    workers: int = Field(default=2, ge=1)
    """Pods (or processes) that share the parts."""
    lease_s: float = Field(default=120.0, gt=1)
    """A part whose worker has not been heard of for so long may be taken over."""


class Engine(Spec):
    """vLLM in process."""

    dtype: Literal["bfloat16", "float32", "auto"] = "auto"
    """Number type of the weights; ``auto`` takes the model's own."""
    max_model_len: int = 8192
    """Tokens of prompt and answer together."""
    max_num_seqs: int = 256
    """Sequences that run at once."""
    tensor_parallel: int = Field(default=1, ge=1)
    """GPUs that share one model."""
    gpu_memory: float = Field(default=0.9, gt=0, le=1)
    """Share of the GPU's memory; ignored on a CPU."""
    kv_cache_gib: int = Field(default=1, ge=1)
    """Key-value cache on a CPU; ignored on a GPU."""
    image_cache_gib: float = Field(default=4.0, ge=0)
    """Cache of preprocessed images; ignored on a CPU."""


class SftPlace(Spec):
    """How stage 7 is launched."""

    launcher: Literal["torchrun", "ray", "process"] = "torchrun"
    """``torchrun`` starts the processes, by the standard environment of a PyTorchJob or TrainJob where
    there is one; ``ray`` has Ray Train start them; ``process`` is one process without either."""
    nodes: int = Field(default=1, ge=1)
    """Machines, where the stage runs as a job on a cluster."""
    processes: int = Field(default=8, ge=1)
    """Processes on each machine; on a cluster as many GPUs."""
    deepspeed: Literal["none", "zero2", "zero3"] = "none"
    """``none`` keeps everything in every process (DDP); ``zero2`` shares out gradients and the optimiser's
    state, ``zero3`` the weights too."""
    gradient_checkpointing: bool = True
    """Computes activations again in the backward pass: less memory, about a third more time."""
    micro_batch_size: int = Field(default=1, ge=1)
    """Conversations a process computes at once, of like length; the rest of the batch is accumulated."""
    pack_tokens: int | None = Field(default=None, ge=1)
    """Instead of that, conversations share sequences of at most so many tokens, each blind to the others,
    and nothing is padded. A step sees the same conversations either way, and has the same loss."""
    save_steps: int = Field(default=50, ge=1)
    """Optimiser steps between checkpoints."""
    divergence: float | None = Field(default=2.0, gt=1)
    """The stage fails if the loss (mean of ten steps) is more than this many times that of the first ten;
    None lets it go on."""


class GrpoPlace(Spec):
    """How stage 8 is launched."""

    device: Literal["cuda", "cpu"] = "cuda"
    """What the trainer computes on; ``cpu`` needs the plug-in of `fundus_r1.training`."""
    nodes: int = Field(default=1, ge=1)
    """Machines, where the stage runs as a job on a cluster."""
    processes: int = Field(default=8, ge=1)
    """GPUs of each machine, or logical ones on a CPU."""
    micro_batch_size: int = Field(default=4, ge=1)
    """Sequences computed at once in a process."""
    max_model_len: int = 3072
    """Tokens of prompt and rollout together."""
    save_steps: int = Field(default=10, ge=1)
    """Steps between checkpoints."""
    stall_s: float = Field(default=1800.0, gt=0)
    """The stage fails if verl shows no progress for so long (it can hang instead of failing)."""
    max_kl: float | None = Field(default=10.0, gt=0)
    """The stage fails if the KL loss of a step (nats a token, mean of ten steps) is more than this;
    None lets it go on."""
    empty_advantage_steps: int | None = Field(default=50, ge=1)
    """The stage fails if for so many steps no group of rollouts had differing rewards, so that nothing
    was learnt; None lets it go on."""

    @property
    def world(self) -> int:
        """Processes on all machines."""
        return self.nodes * self.processes


class Trackers(Spec):
    """Where figures of the training go beside the store. Credentials come from their own variables."""

    tensorboard: str | None = None
    """Folder of TensorBoard's event files."""
    mlflow: str | None = None
    """Tracking URI of MLflow."""
    wandb: str | None = None
    """Project in Weights & Biases."""


class Placement(Spec):
    """All of where and how big."""

    store: StorePlace = StorePlace()
    """Where outputs lie."""
    data: tuple[str, ...] = ()
    """Folders with datasets and benchmarks in their official layouts."""
    cache: str | None = None
    """Folder for model weights and scratch; None takes the system's temporary folder."""
    endpoints: Endpoints = Endpoints()
    """Where models answer that are not loaded in process."""
    retrieval: RetrievalPlace = RetrievalPlace()
    """Where the sources of knowledge answer."""
    findings: Workers = Workers()
    """Fan-out of stage 3."""
    engine: Engine = Engine()
    """vLLM in stages 3 and 9."""
    sft: SftPlace = SftPlace()
    """How stage 7 is launched."""
    grpo: GrpoPlace = GrpoPlace()
    """How stage 8 is launched."""
    trainer_api: Literal["pytorchjob", "trainjob", "auto"] = "auto"
    """Which job stage 7 is on a cluster: Kubeflow's PyTorchJob (v1), TrainJob (v2), or what the cluster
    has, PyTorchJob first."""
    cluster: Cluster | None = None
    """The cluster on which stages 7 and 8 become jobs; None runs every stage where its step runs."""
    trackers: Trackers = Trackers()
    """Who else is told the figures of stages 7 and 8."""
    cost: CostAssumptions = CostAssumptions()
    """What `plan --cost` takes for granted."""
    min_free_gib: float = Field(default=2.0, ge=0)
    """A local run refuses to start with less free disk than this in its output folder."""
