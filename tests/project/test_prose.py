"""Docstrings, comments and pages can be read at once: ``tools/prose.py`` finds nothing."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
_SPEC = importlib.util.spec_from_file_location("prose", ROOT / "tools" / "prose.py")
assert _SPEC is not None
assert _SPEC.loader is not None
prose = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(prose)

LONG = "word " * 31


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("page.md", f"# Title\n\nShort.\n{LONG}.\n", [4]),
        ("page.md", f"```python\n{LONG}\n```\n\n{LONG}", [5]),
        ("page.md", f"- {'word ' * 20}\n- {'word ' * 20}\n", []),
        ("page.md", f"| {'word ' * 20} | {'word ' * 20} |\n", []),
        ("page.md", f"{'`some code`, ' * 16}", []),
        ("page.md", "In a burst it is eight times, or four times as many as there are prompts.", [1]),
        ("page.md", "The factor is eight, or four times the prompts for each stream, if that is more.", [1]),
        ("page.md", "The factor is 8 or 4 p/d, whichever is larger. It is used many times.", []),
        ("code.py", f'"""Short. {LONG}."""\n', [1]),
        ("code.py", f"x = 1\n# {'word ' * 20}\n# {'word ' * 20}\n", [2]),
        ("code.py", f"x = 1  # {'word ' * 20}\n\n# {'word ' * 20}\n", []),
        ("code.py", 'def f():\n    """Do it.\n\n    Args:\n        child: it.\n    """\n', [5]),
        ("code.py", 'def f():\n    """Do it.\n\n    Args:\n        greedy: whether it is.\n    """\n', [5]),
        ("code.py", 'def f():\n    """Do it.\n\n    Args:\n        child: the process.\n    """\n', []),
        ("code.py", 'def f():\n    """See `Executor.submit`, as for the five that follow."""\n', [2]),
        ("code.py", 'def f():\n    """Whether it has ended."""\n', [2]),
        ("code.py", 'def f():\n    """Whether the worker has ended."""\n', []),
        ("code.py", 'def f():\n    """It was slow."""\n', [2]),
        ("code.py", f'raise ValueError("{LONG}")\n', []),
        ("src/code.py", f'raise ValueError("{LONG}")\n', [1]),
        ("src/code.py", f'raise ValueError(\n    "no"\n    f"{{x}} {"word " * 29} {{y}}"\n)\n', [2]),
    ],
)
def test_what_is_hard_to_read_is_found(tmp_path, name, text, lines):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    assert [line for line, _, _ in prose.complaints(path)] == lines


def test_nothing_is_hard_to_read():
    found = [
        f"{path.relative_to(ROOT)}:{line}: {why}: {sentence}"
        for path in prose.files(ROOT)
        for line, why, sentence in prose.complaints(path)
    ]
    assert not found, "\n".join(found)
