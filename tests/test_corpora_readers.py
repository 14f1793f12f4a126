"""M3ED, nEMO, audio folders, Hub datasets, and what the registry promises of all readers."""

import functools
import json
import shutil

import datasets
import numpy as np
import pytest
import soundfile
from helpers.corpora import kinds_at, make_m3ed, make_nemo, own_cache, write_table, write_tone  # noqa: F401

from processing.corpora.registry import CORPORA, read_corpus, survey_corpus
from processing.corpora.report import CorpusError


def test_m3ed_is_read_exactly(tmp_path):
    root = make_m3ed(tmp_path)
    corpus = read_corpus("m3ed", root, progress=False)
    assert corpus.problem_type == "multi_label_classification"
    assert corpus.label_names == ["Happy", "Neutral", "Sad", "Disgust", "Anger", "Fear", "Surprise"]
    assert {split: rows.num_rows for split, rows in corpus.dataset.items()} == {"train": 2, "validation": 2, "test": 1}
    assert corpus.dataset["train"][0] == {
        "audio": str(root / "audio/anjia/A_anjia_1_1.wav"),
        "text": "你先把衣服换了",
        "labels": [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        "speaker": "anjia_房似锦",
        "utterance_id": "anjia_1_1",
        "session": "anjia",
        "duration": pytest.approx(0.3),
    }
    assert corpus.dataset["train"]["speaker"][:] == ["anjia_房似锦"] * 2  # A in one dialogue, B in the next
    assert corpus.dataset["validation"]["speaker"][:] == ["shaonianpai_林大为", "shaonianpai_1_C"]
    assert corpus.dataset["validation"]["labels"][1] == [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 0.0]
    assert corpus.report.counts() == {"empty_text": 1, "unlike_published": 1}


def test_m3ed_takes_no_clip_of_two_folders_that_differ(tmp_path):
    root = make_m3ed(tmp_path)
    original, copy = root / "audio/anjia/A_anjia_1_1.wav", root / "backup/A_anjia_1_1.wav"
    copy.parent.mkdir()
    shutil.copy(original, copy)
    assert "ambiguous_audio" not in read_corpus("m3ed", root, progress=False).report.counts()
    write_tone(copy, 0.4)
    report = survey_corpus("m3ed", root, progress=False).report
    assert [(p.utterance_id, p.detail) for p in report.blocking()] == [
        ("anjia_1_1", f"{original} and {copy} differ, and may all be meant")
    ]


def test_m3ed_damage_is_named(tmp_path):
    root = make_m3ed(tmp_path)
    annotation = json.loads((root / "annotation.json").read_text(encoding="utf-8"))
    annotation["anjia"]["anjia_1"]["Dialog"]["anjia_1_2"] = {"Speaker": "A", "Text": "?", "EmoAnnotation": {}}
    annotation["anjia"]["anjia_2"]["Dialog"]["anjia_2_1"]["EmoAnnotation"]["final_mul_emo"] = "Happy,Angre"
    annotation["qinggandian"]["qinggandian_1"]["Dialog"]["qinggandian_1_1"]["EmoAnnotation"]["final_mul_emo"] = ""
    annotation["unlisted"] = {"unlisted_1": []}
    (root / "annotation.json").write_text(json.dumps(annotation), encoding="utf-8")
    (root / "splitInfo/movie_list_val.txt").write_text("anjia\nnowhere\n")
    write_tone(root / "audio/anjia/D_anjia_9_9.wav")
    with pytest.raises(CorpusError) as caught:
        read_corpus("m3ed", root, progress=False)
    named = {(problem.kind.value, problem.utterance_id) for problem in caught.value.report.problems}
    assert named == {
        ("malformed_row", None),
        ("malformed_row", "anjia_1_2"),
        ("unknown_label", "anjia_2_1"),
        ("missing_label", "qinggandian_1_1"),
        ("empty_text", "qinggandian_1_1"),
        ("unknown_split", "shaonianpai_1_1"),
        ("unknown_split", "shaonianpai_1_2"),
        ("unlisted_audio", None),
        ("unlike_published", None),
    }
    message = caught.value.report.table(examples=9)
    assert "the show 'anjia' stands in the split 'train' already" in message
    assert "the show 'nowhere' of the split 'val' is not annotated" in message
    assert "unlisted / unlisted_1: an object with 'Dialog' is expected" in message
    assert "'Angre' is none of the classes" in message
    (root / "annotation.json").write_text("{")
    with pytest.raises(CorpusError, match=r"annotation\.json: no valid JSON"):
        read_corpus("m3ed", root, progress=False)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_nemo_is_read_exactly(tmp_path, suffix):
    root = make_nemo(tmp_path, suffix)
    corpus = read_corpus("nemo", root, progress=False)
    assert corpus.label_names == ["anger", "fear", "happiness", "neutral", "sadness", "surprised"]
    assert corpus.dataset["all"].num_rows == 12
    assert corpus.dataset["all"][1] == {
        "audio": str(root / "samples" / f"EB0_neutral_10{suffix}"),
        "text": "Kupiłem nową szafę do sypialni.",
        "label": 3,
        "speaker": "EB0",
        "utterance_id": "EB0_neutral_10",
        "session": None,
        "duration": 0.5,
        "sex": "female",
        "age": "27",
        "language": "pl",
    }
    assert corpus.report.counts() == {"unlike_published": 1}


def test_the_real_nemo_is_read_whole(shared_data):
    corpus = read_corpus("nemo", shared_data / "nemo", progress=False)
    rows = corpus.dataset["all"]
    assert rows.num_rows == 2696
    assert sorted(set(rows["speaker"])) == ["EB0", "KD0", "KS0", "SM0", "TP0"]
    assert np.bincount(rows["label"]).tolist() == [450, 449, 449, 450, 450, 448]
    assert sum(rows["duration"]) == pytest.approx(1.879 * 3600, rel=1e-3)
    assert corpus.report.counts() == {"unlike_published": 1}


def test_audiofolder_reads_splits_from_its_folders(tmp_path):
    write_tone(tmp_path / "train" / "a.wav")
    write_tone(tmp_path / "dev" / "a.wav")
    write_table(tmp_path / "train" / "metadata.csv", [{"file_name": "a.wav", "text": "one", "label": "sad"}])
    (tmp_path / "dev" / "metadata.jsonl").write_text('{"file_name": "a.wav", "text": "two", "label": "hap"}\n')
    corpus = read_corpus("audiofolder", tmp_path, progress=False)
    found = {split: rows[0] for split, rows in corpus.dataset.items()}
    assert {split: (row["utterance_id"], row["text"], row["label"]) for split, row in found.items()} == {
        "train": ("train/a.wav", "one", 1),
        "validation": ("dev/a.wav", "two", 0),
    }


def test_audiofolder_with_one_table_at_the_top(tmp_path):
    write_tone(tmp_path / "test" / "b.wav")
    write_tone(tmp_path / "c.wav")
    rows = [{"file_name": name, "transcription": "x", "emotion": "e"} for name in ("test/b.wav", "c.wav")]
    write_table(tmp_path / "metadata.csv", rows)
    read = functools.partial(
        read_corpus, "audiofolder", tmp_path, text_column="transcription", label_column="emotion", progress=False
    )
    corpus = read()
    assert {split: rows["utterance_id"][:] for split, rows in corpus.dataset.items()} == {
        "test": ["test/b.wav"],
        "all": ["c.wav"],
    }
    shutil.rmtree(tmp_path / "test")
    with pytest.raises(CorpusError, match=r"metadata\.csv:2 \[test/b\.wav\]: no such file"):
        read()


def hub_rows(folder):
    features = datasets.Features(
        {
            "audio": datasets.Value("string"),
            "text": datasets.Value("string"),
            "label": datasets.ClassLabel(names=["sad", "hap"]),
            "speaker": datasets.Value("string"),
        }
    )
    paths = [str(write_tone(folder / f"{name}.wav")) for name in "ab"]
    columns = {"audio": paths, "text": ["one", "two"], "label": [0, 1], "speaker": ["s", "t"]}
    return datasets.Dataset.from_dict(columns, features=features)


def test_a_saved_dataset_is_read_with_its_class_names(tmp_path):
    datasets.DatasetDict({"train": hub_rows(tmp_path), "dev": hub_rows(tmp_path)}).save_to_disk(tmp_path / "saved")
    corpus = read_corpus("hub", tmp_path / "saved", progress=False)
    assert set(corpus.dataset) == {"train", "validation"}
    assert corpus.label_names == ["hap", "sad"]
    assert corpus.dataset["train"]["label"][:] == [1, 0]
    assert corpus.dataset["validation"]["utterance_id"][:] == ["dev_1", "dev_2"]


def test_audio_inside_a_dataset_is_written_to_the_cache(tmp_path, own_cache):  # noqa: F811
    rows = hub_rows(tmp_path)
    contents = [{"path": "clip.wav", "bytes": (tmp_path / f"{name}.wav").read_bytes()} for name in "ab"]
    audio = datasets.Dataset.from_dict({"audio": contents}).cast_column("audio", datasets.Audio(decode=False))
    rows = datasets.concatenate_datasets([audio, rows.remove_columns("audio")], axis=1)
    folder = tmp_path / "repository" / "data"
    folder.mkdir(parents=True)
    rows.to_parquet(folder / "train-00000-of-00001.parquet")
    corpus = read_corpus("hub", folder.parent, progress=False)
    written = corpus.dataset["train"][0]["audio"]
    assert written.startswith(str(own_cache))
    assert soundfile.info(written).duration == corpus.dataset["train"][0]["duration"] == 0.5
    assert read_corpus("hub", folder.parent, progress=False).dataset["train"][0]["audio"] == written


def test_a_dataset_without_the_columns_is_named(tmp_path):
    hub_rows(tmp_path).rename_column("text", "txt").save_to_disk(tmp_path / "saved")
    with pytest.raises(CorpusError, match=r"no column 'text' \(did you mean 'txt'\?\)"):
        read_corpus("hub", tmp_path / "saved", progress=False)
    with pytest.raises(CorpusError, match="datasets cannot load it"):
        read_corpus("hub", tmp_path / "nothing", progress=False)


def test_the_registry_finds_every_reader():
    assert set(CORPORA) >= {"iemocap", "meld", "m3ed", "nemo", "manifest", "audiofolder", "hub"}
    with pytest.raises(ValueError, match=r"unknown corpus 'iemocup' \(did you mean 'iemocap'\?\)"):
        read_corpus("iemocup", ".")


@pytest.mark.parametrize("name", ["iemocap", "meld", "m3ed", "nemo", "manifest", "audiofolder"])
def test_empty_and_absent_folders_are_reported_by_every_reader(tmp_path, name):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(CorpusError) as caught:
            read_corpus(name, folder, progress=False, skip_damaged="all")
        assert {"missing_file", "no_utterances"} <= set(caught.value.report.counts())
        assert CORPORA[name].layout in str(caught.value)
        assert kinds_at(caught.value.report.blocking()) == {("no_utterances", None)}


def test_a_saved_dataset_cuts_recordings_as_a_manifest_does(tmp_path):
    clip = str(write_tone(tmp_path / "long.wav", 3.0))
    columns = {"audio": [clip] * 4, "text": ["so"] * 4, "label": ["sad", "joy", "sad", "joy"]}
    columns |= {"start": [0.0, 1.0, None, 2.0], "end": [1.0, 2.5, None, 1.0], "offset": [0.0] * 4}
    datasets.Dataset.from_dict(columns).save_to_disk(tmp_path / "saved")
    survey = survey_corpus("hub", tmp_path / "saved", progress=False)
    assert [(each.start, each.end) for each in survey.utterances] == [(0.0, 1.0), (1.0, 2.5), (None, None)]
    assert kinds_at(survey.report.problems) == {("suspicious_column", None), ("malformed_row", 4), ("whole_audio", 3)}
    rows = survey.corpus(skip_damaged=["malformed_row"]).dataset["all"]
    assert rows["duration"][:] == [1.0, 1.5, 3.0]
