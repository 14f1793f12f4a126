"""Builds model and processor from `ModelArguments`: from pretrained encoders, from scratch, or one of each."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
import transformers
from datasets import Dataset
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AutoFeatureExtractor,
    AutoProcessor,
    AutoTokenizer,
    FeatureExtractionMixin,
    PreTrainedTokenizerFast,
)

from processing.damage import require_safe
from processing.errors_drkf import DRKFError, OptionError
from processing.processing_drkf import DRKFProcessor

from ..configuration_drkf import DRKFConfig
from ..modeling_drkf import DRKFForEmotionClassification
from ..training.optimization import add_lora, balanced_class_weights
from .model_options import ModelArguments

FEATURE_EXTRACTORS = {"wav2vec2-bert": "SeamlessM4TFeatureExtractor", "whisper": "WhisperFeatureExtractor"}
DEFAULT_VOCABULARY = 8000
DEFAULT_POSITIONS = 512
UNUSED_POSITIONS = 2  # models like RoBERTa count from there
SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def build_model_and_processor(
    arguments: ModelArguments, label_names: Sequence[str], problem_type: str, training_rows: Dataset
) -> tuple[DRKFForEmotionClassification, DRKFProcessor]:
    """
    Args:
        label_names: the classes in the order of the corpus.
        training_rows: the training part alone; a new tokenizer learns its texts, balanced class weights its labels.

    Raises:
        DependencyError: LoRA needs peft, which is not installed.
        OptionError: a checkpoint to go on from has other labels than the corpus, an encoder cannot be loaded, or an
            option is invalid.
    """
    try:
        return _build(arguments, label_names, problem_type, training_rows)
    except (DRKFError, torch.OutOfMemoryError):
        raise
    except (StrictDataclassError, SafetensorError, TypeError, ValueError, OSError, RuntimeError) as error:
        # of configurations, of files, and of sizes for which there is no memory
        raise OptionError(f"the model cannot be built from these options: {error}") from error


def _build(
    arguments: ModelArguments, label_names: Sequence[str], problem_type: str, training_rows: Dataset
) -> tuple[DRKFForEmotionClassification, DRKFProcessor]:
    if len(label_names) < 2:
        raise OptionError(f"the corpus has one class alone, {''.join(label_names)}: there is nothing to tell apart")
    drkf = _config_fields(arguments, training_rows, len(label_names))
    if arguments.model_name_or_path:
        require_safe(arguments.model_name_or_path)
        stored = DRKFConfig.from_pretrained(arguments.model_name_or_path).to_dict()
        config = DRKFConfig(**(stored | drkf))
        try:
            model = DRKFForEmotionClassification.from_pretrained(arguments.model_name_or_path, config=config)
        except RuntimeError as error:
            raise OptionError(
                f"the weights of {arguments.model_name_or_path} do not fit (see above): leave its sizes out of --drkf "
                "and of the recipe"
            ) from error
        if model.config.label_names != list(label_names):
            raise OptionError(
                f"{arguments.model_name_or_path} has the labels {model.config.label_names}, the corpus has "
                f"{list(label_names)}: map the corpus' with --label-map, or start from encoders"
            )
        if model.config.problem_type != problem_type:
            raise OptionError(
                f"{arguments.model_name_or_path} was made for {model.config.problem_type}, the corpus asks for "
                f"{problem_type}: start from encoders"
            )
        processor = AutoProcessor.from_pretrained(
            arguments.model_name_or_path, max_audio_seconds=arguments.max_audio_seconds
        )
        processor.skip_silence |= arguments.skip_silence
    else:
        audio: Any = arguments.audio_encoder
        text: Any = arguments.text_encoder
        processor = DRKFProcessor(
            _feature_extractor(audio, arguments.feature_extractor),
            _tokenizer(text, training_rows["text"]),
            max_audio_seconds=arguments.max_audio_seconds,
            unpadded_speech=bool(drkf.get("unpadded_speech", False)),
            skip_silence=arguments.skip_silence,
        )
        model = DRKFForEmotionClassification.from_encoders(
            audio,
            _text_encoder(text, processor.tokenizer),
            problem_type=problem_type,
            id2label=dict(enumerate(label_names)),
            label2id={name: index for index, name in enumerate(label_names)},
            **drkf,
        )
    _choose_trained_parameters(model, arguments)
    return model, processor


def _config_fields(arguments: ModelArguments, training_rows: Dataset, num_labels: int) -> dict[str, Any]:
    fields: dict[str, Any] = dict(arguments.drkf or {})  # type: ignore[arg-type]
    if arguments.class_weights is not None:
        balanced = arguments.class_weights == "balanced"
        fields["class_weights"] = (
            balanced_class_weights(training_rows, num_labels) if balanced else arguments.class_weights
        )
    if arguments.modality_dropout is not None:
        fields["modality_dropout"] = arguments.modality_dropout
    if arguments.modality != "both":
        fields |= {"representation": "none", "emotion_discrimination": False}
    return fields


def _choose_trained_parameters(model: DRKFForEmotionClassification, arguments: ModelArguments) -> None:
    encoding = model.drkf.modality_encoding
    if arguments.freeze_feature_encoder:
        model.freeze_feature_encoder()
    if arguments.freeze_speech_encoder:
        model.freeze_speech_encoder()
    if arguments.freeze_text_encoder:
        model.freeze_text_encoder()
    if arguments.lora is not None:
        frozen = {"speech": arguments.freeze_speech_encoder, "text": arguments.freeze_text_encoder}
        encoders = {"speech": encoding.speech_encoder, "text": encoding.text_encoder}
        for name in (name for name in encoders if not frozen[name]):
            add_lora(encoders[name], arguments.lora)  # type: ignore[arg-type]


def _feature_extractor(audio_encoder: str | Mapping[str, Any], fields: Any) -> Any:
    if isinstance(audio_encoder, str):
        return AutoFeatureExtractor.from_pretrained(audio_encoder)
    fields = dict(fields or {})
    default = FEATURE_EXTRACTORS.get(audio_encoder["model_type"], "Wav2Vec2FeatureExtractor")
    name = str(fields.pop("feature_extractor_type", default))
    extractor = getattr(transformers, name, None)
    if not (isinstance(extractor, type) and issubclass(extractor, FeatureExtractionMixin)):
        raise OptionError(f"--feature-extractor: transformers has no feature extractor {name}")
    return extractor(**fields)


def _tokenizer(text_encoder: str | Mapping[str, Any], training_texts: Iterable[str]) -> Any:
    if isinstance(text_encoder, str):
        return AutoTokenizer.from_pretrained(text_encoder)
    # Byte-pair encoding learns the same vocabulary from the same texts; the library's WordPiece trainer does not.
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=text_encoder.get("vocab_size", DEFAULT_VOCABULARY),
        special_tokens=SPECIAL_TOKENS,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(training_texts, trainer)
    cls, sep = ((token, SPECIAL_TOKENS.index(token)) for token in ("[CLS]", "[SEP]"))
    tokenizer.post_processor = processors.BertProcessing(sep, cls)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        model_max_length=text_encoder.get("max_position_embeddings", DEFAULT_POSITIONS) - UNUSED_POSITIONS,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
    )


def _text_encoder(text_encoder: str | Mapping[str, Any], tokenizer: Any) -> str | dict[str, Any]:
    if isinstance(text_encoder, str):
        return text_encoder
    # Fewer words than the recipe has room for must not change how many random numbers the initial weights take.
    rows = max(len(tokenizer), text_encoder.get("vocab_size", 0))
    return {**text_encoder, "vocab_size": rows, "pad_token_id": tokenizer.pad_token_id}
