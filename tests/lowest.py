"""Print the lowest supported version of each library as constraints for pip: `make test-lowest`."""

import re
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).parent.parent / "pyproject.toml"
ONLY_FOR_TESTS = {"dev", "integration"}  # extras whose libraries may have any version


def lowest() -> dict[str, str]:
    """Return the lowest version of each library that infogan and its extras need, by name."""
    project = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]
    requirements = [*project["dependencies"]]
    for extra, names in project["optional-dependencies"].items():
        if extra not in ONLY_FOR_TESTS:
            requirements += names
    versions: dict[str, str] = {}
    for requirement in requirements:
        match = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement)
        if not match:
            raise ValueError(f"{requirement!r} in pyproject.toml has no lowest version")
        name, version = match.groups()
        if versions.setdefault(name, version) != version:
            raise ValueError(f"pyproject.toml has two lowest versions of {name}")
    return versions


if __name__ == "__main__":
    for name, version in sorted(lowest().items()):
        print(f"{name}=={version}")
