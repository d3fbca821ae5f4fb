"""The public names are exactly those of `__all__`, and importing them costs next to nothing."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import sys
from typing import get_type_hints

import pytest

import poolinfer
import poolinfer.executor
import poolinfer.testing
from poolinfer._data import (
    errors,
    events,
    request_fields,
    requests,
    results,
    specs,
    stats,
    text_requests,
    text_results,
    token_requests,
)

MODULES = poolinfer, poolinfer.executor, poolinfer.testing
#: Data that no caller writes: what classes have in common, options by name, the counters behind statistics.
INSIDE = {
    *("RequestFields", "Generation", "LaneCounters", "SeatingCounts", "CallCounts"),
    *("RequestOptions", "SamplingOptions", "RawOptions", "TurnOptions", "ChatOptions", "EmbedOptions"),
    "ScoreOptions",
    *("RerankOptions", "TokenizeOptions", "DetokenizeOptions", "ApplyTemplateOptions", "CountTokensOptions"),
}


@pytest.mark.parametrize(
    "module", [poolinfer, poolinfer.executor, poolinfer.testing], ids=lambda module: module.__name__
)
def test_all_is_sorted_and_exact(module):
    names = module.__all__
    assert list(names) == sorted(set(names))
    public = {
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and not inspect.ismodule(value) and name != "annotations"
    }
    assert public == set(names) - {"__version__"}


def test_every_public_kind_of_data_is_exported():
    public = {*poolinfer.__all__, *poolinfer.executor.__all__}
    for module in (
        errors,
        events,
        requests,
        results,
        specs,
        stats,
        text_requests,
        text_results,
        token_requests,
    ):
        for node in ast.parse(inspect.getsource(module)).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_") and node.name not in INSIDE:
                assert node.name in public, node.name


@pytest.mark.parametrize("module", [poolinfer, poolinfer.executor], ids=lambda module: module.__name__)
def test_everything_public_has_a_docstring(module):
    for name in set(module.__all__) - {"__version__"}:
        value = getattr(module, name)
        assert inspect.getdoc(value) or (not inspect.isroutine(value) and not inspect.isclass(value)), name
        for method, member in inspect.getmembers(value, inspect.isfunction):
            # The turns of a Prompt are made on access, and documented where they are defined.
            if not method.startswith("_") and "<locals>" not in member.__qualname__:
                assert inspect.getdoc(member), f"{name}.{method}"


@pytest.mark.parametrize(
    ("options", "request_type", "positional"),
    [
        (requests.ChatOptions, poolinfer.Chat, {"prompt"}),
        (requests.RawOptions, poolinfer.Raw, {"prompt"}),
        (text_requests.EmbedOptions, poolinfer.Embed, {"input"}),
        (text_requests.RerankOptions, poolinfer.Rerank, {"query", "documents"}),
        (token_requests.TokenizeOptions, poolinfer.Tokenize, {"text"}),
        (token_requests.DetokenizeOptions, poolinfer.Detokenize, {"tokens"}),
        (token_requests.ApplyTemplateOptions, poolinfer.ApplyTemplate, {"prompt"}),
        (requests.SamplingOptions, requests.Generation, set()),
        (request_fields.RequestOptions, request_fields.RequestFields, set()),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_options_are_the_fields(options, request_type, positional):
    fields = {field.name for field in dataclasses.fields(request_type)}
    assert set(options.__annotations__ | get_type_hints(options)) == fields - positional
    hints = get_type_hints(request_type)
    for name, hint in get_type_hints(options).items():
        assert hint == hints[name], name


def test_the_version_is_the_package_s():
    from importlib.metadata import PackageNotFoundError, version

    try:
        assert version("poolinfer") == poolinfer.__version__
    except PackageNotFoundError:
        pytest.skip("not installed")


def test_import_is_light(run_script):
    done = run_script(
        """
        import sys
        import poolinfer
        heavy = {"numpy", "jinja2", "llama_cpp", "trio", "asyncio"} & set(sys.modules)
        print(sorted(heavy), end="")
        """
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]", "")


def test_import_starts_nothing(run_script):
    done = run_script(
        """
        import signal, threading
        before = [signal.getsignal(number) for number in signal.valid_signals()]
        import poolinfer
        assert threading.active_count() == 1
        assert before == [signal.getsignal(number) for number in signal.valid_signals()]
        """
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr


def test_the_import_works_isolated_and_optimised(run_script):
    for flags in (("-O",), ("-OO",), ("-X", "dev", "-W", "error"), ("-bb",)):
        done = run_script("import poolinfer, poolinfer.testing", flags=flags)
        assert (done.returncode, done.stderr) == (0, ""), (flags, done.stderr)
    assert sys.version_info >= (3, 10)
