"""The JSON-Schema-Test-Suite, 2020-12: an answer that a schema forbids is never allowed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from guided import Follower, as_answer, constraint

from poolinfer._data.errors import InvalidRequest

_LEAST_RIGHT = 565
_MOST_FALSE_REJECTS = 30


def test_no_schema_of_the_suite_allows_what_it_forbids(json_schema_tests: Path) -> None:
    """What our checks and llguidance take, they hold answers to; all else they refuse aloud."""
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    files = sorted((json_schema_tests / "tests/draft2020-12").glob("*.json"))
    assert len(files) > 30
    for file in files:
        for group in json.loads(file.read_text()):
            follower = follower_of(group["schema"])
            for case in group["tests"]:
                name = f"{file.stem}: {group['description']}: {case['description']}"
                verdict = judge(follower, case)
                counts[verdict] += 1
                if verdict.startswith("false"):
                    wrong.append(f"{verdict}: {name}")
    print(dict(counts), *wrong, sep="\n")
    assert counts["false accept"] == 0, wrong
    assert counts["false reject"] <= _MOST_FALSE_REJECTS
    assert counts["right"] >= _LEAST_RIGHT


def follower_of(schema: Any) -> Follower | None:
    try:
        return Follower(constraint(response_format=schema))
    except InvalidRequest:
        return None


def judge(follower: Follower | None, case: dict[str, Any]) -> str:
    if follower is None:
        return "refused"
    accepted = follower.accepts(as_answer(case["data"]))
    if accepted == case["valid"]:
        return "right"
    return "false accept" if accepted else "false reject"
