"""transformers' own tests of configurations, models and processors pass; `make peer` shows their table."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import shipped

ROOT = Path(__file__).resolve().parents[2]
FEWEST_PASSED = 200  # of two fusion encoders and the processor: fewer would mean that the mixins were not run


@pytest.mark.slow
def test_the_tests_of_transformers_pass() -> None:
    try:
        shipped.fetch()
    except shipped.NotShippedError as error:
        pytest.skip(str(error))
    command = [sys.executable, "-m", "pytest", "--tb=short", "tests/peer/model.py", "tests/peer/processor.py"]
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-20_000:]
    passed = sum(map(int, re.findall(r"(\d+) passed", done.stdout.splitlines()[-1])))
    assert passed >= FEWEST_PASSED
