"""Where something sounds in a recording: a detector by energy that knows no absolute loudness."""

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

BLOCK_S = 0.01  # energies are of 30 ms, one every 10 ms
LOUD_BLOCKS = 10  # a recording is as loud as all of its ten loudest: one click does not decide
RANGE_DB = 40.0  # below that, a block is silent
FAINTEST = 10 ** (-80.0 / 10)  # mean square; where nothing is louder than 80 dB below full scale, nothing sounds
MARGIN_BLOCKS = 15  # kept on both sides of what sounds: no pause of less than 0.3 s is cut


def sounding_stretches(waveform: np.ndarray, rate: float) -> np.ndarray:
    """The stretches of a waveform in which something sounds, with 0.15 s before and after; shorter pauses are theirs.

    Silent is what is more than 40 dB below the loudest tenth of a second. Neither the loudness of the recording nor
    an offset of its microphone changes the stretches, nor does silence around it. Steady noise sounds, too: what is a
    voice is not decided.

    Args:
        waveform: (samples,). rate: Hz.

    Returns: (stretches, 2), first sample and the one after the last, in order and apart; (0, 2) where nothing sounds.
    """
    nothing = np.zeros((0, 2), dtype=np.int64)
    if not len(waveform):
        return nothing
    size = max(1, round(BLOCK_S * rate))
    blocks = np.pad(waveform, (0, -len(waveform) % size), mode="edge").reshape(-1, size)
    energies = np.pad(blocks.var(axis=1, dtype=np.float64), 1)
    energies = (energies[:-2] + energies[1:-1] + energies[2:]) / 3
    loud = np.sort(energies)[-LOUD_BLOCKS:][0]
    if loud < FAINTEST:
        return nothing
    sounds = np.pad(energies >= loud * 10 ** (-RANGE_DB / 10), MARGIN_BLOCKS)
    kept = sliding_window_view(sounds, 2 * MARGIN_BLOCKS + 1).max(axis=1)
    borders = np.flatnonzero(np.diff(kept, prepend=False, append=False)).reshape(-1, 2) * size
    return np.minimum(borders, len(waveform))
