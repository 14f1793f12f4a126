"""The recurrent speech encoder against a naive spectrogram, torch's own stacked LSTM and the file it comes from."""

import subprocess
import sys
import zipfile

import numpy as np
import pytest
import torch
from helpers.remote import REMOTE
from helpers.tiny import TEXT_ENCODERS, encoder_config
from torch import nn
from transformers import AutoConfig, AutoFeatureExtractor, AutoModel
from transformers.audio_utils import mel_filter_bank

from modeling_drkf import DRKFConfig, DRKFForEmotionClassification
from modeling_drkf.speech_lstm_drkf import MelEnergies, SpeechLSTMConfig, SpeechLSTMModel
from processing.errors_drkf import FileError
from study.convert_resemblyzer import convert, main

SMALL = {"num_mel_bins": 8, "hidden_size": 12}


def waveform(samples: int, seed: int = 0) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(seed).normal(0, 0.1, samples), dtype=torch.float32)


def original(path, layers: int = 3, bins: int = 40, width: int = 256) -> nn.LSTM:
    """A file as the package ships it, with random weights, and the network that it belongs to."""
    torch.manual_seed(0)
    network = nn.LSTM(bins, width, layers, batch_first=True)
    state = {f"lstm.{name}": value for name, value in network.state_dict().items()}
    state |= {"linear.weight": torch.zeros(width, width), "similarity_weight": torch.tensor([10.0])}
    torch.save({"step": 1, "model_state": state}, path)
    return network


def test_mel_energies_equal_a_loop_over_windows():
    wave = waveform(1500)
    energies = MelEnergies(SpeechLSTMConfig())(wave[None], torch.ones(1, 1500))[0]
    scaled = wave.double().numpy() * 10 ** (-30 / 20) / np.sqrt(np.mean(wave.double().numpy() ** 2))
    padded = np.pad(scaled, 200)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    filters = mel_filter_bank(201, 40, 0.0, 8000.0, 16_000, "slaney", "slaney")
    expected = [
        np.abs(np.fft.rfft(window * padded[start : start + 400])) ** 2 @ filters for start in range(0, 1501, 160)
    ]
    assert energies.shape == (10, 40)
    np.testing.assert_allclose(energies.numpy(), np.stack(expected), rtol=1e-3, atol=1e-7)


def test_a_clip_sounds_alike_at_every_volume():
    encoder = SpeechLSTMModel(SpeechLSTMConfig(**SMALL)).eval()
    wave = waveform(8000)[None]
    with torch.no_grad():
        loud, quiet = (encoder(wave * gain).last_hidden_state for gain in (5.0, 0.01))
    torch.testing.assert_close(loud, quiet, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("kept", [1, 2, 3])
def test_converted_layers_give_what_the_original_network_gives(tmp_path, kept):
    network = original(tmp_path / "pretrained.pt")
    convert(tmp_path / "pretrained.pt", tmp_path / "encoder", kept, output_layers=1)
    encoder = AutoModel.from_pretrained(tmp_path / "encoder")
    short = nn.LSTM(40, 256, kept, batch_first=True)
    short.load_state_dict({name: value for name, value in network.state_dict().items() if int(name[-1]) < kept})
    wave = waveform(16_000)[None]
    with torch.no_grad():
        energies = encoder.mel_energies(wave, torch.ones_like(wave))
        expected = short(energies)[0]
        torch.testing.assert_close(encoder(wave).last_hidden_state, expected, atol=1e-5, rtol=0)
        layers = encoder(wave, output_hidden_states=True).hidden_states
    assert len(layers) == kept
    torch.testing.assert_close(layers[-1], expected, atol=1e-5, rtol=0)


def test_the_last_layers_are_read_side_by_side(tmp_path):
    original(tmp_path / "pretrained.pt", bins=8, width=4)
    wave = waveform(8000)[None]
    for output_layers in (None, 2):
        encoder = convert(tmp_path / "pretrained.pt", tmp_path / "encoder", 3, output_layers).eval()
        with torch.no_grad():
            output = encoder(wave, output_hidden_states=True)
        read = output.hidden_states[-(output_layers or 3) :]
        torch.testing.assert_close(output.last_hidden_state, torch.cat(read, dim=-1), atol=0, rtol=0)
        assert encoder.config.output_hidden_size == 4 * len(read)
    with pytest.raises(ValueError, match="output_layers is 4, there are 2 layers"):
        SpeechLSTMConfig(num_hidden_layers=2, output_layers=4)


def test_the_wheel_is_read_as_it_is_and_other_files_are_refused(tmp_path, capsys):
    original(tmp_path / "pretrained.pt", bins=8, width=4)
    with zipfile.ZipFile(tmp_path / "package.whl", "w") as wheel:
        wheel.write(tmp_path / "pretrained.pt", "resemblyzer/pretrained.pt")
    assert main([str(tmp_path / "package.whl"), str(tmp_path / "encoder")]) == 0
    assert "3 layers" in capsys.readouterr().out
    extractor = AutoFeatureExtractor.from_pretrained(tmp_path / "encoder")
    assert (extractor.sampling_rate, extractor.do_normalize, extractor.return_attention_mask) == (16_000, False, True)
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(FileError, match=r"text\.pt is neither the wheel"):
        convert(tmp_path / "text.pt", tmp_path / "other")
    with pytest.raises(FileError, match="has 3 LSTM layers, 4 were requested"):
        convert(tmp_path / "pretrained.pt", tmp_path / "other", 4)


def test_padding_never_reaches_a_frame():
    encoder = SpeechLSTMModel(SpeechLSTMConfig(**SMALL)).eval()
    lengths = [4000, 961, 640]
    clips = [waveform(length, seed) for seed, length in enumerate(lengths)]
    batch = nn.utils.rnn.pad_sequence(clips, batch_first=True, padding_value=3.0)
    mask = (torch.arange(4000) < torch.tensor(lengths)[:, None]).long()
    frames = encoder._get_feat_extract_output_lengths(mask.sum(-1))
    assert frames.tolist() == [26, 7, 5]
    with torch.no_grad():
        together = encoder(batch, mask).last_hidden_state
        for row, clip in enumerate(clips):
            alone = encoder(clip[None]).last_hidden_state[0]
            assert len(alone) == frames[row]
            torch.testing.assert_close(together[row, : frames[row]], alone, atol=1e-6, rtol=1e-5)


def test_a_saved_model_makes_its_filters_anew(tmp_path):
    encoder = SpeechLSTMModel(SpeechLSTMConfig(**SMALL)).eval()
    encoder.save_pretrained(tmp_path)
    loaded = AutoModel.from_pretrained(tmp_path)
    assert isinstance(AutoConfig.from_pretrained(tmp_path), SpeechLSTMConfig)
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(waveform(3000)[None]).last_hidden_state,
            encoder(waveform(3000)[None]).last_hidden_state,
            atol=0,
            rtol=0,
        )


def test_loaded_in_half_precision_it_gives_nearly_the_same(tmp_path):
    torch.manual_seed(0)
    encoder = SpeechLSTMModel(SpeechLSTMConfig(**SMALL)).eval()
    encoder.save_pretrained(tmp_path)
    half = SpeechLSTMModel.from_pretrained(tmp_path, dtype=torch.bfloat16).eval()
    wave = waveform(8000)[None]
    with torch.no_grad():
        expected, found = encoder(wave).last_hidden_state, half(wave.bfloat16()).last_hidden_state
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected, atol=0.02, rtol=0)
    assert expected.std() > 0.05


def test_a_checkpoint_loads_by_its_own_code_in_a_fresh_process(tmp_path):
    torch.manual_seed(0)
    config = DRKFConfig(
        audio_config=SpeechLSTMConfig(**SMALL, output_layers=2).to_dict(),
        text_config=encoder_config(TEXT_ENCODERS["bert"]).to_dict(),
        hidden_size=16, projection_size=8, num_fusion_layers=1, num_fusion_heads=2, augmentation_sizes=[4],
        speech_pooling=4, speech_statistics=True, standardize_states=True, num_labels=3,
    )  # fmt: skip
    model = DRKFForEmotionClassification(config).eval()
    model.save_pretrained(tmp_path / "model")
    inputs = {"input_values": waveform(5000)[None], "input_ids": torch.tensor([[5, 6, 7]])}
    with torch.no_grad():
        torch.save((inputs, model(**inputs).logits), tmp_path / "expected.pt")
    script = f"""
import torch
from transformers import AutoModelForAudioClassification

model = AutoModelForAudioClassification.from_pretrained({str(tmp_path / "model")!r}, trust_remote_code=True)
inputs, expected = torch.load({str(tmp_path / "expected.pt")!r})
with torch.no_grad():
    torch.testing.assert_close(model(**inputs).logits, expected, atol=1e-6, rtol=0)
"""
    environment = {"HF_MODULES_CACHE": str(tmp_path / "modules"), "PATH": ""}
    finished = subprocess.run(
        [sys.executable, "-c", REMOTE + script], capture_output=True, text=True, env=environment, cwd=tmp_path
    )
    assert finished.returncode == 0, finished.stderr
