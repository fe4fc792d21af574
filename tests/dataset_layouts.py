"""The public datasets of Tab. 2 in their official layouts, made of noise, a few images each.

Each function of `LAYOUTS` writes one below a folder and returns the dataset's own folder. Trees are as
published, odd names included; what is broken on purpose is done by the tests.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.sax.saxutils import escape

import numpy as np
from PIL import Image

SIZE = (48, 40)
DR_LESIONS = ("EX", "HE", "MA", "SE")
RFMID_HEADER = (
    "ID,Disease_Risk,DR,ARMD,MH,DN,MYA,BRVO,TSLN,ERM,LS,MS,CSR,ODC,CRVO,TV,AH,ODP,ODE,ST,AION,PT,RT,RS,CRS,EDN,"
    "RPEC,MHL,RP,CWS,CB,ODPM,PRH,MNF,HR,CRAO,TD,CME,PTCR,CF,VH,MCA,VS,BRAO,PLQ,HPED,CL"
)
ODIR_HEADER = (
    "ID", "Patient Age", "Patient Sex", "Left-Fundus", "Right-Fundus", "Left-Diagnostic Keywords",
    "Right-Diagnostic Keywords", *"NDGCAHMO",
)  # fmt: skip
RETINAL_LESIONS = (
    "hard_exudate", "cotton_wool_spots", "microaneurysm", "preretinal_hemorrhage", "retinal_hemorrhage",
    "vitreous_hemorrhage", "fibrous_proliferation", "neovascularization",
)  # fmt: skip


def photo(path: Path, seed: int, size: tuple[int, int] = SIZE) -> Path:
    """A picture that no other seed gives."""
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)
    return path


def mask(path: Path, level: int = 255, size: tuple[int, int] = SIZE) -> Path:
    """A mask with a few pixels of one grey value."""
    image = Image.new("L", size)
    image.paste(level, (5, 5, 9, 8))
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)
    return path


def table(path: Path, *lines: str, encoding: str = "utf-8-sig") -> Path:
    """Lines of text; with a byte order mark, as Excel saves them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding=encoding)
    return path


def workbook(path: Path, **sheets: Sequence[Sequence[object]]) -> Path:
    """An Excel workbook: texts shared, numbers as they are, None leaves a cell out."""
    main = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
    relations = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    shared: list[str] = []
    parts = {}
    for number, rows in enumerate(sheets.values(), start=1):
        xml = []
        for line, row in enumerate(rows, start=1):
            cells = []
            for place, value in enumerate(row):
                at = f"{_letters(place)}{line}"
                if isinstance(value, str):
                    shared.append(value)
                    cells.append(f'<c r="{at}" t="s"><v>{len(shared) - 1}</v></c>')
                elif value is not None:
                    cells.append(f'<c r="{at}"><v>{value}</v></c>')
            xml.append(f'<row r="{line}">{"".join(cells)}</row>')
        sheet = f"<worksheet {main}><sheetData>{''.join(xml)}</sheetData></worksheet>"
        parts[f"xl/worksheets/sheet{number}.xml"] = sheet
    names = "".join(
        f'<sheet name="{escape(name)}" sheetId="{number}" r:id="rId{number}"/>'
        for number, name in enumerate(sheets, start=1)
    )
    parts["xl/workbook.xml"] = f'<workbook {main} xmlns:r="{relations}"><sheets>{names}</sheets></workbook>'
    targets = "".join(
        f'<Relationship Id="rId{number}" Target="worksheets/sheet{number}.xml"/>'
        for number in range(1, len(sheets) + 1)
    )
    package = "http://schemas.openxmlformats.org/package/2006/relationships"
    parts["xl/_rels/workbook.xml.rels"] = f'<Relationships xmlns="{package}">{targets}</Relationships>'
    texts = "".join(f"<si><t>{escape(text)}</t></si>" for text in shared)
    parts["xl/sharedStrings.xml"] = f"<sst {main}>{texts}</sst>"
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as book:
        for name, text in parts.items():
            book.writestr(name, f'<?xml version="1.0" encoding="UTF-8"?>{text}')
    return path


def _letters(place: int) -> str:
    return (_letters(place // 26 - 1) if place > 25 else "") + chr(ord("A") + place % 26)


def volume(path: Path, planes: np.ndarray, spacing: str | None = "0.01 0.002 0.05", **fields: str) -> Path:
    """A MetaImage of shape (planes, height, width); rows are neighbours in the file."""
    kind = {1: "MET_UCHAR", 2: "MET_USHORT"}[planes.dtype.itemsize]
    count, height, width = planes.shape
    header = {
        "ObjectType": "Image", "NDims": "3", "DimSize": f"{width} {height} {count}",
        **({"ElementSpacing": spacing} if spacing else {}),
        "ElementType": kind, "ElementDataFile": f"{path.stem}.raw", **fields,
    }  # fmt: skip
    table(path, *(f"{key} = {value}" for key, value in header.items()), encoding="ascii")
    path.with_suffix(".raw").write_bytes(planes.tobytes())
    return path


def fgadr(root: Path) -> Path:
    folder = root / "FGADR-Seg-set_Release" / "Seg-set"
    for number, name in enumerate(("0001_2", "0002_1", "0003_3")):
        photo(folder / "Original_Images" / f"{name}.png", 100 + number)
        mask(folder / "Hemohedge_Masks" / f"{name}.png", level=128 if name == "0001_2" else 127)
    mask(folder / "HardExudate_Masks" / "0001_2.png")
    mask(folder / "SoftExudate_Masks" / "0002_1.png")
    mask(folder / "Microaneurysms_Masks" / "0002_1.png", level=0)
    mask(folder / "IRMA_Masks" / "0001_2.png")
    mask(folder / "Neovascularization_Masks" / "0002_1.png")
    table(folder / "DR_Seg_Grading_Label.csv", "0001_2.png,3", "0002_1.png,4", "0003_3.png,0")
    return folder


def idrid(root: Path) -> Path:
    folder = root / "IDRiD"
    part = folder / "B. Disease Grading"
    photo(part / "1. Original Images" / "a. Training Set" / "IDRiD_001.jpg", 200)
    table(
        part / "2. Groundtruths" / "a. IDRiD_Disease Grading_Training Labels.csv",
        "Image name,Retinopathy grade,Risk of macular edema ,,,", "IDRiD_001,3,1,,,",
    )  # fmt: skip
    return folder


def grape(root: Path) -> Path:
    folder = root / "GRAPE"
    for number, name in enumerate(("1_OD_1", "1_OD_2", "1_OS_1", "2_OD_1")):
        photo(folder / "CFPs" / f"{name}.jpg", 300 + number)
    workbook(
        folder / "VF and clinical information.xlsx",
        Baseline=[
            [
                "Subject Number",
                "Laterality",
                "Age",
                "Category of Glaucoma",
                "Progression Status",
                None,
                None,
                "VF",
            ],
            [None, None, None, None, "PLR2", "PLR3", "MD", "0"],
            [1, "OD", 61, "OAG", 1, 0, 0, 30.1],
            [1, "OS", 61, "OAG", 0, 0, 1, 29.0],
            [2.0, "OD", 45, "ACG", 0, 0, 0, 28.4],
        ],
        **{"Follow-up": [["Subject Number"], [None], [1]]},
    )
    return folder


def jsiec(root: Path) -> Path:
    folder = root / "1000images"
    names = ("0.0.Normal", "0.3.DR1", "2.0.BRVO", "10.0.Possible glaucoma", "29.0.Blur fundus without PDR")
    for number, name in enumerate(names):
        photo(folder / name / f"0c{number}a-4b..JPG", 400 + number)
    return folder


def retinal_lesions(root: Path) -> Path:
    folder = root / "retinal-lesions-v20191227"
    for number, name in enumerate(("18059_left", "18059_right", "7_left")):
        photo(folder / "images_896x896" / f"{name}.jpg", 500 + number)
    for lesion in RETINAL_LESIONS:
        (folder / "segmentation" / lesion).mkdir(parents=True)
    mask(folder / "segmentation" / "microaneurysm" / "18059_left.png")
    mask(folder / "segmentation" / "cotton_wool_spots" / "18059_left.png", level=127)
    table(folder / "dr_grades.csv", "image,grade", "18059_left.jpg,2", "18059_right.jpg,0", "7_left.jpg,4")
    table(
        folder / "od_fovea_autoloc.txt",
        "#img odx_0 ody_0 odx_1 ody_1 fx_0 fy_0 fx_1 fy_1",
        *(f"{name}.jpg 10 10 20 20 30 30 40 4" for name in ("18059_left", "18059_right")),
        *(f"{number}_left.jpg 10 10 20 20 30 30 40 40" for number in (7, 8, 9)),
    )
    return folder


def rfmid(root: Path) -> Path:
    folder = root / "RFMiD"
    parts = (("a. Training Set", "a. RFMiD_Training"), ("b. Validation Set", "b. RFMiD_Validation"))
    for number, (part, name) in enumerate(parts):
        for image in (1, 2):
            photo(folder / "1. Original Images" / part / f"{image}.png", 600 + 10 * number + image)
        ill = rfmid_row(1, 1, *(("DR", "HR") if number == 0 else ("MHL",)))
        table(folder / "2. Groundtruths" / f"{name}_Labels.csv", RFMID_HEADER, ill, rfmid_row(2, 0))
    photo(folder / "1. Original Images" / "c. Testing Set" / "1.png", 650)
    return folder


def rfmid_row(image: int, risk: int, *codes: str) -> str:
    """A line of RFMiD's table with a 1 under the given codes."""
    return ",".join(
        [str(image), str(risk), *(str(int(name in codes)) for name in RFMID_HEADER.split(",")[2:])]
    )


def odir(root: Path) -> Path:
    folder = root / "OIA-ODIR"
    rows = [
        [0, 69, "Female", "0_left.jpg", "0_right.jpg", "cataract", "normal fundus", 0, 0, 0, 1, 0, 0, 0, 0],
        [1, 57, "Male", "1_left.jpg", "1_right.jpg", "moderate non proliferative retinopathy，laser spot",
         "lens dust，normal fundus", 0, 1, 0, 0, 0, 0, 0, 1],
        [2, 42, "Male", "2_left.jpg", "2_right.jpg", "suspected glaucoma",
         "wet age-related macular degeneration，glaucoma", 0, 0, 1, 0, 1, 0, 0, 0],
    ]  # fmt: skip
    training = folder / "Training Set"
    for number in range(3):
        for eye, seed in (("left", 0), ("right", 1)):
            photo(training / "Images" / f"{number}_{eye}.jpg", 700 + 2 * number + seed)
    workbook(training / "Annotation" / "training annotation (English).xlsx", Sheet1=[ODIR_HEADER, *rows])
    workbook(training / "Annotation" / "training annotation (Chinese).xlsx", Sheet1=[["编号"]])
    for number, part in enumerate(("Off-site Test Set", "On-site Test Set")):
        photo(folder / part / "Images" / f"90{number}_left.jpg", 790 + number)
    return folder


def ddr(root: Path) -> Path:
    folder = root / "DDR-dataset"
    grading, segmentation = folder / "DR_grading", folder / "lesion_segmentation"
    names = ("007-0004-000", "007-0004-100", "007-0007-000")
    for number, (part, grades) in enumerate({"train": (0, 2, 5), "valid": (4,), "test": (3,)}.items()):
        for name, grade in zip(names, grades, strict=False):
            photo(grading / part / f"{name.replace('007', f'{number}07')}.jpg", 800 + 10 * number + grade)
        table(
            grading / f"{part}.txt",
            *(f"{n.replace('007', f'{number}07')}.jpg {g}" for n, g in zip(names, grades, strict=False)),
        )
    for number, (part, label) in enumerate((("train", "label"), ("valid", "segmentation label"))):
        name, grade = (names[1], 2) if part == "train" else (names[0], 4)
        name = name.replace("007", f"{number}07")
        photo(segmentation / part / "image" / f"{name}.jpg", 800 + 10 * number + grade)
        for lesion in DR_LESIONS:
            (segmentation / part / label / lesion).mkdir(parents=True)
        mask(segmentation / part / label / ("MA" if part == "train" else "SE") / f"{name}.tif")
    return folder


def octid(root: Path) -> Path:
    folder = root / "scans" / "flat"
    for number, name in enumerate(("NORMAL1", "AMRD3", "CSR91", "DR12", "MH91")):
        photo(folder / f"{name}.jpeg", 900 + number)
    return folder


def octdl(root: Path) -> Path:
    folder = root / "OCTDL"
    rows = (("amd_1047099_1", "AMD", "7", "OD"), ("no_1_1", "NO", "8", "OS"), ("no_1_2", "NO", "8", "OS"))
    for number, (name, disease, _, _) in enumerate(rows):
        photo(folder / disease / f"{name}.jpg", 1000 + number)
    table(
        folder / "OCTDL_labels.csv",
        "file_name,disease,subcategory,patient_id,eye,sex",
        *(f"{name},{disease},,{patient},{eye},F" for name, disease, patient, eye in rows),
    )
    return folder


def oimhs(root: Path) -> Path:
    folder = root / "OIMHS dataset"
    yellow, green, blue, red = (255, 255, 0), (0, 255, 0), (0, 0, 255), (255, 0, 0)
    for number, (name, colours) in enumerate({"1/1": (red, blue), "1/2": (yellow, green), "2/1": ()}.items()):
        picture = Image.new("RGB", (1024, 64))
        values = np.random.default_rng(1100 + number).integers(0, 256, (64, 512), dtype=np.uint8)
        picture.paste(Image.fromarray(values).convert("RGB"), (0, 0))
        for place, colour in enumerate(colours):
            picture.paste(colour, (600 + 20 * place, 10, 610 + 20 * place, 20))
        path = folder / "Images" / f"{name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path)
    return folder


def retouch(root: Path) -> Path:
    folder = root / "RETOUCH" / "TrainingSet-Release"
    for number, (device, kind) in enumerate({"Cirrus": np.uint8, "Spectralis": np.uint16}.items()):
        case = folder / device / f"TRAIN{number:03d}"
        rng = np.random.default_rng(1200 + number)
        planes = rng.integers(0, np.iinfo(kind).max, (4, 40, 48)).astype(kind)
        reference = np.zeros((4, 40, 48), np.uint8)
        reference[1, 10:12, 10:12] = 1
        reference[2, 10:12, 10:12] = 3
        reference[2, 20:22, 10:12] = 2
        volume(case / "oct.mhd", planes)
        volume(case / "reference.mhd", reference)
    return folder


def neh(root: Path) -> Path:
    folder = root / "NEH_UT_2021RetinalOCTDataset"
    names = (
        "NORMAL/1/1_Normal.jpg",
        "DRUSEN/69/OD/2_Drusen.tif",
        "DRUSEN/69/OS/3_Normal.tif",
        "CNV/22/1_Cnv.jpg",
    )
    for number, name in enumerate(names):
        photo(folder / name, 1300 + number)
    table(
        folder / "data_information.csv",
        "Class,Label,Patient ID,Directory",
        "NORMAL,Normal,1,normal/1/1_normal.jpg",
    )
    return folder


def kermany(root: Path) -> Path:
    folder = root / "OCT2017"
    for number, name in enumerate(("CNV", "DME", "DRUSEN", "NORMAL")):
        photo(folder / "train" / name / f"{name}-77-{number}.jpeg", 1400 + number)
    return folder


def top(root: Path) -> Path:
    folder = root / "Fundus_Diagnosis"
    for number in range(2):
        photo(folder / "img" / f"000000_0{number}.jpg", 1500 + number)
    table(
        folder / "data.csv", "filename,ID,age,sex,LR,AMD,RVO,Gla,MH,DR,RD,RP,AO,DM",
        "000000_00.jpg,03090,78,M,L,0,1,0,0,0,0,0,0,0", "000000_01.jpg,03090,78,M,R,0,0,0,0,0,0,0,0,1",
    )  # fmt: skip
    return folder


def deepdrid(root: Path) -> Path:
    folder = root / "DeepDRiD"
    part = folder / "regular_fundus_images" / "regular-fundus-training"
    rows = {"1_l1": "0,,0", "1_r1": ",2,2", "56_r3": "3,,3", "56_r4": ",,3"}
    for number, image in enumerate(rows):
        photo(part / "Images" / image.split("_")[0] / f"{image}.jpg", 1600 + number)
    patients = {image: image.split("_")[0] for image in rows}
    table(
        part / "regular-fundus-training.csv",
        "patient_id,image_id,image_path,left_eye_DR_Level,right_eye_DR_Level,patient_DR_Level",
        *(
            rf"{patients[image]},{image},\regular-fundus-training\{patients[image]}\{image}.jpg,{levels}"
            for image, levels in rows.items()
        ),
    )
    wide = folder / "ultra-widefield_images" / "ultra-widefield-training"
    for number, image in enumerate(("1_l1", "10_r20")):
        photo(wide / "Images" / image.split("_")[0] / f"{image}.jpg", 1650 + number)
    table(
        wide / "ultra-widefield-training.csv",
        "patient_id,image_id,image_path,DR_level,position",
        r"1,1_l1,\ultra-widefield-training\1\1_l1.jpg,1,x", r"10,10_r20,\x\10_r20.jpg,5,x",
    )  # fmt: skip
    photo(folder / "regular_fundus_images/Online-Challenge1&2-Evaluation/Images/347/347_l1.jpg", 1690)
    return folder


def mmc_amd(root: Path) -> Path:
    folder = root / "mmc-amd"
    cfp, oct_ = folder / "ImageData" / "cfp-clahe-448x448", folder / "ImageData" / "oct-median3x3-448x448"
    parts = {
        "train": (["f-w-1_1", "f-h-2_1"], ["o-w-1_1", "o-w-1_2"]),
        "val": (["f-p-3_1"], ["o-d-4_1"]),
        "test": (["f-d-5_1"], []),
    }
    for number, (part, (photos, scans)) in enumerate(parts.items()):
        for place, names, prefix in ((cfp, photos, "cfp"), (oct_, scans, "oct")):
            for each, name in enumerate(names):
                photo(
                    place / f"{name}.jpg",
                    1700 + 100 * number + 10 * each + len(prefix + name) + (prefix == "oct"),
                )
            sets = folder / f"mmc-amd-splitAP-{part}" / "ImageSets"
            table(sets / f"{prefix}.txt", *names, encoding="utf-8")
    table(folder / "mmc-amd-splitA-train" / "ImageSets" / "cfp.txt", "f-d-5_1")
    return folder


_WRITERS = (
    fgadr, idrid, grape, jsiec, retinal_lesions, rfmid, odir, ddr, octid, octdl, oimhs, retouch, neh, kermany,
    top, deepdrid, mmc_amd,
)  # fmt: skip
LAYOUTS: dict[str, Callable[[Path], Path]] = {write.__name__: write for write in _WRITERS}
