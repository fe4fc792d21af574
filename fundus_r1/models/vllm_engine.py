"""vLLM in process, the same code on GPUs and on a CPU: the observer of Sec. 3.2.2, and the evaluation.

The same list of requests gets the same answers. On a CPU an answer moreover depends on its own
request alone, whatever else is asked at the same time: arithmetic is in 32 bits, by one thread,
and no prefix is taken from a cache, because each of those would round differently from one
composition of the batch to another. Several workers use several cores.

Requests flow through the engine: as one is answered the next is let in, and the images of those that come
are decoded and prepared in a thread meanwhile, so that no batch waits for its slowest answer.
"""

from __future__ import annotations

import gc
import io
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fundus_r1.errors import DataError, ModelError
from fundus_r1.fingerprint import sha256
from fundus_r1.models.protocol import VisionAnswer, VisionRequest
from fundus_r1.models.usage import Usage
from fundus_r1.models.vllm_flow import Flow, Prepared
from fundus_r1.spec.placement import Engine

if TYPE_CHECKING:
    from PIL.Image import Image
    from vllm import SamplingParams


class VllmVision:
    """A vision model that answers from a local folder.

    Args:
        path: a folder in the Hugging Face layout.
        engine: how large the engine is.
        model_name: what `VisionAnswer.model` says.

    Raises:
        ModelError: the model cannot be loaded.
    """

    def __init__(self, path: Path, engine: Engine, *, model_name: str):
        self.model_name = model_name
        self.usage = Usage()
        self._path = path
        self._limit = engine.max_model_len
        self._max_num_seqs = engine.max_num_seqs
        _prepare_environment(engine)
        import torch
        from safetensors import SafetensorError
        from transformers import AutoProcessor
        from vllm import LLM
        from vllm.platforms import current_platform

        self._threads = torch.get_num_threads()
        self._set_threads: Callable[[int], None] = torch.set_num_threads
        if current_platform.is_cpu():
            torch.set_num_threads(1)
        try:
            self._processor: Any = AutoProcessor.from_pretrained(path)
            self._llm: Any = LLM(str(path), **_arguments(engine, current_platform.is_cpu()))
        except (
            SafetensorError, ValueError, RuntimeError, OSError, KeyError, AssertionError, ImportError,
        ) as error:  # fmt: skip
            self._release()
            raise ModelError(
                f"vLLM could not load the model: {str(error).strip() or type(error).__name__}",
                where=str(path),
                hint="check that the folder is whole, that vLLM knows the architecture, and that "
                "placement.engine fits into this machine's memory",
            ) from error

    def generate(self, requests: Iterable[VisionRequest]) -> Iterator[VisionAnswer]:
        """Answers in the order of the requests.

        Raises:
            ModelError: a request and its answer do not fit into ``placement.engine.max_model_len``.
            DataError: an image cannot be decoded.
        """
        from vllm.exceptions import VLLMValidationError

        flow = Flow(self._llm.llm_engine, self._prepared, self._max_num_seqs, iter(requests))
        try:
            for request, output in flow:
                texts = tuple(self._whole(request, answer) for answer in output.outputs)
                self.usage.add(
                    requests=1,
                    prompt_tokens=len(output.prompt_token_ids),
                    completion_tokens=sum(len(answer.token_ids) for answer in output.outputs),
                )
                # Greedy rollouts are all alike, so one was asked for.
                yield VisionAnswer(texts * (request.n // len(texts)), self.model_name)
        except (VLLMValidationError, ValueError) as error:
            raise ModelError(
                f"vLLM refused a request: {error}", where=str(self._path), hint=self._too_long()
            ) from error
        finally:
            flow.close()

    def _prepared(self, request: VisionRequest) -> Prepared:
        from vllm.renderers.inputs.preprocess import parse_model_prompt

        engine = self._llm.llm_engine
        prompt = {
            "prompt": self._rendered(request.prompt),
            "multi_modal_data": {"image": _decode(request.image)},
        }
        (rendered,) = engine.renderer.render_cmpl([parse_model_prompt(engine.model_config, prompt)])
        return Prepared(rendered, _sampling(request))

    def _rendered(self, text: str) -> str:
        message = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": text}]}
        rendered: str = self._processor.apply_chat_template(
            [message], tokenize=False, add_generation_prompt=True
        )
        return rendered

    def _whole(self, request: VisionRequest, answer: Any) -> str:
        """The answer's text, refused where the context ended before the answer did."""
        if answer.finish_reason == "length" and len(answer.token_ids) < request.max_tokens:
            raise ModelError(
                f"An answer was cut after {len(answer.token_ids)} of {request.max_tokens} tokens, because "
                f"prompt and answer do not fit into {self._limit}",
                where=str(self._path),
                hint=self._too_long(),
            )
        text: str = answer.text
        return text

    def _too_long(self) -> str:
        return (
            f"raise placement.engine.max_model_len (now {self._limit}; an image of the size that the "
            "model's processor allows must fit with prompt and answer), or shorten the request"
        )

    def close(self) -> None:
        """Frees the weights and the cache; a second time does nothing."""
        if self._llm is not None:
            self._llm.llm_engine.engine_core.shutdown()
            self._llm = None
            self._release()

    def _release(self) -> None:
        import torch
        from vllm.distributed.parallel_state import cleanup_dist_env_and_memory

        gc.collect()
        cleanup_dist_env_and_memory()
        # vLLM's CPU worker replaces the function by one that does nothing.
        torch.set_num_threads = self._set_threads
        torch.set_num_threads(self._threads)


def _prepare_environment(engine: Engine) -> None:
    """What vLLM takes from the environment only; most of it is read when vLLM is imported."""
    os.environ.update(
        VLLM_ENABLE_V1_MULTIPROCESSING="0",  # in process: no child to lose, seeds hold
        VLLM_CPU_KVCACHE_SPACE=str(engine.kv_cache_gib),
        VLLM_CPU_OMP_THREADS_BIND="nobind",  # two workers would be bound to the same cores
        VLLM_NO_USAGE_STATS="1",
    )
    os.environ.setdefault("VLLM_LOGGING_LEVEL", "ERROR")
    os.environ.setdefault("VLLM_LOGGING_STREAM", "ext://sys.stderr")


def _arguments(engine: Engine, on_cpu: bool) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "dtype": engine.dtype,
        "max_model_len": engine.max_model_len,
        "max_num_seqs": engine.max_num_seqs,
        "tensor_parallel_size": engine.tensor_parallel,
        "limit_mm_per_prompt": {"image": 1, "video": 0},
        # A weak model would otherwise fill its answer with white space until it ends.
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
        "seed": 0,
    }
    if not on_cpu:
        return arguments | {
            "gpu_memory_utilization": engine.gpu_memory,
            # The rollouts of a question share its prompt, and the questions of a task share their beginning.
            "enable_prefix_caching": True,
            "mm_processor_cache_gb": engine.image_cache_gib,
        }
    return arguments | {
        "dtype": "float32" if engine.dtype == "auto" else engine.dtype,
        "enforce_eager": True,  # compiling takes longer than a small model's whole work
        "enable_prefix_caching": False,
        # A prompt cut in pieces rewinds its seeded generator, which torch's CPU generator refuses.
        "enable_chunked_prefill": False,
        "max_num_batched_tokens": max(engine.max_model_len, 4096),
        "mm_processor_cache_gb": 0,
    }


def _sampling(request: VisionRequest) -> SamplingParams:
    from vllm import SamplingParams
    from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams

    schema = request.schema
    return SamplingParams(
        n=1 if request.temperature == 0 else request.n,
        temperature=request.temperature,
        max_tokens=request.max_tokens,
        # vLLM gives rollout i the seed + i: seeds that follow each other must lie far apart.
        seed=int(sha256(str(request.seed).encode())[:12], 16),
        output_kind=RequestOutputKind.FINAL_ONLY,
        structured_outputs=None if schema is None else StructuredOutputsParams(json=schema),
    )


def _decode(image: bytes) -> Image:
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(image)) as opened:
            return opened.convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise DataError(
            f"An image that was to be asked about cannot be decoded: {error}", where=sha256(image)
        ) from error
