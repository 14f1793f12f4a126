"""A benchmark whose label depends on voice and words together: do both express the same emotion?

    python -m study.interaction --data DATA             # writes runs/study/interaction/*.csv
    python -m study.runs --data DATA --kind interaction # trains on them

Each clip of the constructed pairs stands twice in it: once with its own text (`agreement`) and once with a text of
another emotion (`contradiction`). Within a group of speakers (a fold) each text stands twice likewise. So every voice
and every text is as frequent under one label as under the other: each modality alone, and every sum of what both say
by themselves, is at chance, even where it knows all clips and texts by heart. No speaker and no text is shared by two
groups. Joyful words in an angry or sad voice are marked as `irony`.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas

from .other_emotions import other_emotions
from .runs import CORPORA, FOLDER, INTERACTION

SAME, OTHER = "agreement", "contradiction"
JOYFUL, GRIM = ("joy", "happy", "happiness"), ("anger", "angry", "sadness", "sad")


def interaction_pairs(table: pandas.DataFrame, group: str, seed: int = 0) -> pandas.DataFrame:
    """The benchmark out of constructed pairs.

    Args:
        table: columns audio, text, label (the emotion of both), speaker, text_id, and `group`.
        group: the column that no text is shared across.

    Returns: two rows a clip: audio, text, label, voice and words (their emotions), irony, speaker, text_id, `group`.

    Raises:
        ValueError: an emotion has more than half of a group's clips, so that some clip finds no other text.
    """
    rng = np.random.default_rng(seed)
    parts = []
    for name, rows in table.groupby(group, sort=True):
        if rows.label.value_counts().iloc[0] > len(rows) / 2:
            raise ValueError(f"{group} {name}: more than half of the clips are of one emotion, {rows.label.mode()[0]}")
        words = rows.iloc[other_emotions(rows.label.to_numpy(), rng)]
        for label, texts in ((SAME, rows), (OTHER, words)):
            pairs = rows[["audio", "speaker"]].assign(label=label, voice=rows.label, words=texts.label.to_numpy())
            for column in ("text", "text_id"):
                pairs[column] = texts[column].to_numpy()
            parts.append(pairs.assign(**{group: name}))
    pairs = pandas.concat(parts, ignore_index=True)
    pairs["irony"] = pairs.words.isin(JOYFUL) & pairs.voice.isin(GRIM)
    return pairs


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with the two tables")
    options = parser.parse_args(arguments)
    folder = FOLDER / INTERACTION
    folder.mkdir(parents=True, exist_ok=True)
    for name, group in CORPORA.items():
        table = pandas.read_csv(options.data / f"{name}.csv", keep_default_na=False)
        pairs = interaction_pairs(table, group)
        pairs["utterance_id"] = pairs.audio + "#" + pairs.label
        pairs["audio"] = [str((options.data / audio).resolve()) for audio in pairs.audio]
        pairs.to_csv(folder / f"{name}.csv", index=False)
        print(f"{folder / name}.csv: {len(pairs)} pairs, {int(pairs.irony.sum())} ironic")
    return 0


if __name__ == "__main__":
    sys.exit(main())
