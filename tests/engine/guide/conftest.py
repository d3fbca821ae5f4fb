"""Guides over the vocabulary of a fake engine."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from guide_bench import GuideBench

from poolinfer._data.errors import InvalidGrammar


@pytest.fixture(scope="session")
def bench() -> GuideBench:
    return GuideBench()


@pytest.fixture
def refused(bench: GuideBench) -> Callable[..., InvalidGrammar]:
    """Compiles what is no grammar; the error."""

    def refuse(kind: str, text: object) -> InvalidGrammar:
        with pytest.raises(InvalidGrammar) as caught:
            bench.of(kind, text)
        return caught.value

    return refuse
