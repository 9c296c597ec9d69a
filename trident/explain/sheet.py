"""All that is told of one answer, whatever it is shown as: a table, JSON, a picture or a page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rich import box as boxes
from rich.table import Table
from rich.text import Text

from trident.explain.contributions import CategorySplit
from trident.explain.explanation import View
from trident.explain.weights import KnownWeights
from trident_client.results import Analysis


@dataclass(frozen=True, eq=False, slots=True)
class Sheet:
    """One answer, explained."""

    photo: str
    """What the photo is called."""
    analysis: Analysis
    """The answer."""
    known: KnownWeights
    splits: tuple[CategorySplit, ...]
    """The categories that are shown, the best first."""
    views: tuple[View, ...] = ()
    """What the networks went by, where that was looked into."""
    notes: tuple[str, ...] = ()
    """What cannot be shown, and why; a sentence each."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the photo, in pixels."""
        return self.analysis.width, self.analysis.height

    @property
    def lead(self) -> str:
        """The photo's size and who answered."""
        models = ", ".join(f"{model} {version.version}" for model, version in self.analysis.models.items())
        return f"{self.analysis.width} × {self.analysis.height} pixels, answered by {models}"

    @property
    def weighed(self) -> str:
        """The weights of the branches and how they are known."""
        weights = ", ".join(f"{branch} {weight:.3g}" for branch, weight in asdict(self.known.weights).items())
        return f"Weights: {weights} ({self.known.source})."

    def to_json(self) -> Mapping[str, Any]:
        """What ``json.dumps`` takes. Points and boxes are in pixels of the photo."""
        return {
            "photo": self.photo,
            "image": {"width": self.analysis.width, "height": self.analysis.height},
            "models": {name: asdict(version) for name, version in self.analysis.models.items()},
            "weights": asdict(self.known.weights),
            "weights_source": self.known.source,
            "categories": [
                {
                    "name": split.name,
                    "score": split.score,
                    "branches": {
                        part.branch: {
                            "says": part.says,
                            "counts": part.share,
                            "adds": part.adds,
                            "without": part.without,
                        }
                        for part in split.parts
                    },
                }
                for split in self.splits
            ],
            "maps": [view.to_json() for view in self.views],
            "notes": list(self.notes),
        }


def split_table(splits: tuple[CategorySplit, ...]) -> Table:
    """The scores for a terminal: a row for each branch that speaks of a category."""
    table = Table(box=boxes.SIMPLE_HEAD, pad_edge=False)
    for heading in ("category", "score", "branch", "says", "counts", "adds", "without it"):
        table.add_column(heading, justify="left" if heading in ("category", "branch") else "right")
    for split in splits:
        for place, part in enumerate(split.parts):
            table.add_row(
                Text(split.name if place == 0 else ""),
                f"{split.score:.4f}" if place == 0 else "",
                part.branch,
                f"{part.says:.4f}",
                f"{part.share:.1%}",
                f"{part.adds:.4f}",
                f"{part.without:.4f}",
            )
    return table
