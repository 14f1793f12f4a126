"""The model card that a training run leaves beside its weights."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData
from transformers import Trainer

from processing.metrics_drkf import FORMULAS

from .configuration_drkf import DRKFConfig

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


def model_card(
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
    sizes = ", ".join(
        f"{fold[part]} {verb}"
        for part, verb in (("train", "utterances train"), ("validation", "validate"), ("test", "test"))
        if part in fold
    )
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
