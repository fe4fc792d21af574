"""How fast SFT is beside TRL's `SFTTrainer` and LLaMA-Factory: the same samples, model, batch and precision.

Each trains in a process of its own on one core, in an environment of its own, one after the other, round
after round; what counts is the median of the rounds. What is measured is processor time, so that other work
on the machine counts little, from the end of the third step to the end of the last, so that starting up
does not count. All count the same tokens, those that the student reads, padding left out. The vision tower
is frozen in all, and the loss is on the response alone.

The environments of the others are made in a cache folder, with the CPU build of torch from pip's find-links
folders or from PyTorch's own index. What cannot be installed is told of, and not measured.

    python perf/sft.py
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

TORCH = "2.13.0"
PEERS = {
    "TRL": ["trl==1.16.0", "transformers>=5.10.4,<5.11", "torchvision==0.28.0", "pillow"],
    "LLaMA-Factory": ["llamafactory==0.9.5", "torchvision==0.28.0"],
}
"""The second pins older versions of transformers than verl and vLLM take, so each has its own."""
WARM_UP = 3
FINDINGS = ("drusen", "hard exudates", "cotton wool spots", "a macular hole", "neovascularization")
SENTENCE = "This is what the fundus shows at this stage of the disease. "


def write_samples(folder: Path, *, count: int, mixed: bool) -> None:
    """Conversations about drawn images of 224 pixels; `mixed` makes some responses ten times as long."""
    random = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    rows = []
    for number in range(count):
        image = folder / "images" / f"{number}.png"
        drawn = random.integers(0, 255, (7, 7, 3), dtype=np.uint8)
        Image.fromarray(drawn).resize((224, 224), Image.Resampling.BICUBIC).save(image)
        name = FINDINGS[number % len(FINDINGS)]
        told = SENTENCE * (int(random.choice([1, 1, 1, 2, 4, 20])) if mixed else 4)
        response = f"<think>The image shows {name}. {told}</think> <answer>{name}</answer>"
        prompt = f"Which finding is seen in this colour fundus photograph? Question {number}."
        rows.append({"prompt": prompt, "response": response, "image": str(image)})
    (folder / "samples.json").write_text(json.dumps(rows))


def environment(name: str, cache: Path) -> Path | str:
    """The Python of a peer's environment, made if it is not there; or why it cannot be made."""
    folder = cache / name.lower()
    python = folder / "bin" / "python"
    ready = folder / ".ready"
    if ready.exists():
        return python
    print(f"making the environment of {name} in {folder} (some minutes)", flush=True)
    constraints = cache / "constraints.txt"
    cache.mkdir(parents=True, exist_ok=True)
    constraints.write_text(f"torch=={TORCH}+cpu\n")
    pip = [str(python), "-m", "pip", "install", "--quiet"]
    local = [*pip, "--no-index", "--no-deps", f"torch=={TORCH}+cpu"]
    index = [*pip, "--no-deps", "--index-url", "https://download.pytorch.org/whl/cpu", f"torch=={TORCH}+cpu"]
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
    if subprocess.run(local, capture_output=True, check=False).returncode != 0:
        subprocess.run(index, capture_output=True, check=False)
    done = subprocess.run(
        [*pip, "-c", str(constraints), *PEERS[name]], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        return "pip: " + (done.stderr.strip().splitlines() or ["failed"])[-1]
    # Beside a CPU build of torch the index's torchvision cannot be imported as it is, nor its torchaudio.
    subprocess.run([*pip[:3], "uninstall", "--quiet", "--yes", "torchaudio"], check=False)
    repair = Path(__file__).resolve().parents[1] / "images" / "local"
    program = (
        f"import sys; sys.path.insert(0, {str(repair)!r}); import sysconfig, pathlib, repair; "
        "repair.repair_torchvision(pathlib.Path(sysconfig.get_paths()['purelib']), True)"
    )
    subprocess.run([str(python), "-c", program], check=True)
    ready.touch()
    return python


def measure(python: Path | str, program: str, settings: dict[str, object]) -> float | str:
    """Processor seconds of one step, in the mean; or the last line of what went wrong."""
    with tempfile.TemporaryDirectory(prefix="fr1-perf-") as name:
        path = Path(name, "settings.json")
        path.write_text(json.dumps({**settings, "out": name}))
        script = Path(__file__).with_name("peers") / program
        env = {**os.environ, "HF_HUB_OFFLINE": "1", "DISABLE_VERSION_CHECK": "1", "CUDA_VISIBLE_DEVICES": ""}
        # Threads that wait for each other measure what else the machine does.
        env["OMP_NUM_THREADS"] = "1"
        done = subprocess.run(
            [str(python), str(script), str(path)], capture_output=True, text=True, env=env, check=False
        )
        times = Path(name, "times.json")
        if done.returncode != 0 or not times.exists():
            return (done.stderr.strip().splitlines() or ["no word"])[-1]
        ended = json.loads(times.read_text())
    return (ended[-1] - ended[WARM_UP - 1]) / (len(ended) - WARM_UP)


def student(folder: Path) -> Path:
    """The tiny model."""
    from fundus_r1.models.tiny import build_tiny
    from fundus_r1.spec.models import TinyModel

    return build_tiny(folder, TinyModel())


def tokens(samples: Path, model: Path) -> int:
    """What the student reads, of all samples."""
    from fundus_r1.rows import Conversation, Split
    from fundus_r1.training.encoder import Encoder

    encoder = Encoder.of(model)
    total = 0
    for number, row in enumerate(json.loads((samples / "samples.json").read_text())):
        one = Conversation(
            triplet_id=str(number), sample_id=str(number), split=Split.TRAIN,
            prompt=row["prompt"], response=row["response"],
        )  # fmt: skip
        given, learnt = encoder.tokens(one)
        with Image.open(io.BytesIO(Path(row["image"]).read_bytes())) as image:
            total += len(given) + len(learnt) + encoder.image_tokens(image.height, image.width) - 1
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=96)
    parser.add_argument("--batch", type=int, default=8, help="conversations in a step and in a micro batch")
    parser.add_argument("--pack", type=int, default=1600, help="tokens of a packed sequence at most")
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "fundus-r1-perf")
    given = parser.parse_args()
    pythons = {name: environment(name, given.cache) for name in PEERS}
    with tempfile.TemporaryDirectory(prefix="fr1-perf-") as name:
        model = student(Path(name, "model"))
        for kind in ("like", "mixed"):
            write_samples(Path(name, kind), count=given.samples, mixed=kind == "mixed")
        runs = {
            ("like", "ours"): (sys.executable, "ours.py", None),
            ("like", "TRL"): (pythons["TRL"], "trl_sft.py", None),
            ("like", "LLaMA-Factory"): (pythons["LLaMA-Factory"], "llamafactory_sft.py", None),
            ("mixed", "ours, packed"): (sys.executable, "ours.py", given.pack),
            ("mixed", "TRL"): (pythons["TRL"], "trl_sft.py", None),
        }
        found: dict[tuple[str, str], list[float]] = {run: [] for run in runs}
        for number in range(given.rounds):
            for (kind, who), (python, program, pack) in runs.items():
                if isinstance(python, str) and not Path(python).exists():
                    print(f"{who}: not measured; {python}", flush=True)
                    continue
                settings = {
                    "samples": str(Path(name, kind)), "model": str(model), "batch": given.batch, "pack": pack,
                }  # fmt: skip
                seconds = measure(python, program, settings)
                if isinstance(seconds, str):
                    print(f"{who}: not measured; {seconds}", flush=True)
                    continue
                found[kind, who].append(seconds)
                print(
                    f"round {number + 1}, {kind} lengths, {who}: {1000 * seconds:.0f} ms a step", flush=True
                )
        for kind, base in (("like", "ours"), ("mixed", "ours, packed")):
            in_a_step = tokens(Path(name, kind), model) / given.samples * given.batch
            medians = {
                who: statistics.median(times) for (k, who), times in found.items() if k == kind and times
            }
            for who, seconds in medians.items():
                ratio = seconds / medians[base]
                print(f"{kind} lengths, {who}: {in_a_step / seconds:.0f} tokens/s; {base} has {ratio:.2f} x")


if __name__ == "__main__":
    main()
