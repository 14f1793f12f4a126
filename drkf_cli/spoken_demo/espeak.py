"""Speech synthesis by eSpeak NG, the library of the PyPI package `espeakng-loader` (extra `demo`; Linux and macOS)."""

import _ctypes
import ctypes
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from processing.errors_drkf import DRKFError

# Numbers of eSpeak NG's speak_lib.h.
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_INITIALIZE_DONT_EXIT = 0x8000
_CHARS_UTF8 = 1
_SYNTH_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

_SETTINGS = {  # name: (espeak_PARAMETER, lowest, highest)
    "rate": (1, 80, 450),
    "pitch": (3, 0, 99),
    "pitch_range": (4, 0, 99),
    "volume": (2, 0, 200),
    "word_gap": (7, 0, 100),
}


class SpeechSynthesisError(DRKFError, RuntimeError):
    """eSpeak NG is missing or does not start, or a voice, a setting or a text is not for it."""


def speak(
    text: str,
    voice: str,
    rate: int = 175,
    pitch: int = 50,
    pitch_range: int = 50,
    volume: int = 100,
    word_gap: int = 0,
) -> tuple[np.ndarray, int]:
    """Read a text aloud.

    The same arguments give the same samples on the same machine, whatever was spoken before.

    Args:
        text: what to say; one sentence.
        voice: language and variant, such as `"en-us+f2"`.
        rate: words per minute, 80 to 450.
        pitch: height of the voice, 0 to 99; 50 is the variant's own.
        pitch_range: 0 (monotone) to 99 (twice the variant's own melody).
        volume: 0 to 200; 100 is eSpeak NG's own, from about 120 on most voices clip.
        word_gap: pause between words, 0 to 100, in units of 10 ms at the default rate; shorter at a higher rate.

    Returns:
        The mono samples, float32 in [-1, 1], of shape `(samples,)`, and their sample rate in Hz.

    Raises:
        SpeechSynthesisError: the package is missing, the voice unknown, a setting out of range, or the text silent.
    """
    values = {"rate": rate, "pitch": pitch, "pitch_range": pitch_range, "volume": volume, "word_gap": word_gap}
    for name, (_, lowest, highest) in _SETTINGS.items():
        if not lowest <= values[name] <= highest:
            raise SpeechSynthesisError(f"{name} is {values[name]}; give {lowest} to {highest}")
    pieces: list[np.ndarray] = []

    def receive(samples, count: int, events) -> int:
        if samples and count:
            pieces.append(np.ctypeslib.as_array(samples, shape=(count,)).copy())
        return 0

    callback = _SYNTH_CALLBACK(receive)
    with _private_library() as (library, data, sample_rate):
        library.espeak_SetSynthCallback(callback)
        _, _, variant = voice.partition("+")
        known_variant = (data / "voices" / "!v" / variant).is_file() if variant else True
        if library.espeak_SetVoiceByName(voice.encode()) != 0 or not known_variant:
            raise SpeechSynthesisError(f"eSpeak NG has no voice {voice!r}; a voice reads like 'en-us+f2' or 'en+m3'")
        for name, (parameter, _, _) in _SETTINGS.items():
            library.espeak_SetParameter(parameter, values[name], 0)
        encoded = text.encode() + b"\0"
        library.espeak_Synth(encoded, ctypes.c_size_t(len(encoded)), 0, 0, 0, _CHARS_UTF8, None, None)
    if not any(piece.any() for piece in pieces):
        raise SpeechSynthesisError(f"eSpeak NG has nothing to say for the text {text!r}; give it words")
    return np.concatenate(pieces).astype(np.float32) / 2**15, sample_rate


@contextmanager
def _private_library() -> Iterator[tuple[ctypes.CDLL, Path, int]]:
    """A freshly loaded eSpeak NG, its data folder, and its sample rate in Hz.

    eSpeak NG keeps its voice, its noise generator and its echo in static variables that no call resets. A copy of the
    library file is loaded apart from every other one, so its state is new and stays ours. The link to its data
    keeps their path short: eSpeak NG does not find them under a path of more than about 150 characters.
    """
    try:
        import espeakng_loader
    except ImportError as error:
        raise SpeechSynthesisError("the spoken demo needs eSpeak NG: `pip install drkf[demo]`") from error

    with TemporaryDirectory(prefix="espeak") as folder:
        data = Path(folder) / "espeak-ng-data"
        data.symlink_to(espeakng_loader.get_data_path())
        library = ctypes.CDLL(shutil.copy(espeakng_loader.get_library_path(), folder))
        try:
            options = _INITIALIZE_DONT_EXIT
            sample_rate = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, str(data).encode(), options)
            if sample_rate <= 0:
                raise SpeechSynthesisError(f"eSpeak NG does not start with its data in {data.resolve()}")
            library.espeak_ng_SetRandSeed(ctypes.c_long(1))  # else the clock seeds the noise of breathy voices
            try:
                yield library, data, sample_rate
            finally:
                library.espeak_Terminate()
        finally:
            _ctypes.dlclose(library._handle)
