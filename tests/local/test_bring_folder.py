from __future__ import annotations

from pathlib import Path

from made_run import put

from fundus_r1.local.run import bring_folder
from fundus_r1.storage.folder import FolderStore
from fundus_r1.storage.output import OutputWriter, StageOutput


def output(store: FolderStore, fingerprint: str, files: dict[str, bytes]) -> StageOutput:
    def write(writer: OutputWriter) -> None:
        for name, data in files.items():
            writer.write_bytes(name, data)

    return put(store, "report", write, fingerprint * 64)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_a_folder_holds_what_the_output_holds_and_nothing_of_an_earlier_run(
    store: FolderStore, tmp_path: Path
) -> None:
    folder = tmp_path / "out/gallery"
    old = {
        "gallery/index.html": b"page",
        "gallery/data/1.js": b"old",
        "gallery/data/2.js": b"two",
        "report.html": b"",
    }
    assert bring_folder(output(store, "1", old), "gallery", folder) == 3
    new = {"gallery/index.html": b"page", "gallery/data/1.js": b"new"}
    assert bring_folder(output(store, "2", new), "gallery", folder) == 1
    assert files(folder) == {"index.html": b"page", "data/1.js": b"new"}


def test_what_is_there_is_not_brought_again_and_what_was_changed_is(
    store: FolderStore, tmp_path: Path
) -> None:
    made = output(store, "1", {"gallery/a.js": b"a", "gallery/b.js": b"b"})
    bring_folder(made, "gallery", tmp_path / "gallery")
    assert bring_folder(made, "gallery", tmp_path / "gallery") == 0
    (tmp_path / "gallery/a.js").write_bytes(b"damaged")
    assert bring_folder(made, "gallery", tmp_path / "gallery") == 1
    assert files(tmp_path / "gallery") == {"a.js": b"a", "b.js": b"b"}
