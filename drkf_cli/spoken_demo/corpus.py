"""The spoken demo corpus: 1,040 English sentences that eSpeak NG says in 26 voices and four emotions.

Real synthesised speech, made on the spot, in which neither the voice nor the words alone tell the emotion:

| cue pattern   | share | voice (prosody)                           | words                                      |
|---------------|-------|-------------------------------------------|--------------------------------------------|
| words decide  | 20 %  | ambiguous: aroused or subdued             | explicit: name the emotion                 |
| voice decides | 20 %  | explicit: the emotion's own style         | ambiguous: something is good, or it is bad |
| both needed   | 30 %  | ambiguous: aroused or subdued             | ambiguous: something is good, or it is bad |
| both decide   | 20 %  | explicit: the emotion's own style         | explicit: name the emotion                 |
| contradiction | 10 %  | explicit: the emotion's own style (label) | explicit: name another emotion             |

An aroused voice leaves angry and happy open, a subdued one neutral and sad; good news leaves happy and neutral open,
bad news angry and sad. In a contradiction the speaker's tone decides, and `consistent` is `false`. A perfect listener
reaches 75 % from the prosody alone, 65 % from the words alone, and 100 % from both. A speech encoder that learns to
recognise the cue words by their sound may exceed the first figure.

The splits share no speaker, no sentence, no topic and no sentence frame: a test sentence is new, its cue words are
not.
"""

import csv
import json
import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path

import soundfile
import soxr
from tqdm.auto import tqdm

from processing.quiet import BAR_DELAY_S

from .espeak import speak

VERSION = 3
SAMPLE_RATE = 16_000  # Hz
EMOTIONS = ("angry", "happy", "neutral", "sad")

SPEAKERS = {
    "train": (
        "en-us+f1",
        "en+f2",
        "en-gb-scotland+f3",
        "en-029+Alicia",
        "en-us+steph",
        "en-us+belinda",
        "en+linda",
        "en-gb-x-rp+anika",
        "en-gb-scotland+Andrea",
        "en-us+m1",
        "en+m2",
        "en-029+m4",
        "en-gb-scotland+m6",
        "en-us-nyc+m8",
        "en-us+david",
        "en+john",
        "en-us-nyc+Mike",
        "en-gb-x-rp+robert",
    ),
    "validation": ("en+Annie", "en-us+benjamin", "en-gb-x-rp+shelby", "en-029+Lee"),
    "test": ("en-us+f4", "en-gb-x-rp+f5", "en+m7", "en-us+m3"),
}


@dataclass(frozen=True)
class Style:
    """A way of speaking, in the units of `espeak.speak`."""

    rate: int
    pitch: int
    pitch_range: int
    volume: int
    word_gap: int

    def varied(self, chance: random.Random) -> "Style":
        """The style as one utterance has it: a little faster or slower, higher or lower, louder or softer."""
        return Style(
            rate=round(self.rate * chance.uniform(0.95, 1.05)),
            pitch=self.pitch + chance.randint(-6, 6),
            pitch_range=min(99, max(0, self.pitch_range + chance.randint(-5, 5))),
            volume=round(self.volume * chance.uniform(0.85, 1.15)),
            word_gap=self.word_gap,
        )


# Pace tells arousal. Pauses between words tell anger or sadness, a wide melody happiness or neutrality; the two
# ambiguous styles have neither. Loudness and pitch follow the emotion as well, but no listener needs them.
STYLES = {
    "angry": Style(rate=235, pitch=50, pitch_range=8, volume=88, word_gap=16),
    "happy": Style(rate=300, pitch=55, pitch_range=99, volume=82, word_gap=0),
    "neutral": Style(rate=175, pitch=48, pitch_range=80, volume=68, word_gap=0),
    "sad": Style(rate=132, pitch=43, pitch_range=8, volume=52, word_gap=7),
    "aroused": Style(rate=235, pitch=52, pitch_range=8, volume=85, word_gap=0),
    "subdued": Style(rate=132, pitch=45, pitch_range=8, volume=60, word_gap=0),
}
AROUSAL = {"angry": "aroused", "happy": "aroused", "neutral": "subdued", "sad": "subdued"}
VALENCE = {"angry": "negative", "happy": "positive", "neutral": "positive", "sad": "negative"}

CUE_WORDS = {
    "angry": "angry furious outraged livid enraged fuming irate seething incensed infuriated".split(),
    "happy": "happy delighted thrilled overjoyed ecstatic joyful elated glad cheerful jubilant".split(),
    "neutral": "calm indifferent neutral unconcerned composed unmoved detached impassive unruffled untroubled".split(),
    "sad": "sad heartbroken miserable tearful sorrowful gloomy mournful downcast dejected depressed".split(),
    "positive": (
        "good fine nice pleasant lovely promising splendid decent "
        "great superb excellent wonderful charming enjoyable welcome satisfying"
    ).split(),
    "negative": (
        "bad awful terrible dreadful hopeless horrible dismal poor "
        "wretched grim lousy appalling disastrous unpleasant nasty ghastly"
    ).split(),
}
FEELING_FRAMES = {
    "train": (
        "I am {cue} about the {topic}.",
        "I feel {cue} after the {topic}.",
        "The {topic} left me {cue}.",
        "I was {cue} because of the {topic}.",
        "Of course I am {cue} about the {topic}.",
        "You can see how {cue} I am since the {topic}.",
        "You made me {cue} with this {topic}.",
        "Everybody finds me {cue} at the {topic}.",
        "We were all {cue} when the {topic} came.",
        "Nobody is as {cue} as I am before a {topic}.",
    ),
    "validation": ("About the {topic} I feel {cue}.", "After the {topic} I was {cue}."),
    "test": ("Because of the {topic} I am {cue}.", "I am {cue} after that {topic}."),
}
NEWS_FRAMES = {
    "train": (
        "I hear the {topic} was {cue}.",
        "They say the {topic} is {cue}.",
        "The {topic} was {cue} again.",
        "So that was the {cue} {topic}.",
        "I remember that {cue} {topic}.",
        "You know what a {cue} {topic} it was.",
        "Everybody finds the {topic} {cue}.",
        "We had a {cue} {topic} this year.",
        "My {topic} turned out {cue}.",
        "Nobody told me how {cue} the {topic} is.",
    ),
    "validation": ("I hear that was the {cue} {topic}.", "Again the {topic} is {cue}."),
    "test": ("They say that {topic} was {cue} again.", "I remember the {topic} was {cue}."),
}
TOPICS = {
    "train": (
        "train letter meeting garden dinner weather journey exam party bill visit match song answer plan concert "
        "schedule market show class offer news trip change game talk house picture phone call work lunch flight "
        "morning evening story present book school hospital museum holiday hotel street neighbour computer paper "
        "question idea result test lecture order service season team deal sale speech"
    ).split(),
    "validation": "ticket lesson recipe painting parcel wedding".split(),
    "test": "interview report decision film delivery birthday contract race message election".split(),
}


@dataclass(frozen=True)
class Utterance:
    """A row of the manifest. `voice_cue` and `text_cue` are keys of `STYLES` and `CUE_WORDS`."""

    audio: str
    text: str
    label: str
    speaker: str
    split: str
    utterance_id: str
    voice_cue: str
    text_cue: str
    consistent: str


def make_spoken_demo(folder: Path, seed: int = 0, progress: bool = True) -> Path:
    """Speak the corpus into a folder: 16 kHz mono FLAC under `audio/` and `manifest.csv` (a row is an `Utterance`).

    A folder that already holds the whole corpus of this seed and version is left as it is.

    Args:
        folder: where to write; made where it is missing.
        seed: of the choice of sentences and of each utterance's small deviations from its style.
        progress: whether to show a progress bar.

    Returns:
        The path of the manifest.

    Raises:
        espeak.SpeechSynthesisError: `espeakng-loader` is missing or eSpeak NG does not start.
    """
    folder = Path(folder)
    manifest, stamp = folder / "manifest.csv", folder / "spoken_demo.json"
    identity = json.dumps({"seed": seed, "version": VERSION})
    chance = random.Random(seed)
    utterances = list(plan_utterances(chance))
    products = [manifest, *(folder / utterance.audio for utterance in utterances)]
    if stamp.is_file() and stamp.read_text() == identity and all(file.is_file() for file in products):
        return manifest
    stamp.unlink(missing_ok=True)
    (folder / "audio").mkdir(parents=True, exist_ok=True)
    for utterance in tqdm(utterances, desc="spoken demo", unit="utterance", disable=not progress, delay=BAR_DELAY_S):
        style = STYLES[utterance.voice_cue].varied(chance)
        samples, rate = speak(utterance.text, utterance.speaker, **asdict(style))
        soundfile.write(folder / utterance.audio, soxr.resample(samples, rate, SAMPLE_RATE), SAMPLE_RATE)
    with manifest.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, fieldnames=list(asdict(utterances[0])), lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(utterance) for utterance in utterances)
    stamp.write_text(identity)
    return manifest


def plan_utterances(chance: random.Random) -> Iterator[Utterance]:
    """Every speaker's forty utterances: per emotion nine consistent ones, by their shares, and one contradiction."""
    for split, speakers in SPEAKERS.items():
        sentences = {cue: _sentences(split, cue, chance) for cue in CUE_WORDS}
        for speaker in speakers:
            for emotion, said in zip(EMOTIONS, _contradictions(chance), strict=True):
                cues = [
                    *2 * [(AROUSAL[emotion], emotion)],
                    *2 * [(emotion, VALENCE[emotion])],
                    *3 * [(AROUSAL[emotion], VALENCE[emotion])],
                    *2 * [(emotion, emotion)],
                ]
                for number, (voice_cue, text_cue) in enumerate([*cues, (emotion, said)], start=1):
                    utterance_id = f"{speaker}_{emotion}_{number:02d}"
                    yield Utterance(
                        audio=f"audio/{utterance_id}.flac",
                        text=next(sentences[text_cue]),
                        label=emotion,
                        speaker=speaker,
                        split=split,
                        utterance_id=utterance_id,
                        voice_cue=voice_cue,
                        text_cue=text_cue,
                        consistent="false" if text_cue == said else "true",
                    )


def _sentences(split: str, cue: str, chance: random.Random) -> Iterator[str]:
    """The sentences of a split that carry the cue, none twice; each of its words once before any word again."""
    frames = FEELING_FRAMES if cue in EMOTIONS else NEWS_FRAMES
    carriers = list(product(frames[split], TOPICS[split]))
    orders = [
        [frame.format(cue=word, topic=topic) for frame, topic in chance.sample(carriers, len(carriers))]
        for word in CUE_WORDS[cue]
    ]
    for turn in zip(*orders, strict=True):
        yield from chance.sample(turn, len(turn))


def _contradictions(chance: random.Random) -> list[str]:
    """For each of `EMOTIONS` another one, each of them once."""
    while True:
        said = chance.sample(EMOTIONS, len(EMOTIONS))
        if all(emotion != other for emotion, other in zip(EMOTIONS, said, strict=True)):
            return said
