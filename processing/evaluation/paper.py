"""Table 4 of the paper (strategy analysis): its rows, and its figures as fractions."""

from dataclasses import dataclass, field

TABLE_4_COLUMNS = {
    "iemocap": ("unweighted_accuracy", "weighted_accuracy"),
    "meld": ("weighted_accuracy", "weighted_f1"),
    "m3ed": ("jaccard_accuracy", "micro_f1"),
}


@dataclass(frozen=True)
class AblationRow:
    """A row of Table 4.

    Attributes:
        name: of its recipe, `table4_<name>.yaml`, which holds its switches. title: what it has beside the encoders.
        paper: its two figures by corpus, in the order of `TABLE_4_COLUMNS`.
    """

    name: str
    title: str
    paper: dict[str, tuple[float, float]] = field(repr=False)


def _row(name: str, title: str, *paper: float) -> AblationRow:
    figures = zip(paper[::2], paper[1::2], strict=True)
    return AblationRow(name, title, dict(zip(TABLE_4_COLUMNS, figures, strict=True)))


TABLE_4: tuple[AblationRow, ...] = (
    _row("fusion", "FE_s", 0.781, 0.770, 0.645, 0.633, 0.471, 0.493),
    _row("cmie", "CMIE, FE_s", 0.784, 0.775, 0.647, 0.634, 0.473, 0.499),
    _row("pcmi", "PCMI, FE_s", 0.797, 0.784, 0.656, 0.647, 0.479, 0.508),
    _row("ed", "FE_s, ED", 0.790, 0.781, 0.651, 0.635, 0.481, 0.511),
    _row("cross", "PCMI, FE_c, ED", 0.782, 0.763, 0.643, 0.632, 0.467, 0.485),
    _row("drkf", "PCMI, FE_s, ED", 0.807, 0.799, 0.667, 0.654, 0.506, 0.520),
)
"""The six rows in the paper's order; the last one is DRKF."""
