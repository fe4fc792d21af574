"""Pins are held against what is here, and what is open and needed stops a run before it starts."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from fundus_r1.datasets.digest import Contents, data_digest
from fundus_r1.datasets.synth import draw_collection
from fundus_r1.errors import DataError, SpecError
from fundus_r1.spec import RunSpec
from fundus_r1.spec.models import FolderModel
from fundus_r1.spec.science import Synthetic
from fundus_r1.stages.manifests import Manifests
from fundus_r1.stages.resolve import demand_weights, prompts_of_the_stages, resolve

OTHER = "ab" * 32


def scans(root: Path, count: int = 2) -> Path:
    """A few scans in Kermany's layout."""
    for number in range(count):
        path = root / "OCT2017" / "train" / "CNV" / f"CNV-{number}-1.jpeg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (40, 40), 40 * number).save(path)
    return root


def run(data: Path | None = None, **science: object) -> RunSpec:
    tree = {"science": {"index": {"datasets": ["kermany"]}, **science}}
    spec = RunSpec.model_validate(tree)
    if data is None:
        return spec
    return spec.model_copy(update={"placement": spec.placement.model_copy(update={"data": (str(data),)})})


def manifest_of(data: Path) -> str:
    found = Contents([data]).manifest("kermany")
    assert found is not None
    return found


def test_prompts_that_are_pinned_as_installed_pass() -> None:
    assert resolve(run(prompts=prompts_of_the_stages())).science.prompts == prompts_of_the_stages()
    assert resolve(run(prompts={"trace": "unpinned"}))


def test_a_prompt_that_is_another_than_pinned_is_named_with_both_hashes() -> None:
    with pytest.raises(SpecError) as error:
        resolve(run(prompts={"trace": OTHER}))
    told = str(error.value)
    assert OTHER[:12] in told and prompts_of_the_stages()["trace"][:12] in told
    assert "science.prompts.trace" in told and "fundus-r1 pin" in told


def test_a_pin_of_a_prompt_that_no_stage_uses_is_refused() -> None:
    with pytest.raises(SpecError, match="'tracer' that no stage uses"):
        resolve(run(prompts={"tracer": OTHER}))


def test_data_that_are_those_of_the_manifest_pass_wherever_they_lie(tmp_path: Path) -> None:
    pinned = manifest_of(scans(tmp_path / "here"))
    moved = scans(tmp_path / "there" / "deep")
    (tmp_path / "there" / "notes.txt").write_text("beside the dataset")
    index = {"datasets": ["kermany"], "manifests": {"kermany": pinned}}
    resolved = resolve(run(tmp_path / "there", index=index))
    assert resolved.science.index.data_digest == data_digest([tmp_path / "there"])
    assert manifest_of(moved) == pinned


@pytest.mark.parametrize("change", ["a file more", "another picture"])
def test_data_that_are_others_than_pinned_are_refused(tmp_path: Path, change: str) -> None:
    data = scans(tmp_path / "data")
    index = {"datasets": ["kermany"], "manifests": {"kermany": manifest_of(data)}}
    if change == "a file more":
        scans(data, count=3)
    else:
        Image.new("L", (40, 40), 99).save(data / "OCT2017" / "train" / "CNV" / "CNV-0-1.jpeg")
    with pytest.raises(DataError) as error:
        resolve(run(data, index=index))
    told = str(error.value)
    assert "another kermany than the spec pins" in told and index["manifests"]["kermany"][:12] in told  # type: ignore[call-overload,index]
    assert manifest_of(data)[:12] in told


def test_a_pinned_dataset_that_is_not_there_is_refused(tmp_path: Path) -> None:
    index = {"datasets": ["kermany", "idrid"], "manifests": {"idrid": OTHER}}
    with pytest.raises(DataError, match="pins the data of idrid, which is in none"):
        resolve(run(scans(tmp_path), index=index))


def test_data_that_nobody_pins_are_digested_only(tmp_path: Path) -> None:
    index = {"datasets": ["kermany"], "manifests": {"kermany": "unpinned"}}
    assert resolve(run(scans(tmp_path), index=index)).science.index.data_digest


def test_a_benchmark_is_known_by_its_questions_and_their_images(tmp_path: Path) -> None:
    small = Synthetic(seed=3, patients=4, masked=2, benchmark=1, size=64)
    one, other = tmp_path / "one", tmp_path / "deep" / "other"
    draw_collection(one, small)
    draw_collection(other, small)
    (other / "notes.txt").write_text("beside the benchmark")
    pinned = Manifests([one]).of("funbench")
    assert pinned and pinned == Manifests([tmp_path / "deep"]).of("funbench")
    assert pinned != Manifests([one]).of("omnimedvqa") and Manifests([one]).of("gmai") is None
    index = {"datasets": [], "benchmarks": ["funbench"], "manifests": {"funbench": pinned}}
    assert resolve(run(other, index=index)).science.index.data_digest
    draw_collection(tmp_path / "changed", small.model_copy(update={"seed": 4}))
    with pytest.raises(DataError, match="another funbench than the spec pins"):
        resolve(run(tmp_path / "changed", index=index))


def test_a_run_whose_weights_are_not_pinned_is_refused_with_each_model() -> None:
    with pytest.raises(SpecError) as error:
        demand_weights(run())
    told = str(error.value)
    assert "Qwen/Qwen2.5-VL-3B-Instruct" in told and "Qwen/Qwen2.5-VL-32B-Instruct" in told
    assert "science.models.student.revision" in told and "fundus-r1 pin" in told


def test_a_run_of_models_in_folders_is_not_refused(tmp_path: Path) -> None:
    models = {role: FolderModel(path=str(tmp_path)) for role in ("observer", "student")}
    demand_weights(run(models=models))
