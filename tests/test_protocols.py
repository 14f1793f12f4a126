"""Folds: what they promise for any corpus, and what they are on corpora laid out like the real ones."""

import csv
import json
import logging
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from processing.corpora.folds import Fold, ProtocolError, load_folds, save_folds
from processing.corpora.protocols import (
    leave_one_session_out,
    leave_one_speaker_out,
    official_splits,
    speaker_disjoint_split,
)

PARTS = ("train", "validation", "test")


@st.composite
def corpora(draw, min_sessions: int = 3, max_sessions: int = 6) -> tuple[list[str], list[str], list[str]]:
    """Ids, speakers and sessions, two or three speakers to a session, in any order."""
    rows = []
    for session in range(draw(st.integers(min_sessions, max_sessions))):
        for speaker in "FMX"[: draw(st.integers(2, 3))]:
            rows += [(f"S{session}{speaker}", f"S{session}")] * draw(st.integers(1, 9))
    rows = draw(st.permutations(rows))
    return [f"u{i}" for i in range(len(rows))], [speaker for speaker, _ in rows], [session for _, session in rows]


def groups_of(fold: Fold, ids: list[str], column: list) -> list[set]:
    value_of = dict(zip(ids, column, strict=True))
    return [{value_of[utterance] for utterance in getattr(fold, part)} for part in PARTS]


def assert_covers_once(fold: Fold, ids: list[str]) -> None:
    assert sorted(fold.train + fold.validation + fold.test) == sorted(ids)


@given(corpora())
def test_leave_one_session_out_with_a_validation_speaker(corpus) -> None:
    ids, speakers, sessions = corpus
    folds = leave_one_session_out(ids, speakers, sessions)
    assert [fold.name for fold in folds] == sorted(set(sessions))
    assert sorted(u for fold in folds for u in fold.test) == sorted(ids)
    for fold in folds:
        assert_covers_once(fold, ids)
        assert fold.speaker_disjoint
        train, validation, test = groups_of(fold, ids, speakers)
        assert len(validation) == 1
        assert not train & validation | train & test | validation & test
        assert groups_of(fold, ids, sessions)[2] == {fold.name}


@given(corpora())
def test_leave_one_session_out_with_a_validation_session(corpus) -> None:
    ids, speakers, sessions = corpus
    names = sorted(set(sessions))
    for number, fold in enumerate(leave_one_session_out(ids, speakers, sessions, validation="session")):
        assert_covers_once(fold, ids)
        train, validation, test = groups_of(fold, ids, sessions)
        assert (test, validation) == ({names[number]}, {names[(number + 1) % len(names)]})
        assert train == set(names) - test - validation


@given(corpora())
def test_leave_one_speaker_out(corpus) -> None:
    ids, speakers, _ = corpus
    names = sorted(set(speakers))
    folds = leave_one_speaker_out(ids, speakers)
    assert [fold.name for fold in folds] == names
    for number, fold in enumerate(folds):
        assert_covers_once(fold, ids)
        train, validation, test = groups_of(fold, ids, speakers)
        assert (test, validation) == ({names[number]}, {names[(number + 1) % len(names)]})
        assert train == set(names) - test - validation
        assert fold.speaker_disjoint


def test_iemocap_layout_validates_on_both_genders() -> None:
    ids = [f"Ses0{s}{g}_impro{i:02d}_{g}000" for s in range(1, 6) for g in "FM" for i in range(3)]
    speakers, sessions = [u[3:6] for u in ids], [u[4] for u in ids]
    folds = leave_one_session_out(ids, speakers, sessions)
    assert [fold.name for fold in folds] == ["1", "2", "3", "4", "5"]
    validation_speakers = [groups_of(fold, ids, speakers)[1] for fold in folds]
    assert validation_speakers == [{"02F"}, {"03M"}, {"04F"}, {"05M"}, {"01F"}]
    assert [len(fold.train) for fold in folds] == [21] * 5
    assert len(leave_one_session_out(ids[:12], speakers[:12], sessions[:12])) == 2  # two sessions are enough


def test_a_speaker_of_two_sessions_is_flagged(caplog: pytest.LogCaptureFixture) -> None:
    ids = [f"u{i}" for i in range(6)]
    speakers, sessions = ["a", "b", "a", "c", "d", "e"], ["1", "1", "2", "2", "3", "3"]
    with caplog.at_level(logging.WARNING):
        folds = leave_one_session_out(ids, speakers, sessions, validation="session")
    assert [fold.speaker_disjoint for fold in folds] == [False, False, False]
    assert "Fold '1' is not speaker-disjoint: a speak in more than one part." in caplog.text


@settings(max_examples=40)
@given(corpora(), st.floats(0.02, 0.5), st.floats(0.0, 0.4), st.integers(0, 5), st.booleans())
def test_speaker_disjoint_split_never_shares_a_speaker(corpus, validation, test, seed, labelled) -> None:
    ids, speakers, _ = corpus
    labels = [int(u[1:]) % 3 for u in ids] if labelled else None
    fold = speaker_disjoint_split(ids, speakers, labels, validation, test, seed)
    assert fold == speaker_disjoint_split(ids, speakers, labels, validation, test, seed)
    assert_covers_once(fold, ids)
    assert fold.speaker_disjoint
    heard = groups_of(fold, ids, speakers)
    assert sum(map(len, heard)) == len(set(speakers))
    assert bool(fold.test) == (test > 0)


def test_speaker_disjoint_split_comes_close_to_shares_and_labels() -> None:
    # 40 unequal speakers; half of them speak only class 0, the others class 0 and class 1
    speakers = [f"s{i:02d}" for i in range(40) for _ in range(20 + i)]
    ids = [f"u{i}" for i in range(len(speakers))]
    labels = [int(int(s[1:]) % 2 and i % 2) for i, s in enumerate(speakers)]
    fold = speaker_disjoint_split(ids, speakers, labels, validation_share=0.15, test_share=0.2, seed=3)
    assert len(fold.validation) / len(ids) == pytest.approx(0.15, abs=0.02)
    assert len(fold.test) / len(ids) == pytest.approx(0.2, abs=0.02)
    label_of = dict(zip(ids, labels, strict=True))
    overall = sum(labels) / len(labels)
    for part in (fold.validation, fold.test):
        assert sum(label_of[u] for u in part) / len(part) == pytest.approx(overall, abs=0.03)
    others = {speaker_disjoint_split(ids, speakers, labels, 0.15, 0.2, seed).test for seed in range(5)}
    assert len(others) > 1, "the seed must matter"


def test_a_part_far_from_its_share_is_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        speaker_disjoint_split([f"u{i}" for i in range(10)], ["a"] * 5 + ["b"] * 5)
    assert "The validation part has 50% of the utterances, not 10%." in caplog.text


@given(st.lists(st.sampled_from("abc"), min_size=30, max_size=120), st.integers(0, 3))
def test_unknown_speakers_fall_back_to_a_stratified_utterance_split(labels: list[str], seed: int) -> None:
    ids = [f"u{i}" for i in range(len(labels))]
    fold = speaker_disjoint_split(ids, None, labels, validation_share=0.2, test_share=0.1, seed=seed)
    assert (fold.name, fold.speaker_disjoint) == ("utterance_split", False)
    assert_covers_once(fold, ids)
    label_of = dict(zip(ids, labels, strict=True))
    for part, share in (("validation", 0.2), ("test", 0.1)):
        assert len(getattr(fold, part)) == pytest.approx(share * len(ids), abs=1)
        counts = Counter(label_of[u] for u in getattr(fold, part))
        for label, total in Counter(labels).items():
            assert counts[label] == pytest.approx(share * total, abs=1.5)


def test_utterance_split_takes_label_sets_and_is_random_within_a_label() -> None:
    ids = [f"u{i}" for i in range(60)]
    label_sets = [[1, 0, 1] if i % 3 == 0 else [0, 1, 0] for i in range(60)]
    fold = speaker_disjoint_split(ids, None, label_sets, validation_share=0.25)
    assert Counter(int(u[1:]) % 3 == 0 for u in fold.validation) == {True: 5, False: 10}
    assert fold != speaker_disjoint_split(ids, None, label_sets, validation_share=0.25, seed=1)


def test_official_splits_find_shared_speakers() -> None:
    ids, splits = ["a", "b", "c"], ["train", "validation", "test"]
    assert official_splits(ids, splits, ["Ross", "Joey", "Rachel"]) == Fold("official", ("a",), ("b",), ("c",), True)
    assert official_splits(ids, splits, ["Ross", "Joey", "Ross"]).speaker_disjoint is False
    assert official_splits(ids, splits).speaker_disjoint is False
    with pytest.raises(ProtocolError, match="must be train, validation, test, not dev"):
        official_splits(ids, ["train", "dev", "test"])
    with pytest.raises(ProtocolError, match="no utterances in validation"):
        official_splits(ids, ["train", "train", "test"])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: leave_one_speaker_out(["a", "b"], ["x", "y"]), "at least 3 of them, not 2"),
        (lambda: leave_one_session_out(["a", "b"], ["x", "y"], ["1", "1"]), "at least 2 of them, not 1"),
        (lambda: leave_one_session_out(["a", "b"], ["x", "y"], ["1", "2"]), "Fold '1' has no utterances in train"),
        (lambda: leave_one_session_out(["a"], ["x"], ["1"], validation="test"), '"speaker" or "session"'),
        (lambda: speaker_disjoint_split(["a", "b"], ["x", "y"], test_share=0.1), "2 speaker.s. cannot fill 3"),
        (lambda: speaker_disjoint_split(["a", "b"], ["x", "y"], validation_share=0), "positive"),
        (lambda: speaker_disjoint_split(["a", "b"], ["x", "y"], None, 0.5, 0.5), "sum below 1"),
        (lambda: speaker_disjoint_split(["a", "b", "c"], None, None, 0.4, 0.1), "test share of 0.1 leaves none"),
        (lambda: speaker_disjoint_split(["a", "b"], ["x", None]), "1 utterances have no entry in speakers: b"),
        (lambda: speaker_disjoint_split(["a", "b"], ["x", " "]), "no entry in speakers: b"),
        (lambda: leave_one_speaker_out(["a", "b", "a"], ["x", "y", "z"]), "must be unique; repeated: a"),
        (lambda: leave_one_speaker_out(["a", "b"], ["x"]), "2 ids and 1 speakers"),
        (lambda: Fold("one", ("a",), ("b",), ("a",), True), "Fold 'one': a would be used more than once"),
    ],
)
def test_what_cannot_be_built_is_explained(build, message: str) -> None:
    with pytest.raises(ProtocolError, match=message):
        build()


@settings(max_examples=40)
@given(corpora())
def test_saved_folds_come_back(tmp_path_factory: pytest.TempPathFactory, corpus) -> None:
    ids, speakers, sessions = corpus
    path = tmp_path_factory.getbasetemp() / "folds.json"
    folds = [*leave_one_session_out(ids, speakers, sessions), speaker_disjoint_split(ids, None, None, 0.3)]
    save_folds(folds, path)
    assert load_folds(path, ids, speakers) == folds


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """Three speakers a, b, c with two utterances each, one fold."""
    path = tmp_path / "folds.json"
    save_folds([Fold("one", ("a0", "a1"), ("b0", "b1"), ("c0", "c1"), True)], path)
    return path


IDS, SPEAKERS = ["a0", "a1", "b0", "b1", "c0", "c1"], ["a", "a", "b", "b", "c", "c"]


def edit(path: Path, **changes) -> None:
    content = json.loads(path.read_text())
    content["folds"][0].update(changes)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"test": ["c0", "a0"]}, "a0 would be used more than once"),
        ({"test": ["c0", "c0"]}, "c0 would be used more than once"),
        ({"test": ["c0", "c9"]}, "1 utterances are not in the corpus: c9"),
        ({"train": ["a0", "c1"], "test": ["c0", "a1"]}, "claims disjoint speakers, but a, c"),
        ({"train": []}, "no utterances in train"),
        ({"train": None}, "holds no folds"),
        ({"colour": "red"}, "holds no folds"),
    ],
)
def test_a_fold_file_is_verified(saved: Path, changes: dict, message: str) -> None:
    edit(saved, **changes)
    with pytest.raises(ProtocolError, match=message) as error:
        load_folds(saved, IDS, SPEAKERS)
    assert str(saved) in str(error.value)


def test_a_claim_needs_speakers_and_a_gap_is_said(saved: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ProtocolError, match="give the speakers"):
        load_folds(saved, IDS)
    edit(saved, speaker_disjoint=False)
    assert load_folds(saved, IDS)[0].speaker_disjoint is False
    with caplog.at_level(logging.WARNING):
        load_folds(saved, [*IDS, "d0"], [*SPEAKERS, "d"])
    assert "leaves out 1 of 7 utterances: d0" in caplog.text


json_values = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["name", *PARTS]), inner, max_size=4),
    max_leaves=8,
)


@given(st.binary(max_size=60) | json_values.map(lambda value: json.dumps({"folds": value}).encode()))
def test_any_other_file_is_a_protocol_error(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "other.json"
    path.write_bytes(content)
    try:
        folds = load_folds(path, IDS, SPEAKERS)
    except ProtocolError as error:
        message = str(error)
    else:
        message = f"{path} has none" if not folds else ""
    assert str(path) in message


def test_a_file_nested_without_end_is_a_protocol_error(tmp_path: Path) -> None:
    (tmp_path / "deep.json").write_text("[" * 100_000)
    with pytest.raises(ProtocolError, match=r"deep\.json holds no folds"):
        load_folds(tmp_path / "deep.json", IDS)


def test_missing_file_and_repeated_names(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match=r"none\.json"):
        load_folds(tmp_path / "none.json", IDS)
    with pytest.raises(ProtocolError, match="Two folds are named one"):
        save_folds([Fold("one", ("a",), ("b",), (), True)] * 2, tmp_path / "folds.json")


def test_real_nemo_speakers(shared_data: Path) -> None:
    with (shared_data / "nemo" / "data.tsv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    ids, speakers = [row["file_id"].strip() for row in rows], [row["speaker_id"].strip() for row in rows]
    folds = leave_one_speaker_out(ids, speakers)
    assert [fold.name for fold in folds] == ["EB0", "KD0", "KS0", "SM0", "TP0"]
    assert sum(len(fold.test) for fold in folds) == len(ids) == 2696
    split = speaker_disjoint_split(ids, speakers, [row["emotion"] for row in rows], 0.2, 0.2)
    assert [len(group) for group in groups_of(split, ids, speakers)] == [3, 1, 1]


def test_real_meld_splits_share_speakers(shared_data: Path) -> None:
    ids, splits, speakers = [], [], []
    for split, name in (("train", "train"), ("validation", "dev")):
        path = next((shared_data / "meld").rglob(f"{name}*.csv"))
        with path.open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                ids.append(f"{split}_dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}")
                splits.append(split)
                speakers.append(row["Speaker"])
    fold = official_splits(ids, splits, speakers)
    assert (len(fold.train), len(fold.validation), fold.test) == (9989, 1109, ())
    assert fold.speaker_disjoint is False
