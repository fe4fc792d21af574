"""A reference becomes a folder, exactly or not at all."""

from __future__ import annotations

import http.server
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import ClassVar

import pytest

from fundus_r1.errors import ModelError
from fundus_r1.models import weights
from fundus_r1.models.weights import folder_digest, materialise, model_cache, model_id, with_pixels
from fundus_r1.spec.models import FolderModel, HubModel, TinyModel
from fundus_r1.spec.placement import Engine, Placement
from fundus_r1.spec.training import Pixels

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def make_folder(path: Path) -> Path:
    path.mkdir(parents=True)
    (path / "config.json").write_text("{}")
    (path / "model.safetensors").write_bytes(b"weights")
    return path


@pytest.fixture
def builds(monkeypatch):
    """Stands for the costly building; the list has the folders that it was given."""
    given: list[Path] = []

    def build(folder: Path, model: TinyModel) -> Path:
        given.append(folder)
        (folder / "config.json").write_text(str(model.seed))
        (folder / "model.safetensors").write_bytes(b"")
        return folder

    monkeypatch.setattr(weights, "build_tiny", build)
    return given


def test_a_tiny_model_is_built_once(builds, tmp_path):
    first = materialise(TinyModel(), tmp_path / "cache")
    assert materialise(TinyModel(), tmp_path / "cache") == first
    other = materialise(TinyModel(seed=1), tmp_path / "cache")
    assert other != first and (other / "config.json").read_text() == "1"
    assert len(builds) == 2
    assert sorted(p.name for p in (tmp_path / "cache").iterdir()) == sorted([first.name, other.name])


def test_of_two_builders_the_faster_wins_and_nothing_is_left(builds, monkeypatch, tmp_path):
    inner = weights.build_tiny

    def overtaken(folder: Path, model: TinyModel) -> Path:
        monkeypatch.setattr(weights, "build_tiny", inner)
        winner = materialise(model, tmp_path)
        (winner / "mark").touch()
        return inner(folder, model)

    monkeypatch.setattr(weights, "build_tiny", overtaken)
    folder = materialise(TinyModel(), tmp_path)
    assert (folder / "mark").exists() and len(builds) == 2
    assert list(tmp_path.iterdir()) == [folder]


def test_a_build_that_breaks_leaves_nothing(monkeypatch, tmp_path):
    def broken(folder: Path, model: TinyModel) -> Path:
        (folder / "config.json").touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(weights, "build_tiny", broken)
    with pytest.raises(KeyboardInterrupt):
        materialise(TinyModel(), tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_known_by_its_files(tmp_path):
    folder = make_folder(tmp_path / "a")
    digest = folder_digest(folder)
    assert folder_digest(make_folder(tmp_path / "b")) == digest
    (folder / ".cache").mkdir()
    (folder / ".cache" / "lock").touch()
    assert folder_digest(folder) == digest
    assert materialise(FolderModel(path=str(folder), digest=digest), tmp_path) == folder
    assert materialise(FolderModel(path=str(folder)), tmp_path) == folder
    (folder / "model.safetensors").rename(folder / "other.safetensors")
    assert folder_digest(folder) != digest
    with pytest.raises(ModelError, match="another than the spec names"):
        materialise(FolderModel(path=str(folder), digest=digest), tmp_path)


@pytest.mark.parametrize("missing", ["config.json", "model.safetensors"])
def test_a_folder_without_a_model_is_refused(missing, tmp_path):
    folder = make_folder(tmp_path / "a")
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=missing.replace("model", ".").replace(".", r"\.?")):
        materialise(FolderModel(path=str(folder)), tmp_path)
    with pytest.raises(ModelError, match="does not exist"):
        materialise(FolderModel(path=str(tmp_path / "none")), tmp_path)


@pytest.mark.parametrize("revision", ["unpinned", "main", "v1.0", COMMIT[:12]])
def test_a_revision_that_can_move_is_refused(revision, tmp_path):
    with pytest.raises(ModelError, match="no commit") as refused:
        materialise(HubModel(name="Qwen/Qwen2.5-VL-3B-Instruct", revision=revision), tmp_path)
    assert "40 hexadecimal digits" in refused.value.hint and not refused.value.transient


def download(endpoint: str, cache: Path) -> subprocess.CompletedProcess[str]:
    """Materialises in a process of its own: the hub's address is read when its client is imported."""
    code = (
        "import sys, pathlib\n"
        "from fundus_r1.errors import ModelError\n"
        "from fundus_r1.models.weights import materialise\n"
        "from fundus_r1.spec.models import HubModel\n"
        "try:\n"
        f"    ref = HubModel(name='org/model', revision='{COMMIT}')\n"
        "    print(materialise(ref, pathlib.Path(sys.argv[1])))\n"
        "except ModelError as error:\n"
        "    sys.exit(f'{error.transient}\\n{error}')\n"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(cache)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_OFFLINE": "0"},
    )


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub as a download asks for."""

    files: ClassVar[dict[str, bytes]] = {
        "config.json": b"{}",
        "model.safetensors": b"weights",
        "pytorch_model.bin": b"unwanted",
    }

    def do_GET(self) -> None:
        path = self.path.split("?")[0]
        if path == f"/api/models/org/model/tree/{COMMIT}":
            rows = [
                {"type": "file", "path": name, "size": len(data), "oid": "0" * 40}
                for name, data in self.files.items()
            ]
            self.reply(json.dumps(rows).encode())
        elif path.startswith(f"/org/model/resolve/{COMMIT}/") and path.split("/")[-1] in self.files:
            self.reply(self.files[path.split("/")[-1]])
        else:
            self.reply(b"", status=404)

    def do_HEAD(self) -> None:
        self.do_GET()

    def reply(self, body: bytes, status: int = 200) -> None:
        self.send_response(status)
        if status == 404:
            self.send_header("X-Error-Code", "RepoNotFound")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"abc"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.mark.engines
def test_a_published_model_is_fetched_at_its_commit(hub, tmp_path, monkeypatch):
    done = download(hub, tmp_path)
    assert done.returncode == 0, done.stderr
    folder = Path(done.stdout.strip())
    assert folder == tmp_path / f"org--model-{COMMIT[:12]}"
    files = {path.name: path.read_bytes() for path in folder.glob("[!.]*")}
    assert files == {name: Hub.files[name] for name in ("config.json", "model.safetensors")}
    # What is there already needs no network.
    assert download("http://127.0.0.1:9", tmp_path).stdout == done.stdout


@pytest.mark.engines
def test_a_repository_without_weights_is_refused(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(Hub, "files", {"config.json": b"{}"})
    done = download(hub, tmp_path)
    assert "safetensors missing" in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("[!.]*"))


@pytest.mark.engines
def test_without_a_network_it_says_what_to_do(tmp_path):
    done = download("http://127.0.0.1:9", tmp_path)
    assert done.stderr.startswith("True\norg/model could not be downloaded")
    assert "kind: folder" in done.stderr and "Traceback" not in done.stderr


def test_names_for_people(tmp_path):
    assert model_id(TinyModel()) == "tiny-128x4-seed0"
    assert model_id(HubModel(name="org/model", revision=COMMIT)) == "org/model@0123456789ab"
    assert model_id(FolderModel(path="/some/where", digest="f" * 64)) == "where@ffffffffffff"
    assert model_cache(Placement(cache=str(tmp_path))).parent == tmp_path


@pytest.mark.parametrize("form", ["published", "transformers 5", "both"])
def test_pixel_limits_travel_in_the_processor_files(form, tmp_path):
    folder = make_folder(tmp_path / "model")
    published = {"patch_size": 14, "min_pixels": 3136, "max_pixels": 12845056}
    newer = {
        "image_processor": {"patch_size": 14, "size": {"longest_edge": 1}},
        "video_processor": {"size": 2},
    }
    before = {}
    if form != "transformers 5":
        before["preprocessor_config.json"] = published
    if form != "published":
        before["processor_config.json"] = newer
    for name, settings in before.items():
        (folder / name).write_text(json.dumps(settings))
    digest = folder_digest(folder)

    target = with_pixels(folder, Pixels(min_pixels=4000, max_pixels=90_000), tmp_path / "limited")

    limits = {
        "min_pixels": 4000,
        "max_pixels": 90_000,
        "size": {"shortest_edge": 4000, "longest_edge": 90_000},
    }
    expected = {
        "preprocessor_config.json": published | limits,
        "processor_config.json": newer | {"image_processor": {"patch_size": 14} | limits},
    }
    assert {p.name for p in target.iterdir()} == {p.name for p in folder.iterdir()}
    for name in before:
        assert json.loads((target / name).read_text()) == expected[name]
    assert (target / "model.safetensors").resolve() == (folder / "model.safetensors").resolve()
    assert folder_digest(folder) == digest, "the source stays as it is"


def test_a_model_that_sees_no_images_gets_no_pixel_limits(tmp_path):
    folder = make_folder(tmp_path / "model")
    (folder / "processor_config.json").write_text('{"feature_extractor": {}}')
    with pytest.raises(ModelError, match="no image processor"):
        with_pixels(folder, Pixels(), tmp_path / "limited")


@pytest.mark.engines
def test_transformers_and_vllm_see_the_same_tokens_within_the_limits(tmp_path):
    from PIL import Image
    from transformers import AutoProcessor

    folder = materialise(TinyModel(hidden=64, layers=2), tmp_path)
    limited = with_pixels(
        folder, Pixels(min_pixels=150 * 28**2, max_pixels=400 * 28**2), tmp_path / "limited"
    )
    processor, served = AutoProcessor.from_pretrained(limited), _vllm_processor(limited)
    text = "<|vision_start|><|image_pad|><|vision_end|>"
    counts = []
    for size in [(30, 40), (224, 224), (560, 480), (3000, 2000), (300, 2900)]:
        image = Image.new("RGB", size)
        trained = processor(text=[text], images=[image], return_tensors="pt")["input_ids"][0].tolist()
        asked = served(text, served.info.parse_mm_data({"image": [image]}))["prompt_token_ids"]
        assert trained == asked
        counts.append(trained.count(processor.image_token_id))
    # Some above the lower limit at least, none above the upper one; in between the size is the image's own.
    assert counts == sorted(counts[:4]) + counts[4:]
    assert all(150 <= count <= 400 for count in counts) and counts[2] == 20 * 17


def _vllm_processor(folder: Path):
    """What vLLM makes of prompts, without an engine."""
    from fundus_r1.models.vllm_engine import _prepare_environment

    _prepare_environment(Engine())
    from vllm.config import ModelConfig
    from vllm.multimodal import MULTIMODAL_REGISTRY

    return MULTIMODAL_REGISTRY.create_processor(ModelConfig(model=str(folder), dtype="float32"))
