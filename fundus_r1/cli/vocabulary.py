"""Verbs on the vocabulary: write it out for review, check what came back, show what was changed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fundus_r1.cli.app import app
from fundus_r1.cli.options import DEFAULT_OUT, DataOption, OutOption, SetOption, SpecOption, read_spec

vocabulary = typer.Typer(
    no_args_is_help=True, help="The vocabulary of findings as a file that a person reviews."
)
app.add_typer(vocabulary, name="vocabulary")

FileArgument = Annotated[Path, typer.Argument(help="A YAML as `vocabulary export` writes it.")]


@vocabulary.command()
def export(
    file: Annotated[Path, typer.Argument(help="The YAML to write; it must not exist yet.")],
    spec: SpecOption,
    overrides: SetOption = None,
    data: DataOption = None,
    out: OutOption = DEFAULT_OUT,
) -> None:
    """Writes the vocabulary of a run's stage `knowledge` as YAML, for review."""
    from fundus_r1.errors import SpecError, StageError
    from fundus_r1.local.run import open_place
    from fundus_r1.stages.job import job_of
    from fundus_r1.stages.knowledge_review import exported
    from fundus_r1.stages.resolve import resolve
    from fundus_r1.storage import open_store
    from fundus_r1.storage.output import StageOutput, find_record

    if file.exists():
        raise SpecError(
            "The file exists, and may hold a person's work", where=str(file), hint="name another file"
        )
    run = resolve(read_spec(spec, overrides, data))
    with open_place(run, out.resolve()) as placed:
        store = open_store(placed.placement.store)
        job = job_of(placed, "knowledge")
        record = find_record(store, job.stage, job.fingerprint)
        if record is None:
            raise StageError(
                "The run has no vocabulary yet",
                where=f"{store.uri}/{job.stage}/{job.fingerprint}",
                hint="run the stage first: fundus-r1 stage knowledge, with the same options",
            )
        text = exported(StageOutput(store, record))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    print(file)


@vocabulary.command()
def check(file: FileArgument) -> None:
    """Reads a vocabulary as a run would, and tells all that is wrong with it."""
    from fundus_r1.stages.knowledge_review import read_vocabulary_file

    found = read_vocabulary_file(file)
    findings = sum(len(entry.groups.all) for entry in found.entries.values())
    print(f"{len(found.entries)} entries, {findings} findings, {len(found.sources)} sources: can be used")


@vocabulary.command()
def diff(a: FileArgument, b: FileArgument) -> None:
    """Shows what differs between two vocabularies, label by label; exits with 1 if anything does."""
    from fundus_r1.ontology.vocabulary_diff import differences, told
    from fundus_r1.stages.knowledge_review import read_vocabulary_file

    found = differences(read_vocabulary_file(a), read_vocabulary_file(b))
    for line in told(found):
        print(line)
    if found:
        raise typer.Exit(1)
    print("The vocabularies are equal.")
