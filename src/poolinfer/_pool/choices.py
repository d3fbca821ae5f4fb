"""The answers of one call, where its request has `n`: a job for each, and the one response that they make.

A job has one request and one answer. So executors and lanes know nothing of `n`, and keep all their laws.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from .._data.events import Job
from .._data.requests import Generation, Raw, Request
from .._data.results import Response, Usage

# Seeds are 32 bits, of which llama.cpp takes the last for "random".
_SEEDS = 2**32 - 1


def n_choices(request: Request) -> int:
    """How many answers a request asks for."""
    return request.n if isinstance(request, Generation) else 1


def choice_job(job: Job, index: int, job_id: int) -> Job:
    """The job of one answer, made of a call's job.

    Answers differ by their seeds. The log probabilities of the prompt are the same for all: the first has them.
    """
    request = job.request
    if not isinstance(request, Generation) or request.n == 1:
        return job
    seed = None if request.seed is None else (request.seed + index) % _SEEDS
    one = replace(request, n=1, seed=seed)
    if index and isinstance(one, Raw):
        one = replace(one, prompt_logprobs=False)
    return Job(job_id, one, group=job.id)


def joined(choices: Sequence[Response]) -> Response:
    """The response of a call: its first answer, with the others in it, and the usage of all."""
    first, *others = choices
    if not others:
        return first
    usages = [choice.usage for choice in choices]
    usage = Usage(
        first.usage.prompt_tokens,
        min(usage.cached_tokens for usage in usages),
        sum(usage.completion_tokens for usage in usages),
        sum(usage.reasoning_tokens for usage in usages),
    )
    decode = max(choice.timings.decode for choice in choices)
    others = [replace(other, prompt_logprobs=first.prompt_logprobs) for other in others]
    return replace(first, usage=usage, timings=replace(first.timings, decode=decode), others=tuple(others))
