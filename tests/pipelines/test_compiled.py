"""The compiled pipelines: pinned byte for byte, loadable, small at the front, without secrets, GPUs last."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from fundus_r1.errors import SpecError
from fundus_r1.local.pipelines import compile_pipeline, held_by
from fundus_r1.spec import RunSpec, load_spec
from fundus_r1.spec.placing import Parameters
from fundus_r1.stages import STAGES
from fundus_r1.stages.job import slices
from fundus_r1.stages.resolve import resolve
from pipelines.images import image_names, read_images
from pipelines.paper_specs import FOLDER, runs

ROOT = Path(__file__).resolve().parents[2]
COMPILED = ROOT / "pipelines" / "compiled"
SPECS = {
    path.name: path for path in (*(FOLDER / run.file for run in runs()), ROOT / "pipelines/specs/tiny.yaml")
}
PAPER = [run.file for run in runs()]
TRAINING = [run.file for run in runs() if run.trains]
GPU_STEPS = {"evaluate", "findings-worker"}
"""Of a run that trains; one that evaluates alone has no images to look at in stage 3."""
SECRETS = {"FUNDUS_R1_S3_ACCESS_KEY": "an access key", "FUNDUS_R1_S3_SECRET_KEY": "a secret key",
           "WRITER_KEY": "a writer's key", "HF_TOKEN": "hf_notoken"}  # fmt: skip


def gpu_steps(name: str) -> set[str]:
    if name in TRAINING:
        return GPU_STEPS
    return {"evaluate"} if name in PAPER else set()


@cache
def spec(name: str) -> RunSpec:
    return resolve(load_spec(SPECS[name]))


def compile_quickly(run: RunSpec, target: Path) -> None:
    """Compiles in a thread: kfp looks at the whole stack for each setting of a step, and pytest's is deep."""
    with ThreadPoolExecutor(1) as thread:
        thread.submit(compile_pipeline, run, target).result()


@pytest.fixture(scope="module")
def compilation(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, bytes], float]:
    """File name -> what the spec of that name compiles to, with keys in the environment; seconds of CPU."""
    folder = tmp_path_factory.mktemp("compiled")
    found, started = {}, time.process_time()
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        for name in SPECS:
            compile_quickly(spec(name), folder / name)
            found[name] = (folder / name).read_bytes()
    return found, time.process_time() - started


@pytest.fixture(scope="module")
def compiled(compilation: tuple[dict[str, bytes], float]) -> dict[str, bytes]:
    return compilation[0]


class Ir:
    """A compiled pipeline, read."""

    def __init__(self, data: bytes):
        self.spec, *rest = yaml.safe_load_all(data)
        self.platform: dict[str, Any] = rest[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    @property
    def parameters(self) -> dict[str, Any]:
        return self.spec["root"]["inputDefinitions"]["parameters"]

    @property
    def executors(self) -> dict[str, Any]:
        return {
            name: executor["container"] for name, executor in self.spec["deploymentSpec"]["executors"].items()
        }

    def dags(self) -> Iterator[tuple[str, dict[str, Any]]]:
        yield "root", self.spec["root"]
        yield from ((name, part) for name, part in self.spec["components"].items() if "dag" in part)

    def steps(self, name: str = "root", before: frozenset[str] = frozenset()) -> dict[str, frozenset[str]]:
        """Step -> the steps that must have ended before it, through all levels."""
        part = self.spec["root"] if name == "root" else self.spec["components"][name]
        tasks = part["dag"]["tasks"]

        def waits_for(task: str) -> frozenset[str]:
            direct = tasks[task].get("dependentTasks", [])
            return frozenset(direct).union(*(waits_for(each) for each in direct))

        found = {}
        for task, body in tasks.items():
            inner = body["componentRef"]["name"]
            if "dag" in self.spec["components"][inner]:
                found.update(self.steps(inner, before | waits_for(task)))
            else:
                found[task] = before | waits_for(task)
        return found


@pytest.fixture(scope="module")
def irs(compiled: dict[str, bytes]) -> dict[str, Ir]:
    return {name: Ir(data) for name, data in compiled.items()}


@pytest.mark.parametrize("name", SPECS)
def test_golden_pipeline_is_what_the_spec_compiles_to(
    name: str, compiled: dict[str, bytes], golden_bytes: Callable[[Path, bytes], None]
) -> None:
    golden_bytes(COMPILED / name, compiled[name])


def test_there_is_a_pipeline_for_each_spec_and_no_other() -> None:
    assert {path.name for path in COMPILED.iterdir()} == set(SPECS)


def test_a_stale_file_is_told_with_the_command_that_renews_it(
    request: pytest.FixtureRequest, golden_bytes: Callable[[Path, bytes], None]
) -> None:
    if request.config.getoption("--golden"):
        pytest.skip("golden files are being renewed, so none is compared")
    with pytest.raises(AssertionError, match="make golden"):
        golden_bytes(COMPILED / "tiny.yaml", (COMPILED / "tiny.yaml").read_bytes().replace(b"seed", b"sead"))


def test_all_specs_compile_within_twenty_seconds(compilation: tuple[dict[str, bytes], float]) -> None:
    assert compilation[1] < 20


@pytest.mark.parametrize("name", SPECS)
def test_it_loads_in_kfp_with_at_most_fifteen_documented_parameters(name: str, irs: dict[str, Ir]) -> None:
    from kfp import components

    loaded = components.load_component_from_file(str(COMPILED / name))
    inputs = loaded.component_spec.inputs
    assert list(inputs) == sorted(Parameters.model_fields) and len(inputs) <= 15
    for parameter, field in Parameters.model_fields.items():
        assert inputs[parameter].optional
        told = irs[name].parameters[parameter]["description"]
        assert told == " ".join((field.description or "").split()), parameter


@pytest.mark.parametrize("name", SPECS)
def test_it_holds_its_run_and_the_science_of_each_stage(name: str, irs: dict[str, Ir]) -> None:
    assert held_by(COMPILED / name).spec == spec(name)
    texts = {task: body["inputs"]["parameters"].get("science", {}) for _, part in irs[name].dags()
             for task, body in part["dag"]["tasks"].items()}  # fmt: skip
    cut = slices(spec(name).science)
    for stage in STAGES:
        task = "findings-worker" if stage == "findings" else stage
        if stage in ("index", "report"):
            assert texts[task]["taskOutputParameter"] == {
                "producerTask": "mirror",
                "outputParameterKey": stage,
            }
        else:
            assert json.loads(texts[task]["runtimeValue"]["constant"]) == cut[stage]


def test_a_file_that_is_no_pipeline_of_ours_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("root: {dag: {tasks: {}}}\n")
    with pytest.raises(SpecError, match="no compiled pipeline of this program"):
        held_by(tmp_path / "other.yaml")
    with pytest.raises(SpecError, match="cannot be read"):
        held_by(tmp_path / "absent.yaml")


@pytest.mark.parametrize("name", SPECS)
def test_it_holds_no_secret(name: str, compiled: dict[str, bytes], irs: dict[str, Ir]) -> None:
    text = compiled[name].decode()
    assert not any(value in text for value in SECRETS.values())
    assert not re.search(
        r"\b(sk-|hf_|AKIA|ghp_|eyJ)[A-Za-z0-9_-]{8,}|://[^/@\s]+:[^/@\s]+@|PRIVATE KEY", text
    )
    values = [each for step in irs[name].executors.values() for each in step.get("env", [])]
    assert {each["name"] for each in values} <= {"TMPDIR"}


@pytest.mark.parametrize("name", SPECS)
def test_each_step_reads_its_keys_from_the_secrets_that_the_parameters_name(
    name: str, irs: dict[str, Ir]
) -> None:
    for step, config in irs[name].platform.items():
        store, *others = config["secretAsEnv"]
        assert {each["envVar"] for each in store["keyToEnv"]} == {
            "FUNDUS_R1_S3_ACCESS_KEY",
            "FUNDUS_R1_S3_SECRET_KEY",
        }, step
        assert store["secretNameParameter"]["componentInputParameter"].endswith("store_secret"), step
        for other in others:
            assert other["optional"]
            assert other["secretNameParameter"]["componentInputParameter"].endswith("models_secret"), step


@pytest.mark.parametrize("name", SPECS)
def test_no_step_asks_for_a_gpu_before_preflight_and_mirror(name: str, irs: dict[str, Ir]) -> None:
    ir = irs[name]
    steps = ir.steps()
    asking = {
        step.removeprefix("exec-")
        for step, container in ir.executors.items()
        if "accelerator" in container.get("resources", {})
    }
    assert asking == gpu_steps(name)
    for step in asking | {"sft", "grpo"}:
        assert {"preflight", "mirror"} <= steps[step], step
    assert not steps["preflight"] and steps["mirror"] == {"preflight"}
    assert all("preflight" in before for step, before in steps.items() if step not in ("preflight", "finish"))


@pytest.mark.parametrize("name", PAPER)
def test_pods_with_gpus_follow_the_parameters(name: str, irs: dict[str, Ir]) -> None:
    ir = irs[name]
    for step in gpu_steps(name):
        resources, config = ir.executors[f"exec-{step}"]["resources"], ir.platform[f"exec-{step}"]
        assert resources["accelerator"]["resourceType"] == "nvidia.com/gpu"
        channels = [resources["accelerator"]["resourceCount"], resources["resourceMemoryLimit"]]
        assert all(channel.startswith("{{$.inputs.parameters[") for channel in channels)
        assert "nodeSelectorJson" in config["nodeSelector"] and "tolerationJson" in config["tolerations"][0]
        assert {"mountPath": "/dev/shm", "medium": "Memory"}.items() <= config["emptyDirMounts"][-1].items()


@pytest.mark.parametrize("name", SPECS)
def test_every_input_of_an_inner_pipeline_is_given(name: str, irs: dict[str, Ir]) -> None:
    ir = irs[name]
    for level, part in ir.dags():
        known = set(part.get("inputDefinitions", {}).get("parameters", {}))
        for task, body in part["dag"]["tasks"].items():
            given = body.get("inputs", {}).get("parameters", {})
            read = {
                each["componentInputParameter"]
                for each in given.values()
                if "componentInputParameter" in each
            }
            assert read <= known, f"{level}: {task}"
            wanted = ir.spec["components"][body["componentRef"]["name"]].get("inputDefinitions", {})
            needed = {key for key, each in wanted.get("parameters", {}).items() if not each.get("isOptional")}
            item = body.get("parameterIterator", {}).get("itemInput")
            # The exit handler's status is filled in by Kubeflow.
            assert needed <= {*given, item, "status"}, f"{level}: {task}"


@pytest.mark.parametrize("name", SPECS)
def test_every_step_asks_our_store_and_runs_an_image_of_the_lock(name: str, irs: dict[str, Ir]) -> None:
    ir = irs[name]
    tasks = [task for _, part in ir.dags() for task in part["dag"]["tasks"].values()]
    assert not any(task.get("cachingOptions", {}).get("enableCache") for task in tasks)
    images = image_names(read_images())
    assert {step["image"] for step in ir.executors.values()} <= set(images.values())
    assert not any("pip install" in " ".join(step["command"]) for step in ir.executors.values())
    trained_here = ir.executors["exec-sft"]["image"] == images["train"]
    assert trained_here == (name not in PAPER)


def test_what_is_not_pinned_stands_in_the_description(irs: dict[str, Ir]) -> None:
    said = irs["3b-setup-g.yaml"].spec["pipelineInfo"]["description"]
    assert "science.models.student.revision" in said
    for image in read_images().values():
        assert (image.digest != "unpinned") or "images named by their tags" in said


def test_steps_are_tried_again_on_a_cluster_alone(irs: dict[str, Ir]) -> None:
    def tried(name: str) -> dict[str, int]:
        return {task: body["retryPolicy"]["maxRetryCount"] for _, part in irs[name].dags()
                for task, body in part["dag"]["tasks"].items() if "retryPolicy" in body}  # fmt: skip

    assert not tried("tiny.yaml")
    paper = tried("3b-setup-g.yaml")
    assert "preflight" not in paper and paper["findings-worker"] > paper["grpo"] > 0


@pytest.mark.parametrize("name", SPECS)
def test_every_step_says_how_much_it_needs(name: str, irs: dict[str, Ir]) -> None:
    for step, container in irs[name].executors.items():
        wanted = {"resourceCpuRequest", "resourceCpuLimit", "resourceMemoryRequest", "resourceMemoryLimit"}
        assert wanted <= set(container["resources"]), step


def test_claims_and_queue_of_the_spec_reach_the_pods(tmp_path: Path) -> None:
    sets = ["placement.data=['pvc://eyes/all', s3://bucket/x]", "placement.cluster.queue=gpus",
            "placement.cluster.image_pull_secrets=[registry]"]  # fmt: skip
    run = load_spec(SPECS["3b-setup-g.yaml"], sets)
    compile_quickly(run, tmp_path / "p.yaml")
    ir = Ir((tmp_path / "p.yaml").read_bytes())
    for step, config in ir.platform.items():
        (mount,) = config["pvcMount"]
        assert (mount["constant"], mount["mountPath"]) == ("eyes", "/pvc/eyes"), step
        assert config["imagePullSecret"], step
        queued = config["podMetadata"]["labels"].get("kueue.x-k8s.io/queue-name")
        assert queued == ("gpus" if step.removeprefix("exec-") in GPU_STEPS else None), step


def test_the_claim_of_a_model_reaches_the_pods(tmp_path: Path) -> None:
    student = "science.models.student={kind: folder, path: 'pvc://weights/mine', digest: " + "ab" * 32 + "}"
    compile_quickly(load_spec(SPECS["3b-setup-g.yaml"], [student]), tmp_path / "p.yaml")
    for step, config in Ir((tmp_path / "p.yaml").read_bytes()).platform.items():
        (mount,) = config["pvcMount"]
        assert (mount["constant"], mount["mountPath"]) == ("weights", "/pvc/weights"), step


def test_an_observer_at_an_address_needs_no_gpu(tmp_path: Path) -> None:
    url = "placement.endpoints.observer={url: https://vision.example/v1}"
    compile_quickly(load_spec(SPECS["3b-setup-g.yaml"], [url]), tmp_path / "p.yaml")
    worker = Ir((tmp_path / "p.yaml").read_bytes()).executors["exec-findings-worker"]
    assert "accelerator" not in worker["resources"]
    assert worker["image"] == image_names(read_images())["core"]


def test_a_free_form_writer_in_process_needs_a_gpu(tmp_path: Path) -> None:
    model = "science.models.free_form={kind: hub, name: Qwen/Qwen2.5-VL-7B-Instruct, revision: unpinned}"
    compile_quickly(load_spec(SPECS["3b-setup-g.yaml"], [model]), tmp_path / "p.yaml")
    traces = Ir((tmp_path / "p.yaml").read_bytes()).executors["exec-traces"]
    assert "accelerator" in traces["resources"]
    assert traces["image"] == image_names(read_images())["vllm"]


def test_a_cluster_without_gpus_is_asked_for_none(tmp_path: Path) -> None:
    compile_quickly(
        load_spec(SPECS["tiny.yaml"], ["placement.cluster={gpu_resource: null}"]), tmp_path / "p.yaml"
    )
    ir = Ir((tmp_path / "p.yaml").read_bytes())
    assert not any("accelerator" in container["resources"] for container in ir.executors.values())
    assert ir.executors["exec-sft"]["image"] == image_names(read_images())["core"]
