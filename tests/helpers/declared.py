"""Small copies of the corpora that YAML files declare, in their distributors' layout and with its traps."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from helpers.corpora import write_tone

HIDDEN = b"\x00\x05\x16\x07"


@dataclass
class Copy:
    """What lies in a folder, and what is to be read from it.

    Attributes:
        clips: paths of sounds. twice: path -> another one with the same sound. files: path -> text.
        rows: (id, label or labels, text, speaker, split or session) of each utterance, in any order.
        counts: problems by kind, beside those that every copy has.
    """

    clips: Sequence[str]
    rows: Sequence[tuple]
    counts: Mapping[str, int] = field(default_factory=dict)
    twice: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.15

    def make(self, root: Path) -> Path:
        for path in self.clips:
            write_tone(root / path, self.seconds)
            hidden = root / path
            for trap in (hidden.with_name(f"._{hidden.name}"), root / "__MACOSX" / path, root / ".Trash" / path):
                trap.parent.mkdir(parents=True, exist_ok=True)
                trap.write_bytes(HIDDEN)
        for path, original in self.twice.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / original, root / path)
        for path, text in self.files.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
        return root


def table(header: str, *rows: Sequence[object]) -> str:
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(header.split(","))
    writer.writerows(rows)
    return text.getvalue()


def emory(*utterances: tuple[str, str, str, str]) -> str:
    keys = ("utterance_id", "emotion", "transcript", "speaker")
    scene = [dict(zip(keys, utterance, strict=True)) for utterance in utterances]
    for row in scene:
        row["speakers"] = [row.pop("speaker")]
        row["tokens"] = [[row["transcript"]]]
    return json.dumps({"season_id": "s01", "episodes": [{"scenes": [{"scene_id": "c01", "utterances": scene}]}]})


KIDS, DOGS = "Kids are talking by the door.", "Dogs are sitting by the door."
LAPPEN = "Der Lappen liegt auf dem Eisschrank."
AIRPORT = "MSP-PODCAST_0001_0008"
IMPROV = "IMPROV-S01A-F01-P-FM01"
RATINGS = "Input.VIDEO_ID,Input.CLIP,Answer.sentiment,Answer.anger,Answer.disgust,Answer.fear,Answer.happiness,\
Answer.sadness,Answer.surprise"

COPIES = {
    "ravdess": Copy(
        clips=[
            "Actor_01/03-01-01-01-01-01-01.wav",
            "Actor_02/03-01-05-02-02-02-02.WAV",
            "Actor_24/03-01-08-01-01-02-24.wav",
            "Actor_01/03-02-04-01-01-01-01.wav",  # song
            "Actor_01/01-01-04-01-01-01-01.mp4.wav",  # of another name
        ],
        files={"Actor_01/01-01-02-01-01-01-01.mp4": "video", "Actor_01/02-01-02-01-01-01-01.mp4": "video"},
        twice={"audio_speech_actors_01-24/Actor_01/03-01-01-01-01-01-01.wav": "Actor_01/03-01-01-01-01-01-01.wav"},
        rows=[
            ("03-01-01-01-01-01-01", "neutral", KIDS, "Actor_01", None),
            ("03-01-05-02-02-02-02", "angry", DOGS, "Actor_02", None),
            ("03-01-08-01-01-02-24", "surprised", KIDS, "Actor_24", None),
        ],
        counts={"left_out": 4, "unlisted_audio": 1},
    ),
    "crema_d": Copy(
        clips=[
            "AudioWAV/1001_IEO_ANG_HI.wav",
            "AudioWAV/1040_ITH_SAD_X.wav",  # one X, as in the release
            "AudioWAV/1091_wsi_neu_xx.wav",
            "AudioMP3/1001_IEO_ANG_HI.mp3",
        ],
        files={"VideoFlash/1001_IEO_ANG_HI.flv": "video", "VideoDemographics.csv": "ActorID,Age\n1001,51\n"},
        rows=[
            ("1001_IEO_ANG_HI", "angry", "It's eleven o'clock.", "1001", None),
            ("1040_ITH_SAD_X", "sad", "I think I have a doctor's appointment.", "1040", None),
            ("1091_wsi_neu_xx", "neutral", "We'll stop in a couple of minutes.", "1091", None),
        ],
    ),
    "emodb": Copy(
        clips=["wav/03a01Fa.wav", "wav/16b10Wb.wav", "wav/11a05Lc.WAV"],
        files={"lablaut/03a01Fa.lablaut": "0.1 D", "silb/03a01Fa.silb": "0.1 Der", "erkennung.txt": "03a01Fa 90"},
        rows=[
            ("03a01Fa", "happiness", LAPPEN, "03", None),
            ("16b10Wb", "anger", "Die wird auf dem Platz sein, wo wir sie immer hinlegen.", "16", None),
            (
                "11a05Lc",
                "boredom",
                "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück.",
                "11",
                None,
            ),
        ],
    ),
    "tess": Copy(
        clips=[
            "TESS/OAF_Pleasant_surprise/OAF_back_ps.wav",
            "TESS/OAF_neutral/OA_bite_neutral.wav",  # misspelt in the release
            "TESS/YAF_angry/YAF_youth_angry.wav",
        ],
        twice={"TESS/TESS/YAF_angry/YAF_youth_angry.wav": "TESS/YAF_angry/YAF_youth_angry.wav"},
        rows=[
            ("OAF_back_ps", "pleasant surprise", "Say the word back.", "OAF", None),
            ("OA_bite_neutral", "neutral", "Say the word bite.", "OAF", None),
            ("YAF_youth_angry", "angry", "Say the word youth.", "YAF", None),
        ],
        counts={"left_out": 1},
    ),
    "savee": Copy(
        clips=["AudioData/DC/a01.wav", "AudioData/KL/sa15.wav", "AudioData/JE/su02.wav", "AudioData/JK/n30.wav"],
        twice={"ALL/DC_a01.wav": "AudioData/DC/a01.wav"},
        files={
            "sentences.csv": "id,text\nDC_a01,She had your dark suit.\nKL_sa15,\n",
            "AudioData/Info.txt": "Speakers",
        },
        rows=[
            ("DC_a01", "anger", "She had your dark suit.", "DC", None),
            ("KL_sa15", "sadness", "", "KL", None),
            ("JE_su02", "surprise", "", "JE", None),
            ("JK_n30", "neutral", "", "JK", None),
        ],
        counts={"left_out": 1, "empty_text": 3},
    ),
    "esd_en": Copy(
        clips=[
            "0011/Angry/train/0011_000401.wav",
            "0020/Surprise/evaluation/0020_001401.wav",
            "0020/Neutral/test/0020_000021.wav",
            "0001/Happy/train/0001_000701.wav",
        ],
        files={
            "0011/0011.txt": "0011_000401\tThe nine the eggs, I keep.\tAngry\n",
            "0020/0020.txt": "0020_001401  Tom is here   Surprise\r\n\n0020_000021\tNo.\tNeutral",
            "ReadMe.txt": "Emotional speech",
        },
        rows=[
            ("0011_000401", "angry", "The nine the eggs, I keep.", "0011", "train"),
            ("0020_001401", "surprise", "Tom is here", "0020", "validation"),
            ("0020_000021", "neutral", "No.", "0020", "test"),
        ],
        counts={"left_out": 1},
    ),
    "esd_zh": Copy(
        clips=["0001/Happy/0001_000701.wav", "0011/Angry/0011_000401.wav"],
        files={"0001/0001.txt": "\ufeff0001_000701\t打远一看,它们的确很是美丽,\t快乐\n"},
        rows=[("0001_000701", "happy", "打远一看,它们的确很是美丽,", "0001", None)],
        counts={"left_out": 1},
    ),
    "msp_improv": Copy(
        clips=[f"Audio/session1/S01A/P/MSP-{IMPROV}.wav", "Audio/session6/S20N/R/MSP-IMPROV-S20N-M06-R-FM02.wav"],
        files={
            "Evalution.txt": f"UTD-{IMPROV}.avi; N; A:3.000000; V:3.500000; D:3.000000 ; N:4.000000;\n"
            "20140101_1; Neutral; Neutral,Happy; A:3.0; V:3.0; D:3.0; N:3.0;\n\n"
            "UTD-IMPROV-S20N-M06-R-FM02.avi; A; A:1.0; V:NaN; D:2.0 ; N:NaN;\n"
            "UTD-IMPROV-S20N-M06-R-FM03.avi; X; A:1.0; V:2.0; D:2.0 ; N:3.0;\n"
            "UTD-IMPROV-S02S-F03-S-MF01.avi; S; A:1.0; V:2.0; D:2.0 ; N:3.0;\n",
            f"Transcriptions/MSP-{IMPROV}.txt": "How can\n I not?\n",
        },
        rows=[
            (IMPROV, "neutral", "How can I not?", "F01", "session1"),
            ("IMPROV-S20N-M06-R-FM02", "angry", "", "M06", "session6"),
            ("IMPROV-S20N-M06-R-FM03", "no agreement", "", "M06", "session6"),
            ("IMPROV-S02S-F03-S-MF01", "sad", "", "F03", "session3"),
        ],
        counts={"outside_classes": 1, "missing_audio": 1, "empty_text": 2},
    ),
    "msp_podcast": Copy(
        clips=[f"Audios/{AIRPORT}.wav", *(f"Audios/MSP-PODCAST_0002_000{n}.wav" for n in (1, 2, 3, 4))],
        files={
            "Labels/labels_consensus.csv": table(
                "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set",
                (f"{AIRPORT}.wav", "N", 2.2, 4.0, 3.2, 127, "Female", "Test1"),
                ("MSP-PODCAST_0002_0001.wav", "U", 2.2, 4.0, 3.2, "Unknown", "Unknown", "Train"),
                ("MSP-PODCAST_0002_0002.wav", "C", 2.2, 4.0, 3.2, 8, "Male", "Development"),
                ("MSP-PODCAST_0002_0003.wav", "H", 2.2, 4.0, 3.2, 9, "Male", "Test2"),
            ),
            "Labels/labels_detailed.csv": "FileName,Worker,Primary\n",
            f"Transcripts/{AIRPORT}.txt": "it was the airport",
        },
        rows=[
            (AIRPORT, "neutral", "it was the airport", "127", "test"),
            ("MSP-PODCAST_0002_0001", "surprise", "", None, "train"),
            ("MSP-PODCAST_0002_0002", "contempt", "", "8", "validation"),
        ],
        counts={"left_out": 1, "unlisted_audio": 1, "empty_text": 2, "missing_speaker": 1},
    ),
    "emorynlp": Copy(
        clips=["clips/s01_e02_c01_u001.wav", "clips/s01_e02_c01_u002.wav", "clips/s02_e01_c01_u001.wav"],
        files={
            "json/emotion-detection-trn.json": emory(
                ("s01_e02_c01_u001", "Peaceful", "What you guys don't understand", "Monica Geller"),
                ("s01_e02_c01_u002", "Mad", "Just shut up!", "Ross Geller"),
            ),
            "json/emotion-detection-dev.json": emory(("s02_e01_c01_u001", "Joyful", "Hi.", "Joey Tribbiani")),
            "json/emotion-detection-tst.json": emory(("s03_e01_c01_u001", "Sad", "Oh.", "Joey Tribbiani")),
        },
        rows=[
            ("s01_e02_c01_u001", "peaceful", "What you guys don't understand", "Monica Geller", "train"),
            ("s01_e02_c01_u002", "mad", "Just shut up!", "Ross Geller", "train"),
            ("s02_e01_c01_u001", "joyful", "Hi.", "Joey Tribbiani", "validation"),
            ("s03_e01_c01_u001", "sad", "Oh.", "Joey Tribbiani", "test"),
        ],
        counts={"missing_audio": 1, "unlike_published": 2},
    ),
    "cmu_mosei": Copy(
        clips=["Raw/Audio/Full/WAV_16000/--qXJuDtHPw.wav", "Raw/Audio/Full/WAV_16000/zk2jTlAtvSU.wav"],
        seconds=2.0,
        files={
            "Raw/Labels/5000_batch_raw.csv": table(
                RATINGS,
                ("--qXJuDtHPw", 0, 1, 0, 0, 0, 1, 0, 0),
                ("--qXJuDtHPw", 0, 1, 0, 0, 0, 0, 0, 2),
                ("--qXJuDtHPw", 0, 1, 0, 0, 0, "", 0, 0),
            ),
            "Raw/Labels/Batch_2980374_batch_results.csv": table(RATINGS, ("zk2jTlAtvSU", 3, 0, 0, 0, 0, 0, 0, 0)),
            "Raw/Transcript/Segmented/Combined/--qXJuDtHPw.txt": "--qXJuDtHPw___0___0.25___1.5___I see that\n"
            "--qXJuDtHPw___1___1.5___1.9___and nobody labelled this\n",
            "Raw/Transcript/Segmented/Combined/zk2jTlAtvSU.txt": "zk2jTlAtvSU___3___1___2___Two, it is\n",
        },
        rows=[
            ("--qXJuDtHPw_0", ("happiness", "surprise"), "I see that", "--qXJuDtHPw", (0.25, 1.5)),
            ("zk2jTlAtvSU_3", ("neutral",), "Two, it is", "zk2jTlAtvSU", (1.0, 2.0)),
        ],
    ),
    "mer2024": Copy(
        clips=["audio/samplenew_00000004.wav", "audio/samplenew3_00000005.wav", "audio/unlabelled.wav"],
        files={
            "label-trainval.csv": table(
                "name,discrete,valence", ("samplenew_00000004", "worried", -1), ("samplenew3_00000005", "happy", 2)
            ),
            "transcription-engchi-polish.csv": "name,english,chinese\nsamplenew_00000004,Really?,真的吗?\n",
        },
        rows=[
            ("samplenew_00000004", "worried", "真的吗?", None, None),
            ("samplenew3_00000005", "happy", "", None, None),
        ],
        counts={"empty_text": 1, "unlisted_audio": 1},
    ),
}
