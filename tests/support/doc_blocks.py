"""The code of a Markdown page: its fenced blocks and its command lines."""

from __future__ import annotations

import re
import shlex
import textwrap
from dataclasses import dataclass

_FENCED = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<code>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
_SHELL_LANGUAGES = ("", "text", "sh", "bash", "shell", "console")
_OPERATORS = ("|", ">", "2>", "&&", "||", ";", "&")
_PROMPT = re.compile(r"^(?:\$ )?(?:\S*/)?iaca (?=\S)")


@dataclass(frozen=True, slots=True)
class Block:
    """One fenced block."""

    language: str
    line_number: int  # of its first line of code
    code: str


def blocks(text: str) -> list[Block]:
    """All fenced blocks of a page, in their order."""
    return [
        Block(found["language"], text.count("\n", 0, found.start("code")) + 1, textwrap.dedent(found["code"]))
        for found in _FENCED.finditer(text)
    ]


def commands(text: str) -> list[str]:
    """The command lines of `iaca` in a page: lines of its blocks, and code within its text that has arguments."""
    outside = _FENCED.sub("", text)
    inline = [span for span in re.findall(r"`([^`\n]+)`", outside) if re.match(r"iaca \S+ \S", span)]
    lines = []
    for block in blocks(text):
        if block.language in _SHELL_LANGUAGES:
            lines += block.code.replace("\\\n", " ").splitlines()
    return [line.strip() for line in lines if _PROMPT.match(line.strip())] + inline


def arguments(command: str) -> list[str]:
    """What the shell would pass to `iaca` in a command line of a page; optional parts in [brackets] are passed."""
    words = shlex.split(_PROMPT.sub("", re.sub(r"[\[\]]", "", command)), comments=True)
    ends = [number for number, word in enumerate(words) if word in _OPERATORS]
    return words[: ends[0]] if ends else words
