"""A checkpoint made small enough to ship: fewer word pieces, half precision on disk."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils import SAFE_WEIGHTS_NAME

from modeling_drkf.modeling_drkf import DRKFForEmotionClassification
from processing.processing_drkf import DRKFProcessor

LAST_LATIN_LETTER = 0x24F
FIRST_WORD = 1996  # of BERT's English vocabulary, "the"; words follow by their frequency


def kept_tokens(tokenizer: PreTrainedTokenizerBase, texts: Iterable[str], size: int) -> list[int]:
    """The ids of a word piece vocabulary that stay, in their order: special tokens and single letters, so that every
    word can still be spelt, the pieces of the texts by their frequency, and then the vocabulary's most frequent words.
    """
    vocabulary = tokenizer.get_vocab()
    letters = [id for piece, id in vocabulary.items() if len(piece.removeprefix("##")) == 1 and _is_latin(piece[-1])]
    kept = dict.fromkeys([*tokenizer.all_special_ids, *letters])
    counts = Counter(id for text in texts for id in cast(list[int], tokenizer(text)["input_ids"]))
    for id in [*(id for id, _ in counts.most_common()), *range(FIRST_WORD, len(vocabulary))]:
        if len(kept) >= size:
            break
        kept[id] = None
    return sorted(kept)


def _is_latin(letter: str) -> bool:
    return ord(letter) <= LAST_LATIN_LETTER


def prune_vocabulary(model: DRKFForEmotionClassification, processor: DRKFProcessor, kept: list[int]) -> None:
    """Leaves only those word pieces to tokenizer and text encoder, in place.

    A text without any other piece is answered as before; another is spelt by shorter pieces.
    """
    new_id = {old: new for new, old in enumerate(kept)}
    state = json.loads(processor.tokenizer.backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    state["model"]["vocab"] = {piece: new_id[id] for piece, id in vocabulary.items() if id in new_id}
    for token in state["added_tokens"]:
        token["id"] = new_id[token["id"]]
    for token in state["post_processor"].get("special_tokens", {}).values():
        token["ids"] = [new_id[id] for id in token["ids"]]
    state["padding"] = state["truncation"] = None
    old = processor.tokenizer
    special = {name: getattr(old, name) for name in ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")}
    from tokenizers import Tokenizer

    processor.tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer.from_str(json.dumps(state)), model_max_length=old.model_max_length, **special
    )
    embeddings = cast(nn.Embedding, model.get_input_embeddings())
    smaller = nn.Embedding.from_pretrained(
        embeddings.weight.detach()[kept], freeze=False, padding_idx=processor.tokenizer.pad_token_id
    )
    model.set_input_embeddings(smaller)
    text_config: Any = model.config.text_config
    text_config.vocab_size, text_config.pad_token_id = len(kept), processor.tokenizer.pad_token_id
    model.config.empty_text_ids = processor(text="")["input_ids"][0]


def halve_weights(folder: Path) -> None:
    """Stores the weights of a saved checkpoint in half precision; the configuration still loads them in float32."""
    path = folder / SAFE_WEIGHTS_NAME
    weights = load_file(path)
    halved = {name: value.half() if value.dtype == torch.float32 else value for name, value in weights.items()}
    save_file(halved, path, metadata={"format": "pt"})
