"""IEMOCAP: the folder's traps, the four classes, and its line formats as properties."""

import pytest
from helpers.corpora import kinds_at, make_iemocap, own_cache, truncate  # noqa: F401
from hypothesis import given
from hypothesis import strategies as st

from processing.corpora.readers.iemocap import dialog_and_speaker, parse_evaluation, parse_transcript
from processing.corpora.registry import read_corpus
from processing.corpora.report import CorpusError


@pytest.fixture(scope="module")
def release(tmp_path_factory):
    return make_iemocap(tmp_path_factory.mktemp("IEMOCAP_full_release"))


def test_the_release_is_read_exactly(release):
    corpus = read_corpus("iemocap", release, progress=False)
    rows = corpus.dataset["all"]
    assert corpus.label_names == ["ang", "hap", "sad", "neu"]
    assert rows.num_rows == 5 * 2 * 5
    assert rows[0] == {
        "audio": str(release / "Session1/sentences/wav/Ses01F_impro01/Ses01F_impro01_F000.wav"),
        "text": "Café— F000.",
        "label": 3,
        "speaker": "Ses01F",
        "utterance_id": "Ses01F_impro01_F000",
        "session": "Session1",
        "duration": pytest.approx(0.2),
        "sex": "female",
    }
    assert [row["sex"] for row in rows] == [{"F": "female", "M": "male"}[row["speaker"][-1]] for row in rows]
    by_turn = {row["utterance_id"]: row for row in rows}
    assert by_turn["Ses05M_script01_1b_F002"]["speaker"] == "Ses05F"
    assert by_turn["Ses05M_script01_1b_M001"]["speaker"] == "Ses05M"
    labels = {turn: by_turn[f"Ses02F_impro01_{turn}"]["label"] for turn in ("F001", "M001", "F002", "F003")}
    assert labels == {"F001": 1, "M001": 0, "F002": 1, "F003": 2}  # exc counts as hap
    assert not any(name.endswith(("F999", "M000", "M002")) for name in by_turn)


def test_what_the_protocol_leaves_out_is_counted(release):
    report = read_corpus("iemocap", release, progress=False).report
    assert report.counts() == {"wrong_encoding": 10, "outside_classes": 20, "unlike_published": 2}
    assert len(report.excluded["outside_classes"]) == 20
    assert "Ses01F_impro01_M000" in report.excluded["outside_classes"]


def test_label_map_takes_classes_in(release):
    corpus = read_corpus("iemocap", release, label_map={"exc": "exc", "fru": "fru"}, progress=False)
    assert corpus.label_names == ["ang", "hap", "sad", "neu", "exc", "fru"]
    assert corpus.dataset["all"].num_rows == 5 * 2 * 6
    merged = read_corpus("iemocap", release, label_map={"hap": "joy", "sad": "low", "ang": "low"}, progress=False)
    assert merged.label_names == ["low", "joy", "neu"]
    assert merged.dataset["all"].num_rows == 5 * 2 * 5  # exc follows hap
    with pytest.raises(ValueError, match="the corpus has no label 'exx'"):
        read_corpus("iemocap", release, label_map={"exx": "hap"}, progress=False)


def test_damage_is_named(tmp_path):
    root = make_iemocap(tmp_path, sessions=(1, 2))
    evaluation = root / "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt"
    lines = evaluation.read_text().split("\n")
    lines += [
        "[1.0 - 2.0]\tSes01F_impro01_F777",
        "[1.0 - 2.0]\tSes01F_impro02_F001\tneu\t[1.0, 1.0, 1.0]",
        "[1.0 - 2.0]\tSes01F_impro01_F000\tneu\t[1.0, 1.0, 1.0]",
        "[1.0 - 2.0]\tSes01F_impro01_M009\tanger\t[1.0, 1.0, 1.0]",
    ]
    first = len(lines) - 3
    evaluation.write_text("\n".join(lines))
    wav = root / "Session1/sentences/wav/Ses01F_impro01"
    truncate(wav / "Ses01F_impro01_M001.wav")
    (wav / "Ses01F_impro01_M001.wav").rename(wav / "Ses01F_impro01_M111.wav")
    (root / "Session2/dialog/transcriptions/Ses02F_impro01.txt").unlink()
    with pytest.raises(CorpusError) as caught:
        read_corpus("iemocap", root, progress=False)
    errors = caught.value.report.blocking()
    missing = {str(problem.file) for problem in errors if problem.kind == "missing_file"}
    assert missing == {str(root / f"Session{n}") for n in (3, 4, 5)} | {
        str(root / "Session2/dialog/transcriptions/Ses02F_impro01.txt")
    }
    assert kinds_at(problem for problem in errors if problem.kind != "missing_file") == {
        ("malformed_row", first),
        ("malformed_row", first + 1),
        ("duplicate_id", first + 2),
        ("unknown_label", first + 3),
        ("missing_audio", first + 3),
        ("missing_audio", lines.index(next(line for line in lines if "_M001\t" in line)) + 1),
    }
    unlisted = [problem for problem in caught.value.report.problems if problem.kind == "unlisted_audio"]
    assert [problem.detail for problem in unlisted] == ["1 clip without annotation: Ses01F_impro01_M111"]
    two = read_corpus("iemocap", root, sessions=(2,), skip_damaged=["missing_file"], progress=False)
    assert two.dataset["all"].num_rows == 10
    assert two.dataset["all"]["text"][:5] == [""] * 5


def test_the_folder_above_the_release_will_do(tmp_path):
    make_iemocap(tmp_path / "IEMOCAP_full_release", sessions=(3,))
    assert read_corpus("iemocap", tmp_path, sessions=(3,), progress=False).dataset["all"].num_rows == 10


DIALOGS = st.from_regex(r"Ses0[1-5][FM]_(impro0[1-8]|script0[1-3]_[1-3]b?)", fullmatch=True)
TURNS = st.from_regex(r"[FM](XX)?[0-9]{3}", fullmatch=True)
SECONDS = st.integers(0, 9_999_999).map(lambda ticks: ticks / 10_000)


@given(
    DIALOGS, TURNS, SECONDS, SECONDS, st.sampled_from(["neu", "xxx", "exc"]), st.lists(SECONDS, min_size=3, max_size=3)
)
def test_evaluation_lines_come_apart_as_they_were_put_together(dialog, turn, start, end, label, valence):
    line = f"[{start:.4f} - {end:.4f}]\t{dialog}_{turn}\t{label}\t[{', '.join(f'{v:.4f}' for v in valence)}]"
    assert parse_evaluation(line) == (start, end, f"{dialog}_{turn}", label)
    assert dialog_and_speaker(f"{dialog}_{turn}") == (dialog, f"{dialog[:5]}{turn[0]}")


@given(DIALOGS, TURNS, SECONDS, st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_transcript_lines_come_apart_as_they_were_put_together(dialog, turn, start, text):
    parsed = parse_transcript(f"{dialog}_{turn} [{start:08.4f}-{start + 1:08.4f}]: {text}")
    assert parsed == (f"{dialog}_{turn}", text.strip())


@pytest.mark.parametrize(
    "line", ["C-E2:\tNeutral;\t()", "", "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]", "[1 - 2]\tSes01\tneu"]
)
def test_other_evaluation_lines_are_none(line):
    assert parse_evaluation(line) is None


@given(st.text(max_size=80))
def test_no_line_breaks_the_parsers(line):
    parse_evaluation(line)
    assert parse_transcript(f"M: {line}") is None
    dialog_and_speaker(line)
