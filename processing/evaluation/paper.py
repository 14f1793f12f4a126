"""Table 4 of the paper (strategy analysis): its rows as switches of the model, and its figures as fractions."""

from dataclasses import dataclass, field
from typing import Any

TABLE_4_COLUMNS = {
    "iemocap": ("unweighted_accuracy", "weighted_accuracy"),
    "meld": ("weighted_accuracy", "weighted_f1"),
    "m3ed": ("jaccard_accuracy", "micro_f1"),
}


@dataclass(frozen=True)
class AblationRow:
    """A row of Table 4.

    Attributes:
        name: of its recipe, `table4_<name>.yaml`. title: what it has beside the encoders. switches: of `DRKFConfig`.
        paper: its two figures by corpus, in the order of `TABLE_4_COLUMNS`.
    """

    name: str
    title: str
    switches: dict[str, Any]
    paper: dict[str, tuple[float, float]] = field(repr=False)


def _row(name: str, title: str, representation: str, fusion: str, discrimination: bool, *paper: float) -> AblationRow:
    switches = {
        "representation": representation,
        "fusion": fusion,
        "emotion_discrimination": discrimination,
        "discriminator": "fused",
    }
    return AblationRow(
        name, title, switches, {c: paper[2 * i : 2 * i + 2] for i, c in enumerate(TABLE_4_COLUMNS)}  # type: ignore[misc]
    )  # fmt: skip


TABLE_4: tuple[AblationRow, ...] = (
    _row("fusion", "FE_s", "none", "self", False, 0.781, 0.770, 0.645, 0.633, 0.471, 0.493),
    _row("cmie", "CMIE, FE_s", "cmie", "self", False, 0.784, 0.775, 0.647, 0.634, 0.473, 0.499),
    _row("pcmi", "PCMI, FE_s", "pcmi", "self", False, 0.797, 0.784, 0.656, 0.647, 0.479, 0.508),
    _row("ed", "FE_s, ED", "none", "self", True, 0.790, 0.781, 0.651, 0.635, 0.481, 0.511),
    _row("cross", "PCMI, FE_c, ED", "pcmi", "cross", True, 0.782, 0.763, 0.643, 0.632, 0.467, 0.485),
    _row("drkf", "PCMI, FE_s, ED", "pcmi", "self", True, 0.807, 0.799, 0.667, 0.654, 0.506, 0.520),
)
"""The six rows in the paper's order; the last one is DRKF."""
