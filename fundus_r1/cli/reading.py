"""The verb that uses a trained model: it reads images."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from fundus_r1.cli.app import app
from fundus_r1.cli.options import DEFAULT_OUT, DataOption, OutOption, SetOption, read_spec
from fundus_r1.errors import SpecError

if TYPE_CHECKING:
    from fundus_r1.models.protocol import VisionModel
    from fundus_r1.stages.read import Read

QUESTION = "Which disease does this fundus image show?"


@contextmanager
def _model(
    model: str | None, spec: Path | None, overrides: list[str] | None, data: list[Path] | None, out: Path
) -> Iterator[tuple[VisionModel, str]]:
    """The model that is named, or that the run has trained; and its name."""
    from fundus_r1.local.run import SPEC, open_place
    from fundus_r1.spec.placement import Engine
    from fundus_r1.stages.evaluate import open_vllm
    from fundus_r1.stages.evaluate_alone import contender
    from fundus_r1.stages.read import trained_folder
    from fundus_r1.stages.resolve import resolve
    from fundus_r1.storage import open_store

    if model is not None:
        name, opened = contender(model, Engine(), None, None)
        yield opened(), name
        return
    spec = spec or out / SPEC
    if not spec.is_file():
        raise SpecError(
            "There is no run whose model could read",
            where=str(spec),
            hint="make one (make demo), name its folder with --out, or name a model folder with --model",
        )
    with tempfile.TemporaryDirectory(prefix="fr1-read-") as scratch:
        with open_place(resolve(read_spec(spec, overrides, data)), out) as placed:
            folder, name = trained_folder(placed, open_store(placed.placement.store), Path(scratch))
        yield open_vllm(folder, placed.placement.engine, name), name


@app.command()
def read(
    images: Annotated[list[Path], typer.Argument(help="Image files, or folders of images.")],
    question: Annotated[str, typer.Option(help="What is asked about each image.")] = QUESTION,
    option: Annotated[list[str] | None, typer.Option(help="An answer to choose from; repeat it.")] = None,
    model: Annotated[
        str | None, typer.Option(help="A model folder, or an address ending in /v1; else the run's own.")
    ] = None,
    spec: Annotated[
        Path | None, typer.Option("--spec", help="YAML of the run whose model reads; else that of --out.")
    ] = None,
    overrides: SetOption = None,
    data: DataOption = None,
    out: OutOption = DEFAULT_OUT,
    max_tokens: Annotated[int, typer.Option(help="Tokens of an answer at most, trace included.")] = 1024,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Has the trained model read images: findings, trace and answer. Not a medical device."""
    from fundus_r1.stages.read import Asking, images_at, lettered, read_images

    files = images_at(images)
    asking = Asking(question, lettered(option) if option else {}, max_tokens)
    failed = 0
    with _model(model, spec, overrides, data, out) as (opened, name):
        try:
            for said in read_images(opened, files, asking):
                failed += said.error is not None
                if as_json:
                    print(
                        json.dumps(
                            {"model": name, "question": question, **said.as_json()}, ensure_ascii=False
                        )
                    )
                else:
                    _show(said, name)
        finally:
            opened.close()
    if failed:
        print(f"fundus-r1: {failed} of {len(files)} images could not be read", file=sys.stderr)
        sys.exit(1)


def _show(said: Read, name: str) -> None:
    console = Console(highlight=False, soft_wrap=True)
    told = said.as_json()
    console.print(f"[bold]{escape(told['image'])}[/] ({escape(name)})")
    if said.error is not None:
        console.print(f"  cannot be read: {escape(said.error)}")
        return
    findings = told["findings"]
    answer = told["answer"] if told["answer"] is not None else "none: the text holds no <answer>"
    chosen = f" (option {told['option']})" if told["option"] else ""
    for head, text in [
        ("findings", ", ".join(findings["present"]) or "none stated"),
        ("absent", ", ".join(findings["absent"]) or "none stated"),
        ("trace", told["trace"] or "none: the text holds no <think>"),
        ("answer", f"{answer}{chosen}"),
    ]:
        console.print(f"  [dim]{head:<9}[/]{escape(text)}")
    if not told["well_formed"]:
        console.print(f"  [dim]{'text':<9}[/]{escape(told['text'])}")
