"""What all tests share."""

from pathlib import Path

import hypothesis
import pytest
import torch

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

hypothesis.settings.register_profile("drkf", deadline=None)
hypothesis.settings.load_profile("drkf")
torch.set_num_threads(1)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Name bytes by their length: encoded audio may carry the time, and parallel workers must name a test alike."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real development data beside the checkout; the test skips where it is absent."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"real development data are not beside this checkout ({SHARED_DATA.name}/ is missing)")
    return SHARED_DATA
