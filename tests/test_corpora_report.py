"""The report is short: counts first, tables cut, paths relative to the data, causes named, exclusions by label."""

import io
import json
import subprocess
import sys

import rich.console
from helpers.corpora import make_iemocap, make_meld, own_cache, write_table, write_tone  # noqa: F401

from processing.corpora.doctor import examine
from processing.corpora.registry import survey_corpus


def printed(examination, width=200):
    console = rich.console.Console(width=width, file=io.StringIO(), record=True)
    console.print(examination)
    return console.export_text()


def crowd(folder, speakers=60):
    audio = write_tone(folder / "a.wav").name
    rows = [
        {"audio": audio, "text": "same words", "label": "ab"[n % 2], "speaker": f"p{n // 2}", "utterance_id": n}
        for n in range(2 * speakers)
    ]
    return write_table(folder / "manifest.csv", rows)


def test_tables_are_cut_and_sum_up_the_rest(tmp_path):
    lines = printed(examine("manifest", crowd(tmp_path), progress=False)).splitlines()
    counts = lines.index("... and 40 more          80      80")
    assert (
        lines.index("durations (s): clips 120, hours 0.017, min 0.5, median 0.5, mean 0.5, p95 0.5, max 0.5") > counts
    )
    overlaps = [line.split() for line in lines if line.startswith("... and 40 more")][1]
    assert overlaps[4:] == ["80", "0", "0", "80", "80"]
    assert len(lines) < 70


def test_paths_are_relative_to_the_data_folder(tmp_path):
    root = make_iemocap(tmp_path, sessions=(1,))
    (root / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F003.wav").unlink()
    survey = survey_corpus("iemocap", root, sessions=(1, 2), progress=False)
    table = survey.report.table()
    assert table.splitlines()[0].startswith(f"IEMOCAP in {root}: 2 errors to solve")
    assert table.count(str(root)) == 1
    assert "    Session2: missing" in table
    assert (
        "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt:27 [Ses01F_impro01_F003]: no such file: "
        "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F003.wav"
    ) in table
    assert str(root / "Session2") in [problem.file for problem in survey.report.problems]


def test_what_is_left_out_is_counted_by_label(tmp_path):
    root = make_iemocap(tmp_path, sessions=(1, 2))
    (root / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F003.wav").unlink()
    examination = examine("iemocap", root, sessions=(1, 2), skip_damaged="all", progress=False)
    report = examination.report
    assert report.excluded_labels == {"outside_classes": {"fru": 4, "xxx": 4}, "missing_audio": {"sad": 1}}
    assert "missing_audio: 1 (1 left out: sad 1)" in report.table()
    assert "outside_classes: 8 (8 left out: fru 4, xxx 4)" in report.table()
    assert json.loads(report.to_json())["excluded_labels"] == report.excluded_labels


def test_classes_are_compared_with_the_published_counts(tmp_path):
    counts = examine("meld", make_meld(tmp_path), progress=False).counts["class"]
    published = {count.value: count.published for count in counts}
    assert published["neutral"] == 6436
    assert sum(published.values()) == 9989 + 1109 + 2610


def test_a_dataset_that_cannot_be_built_says_why(tmp_path):
    data = tmp_path / "repository" / "data"
    data.mkdir(parents=True)
    (data / "train.jsonl").write_text('{"audio": 1}\n{"audio": [}\n')
    [problem, _] = survey_corpus("hub", data.parent, progress=False).report.problems
    assert "; because of " in problem.detail
    assert "JSON" in problem.detail.split("; because of ")[-1]


def test_the_doctor_loads_neither_torch_nor_scikit_learn(tmp_path):
    code = (
        "import re, sys\n"
        "from pathlib import Path\n"
        "from processing.corpora.doctor import examine\n"
        f"assert examine('manifest', {str(crowd(tmp_path))!r}, progress=False).usable\n"
        "assert not {'torch', 'sklearn', 'scipy', 'matplotlib'} & set(sys.modules)\n"
        "peak = re.search(r'VmHWM:\\s+(\\d+) kB', Path('/proc/self/status').read_text())\n"
        "assert int(peak[1]) < 400 * 1024\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
