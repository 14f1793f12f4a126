#!/usr/bin/env bash
# What a GPU can tell, in less than 8 minutes, on a bare machine with Python, torch and CUDA, and without network.
#   pip wheel --wheel-dir wheels '.[dev]'     # elsewhere, beforehand, for the same Python; torch itself is not needed
#   benchmarks/gpu.sh wheels results [peak of the device in bf16, dense TFLOP/s; an H100's if not given]
# Writes the tests' report and a JSON file a measurement; a measurement that fails or takes too long is reported.
set -uo pipefail
cd "$(dirname "$0")/.."
wheels=$1 results=$2 peak=${3:-989}
mkdir -p "$results"
python3 -m venv --system-site-packages "$results/venv"
python="$results/venv/bin/python"
"$python" -m pip install --quiet --no-index --find-links "$wheels" \
    transformers accelerate datasets evaluate soundfile soxr scikit-learn pandas scipy pyyaml tqdm typer rich jinja2 \
    pytest hypothesis psutil || exit 1
export PYTHONPATH=$PWD HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
"$python" -c "import torch; print(torch.__version__, torch.cuda.get_device_name())" | tee "$results/device.txt" || exit 1

measure() { # name, seconds, arguments of benchmarks.speed
    local name=$1 limit=$2
    shift 2
    echo "== $name"
    timeout "$limit" "$python" -m benchmarks.speed "$@" --preset paper --device cuda --json "$results/$name.json" ||
        echo "$name: failed or took more than $limit s"
}
package=(--variants package "encoders alone")
timeout 120 "$python" -m pytest -q -m gpu tests/test_gpu.py --junitxml "$results/tests.xml" || echo "tests: failed"
measure training_m4 80 training --bf16 --utterances 16 --rounds 2 --peak-tflops "$peak"
measure training_m16 40 training --bf16 --utterances 32 --batch-size 16 --rounds 2 --peak-tflops "$peak" "${package[@]}"
measure training_m64 60 training --bf16 --utterances 64 --batch-size 64 --rounds 1 --peak-tflops "$peak" "${package[@]}"
measure training_m64_8_pairs 40 training --bf16 --utterances 64 --batch-size 64 --rounds 2 --discrimination-pairs 8 \
    --peak-tflops "$peak" "${package[@]}"
measure memory_m4 40 memory --bf16
measure memory_m16 40 memory --bf16 --batch-size 16 "${package[@]}"
measure inference 30 inference --bf16 --utterances 64 --batch-size 16 --rounds 2
