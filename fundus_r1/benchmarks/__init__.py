"""Medical benchmarks (paper, Sec. 4.1, Tab. 4): one module a benchmark, answer extraction, metrics."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fundus_r1.benchmarks import funbench, gmai, omnimedvqa
from fundus_r1.benchmarks.question import RawQuestion
from fundus_r1.errors import DataError

__all__ = ["BENCHMARKS", "RawQuestion", "load_benchmark"]

BENCHMARKS: dict[str, Callable[[Path], list[RawQuestion]]] = {
    "funbench": funbench.load,
    "omnimedvqa": omnimedvqa.load,
    "gmai": gmai.load,
}


def load_benchmark(name: str, root: Path) -> list[RawQuestion]:
    """All questions of one benchmark below a folder, in a stable order.

    Args:
        name: ``funbench``, ``omnimedvqa`` or ``gmai``.
        root: the benchmark's own folder, or one up to four levels above it.

    Returns:
        The questions; none if nothing of the kind lies below `root`.

    Raises:
        DataError: there is no such benchmark; or a file is no JSON or table, a field is missing, the right
            answer is none of the options, or an image is not there.
    """
    if name not in BENCHMARKS:
        raise DataError(f"There is no benchmark {name!r}", hint="known are " + ", ".join(BENCHMARKS))
    return BENCHMARKS[name](Path(root))
