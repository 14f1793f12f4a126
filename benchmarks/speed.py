"""How fast a training step and inference are, beside the straightforward way and beside the encoders alone.

    python -m benchmarks.speed training                      # minutes on two cores
    python -m benchmarks.speed training --batch-size 32 --discrimination-pairs 8 --between 2.9 3.6
    python -m benchmarks.speed training --preset paper --device cuda --bf16
    python -m benchmarks.speed inference --utterances 200
    python -m benchmarks.speed memory
    python -m benchmarks.speed start-up

All variants share one process, the same weights and the same utterances, and take turns; figures are medians over
rounds. The reference and the floor, `encoders alone`, run both encoders as transformers does; graphs are what `drkf
export onnx` writes. `--json FILE` writes the figures. Memory is the growth of a fresh process' peak while it makes
steps.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from modeling_drkf import DRKFForEmotionClassification
from modeling_drkf.release.onnx_export import export_onnx
from processing.onnx_recognizer import OnnxEmotionRecognizer

from . import reference
from .workload import PRESETS, build_model, build_processor, grouped_batches, random_batches, utterances

Batch = dict[str, Tensor]
SAMPLES_A_FRAME = 320


def encoders_loss(model: DRKFForEmotionClassification, batch: Batch) -> Tensor:
    """Both encoders and adapters alone: the floor of a training step."""
    speech, text = reference.encode(model, batch)
    return reference.masked_mean(*speech).mean() + text[0][:, 0].mean()


TRAINING: dict[str, Callable[[DRKFForEmotionClassification, Batch], Tensor]] = {
    "reference": reference.training_loss,
    "package": lambda model, batch: model(**batch).loss,
    "encoders alone": encoders_loss,
    "the package's encoders": encoders_loss,
}
INFERENCE: dict[str, Callable[[DRKFForEmotionClassification, Batch], Any]] = {
    "reference": reference.predict,
    "package": lambda model, batch: model(**{name: batch[name] for name in batch if name != "labels"}).logits,
    "encoders alone": reference.encode,
    "the package's encoders": reference.encode,
}
GRAPHS = {"float32 graph": False, "int8 graph": True}
PLAIN = ("reference", "encoders alone")  # with encoders as transformers runs them


def exported(model: DRKFForEmotionClassification, int8: bool, threads: int) -> Callable[..., Any]:
    """What `drkf export onnx` makes of the model, run by onnxruntime."""
    with TemporaryDirectory() as scratch:
        checkpoint, folder = Path(scratch, "checkpoint"), Path(scratch, "graph")
        model.save_pretrained(checkpoint)
        build_processor().save_pretrained(checkpoint)
        export_onnx(checkpoint, folder, int8)
        graph = OnnxEmotionRecognizer.from_pretrained(folder, threads)
    return lambda _, batch: graph.infer({name: batch[name].numpy() for name in batch if name != "labels"})


def batches_of(variant: str, rows: list[Batch], size: int) -> list[Batch]:
    """Random batches for the reference; batches of like lengths, the default of recipes and pipeline, for the rest."""
    return random_batches(rows, size) if variant == "reference" else grouped_batches(rows, size)


def measure_training(options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of a pass over all utterances, by variant, a figure a round: forward, backward, AdamW."""
    models, rows = _prepare(options)
    optimizers = {
        model: torch.optim.AdamW(model.train().parameters(), lr=1e-6, fused=True) for model in set(models.values())
    }
    seconds: dict[str, list[float]] = {variant: [] for variant in options.variants}
    for number in range(options.rounds + 1):
        for variant in seconds:
            loss_of, batches = TRAINING[variant], batches_of(variant, rows, options.batch_size)
            model = models[variant]
            optimizer = optimizers[model]
            start = _now(options)
            for batch in batches if number else batches[:1]:
                with _autocast(options):
                    loss = loss_of(model, batch)
                loss.backward()
                optimizer.step()
                optimizer.zero_grad()
            seconds[variant].append(_now(options) - start)
    return {variant: rounds[1:] for variant, rounds in seconds.items()}


def measure_inference(options: argparse.Namespace) -> dict[str, list[float]]:
    """Seconds of a pass over all utterances, by variant, a figure a round."""
    models, rows = _prepare(options)
    answers = INFERENCE | {
        name: exported(models["package"], int8, options.threads)
        for name, int8 in GRAPHS.items()
        if name in options.variants
    }
    seconds: dict[str, list[float]] = {variant: [] for variant in options.variants}
    for number in range(options.rounds + 1):
        for variant in seconds:
            answer, batches = answers[variant], batches_of(variant, rows, options.batch_size)
            model = models["package" if variant in GRAPHS else variant].eval()
            start = _now(options)
            with torch.inference_mode(), _autocast(options):
                for batch in batches if number else batches[:1]:
                    answer(model, batch)
            seconds[variant].append(_now(options) - start)
    return {variant: rounds[1:] for variant, rounds in seconds.items()}


def peak_memory(options: argparse.Namespace) -> float:
    """MiB by which steps on the longest utterances raise the peak of this process, or of the GPU."""
    models, rows = _prepare(options)
    model = models[options.variant].train()
    batch = grouped_batches(rows, options.batch_size)[0]
    loss_of = TRAINING[options.variant]
    if options.device == "cuda":
        loss_of(model, batch).backward()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        loss_of(model, batch).backward()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    resident = process_memory("VmRSS")
    loss_of(model, batch).backward()
    return process_memory("VmHWM") - resident


def measure_memory(options: argparse.Namespace, arguments: list[str]) -> dict[str, float]:
    """Peak MiB by variant, each in a process of its own."""
    peaks = {}
    for variant in options.variants:
        command = [sys.executable, "-m", "benchmarks.speed", *arguments, "--variant", variant]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        peaks[variant] = float(done.stdout.split()[-1])
    return peaks


PIPELINE = "from transformers import AutoModelForAudioClassification, AutoProcessor, pipeline"
START_UP = {
    "import transformers": "import transformers",
    "import modeling_drkf": "import modeling_drkf",
    "transformers' pipeline": PIPELINE,
    "DRKF registered with it": f"import modeling_drkf\n{PIPELINE}",
}


def measure_start_up(options: argparse.Namespace) -> dict[str, list[float]]:
    """Processor seconds of fresh interpreters, by what they import."""
    seconds: dict[str, list[float]] = {name: [] for name in START_UP}
    for _ in range(options.rounds):
        for name, script in START_UP.items():
            start = _children_time()
            subprocess.run([sys.executable, "-c", script], check=True)
            seconds[name].append(_children_time() - start)
    return seconds


def package_rates(options: argparse.Namespace, seconds: float) -> dict[str, float]:
    """What the package's pass over all utterances does a second; what is computed again counts again."""
    models, rows = _prepare(options)
    model = models["package"].train()
    positions = sum(len(row["input_values"]) // SAMPLES_A_FRAME + len(row["input_ids"]) for row in rows)
    rates = {"frames and tokens/s": positions / seconds}
    if options.peak_tflops:
        with FlopCounterMode(display=False) as counter, _autocast(options):
            for batch in batches_of("package", rows, options.batch_size):
                model(**batch).loss.backward()
        rates["TFLOP/s"] = counter.get_total_flops() / seconds / 1e12
        rates["of the device's peak"] = rates["TFLOP/s"] / options.peak_tflops
    return rates


def _prepare(options: argparse.Namespace) -> tuple[dict[str, DRKFForEmotionClassification], list[Batch]]:
    """The model of each variant, of the same weights, and the utterances."""
    torch.set_num_threads(options.threads)
    model = build_model(PRESETS[options.preset], discrimination_pairs=options.discrimination_pairs).to(options.device)
    plain = reference.with_plain_encoders(model)
    rows = utterances(options.utterances, between=options.between)
    moved = [{name: value.to(options.device) for name, value in row.items()} for row in rows]
    return {variant: plain if variant in PLAIN else model for variant in TRAINING}, moved


def _autocast(options: argparse.Namespace) -> Any:
    return torch.autocast(options.device, torch.bfloat16) if options.bf16 else nullcontext()


def _now(options: argparse.Namespace) -> float:
    """Of one thread its own seconds, which other work on the machine does not lengthen."""
    if options.device == "cuda":
        torch.cuda.synchronize()
    elif options.threads == 1:
        return time.process_time()
    return time.perf_counter()


def _children_time() -> float:
    times = os.times()
    return times.children_user + times.children_system


def process_memory(field: str) -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(field)) / 1024


def _arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.speed", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=["training", "inference", "memory", "start-up"])
    parser.add_argument("--preset", choices=PRESETS, default="small", help="width and depth of the model")
    parser.add_argument("--utterances", type=int, default=32)
    parser.add_argument(
        "--between", type=float, nargs=2, metavar="SECONDS", help="uniform durations in place of IEMOCAP's"
    )
    parser.add_argument("--batch-size", type=int, default=4, help="M")
    parser.add_argument("--discrimination-pairs", type=int, help="cap of Eq. 19; all M^2 pairs if not given")
    parser.add_argument("--rounds", type=int, default=3, help="passes over the utterances, after a batch to warm up")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--bf16", action="store_true", help="autocast to bfloat16")
    parser.add_argument("--variants", nargs="+", choices=INFERENCE | GRAPHS, help="which to time")
    parser.add_argument("--peak-tflops", type=float, help="of the device; also count operations")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    parser.add_argument("--variant", choices=TRAINING, help=argparse.SUPPRESS)
    return parser


def main() -> None:
    options = _arguments().parse_args()
    graphs = GRAPHS if options.what == "inference" and options.device == "cpu" else {}
    options.variants = options.variants or [*INFERENCE, *graphs]
    if options.what == "memory" and options.variant:
        print(peak_memory(options))
        return
    if options.what == "memory":
        figures: dict[str, Any] = measure_memory(options, sys.argv[1:])
        unit, per_round = "MiB", {name: [value] for name, value in figures.items()}
    else:
        measures = {"training": measure_training, "inference": measure_inference, "start-up": measure_start_up}
        unit, per_round = "s", measures[options.what](options)
    medians = {name: statistics.median(rounds) for name, rounds in per_round.items()}
    floor = medians.get("encoders alone", medians.get("import transformers"))
    for name, value in medians.items():
        speed = (
            f"  {options.utterances / value:8.2f} utterances/s" if options.what in ("training", "inference") else ""
        )
        print(f"{name:24} {value:10.3f} {unit}{speed}" + (f"  {value / floor:6.2f} x the floor" if floor else ""))
    has_rates = options.what == "training" and "package" in medians
    rates = package_rates(options, medians["package"]) if has_rates else {}
    for name, value in rates.items():
        print(f"package: {value:.4g} {name}")
    if "reference" in medians and "package" in medians:
        print(f"reference / package: {medians['reference'] / medians['package']:.2f}")
    if options.json:
        setting = {name: value for name, value in vars(options).items() if name not in ("json", "variant")}
        machine = {"processor": platform.processor(), "torch": torch.__version__}
        record = {"setting": setting, "machine": machine, "unit": unit, "medians": medians, "rates": rates}
        record["rounds"] = per_round
        options.json.write_text(json.dumps(record, indent=2) + "\n")


if __name__ == "__main__":
    main()
