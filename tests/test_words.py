"""Words that a checkpoint cannot read, and what tables hold where there are none: the voice alone answers."""

import math
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from helpers.pipelines import RATE, WORDS, assert_same, clip, noise, pipe_of
from helpers.tiny import tiny_processor

from processing import MultimodalEmotionRecognitionPipeline
from processing.audio_drkf import load_audio
from processing.errors_drkf import AudioError, OptionError
from processing.explanation import explain


@pytest.fixture(scope="module")
def pipe() -> MultimodalEmotionRecognitionPipeline:
    return pipe_of(modality_dropout=0.2)


UNKNOWN = {
    "今天 天气 很好": "none of the words are known to this checkpoint",
    "guten tag so": "only 1 of 3 tokens of the words are known to this checkpoint",
}


@pytest.mark.parametrize("text", UNKNOWN)
def test_words_that_the_tokenizer_does_not_know_count_as_missing(pipe, text):
    answer, voice = pipe({"audio": clip(0.4), "text": text}), pipe(clip(0.4))
    assert answer.pop("warning") == f"{UNKNOWN[text]}: the words are not read"
    assert (answer.pop("text"), voice.pop("text")) == (text, None)
    assert_same(answer, voice)
    assert answer["consistency"] is answer["dominant_modality"] is answer["modality_shares"] is None
    alone = pipe({"text": text}, return_embeddings=True)
    assert alone["warning"].endswith("not read; there is neither voice nor words: no emotion is told")
    assert (alone["scores"], alone["embeddings"]) == ([], {"fused": None, "speech": None, "text": None})
    (piece,) = pipe({"audio": clip(0.4), "segments": [{"start": 0, "end": 0.4, "text": text}]})["timeline"]
    assert_same(piece["scores"], voice["scores"])
    assert (piece["text"], piece["consistency"]) == (text, None)
    assert_same([word.text for word in explain(pipe, clip(0.4), text).words], ["<s>", "</s>"])


def test_words_of_which_half_are_known_are_read(pipe):
    answer = pipe({"audio": clip(0.4), "text": "so happy guten tag"})
    assert "warning" not in answer
    assert answer["consistency"] is not None


def test_an_unprepared_checkpoint_says_so_of_words_that_are_not_read():
    answer = pipe_of()({"audio": clip(0.4), "text": "guten tag"})
    assert answer["warning"].endswith(
        "not read; no words were read: the answer rests on the voice alone, for which this checkpoint was not trained"
    )


@pytest.mark.parametrize("text", ["nan", "NaN", "None", "NULL", "<NA>", " n/a "])
def test_what_tables_write_where_there_is_no_text_is_no_word(pipe, text):
    answer, voice = pipe({"audio": clip(0.4), "text": text}), pipe(clip(0.4))
    assert answer["scores"] == voice["scores"]
    assert answer["warning"] == (
        f"the text {text.strip()!r} is what tables write where there are no words: it is not read"
    )
    assert pipe({"audio": clip(0.4), "text": "nan so happy"})["scores"] != voice["scores"]


def test_words_are_transcribed_where_a_table_says_that_there_are_none(pipe):
    transcriber = {"transcriber": lambda audio: WORDS}
    expected = pipe({"audio": clip(0.4), "text": WORDS})
    assert_same(pipe({"audio": clip(0.4), "text": "None"}, **transcriber), expected)
    windows = pipe({"audio": clip(0.4), "text": "nan"}, chunk_length_s=0.2)["timeline"]
    assert_same(windows, pipe(clip(0.4), chunk_length_s=0.2)["timeline"])


def test_an_empty_cell_of_pandas_is_no_text(pipe):
    assert pipe({"audio": clip(0.4), "text": math.nan}) == pipe(clip(0.4))


def test_a_check_of_the_callers_decides_which_words_are_read(pipe):
    given = [{"audio": clip(0.4), "text": text} for text in (WORDS, "oh no")]
    first, second = pipe(given, can_read=lambda text: text != WORDS)
    assert_same(second, pipe(given[1]))
    assert first.pop("warning").endswith("says can_read: they are not read")
    assert_same(first, {**pipe(clip(0.4)), "text": WORDS})
    with pytest.raises(OptionError, match="can_read must be a function from a text to a bool, or None, not 'en'"):
        pipe(given, can_read="en")


class Samples:
    """As torchcodec gives them: iterable, with (channels, samples)."""

    def __init__(self, data: Any, rate: int = RATE):
        self.data, self.sample_rate = torch.as_tensor(data), rate

    def __iter__(self):
        return iter((self.data, self.sample_rate))


class Decoder:
    """As rows of datasets hold it."""

    def __init__(self, samples: Samples):
        self.samples = samples

    def get_all_samples(self) -> Samples:
        return self.samples

    def __getitem__(self, key: str) -> Any:
        return {"array": self.samples.data[0].numpy(), "sampling_rate": self.samples.sample_rate}[key]


def test_rows_of_datasets_are_read_whatever_decodes_them(pipe):
    stereo = Samples(np.stack([noise(0.3), noise(0.3, 1)]))
    plain = {"array": stereo.data.numpy(), "sampling_rate": RATE}
    expected = pipe({"audio": plain, "text": WORDS})
    for audio in (stereo, Decoder(stereo)):
        assert_same(pipe({"audio": audio, "text": WORDS, "label": 1}), expected)
        assert_same(pipe(audio), pipe(plain))
        assert_same(pipe([audio, {"audio": audio, "text": WORDS}])[1], expected)
        assert (load_audio(audio, RATE) == load_audio(plain, RATE)).all()
        for batch in (audio, [audio, audio]):
            inputs = tiny_processor()(audio=batch, text=[WORDS] * (len(batch) if isinstance(batch, list) else 1))
            assert_same(inputs["input_values"][0].tolist(), tiny_processor()(audio=plain)["input_values"][0].tolist())


def test_a_decoder_that_fails_is_named(pipe):
    broken = SimpleNamespace(get_all_samples=lambda: 1 / 0)
    with pytest.raises(AudioError, match=r"input 2: cannot be decoded \(division by zero\)"):
        pipe([clip(0.2), {"audio": broken}])


def test_a_dataset_of_rows_is_many_inputs(pipe):
    rows = Dataset.from_dict({"text": [WORDS, "oh no"]})
    assert [answer["text"] for answer in pipe(rows)] == [WORDS, "oh no"]
