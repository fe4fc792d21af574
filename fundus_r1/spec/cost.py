"""``placement.cost``: what `fundus-r1 plan --cost` takes for granted where nothing is known.

None of it is measured and none of it changes a result; each field says where its value comes
from, and the command prints all of them below its table.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from fundus_r1.spec.base import Assumed, Spec

Share = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[float, Field(ge=0)]


class CostAssumptions(Spec):
    """The assumptions of a cost estimate."""

    # ---- images ------------------------------------------------------------------------
    cfp_side: Annotated[
        Positive, Assumed("the public photos have from about 0.8 to 12 megapixels; the square of this is 3")
    ] = 1730.0
    """Side in pixels of a square as large as the mean fundus photo."""
    oct_side: Annotated[
        Positive, Assumed("most B-scans of the OCT sets, UCSD's above all, have about 512 x 496 pixels")
    ] = 504.0
    """Side in pixels of a square as large as the mean B-scan."""
    uwf_side: Annotated[
        Positive, Assumed("the sizes in which they are shared are not published; taken as large as a photo")
    ] = 1730.0
    """Side in pixels of a square as large as the mean ultra-widefield photo."""
    least_image_tokens: Annotated[
        int, Field(ge=1), Assumed("Qwen2.5-VL's published processor: at least 3,136 pixels, 28 x 28 a token")
    ] = 4
    """Tokens of the smallest image; a tiny model has limits of its own."""
    most_image_tokens: Annotated[
        int, Field(ge=1), Assumed("Qwen2.5-VL's published processor: at most 12,845,056 pixels")
    ] = 16384
    """Tokens of the largest image; larger ones are scaled down."""
    image_bytes_per_pixel: Annotated[Positive, Assumed("JPEG of good quality; PNG takes more")] = 0.3
    """Bytes of a stored image, for each of its pixels."""

    # ---- texts -------------------------------------------------------------------------
    characters_per_token: Annotated[Positive, Assumed("usual for English in tokenizers of this size")] = 4.0
    """Turns the length of prompts and answers into tokens."""
    findings_asked: Annotated[
        Positive, Assumed("the bundled notes give 19 for a label of IDRiD, Kermany and TOP, on average")
    ] = 20.0
    """Findings in one joint question to the observer."""
    findings_present: Annotated[Count, Assumed("the traces in Tab. 3 name two to four")] = 3.0
    """Findings that an image shows."""
    findings_in_group: Annotated[Count, Assumed("the bundled notes give 1.2, 2.8 and 4.4 on average")] = 3.0
    """Findings in each group of a label: required, supportive, absent."""
    description_characters: Annotated[Positive, Assumed("the example of D[y,m] in Sec. 3.2.1 has 493")] = (
        500.0
    )
    """Length of D[y, m]."""
    passage_characters: Annotated[Positive, Assumed("passages are cut at 600 characters")] = 600.0
    """Length of a passage, its title and heading included."""
    trace_characters: Annotated[Positive, Assumed("the six traces printed in Tab. 3 have 300 on average")] = (
        300.0
    )
    """Length of a reasoning trace."""
    rollout_tokens: Annotated[
        Positive, Assumed("a trace of Tab. 3 has about 75 tokens; a student in training says more")
    ] = 200.0
    """Tokens that the student writes for one question, trace and answer."""

    # ---- shares ------------------------------------------------------------------------
    triplets_per_image: Annotated[
        Positive, Assumed("a question for each label of an image; most sets have one label an image")
    ] = 1.0
    """Questions asked about one image."""
    rules_pass_share: Annotated[
        Share, Assumed("somewhat more than what is accepted in the end, which is 55 % in the paper")
    ] = 0.6
    """Share of the traces that reach the writer in the quality check."""
    accepted_share: Annotated[Share, Assumed("Sec. 3.2.3: 80,115 of 146,425")] = 0.547
    """Share of the traces that are accepted."""
    correct_share: Annotated[
        Share, Assumed("where the process reward asks the judge about one kind of answer only")
    ] = 0.6
    """Share of GRPO's rollouts whose answer is right."""
    benchmark_questions: Annotated[
        Count, Assumed("the counts of Tab. 4 are not in the published text; this is a round number")
    ] = 20_000.0
    """Questions of the benchmarks that are asked, together."""
    synthetic_questions: Annotated[Count, Assumed("150 about 18 images of one drawn collection")] = 8.3
    """Questions about each held-out image of a drawn collection."""

    # ---- machines ----------------------------------------------------------------------
    gpu_tflops: Annotated[
        Positive,
        Assumed("dense bf16 of an H800 as its maker states it; the paper trained on eight, Sec. 4.1"),
    ] = 989.0
    """TFLOP/s of the GPU in which hours are counted."""
    prefill_utilisation: Annotated[Share, Field(gt=0), Assumed("reading prompts in large batches")] = 0.4
    """Share of it that reading a prompt reaches."""
    decode_utilisation: Annotated[
        Share, Field(gt=0), Assumed("writing is bound by memory; large batches of short answers")
    ] = 0.1
    """Share of it that writing an answer reaches."""
    training_utilisation: Annotated[Share, Field(gt=0), Assumed("usual for models of a few billion")] = 0.3
    """Share of it that forward and backward passes reach."""
    vision_parameters: Annotated[
        Count, Assumed("computed from the published shape of Qwen2.5-VL's vision tower and projector")
    ] = 0.67e9
    """Parameters of a published model's vision tower, which sees four patches for each image token."""

    # ---- bytes -------------------------------------------------------------------------
    row_bytes: Annotated[Positive, Assumed("ids, labels and keys of a row in JSON")] = 600.0
    """Bytes of a row beside its texts."""
    page_bytes: Annotated[Positive, Assumed("an article of EyeWiki or PMC")] = 100_000.0
    """Bytes of a kept page."""
    thumbnail_bytes: Annotated[Positive, Assumed("a small JPEG in base64")] = 8_000.0
    """Bytes of an image in the gallery."""
