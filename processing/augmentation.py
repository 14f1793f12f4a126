"""What happens to speech on its way to a microphone and from there: noise, other voices, a room, a telephone line.

Waveforms are (samples,), float32; `rate` is their sampling rate in Hz. A clip is as loud as the voice in it: pauses do
not count.
"""

from collections.abc import Sequence

import numpy as np
import soxr
from scipy.signal import butter, fftconvolve, sosfilt

FRAME_S = 0.032  # of which energies are compared
PAUSE_DB = 30.0  # below the loudest frame, from which a frame is no voice
TELEPHONE_BAND = (300.0, 3400.0)  # Hz
TELEPHONE_RATE = 8000
FILTER_ORDER = 6
MU = 255.0


def voice_power(wave: np.ndarray, rate: float) -> float:
    """Mean square of the frames with voice, those within 30 dB of the loudest one: the active speech level of ITU-T
    P.56 in short."""
    size = min(len(wave), max(1, round(FRAME_S * rate)))
    frames = wave[: len(wave) // size * size].reshape(-1, size)
    energies = np.square(frames, dtype=np.float64).mean(axis=1)
    return float(energies[energies >= energies.max() / 10 ** (PAUSE_DB / 10)].mean())


def babble(voices: Sequence[np.ndarray], rate: float, samples: int, rng: np.random.Generator) -> np.ndarray:
    """Several voices at once, equally loud, each from anywhere in its clip and repeated as often as it takes."""
    mixed = np.zeros(samples)
    for voice in voices:
        power = voice_power(voice, rate)
        turned = np.roll(voice, -int(rng.integers(len(voice))))
        mixed += np.resize(turned, samples) / np.sqrt(power or 1.0)
    return mixed


def add_at_snr(wave: np.ndarray, noise: np.ndarray, rate: float, snr_db: float) -> np.ndarray:
    """Both together, the voice so many decibels above the noise; silence stays silent."""
    power = float(np.square(noise, dtype=np.float64).mean())
    wanted = voice_power(wave, rate) / 10 ** (snr_db / 10)
    return (wave + noise * np.sqrt(wanted / (power or 1.0))).astype(np.float32)


def room_response(rt60: float, rate: float, rng: np.random.Generator) -> np.ndarray:
    """The impulse response of a room: the direct sound, and as much energy again in noise that decays by 60 dB in
    `rt60` seconds (Polack's model)."""
    times = np.arange(1, max(2, round(rt60 * rate)) + 1) / rate
    tail = rng.standard_normal(len(times)) * 10 ** (-3 * times / rt60)
    return np.concatenate([[1.0], tail / np.sqrt(np.square(tail).sum())])


def reverberate(wave: np.ndarray, response: np.ndarray, rate: float) -> np.ndarray:
    """The clip in a room: as long and as loud as before, what rings on after its end is cut."""
    heard = fftconvolve(wave, response)[: len(wave)]
    scale = np.sqrt(voice_power(wave, rate) / (voice_power(heard, rate) or 1.0))
    return (heard * scale).astype(np.float32)


def telephone(wave: np.ndarray, rate: float) -> np.ndarray:
    """Over a telephone line: 300 to 3400 Hz (Butterworth), sampled at 8 kHz, eight bits by mu-law (ITU-T G.711)."""
    band = butter(FILTER_ORDER, TELEPHONE_BAND, "bandpass", fs=TELEPHONE_RATE, output="sos")
    line = np.clip(sosfilt(band, soxr.resample(wave.astype(np.float64), rate, TELEPHONE_RATE)), -1, 1)
    codes = np.round(np.sign(line) * np.log1p(MU * np.abs(line)) / np.log1p(MU) * 127)
    line = np.sign(codes) * np.expm1(np.abs(codes) / 127 * np.log1p(MU)) / MU
    heard = soxr.resample(line, TELEPHONE_RATE, rate)[: len(wave)]
    return np.pad(heard, (0, len(wave) - len(heard))).astype(np.float32)


def surround_with_silence(wave: np.ndarray, seconds: float, rate: float) -> np.ndarray:
    """So many seconds of silence before and after the clip."""
    return np.pad(wave, round(seconds * rate))


def amplify(wave: np.ndarray, gain_db: float) -> np.ndarray:
    """Louder by so many decibels; -20 is a tenth of the amplitude."""
    return (wave * 10 ** (gain_db / 20)).astype(np.float32)
