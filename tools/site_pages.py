"""A hook of mkdocs: the site shows CONTRIBUTING.md and SECURITY.md, which lie where hosts of repositories look."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("CONTRIBUTING.md", "SECURITY.md")

_LINK = re.compile(r"\[([^]]+)\]\(([^)#:]+)(#[^)]*)?\)")


def on_files(files: Any, config: Any) -> Any:
    """Add the pages; called by mkdocs with the files of docs/."""
    from mkdocs.structure.files import File

    for name in PAGES:
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name.lower(), content=as_seen_from_docs(text)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Have links to the pages lead to where the site has them; called by mkdocs with each page."""
    for name in PAGES:
        markdown = markdown.replace(f"](../{name}", f"]({name.lower()}")
    return markdown


def as_seen_from_docs(text: str) -> str:
    """A page of the root with its links as they are in docs/: a file that is not in the site is only named."""

    def moved(link: re.Match[str]) -> str:
        words, target, anchor = link[1], link[2], link[3] or ""
        if target in PAGES:
            return f"[{words}]({target.lower()}{anchor})"
        if target.startswith("docs/"):
            return f"[{words}]({target.removeprefix('docs/')}{anchor})"
        return words

    return _LINK.sub(moved, text)
