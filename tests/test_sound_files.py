"""What a file holds is told before it is believed, alike of a path, of its bytes, by the doctor and by training."""

import io
import os
import threading

import numpy as np
import pytest
import soundfile
from helpers.bombs import silent_opus
from helpers.corpora import own_cache, write_table  # noqa: F401
from helpers.tiny import tiny_model, tiny_processor

from drkf_cli.evaluate import evaluate
from processing.audio_drkf import AudioStream, load_audio
from processing.corpora.registry import read_corpus
from processing.corpora.scan import scan_audio
from processing.errors_drkf import AudioError
from processing.pipeline_drkf import MultimodalEmotionRecognitionPipeline

RATE = 16_000


def tone(seconds=1.0, pitch=300):
    return 0.3 * np.sin(2 * np.pi * pitch * np.arange(round(seconds * RATE)) / RATE)


def encoded(samples, kind, rate=RATE, **options):
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, **options)
    return buffer.getvalue()


def with_announced_frames(mp3, frames):
    content = bytearray(mp3)
    at = max(content.find(b"Xing"), content.find(b"Info")) + 8
    content[at : at + 4] = frames.to_bytes(4, "big")
    return bytes(content)


def without_length(mp3):
    """The same MP3 without the frame that announces its length."""
    mark = max(mp3.find(b"Xing"), mp3.find(b"Info"))
    start = mp3.rfind(b"\xff", 0, mark)
    return mp3[mp3.index(mp3[start : start + 2], mark) :]


WAV, FLAC, OGG, MP3 = (encoded(tone(), kind) for kind in ("WAV", "FLAC", "OGG", "MP3"))
RF64 = encoded(tone(), "RF64", subtype="PCM_16")
OPUS = encoded(tone(3), "OGG", subtype="OPUS")
HEADER = WAV[: WAV.index(b"data")]
REFUSED = {
    "several.ogg": (OGG * 2, "holds several OGG recordings"),
    "several.opus": (OPUS + OGG, "holds several OGG recordings"),
    "several.flac": (FLAC * 3, "holds several FLAC recordings"),
    "several.mp3": (MP3 * 2, "holds several MP3 recordings"),
    "tagged.mp3": (MP3 + b"ID3\x04\0\0\0\0\0\x0a" + b"\0" * 10 + MP3, "holds several MP3 recordings"),
    "half.mp3": (MP3[: len(MP3) // 2], "truncated: 1098 bytes of sound where the header announces 2196"),
    "boasting.mp3": (with_announced_frames(MP3, 6000), "bytes cannot hold the 215.92 s that the header announces"),
    "half.opus": (OPUS[: len(OPUS) // 2], "truncated: the file ends within a page"),
    "half.wav": (WAV[: len(WAV) // 2], "truncated"),
    "killed.wav": (
        HEADER[:4] + b"\0" * 4 + HEADER[8:] + b"data" + b"\0" * 4 + b"\1" * 6400,
        "the header announces no sound, but 6400 more bytes follow: the recorder was stopped",
    ),
    "flushed.wav": (
        WAV[: len(HEADER) + 4] + (8000).to_bytes(4, "little") + WAV[len(HEADER) + 8 :],
        "the header announces 8000 bytes of sound, but 24000 more bytes follow",
    ),
    "several.wav": (WAV * 2, "cannot be decoded"),
    "several.rf64": (RF64 * 3, "holds several WAV recordings"),
    "killed.rf64": (RF64 + b"\1" * 6400, "the header announces 32000 bytes of sound, but 6400 more bytes follow"),
    "nothing.mp3": (b"", "the file is empty (0 bytes)"),
    "page.mp3": (b"\n<!DOCTYPE html><html>", "cannot be decoded (it is a web page, not the recording itself)"),
    "pointer.wav": (b"version https://git-lfs.github.com/spec/v1\n", "it is a pointer to a Git LFS file"),
    "film.mp3": (b"\0\0\0\x20ftypM4A \0\0", "cannot be decoded (it is MP4 or M4A); WAV, FLAC, OGG and MP3 are read"),
    "aac.mp3": (b"\xff\xf1\x50\x80" * 8, "cannot be decoded (it is AAC)"),
    "samples.raw": (b"\1\2" * 64, "cannot be decoded (its format is not recognised)"),
    "hidden.mp3": (b"ID3\x04\0\0\0\0\0\0" + encoded(tone(), "AIFF"), "cannot be decoded (it is AIFF)"),
    **{
        f"other.{kind.lower()}": (encoded(tone(0.1), kind), "cannot be decoded")
        for kind in soundfile.available_formats()
        if kind not in ("WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3", "RAW", "SD2")
    },
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("decode", [False, True])
def test_what_is_no_whole_recording_is_refused_alike_everywhere(tmp_path, name, decode):
    content, message = REFUSED[name]
    (tmp_path / name).write_bytes(content)
    reasons = []
    for source in (tmp_path / name, content, io.BytesIO(content), {"bytes": content, "path": name}):
        with pytest.raises(AudioError) as caught:
            load_audio(source, RATE)
        reasons.append(caught.value.reason)
    assert message in reasons[0]
    assert reasons == reasons[:1] * 4
    found = scan_audio([str(tmp_path / name)], progress=False, decode=decode)[str(tmp_path / name)]
    assert (found.kind, found.detail) == ("unreadable_audio", reasons[0])


@pytest.mark.parametrize("kind", ["WAV", "WAVEX", "RF64", "FLAC", "OGG", "MP3"])
def test_the_promised_formats_are_heard_whole(kind):
    assert len(load_audio(encoded(tone(), kind), RATE)) == RATE


@pytest.mark.parametrize(
    "rest", [b"\0" * 4096, b"LIST\x04\0\0\0INFO", b"id3 \x10\x27\0\0" + b"\7" * 10_000, b"TAG" + b"\7" * 9000, b"\7"]
)
def test_what_follows_the_sound_of_a_wav_without_being_sound_does_no_harm(rest):
    np.testing.assert_array_equal(load_audio(WAV + rest, RATE), load_audio(WAV, RATE))


def test_wav_that_holds_nothing_but_a_note_is_empty():
    note = b"LIST\x04\0\0\0INFO"
    with pytest.raises(AudioError, match=r"the audio is empty \(no samples\)"):
        load_audio(HEADER + b"data" + b"\0" * 4 + note, RATE)


def test_an_mp3_without_a_length_is_heard_to_its_end():
    """Guessed from its first frames, one that begins quietly lasts too long, and one that ends so is cut."""
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 8 * RATE)
    quiet, loud = np.zeros(8 * RATE), noise
    for samples in (np.concatenate([quiet, loud]), np.concatenate([loud, quiet])):
        whole = encoded(samples, "MP3", bitrate_mode="VARIABLE")
        bare = without_length(whole)
        tag = b"ID3\x04\0\0\0\0\0\x0a" + b"\0" * 10
        for content in (bare, tag + bare, tag + tag + bare):
            with AudioStream(content, RATE) as stream:
                assert stream.seconds is None
                heard = stream.read()
            assert len(heard) == pytest.approx(len(samples), abs=0.1 * RATE)
        both = load_audio(bare * 2, RATE)
        assert len(both) == pytest.approx(2 * len(samples), abs=0.2 * RATE)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 24_000, 32_000, 44_100])
@pytest.mark.parametrize("channels", [1, 2])
def test_an_mp3_without_a_length_is_read_at_any_rate(rate, channels):
    noise = np.random.default_rng(rate).uniform(-0.3, 0.3, (2 * rate, channels))
    whole = encoded(noise, "MP3", rate)
    samples = load_audio(without_length(whole), None)
    assert 2 * rate <= len(samples) <= 2 * rate + 2 * 1152  # the encoder's delay and padding stay
    assert len(load_audio(whole, None)) == 2 * rate


def test_no_more_of_a_bomb_is_decoded_than_is_heard():
    bomb = silent_opus(255, pages=20)
    assert len(bomb) < 12_000
    with AudioStream(bomb, RATE) as stream:
        assert (stream.seconds, len(stream.read(RATE))) == (600, RATE)
        assert stream.seconds_read < 1.1
    with pytest.raises(AudioError, match=r"255 channels, more than 8; convert it to mono"):
        load_audio(bomb, RATE, max_seconds=600)
    with pytest.raises(AudioError, match=r"600\.00 s of 8 channels at 48000 Hz, longer than the limit of 150 s"):
        load_audio(silent_opus(8, pages=20), RATE, max_seconds=600)
    with pytest.raises(AudioError, match=r"600\.00 s of audio, longer than the limit of 60 s"):
        load_audio(silent_opus(2, pages=20), RATE, max_seconds=60)


def test_a_pipe_is_read(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(WAV))
    writer.start()
    np.testing.assert_array_equal(load_audio(pipe, RATE), load_audio(WAV, RATE))
    writer.join()
    with pytest.raises(AudioError, match="no such file"):
        load_audio(tmp_path / "gone", RATE)


def test_damaged_rows_are_skipped_by_rule_and_evaluation_goes_on(tmp_path):
    (tmp_path / "good.wav").write_bytes(WAV)
    rows = [{"audio": "good.wav", "text": "so", "label": "calm"}]
    for name, (content, _) in REFUSED.items():
        (tmp_path / name).write_bytes(content)
        rows.append({"audio": name, "text": "so", "label": "tense"})
    manifest = write_table(tmp_path / "clips.csv", rows)
    for decode in (False, True):
        corpus = read_corpus("manifest", manifest, skip_damaged="all", progress=False, decode=decode)
        assert corpus.dataset["all"]["utterance_id"][:] == ["good.wav"]
        assert corpus.report.excluded == {"unreadable_audio": list(REFUSED)}
    names = {0: "calm", 1: "tense"}
    model = tiny_model(max_fusion_positions=2000, num_labels=2, id2label=names).eval()
    pipe = MultimodalEmotionRecognitionPipeline(model=model, processor=tiny_processor())
    record, predictions = evaluate(pipe, corpus)
    assert (record["utterances"], record["excluded"]) == (1, corpus.report.excluded)
    assert np.isfinite(predictions.probabilities).all()
