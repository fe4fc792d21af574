"""The trace gallery: a static page that stays usable with 80,000 traces, from disk and from a server.

``index.html`` loads ``data/manifest.js`` and then only what is looked at: traces and their thumbnails
in chunks, search shards one after the other. All data files are scripts, because a page from disk may
not fetch. `single_page` is the same page with its data inside, for a viewer that shows one file; it
holds a bounded number of traces and says of how many.

Everything shown is data: the page builds its nodes from text, never from markup, and its content
security policy lets it run no script but its own and ask no other place for anything.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

from markupsafe import Markup

from fundus_r1.ontology.findings import FINDINGS
from fundus_r1.ontology.labels import LABELS
from fundus_r1.plots.card import Card
from fundus_r1.plots.page import environment
from fundus_r1.plots.search_shard import ACCEPTED, DISAGREEMENT, SHARD, Shard
from fundus_r1.rows import Knowledge, Passage, Reason

CHUNK = 48
"""Traces in one data file."""
SIDE, QUALITY = 256, 75
"""Of the thumbnails: pixels of the longer side, and JPEG quality."""

_POLICY = (
    "default-src 'none'; script-src {scripts}; style-src {styles}; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}

Write = Callable[[str, bytes], object]
"""Keeps a file under its name below the gallery's folder."""


def script_json(value: Any) -> str:
    """JSON that may stand in a script, inline or not: no text in it can end the script."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character, escaped in _UNSAFE.items():
        text = text.replace(character, escaped)
    return text


@dataclass(frozen=True)
class Heading:
    """What the page says of the run."""

    run: str
    """One sentence."""
    knowledge: Sequence[Knowledge]
    passages: Sequence[Passage]


class _Numbered:
    """Numbers for values, in the order in which they come, with how often they came."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._numbers: dict[str, int] = {}

    def __getitem__(self, value: str) -> int:
        self.counts[value] += 1
        return self._numbers.setdefault(value, len(self._numbers))

    def named(self, name: Callable[[str], str]) -> list[list[Any]]:
        return [[value, name(value), self.counts[value]] for value in self._numbers]


def _address(reference: str) -> str | None:
    return reference if reference.startswith(("https://", "http://")) else None


def _knowledge(heading: Heading) -> dict[str, Any]:
    """D[y, m] and sources, by ``<label>|<modality>``."""
    return {
        f"{row.label}|{row.modality.value}": {
            "description": row.description,
            "groups": {
                "required": list(row.required),
                "supportive": list(row.supportive),
                "absent": list(row.absent),
            },
            "evidence": {key: list(ids) for key, ids in row.evidence.items()},
            "passages": list(row.passages),
        }
        for row in heading.knowledge
    }


class GalleryWriter:
    """Takes traces one after the other and writes the files; holds one chunk and one shard at a time.

    Args:
        write: keeps a file.
        heading: what the page says of the run.
    """

    def __init__(self, write: Write, heading: Heading):
        self._write = write
        self._heading = heading
        self._cards: list[dict[str, Any]] = []
        self._images: dict[str, str] = {}
        self._shard = Shard()
        self._labels, self._datasets, self._modalities = _Numbered(), _Numbered(), _Numbered()
        self._reasons: Counter[Reason] = Counter()
        self.traces = self.accepted = self.disagreements = 0
        self._chunks = self._shards = 0

    def add(self, card: Card, image: str) -> None:
        """Adds the next trace.

        Args:
            card: what is shown of it.
            image: data URI of the thumbnail; a sample's image is kept once in a chunk.
        """
        self._images.setdefault(card.sample.sample_id, image)
        self._cards.append(card.as_json(list(self._images).index(card.sample.sample_id)))
        self._reasons.update(card.reasons)
        self._shard.add(
            card.sample.sample_id,
            label=self._labels[card.trace.label],
            dataset=self._datasets[card.sample.dataset],
            modality=self._modalities[card.trace.modality.value],
            verdict=ACCEPTED * card.verdict.accepted + DISAGREEMENT * card.disagreement,
            reasons=sum(1 << number for number, reason in enumerate(Reason) if reason in card.reasons),
            texts=card.texts(),
        )
        self.traces += 1
        self.accepted += card.verdict.accepted
        self.disagreements += card.disagreement
        if len(self._cards) == CHUNK:
            self._end_chunk()
        if len(self._shard) == SHARD:
            self._end_shard()

    def _data(self, kind: str, number: int, value: Any) -> None:
        text = f"gallery({json.dumps(kind)},{number},{script_json(value)});\n"
        self._write(f"data/{kind}-{number:05d}.js", text.encode())

    def _end_chunk(self) -> None:
        if self._cards:
            self._data("traces", self._chunks, self._cards)
            self._data("images", self._chunks, list(self._images.values()))
            self._chunks += 1
            self._cards, self._images = [], {}

    def _end_shard(self) -> None:
        if len(self._shard):
            self._data("search", self._shards, self._shard.as_json())
            self._shards += 1
            self._shard = Shard()

    def manifest(self, of: int | None = None) -> dict[str, Any]:
        """What the page has to know before it shows anything.

        Args:
            of: how many traces there are in all, where only some are shown.
        """
        return {
            "run": self._heading.run,
            "traces": self.traces,
            "of": self.traces if of is None else of,
            "accepted": self.accepted,
            "disagreements": self.disagreements,
            "chunk": CHUNK,
            "shard": SHARD,
            "labels": self._labels.named(lambda key: LABELS[key].name),
            "datasets": self._datasets.named(str),
            "modalities": self._modalities.named(str),
            "reasons": [[row.value, row.value.replace("_", " "), self._reasons[row]] for row in Reason],
            "findings": {finding.key: finding.name for finding in FINDINGS.values()},
            "knowledge": _knowledge(self._heading),
            "passages": {
                row.passage_id: {
                    "source": row.source,
                    "title": row.title,
                    "section": row.section,
                    "reference": row.reference,
                    "address": _address(row.reference),
                    "licence": row.licence,
                }
                for row in self._heading.passages
            },
        }

    def flush(self) -> None:
        """Writes the chunk and the shard that are not full."""
        self._end_chunk()
        self._end_shard()

    def close(self) -> None:
        """Writes what is left, then the page itself."""
        self.flush()
        self._write("data/manifest.js", f"gallery('manifest',0,{script_json(self.manifest())});\n".encode())
        self._write("gallery.css", _style().encode())
        self._write("gallery.js", _text("gallery.js").encode())
        # Some browsers do not count a page's own folder on disk as 'self'.
        policy = _POLICY.format(scripts="'self' file:", styles="'self' file:")
        self._write("index.html", _render(policy=policy, data=None, style="", script="").encode())


def single_page(cards: Iterable[tuple[Card, str]], heading: Heading, of: int) -> bytes:
    """One self-contained page.

    Args:
        cards: those to show, each with the data URI of its thumbnail.
        heading: what the page says of the run.
        of: how many traces the run has.
    """
    kept: dict[str, bytes] = {}
    writer = GalleryWriter(kept.__setitem__, heading)
    for card, image in cards:
        writer.add(card, image)
    writer.flush()
    calls = [data.decode().removeprefix("gallery(").removesuffix(");\n") for data in kept.values()]
    data = f'[["manifest",0,{script_json(writer.manifest(of))}],{",".join(f"[{call}]" for call in calls)}]'
    style, script = _style(), _text("gallery.js")
    policy = _POLICY.format(scripts=_hash(script), styles=_hash(style))
    return _render(policy=policy, data=Markup(data), style=Markup(style), script=Markup(script)).encode()


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


def _style() -> str:
    return _text("theme.css") + _text("gallery.css")


def _hash(text: str) -> str:
    """The source of a content security policy that names exactly this inline text."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _render(**values: Any) -> str:
    return environment().from_string(_text("gallery.html.j2")).render(**values) + "\n"
