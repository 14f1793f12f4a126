"""`make oldest` installs the oldest versions that setup.cfg allows."""

from configparser import ConfigParser
from pathlib import Path

from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
NEWER = {"torch"}  # its oldest wheels on PyPI take several GB


def requirements(lines: str) -> dict[str, Requirement]:
    found = [Requirement(line) for line in lines.splitlines() if line and not line.startswith("#")]
    return {requirement.name: requirement for requirement in found}


def version(requirement: Requirement, operator: str) -> Version:
    return next(Version(part.version) for part in requirement.specifier if part.operator == operator)


def test_the_oldest_versions_are_the_floors():
    setup = ConfigParser()
    setup.read(ROOT / "setup.cfg")
    floors = requirements(setup["options"]["install_requires"])
    oldest = requirements((ROOT / ".ci" / "oldest.txt").read_text())
    assert oldest.keys() == floors.keys()
    for name, floor in floors.items():
        pinned = version(oldest[name], "==")
        assert pinned >= version(floor, ">=") if name in NEWER else pinned == version(floor, ">="), name
        assert floor.specifier.contains(pinned)
