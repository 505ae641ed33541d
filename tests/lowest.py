"""Prints, as constraints for pip, the lowest version that pyproject.toml allows of each library: `make test-lowest`."""

import re
import tomllib

from tests import ROOT


def lowest() -> dict[str, str]:
    """The lowest allowed version by name, of what infogan and its extras need; what only its tests need is any."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    needed = [*project["dependencies"]]
    for extra, names in project["optional-dependencies"].items():
        if extra != "dev":
            needed += names
    found: dict[str, str] = {}
    for line in needed:
        match = re.fullmatch(r"([\w.-]+)>=([\w.]+)", line)
        if not match:
            raise ValueError(f"{line!r} of pyproject.toml names no lowest version")
        name, version = match.groups()
        if found.setdefault(name, version) != version:
            raise ValueError(f"pyproject.toml has two lowest versions of {name}")
    return found


if __name__ == "__main__":
    for name, version in sorted(lowest().items()):
        print(f"{name}=={version}")
