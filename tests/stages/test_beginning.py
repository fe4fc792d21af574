"""How a run begins: its placement, what pods are given, and the table of what was looked at."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from fundus_r1.cluster.check import Check
from fundus_r1.errors import SpecError
from fundus_r1.spec import Placement, load_spec
from fundus_r1.spec.cluster import Cluster, PodResources, Toleration
from fundus_r1.spec.placement import Engine
from fundus_r1.stages.beginning import as_markdown, place_run, placed_pods
from fundus_r1.stages.job import fingerprints, slices
from fundus_r1.stages.resolve import resolve
from fundus_r1.stages.runs import PinnedRun, read_run
from fundus_r1.storage.folder import FolderStore

SPEC = Path(__file__).resolve().parents[2] / "pipelines" / "specs" / "paper" / "3b-setup-g.yaml"
BRING = "import sys; from fundus_r1.stages.beginning import bring; print(*bring(*sys.argv[1:4]), sep='\\n')"


@pytest.fixture
def run() -> PinnedRun:
    return PinnedRun(spec=load_spec(SPEC), images={"core": "core:1", "train": "train:1"})


def test_a_run_has_the_science_it_was_compiled_with_and_the_placement_it_was_given(run: PinnedRun) -> None:
    found = place_run(run, {"bucket": "mine", "workers": 9, "store_endpoint": "http://s3:9000"})
    assert found.science == run.spec.science
    assert (found.placement.store.bucket, found.placement.findings.workers) == ("mine", 9)


def test_jobs_run_in_the_image_of_the_lock_unless_the_placement_names_one(run: PinnedRun) -> None:
    ours, theirs = place_run(run, {}), place_run(run, {"placement": "{cluster: {image: 'theirs:2'}}"})
    assert ours.placement.cluster is not None and ours.placement.cluster.image == "train:1"
    assert theirs.placement.cluster is not None and theirs.placement.cluster.image == "theirs:2"


def test_numbers_may_arrive_as_kubeflow_sends_them(run: PinnedRun) -> None:
    assert place_run(run, {"workers": 3.0}).placement.findings.workers == 3


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"worker": 3}, "nearest known one is workers"),
        ({"workers": -1}, "workers"),
        ({"data": "pvc://eyes/x"}, "compiled without what this placement needs: pvc://eyes"),
        ({"placement": "{cluster: null}"}, "compiled without what this placement needs: cluster"),
    ],
)
def test_a_parameter_that_the_pipeline_cannot_follow_is_refused(
    run: PinnedRun, given: dict[str, object], said: str
) -> None:
    with pytest.raises(SpecError, match=said):
        place_run(run, given)


def test_pods_that_load_a_model_get_what_the_placement_says() -> None:
    cluster = Cluster(
        findings=PodResources(cpu="12", memory="90Gi"),
        node_selector={"zone": "a"},
        tolerations=(Toleration(key="gpu", effect="NoExecute", seconds=30), Toleration(key="spot")),
    )
    placement = Placement(engine=Engine(tensor_parallel=4), cluster=cluster)
    pods = placed_pods(placement)
    assert (pods.gpus, pods.cpu, pods.memory, pods.nodes) == ("4", "12", "90Gi", {"zone": "a"})
    assert pods.tolerations == [
        {"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30},
        {"key": "spot", "operator": "Exists"},
    ]
    assert Placement.model_validate_json(pods.placement) == placement


def test_the_table_begins_with_what_is_missing_and_breaks_at_no_bar() -> None:
    checks = [
        Check("store", "put and get", "both", True),
        Check("queue", "gpus", "could not be read", None),
        Check("judge", "answers", "HTTP 401 | no key", False, "set models_secret"),
    ]
    lines = as_markdown("tiny", checks).splitlines()
    assert lines[2] == "3 things looked at, 1 missing."
    assert "judge" in lines[6] and "\\|" in lines[6] and "set models_secret" in lines[6]
    assert lines[7].startswith("| ? | queue") and lines[8] == "| ✓ | store | put and get | both |  |"


def brought(run: PinnedRun) -> subprocess.CompletedProcess[str]:
    """The step `mirror`, in a process of its own as in a pipeline."""
    place = run.spec.placement.model_dump_json()
    command = [sys.executable, "-c", BRING, run.model_dump_json(), place, "run-1"]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def tiny(store: FolderStore, *sets: str) -> PinnedRun:
    place = f"placement.store={{kind: folder, path: {store.uri.removeprefix('file://')}}}"
    return PinnedRun(spec=load_spec(SPEC.parents[1] / "tiny.yaml", [place, *sets]))


def test_the_digest_of_the_data_reaches_the_stages_and_the_record(store: FolderStore, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "labels.csv").write_text("image,label\n")
    run = tiny(store, f"placement.data=['{tmp_path / 'data'}']", "science.index.synthetic=null")
    done = brought(run)
    assert done.returncode == 0, done.stderr
    index, report = map(json.loads, done.stdout.splitlines()[-2:])
    record = read_run(store, "run-1")
    assert record is not None
    resolved = resolve(run.spec)
    assert index["index"]["data_digest"] == resolved.science.index.data_digest is not None
    assert report == slices(resolved.science)["report"]
    assert record.spec == resolved and record.fingerprints == fingerprints(resolved.science)


def test_science_that_changes_after_compiling_is_refused(store: FolderStore, tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    (model / "model.safetensors").write_bytes(b"")
    run = tiny(store, f"science.models.student={{kind: folder, path: {model}}}")
    done = brought(run)
    assert done.returncode == 1
    assert "The pipeline was compiled with other science of sft: " in done.stderr
    assert read_run(store, "run-1") is None
