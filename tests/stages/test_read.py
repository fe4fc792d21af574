"""Reading images with a trained model: what is asked, what is told, what hinders nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from PIL import Image

from fundus_r1.errors import DataError, StageError
from fundus_r1.models.protocol import VisionAnswer, VisionRequest
from fundus_r1.models.usage import Usage
from fundus_r1.spec import RunSpec, Science
from fundus_r1.spec.models import Models, TinyModel
from fundus_r1.stages.read import Asking, Read, images_at, lettered, read_images, trained_folder
from fundus_r1.storage.folder import FolderStore

TRACE = (
    "<think>The image shows multiple microaneurysms. No neovascularization is seen. This indicates mild "
    "NPDR.</think> <answer>Mild NPDR</answer>"
)
OPTIONS = {"A": "Moderate NPDR", "B": "Mild NPDR"}


class Scripted:
    """Says one text about every image, and keeps what it was asked."""

    def __init__(self, text: str = TRACE):
        self.text = text
        self.usage = Usage()
        self.asked: list[VisionRequest] = []

    def generate(self, requests: Iterable[VisionRequest]) -> Iterator[VisionAnswer]:
        for request in requests:
            self.asked.append(request)
            yield VisionAnswer((self.text,), "scripted")

    def close(self) -> None: ...


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "deep/a.JPG", "c.png"):
        path = tmp_path / "eyes" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (64, 48), (200, 80, 20)).save(path)
    (tmp_path / "eyes/broken.png").write_bytes(b"\x89PNG no more")
    (tmp_path / "eyes/notes.txt").write_text("no image")
    return tmp_path / "eyes"


def asking(options: dict[str, str] | None = None) -> Asking:
    return Asking("Which level of diabetic retinopathy is shown?", options or {}, 64)


def test_a_folder_gives_its_images_in_the_order_of_their_names(folder: Path) -> None:
    found = [path.relative_to(folder).as_posix() for path in images_at([folder])]
    assert found == ["b.png", "broken.png", "c.png", "deep/a.JPG"]


@pytest.mark.parametrize("name", ["missing.png", "deep/none"])
def test_what_does_not_exist_is_named(folder: Path, name: str) -> None:
    with pytest.raises(DataError, match="does not exist") as told:
        images_at([folder / name])
    assert name in told.value.where


def test_a_folder_without_images_is_told_of(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image"):
        images_at([tmp_path])


def test_an_image_that_cannot_be_read_hinders_no_other(folder: Path) -> None:
    model = Scripted()
    told = list(read_images(model, images_at([folder]), asking()))
    assert [said.image.name for said in told] == ["b.png", "broken.png", "c.png", "a.JPG"]
    assert [said.error is None for said in told] == [True, False, True, True]
    assert len(model.asked) == 3


def test_images_that_cannot_be_read_at_the_end_are_told_of_too(folder: Path) -> None:
    told = list(read_images(Scripted(), [folder / "b.png", folder / "broken.png"], asking()))
    assert [said.error is None for said in told] == [True, False]


def test_the_model_is_asked_as_in_training_at_temperature_0(folder: Path) -> None:
    model = Scripted()
    list(read_images(model, [folder / "b.png"], asking(OPTIONS)))
    [request] = model.asked
    assert request.temperature == 0 and request.n == 1 and request.max_tokens == 64
    assert "B. Mild NPDR" in request.prompt and "<think>" in request.prompt


def test_findings_trace_answer_and_option_are_told() -> None:
    told = Read(Path("eye.png"), text=TRACE, options=OPTIONS).as_json()
    assert told["findings"] == {"present": ["microaneurysm"], "absent": ["neovascularization"]}
    assert told["trace"].startswith("The image shows multiple microaneurysms.")
    assert (told["answer"], told["option"], told["well_formed"]) == ("Mild NPDR", "B", True)


def test_a_text_without_tags_is_told_as_it_is() -> None:
    told = Read(Path("eye.png"), text="a healthy eye", options={}).as_json()
    assert (told["trace"], told["answer"], told["option"]) == (None, None, None)
    assert told["well_formed"] is False and told["text"] == "a healthy eye"


def test_options_get_letters_and_a_single_one_is_refused() -> None:
    assert lettered(["glaucoma", "AMD"]) == {"A": "glaucoma", "B": "AMD"}
    with pytest.raises(DataError, match="two to 26 options"):
        lettered(["glaucoma"])


def spec(setup: str) -> RunSpec:
    return RunSpec(science=Science(setup=setup, models=Models(student=TinyModel(hidden=32, layers=2))))


def test_a_run_that_has_not_trained_yet_says_which_stage_is_missing(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="its stage grpo has not ended"):
        trained_folder(spec("G"), FolderStore(tmp_path), tmp_path)
    with pytest.raises(StageError, match="its stage sft has not ended"):
        trained_folder(spec("E"), FolderStore(tmp_path), tmp_path)
