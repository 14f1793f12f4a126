"""Under which licences encoders stand, and which of several binds the weights made from them."""

from collections.abc import Iterable
from pathlib import Path

from huggingface_hub import HfApi, ModelCard
from huggingface_hub.errors import HTTPError

from processing.hub_ids import HUB_ID

CODE_LICENCE = "Apache-2.0"
ENCODERS = {
    "audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim": "cc-by-nc-sa-4.0",
    "facebook/hubert-base-ls960": "apache-2.0",
    "facebook/hubert-large-ll60k": "apache-2.0",
    "facebook/w2v-bert-2.0": "mit",
    "facebook/wav2vec2-base": "apache-2.0",
    "facebook/wav2vec2-base-960h": "apache-2.0",
    "facebook/wav2vec2-large-robust": "apache-2.0",
    "facebook/wav2vec2-xls-r-300m": "apache-2.0",
    "openai/whisper-base": "apache-2.0",
    "openai/whisper-small": "apache-2.0",
    "FacebookAI/roberta-base": "mit",
    "FacebookAI/roberta-large": "mit",
    "FacebookAI/xlm-roberta-base": "mit",
    "FacebookAI/xlm-roberta-large": "mit",
    "distilbert/distilbert-base-uncased": "apache-2.0",
    "google-bert/bert-base-multilingual-cased": "apache-2.0",
    "google-bert/bert-base-uncased": "apache-2.0",
    "hfl/chinese-roberta-wwm-ext": "apache-2.0",
    "microsoft/deberta-v3-base": "mit",
    "sentence-transformers/all-MiniLM-L6-v2": "apache-2.0",
}
FROM_SCRATCH = "trained from scratch"
RESTRICTING = ("cc-by-nc-nd-4.0", "cc-by-nc-sa-4.0", "other", "odbl")
PERMISSIVE = ("apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "bsd-2-clause", "bsd-3-clause", "unlicense")


def hub_id(encoder: str) -> str | None:
    """The Hub id that an encoder, as a run records it, was loaded from; None for a folder or one from scratch."""
    name = encoder.removeprefix("of ")
    return name if HUB_ID.fullmatch(name) and not Path(name).exists() else None


def encoder_licence(encoder: str) -> str | None:
    """As the Hub spells it: from its metadata or, where the Hub is out of reach, from the table; of a folder, from
    its card; None if unknown."""
    if FROM_SCRATCH in encoder:
        return CODE_LICENCE.lower()
    card = Path(encoder.removeprefix("of ")) / "README.md"
    if card.is_file():
        licence = ModelCard.load(card, ignore_metadata_errors=True).data.get("license")
        return licence if isinstance(licence, str) else None
    name = hub_id(encoder)
    return None if name is None else _licence_on_the_hub(name) or ENCODERS.get(name)


def _licence_on_the_hub(name: str) -> str | None:
    try:
        card = HfApi().model_info(name, timeout=10).card_data
    except (OSError, HTTPError):  # no network, no such repository, or a private one
        return None
    licence = card.get("license") if card else None
    return licence if isinstance(licence, str) else None


def strictest(licences: Iterable[str | None]) -> str | None:
    """What the metadata may state for weights made from parts with these licences: one that restricts them, even
    beside parts whose licence is not known, and "other" for several such; None if none does and some are not known."""
    parts = list(licences)
    for name in RESTRICTING:
        if name in parts:
            return name
    others = {name for name in parts if name is not None and name not in PERMISSIVE}
    if others:
        return others.pop() if len(others) == 1 else "other"
    return None if None in parts else CODE_LICENCE.lower()
