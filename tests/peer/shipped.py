"""The tests that transformers ships in its source distribution, importable as `transformers_tests`.

`python tests/peer/shipped.py` downloads the distribution of the installed version once, into `build/peer`.
"""

import subprocess
import sys
import tarfile
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parents[2] / "build" / "peer"
PACKAGE = "transformers_tests"
TIMEOUT = 120  # seconds
# Modules of transformers' repository that the shipped ones import and that are not shipped, with what is used of each.
ABSENT = {
    f"{PACKAGE}.exporters.test_export": {"ExportTesterMixin": object},
    f"{PACKAGE}.generation.test_utils": {"GenerationTesterMixin": type("GenerationTesterMixin", (), {})},
    f"{PACKAGE}.utils.test_configuration_utils": {"config_common_kwargs": {}},
    "fetch_hub_objects_for_ci": {"url_to_local_path": str},
}


class NotShippedError(Exception):
    """The source distribution cannot be had. The message says why."""


def fetch() -> Path:
    """The folder `tests` of the source distribution of the installed transformers, downloaded where it is not yet.

    Raises:
        NotShippedError: it cannot be downloaded, or holds no tests.
    """
    release = f"transformers-{version('transformers')}"
    tests = FOLDER / release / "tests"
    if not tests.is_dir():
        FOLDER.mkdir(parents=True, exist_ok=True)
        archive = FOLDER / f"{release}.tar.gz"
        if not archive.is_file():
            _download(release.replace("-", "==", 1))
        with tarfile.open(archive) as packed:
            packed.extractall(FOLDER, filter="data")
    if not (tests / "test_modeling_common.py").is_file():
        raise NotShippedError(f"the source distribution {release} holds no tests/test_modeling_common.py")
    (tests / "__init__.py").touch()  # `test_configuration_common` reads it to find transformers
    return tests


def _download(requirement: str) -> None:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-build-isolation"]
    command += ["--no-binary", "transformers", "--dest", str(FOLDER), requirement]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    except subprocess.TimeoutExpired as error:
        raise NotShippedError(f"{requirement} was not downloaded within {TIMEOUT} seconds") from error
    if done.returncode:
        raise NotShippedError(f"{requirement} cannot be downloaded as a source distribution: {done.stderr[-500:]}")


def load(name: str) -> ModuleType:
    """The module `name` of the shipped tests; what it imports in vain becomes an almost empty module."""
    package = ModuleType(PACKAGE)
    package.__path__ = [str(fetch())]
    sys.modules.setdefault(PACKAGE, package)
    for absent, content in ABSENT.items():
        module = ModuleType(absent)
        vars(module).update(content)
        sys.modules.setdefault(absent, module)
    return import_module(f"{PACKAGE}.{name}")


if __name__ == "__main__":
    print(fetch())
