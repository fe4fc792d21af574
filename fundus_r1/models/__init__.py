"""Language models behind two protocols: text (`ChatModel`) and images (`VisionModel`)."""

from __future__ import annotations

from fundus_r1.models.chat import open_chat
from fundus_r1.models.protocol import (
    ChatAnswer,
    ChatModel,
    ChatRequest,
    VisionAnswer,
    VisionModel,
    VisionRequest,
)

__all__ = [
    "ChatAnswer",
    "ChatModel",
    "ChatRequest",
    "VisionAnswer",
    "VisionModel",
    "VisionRequest",
    "open_chat",
]
