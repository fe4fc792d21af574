"""Opens the vision model that a spec names: into vLLM in process, or at an endpoint that serves it."""

from __future__ import annotations

from fundus_r1.errors import ModelError
from fundus_r1.models.protocol import VisionModel
from fundus_r1.models.weights import materialise, model_cache, model_id
from fundus_r1.spec.models import HubModel, ServedModel, VisionRef
from fundus_r1.spec.placement import Endpoint, Placement
from fundus_r1.storage.protocol import Store


def open_vision(
    ref: VisionRef,
    placement: Placement,
    endpoint: Endpoint | None,
    *,
    role: str,
    store: Store | None = None,
    weights: Store | None = None,
) -> VisionModel:
    """A vision model, ready to be asked; the weights are made or fetched if need be.

    Args:
        ref: which model.
        placement: the engine's size and the folder for weights.
        endpoint: where it is served; None loads it here.
        role: ``observer`` or ``free_form``, for errors and kept answers.
        store: keeps what an endpoint answers (`models.cache`); None asks it each time.
        weights: the store that may have the weights (`models.mirror`); None asks the hub.

    Raises:
        ModelError: it cannot be loaded, or needs an endpoint and has none.
    """
    if endpoint is not None:
        from fundus_r1.models.openai_vision import OpenAIVision

        return OpenAIVision(endpoint, endpoint.model or _served_name(ref), role=role, store=store)
    if isinstance(ref, ServedModel):
        raise ModelError(
            f"The model {ref.name} ({role}) is known only by the id under which an endpoint serves it, "
            "but no endpoint is given",
            where=f"placement.endpoints.{role}",
            hint=f"set placement.endpoints.{role}.url (and api_key_env), or name a model whose weights "
            f"can be had in science.models.{role}",
        )
    from fundus_r1.models.vllm_engine import VllmVision

    path = materialise(ref, model_cache(placement), weights)
    return VllmVision(path, placement.engine, model_name=model_id(ref))


def _served_name(ref: VisionRef) -> str:
    return ref.name if isinstance(ref, HubModel | ServedModel) else model_id(ref)
