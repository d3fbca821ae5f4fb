"""Docstrings of three styles."""

from __future__ import annotations

import pytest

from poolinfer._pool.docstrings import described

GOOGLE = """Do it.

    More text: here.

    Args:
        a: first thing
            goes on.
        b (int, optional): second: thing.

        *c: third

    Returns:
        a: no
"""
SPHINX = """Do it.

    More text: here.

    :param a: first thing
        goes on.
    :param int b: second: thing.
    :param c: third
    :return: no
"""
NUMPY = """Do it.

    More text: here.

    Parameters
    ----------
    a : int
        first thing
        goes on.
    b
        second: thing.
    *c
        third

    Returns
    -------
    a
        no
"""


@pytest.mark.parametrize("text", [GOOGLE, SPHINX, NUMPY], ids=["google", "sphinx", "numpy"])
def test_parameters_are_found(text):
    def function() -> None: ...

    function.__doc__ = text
    found = described(function)
    assert found.summary == "Do it.\n\nMore text: here."
    assert found.parameters == {"a": "first thing goes on.", "b": "second: thing.", "c": "third"}


@pytest.mark.parametrize(
    "text", [None, "", "Only this.", "Note: it is odd.", "Args:", "Args:\n    nothing here"]
)
def test_other_texts_have_no_parameters(text):
    def function() -> None: ...

    function.__doc__ = text
    assert described(function).parameters == {}
