"""The page for those who come from another library: complete, and every name in it exists."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import llama_cpp
import pytest

import poolinfer

PAGE = (Path(__file__).parents[2] / "docs/migrating.md").read_text(encoding="utf-8")
OPTION = re.compile(r"`(Chat|Raw|Embed|Pool|Model\.load)\((\w+)=?\)`")
METHOD = re.compile(r"`pool\.(\w+)")
FUNCTIONS = ("Llama.__init__", "Llama.create_chat_completion", "Llama.create_completion", "Llama.embed")


def rows() -> Iterator[tuple[str, str]]:
    """The first two cells of each row of each table."""
    for line in PAGE.splitlines():
        if line.startswith("| `"):
            _, theirs, ours, *_ = line.split("|")
            yield theirs.strip(), ours.strip()


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_option_of_llama_cpp_python_has_a_row(name: str) -> None:
    table = PAGE.split(f"<!-- table: {name} -->")[1].split("\n#")[0].split("<!-- table")[0]
    named = set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE))
    function = getattr(llama_cpp.Llama, name.split(".")[1])
    theirs = {
        one.name
        for one in inspect.signature(function).parameters.values()
        if one.kind is not inspect.Parameter.VAR_KEYWORD
    } - {"self"}
    assert named == theirs


def test_every_option_of_ours_exists() -> None:
    owners = {
        **{name: getattr(poolinfer, name) for name in ("Chat", "Raw", "Embed", "Pool")},
        "Model.load": poolinfer.Model.load,
    }
    known = {name: set(inspect.signature(owner).parameters) for name, owner in owners.items()}
    found = [match.groups() for _, ours in rows() for match in OPTION.finditer(ours)]
    assert len(found) > 100
    assert [pair for pair in found if pair[1] not in known[pair[0]]] == []


def test_every_method_of_ours_exists() -> None:
    assert [name for name in METHOD.findall(PAGE) if not hasattr(poolinfer.Pool, name)] == []


def test_what_has_no_counterpart_says_so() -> None:
    assert [theirs for theirs, ours in rows() if ours != "-" and "`" not in ours and " " not in ours] == []
