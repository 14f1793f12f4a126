"""Training on the states of frozen encoders, kept on disk; standardisation by speaker, in training and in answers."""

import json

import numpy as np
import pandas
import pytest
import soundfile
import torch
import yaml
from datasets import Dataset
from helpers.tones import RECIPE, write_tones
from transformers import (
    AutoModelForAudioClassification,
    BertConfig,
    BertModel,
    Wav2Vec2Config,
    Wav2Vec2FeatureExtractor,
    Wav2Vec2Model,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperModel,
    pipeline,
)
from typer.testing import CliRunner

from drkf_cli import app
from modeling_drkf.experiments.building import _tokenizer
from modeling_drkf.experiments.encoder_states import SpeakerStatistics, _key, encode_corpus, encode_texts
from modeling_drkf.extended_encoding_drkf import speaker_moments
from processing.errors_drkf import InputError, OptionError
from processing.pipeline_drkf import TASK
from train_drkf import main

CACHED = ("speech_adapter", "statistics_adapter", "text_adapter")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """Tones, a recipe, and two small encoders in folders."""
    folder = tmp_path_factory.mktemp("states")
    write_tones(folder)
    torch.manual_seed(0)
    Wav2Vec2Model(speech_config()).save_pretrained(folder / "speech")
    Wav2Vec2FeatureExtractor(do_normalize=False, return_attention_mask=True).save_pretrained(folder / "speech")
    sizes = {name: value for name, value in RECIPE["text_encoder"].items() if name not in ("model_type", "vocab_size")}
    tokenizer = _tokenizer({"vocab_size": 300}, ["all is quiet", "hurry up now", "a slow day", "not again"])
    tokenizer.save_pretrained(folder / "text")
    BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(folder / "text")
    recipe = {
        "audio_encoder": str(folder / "speech"), "text_encoder": str(folder / "text"),
        "freeze_speech_encoder": True, "freeze_text_encoder": True, "cache_features": True, "speaker_statistics": 0.5,
        "drkf": RECIPE["drkf"] | {
            "speech_pooling": 4, "speech_statistics": True, "standardize_states": True, "modality_dropout": 0.2,
        },
        "learning_rate": 1e-2, "per_device_train_batch_size": 4, "num_train_epochs": 6, "eval_strategy": "no",
        "save_strategy": "no", "load_best_model_at_end": False, "pictures": False,
    }  # fmt: skip
    (folder / "frozen.yaml").write_text(yaml.safe_dump(recipe))
    return folder


def speech_config():
    """Frames of 10 ms, 12 wide."""
    convolutions = {"conv_dim": (8, 8), "conv_kernel": (10, 16), "conv_stride": (10, 16), "feat_extract_norm": "layer"}
    convolutions |= {"num_conv_pos_embeddings": 4, "num_conv_pos_embedding_groups": 2}
    layers = {"hidden_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    return Wav2Vec2Config(**convolutions, **layers, mask_time_prob=0.0)


def train(corpus, out, *options):
    where = ["--manifest", corpus / "clips.csv", "--protocol", "leave_one_speaker_out", "--output_dir", out]
    return main([str(option) for option in (corpus / "frozen.yaml", *where, *options)])


@pytest.fixture(scope="module")
def run(corpus):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("datasets.config.HF_DATASETS_CACHE", str(corpus / "cache"))
        assert train(corpus, corpus / "out", "--fold", "bob") == 0
        first = cache_files(corpus)
        assert train(corpus, corpus / "next", "--fold", "cleo", "--seed", 1) == 0
        assert cache_files(corpus) == first
    return corpus / "out"


def cache_files(corpus):
    return {path.name: path.stat().st_mtime_ns for path in (corpus / "cache" / "drkf-states").glob("*.arrow")}


def test_folds_and_seeds_share_what_was_encoded_once(corpus, run):
    assert len(cache_files(corpus)) == 1


def test_the_saved_folder_gives_the_predictions_of_the_cached_states(corpus, run):
    table = pandas.read_csv(run / "test_predictions.csv")
    texts = pandas.read_csv(corpus / "clips.csv").set_index("audio").text
    pipe = pipeline(TASK, model=str(run))
    answers = pipe([{"audio": str(corpus / name), "text": texts[name]} for name in table.utterance_id], batch_size=3)
    for row, answer in zip(table.itertuples(), answers, strict=True):
        scores = {item["label"]: item["score"] for item in answer["scores"]}
        assert scores["calm"] == pytest.approx(row.probability_calm, abs=5e-3)  # states are kept in half precision


def test_states_of_clips_without_their_silence_are_kept_apart(corpus, run, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    pipe = pipeline(TASK, model=str(run))
    tone, _ = soundfile.read(corpus / "ada_calm_0.wav")
    for name, around in (("bare", 0), ("padded", 16_000)):
        soundfile.write(tmp_path / f"{name}.wav", np.pad(tone, around), 16_000)
    names = ["bare", "padded"]
    files = [str(tmp_path / f"{name}.wav") for name in names]
    rows = Dataset.from_dict({"audio": files, "text": names, "utterance_id": names})
    for pipe.processor.skip_silence, longer in ((False, 2.0), (True, 0.3)):  # seconds; of silence the margins remain
        bare, padded = (len(row) / 12 * 0.04 for row in encode_corpus(rows, pipe.model, pipe.processor)["speech"])
        assert padded - bare == pytest.approx(longer, abs=0.09)  # frames of 40 ms


def test_states_are_found_again_whatever_was_tokenised_before(run):
    pipe = pipeline(TASK, model=str(run))
    rows = Dataset.from_dict({"audio": [str(run / "config.json")], "text": ["a"], "utterance_id": ["a"]})
    fresh = _key(rows, pipe.model, pipe.processor)
    pipe.processor.tokenizer(["a", "a b c"], padding=True, truncation=True, max_length=2)
    assert _key(rows, pipe.model, pipe.processor) == fresh
    pipe.processor.tokenizer.add_tokens("unheard")
    assert _key(rows, pipe.model, pipe.processor) != fresh


def test_more_texts_are_encoded_as_those_of_clips_are(corpus, run, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    pipe = pipeline(TASK, model=str(run))
    texts = ["hurry up now", "", "all is quiet again", "a slow day"]
    clips = {"audio": [str(corpus / "ada_calm_0.wav")] * 4, "utterance_id": list("abcd")}
    rows = encode_corpus(Dataset.from_dict({**clips, "text": texts}), pipe.model, pipe.processor)
    more = encode_texts(texts, pipe.model, pipe.processor)
    assert len(more) == 4
    for index, states in enumerate(rows["text"]):
        assert more[index]["text_states"].flatten().tolist() == pytest.approx(states, abs=2e-3)
        assert more[index]["attention_mask"].tolist() == [1] * len(more[index]["text_states"])


def test_a_training_on_states_draws_more_texts(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(corpus / "cache"))
    made = []
    monkeypatch.setattr("modeling_drkf.experiments.run.Run._report", lambda run: made.append(run))
    (tmp_path / "lines.csv").write_text("text,label\n" + "all is quiet again,calm\n" * 500)
    options = ["--redraw_texts", "true", "--more_texts", tmp_path / "lines.csv", "--max_steps", 2]
    assert train(corpus, tmp_path / "out", "--fold", "bob", *options) == 0
    [run] = made
    [expected] = encode_texts(["all is quiet again"], run.model, run.processor)
    labels, samples = run.inputs.parts["train"].labels, run.training_set
    calm = [samples[int(index)] for index in (labels == run.corpus.label_names.index("calm")).nonzero()]
    given = [sample["text_states"] for sample in calm if sample["text_present"]]
    drawn = [
        states.shape == expected["text_states"].shape and torch.allclose(states, expected["text_states"], atol=2e-3)
        for states in given
    ]
    assert sum(drawn) > len(drawn) / 2


def test_copies_are_encoded_once_for_all_folds_and_babble_for_each(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    copies = ["--speeds", 0.8, 1.25, "--augment", "noise:0", "babble", "--max_steps", 2]
    folds = {}
    for fold in ("bob", "cleo"):
        assert train(corpus, tmp_path / fold, "--fold", fold, *copies) == 0
        folds[fold] = json.loads((tmp_path / fold / "fold.json").read_text())["folds"][0]
    files = (tmp_path / "cache" / "drkf-states").glob("*.arrow")
    kept = [Dataset.from_file(str(file)).to_pandas().set_index("utterance_id") for file in files]
    rows, clips = pandas.concat(kept), len(pandas.read_csv(corpus / "clips.csv"))
    trained = [frozenset(fold["train"]) for fold in folds.values()]
    assert sorted(map(len, kept)) == sorted([clips] * 4 + [len(train) for train in trained])
    name = "ada_calm_0.wav"
    lengths = [len(rows.speech[row]) for row in (f"{name} at speed 0.8", name, f"{name} at speed 1.25")]
    assert lengths[0] > lengths[1] > lengths[2]
    assert rows.speaker[f"{name} at speed 0.8"] == "ada at speed 0.8"
    assert np.abs(rows.statistics[name] - rows.statistics[f"{name} with noise:0"]).max() > 1e-3
    for part in (part for part in kept if "babble" in part):
        assert frozenset(part.index.str.removesuffix(" with babble:0:20")) in trained
        beside = {voice["audio"].rsplit("/")[-1] for voices in part.babble for voice in voices}
        assert any(beside <= train for train in trained)  # no voice of a validation or test part


def test_only_the_training_part_has_copies(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    made = []
    monkeypatch.setattr("modeling_drkf.experiments.run.Run._report", lambda run: made.append(run))
    copies = ["--augment", "noise", "telephone", "--max_steps", 2]
    assert train(corpus, tmp_path / "out", "--fold", "bob", *copies) == 0
    (run,) = made
    parts = run.inputs.parts
    assert len(parts["train"]) == 3 * len(run.fold.train)
    for part in ("validation", "test"):
        assert set(parts[part].ids) == set(getattr(run.fold, part))
        assert "condition" not in parts[part].rows.column_names
    torch.testing.assert_close(
        run.model.drkf.modality_encoding.speech_standardization.usual[0], parts["train"].statistics().mean(0)
    )


def test_scores_are_given_without_and_with_the_speakers_other_clips(corpus, run):
    metrics = json.loads((run / "metrics.json").read_text())
    assert {"test", "test_by_speaker", "validation", "validation_by_speaker"} <= metrics.keys()
    assert metrics["options"]["speaker_statistics"] == 0.5
    plain, told = (pandas.read_csv(run / f"{part}_predictions.csv") for part in ("test", "test_by_speaker"))
    assert (plain.probability_calm - told.probability_calm).abs().max() > 1e-3
    assert plain.utterance_id.equals(told.utterance_id)


def test_evaluate_scores_clips_beside_their_speakers_other_clips_as_training_did(corpus, run, tmp_path):
    options = ["evaluate", "--model", str(run), "--manifest", str(corpus / "clips.csv"), "--batch-size", "3"]
    shown = CliRunner().invoke(app, [*options, "--by-speaker", "--output-dir", str(tmp_path)])
    assert shown.exit_code == 0, shown.output
    assert "each beside its speaker's other clips" in " ".join(shown.output.split())
    trained, found = (json.loads((folder / "metrics.json").read_text()) for folder in (run, tmp_path))
    for part in ("test", "test_by_speaker"):
        assert found[part]["unweighted_accuracy"] == trained[part]["unweighted_accuracy"]
        assert found[part]["calibration"]["brier_score"] == pytest.approx(
            trained[part]["calibration"]["brier_score"], abs=5e-3
        )
    assert found["test"]["calibration"]["brier_score"] != found["test_by_speaker"]["calibration"]["brier_score"]
    withheld = CliRunner().invoke(app, [*options, "--by-speaker", "--modality", "text"])
    assert "--by-speaker: --modality text withholds the voices" in " ".join(withheld.output.split())


def test_the_pipeline_answers_by_the_speakers_other_clips_as_training_scored_it(corpus, run):
    table = pandas.read_csv(run / "test_by_speaker_predictions.csv").set_index("utterance_id")
    texts = pandas.read_csv(corpus / "clips.csv").set_index("audio").text
    pipe = pipeline(TASK, model=str(run))
    for name in table.index[:2]:
        others = [str(corpus / other) for other in table.index if other != name]
        answer = pipe({"audio": str(corpus / name), "text": texts[name]}, speaker=others)
        scores = {item["label"]: item["score"] for item in answer["scores"]}
        assert scores["calm"] == pytest.approx(table.probability_calm[name], abs=5e-3)
        kept = pipe.speaker(others)
        assert kept.shape == (2, 3, 12)
        assert pipe({"audio": str(corpus / name), "text": texts[name]}, speaker=kept) == answer
    with pytest.raises(InputError, match="at least one"):
        pipe(str(corpus / name), speaker=[])
    with pytest.raises(OptionError, match="gives"):
        pipe(str(corpus / name), speaker=np.zeros(3))


@pytest.mark.parametrize("trained", [False, True], ids=["frozen", "of encoders that train, at the start"])
def test_what_is_usual_comes_from_the_training_part_alone(corpus, run, tmp_path, monkeypatch, trained):
    if trained:
        monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(corpus / "cache"))
        run, fields = tmp_path / "out", ["--drkf", '{"speech_statistics": false}']
        thawed = ["--freeze_speech_encoder", "false", "--freeze_text_encoder", "false", "--speaker_statistics", "0"]
        assert train(corpus, run, "--fold", "bob", *thawed, *fields) == 0
    usual = AutoModelForAudioClassification.from_pretrained(run).drkf.modality_encoding.speech_standardization.usual
    encoder = Wav2Vec2Model.from_pretrained(corpus / "speech").eval()
    fold = json.loads((run / "fold.json").read_text())["folds"][0]
    pipe = pipeline(TASK, model=str(run))
    statistics = []
    for name in fold["train"]:
        wave = torch.from_numpy(pipe.processor.load_waveform(str(corpus / name)))[None]
        with torch.no_grad():
            states = encoder(wave).last_hidden_state[0]
        statistics.append(torch.stack([states.mean(0), states.std(0, correction=0), states.amax(0)]))
    stacked = torch.stack(statistics)
    torch.testing.assert_close(usual[0], stacked.mean(0), atol=1e-4, rtol=0)
    torch.testing.assert_close(usual[1], stacked.std(0, correction=0), atol=1e-4, rtol=0)
    now = AutoModelForAudioClassification.from_pretrained(run).drkf.modality_encoding.speech_encoder.state_dict()
    assert trained is not all(torch.equal(now[name], weight) for name, weight in encoder.state_dict().items())


def test_a_sample_never_knows_itself_and_draws_anew_each_epoch():
    class Rows:
        rows = {"speaker": ["a", "a", "a", None, "b"]}
        clips = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(0))

        def __len__(self):
            return 5

        def __getitem__(self, index):
            return {"number": index}

        def statistics(self):
            return self.clips

    usual = torch.stack([torch.zeros(3, 2), torch.ones(3, 2)])
    told = SpeakerStatistics(Rows(), usual)
    torch.testing.assert_close(told[0]["speaker_statistics"], speaker_moments(Rows.clips[[1, 2]], usual))
    for alone in (3, 4):
        assert torch.equal(told[alone]["speaker_statistics"], usual)
    half = SpeakerStatistics(Rows(), usual, 0.5)
    drawn = []
    for epoch in range(40):
        half.set_epoch(epoch)
        drawn.append(not torch.equal(half[1]["speaker_statistics"], usual))
    assert 10 < sum(drawn) < 30


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--freeze_text_encoder", "false"], "--speaker-statistics needs encoders that are frozen"),
        (["--drkf", '{"standardize_states": false}'], "--speaker-statistics needs"),
        (["--speaker_statistics", "1.5"], "is a share in"),
        (["--speeds", "1.1", "1"], "1 is trained on anyway"),
        (["--more_texts", "lines.csv"], "--more-texts needs --redraw-texts true"),
        (["--redraw_texts", "true", "--more_texts", "none.csv"], "none.csv: no such file"),
    ],
)
def test_options_that_cannot_go_together_are_refused(corpus, tmp_path, capsys, options, message):
    try:
        status = train(corpus, tmp_path / "out", *options)
    except SystemExit as stop:
        status = stop.code
    assert status in (1, 2)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("modality", ["speech", "text"])
def test_a_half_alone_trains_on_states_too(corpus, tmp_path, monkeypatch, modality):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(corpus / "cache"))
    assert train(corpus, tmp_path / "out", "--modality", modality, "--drkf", '{"modality_dropout": 0.0}') == 0
    predictions = pandas.read_csv(tmp_path / "out" / "test_predictions.csv")
    by_text = predictions.groupby(predictions.utterance_id.str.extract(r"_(\w+)_")[0]).probability_calm.nunique()
    assert predictions.consistency.isna().all()
    assert by_text.max() > 1 if modality == "speech" else by_text.max() <= 2


def test_the_states_of_all_layers_of_an_unpadded_whisper_are_kept(corpus, tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    sizes = {"d_model": 12, "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "num_mel_bins": 16}
    sizes |= {"decoder_layers": 1, "decoder_attention_heads": 2, "decoder_ffn_dim": 8}
    WhisperModel(WhisperConfig(encoder_layers=3, **sizes)).save_pretrained(tmp_path / "speech")
    WhisperFeatureExtractor(feature_size=16).save_pretrained(tmp_path / "speech")
    fields = {"speech_layers": 2, "speech_layer_sum": True, "unpadded_speech": True}
    options = ["--audio_encoder", tmp_path / "speech", "--fold", "bob", "--drkf", json.dumps(fields)]
    assert train(corpus, tmp_path / "out", *options) == 0
    (cache,) = (tmp_path / "cache" / "drkf-states").glob("*.arrow")
    rows = Dataset.from_file(str(cache))
    pipe = pipeline(TASK, model=str(tmp_path / "out"))
    encoding = pipe.model.drkf.modality_encoding
    assert encoding.layer_sum.weights.std() > 1e-3
    clip = pipe.processor(audio=rows["audio"][0], return_tensors="pt")
    frames = (clip["input_values"].shape[2] + 1) // 2
    assert frames < 100
    assert len(rows["speech"][0]) == 3 * 12 * -(-frames // 4)
    assert len(rows["statistics"][0]) == 3 * 3 * 12
    table = pandas.read_csv(tmp_path / "out" / "test_predictions.csv")
    texts = pandas.read_csv(corpus / "clips.csv").set_index("audio").text
    answers = pipe([{"audio": str(corpus / name), "text": texts[name]} for name in table.utterance_id])
    for row, answer in zip(table.itertuples(), answers, strict=True):
        scores = {item["label"]: item["score"] for item in answer["scores"]}
        assert scores["calm"] == pytest.approx(row.probability_calm, abs=5e-3)
    assert table.probability_calm.std() > 0.01
    assert train(corpus, tmp_path / "next", *options[:-1], json.dumps(fields | {"speech_layers": 1})) == 0
    assert len(list((tmp_path / "cache" / "drkf-states").glob("*.arrow"))) == 2
