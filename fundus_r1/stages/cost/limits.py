"""What would not fit: an estimate that cuts it off must say so.

A prompt that is longer than GRPO allows is left out of the training, one that is longer than SFT or
the engine allows is an error, and a rollout of the observer that is cut abstains for what it did not
reach. Better known before a GPU is asked for.
"""

from __future__ import annotations

from fundus_r1.spec import RunSpec
from fundus_r1.stages.cost.rows import Quantities, Size
from fundus_r1.stages.cost.texts import Texts, image_tokens


def too_long(spec: RunSpec, known: Quantities) -> list[str]:
    """One sentence for each limit that the longest answer, or the mean image of a modality, exceeds.

    Args:
        spec: the run.
        known: its images, questions and models.
    """
    science, engine = spec.science, spec.placement.engine
    texts = Texts(science.knowledge.datasets or science.index.datasets, spec.placement.cost)
    student, joint = texts.prompt("student"), texts.prompt("findings", findings=known.asked)
    in_process = spec.placement.endpoints.observer is None
    checks: list[tuple[bool, Size | None, float, int, str, str]] = [
        (science.recipe.grpo, known.student, student, science.grpo.max_prompt_length,
         "science.grpo.max_prompt_length", "its prompts are left out of GRPO"),
        (science.recipe.sft, known.student, student + texts.trace(), science.sft.max_length,
         "science.sft.max_length", "SFT will refuse it"),
        (in_process, known.observer, joint + science.findings.max_tokens, engine.max_model_len,
         "placement.engine.max_model_len", "the observer will refuse it"),
    ]  # fmt: skip
    found = []
    answer = texts.findings_answer(known.asked_at_most)
    if answer > science.findings.max_tokens:
        found.append(
            f"A rollout about {known.asked_at_most:.0f} findings has about {answer:,.0f} tokens, more than "
            f"science.findings.max_tokens={science.findings.max_tokens}: the last findings get no vote"
        )
    for applies, model, text, limit, field, outcome in checks:
        if not applies or model is None:
            continue
        for modality, side in known.sides.items():
            image = image_tokens(side, side, model.least_image_tokens, model.most_image_tokens)
            if known.images[modality] and image + text > limit:
                found.append(
                    f"A mean {modality} image has {image:,} tokens, {image + text:,.0f} with its text, "
                    f"more than {field}={limit}: {outcome}"
                )
    return found
