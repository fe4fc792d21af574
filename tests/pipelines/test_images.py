"""The lock of the images: by digest where there is one, by tag and said so where there is none."""

from __future__ import annotations

import fnmatch
import tomllib
from pathlib import Path

import pytest
import yaml
from setuptools import find_namespace_packages

from fundus_r1.errors import SpecError
from pipelines.images import LOCK, NAMES, image_names, read_images, unpinned_images

ROOT = Path(__file__).resolve().parents[2]
DIGEST = "sha256:" + "ab" * 32


def lock(folder: Path, **changes: object) -> Path:
    tree = {
        name: {"repository": f"r.example/{name}", "tag": "1", "digest": DIGEST, "purpose": "x"}
        for name in NAMES
    }
    path = folder / "images.lock"
    path.write_text(yaml.safe_dump(tree | changes))
    return path


def test_the_lock_of_the_project_names_every_image_that_pipelines_use() -> None:
    images = read_images()
    assert tuple(images) == NAMES
    for name, image in images.items():
        assert image.purpose, name
        assert image.digest == "unpinned" or len(image.digest) == len(DIGEST), name


def test_an_image_with_a_digest_is_named_by_it_alone(tmp_path: Path) -> None:
    images = read_images(lock(tmp_path))
    assert image_names(images)["core"] == f"r.example/core@{DIGEST}"
    assert not unpinned_images(images)


def test_an_image_without_a_digest_is_named_by_its_tag(tmp_path: Path) -> None:
    free = {"repository": "r.example/vllm", "tag": "1", "digest": "unpinned", "purpose": "x"}
    images = read_images(lock(tmp_path, vllm=free))
    assert image_names(images)["vllm"] == "r.example/vllm:1"
    assert unpinned_images(images) == ["vllm"]


@pytest.mark.parametrize("digest", ["", "latest", "sha256:12", "sha512:" + "0" * 64])
def test_what_is_no_digest_is_refused(digest: str, tmp_path: Path) -> None:
    wrong = {"repository": "r", "tag": "1", "digest": digest, "purpose": "x"}
    with pytest.raises(SpecError, match="64 hexadecimal digits"):
        read_images(lock(tmp_path, core=wrong))


def test_a_lock_with_other_images_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="must name the images core, vllm, train"):
        read_images(lock(tmp_path, other={}))
    with pytest.raises(SpecError, match="cannot be read"):
        read_images(tmp_path / "absent.lock")


def test_an_installed_wheel_has_the_lock_beside_the_pipelines() -> None:
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    packages = find_namespace_packages(str(ROOT), include=tools["packages"]["find"]["include"])
    assert "images" in packages and "pipelines" in packages and "images.local" not in packages
    assert any(fnmatch.fnmatch(LOCK.name, pattern) for pattern in tools["package-data"]["*"])
    assert LOCK == ROOT / "images" / "images.lock"
