"""Weights that are mirrored come from the store alone: whole, checked, and sent once."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hub_server import COMMIT, Hub, point_at, serving_files

from fundus_r1.errors import ModelError, SpecError, StoreError
from fundus_r1.models.mirror import mirror_weights, mirrored, weights_prefix
from fundus_r1.models.weights import folder_digest, materialise, place_digest
from fundus_r1.spec.models import FolderModel, HubModel
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.s3 import S3Store

REF = HubModel(name="org/model", revision=COMMIT)
FILES = {
    "config.json": b"{}",
    "model-00001-of-00002.safetensors": b"w" * 300_000,
    "model-00002-of-00002.safetensors": b"v" * 200_000,
    "sub/tokenizer.json": b'{"a": 1}',
    "pytorch_model.bin": b"unwanted",
    "README.md": b"unwanted",
}
WANTED = {name: data for name, data in FILES.items() if data != b"unwanted"}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Hub]]:
    """A hub that has the model; the class says what was downloaded."""
    with serving_files(FILES, monkeypatch) as full:
        yield full


def away(monkeypatch: pytest.MonkeyPatch) -> None:
    point_at("http://127.0.0.1:9", monkeypatch)


def read(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_mirrored_model_needs_no_hub(
    hub: type[Hub], store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not mirrored(REF, store)
    sent = mirror_weights(REF, store, tmp_path / "cache")
    assert mirrored(REF, store) and set(sent.files) == set(WANTED)
    assert list(store.list(f"weights/org--model@{COMMIT}/config"))
    assert read(tmp_path / "cache") == {}, "the cache holds no file that is sent"
    away(monkeypatch)
    folder = materialise(REF, tmp_path / "elsewhere", store)
    assert read(folder) == WANTED
    assert materialise(REF, tmp_path / "elsewhere") == folder


def test_a_second_call_asks_nobody(
    hub: type[Hub], store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = mirror_weights(REF, store, tmp_path)
    away(monkeypatch)
    assert mirror_weights(REF, store, tmp_path) == first


def test_without_a_mirror_the_hub_is_asked_and_the_store_stays_as_it_is(
    hub: type[Hub], store: FolderStore, tmp_path: Path
) -> None:
    folder = materialise(REF, tmp_path / "cache", store)
    assert {name: data for name, data in read(folder).items() if name[0] != "."} == WANTED
    assert set(hub.sent) == set(WANTED) and list(store.list("")) == []


def test_a_damaged_mirror_is_refused(hub: type[Hub], store: FolderStore, tmp_path: Path) -> None:
    mirror_weights(REF, store, tmp_path)
    store.put(f"{weights_prefix(REF)}/model-00001-of-00002.safetensors", b"x" * 300_000)
    with pytest.raises(StoreError, match="not what its manifest says"):
        materialise(REF, tmp_path / "cache", store)
    assert not list((tmp_path / "cache").glob("[!.]*"))


def test_what_arrives_damaged_is_not_mirrored(
    hub: type[Hub], store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        hub, "altered", lambda self, name, data: b"z" * len(data) if "00001" in name else data
    )
    with pytest.raises(ModelError, match="arrived damaged") as refused:
        mirror_weights(REF, store, tmp_path)
    assert refused.value.transient and not mirrored(REF, store)


@pytest.mark.parametrize("revision", ["unpinned", "main", COMMIT[:12]])
def test_only_a_commit_is_mirrored(revision: str, store: FolderStore, tmp_path: Path) -> None:
    ref = HubModel(name="org/model", revision=revision)
    with pytest.raises(ModelError, match="no commit"):
        mirror_weights(ref, store, tmp_path)
    with pytest.raises(ModelError, match="no commit"):
        mirrored(ref, store)


def test_a_repository_without_a_model_and_one_that_is_not_there_are_told(
    hub: type[Hub], store: FolderStore, tmp_path: Path
) -> None:
    hub.files = {"config.json": b"{}"}
    with pytest.raises(ModelError, match="holds no model"):
        mirror_weights(REF, store, tmp_path)
    with pytest.raises(ModelError, match="The hub has no org/none"):
        mirror_weights(HubModel(name="org/none", revision=COMMIT), store, tmp_path)
    assert list(store.list("")) == []


def test_a_hub_that_is_away_is_told_as_transient(
    store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    away(monkeypatch)
    with pytest.raises(ModelError, match="could not be looked up") as refused:
        mirror_weights(REF, store, tmp_path)
    assert refused.value.transient


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from fundus_r1.models import mirror
    from fundus_r1.spec.models import HubModel
    from fundus_r1.storage import trees
    from fundus_r1.storage.folder import FolderStore

    class Doomed(FolderStore):
        def upload(self, key, path):
            if key.endswith("00002-of-00002.safetensors"):
                os.kill(os.getpid(), signal.SIGKILL)
            super().upload(key, path)

    mirror._AT_ONCE, trees._NOTE_EVERY_S = 1, -1.0
    ref = HubModel(name="org/model", revision=sys.argv[3])
    mirror.mirror_weights(ref, Doomed(Path(sys.argv[1])), Path(sys.argv[2]))
"""


def test_a_mirror_that_is_killed_is_not_there_and_goes_on(
    hub: type[Hub], store: FolderStore, tmp_path: Path
) -> None:
    from huggingface_hub import constants

    arguments = [str(store.root), str(tmp_path), COMMIT]
    env = {"HF_ENDPOINT": constants.ENDPOINT, "HF_HUB_OFFLINE": "0", "HF_HUB_DISABLE_XET": "1"}
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(KILLED), *arguments], timeout=60, env=env)
    assert ended.returncode == -signal.SIGKILL
    assert not mirrored(REF, store)
    hub.sent.clear()
    mirror_weights(REF, store, tmp_path)
    assert set(hub.sent) == {"model-00002-of-00002.safetensors", "sub/tokenizer.json"}
    assert read(materialise(REF, tmp_path / "cache", store)) == WANTED


def test_two_mirrors_at_once_do_no_harm(hub: type[Hub], store: FolderStore, tmp_path: Path) -> None:
    threads = [threading.Thread(target=mirror_weights, args=(REF, store, tmp_path)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read(materialise(REF, tmp_path / "cache", store)) == WANTED


def test_weights_travel_through_s3(
    hub: type[Hub], open_s3: Callable[[str], S3Store], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_s3("tests/weights")
    mirror_weights(REF, store, tmp_path / "cache")
    away(monkeypatch)
    assert read(materialise(REF, tmp_path / "cache", store)) == WANTED


def test_a_model_folder_in_a_bucket_is_known_without_a_download(
    open_s3: Callable[[str], S3Store], tmp_path: Path
) -> None:
    from fundus_r1.datasets.bucket import mirror_data

    folder = tmp_path / "mine"
    for name, data in {"config.json": b"{}", "model.safetensors": b"w", "sub/x.json": b"1"}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    store = open_s3("tests/runs")
    ref = FolderModel(path="s3://models/tests/mine")
    mirror_data(folder, ref.path, store)
    digest = place_digest(ref, store)
    assert digest == folder_digest(folder) == place_digest(FolderModel(path=str(folder)))
    assert not (tmp_path / "cache").exists()
    brought = materialise(ref.model_copy(update={"digest": digest}), tmp_path / "cache", store)
    assert read(brought) == read(folder) and brought.parent == tmp_path / "cache"
    with pytest.raises(ModelError, match="another than the spec names"):
        materialise(ref.model_copy(update={"digest": "0" * 64}), tmp_path / "cache", store)
    with pytest.raises(ModelError, match="not whole"):
        materialise(FolderModel(path="s3://models/tests/none"), tmp_path / "cache", store)
    with pytest.raises(StoreError, match="no bucket"):
        materialise(FolderModel(path="s3://nowhere-at-all/x"), tmp_path / "cache", store)


def test_a_bucket_needs_a_store_of_s3_and_other_places_are_refused(
    store: FolderStore, tmp_path: Path
) -> None:
    for none in (None, store):
        with pytest.raises(SpecError, match="none of S3"):
            materialise(FolderModel(path="s3://bucket/model"), tmp_path, none)
    with pytest.raises(ModelError, match="read from there"):
        materialise(FolderModel(path="gs://bucket/model"), tmp_path, store)
    with pytest.raises(ModelError, match="does not exist") as refused:
        materialise(FolderModel(path="pvc://claim/model"), tmp_path, store)
    assert refused.value.where == "/pvc/claim/model"
