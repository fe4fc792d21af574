"""Looks up what a spec leaves open, as far as it can be from here: what `fundus-r1 pin` does.

Commits come from the hub, hashes of prompts from the installed texts, manifests from the data folders,
and the snapshot from the newest output of the stage `knowledge` whose pages would serve this run. What
cannot be had stays ``unpinned``, with the reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fundus_r1.errors import ModelError
from fundus_r1.models.hub import commit_of
from fundus_r1.spec import RunSpec
from fundus_r1.spec.base import UNPINNED
from fundus_r1.spec.edit import has_value, with_value
from fundus_r1.spec.models import HubModel
from fundus_r1.spec.pins import unpinned
from fundus_r1.stages.job import slices
from fundus_r1.stages.manifests import Manifests
from fundus_r1.stages.resolve import prompts_of_the_stages
from fundus_r1.storage.output import all_records
from fundus_r1.storage.protocol import Store

PAGE_FIELDS = ("sources", "aao_documents", "pages")
"""Of `science.knowledge`: with the datasets, they decide which pages a run needs."""


@dataclass(frozen=True)
class Looked:
    """What became of one value."""

    path: str
    before: str
    after: str | None
    """None if it could not be had."""
    why: str
    """Where it comes from, or why it could not be had."""


def look_up(
    spec: RunSpec,
    data: Sequence[Path],
    store: Store | None,
    commit: Callable[[HubModel], str] = commit_of,
) -> list[Looked]:
    """All open pins of a run, and all prompts that it does not pin as they are installed.

    Args:
        spec: the run.
        data: folders with datasets and benchmarks.
        store: where runs have kept pages; None where none is known.
        commit: model -> its commit.

    Raises:
        DataError: a data folder cannot be read.
    """
    open_pins = {pin.path: pin.kind for pin in unpinned(spec.science)}
    manifests = Manifests(data) if data and "data" in open_pins.values() else None
    found = [*_prompts(spec)]
    for path, kind in open_pins.items():
        if kind == "model":
            found.append(_model(spec, path, commit))
        elif kind == "data":
            found.append(_manifest(path, manifests))
        elif kind == "pages":
            found.append(_pages(spec, path, store))
    return found


def _prompts(spec: RunSpec) -> list[Looked]:
    pinned = spec.science.prompts
    return [
        Looked(f"science.prompts.{name}", pinned.get(name, UNPINNED), digest, "the installed text")
        for name, digest in prompts_of_the_stages().items()
        if pinned.get(name) != digest
    ]


def _model(spec: RunSpec, path: str, commit: Callable[[HubModel], str]) -> Looked:
    ref = _at(spec, path.removesuffix(".revision"))
    try:
        return Looked(path, ref.revision, commit(ref), f"the hub's {ref.name}")
    except ModelError as error:
        return Looked(path, ref.revision, None, error.what)


def _manifest(path: str, manifests: Manifests | None) -> Looked:
    name = path.rpartition(".")[2]
    if manifests is None:
        return Looked(path, UNPINNED, None, "no data folder was given (--data)")
    manifest = manifests.of(name)
    why = "the data folders" if manifest else f"{name} is in none of the data folders"
    return Looked(path, UNPINNED, manifest, why)


def _pages(spec: RunSpec, path: str, store: Store | None) -> Looked:
    before = spec.science.knowledge.snapshot or UNPINNED
    if store is None:
        return Looked(path, before, None, "no store with kept pages was named (placement.store, --run)")
    wanted = _needs(slices(spec.science)["knowledge"])
    usable = [
        record
        for record in all_records(store, ["knowledge"])
        if record.counts.get("snapshot") and _needs(record.science) == wanted
    ]
    if not usable:
        why = "no run in the store has fetched these pages; make it: fundus-r1 stage knowledge"
        return Looked(path, before, None, why)
    newest = max(usable, key=lambda record: record.finished)
    return Looked(path, before, str(newest.counts["snapshot"]), f"the pages of knowledge@{newest.short}")


def _needs(knowledge_slice: dict[str, Any]) -> dict[str, Any]:
    """What of the slice of `knowledge` decides which pages are fetched."""
    fields = {name: knowledge_slice["knowledge"].get(name) for name in PAGE_FIELDS}
    return {**fields, "datasets": knowledge_slice["datasets"]}


def written(text: str, spec: RunSpec, found: Sequence[Looked]) -> str:
    """The text of a spec with what was found; comments and order stay.

    Args:
        text: the file that `spec` was read from.
        spec: the run.
        found: what `look_up` gave.
    """
    for looked in found:
        if looked.after is None:
            continue
        model = looked.path.removesuffix(".revision")
        if model != looked.path and not has_value(text, model):
            # A model that the file leaves to the default is written whole: a commit alone names none.
            whole = {**_at(spec, model).model_dump(mode="json"), "revision": looked.after}
            text = with_value(text, model, whole)
        else:
            text = with_value(text, looked.path, looked.after)
    return text


def _at(spec: RunSpec, path: str) -> Any:
    found: Any = spec
    for step in path.split("."):
        found = getattr(found, step)
    return found
