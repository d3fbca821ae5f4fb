"""What the tests of conformance compare with: sources of others, which `nox -s conformance` downloads.

Without the environment variables that name these sources the tests are skipped.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

_VARIABLES = ("POOLINFER_LLAMA_CPP", "POOLINFER_JSON_SCHEMA_TESTS")


def pytest_ignore_collect() -> bool | None:
    """Leave these tests to their own session: some need no source, but minutes."""
    return None if any(name in os.environ for name in _VARIABLES) else True


def _folder(variable: str) -> Path:
    named = os.environ.get(variable)
    if not named:
        pytest.skip(f"{variable} names no folder; nox -s conformance sets it")
    return Path(named)


@pytest.fixture(scope="session")
def llama_cpp_source() -> Path:
    """The folder of llama.cpp's source (POOLINFER_LLAMA_CPP): templates, vocabularies and its own tests."""
    return _folder("POOLINFER_LLAMA_CPP")


@pytest.fixture(scope="session")
def json_schema_tests() -> Path:
    """The folder of the JSON-Schema-Test-Suite (POOLINFER_JSON_SCHEMA_TESTS), with ``tests/draft2020-12``."""
    return _folder("POOLINFER_JSON_SCHEMA_TESTS")
