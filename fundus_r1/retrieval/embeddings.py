"""Sentence embeddings from a local model, as LangChain's `Embeddings`.

The model's token states are averaged over the tokens of a text and brought to length one, as
sentence-transformers does for the models it names "mean pooling". It computes in fp32 on the CPU
with padding to each batch, so the same texts get the same vectors on the same machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from langchain_core.embeddings import Embeddings

from fundus_r1.errors import ModelError

BATCH = 32
LONGEST = 256
"""Tokens of a text that are read; the rest is cut off. A passage has fewer."""


class LocalEmbeddings(Embeddings):
    """Embeds texts with a model folder in the Hugging Face layout.

    Args:
        folder: configuration, tokenizer and weights.

    Raises:
        ModelError: the folder holds no such model.
    """

    def __init__(self, folder: Path):
        from transformers import AutoModel, AutoTokenizer

        try:
            self._tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
            self._model = AutoModel.from_pretrained(folder, local_files_only=True, dtype="float32").eval()
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"The embedding model cannot be loaded: {str(error).splitlines()[0][:200]}",
                where=str(folder),
                hint="science.knowledge.embedder names a sentence-embedding model with its tokenizer",
            ) from error
        self._known: dict[str, list[float]] = {}

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """A vector of length one for each text; a text is computed once."""
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        # Texts of like length together: little padding.
        new.sort(key=lambda text: (len(text), text))
        for start in range(0, len(new), BATCH):
            batch = new[start : start + BATCH]
            self._known.update(zip(batch, self._compute(batch), strict=True))
        return [self._known[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        """The vector of one text."""
        return self.embed_documents([text])[0]

    def _compute(self, texts: Sequence[str]) -> list[list[float]]:
        import torch

        tokens = self._tokenizer(
            list(texts), padding=True, truncation=True, max_length=LONGEST, return_tensors="pt"
        )
        with torch.inference_mode():
            states = self._model(**tokens).last_hidden_state
        mask = tokens["attention_mask"].unsqueeze(-1).to(states.dtype)
        means = (states * mask).sum(1) / mask.sum(1).clamp(min=1)
        return torch.nn.functional.normalize(means, dim=1).tolist()


def nearness(query: Sequence[float], documents: Sequence[Sequence[float]]) -> list[float]:
    """Cosine of the angle between a query and each document, both of length one.

    Rounded, so that the last bits of a sum do not decide the order of equals.
    """
    return [round(float(value), 6) for value in np.asarray(documents) @ np.asarray(query)]
