"""Opens the text model that a spec names; the one place that knows the engines."""

from __future__ import annotations

from fundus_r1.errors import ModelError
from fundus_r1.models.protocol import ChatModel
from fundus_r1.spec.models import Chat
from fundus_r1.spec.placement import Endpoint
from fundus_r1.storage.protocol import Store


def open_chat(
    chat: Chat, endpoint: Endpoint | None, *, role: str = "writer", store: Store | None = None
) -> ChatModel:
    """A text model, ready to be asked.

    Args:
        chat: which model, and how it answers.
        endpoint: where it answers; not needed by ``rules``.
        role: ``writer`` or ``judge``, for errors and kept answers.
        store: keeps what an endpoint answers (`models.cache`); None asks it each time.

    Raises:
        ModelError: the engine needs an endpoint and has none, or its key is not there.
    """
    if chat.engine == "rules":
        from fundus_r1.models.rules import RulesModel

        return RulesModel()
    if endpoint is None:
        raise ModelError(
            f"The {role} is {chat.model} at an OpenAI-compatible endpoint, but no endpoint is given",
            where=f"placement.endpoints.{role}",
            hint=f"set placement.endpoints.{role}.url (and api_key_env), "
            f"or take the model that needs none: science.models.{role}.engine=rules",
        )
    from fundus_r1.models.openai_http import OpenAIChat

    return OpenAIChat(chat, endpoint, role=role, store=store)
