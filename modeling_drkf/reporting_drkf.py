"""What a training run leaves beside its weights: metrics, predictions, pictures and a model card."""

import json
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas
import torch
from datasets import Dataset
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from scipy.special import expit, softmax
from transformers import Trainer
from transformers.utils import logging

from processing.figures_drkf import plot_confusion_matrix, plot_loss_curves
from processing.metrics_drkf import FORMULAS, bootstrap_interval, emotion_metrics, predictions_from_logits
from processing.protocols_drkf import Fold

from .configuration_drkf import DRKFConfig

logger = logging.get_logger(__name__)

NON_COMMERCIAL_ENCODERS = {"audeering/wav2vec2-large-robust-12-ft-emotion-msp-dim": "cc-by-nc-sa-4.0"}

CARD = """---
{metadata}
---

# DRKF on {corpus}

Recognises {classes} from speech and its transcript together: [DRKF](https://doi.org/10.1145/3746027.3754758)
(Decoupled Representations with Knowledge Fusion, ACM MM 2025). It also tells whether the voice agrees with the words.

```python
import torch
from transformers import AutoModelForAudioClassification, AutoProcessor

processor = AutoProcessor.from_pretrained(".", trust_remote_code=True)
model = AutoModelForAudioClassification.from_pretrained(".", trust_remote_code=True).eval()
inputs = processor(audio="clip.wav", text="what was said", return_tensors="pt")
with torch.no_grad():
    output = model(**inputs)
{probabilities}
agreement = output.consistency_logits.sigmoid() if output.consistency_logits is not None else None
```

## Results

{results}

{protocol}

{formulas}

{pictures}

## Training

- Speech encoder: {audio_encoder}
- Text encoder: {text_encoder}
- Table 4 switches: representation `{representation}`, fusion `{fusion}`, emotion discrimination `{discrimination}`
- {epochs:g} epochs at most, batch {batch}, learning rate {learning_rate:g}, seed {seed}; the epoch with the best
  {selection} on the validation part was kept.

## Limits and misuse

The model names the emotion that annotators would hear and read in a clip like those it was trained on. It does not
know what a person feels, and it is worse on other languages, accents, recording conditions and ways of speaking. Do
not use it to judge, rank, hire, grade, police or treat people. In the European Union, emotion inference at work and in
education is prohibited but for medical and safety reasons (Regulation 2024/1689, Article 5(1)(f)), and elsewhere those
who are exposed to it must be told (Article 50(3)). The licences of corpus and encoders bind this checkpoint, too.
"""


def evaluate_split(
    trainer: Trainer, dataset: Dataset | torch.utils.data.Dataset, ids: Sequence[str], split: str, folder: Path
) -> dict[str, Any]:
    """Scores one split once, and writes `<split>_predictions.csv` with every probability of every utterance.

    Args:
        dataset: what the trainer's collator reads. ids: of its utterances, in the same order.

    Returns: `emotion_metrics` with their 95 % bootstrap `intervals`, and the loss terms as `losses`.
    """
    config: DRKFConfig = trainer.model.config  # type: ignore[union-attr, assignment]
    output = trainer.predict(dataset, metric_key_prefix=split)  # type: ignore[arg-type]
    outputs: Any = output.predictions if isinstance(output.predictions, tuple) else (output.predictions,)
    logits = outputs[0]
    predictions = predictions_from_logits(logits, config.problem_type or "")
    metrics = emotion_metrics(predictions, output.label_ids, config.label_names)
    metrics["intervals"] = bootstrap_interval(predictions, output.label_ids, config.label_names)
    metrics["losses"] = {
        name.removeprefix(f"{split}_"): value for name, value in (output.metrics or {}).items() if "_loss" in name
    }
    probabilities = expit(logits) if config.is_multi_label else softmax(logits, axis=-1)
    table = {"utterance_id": list(ids)}
    table["label"] = _names(output.label_ids, config)
    table["prediction"] = _names(predictions, config)
    table |= {name: probabilities[:, index].tolist() for index, name in enumerate(config.label_names)}
    if config.emotion_discrimination:
        table["consistency"] = expit(outputs[1]).tolist()
    if trainer.is_world_process_zero():
        pandas.DataFrame(table).to_csv(folder / f"{split}_predictions.csv", index=False)
    return metrics


def _names(labels: Any, config: DRKFConfig) -> list[str]:
    names = config.label_names
    if config.is_multi_label:
        return ["|".join(name for name, present in zip(names, row, strict=True) if present > 0.5) for row in labels]
    return [names[label] for label in np.asarray(labels).tolist()]


def write_report(trainer: Trainer, results: Mapping[str, Any], folder: Path, encoders: Mapping[str, str]) -> None:
    """Writes `metrics.json`, `README.md` and, where matplotlib is installed, the pictures.

    Args:
        results: `corpus`, `excluded` (ids by rule), `fold` (a [`Fold`]), `train_seconds`, and the metrics of each
            split that was scored.
        encoders: what the speech and the text encoder were made from, under `audio` and `text`.
    """
    fold: Fold = results["fold"]
    splits = {split: results[split] for split in ("validation", "test") if split in results}
    record = {
        "corpus": results["corpus"],
        "excluded": results["excluded"],
        "fold": {"name": fold.name, "speaker_disjoint": fold.speaker_disjoint}
        | {part: len(getattr(fold, part)) for part in ("train", "validation", "test")},
        "selection": f"validation {trainer.args.metric_for_best_model}",
        "train_seconds": results["train_seconds"],
        **splits,
    }
    (folder / "metrics.json").write_text(json.dumps(record, indent=2) + "\n")
    pictures = _draw(trainer, splits, folder)
    (folder / "README.md").write_text(_card(trainer, record, splits, pictures, encoders))


def _draw(trainer: Trainer, splits: Mapping[str, Any], folder: Path) -> list[str]:
    if find_spec("matplotlib") is None:
        logger.warning("No pictures: matplotlib is not installed (pip install matplotlib).")
        return []
    pictures = [plot_loss_curves(trainer.state.log_history, folder / "loss_curves.png")]
    config: DRKFConfig = trainer.model.config  # type: ignore[union-attr, assignment]
    for split, metrics in splits.items():
        if "confusion_matrix" in metrics:
            path = folder / f"{split}_confusion_matrix.png"
            pictures.append(plot_confusion_matrix(metrics["confusion_matrix"], config.label_names, path, split))
    return [picture.name for picture in pictures]


def _card(
    trainer: Trainer, record: Mapping[str, Any], splits: Mapping[str, Any], pictures: list[str],
    encoders: Mapping[str, str],
) -> str:  # fmt: skip
    config: DRKFConfig = trainer.model.config  # type: ignore[union-attr, assignment]
    corpus, fold, args = record["corpus"], record["fold"], trainer.args
    scalars = [name for name in FORMULAS if any(name in metrics for metrics in splits.values())]
    results = [
        EvalResult(
            task_type="audio-classification", dataset_type=corpus, dataset_name=corpus, dataset_split=split,
            metric_type=name, metric_name=name.replace("_", " "), metric_value=metrics[name],
        )
        for split, metrics in splits.items() for name in scalars
    ]  # fmt: skip
    data = ModelCardData(
        library_name="transformers",
        pipeline_tag="audio-classification",
        license=NON_COMMERCIAL_ENCODERS.get(encoders["audio"]),
        tags=["drkf", "speech-emotion-recognition", "multimodal"],
        model_name=f"DRKF on {corpus}",
        eval_results=results,
    )
    disjoint = "No speaker is in two parts" if fold["speaker_disjoint"] else "Speakers are shared between the parts"
    sizes = f"{fold['train']} utterances train, {fold['validation']} validate, {fold['test']} test"
    text = CARD.format(
        metadata=data.to_yaml(),
        corpus=corpus,
        classes=", ".join(config.label_names),
        probabilities=(
            "probabilities = output.logits.sigmoid()[0]"
            if config.is_multi_label
            else "probabilities = output.logits.softmax(-1)[0]"
        )
        + "\nprint({model.config.id2label[i]: round(p.item(), 3) for i, p in enumerate(probabilities)})",
        results=_results_table(splits, scalars),
        protocol=f"Protocol: fold `{fold['name']}`; {sizes}. {disjoint}. Brackets: 95 % bootstrap intervals over "
        "utterances.",
        formulas="\n".join(f"- {name.replace('_', ' ')}: {FORMULAS[name].formula}" for name in scalars),
        pictures="\n".join(f"![{Path(name).stem.replace('_', ' ')}]({name})" for name in pictures),
        audio_encoder=encoders["audio"],
        text_encoder=encoders["text"],
        representation=config.representation,
        fusion=config.fusion,
        discrimination=config.emotion_discrimination,
        epochs=args.num_train_epochs,
        batch=args.train_batch_size * args.gradient_accumulation_steps * args.world_size,
        learning_rate=args.learning_rate,
        seed=args.seed,
        selection=str(args.metric_for_best_model).removeprefix("eval_").replace("_", " "),
    )
    return str(ModelCard(text))


def _results_table(splits: Mapping[str, Any], scalars: list[str]) -> str:
    lines = ["| | " + " | ".join(splits) + " |", "|---|" + "---|" * len(splits)]
    for name in scalars:
        cells = []
        for metrics in splits.values():
            low, high = metrics["intervals"][name]
            cells.append(f"{metrics[name]:.3f} [{low:.3f}, {high:.3f}]")
        lines.append(f"| {name.replace('_', ' ')} | " + " | ".join(cells) + " |")
    for label in next(iter(splits.values()))["per_class"]:
        cells = [f"{metrics['per_class'][label]['f1']:.3f}" for metrics in splits.values()]
        lines.append(f"| F1 {label} | " + " | ".join(cells) + " |")
    return "\n".join(lines)
