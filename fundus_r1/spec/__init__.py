"""One YAML is one run: `RunSpec` = `Science` + `Placement`, read, checked and overridden here."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from fundus_r1.errors import SpecError
from fundus_r1.spec.base import Assumed, AssumedValue, Spec, assumed_values
from fundus_r1.spec.placement import Placement
from fundus_r1.spec.science import Science
from fundus_r1.spec.setups import SETUPS, Recipe

__all__ = [
    "SETUPS",
    "Assumed",
    "AssumedValue",
    "Placement",
    "Recipe",
    "RunSpec",
    "Science",
    "Spec",
    "assumed_values",
    "dump_spec",
    "explain",
    "joined",
    "load_spec",
    "with_placement",
]


class RunSpec(Spec):
    """A run: what is computed, and where."""

    name: str = "fundus-r1"
    """Shown in the report and in the pipeline's list of runs."""
    science: Science = Science()
    """What is computed."""
    placement: Placement = Placement()
    """Where, and how big."""


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for arg in get_args(annotation) for model in _models_in(arg)]


def _fields_at(model: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """Names of the fields that are known where an unknown one was found."""
    models = [model]
    for step in path:
        models = [
            inner
            for m in models
            if step in m.model_fields
            for inner in _models_in(m.model_fields[step].annotation)
        ] or models
    return sorted({name for m in models for name in m.model_fields})


def explain(error: ValidationError, model: type[BaseModel], where: str) -> SpecError:
    """What is wrong with a part of a spec, field by field, with the nearest known names."""
    lines = []
    for item in error.errors():
        path = ".".join(str(step) for step in item["loc"])
        if item["type"] == "extra_forbidden":
            known = _fields_at(model, item["loc"][:-1])
            near = difflib.get_close_matches(str(item["loc"][-1]), known, n=1, cutoff=0.0)
            lines.append(f"unknown field {path}; the nearest known one is {near[0]}" if near else path)
        else:
            shown = json.dumps(item.get("input"), default=str)
            lines.append(f"{path or 'spec'}: {item['msg']} (got {shown[:80]})")
    return SpecError(
        "The spec cannot be used: " + "; ".join(lines),
        where=where,
        hint="correct the named fields; fundus_r1/spec/ documents each one",
    )


def _override(tree: dict[str, Any], text: str) -> None:
    path, sign, value = text.partition("=")
    if not sign or not path:
        raise SpecError(
            f"The override {text!r} has no form 'a.b=value'", hint="for example --set science.sft.epochs=1"
        )
    *parents, last = path.split(".")
    node: Any = tree
    for step in parents:
        node = node.setdefault(step, {})
        if not isinstance(node, dict):
            raise SpecError(f"The override {text!r} goes through {step}, which holds a plain value")
    try:
        node[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise SpecError(f"The value of the override {text!r} is no YAML: {error}") from error


def _read(path: Path, what: str, hint: str) -> dict[str, Any]:
    """The mapping in a YAML file."""
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{what} cannot be read: {error.strerror}", where=str(path), hint=hint) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError(f"{what} is no YAML: {error}", where=str(path)) from error
    if not isinstance(tree, dict):
        raise SpecError(f"{what} must be a mapping", where=str(path), hint=hint)
    return tree


def joined(old: Any, new: Any) -> Any:
    """Mappings joined key by key; of other values the new one."""
    if isinstance(old, dict) and isinstance(new, dict):
        return {**old, **{key: joined(old.get(key), value) for key, value in new.items()}}
    return new


def load_spec(path: Path | str, overrides: Sequence[str] = (), placement: Path | None = None) -> RunSpec:
    """Reads a run's YAML.

    Args:
        path: the file.
        overrides: ``a.b=value`` texts, values in YAML; they come last.
        placement: a YAML file with fields of the placement, which win over those of the run's file.

    Raises:
        SpecError: a file cannot be read, or a field is unknown or wrong.
    """
    path = Path(path)
    hint = "give the path of a YAML file with the keys name, science, placement: see pipelines/specs/"
    tree = _read(path, "The spec", hint)
    where = str(path)
    if placement is not None:
        tree = joined(tree, _read_placement(placement))
        where = f"{path} with {placement}"
    for text in overrides:
        _override(tree, text)
    return _checked(tree, where)


def with_placement(spec: RunSpec, path: Path) -> RunSpec:
    """The spec with the fields of a placement file, which win over its own.

    Raises:
        SpecError: the file cannot be read, or a field is unknown or wrong.
    """
    return _checked(joined(spec.model_dump(mode="json"), _read_placement(path)), str(path))


def _read_placement(path: Path) -> dict[str, Any]:
    hint = "write the fields that stand below placement: in a spec"
    return {"placement": _read(path, "The placement", hint)}


def _checked(tree: dict[str, Any], where: str) -> RunSpec:
    try:
        return RunSpec.model_validate(tree)
    except ValidationError as error:
        raise explain(error, RunSpec, where) from error


def dump_spec(spec: RunSpec) -> str:
    """The whole spec as YAML, every field written out."""
    return yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False, allow_unicode=True)
