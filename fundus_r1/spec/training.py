"""What of the science concerns the training: SFT, GRPO, and the images that the student is shown.

As in `spec.science`, a default that the paper gives stands plainly, and one that it leaves open
carries an `Assumed` with the reason.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from fundus_r1.spec.base import Assumed, Spec


class Lora(Spec):
    """Low-rank adapters (Hu et al. 2021), by peft."""

    rank: int = Field(default=8, ge=1)
    """Rank of the update of each matrix."""
    alpha: float = Field(default=16.0, gt=0)
    """The update is scaled by alpha / rank."""
    targets: tuple[str, ...] = (
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    )  # fmt: skip
    """Names of the language model's matrices that get an adapter."""


class SftScience(Spec):
    """Stage 7: supervised fine-tuning (Sec. 3.4, 4.1)."""

    epochs: int = Field(default=2, ge=1)
    """Passes over the conversations (Sec. 4.1)."""
    learning_rate: Annotated[
        float, Assumed("the figure is lost in the published text; 1e-5 is LLaMA-Factory's example")
    ] = 1e-5
    """Peak learning rate of AdamW."""
    batch_size: Annotated[int, Assumed("not published")] = 64
    """Conversations in an optimiser step, over all processes."""
    warmup_share: Annotated[float, Assumed("not published; LLaMA-Factory's example")] = 0.1
    """Share of the steps in which the learning rate rises; then it falls by a cosine."""
    weight_decay: Annotated[float, Assumed("not published; AdamW's usual value")] = 0.01
    """Weight decay of AdamW."""
    max_length: Annotated[int, Assumed("not published")] = 4096
    """Tokens in a conversation, image tokens included; longer ones are an error."""
    max_grad_norm: Annotated[float, Assumed("not published; LLaMA-Factory's default")] = Field(
        default=1.0, gt=0
    )
    """Gradients of a step are scaled down to this norm at most."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """``bf16`` as in Sec. 4.1, or ``fp32``, which a CPU without bf16 units computes faster."""
    train_vision: Annotated[
        bool, Assumed("not published; LLaMA-Factory, which the paper used, freezes it by default")
    ] = False
    """Whether the vision tower learns too."""
    train_projector: Annotated[
        bool, Assumed("not published; LLaMA-Factory, which the paper used, freezes it by default")
    ] = False
    """Whether the projector (Qwen2.5-VL's patch merger) learns too."""
    lora: Annotated[Lora | None, Assumed("not published; None trains all weights that are not frozen")] = None
    """Low-rank adapters in the place of the language model's own weights; merged at the end."""
    seed: int = 0
    """Of the order of the conversations, and of the adapters' initial weights."""


class GrpoScience(Spec):
    """Stage 8: GRPO with the process reward (Sec. 3.3)."""

    rollouts: int = Field(default=4, ge=2)
    """Rollouts of a prompt."""
    temperature: float = 1.0
    """Sampling temperature of the rollouts (Sec. 4.1)."""
    epochs: int = Field(default=8, ge=1)
    """Passes over the prompts (Sec. 4.1)."""
    learning_rate: Annotated[
        float, Assumed("the figure is lost in the published text; 1e-6 is verl's example")
    ] = 1e-6
    """Constant learning rate of AdamW."""
    batch_size: Annotated[int, Assumed("not published; verl's example")] = 512
    """Prompts in a step."""
    mini_batch_size: Annotated[int, Assumed("not published; verl's example")] = 128
    """Prompts in an optimiser update."""
    weight_decay: Annotated[float, Assumed("not published; verl's default")] = 0.01
    """Weight decay of AdamW."""
    max_grad_norm: Annotated[float, Assumed("not published; verl's default")] = Field(default=1.0, gt=0)
    """Gradients of an update are scaled down to this norm at most."""
    clip_ratio: Annotated[float, Assumed("not published; verl's default")] = Field(default=0.2, gt=0)
    """How far the ratio of new to old probability counts (epsilon of GRPO's objective)."""
    kl_coefficient: Annotated[float, Assumed("not published; verl's example")] = 0.01
    """Of the low-variance KL loss to the reference policy."""
    max_prompt_length: Annotated[int, Assumed("not published; verl's example")] = 1024
    """Tokens of a prompt at most, image tokens included."""
    max_response_length: Annotated[int, Assumed("not published; verl's example")] = 2048
    """Tokens of a rollout at most."""
    plausible: Annotated[float, Assumed("the three values are lost in the published text")] = 1.0
    """Process reward of a right answer with a plausible trace."""
    tenuous: Annotated[float, Assumed("the three values are lost in the published text")] = 0.5
    """Process reward of a right answer with a tenuous trace."""
    flawed: Annotated[float, Assumed("the three values are lost in the published text")] = 0.0
    """Process reward of a right answer with a flawed trace."""
    plausible_if_wrong: Annotated[float, Assumed("the value is lost in the published text")] = 0.5
    """Process reward of a wrong answer whose trace is plausible for that answer."""
    other_branch: Annotated[
        float, Assumed("what setups H and I give on the other branch of Eq. 4 is not published")
    ] = 0.0
    """Process reward of setups H and I where their term does not apply."""
    unjudged: Annotated[float, Assumed("ours: neither praise nor blame for what was not judged")] = Field(
        default=0.5, ge=0, le=1
    )
    """Where the judge gave no readable verdict, or did not answer: the term lies this share of the way
    from its least to its greatest value."""
    bad_share: float = Field(default=0.1, ge=0, le=1)
    """The stage fails if more than this share of the verdicts asked for in a step is missing."""
    train_vision: Annotated[bool, Assumed("not published; verl's example trains it")] = True
    """Whether the vision tower learns too."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """``bf16`` as in Sec. 4.1, or ``fp32``, which a CPU without bf16 units computes faster."""
    seed: int = 0
    """Of the order of the prompts."""


class Pixels(Spec):
    """Native resolution between two limits, as Qwen2.5-VL's processor knows them."""

    min_pixels: int = Field(default=4 * 28**2, ge=28**2)
    """Smaller images are scaled up to so many pixels; the default is the processor's own."""
    max_pixels: Annotated[
        int, Assumed("not published; LLaMA-Factory's default of 768 x 768, about 750 tokens of image")
    ] = Field(default=768**2, ge=28**2)
    """Larger images are scaled down to so many pixels, keeping their shape."""

    @model_validator(mode="after")
    def _some_size_is_allowed(self) -> Pixels:
        if self.max_pixels < self.min_pixels:
            raise ValueError(
                f"max_pixels is {self.max_pixels}, less than min_pixels ({self.min_pixels}): "
                "no image could be brought between the two"
            )
        return self
