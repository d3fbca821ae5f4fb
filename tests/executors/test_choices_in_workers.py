"""`n` in worker processes: the answers of a call share one lane, which computes their prompt once."""

from __future__ import annotations

import sys

import pytest

from poolinfer import Model, Pool
from poolinfer.testing import wait_until

PROMPT = "The quick brown fox jumps over the lazy dog. " * 20


@pytest.mark.parametrize("executor", ["process", "prefork"])
def test_eight_answers_compute_their_prompt_once_with_two_workers(tiny: Model, executor: str) -> None:
    if executor == "prefork" and sys.platform != "linux":
        pytest.skip("prefork needs Linux")
    with Pool(tiny, executor=executor, workers=2, slots=8, threads=1) as pool:
        response = pool.raw(PROMPT, n=8, max_tokens=4, seed=1)
        executor_stats = pool._lifecycle._executor.stats
        # Workers say what they have done about once a second.
        wait_until(lambda: executor_stats().completion_tokens >= response.usage.completion_tokens, timeout=20)
        stats = executor_stats()
    assert len(response.choices) == 8
    assert stats.prompt_tokens == response.usage.prompt_tokens + 7
    assert stats.cached_tokens == 7 * (response.usage.prompt_tokens - 1)
