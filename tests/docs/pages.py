"""Parts of documentation pages: prose, headings, links, and the names in backticks."""

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from tests import ROOT
from tests.blocks import Block, code_blocks

PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in [
        *(ROOT / f"{name}.md" for name in ("README", "CHANGELOG", "CONTRIBUTING", "SECURITY")),
        *sorted((ROOT / "docs").glob("*.md")),
    ]
}
COMMENT = re.compile(r"<!--.*?-->", re.DOTALL)
CODE = re.compile(r"(?P<ticks>`+)(?P<text>.+?)(?P=ticks)", re.DOTALL)
LINK = re.compile(r"!?\[(?:[^\[\]]|\[[^\]]*\])*\]\((?P<target>[^()\s]+)\)")
SOURCE = re.compile(r'(?:src|href)="(?P<target>[^"]+)"')
HEADING = re.compile(r"^#{1,6} (?P<title>.+?)$", re.MULTILINE)


@dataclass(frozen=True)
class Page:
    """A page of Markdown.

    Attributes:
        name: Path in the repository.
        text: Content.
    """

    name: str
    text: str = field(repr=False)

    @classmethod
    def read(cls, name: str) -> "Page":
        return cls(name, PAGES[name].read_text(encoding="utf-8"))

    @cached_property
    def blocks(self) -> list[Block]:
        return code_blocks(self.text)

    @cached_property
    def prose(self) -> str:
        """The text without code blocks and comments, with code in backticks."""
        text, end = "", 0
        for block in self.blocks:
            start = self.text.rfind("\n", 0, block.start) + 1
            text += self.text[end:start]
            end = block.end
        return COMMENT.sub("", text + self.text[end:])

    @cached_property
    def code(self) -> list[str]:
        """The texts in backticks."""
        return [" ".join(match["text"].replace("\\|", "|").split()) for match in CODE.finditer(self.prose)]

    @cached_property
    def targets(self) -> list[str]:
        """The targets of links and images."""
        text = CODE.sub("code", self.prose)
        return [match["target"] for pattern in (LINK, SOURCE) for match in pattern.finditer(text)]

    @property
    def broken_links(self) -> list[str]:
        """The targets of links to files and headings that do not exist; links to other hosts are not checked."""
        broken = []
        for target in self.targets:
            path, _, anchor = target.partition("#")
            if "://" in path or path.startswith("mailto:"):
                continue
            file = ((ROOT / self.name).parent / path).resolve()
            name = file.relative_to(ROOT).as_posix() if path else self.name
            page = Page.read(name) if path and name in PAGES else self
            if (path and not file.exists()) or (anchor and (page.name != name or anchor not in page.anchors)):
                broken.append(target)
        return broken

    @cached_property
    def anchors(self) -> set[str]:
        """The anchors of headings, as GitHub makes them."""
        anchors: set[str] = set()
        for match in HEADING.finditer(self.prose):
            title = LINK.sub(lambda link: link[0].partition("](")[0].lstrip("!["), match["title"])
            slug = re.sub(r"[^\w\- ]", "", title.lower().replace("`", "")).replace(" ", "-")
            numbers = (f"{slug}-{number}" if number else slug for number in range(len(self.text)))
            anchors.add(next(anchor for anchor in numbers if anchor not in anchors))
        return anchors

    @cached_property
    def unlinked_mentions(self) -> list[str]:
        """Names of other pages that are not links, in prose and in code blocks."""
        text = LINK.sub("", self.prose) + "\n".join(block.text for block in self.blocks)
        mentions = re.findall(r"(?<![\w/-])(?:docs/)?([\w-]+\.md)\b", text)
        pages = {Path(name).name for name in PAGES} - {"README.md", Path(self.name).name}  # a model has a README.md
        return [name for name in mentions if name in pages]
