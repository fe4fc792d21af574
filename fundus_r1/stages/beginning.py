"""How a run begins as a pipeline: its placement, whether it would find all it needs, and what it brings.

The components `preflight` and `mirror` call nothing else. No step asks for a GPU before both are done.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import ValidationError

from fundus_r1.cluster.check import Check
from fundus_r1.cluster.client import Cluster as Namespace
from fundus_r1.errors import FundusError, SpecError, StageError
from fundus_r1.progress import emit
from fundus_r1.spec import Placement, RunSpec, explain
from fundus_r1.spec.cluster import Cluster, PodResources
from fundus_r1.spec.placing import Parameters, demand_compiled, placed
from fundus_r1.stages.job import slices
from fundus_r1.stages.launch import process_tree
from fundus_r1.stages.mirror import mirror
from fundus_r1.stages.preflight import missing, preflight
from fundus_r1.stages.runs import PinnedRun, begin_record, table_key, write_run
from fundus_r1.storage import open_store

TRAIN = "train"
"""Image of the jobs of stages 7 and 8, unless the placement names another."""
_MARKS = {False: "**✗**", None: "?", True: "✓"}


class Placed(NamedTuple):
    """What the steps of a run are given, from the parameters that it was started with."""

    placement: str
    """JSON of the placement."""
    gpus: str
    """GPUs of a pod that loads a model, as Kubernetes writes it."""
    cpu: str
    """Cores of such a pod."""
    memory: str
    """Memory of such a pod."""
    nodes: dict[str, str]
    """Its node selector."""
    tolerations: list[dict[str, Any]]
    """Its tolerations, as Kubernetes writes them."""


class Brought(NamedTuple):
    """The slices of the science that depend on the data themselves, as JSON."""

    index: str  # type: ignore[assignment]  # the name of a stage, as the pipeline needs it
    report: str


def place_run(run: PinnedRun, given: Mapping[str, Any]) -> RunSpec:
    """The run's spec with the placement of its parameters.

    Args:
        run: what the compiled pipeline holds.
        given: parameter -> value; the others are empty.

    Raises:
        SpecError: a parameter cannot be used.
    """
    try:
        parameters = Parameters.model_validate(given)
    except ValidationError as error:
        raise explain(error, Parameters, "the pipeline's parameters") from error
    own = run.spec.placement
    found = placed(own, parameters)
    demand_compiled(own, found)
    if found.cluster is not None and found.cluster.image is None and TRAIN in run.images:
        image = {"image": run.images[TRAIN]}
        found = found.model_copy(update={"cluster": found.cluster.model_copy(update=image)})
    return run.spec.model_copy(update={"placement": found})


def check_run(run: str, run_id: str, given: Mapping[str, Any], table: str) -> Placed:
    """The step ``preflight``: what is there of all that the run needs, before anything is computed.

    Args:
        run: JSON of the `PinnedRun`.
        run_id: Kubeflow's id of the run.
        given: parameter -> value.
        table: path for what was looked at, as Markdown; it is put into the store as well.

    Raises:
        SystemExit: something is missing, or a parameter cannot be used.
    """
    with process_tree("preflight"):
        spec = place_run(PinnedRun.model_validate_json(run), given)
        place = spec.placement.cluster
        checks = preflight(spec, cluster=Namespace.connect(place.namespace) if place else None)
        told = as_markdown(spec.name, checks)
        Path(table).write_text(told, encoding="utf-8")
        _keep(told, run_id, spec.placement)
        if lacking := missing(checks):
            each = "".join(f"\n    {check.what}: {check.found}; {check.todo}" for check in lacking)
            raise StageError(
                f"The run would lack {len(lacking)} of {len(checks)} things that it needs",
                where=f"preflight:{each}",
                hint="mend each, then start the run again; nothing was computed and no GPU was asked for",
            )
        emit("preflight", "note", text=f"{len(checks)} things looked at, none missing")
        return placed_pods(spec.placement)


def _keep(table: str, run_id: str, placement: Placement) -> None:
    try:
        open_store(placement.store).put(table_key(run_id), table.encode())
    except FundusError as error:
        # The store may be what is missing; then a row of the table says so.
        emit("preflight", "note", text=f"the table could not be kept: {error.what}")


def placed_pods(placement: Placement) -> Placed:
    """What steps are given for a placement."""
    cluster = placement.cluster or Cluster()
    pods: PodResources = cluster.findings
    return Placed(
        placement=placement.model_dump_json(),
        gpus=str(placement.engine.tensor_parallel),
        cpu=pods.cpu,
        memory=pods.memory,
        nodes=dict(cluster.node_selector),
        tolerations=[_toleration(each.model_dump(exclude_none=True)) for each in cluster.tolerations],
    )


def _toleration(fields: dict[str, Any]) -> dict[str, Any]:
    seconds = fields.pop("seconds", None)
    return fields if seconds is None else {**fields, "tolerationSeconds": seconds}


def as_markdown(name: str, checks: Sequence[Check]) -> str:
    """What was looked at before a run, for the pipeline UI; what is missing comes first."""
    said = f"{len(checks)} things looked at, {len(missing(checks))} missing."
    lines = [f"## Preflight of {name}", "", said, ""]
    lines += ["| | what | needed | found | to do |", "|---|---|---|---|---|"]
    for check in sorted(checks, key=lambda check: list(_MARKS).index(check.ok)):
        cells = (check.what, check.needed, check.found, check.todo)
        told = " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells)
        lines.append(f"| {_MARKS[check.ok]} | {told} |")
    return "\n".join(lines) + "\n"


def bring(run: str, placement: str, run_id: str) -> Brought:
    """The step ``mirror``: weights and data come to where steps find them, and the run's record begins.

    Args:
        run: JSON of the `PinnedRun`.
        placement: JSON of the placement.
        run_id: Kubeflow's id of the run.

    Raises:
        SystemExit: something could not be brought; 75 if another try may help.
    """
    with process_tree("mirror"):
        pinned = PinnedRun.model_validate_json(run)
        spec = pinned.spec.model_copy(update={"placement": Placement.model_validate_json(placement)})
        found = mirror(spec)
        now = slices(found.science)
        _demand_same(slices(pinned.spec.science), now)
        record = begin_record(pinned.made_here(spec.placement), found, run_id)
        write_run(open_store(spec.placement.store), record)
        texts = {name: json.dumps(now[name], sort_keys=True, ensure_ascii=False) for name in Brought._fields}
        return Brought(**texts)


def _demand_same(compiled: dict[str, Any], now: dict[str, Any]) -> None:
    """Steps after `index` hold their science already; it must be that of the resolved spec."""
    for stage, found in now.items():
        differing = [key for key in found if found[key] != compiled[stage][key]]
        if differing and stage not in Brought._fields:
            raise SpecError(
                f"The pipeline was compiled with other science of {stage}: {', '.join(differing)}",
                where=f"science, {stage}",
                hint="resolve it before the pipeline is compiled: folders of models must be there then",
            )
