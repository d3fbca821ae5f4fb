"""The documentation: every Python block runs, and every table that repeats the code equals it."""

from __future__ import annotations

import ast
import asyncio
import dataclasses
import inspect
import logging
import os
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import site_pages

import poolinfer
import poolinfer.executor
import poolinfer.testing
from poolinfer._checks.limits import LIMITS, Limit

MODULES = poolinfer, poolinfer.executor, poolinfer.testing
ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
ALL_PAGES = [
    *PAGES,
    *sorted(path for path in ROOT.glob("*.md") if path not in PAGES),
    ROOT / "benchmarks/README.md",
]
# Files of this repository, and names of the package, as pages write them.
PATH = re.compile(r"(?:_\w+|src|tests|tools|benchmarks|examples|docs)/[\w./-]*")
PRIVATE = re.compile(r"(?:poolinfer\.)?_\w+(?:\.\w+)+")
PUBLIC = re.compile(r"poolinfer(?:\.\w+)+")
# A file of llama-cpp-python, a folder that a benchmark fills, and a logger.
ELSEWHERE = (
    *("examples/server/server.py", "benchmarks/peers/", "benchmarks/models/"),
    *("poolinfer.llama", "poolinfer.executors"),
)
NOT_RUN = "<!-- not run -->"
# Pages whose blocks are read on their own, so each imports what it uses; elsewhere a block goes on from the last.
OF_THEIR_OWN = ("concepts.md", "executors.md", "limits.md")
# A sentence beside a `print` is what it prints.
PRINTED = re.compile(r"^print\(.*\) +# (.+[^.]\.)$", re.MULTILINE)
BLOCK = re.compile(r"^(<!-- not run -->\n+)?```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# The demo model runs already, so that no test is blamed for what importing llama_cpp opens.
pytestmark = pytest.mark.usefixtures("tiny")


@pytest.fixture
def own_logging() -> Iterator[None]:
    """Blocks may set levels and add handlers; the next test has those of before."""
    loggers = [logging.getLogger(name) for name in (None, "poolinfer", "poolinfer.llama")]
    before = [(logger.level, logger.handlers[:], logger.filters[:]) for logger in loggers]
    yield
    for logger, (level, handlers, filters) in zip(loggers, before, strict=True):
        logger.setLevel(level)
        logger.handlers[:], logger.filters[:] = handlers, filters


def page_id(page: Path) -> str:
    return page.name


def run_block(source: str, page: Path, line: int, names: dict[str, Any]) -> None:
    """Run a block with the names of the blocks before it; ``await`` works at its top level."""
    # Empty lines first, so that a traceback has the page's own line numbers.
    tree = compile(
        "\n" * line + source,
        str(page),
        "exec",
        flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT | ast.PyCF_ONLY_AST,
        dont_inherit=True,
    )
    code = compile(tree, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    if code.co_flags & inspect.CO_COROUTINE:

        async def run() -> None:
            await eval(code, names)

        asyncio.run(run())
    else:
        exec(code, names)


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_python_blocks(page: Path, own_logging: None, capsys: pytest.CaptureFixture[str]) -> None:
    text = page.read_text()
    names: dict[str, Any] = {"__name__": "page"}
    try:
        for found in BLOCK.finditer(text):
            source = found[2]
            line = text.count("\n", 0, found.start(2))
            if source.startswith("--8<--"):
                continue
            if found[1]:
                compile(source, str(page), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
            else:
                if page.name in OF_THEIR_OWN:
                    names = {"__name__": "page"}
                run_block(source, page, line, names)
                printed = capsys.readouterr().out.splitlines()
                assert set(PRINTED.findall(source)) <= set(printed)
    finally:
        for value in names.values():
            if isinstance(value, poolinfer.Pool | poolinfer.Model):
                value.close(0)


def test_no_block_is_missed() -> None:
    for page in PAGES:
        text = page.read_text()
        assert len(BLOCK.findall(text)) == text.count("```python"), page.name


@pytest.mark.parametrize("page", ALL_PAGES, ids=page_id)
def test_links(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("https://"):
            assert (page.parent / target).exists(), target


def names_in(text: str) -> Iterator[str]:
    """What a page has in backticks, outside of its blocks."""
    yield from re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE))


def is_there(path: str) -> bool:
    """Whether there is such a file or folder; one that begins with an underscore lies in the package."""
    root = ROOT / "src" / "poolinfer" if path.startswith("_") else ROOT
    return (root / path).exists()


def is_defined(name: str) -> bool:
    """Whether a dotted name leads to a module, or to something in one."""
    try:
        pkgutil.resolve_name(name)
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("page", ALL_PAGES, ids=page_id)
def test_files_and_names_that_a_page_speaks_of_exist(page: Path) -> None:
    for name in names_in(page.read_text()):
        if PATH.fullmatch(name) and name not in ELSEWHERE:
            assert is_there(name), name
        elif PRIVATE.fullmatch(name):
            assert is_defined(f"poolinfer.{name.removeprefix('poolinfer.')}"), name
        elif PUBLIC.fullmatch(name) and name not in ELSEWHERE:
            assert is_defined(name), name


def test_a_name_that_is_gone_is_found() -> None:
    assert is_defined("poolinfer._pool.pool.Pool.submit")
    assert is_there("_pool/pool.py")
    assert not is_defined("poolinfer._pool.pool.Pool.sumbit")
    assert not is_defined("poolinfer._pools.pool")
    assert not is_there("_pool/pools.py")


def test_pages_of_the_root_have_links_of_the_site() -> None:
    text = "[a](docs/api.md#poolinfer.Pool) [b](SECURITY.md) [c](CHANGELOG.md) [d](#test) [e](https://e.example/docs/x)"
    assert site_pages.as_seen_from_docs(text) == (
        "[a](api.md#poolinfer.Pool) [b](security.md) c [d](#test) [e](https://e.example/docs/x)"
    )
    assert site_pages.on_page_markdown("[a](../SECURITY.md#report)") == "[a](security.md#report)"


def test_snippets() -> None:
    for name in re.findall(r'--8<-- "(.+)"', (ROOT / "docs/examples.md").read_text()):
        assert (ROOT / "examples" / name).is_file()


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_api_has_every_public_name(module: Any) -> None:
    text = (ROOT / "docs/api.md").read_text()
    listed = set(re.findall(rf"^::: {re.escape(module.__name__)}\.(\w+)$", text, re.MULTILINE))
    # What two modules export is shown with the first.
    here = {name for name in module.__all__ if module is poolinfer or name not in poolinfer.__all__}
    assert listed == {name for name in here if not name.startswith("__")}


def explained(cls: type) -> dict[str, str]:
    """What a class's docstring says of each attribute."""
    text = (inspect.getdoc(cls) or "").partition("Attributes:\n")[2]
    return {
        name: " ".join(said.split())
        for name, said in re.findall(r"^    (\w+): ((?:.+\n?(?:     .+\n?)*))", text, re.M)
    }


@pytest.mark.parametrize(
    "cls", [poolinfer.Chat, poolinfer.Raw, poolinfer.Embed], ids=lambda cls: cls.__name__
)
def test_help_explains_every_field_of_a_request(cls: Any) -> None:
    assert set(explained(cls)) == {field.name for field in dataclasses.fields(cls)}


def test_requests_explain_a_field_that_they_share_in_the_same_words() -> None:
    chat, raw, embed = map(explained, (poolinfer.Chat, poolinfer.Raw, poolinfer.Embed))
    for one, other in ((chat, raw), (chat, embed), (raw, embed)):
        for name in (one.keys() & other.keys()) - {"prompt"}:
            assert one[name] == other[name], name


@pytest.mark.parametrize(
    "cls", [poolinfer.Pool, poolinfer.Model, poolinfer.Call], ids=lambda cls: cls.__name__
)
def test_no_docstring_points_to_what_the_api_page_does_not_show(cls: Any) -> None:
    """``See `CallMethods.submit` `` does not help readers of a page that does not show `CallMethods`."""
    for name, member in inspect.getmembers(cls):
        for target in re.findall(r"`([A-Z]\w+)(?:\.\w+)?`", inspect.getdoc(member) or ""):
            if not name.startswith("_"):
                assert hasattr(poolinfer, target) or hasattr(poolinfer.executor, target), f"{name}: {target}"


def limit_row(limit: Limit) -> str:
    also = [name for name, holds in (("0", limit.zero), ("`None`", limit.optional)) if holds]
    kind = "int" if limit.whole else "number"
    low, high = (f"{value:,}" for value in (limit.low, limit.high))
    return f"| `{limit.name}` | {kind} | {low} | {high} | {', '.join(also)} | {limit.why} |"


def test_limits_page() -> None:
    text = (ROOT / "docs/limits.md").read_text()
    assert [row for row in text.splitlines() if row.startswith("| `")] == list(
        map(limit_row, LIMITS.values())
    )


def test_errors_page() -> None:
    """The tree of errors on the page is the module's own."""
    module = inspect.getdoc(poolinfer._data.errors) or ""
    tree = [line.strip() for line in module.splitlines() if re.search(r"──|^ *PoolinferError$", line)]
    page = [line.strip() for line in (ROOT / "docs/limits.md").read_text().splitlines()]
    assert [line for line in page if line in tree] == tree


def test_reliability_names_real_tests() -> None:
    """Every test that the page names exists, and every row of a fault names one."""
    source = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    defined = set(re.findall(r"def (test_\w+)", source))
    rows = [row for row in (ROOT / "docs/reliability.md").read_text().splitlines() if row.startswith("| ")]
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named or row.endswith("| tests |"), row
        assert set(named) <= defined, row


def test_the_site_searches_from_disk_without_the_network() -> None:
    """The offline plugin takes a polyfill of this name for its own, and fetches none when the page is read."""
    found = re.findall(r"^    - (assets/.*iframe-worker.*)$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert len(found) == 1
    assert (ROOT / "docs" / found[0]).is_file()
    assert re.search(r"^  - offline\b", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)


def test_signatures_are_broken_into_lines_where_nothing_else_is_installed() -> None:
    """mkdocstrings breaks them with ruff or black, and leaves them on one line without either."""
    found = re.search(r"^docs = \[(.+)\]$", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert found is not None
    assert '"ruff' in found[1]


def test_what_a_benchmark_is_about_is_not_scrolled_out_of_sight() -> None:
    """The figure itself follows the engine's name; its ratios come after it, and no column is empty."""
    tables = re.findall(
        r"^\| engine +\| (.+?) +\| (.+)\|$", (ROOT / "docs/performance.md").read_text(), re.MULTILINE
    )
    assert len(tables) == 8
    for figure, others in tables:
        assert not figure.startswith("/"), figure
        assert others.startswith("/ "), others
        assert all(column.strip() for column in others.split("|"))


def test_readme_has_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert "\npython3 -m venv .venv && .venv/bin/pip install -q nox && .venv/bin/nox -s demo\n" in text
    assert "\n.venv/bin/nox -s tests\n" in text


def test_no_word_names_this_machine() -> None:
    """No page names a folder of the machine that it was written on."""
    for page in PAGES:
        assert os.fspath(ROOT) not in page.read_text()
