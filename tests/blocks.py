"""The code blocks of documentation pages, and a program that runs those of one page in their order.

Usage: python -m tests.blocks PAGE.md

It runs the Python blocks and the ``infogan`` commands of a page of ``docs/`` in one process and prints their number, so
that PyTorch is imported once. Trainings are short.
"""

import re
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from tests import ROOT

DOCS = ROOT / "docs"
NOT_RUNNABLE = re.compile(r"<!-- not runnable: (?P<reason>.+) -->")
FENCE = re.compile(r"^(?P<fence>`{3,})(?P<language>\w*)\n(?P<text>.*?)^(?P=fence)$", re.MULTILINE | re.DOTALL)
INDENTED = re.compile(r"(?:(?<=\n\n)|\A)(?: {4}.*\n)(?:(?: {4}.*)?\n)*", re.MULTILINE)
HEREDOC = re.compile(r"<<'(?P<end>\w+)'\n.*?^(?P=end)$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"(?:^|.*\s)(?:-m )?infogan (?P<words>\S.*)")


@dataclass(frozen=True)
class Block:
    """A code block of a page.

    Attributes:
        language: The language of a fenced block, often empty; empty for an indented block.
        text: The code.
        start: Position of the block in the page.
        end: Position behind it.
        reason: Why the block cannot run, if a comment before it gives a reason.
    """

    language: str
    text: str
    start: int
    end: int
    reason: str = ""

    def commands(self) -> list[list[str]]:
        """Return the words after ``infogan`` of each command line in a block for a shell."""
        if self.language not in ("", "sh"):
            return []
        lines = HEREDOC.sub("", self.text).replace("\\\n", " ").splitlines()
        matches = [match for line in lines if (match := COMMAND.match(line))]
        return [
            words for match in matches if (words := shlex.split(match["words"], comments=True)) and words[0] != "&&"
        ]


def code_blocks(text: str) -> list[Block]:
    """Return the fenced and indented blocks of a page, in their order."""
    all_blocks = []
    for match in FENCE.finditer(text):
        comment = NOT_RUNNABLE.fullmatch(text[: match.start()].rstrip("\n").rpartition("\n")[2])
        all_blocks.append(Block(match["language"], match["text"], *match.span(), comment["reason"] if comment else ""))
    rest = FENCE.sub(lambda match: re.sub(r"[^\n]", "x", match[0]), text)
    for match in INDENTED.finditer(rest):
        all_blocks.append(Block("", re.sub(r"^ {4}", "", match[0], flags=re.MULTILINE), *match.span()))
    return sorted(all_blocks, key=lambda block: block.start)


def blocks(page: str) -> list[tuple[str, str]]:
    """Return the kind, ``python`` or ``command``, and the text of everything in a page that can be run."""
    runnable = []
    for block in code_blocks((DOCS / page).read_text(encoding="utf-8")):
        if block.language == "python" and not block.reason:
            runnable.append(("python", block.text))
        runnable += [("command", shlex.join(words)) for words in block.commands()]
    return runnable


@contextmanager
def short_training() -> Iterator[None]:
    """Make every training short and its networks small, whatever length a page asks for."""
    from infogan.api.resolve import Plan, resolve
    from infogan.config.load import merge

    small: dict[str, Any] = {
        "networks": {"width": 4, "encoder_width": 4},
        "train": {"batch_size": 16, "log_every": 2, "default_length": False, "budget": None, "images_seen": None}
        | {"steps": 8},
        "evaluation": {"samples": 200, "bootstrap_draws": 10},
    }

    def resolve_small(options: dict[str, Any], *arguments: Any, **keywords: Any) -> Plan:
        return resolve(merge(options, small), *arguments, **keywords)

    with mock.patch("infogan.api.train_run.resolve", resolve_small):
        yield


def run(page: str) -> int:
    """Run the blocks of a page in the current folder; return their number."""
    from infogan.cli.app import main

    namespace: dict[str, object] = {}
    runnable = blocks(page)
    for kind, text in runnable:
        print(f"{kind}: {text}", file=sys.stderr)
        if kind == "python":
            exec(compile(text, page, "exec"), namespace)
            continue
        sys.argv = ["infogan", *shlex.split(text)]
        try:
            main()
        except SystemExit as end:
            if end.code:
                raise
    return len(runnable)


if __name__ == "__main__":
    with short_training():
        print(run(Path(sys.argv[1]).name))
