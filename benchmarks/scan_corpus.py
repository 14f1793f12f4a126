"""How long scanning a folder of clips takes, against a bare loop of `soundfile.info`, and from the cache.

python benchmarks/scan_corpus.py FOLDER
"""

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import soundfile

from processing.corpora.scan import scan_audio


def seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main(folder: str, repeats: int = 5) -> None:
    paths = [str(path) for path in sorted(Path(folder).rglob("*.*")) if path.suffix in (".flac", ".wav")]
    bare, first, cached = [], [], []
    for attempt in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            file = Path(cache) / f"{attempt}.json"
            bare.append(seconds(lambda: [soundfile.info(path) for path in paths]))
            scan = partial(scan_audio, paths, progress=False, cache=file)
            first.append(seconds(scan))
            cached.append(seconds(scan))
    print(f"{len(paths)} clips, median of {repeats}: bare loop {median(bare):.2f} s, scan {median(first):.2f} s "
          f"({median(first) / median(bare):.1f} times), from the cache {median(cached):.2f} s")  # fmt: skip


if __name__ == "__main__":
    main(sys.argv[1])
