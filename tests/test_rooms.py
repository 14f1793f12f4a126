"""The house rules on files: what travels with a checkpoint, and which room may import which."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from helpers.tiny import tiny_model, tiny_processor

ROOT = Path(__file__).resolve().parents[1]
TRAVELLERS = ("*_drkf.py", "orl_*.py", "kf_*.py", "handler.py")
ROOMS = (  # from the top of the house to its ground
    "study",
    "benchmarks",
    "drkf_cli",
    "train_drkf",
    "modeling_drkf.experiments",
    "modeling_drkf.training",
    "modeling_drkf.release",
    "modeling_drkf",
    "processing.figures",
    "processing.evaluation",
    "processing.corpora",
    "processing.transcripts",
    "processing",
)


def module_name(file: Path) -> str:
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {
    module_name(file): file
    for top in ("study", "benchmarks", "drkf_cli", "train_drkf.py", "modeling_drkf", "processing")
    for file in ([ROOT / top] if top.endswith(".py") else sorted((ROOT / top).rglob("*.py")))
}


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def nodes(tree: ast.AST, eager: bool) -> Iterator[ast.AST]:
    """All nodes that run, or with `eager` those that run at import."""
    for node in ast.iter_child_nodes(tree):
        if is_type_checking(node) or (eager and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))):
            continue
        yield node
        yield from nodes(node, eager)


def imports(module: str, eager: bool) -> set[str]:
    """The project's own modules that a module imports, by full name."""
    file = FILES[module]
    package = module.split(".") if file.name == "__init__.py" else module.split(".")[:-1]
    found: set[str] = set()
    for node in nodes(ast.parse(file.read_text()), eager):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join([*base, *([node.module] if node.module else [])])
            found |= {
                f"{source}.{alias.name}" if f"{source}.{alias.name}" in FILES else source for alias in node.names
            }
    return found & FILES.keys()


def parents(module: str) -> set[str]:
    parts = module.split(".")
    return {".".join(parts[:end]) for end in range(1, len(parts))} & FILES.keys()


def room(module: str) -> int:
    return next(index for index, name in enumerate(ROOMS) if f"{module}.".startswith(f"{name}."))


def test_a_saved_folder_carries_the_files_that_are_named_so_and_no_other(tmp_path: Path):
    tiny_model().save_pretrained(tmp_path)
    tiny_processor().save_pretrained(tmp_path)
    carried = {file.name for file in tmp_path.glob("*.py")} - {"__init__.py"}
    named = [
        file.name
        for top in ("modeling_drkf", "processing")
        for pattern in TRAVELLERS
        for file in (ROOT / top).rglob(pattern)
    ]
    assert len(named) == len(set(named))
    assert {"modeling_drkf.py", "handler.py", "kf_fusion_encoder.py", "orl_cmie_baseline.py"} < carried
    assert carried == set(named) - {"train_drkf.py"}


@pytest.mark.parametrize("module", sorted(FILES))
def test_no_import_runs_upwards(module: str):
    upwards = {imported for imported in imports(module, eager=False) if room(imported) < room(module)}
    assert not upwards


def test_no_module_is_imported_half_initialised():
    graph = {}
    for module in FILES:
        needed = imports(module, eager=True)
        packages = {package for name in needed for package in parents(name)} - parents(module)
        graph[module] = (needed | packages) - {module}
    order = list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle
    assert order.index("modeling_drkf.configuration_drkf") < order.index("modeling_drkf.modeling_drkf")


def test_modules_import_each_other_in_one_direction_only_even_inside_functions():
    graph = {module: imports(module, eager=False) - {module} for module in FILES}
    list(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


REGISTERED = """
import sys
from transformers import CONFIG_MAPPING, MODEL_MAPPING, MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING
from transformers.models.auto.processing_auto import PROCESSOR_MAPPING
from transformers.pipelines import PIPELINE_REGISTRY
from modeling_drkf import DRKFConfig, DRKFForEmotionClassification, DRKFModel
from processing import DRKFProcessor
assert CONFIG_MAPPING["drkf"] is DRKFConfig
assert MODEL_MAPPING[DRKFConfig] is DRKFModel
assert MODEL_FOR_AUDIO_CLASSIFICATION_MAPPING[DRKFConfig] is DRKFForEmotionClassification
assert PROCESSOR_MAPPING[DRKFConfig] is DRKFProcessor
assert "multimodal-emotion-recognition" in PIPELINE_REGISTRY.get_supported_tasks()
assert DRKFConfig._auto_class == "AutoConfig" and DRKFModel._auto_class == "AutoModel"
assert DRKFForEmotionClassification._auto_class == "AutoModelForAudioClassification"
assert DRKFProcessor._auto_class == "AutoProcessor"
"""


@pytest.mark.parametrize(
    "first",
    [
        "import modeling_drkf, transformers; transformers.AutoConfig",
        "import modeling_drkf.orl_modality_encoding",
        "from transformers import pipeline; import modeling_drkf",
        "import modeling_drkf; from processing import DRKFProcessor",
        "from drkf_cli.checkpoint import starter_folder",
    ],
)
def test_every_order_of_imports_registers_everything(first: str):
    run(first + REGISTERED)


def test_reading_corpora_and_asking_for_help_loads_nothing_heavy():
    run(
        "import sys, drkf_cli, processing, processing.corpora\n"
        "heavy = {'torch', 'transformers', 'datasets', 'evaluate', 'sklearn', 'matplotlib'} & sys.modules.keys()\n"
        "assert not heavy, heavy"
    )


def run(script: str) -> None:
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
