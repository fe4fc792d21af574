"""Checkpoints go to the store in the background, while the training goes on.

One is under way at a time: the next waits for it, so that a store that is slower than the training holds it
up instead of filling the disk. What is uploaded is a copy of hard links, which stays whole when the trainer
sweeps its own folder. An upload that failed is told at the next occasion, in the thread that trains.
"""

from __future__ import annotations

import os
import shutil
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from fundus_r1.storage.protocol import Store
from fundus_r1.training import checkpoints


class Uploads:
    """Brings what one machine has of each checkpoint to the store.

    Args:
        store: where to.
        prefix: of the stage's output.
        folder: for the copies; on the disk of the trainer's folder.
        node: number of this machine in the group; the first makes them exist.
        nodes: machines in the group.
    """

    def __init__(self, store: Store, prefix: str, folder: Path, *, node: int = 0, nodes: int = 1):
        self._store, self._prefix, self._folder = store, prefix, folder
        self._node, self._nodes = node, nodes
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._under_way: Future[None] | None = None

    def prepare(self, step: int) -> None:
        """Waits for the upload before and makes room in the store; on all machines, before any begins.

        Raises:
            StoreError: the upload before failed.
        """
        self.wait()
        if self._node == 0:
            checkpoints.begin(self._store, self._prefix, step)

    def begin(self, step: int, folder: Path) -> None:
        """Uploads a folder as this machine's part of the checkpoint of a step.

        Args:
            step: optimiser steps done.
            folder: its files are not written to any more, but may be deleted.
        """
        copy = self._folder / f"step-{step}"
        shutil.copytree(folder, copy, copy_function=os.link)
        if self._node > 0:
            # Trainer sweeps the folders of the first machine alone.
            shutil.rmtree(folder)
        self._under_way = self._thread.submit(self._bring, step, copy)

    def _bring(self, step: int, copy: Path) -> None:
        checkpoints.add(self._store, self._prefix, step, copy, self._node)
        if self._node == 0:
            checkpoints.close(self._store, self._prefix, step, self._nodes)
            checkpoints.prune(self._store, self._prefix)
        shutil.rmtree(copy)

    def check(self) -> None:
        """Raises:
        StoreError: an upload has failed meanwhile.
        """
        if self._under_way is not None and self._under_way.done():
            self.wait()

    def wait(self) -> None:
        """Waits until nothing is under way.

        Raises:
            StoreError: the upload failed.
        """
        if self._under_way is not None:
            under_way, self._under_way = self._under_way, None
            under_way.result()
