"""One model's work: requests become tokens, GPU-hours and dollars.

A token costs two operations for each parameter forwards and twice that backwards. Reading a prompt,
writing an answer and training use a GPU to different shares (`placement.cost`). The vision tower
works on four patches for each image token.
"""

from __future__ import annotations

import math

from fundus_r1.models.usage import Usage
from fundus_r1.spec.cost import CostAssumptions
from fundus_r1.spec.models import Chat
from fundus_r1.spec.placement import Endpoint
from fundus_r1.stages.cost.rows import Asked, Quantities, Size
from fundus_r1.stages.cost.texts import image_tokens

PATCHES = 4
"""Patches that are merged into one image token."""
FORWARD, BACKWARD = 2, 4
"""Operations for each parameter and token."""


def _usd(prompt: float, completion: float, endpoint: Endpoint | None) -> float | None:
    usage = Usage()
    usage.add(prompt_tokens=math.ceil(prompt), completion_tokens=math.ceil(completion))
    return usage.usd(endpoint)


class Work:
    """Turns requests into costs.

    Args:
        assumed: what is taken for granted.
        known: images, which differ in their tokens from model to model.
    """

    def __init__(self, assumed: CostAssumptions, known: Quantities):
        self._assumed = assumed
        self._known = known

    def image_tokens(self, model: Size | None) -> float:
        """Mean tokens of a training image; a model of unknown size is taken for a Qwen2.5-VL."""
        least = model.least_image_tokens if model else self._assumed.least_image_tokens
        most = model.most_image_tokens if model else self._assumed.most_image_tokens
        known = self._known
        tokens = {
            modality: image_tokens(known.sides[modality], known.sides[modality], least, most)
            for modality in known.images
        }
        if not known.total:
            return 0.0
        return sum(known.images[modality] * tokens[modality] for modality in tokens) / known.total

    def text(
        self, role: str, chat: Chat, requests: float, prompt: float, answer: float, endpoint: Endpoint | None
    ) -> Asked:
        """Requests to a text model; ``rules`` asks nobody.

        Args:
            role: who is asked.
            chat: which model.
            requests: how many.
            prompt: tokens of one prompt.
            answer: tokens of one answer, before the model's limit.
            endpoint: where it answers.
        """
        asked = requests if chat.engine == "openai" else 0.0
        sent, said = asked * prompt, asked * min(answer, chat.max_tokens)
        return Asked(role, asked, sent, said, None, _usd(sent, said, endpoint))

    def vision(
        self,
        role: str,
        model: Size | None,
        requests: float,
        prompt: float,
        answer: float,
        endpoint: Endpoint | None = None,
        *,
        images: float | None = None,
    ) -> Asked:
        """Requests to a model that looks at images.

        Args:
            role: who is asked.
            model: its size, or None.
            requests: how many.
            prompt: tokens of one prompt without its image.
            answer: tokens of all answers to one request.
            endpoint: where it answers, if it is not loaded in process.
            images: tokens of one image; None takes the mean of the training images.
        """
        image = self.image_tokens(model) if images is None else images
        sent, said = requests * (prompt + image), requests * answer
        hours = None
        if model is not None:
            read = FORWARD * (model.parameters * sent + model.vision * PATCHES * requests * image)
            written = FORWARD * model.parameters * said
            hours = self._hours(read, self._assumed.prefill_utilisation) + self._hours(
                written, self._assumed.decode_utilisation
            )
        return Asked(role, requests, sent, said, hours, _usd(sent, said, endpoint))

    def training(
        self, model: Size | None, examples: float, text: float, image: float, *, forwards: int, vision: bool
    ) -> float | None:
        """GPU-hours of training passes, or None for a model of unknown size.

        Args:
            model: its size.
            examples: sequences, each time they are seen.
            text: tokens of a sequence without its image.
            image: tokens of its image.
            forwards: further passes without gradient, such as those of a reference model.
            vision: whether the vision tower learns too.
        """
        if model is None:
            return None
        once = FORWARD * (1 + forwards)
        language = model.parameters * (text + image) * (once + BACKWARD)
        tower = model.vision * PATCHES * image * (once + (BACKWARD if vision else 0))
        return self._hours(examples * (language + tower), self._assumed.training_utilisation)

    def _hours(self, operations: float, utilisation: float) -> float:
        return operations / (self._assumed.gpu_tflops * 1e12 * utilisation) / 3600
