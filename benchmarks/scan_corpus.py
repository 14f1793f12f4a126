"""How long scanning a folder of clips takes, from headers and decoded, against a bare loop of `soundfile.info`, and
from the cache.

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
    bare, headers, decoded, cached = [], [], [], []
    for attempt in range(repeats):
        with tempfile.TemporaryDirectory() as cache:
            file = Path(cache) / f"{attempt}.json"
            bare.append(seconds(lambda: [soundfile.info(path) for path in paths]))
            scan = partial(scan_audio, paths, progress=False, cache=file)
            headers.append(seconds(partial(scan, decode=False)))
            decoded.append(seconds(partial(scan, decode=True)))
            cached.append(seconds(scan))
    figures = {"bare loop": bare, "headers": headers, "decoded": decoded, "from the cache": cached}
    shown = ", ".join(f"{name} {median(values):.2f} s" for name, values in figures.items())
    print(f"{len(paths)} clips, median of {repeats}: {shown}")


if __name__ == "__main__":
    main(sys.argv[1])
