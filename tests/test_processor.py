"""DRKFProcessor with the three kinds of feature extractor, its length policies, and its checkpoint."""

import io
import json
import logging
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from datasets import Audio, Dataset
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import (
    ASTFeatureExtractor,
    PreTrainedTokenizerFast,
    SeamlessM4TFeatureExtractor,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)

from processing.errors_drkf import AudioError
from processing.processing_drkf import DRKFProcessor

RATE = 16_000
EXTRACTORS = {
    "raw": lambda: Wav2Vec2FeatureExtractor(return_attention_mask=False),
    "log_mel": lambda: SeamlessM4TFeatureExtractor(feature_size=20, num_mel_bins=20),
    "joined_log_mel": lambda: SeamlessM4TFeatureExtractor(feature_size=20, num_mel_bins=20, stride=4),
    "window": lambda: WhisperFeatureExtractor(feature_size=8, chunk_length=2),
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "i", "am", "so", "happy"]


def word_tokenizer(special_tokens: bool = True, **kwargs) -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    words.pre_tokenizer = Whitespace()
    if special_tokens:
        words.post_processor = TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    return PreTrainedTokenizerFast(tokenizer_object=words, **({"pad_token": "[PAD]", "unk_token": "[UNK]"} | kwargs))


def noise(samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, samples).astype(np.float32)


@pytest.fixture(params=EXTRACTORS)
def processor(request: pytest.FixtureRequest) -> DRKFProcessor:
    return DRKFProcessor(EXTRACTORS[request.param](), word_tokenizer())


@pytest.fixture
def raw_processor() -> DRKFProcessor:
    return DRKFProcessor(EXTRACTORS["raw"](), word_tokenizer())


# ---- outputs -------------------------------------------------------------------------------------------------------


def test_raw_batch_is_normalised_padded_and_masked(raw_processor):
    clips = [noise(1000), noise(800, seed=1)]
    batch = raw_processor(audio=clips, text=["i am happy", ""], sampling_rate=RATE, return_tensors="pt")
    assert list(batch) == raw_processor.model_input_names
    assert {key: value.dtype for key, value in batch.items()} == {
        "input_values": torch.float32,
        "audio_attention_mask": torch.int64,
        "input_ids": torch.int64,
        "attention_mask": torch.int64,
    }
    for row, mask, clip in zip(batch["input_values"], batch["audio_attention_mask"], clips, strict=True):
        expected = (clip - clip.mean()) / np.sqrt(clip.var() + 1e-7)
        np.testing.assert_allclose(row[: len(clip)], expected, atol=1e-5)
        assert not row[len(clip) :].any()
        assert mask.tolist() == [1] * len(clip) + [0] * (1000 - len(clip))
    assert batch["input_ids"].tolist() == [[2, 4, 5, 7, 3], [2, 3, 0, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1] * 5, [1, 1, 0, 0, 0]]


def test_log_mel_and_window_features_are_those_of_their_extractor():
    clip = noise(8000)
    for kind, key in (("log_mel", "input_features"), ("window", "input_features")):
        extractor = EXTRACTORS[kind]()
        expected = extractor([clip], sampling_rate=RATE, return_attention_mask=True, return_tensors="np")
        batch = DRKFProcessor(extractor, word_tokenizer())(audio=clip, sampling_rate=RATE, return_tensors="np")
        np.testing.assert_array_equal(batch["input_values"], expected[key])
        np.testing.assert_array_equal(batch["audio_attention_mask"], expected["attention_mask"])
    assert batch["input_values"].shape == (1, 8, 200)  # the whole window, half of it valid
    assert batch["audio_attention_mask"].sum() == 50


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 20_000), min_size=2, max_size=4), kind=st.sampled_from(sorted(EXTRACTORS)))
@example(lengths=[14_724, 22_523], kind="joined_log_mel")  # 90 frames: two are left over in groups of four
def test_a_sample_is_the_same_alone_and_in_a_batch(lengths, kind):
    processor = DRKFProcessor(EXTRACTORS[kind](), word_tokenizer())
    clips = [noise(length, seed=i) for i, length in enumerate(lengths)]
    texts = ["so " * i for i in range(len(clips))]
    batch = processor(audio=clips, text=texts, sampling_rate=RATE, return_tensors="pt")
    for i, (clip, text) in enumerate(zip(clips, texts, strict=True)):
        alone = processor(audio=clip, text=text, sampling_rate=RATE, return_tensors="pt")
        for values, mask in (("input_values", "audio_attention_mask"), ("input_ids", "attention_mask")):
            in_batch, valid = batch[values][i], alone[mask][0].sum()
            assert batch[mask][i].tolist() == alone[mask][0].tolist() + [0] * (
                len(batch[mask][i]) - alone[mask].shape[1]
            )
            if kind == "window" and values == "input_values":
                torch.testing.assert_close(in_batch, alone[values][0], rtol=0, atol=1e-6)
            else:
                torch.testing.assert_close(in_batch[:valid], alone[values][0][:valid], rtol=0, atol=1e-6)


def test_audio_only_text_only_and_plain_lists(processor):
    speech = processor(audio=noise(4000), sampling_rate=RATE)
    assert list(speech) == ["input_values", "audio_attention_mask"]
    assert speech["audio_attention_mask"][0].dtype == np.int64
    text = processor(text="so happy")
    assert text.data == {"input_ids": [[2, 6, 7, 3]], "attention_mask": [[1, 1, 1, 1]]}


def test_ragged_without_padding(raw_processor):
    ragged = raw_processor(audio=[noise(900), noise(700)], text=["so", ""], sampling_rate=RATE, padding=False)
    assert [len(row) for row in ragged["input_values"]] == [900, 700]
    assert ragged["input_ids"] == [[2, 6, 3], [2, 3]]


@pytest.mark.parametrize("samples", [1, 100, 640])
def test_silence_and_very_short_clips_are_finite_and_have_valid_frames(processor, samples):
    for clip in (np.zeros(samples), noise(samples)):
        batch = processor(audio=[clip, noise(5000)], sampling_rate=RATE, return_tensors="pt")
        assert batch["input_values"].isfinite().all()
        assert batch["audio_attention_mask"][0].sum() == {1: 640, 20: 3, 8: 4}[_bins(batch, processor)]


def _bins(batch, processor) -> int:
    """1 for raw samples, else the number of mel bins."""
    return 1 if batch["input_values"].ndim == 2 else processor.feature_extractor.feature_size


def test_every_kind_of_clip_in_one_batch(raw_processor, tmp_path):
    samples = np.int16(noise(2000) * 32767)
    soundfile.write(tmp_path / "clip.wav", samples, RATE)
    data = (tmp_path / "clip.wav").read_bytes()
    rows = Dataset.from_dict({"audio": [str(tmp_path / "clip.wav")]}).cast_column("audio", Audio(decode=False))
    clips = [
        tmp_path / "clip.wav",
        str(tmp_path / "clip.wav"),
        data,
        io.BytesIO(data),
        {"array": samples, "sampling_rate": RATE},
        samples,
        torch.from_numpy(samples),
        np.stack([samples, samples]),
        (samples / 32768).tolist(),
        rows["audio"][0],
    ]
    batch = raw_processor(audio=clips, sampling_rate=RATE, return_tensors="pt")["input_values"]
    for row in batch[1:]:
        torch.testing.assert_close(row, batch[0], rtol=0, atol=1e-6)
    column = raw_processor(audio=rows["audio"], text=Dataset.from_dict({"text": ["so"]})["text"], return_tensors="pt")
    torch.testing.assert_close(column["input_values"], batch[:1], rtol=0, atol=1e-6)
    one_clip = raw_processor(audio=clips[8], sampling_rate=RATE, return_tensors="pt")
    assert one_clip["input_values"].shape == (1, 2000)


def test_strings_of_numpy_are_texts_and_paths(processor, tmp_path):
    soundfile.write(tmp_path / "a.wav", np.linspace(-0.1, 0.1, 2_000), 16_000, subtype="FLOAT")
    texts, paths = np.array(["oh no", "never mind"]), np.array([str(tmp_path / "a.wav")] * 2)
    found = processor(audio=list(paths), text=list(texts), return_tensors="np")
    expected = processor(audio=[str(path) for path in paths], text=["oh no", "never mind"], return_tensors="np")
    for name, values in expected.items():
        np.testing.assert_array_equal(found[name], values)


def test_text_without_any_token_keeps_one_valid_position():
    processor = DRKFProcessor(EXTRACTORS["raw"](), word_tokenizer(special_tokens=False))
    batch = processor(text=["", "  ", "so happy"], return_tensors="pt")
    assert batch["input_ids"].tolist() == [[0, 0], [0, 0], [6, 7]]
    assert batch["attention_mask"].tolist() == [[1, 0], [1, 0], [1, 1]]


def test_text_options_and_a_text_that_spells_out_padding(raw_processor):
    padded = raw_processor(text=["so", "i am"], text_kwargs={"padding": "max_length", "max_length": 6})
    assert padded["input_ids"] == [[2, 6, 3, 0, 0, 0], [2, 4, 5, 3, 0, 0]]
    assert padded["attention_mask"] == [[1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 0, 0]]
    assert raw_processor(text="so", text_kwargs={"pad_to_multiple_of": 4, "padding_side": "left"}).data == {
        "input_ids": [[0, 2, 6, 3]],
        "attention_mask": [[0, 1, 1, 1]],
    }
    assert raw_processor(text="so [PAD]", text_kwargs={"add_special_tokens": False})["attention_mask"] == [[1, 1]]


def test_lengths_given_flat_are_the_texts_and_nested_the_audios(raw_processor):
    inputs = {"audio": noise(2000), "text": "so", "sampling_rate": RATE, "return_tensors": "pt"}
    flat = raw_processor(**inputs, padding="max_length", max_length=9, truncation=True)
    assert (flat["input_ids"].shape, flat["input_values"].shape) == ((1, 9), (1, 2000))
    cut = raw_processor(**inputs, audio_kwargs={"max_length": 1500, "truncation": True})
    assert (cut["input_ids"].shape, cut["input_values"].shape) == ((1, 3), (1, 1500))
    padded = raw_processor(**inputs, audio_kwargs={"padding": "max_length", "max_length": 3000})
    assert padded["input_values"].shape == (1, 3000)
    assert padded["audio_attention_mask"].sum() == 2000
    both = raw_processor(
        audio=[noise(2000), noise(900)], text=["so", ""], sampling_rate=RATE, return_tensors="pt",
        audio_kwargs={"padding": "max_length", "max_length": 1000, "truncation": True},
        text_kwargs={"padding": "max_length", "max_length": 7},
    )  # fmt: skip
    assert (both["input_ids"].shape, both["input_values"].shape) == ((2, 7), (2, 1000))
    assert both["audio_attention_mask"].sum(-1).tolist() == [1000, 900]


def test_the_tokenizers_saved_options_are_the_defaults(tmp_path):
    word_tokenizer(padding="max_length", max_length=8).save_pretrained(tmp_path)
    processor = DRKFProcessor(EXTRACTORS["raw"](), PreTrainedTokenizerFast.from_pretrained(tmp_path))
    inputs = processor(audio=noise(900), text="i am so happy", sampling_rate=RATE)
    assert inputs["input_ids"] == [[2, 4, 5, 6, 7, 3, 0, 0]]
    assert len(inputs["input_values"][0]) == 900
    assert len(processor(text="so " * 20)["input_ids"][0]) == 8
    assert processor(text="so", padding=True)["input_ids"] == [[2, 6, 3]]
    assert len(processor(text="so " * 20, max_length=4)["input_ids"][0]) == 4
    limited = DRKFProcessor(processor.feature_extractor, processor.tokenizer, max_text_tokens=5)
    assert len(limited(text="so " * 20)["input_ids"][0]) == 5


def test_threads_share_a_processor(raw_processor):
    def token_count(words: int) -> int:
        return len(raw_processor(text="so " * words)["input_ids"][0])

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(token_count, range(200))) == [words + 2 for words in range(200)]


def test_decoding_is_the_tokenizers(raw_processor):
    assert raw_processor.decode([6, 7]) == "so happy"
    assert raw_processor.batch_decode([[4], [7]]) == ["i", "happy"]


# ---- length policies -----------------------------------------------------------------------------------------------


def test_long_clip_is_cut_with_one_warning_that_names_it(caplog, tmp_path):
    soundfile.write(tmp_path / "speech.wav", noise(RATE), RATE, subtype="FLOAT")
    processor = DRKFProcessor(Wav2Vec2FeatureExtractor(do_normalize=False), word_tokenizer(), max_audio_seconds=0.25)
    with caplog.at_level(logging.WARNING):
        batch = processor(audio=[noise(4000), tmp_path / "speech.wav"], sampling_rate=RATE, return_tensors="np")
    np.testing.assert_array_equal(batch["input_values"], np.stack([noise(4000), noise(RATE)[:4000]]))
    assert [record.getMessage() for record in caplog.records] == [
        f"sample 2 ({tmp_path / 'speech.wav'}): 1.00 s of audio, longer than the limit of 0.25 s; the end is cut off"
    ]


def test_of_a_cut_clip_no_more_is_decoded_than_is_used(tmp_path):
    samples = noise(60 * RATE)
    samples[-1] = np.nan  # decoding to the end would tell
    soundfile.write(tmp_path / "long.wav", samples, RATE, subtype="FLOAT")
    processor = DRKFProcessor(Wav2Vec2FeatureExtractor(do_normalize=False), word_tokenizer(), max_audio_seconds=0.25)
    batch = processor(audio=tmp_path / "long.wav", return_tensors="np")
    np.testing.assert_array_equal(batch["input_values"], samples[None, :4000])


def test_long_clip_is_an_error_where_asked():
    processor = DRKFProcessor(EXTRACTORS["raw"](), word_tokenizer(), max_audio_seconds=0.5, long_audio="error")
    processor(audio=noise(8000), sampling_rate=RATE)
    with pytest.raises(AudioError, match=r"dialogue 7: 0\.75 s of audio, longer than the limit of 0\.50 s"):
        processor(audio=[noise(12_000)], sampling_rate=RATE, sample_names=["dialogue 7"])


@pytest.mark.parametrize("max_audio_seconds", [None, 30.0])
def test_a_fixed_window_is_a_limit_of_its_own(caplog, max_audio_seconds):
    extractor, clip = EXTRACTORS["window"](), noise(5 * RATE)
    processor = DRKFProcessor(extractor, word_tokenizer(), max_audio_seconds=max_audio_seconds)
    with caplog.at_level(logging.WARNING):
        batch = processor(audio=clip, sampling_rate=RATE, return_tensors="np")
    assert "5.00 s of audio, longer than the limit of 2.00 s" in caplog.text
    whole_window = processor(audio=clip[: 2 * RATE], sampling_rate=RATE, return_tensors="np")
    np.testing.assert_array_equal(batch["input_values"], whole_window["input_values"])
    assert batch["audio_attention_mask"].all()
    with pytest.raises(AudioError, match=r"limit of 2\.00 s"):
        DRKFProcessor(extractor, word_tokenizer(), long_audio="error")(audio=clip, sampling_rate=RATE)


def test_everything_is_kept_without_a_limit(raw_processor, caplog):
    with caplog.at_level(logging.WARNING):
        assert raw_processor(audio=noise(60 * RATE), sampling_rate=RATE)["input_values"][0].shape == (60 * RATE,)
    assert not caplog.records


def test_long_text_is_truncated_with_a_warning(raw_processor, caplog):
    processor = DRKFProcessor(EXTRACTORS["raw"](), word_tokenizer(), max_text_tokens=4)
    with caplog.at_level(logging.WARNING):
        batch = processor(text=["so happy", "i am so happy"])
        assert processor(text="i am so happy", text_kwargs={"truncation": False})["input_ids"] == [[2, 4, 5, 6, 7, 3]]
        assert processor(text="i am so happy", max_length=3)["input_ids"] == [[2, 4, 3]]
    assert batch["input_ids"] == [[2, 6, 7, 3], [2, 4, 5, 3]]
    assert [record.getMessage() for record in caplog.records] == [
        "sample 2: a text of 6 tokens is truncated to 4",
        "sample 1: a text of 6 tokens is truncated to 3",
    ]


@pytest.mark.parametrize(("stated", "limit"), [({}, 512), ({"model_max_length": 40}, 40)])
def test_default_text_limit_is_what_the_tokenizer_states(stated, limit):
    processor = DRKFProcessor(EXTRACTORS["raw"](), word_tokenizer(**stated))
    assert len(processor(text="so " * 600)["input_ids"][0]) == limit


# ---- checkpoint ----------------------------------------------------------------------------------------------------


def test_saved_and_reloaded_processor_gives_equal_outputs(processor, tmp_path):
    processor = DRKFProcessor(processor.feature_extractor, processor.tokenizer, 1.5, "error", 800, 4)
    inputs = {"audio": [noise(9000), noise(50)], "text": ["i am so happy", ""], "sampling_rate": RATE}
    before = processor(**inputs, return_tensors="pt")
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "processor_config.json").read_text())
    assert [saved[key] for key in ("max_audio_seconds", "long_audio", "min_audio_samples", "max_text_tokens")] == [
        1.5,
        "error",
        800,
        4,
    ]
    reloaded = DRKFProcessor.from_pretrained(tmp_path)
    after = reloaded(**inputs, return_tensors="pt")
    for key in reloaded.model_input_names:
        torch.testing.assert_close(after[key], before[key], rtol=0, atol=0)
    assert DRKFProcessor.from_pretrained(tmp_path, max_audio_seconds=None).max_audio_seconds is None


def test_a_tokenizer_saved_after_truncation_cuts_neither_audio_nor_text(processor, tmp_path):
    processor(text="i am so happy", max_length=3)
    processor.save_pretrained(tmp_path)
    reloaded = DRKFProcessor.from_pretrained(tmp_path)
    inputs = {"audio": noise(9000), "text": "i am so happy", "sampling_rate": RATE, "return_tensors": "pt"}
    for key, expected in processor(**inputs).items():
        torch.testing.assert_close(reloaded(**inputs)[key], expected, rtol=0, atol=0)
    assert reloaded(**inputs)["input_ids"].shape == (1, 6)
    cut_text = reloaded(**inputs, max_length=3, truncation=True)
    torch.testing.assert_close(cut_text["input_values"], processor(**inputs)["input_values"])


def test_remote_code_loads_and_runs_without_soundfile_and_soxr(raw_processor, tmp_path, monkeypatch):
    monkeypatch.setattr(DRKFProcessor, "_auto_class", "AutoProcessor")
    raw_processor.save_pretrained(tmp_path / "checkpoint")
    script = """
import sys
sys.modules.update(soundfile=None, soxr=None)  # importing them fails
from transformers import AutoProcessor
processor = AutoProcessor.from_pretrained("checkpoint", trust_remote_code=True)
batch = processor(audio={"array": [0.5, -0.5] * 400, "sampling_rate": 16_000}, text="so happy", return_tensors="pt")
print(type(processor).__module__, batch["input_values"].shape, batch["input_ids"].tolist())
try:
    processor(audio=[0.5] * 800, sampling_rate=8_000)
except ImportError as error:
    print(error)
"""
    environment = {"HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    first, second = done.stdout.strip().splitlines()
    assert first.startswith("transformers_modules.")
    assert first.endswith("torch.Size([1, 800]) [[2, 6, 7, 3]]")
    assert second == "resampling 8000 Hz to 16000 Hz needs soxr: pip install soxr"


# ---- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kwargs", "error", "message"),
    [
        ({}, ValueError, "nothing to process"),
        ({"audio": []}, ValueError, "audio=[] holds no samples"),
        ({"text": []}, ValueError, "text=[] holds no samples"),
        ({"text": ["so", None]}, ValueError, "sample 2: the text must be a str, not NoneType"),
        ({"text": 3}, ValueError, "sample 1: the text must be a str, not int"),
        ({"text": [["so", "happy"]]}, ValueError, "sample 1: the text must be a str, not list"),
        ({"audio": [noise(9), None]}, AudioError, "sample 2: NoneType"),
        ({"audio": [noise(9), noise(9) * np.nan]}, AudioError, "sample 2: NaN"),
        ({"audio": ["gone.wav"]}, AudioError, "sample 1 (gone.wav): no such file"),
        ({"audio": np.zeros((2, 900)), "text": ["so", "so"]}, ValueError, "{'audio': 1, 'text': 2}"),
        ({"text": ["so"], "sample_names": ["a", "b"]}, ValueError, "{'text': 1, 'sample_names': 2}"),
        ({"audio": noise(9), "audio_kwargs": {"max_len": 3}}, ValueError, "unknown audio options ['max_len']"),
    ],
)
def test_bad_input_is_refused(raw_processor, kwargs, error, message):
    with pytest.raises(error) as caught:
        raw_processor(sampling_rate=RATE, **kwargs)
    assert message in str(caught.value)


@pytest.mark.filterwarnings("ignore:Degrees of freedom")
def test_clip_without_finite_features_is_refused():
    processor = DRKFProcessor(EXTRACTORS["log_mel"](), word_tokenizer(), min_audio_samples=400)
    with (
        np.errstate(all="ignore"),
        pytest.raises(AudioError, match=r"sample 2: SeamlessM4T.* raise min_audio_samples=400"),
    ):
        processor(audio=[noise(2000), noise(400)], sampling_rate=RATE)


@pytest.mark.filterwarnings("ignore:At least one mel filter")
def test_extractor_without_a_mask_is_refused():
    processor = DRKFProcessor(ASTFeatureExtractor(), word_tokenizer())
    with pytest.raises(ValueError, match="ASTFeatureExtractor returns no mask"):
        processor(audio=noise(RATE), sampling_rate=RATE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_audio_seconds": 0}, "max_audio_seconds"),
        ({"max_audio_seconds": float("nan")}, "max_audio_seconds"),
        ({"max_audio_seconds": True}, "max_audio_seconds"),
        ({"max_audio_seconds": "25"}, "max_audio_seconds"),
        ({"long_audio": "split"}, "long_audio"),
        ({"min_audio_samples": 0}, "min_audio_samples"),
        ({"min_audio_samples": 1.5}, "min_audio_samples"),
        ({"min_audio_samples": 700, "max_audio_seconds": 0.01}, "exceeds"),
        ({"max_text_tokens": 2}, "max_text_tokens"),
        ({"max_text_tokens": 9.0}, "max_text_tokens"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        DRKFProcessor(EXTRACTORS["raw"](), word_tokenizer(), **options)


def test_halves_that_cannot_pad_are_refused():
    with pytest.raises(ValueError, match="no padding token"):
        DRKFProcessor(EXTRACTORS["raw"](), word_tokenizer(pad_token=None))
    with pytest.raises(ValueError, match="padded on the right"):
        DRKFProcessor(Wav2Vec2FeatureExtractor(padding_side="left"), word_tokenizer())


def test_real_clips_of_the_development_data(shared_data, processor):
    paths = sorted((shared_data / "nemo").rglob("*.flac"))[:4]
    batch = processor(audio=[Path(path) for path in paths], text=["so"] * 4, return_tensors="pt")
    assert batch["input_values"].isfinite().all()
    assert (batch["audio_attention_mask"].sum(-1) > 10).all()
