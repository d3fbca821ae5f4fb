"""One word for one thing: names in the code keep to the glossary of docs/concepts.md."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SRC = ROOT / "src" / "poolinfer"
PAGE = ROOT / "docs" / "concepts.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FILES = [
    path
    for folder in ("src", "tests", "benchmarks", "examples")
    for path in sorted((ROOT / folder).rglob("*.py"))
]

_ROW = re.compile(r"^\| ([a-z][\w ]*) \| (.+) \| (.*)\|$", re.MULTILINE)
_BAN = re.compile(r"`(\w+(?:\.py)?)`(?: in `([\w./]+)`)?")
_PART = re.compile(r"[A-Z]+(?=[A-Z][a-z])|[A-Z]?[a-z]+|[A-Z]+")
_CODE = re.compile(r"```.*?```|`[^`]*`", re.DOTALL)


@dataclass(frozen=True)
class Ban:
    """A name that the code does not use.

    Attributes:
        word: the glossary's word for the thing.
        name: ``Word`` (no class), ``word.py`` (no file), ``two_words`` (no part of a name) or ``word`` (in no name
            and no sentence).
        folder: where names are looked at, below src/poolinfer; everywhere if empty.
    """

    word: str
    name: str
    folder: str = ""

    @property
    def is_for_sentences(self) -> bool:
        return self.name.isalpha() and self.name.islower() and not self.folder

    def matches(self, name: str, *, is_class: bool, is_file: bool) -> bool:
        """Whether a name of the code breaks this ban."""
        if self.name.endswith(".py"):
            return is_file and name.lstrip("_") == self.name[:-3]
        if self.name[0].isupper():
            return is_class and name.lstrip("_") == self.name
        return f"_{self.name}_" in parts(name)

    def covers(self, path: Path) -> bool:
        return path.is_relative_to(SRC / self.folder) if self.folder else True


def glossary(text: str) -> dict[str, list[Ban]]:
    """The words of the tables below the heading, each with its bans."""
    section = text.partition("\n## Glossary\n")[2].partition("\n## ")[0]
    rows = [found.groups() for found in _ROW.finditer(section) if found[1] != "word"]
    return {word: [Ban(word, *found.groups("")) for found in _BAN.finditer(bans)] for word, _, bans in rows}


def names(tree: ast.AST) -> Iterator[tuple[int, str, bool]]:
    """The line of each name that a module gives to something, the name, and whether it is a class's."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            yield node.lineno, node.name, True
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield node.lineno, node.name, False
        elif isinstance(node, (ast.arg, ast.keyword)) and node.arg:
            yield node.lineno, node.arg, False
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.attr, False
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.lineno, node.id, False


def parts(name: str) -> str:
    """The words of a name, in lower case and between underscores: ``_LaneSeats2`` gives ``_lane_seats_``."""
    return f"_{'_'.join(_PART.findall(name)).lower()}_"


def breaks(bans: list[Ban], path: Path, source: str) -> Iterator[str]:
    """What a file says against the bans."""
    bans = [ban for ban in bans if ban.covers(path)]
    where = path.relative_to(ROOT)
    defined = [(line, name, is_class, False) for line, name, is_class in names(ast.parse(source))]
    for line, name, is_class, is_file in [(1, path.stem, False, True), *defined]:
        for ban in bans:
            if ban.matches(name, is_class=is_class, is_file=is_file):
                yield f"{where}:{line}: {name}: {ban.name!r} is not the word for a {ban.word}"
    yield from breaks_of_prose(bans, path, source)


def breaks_of_prose(bans: list[Ban], path: Path, text: str) -> Iterator[str]:
    """Banned words in the lines of a text, be it a comment, a message or a page."""
    for ban in bans:
        if ban.is_for_sentences:
            for found in re.finditer(rf"\b{ban.name}s?\b", text, re.IGNORECASE):
                line = text.count("\n", 0, found.start()) + 1
                yield f"{path.relative_to(ROOT)}:{line}: {ban.name!r} is not the word for a {ban.word}"


def twins(names: list[str]) -> list[str]:
    """Names that are there more than once, private ones beside public ones."""
    counts = Counter(name.lstrip("_") for name in names)
    return [name for name, count in counts.items() if count > 1]


def before_glossary(page: Path) -> str:
    """A page without the glossary, which names what is banned."""
    return page.read_text(encoding="utf-8").partition("\n## Glossary\n")[0]


WORDS = glossary(PAGE.read_text(encoding="utf-8"))
BANS = [ban for bans in WORDS.values() for ban in bans]


def test_the_glossary_is_read():
    assert len(WORDS) > 60
    assert len(BANS) > 20
    assert "seat" in WORDS
    for ban in BANS:
        assert (SRC / ban.folder).is_dir(), ban


def test_no_banned_word_in_code():
    found = [
        sentence
        for path in FILES
        if path != Path(__file__)  # its samples break the bans
        for sentence in breaks(BANS, path, path.read_text(encoding="utf-8"))
    ]
    assert not found, "\n".join(found)


def test_no_banned_word_in_pages():
    found = [sentence for page in PAGES for sentence in breaks_of_prose(BANS, page, before_glossary(page))]
    assert not found, "\n".join(found)


def test_no_file_name_twice():
    assert not twins([path.stem for path in SRC.rglob("*.py") if path.name != "__init__.py"])


def test_no_class_name_twice():
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SRC.rglob("*.py")]
    classes = [node.name for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    assert not twins(classes)


def test_each_word_of_the_glossary_is_used():
    code = Counter[str]()
    for path in SRC.rglob("*.py"):
        named = [path.stem, *(name for _, name, _ in names(ast.parse(path.read_text(encoding="utf-8"))))]
        code.update(part for name in named for part in parts(name).split("_"))
    prose = " ".join(
        page.read_text(encoding="utf-8").partition("\n## Glossary\n")[0] for page in PAGES
    ).lower()
    for word in WORDS:
        assert code[word] or code[f"{word}s"] or re.search(rf"\b{word}s?\b", prose), f"nobody uses {word!r}"


SAMPLE_PAGE = """
## Glossary

| word | meaning | not |
|---|---|---|
| seat | a place for assignments | `berth`, `Place`, `lane_place`, `places.py`, `spot` in `_executors` |
"""


@pytest.mark.parametrize(
    ("path", "source", "count"),
    [
        ("_pool/pool.py", "class _Place: ...", 1),
        ("_pool/pool.py", "def first_lane_place(): ...", 1),
        ("_pool/pool.py", "LanePlaceT = 1", 1),
        ("_pool/pool.py", "self.the_berth = 1", 1),
        ("_pool/pool.py", "berth = 1", 2),  # as a name, and as a word in a line
        ("_pool/pool.py", "# all berths are taken", 1),
        ("_pool/pool.py", "call(spot=1)", 0),
        ("_executors/thread.py", "call(spot=1)", 1),
        ("_executors/spot.py", "", 1),
        ("_executors/places.py", "", 1),
        ("_pool/pool.py", "place, replaced = 1, 'place'", 0),
    ],
)
def test_a_banned_word_is_found(path, source, count):
    bans = glossary(SAMPLE_PAGE)["seat"]
    assert len(list(breaks(bans, SRC / path, source))) == count


def test_twins_are_found():
    assert twins(["Text", "_Text", "Line"]) == ["Text"]
