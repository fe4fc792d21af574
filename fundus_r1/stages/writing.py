"""The writer psi as stages 4 and 5 ask it: opened once, with enough batches under way to keep it busy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fundus_r1.models.chat import open_chat
from fundus_r1.models.protocol import ChatModel
from fundus_r1.spec.models import Chat
from fundus_r1.stages.base import Context
from fundus_r1.stages.batches import BATCH


@dataclass(frozen=True)
class Writer:
    """A text model and how it is best asked."""

    model: ChatModel
    lanes: int
    """Batches under way at once."""

    def counts(self) -> dict[str, int]:
        """What asking took in this try, for the record."""
        return {f"writer_{name}": count for name, count in self.model.usage.counts().items()}


def open_writer(ctx: Context[Any], chat: Chat) -> Writer:
    """The writer of a stage.

    Raises:
        ModelError: it needs an endpoint and has none, or its key is not there.
    """
    endpoint = ctx.placement.endpoints.writer
    model = open_chat(chat, endpoint, role="writer", store=ctx.store)
    # A batch ends when its slowest answer is there; two more batches fill the gap it leaves.
    asked_at_once = endpoint.concurrency if chat.engine == "openai" and endpoint else 0
    return Writer(model, lanes=2 + asked_at_once // BATCH if asked_at_once else 1)
