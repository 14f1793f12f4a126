"""Lines of text with labels, beside those of a corpus, for `--redraw-texts` to draw from."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from processing.corpora.leaks import fold_text
from processing.corpora.readers.cells import text_cell
from processing.corpora.report import Report
from processing.corpora.tables import has_columns, read_rows
from processing.errors_drkf import OptionError


class MoreTexts(NamedTuple):
    """Lines that train.

    Attributes:
        texts: without empty ones. labels: class ids, (texts,).
        left_out: how many lines were left out, by reason: `empty`, `another_label`, `evaluated`.
    """

    texts: list[str]
    labels: np.ndarray
    left_out: dict[str, int]


def read_more_texts(
    path: str | Path, label_names: Sequence[str], label_map: Mapping[str, str], evaluated: Collection[str]
) -> MoreTexts:
    """Reads a table with the columns `text` and `label`, of any kind that manifests may have.

    Args:
        label_names: the classes; lines of other labels are left out. label_map: renames labels first.
        evaluated: texts of validation and test; lines that agree with one without case and punctuation are left out.

    Raises:
        CorpusError: the table is missing or damaged, or lacks a column.
        OptionError: no line is left.
    """
    report = Report(Path(path).name)
    columns, rows = read_rows(Path(path), report)
    if columns:
        has_columns(("text", "label"), columns, Path(path), report)
    report.raise_if_broken()
    ids = {name: number for number, name in enumerate(label_names)}
    met = {fold_text(text) for text in evaluated}
    texts, labels, left_out = [], [], dict.fromkeys(("empty", "another_label", "evaluated"), 0)
    for _, row in rows:
        text, label = text_cell(row["text"]), text_cell(row["label"])
        label = label_map.get(str(label), str(label))
        if text is None:
            left_out["empty"] += 1
        elif label not in ids:
            left_out["another_label"] += 1
        elif fold_text(text) in met:
            left_out["evaluated"] += 1
        else:
            texts.append(text)
            labels.append(ids[label])
    if not texts:
        raise OptionError(
            f"--more-texts {path}: none of its {len(rows)} lines is left; of another label than "
            f"{', '.join(label_names)}: {left_out['another_label']}, empty: {left_out['empty']}, "
            f"in validation or test, too: {left_out['evaluated']}"
        )
    return MoreTexts(texts, np.array(labels), left_out)
