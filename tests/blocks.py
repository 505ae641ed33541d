"""What a page of docs/ tells the reader to run, its blocks of Python and its commands, to be run in that order.

They share one process, so that a page of ten commands does not import PyTorch ten times.
"""

import re
import shlex
import sys

from tests import ROOT

PAGES = ROOT / "docs"
BLOCKS = re.compile(r"^```python\n(?P<python>.*?)^```$|^    infogan (?P<command>[^\n#]*)", re.MULTILINE | re.DOTALL)


def blocks(page: str) -> list[tuple[str, str]]:
    """Of each block its kind, ``python`` or ``command``, and its text."""
    text = (PAGES / page).read_text(encoding="utf-8")
    return [(found.lastgroup or "", found[found.lastgroup or ""]) for found in BLOCKS.finditer(text)]


def run(page: str) -> int:
    """Runs them in the current folder; returns how many."""
    from infogan.cli.app import main

    names: dict[str, object] = {}
    for kind, text in (found := blocks(page)):
        print(f"{kind}: {text}", file=sys.stderr)
        if kind == "python":
            exec(compile(text, page, "exec"), names)
            continue
        sys.argv = ["infogan", *shlex.split(text)]
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise
    return len(found)


if __name__ == "__main__":
    print(run(sys.argv[1]))
