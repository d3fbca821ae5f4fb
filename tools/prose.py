"""Finds prose that is hard to read: ``python tools/prose.py [FOLDER]`` prints file, line and sentence.

It reads all pages, docstrings and comments of all Python files, and messages in src. A sentence may have 30 words;
code counts as one word. A heading, a list item, a table cell and an item of ``Args:`` end a sentence. `RIDDLES` are
phrases that nobody understands without the sentence before them.
"""

from __future__ import annotations

import ast
import io
import re
import sys
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("src", "tests", "benchmarks", "examples", "tools")
MOST_WORDS = 30

_ITEM = r"^\*{0,2}\w+\*{0,2}: "
_PRONOUN = r"(it|its|they|their|them|this|that|these|those|the same|likewise)"
#: What an item of a docstring's section must not say, and what to do about it.
ITEM_RIDDLES = {
    _ITEM + rf"(whether )?{_PRONOUN}( (is|are|does|do|has|have|can|was|were))?[.;,]": "name the thing",
    _ITEM + r"(it|its|they|them)\b": "name the thing",
}
#: What must not stand in any sentence.
RIDDLES = {
    r"\bas for the \w+ that follow": "say it for each of them",
    r"\bit is \w+ times, or \w+ times": "say what is so many times what",
    r"\btimes\b[^.;]*\bif that is (more|less|larger|longer|shorter)\b": "say of which two bounds the larger counts",
    r"\bdo without the present\b": "say who stops using what",
    r"\b[Ss]ay on behalf of\b": "say what is reported",
    r"\bwill never be what\b": "say what does not happen",
}
#: How no docstring begins.
NO_SUBJECT = re.compile(
    r"(It|They|Them|Theirs|Likewise|Ditto)\b"
    r"|(This|That|These|Those) (is|are|was|were|has|have|does|do|will|can|one|ones)\b"
    r"|The (same|other one|others)[.,;:]|The same (with|for|as|but)\b"
    r"|(Whether|How|When|Where|Why|What|As|If) (it|they)\b"
    r"|(Whether|How|When|Where|Why|What|As|If) (this|that|these|those|one) (is|was|are|were|has|had|does|did|can)\b"
)

_FENCE = re.compile(r"^( *)(```|~~~).*?^\1\2[^\n]*$|<!--.*?-->", re.DOTALL | re.MULTILINE)
_INDENTED = re.compile(r"(?<=\n\n)(?:(?: {4}|\t)[^\n]*\n)+")
_CODE = re.compile(r"(``?)[^`]+\1")
_ADDRESS = re.compile(r"\]\([^)]*\)|<?https?://\S+")
_END = re.compile(
    r"(?<=[.!?])[\"')*_]*\s+"
    r"|\n\s*\n"
    r"|\n\s*(?=(?:[-*+>|]|#+|\d+\.) )"  # an item of a list, a heading, a row of a table
    r"|\n(?= +\*{0,2}\w+\*{0,2}: )"  # an item of a docstring's section
    r"|[ \t]*\|[ \t]*"
)
_WORD = re.compile(r"[^\W_][\w'-]*")


def sentences(text: str) -> Iterator[tuple[int, str]]:
    """The sentences of a text, each with the line on which it begins, from 0."""
    text = _replaced(_CODE, "code", _replaced(_ADDRESS, "]", text))
    start = 0
    for end in [*_END.finditer(text), None]:
        sentence = text[start : end.start() if end else len(text)]
        before = len(sentence) - len(sentence.lstrip())
        if sentence.strip():
            yield text.count("\n", 0, start + before), " ".join(sentence.split())
        start = end.end() if end else start


def _replaced(pattern: re.Pattern[str], name: str, text: str) -> str:
    """A text with `name` for each match; it has as many lines as before."""
    return pattern.sub(lambda found: name + "\n" * found[0].count("\n"), text)


def complaint(sentence: str, riddles: Mapping[str, str] = RIDDLES) -> str:
    """What is wrong with a sentence; empty if nothing is."""
    words = len(_WORD.findall(sentence))
    if words > MOST_WORDS:
        return f"{words} words"
    return next((remedy for riddle, remedy in riddles.items() if re.search(riddle, sentence)), "")


def prose_of_page(text: str) -> Iterator[tuple[int, str]]:
    """The text of a page without its code, with the page's first line."""
    yield 1, _replaced(_INDENTED, "", _replaced(_FENCE, "", text))


def docstrings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each docstring of a module without its indented drawings, and the line on which it begins."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
            doc = ast.get_docstring(node)
            if doc:
                yield node.body[0].lineno, _replaced(_INDENTED, "", doc)


def messages(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Each text in the code of a module but docstrings, and its line; what an f-string inserts is an X."""
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    bare = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            texts = [part.value for part in node.values if isinstance(part, ast.Constant)]
            yield node.lineno, " X ".join(map(str, texts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inner | bare:
            yield node.lineno, node.value


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Each comment of a module and its line; lines that follow one another are one comment."""
    first, last, text = 0, 0, ""
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            line, words = token.start[0], token.string.lstrip("#: ")
            if line == last + 1:
                text, last = f"{text}\n{words}", line
                continue
            if text:
                yield first, text
            first, last, text = line, line, words
    if text:
        yield first, text


def complaints(path: Path) -> Iterator[tuple[int, str, str]]:
    """Line, complaint and sentence of all that is hard to read in a file."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield from _complaints(prose_of_page(text))
        return
    tree = ast.parse(text)
    docs = list(docstrings(tree))
    for line, doc in docs:
        if NO_SUBJECT.match(doc):
            yield line, "name the subject", doc.split("\n")[0]
    yield from _complaints(docs, RIDDLES | ITEM_RIDDLES)
    yield from _complaints(comments(text))
    if "src" in path.parts:
        yield from _complaints(messages(tree))


def _complaints(
    pieces: Iterable[tuple[int, str]], riddles: Mapping[str, str] = RIDDLES
) -> Iterator[tuple[int, str, str]]:
    for first, piece in pieces:
        for line, sentence in sentences(piece):
            if found := complaint(sentence, riddles):
                yield first + line, found, sentence


def files(root: Path) -> list[Path]:
    """All pages and Python files of a checkout."""
    pages = [*root.glob("*.md"), *(root / "docs").rglob("*.md")]
    code = [path for folder in FOLDERS for kind in ("*.py", "*.md") for path in (root / folder).rglob(kind)]
    return sorted({*pages, *code, *root.glob("*.py")})


def main(root: Path) -> int:
    """Print all complaints; returns 1 if there is any."""
    rows = [
        f"{path.relative_to(root)}:{line}: {found}: {sentence}"
        for path in files(root)
        for line, found, sentence in sorted(complaints(path))
    ]
    print(*rows, sep="\n")
    print(f"{len(rows)} sentences are hard to read")
    return 1 if rows else 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT))
