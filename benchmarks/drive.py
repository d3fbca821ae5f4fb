"""Runs a workload on an engine with as many callers as it has, and measures times as those callers see them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from engine import Answer, Engine
from workloads import LIST_SIZE, Prompt, Workload, renderer, template_of

Figures = dict[str, float]
NO_ANSWER = Answer("", 0)
_RUNNING_PIECES = 4  # a stream counts as running after so many pieces


@dataclass
class TimedCall:
    """One call as its caller saw it; all times are seconds of the process's performance counter.

    Attributes:
        prompt: the prompt of the call.
        began: when the caller asked.
        times: when each piece of the answer came.
        ended: when the call returned.
        answer: what the engine answered.
    """

    prompt: Prompt
    began: float
    times: list[float] = field(default_factory=list)
    ended: float = 0.0
    answer: Answer = NO_ANSWER

    @property
    def ttft(self) -> float:
        """Seconds to the first piece."""
        return self.times[0] - self.began

    @property
    def gaps(self) -> list[tuple[float, float]]:
        """When each piece but the first came, and how long after the one before."""
        return [(later, later - earlier) for earlier, later in pairwise(self.times)]


@dataclass
class Run:
    """The calls and the figures of a workload that was run on an engine.

    Attributes:
        calls: the calls that the figures are computed from.
        seconds: time from the first call to the last answer.
        extra: figures that only this workload has.
        problems: what went wrong, in words; empty if nothing did.
    """

    calls: list[TimedCall]
    seconds: float
    extra: Figures = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def ask(
    engine: Engine, prompt: Prompt, max_tokens: int, after_piece: Callable[[TimedCall], None] = lambda _: None
) -> TimedCall:
    """Make one call and note when its pieces come; `after_piece` is called after each of them."""
    call = TimedCall(prompt, time.perf_counter())

    def note() -> None:
        call.times.append(time.perf_counter())
        after_piece(call)

    call.answer = engine.generate(prompt, max_tokens, note)
    call.ended = time.perf_counter()
    call.times = call.times or [call.ended]  # there is no piece where the tokens make no whole character
    return call


def ask_all(
    engine: Engine, prompts: list[Prompt], max_tokens: int, callers: int
) -> tuple[list[TimedCall], float]:
    """Ask all prompts from `callers` threads; returns the calls and the seconds that all of them took."""
    with ThreadPoolExecutor(callers) as threads:
        began = time.perf_counter()
        calls = list(threads.map(lambda prompt: ask(engine, prompt, max_tokens), prompts))
        return calls, time.perf_counter() - began


def burst(engine: Engine, work: Workload) -> Run:
    """All callers begin at once; each asks the next prompt as soon as it has the answer to its last one."""
    return Run(*ask_all(engine, work.prompts, work.max_tokens, work.callers))


def scaling(engine: Engine, work: Workload) -> Run:
    """A burst at each of several numbers of callers, each time with new prompts."""
    every: list[TimedCall] = []
    rates: Figures = {}
    total = 0.0
    share = len(work.prompts) // len(work.levels)
    for number, level in enumerate(work.levels):
        prompts = work.prompts[number * share :][: min(8 * level, share)]
        calls, seconds = ask_all(engine, prompts, work.max_tokens, level)
        rates[f"tokens_per_second_{level}"] = sum(call.answer.completion_tokens for call in calls) / seconds
        every += calls
        total += seconds
    most, before = work.levels[-1], work.levels[-2]
    rates["most_over_next"] = rates[f"tokens_per_second_{most}"] / rates[f"tokens_per_second_{before}"]
    return Run(every, total, rates)


def long(engine: Engine, work: Workload) -> Run:
    """A long prompt alone; then streams, and another long prompt once all streams are running."""
    alone, entering, *prompts = work.prompts
    solo = ask(engine, alone, 4)
    running = threading.Semaphore(0)

    def note(call: TimedCall) -> None:
        if len(call.times) == _RUNNING_PIECES:
            running.release()

    def stream(prompt: Prompt) -> TimedCall:
        call = ask(engine, prompt, work.max_tokens, note)
        if len(call.times) < _RUNNING_PIECES:  # the answer came in fewer, longer pieces
            running.release()
        return call

    with ThreadPoolExecutor(len(prompts)) as threads:
        began = time.perf_counter()
        asked = [threads.submit(stream, prompt) for prompt in prompts]
        for _ in prompts:
            running.acquire()
        newcomer = ask(engine, entering, 4)
        streams = [future.result() for future in asked]
        seconds = time.perf_counter() - began
    return Run(streams, seconds, *_entered(streams, newcomer, solo))


def _entered(streams: list[TimedCall], newcomer: TimedCall, solo: TimedCall) -> tuple[Figures, list[str]]:
    """Return the figures and problems of streams that a long prompt entered; `solo` is a long prompt alone."""
    first = newcomer.times[0]
    gaps = [gap for stream in streams for gap in stream.gaps]
    during = [gap for at, gap in gaps if at > newcomer.began and at - gap < first]
    if not during:
        return {}, ["the streams had ended before the long prompt came"]
    usual = median(gap for at, gap in gaps if at <= newcomer.began or at - gap >= first)
    problems = [] if all(stream.times[-1] > first for stream in streams) else ["streams ended too soon"]
    figures = {
        "itl_median": usual,
        "entering_p99": quantile(during, 0.99),
        "entering_p99_over_median": quantile(during, 0.99) / usual,
        "long_ttft": newcomer.ttft,
        "long_over_alone": newcomer.ttft / solo.ttft,
    }
    return figures, problems


def conversation(engine: Engine, work: Workload) -> Run:
    """Conversations whose turns begin together; then each last turn again, after another first message."""
    render = renderer(template_of(work.model))
    turns = len(work.texts) // work.callers - 1
    gate = threading.Barrier(work.callers)

    def talk(index: int) -> tuple[list[TimedCall], TimedCall]:
        first, *more = work.texts[index * (turns + 1) : (index + 1) * (turns + 1)]
        messages: list[dict[str, str]] = []
        calls = []
        for text in more:
            messages.append({"role": "user", "content": text})
            gate.wait()
            calls.append(ask(engine, Prompt(render(messages)), work.max_tokens))
            messages.append({"role": "assistant", "content": calls[-1].answer.text})
        messages[0]["content"] = first
        gate.wait()
        return calls, ask(engine, Prompt(render(messages[:-1])), work.max_tokens)

    with ThreadPoolExecutor(work.callers) as threads:
        began = time.perf_counter()
        talks = list(threads.map(talk, range(work.callers)))
        seconds = time.perf_counter() - began
    last = median(calls[-1].ttft for calls, _ in talks)
    cold = median(again.ttft for _, again in talks)
    extra = {"last_turn_ttft": last, "cold_ttft": cold, "last_turn_over_cold": last / cold}
    return Run([call for calls, _ in talks for call in calls], seconds, extra)


def embed(engine: Engine, work: Workload) -> Run:
    """Embed lists of texts, from a few callers."""
    starts = range(0, len(work.texts), LIST_SIZE)
    lists = [work.texts[start : start + LIST_SIZE] for start in starts]
    with ThreadPoolExecutor(work.callers) as threads:
        began = time.perf_counter()
        lengths = [length for found in threads.map(engine.embed, lists) for length in found]
        seconds = time.perf_counter() - began
    good = len(lengths) == len(work.texts) and len(set(lengths)) == 1 and lengths[0] > 0
    problems = [] if good else [f"{len(lengths)} vectors of {set(lengths)} numbers"]
    return Run([], seconds, {"texts_per_second": len(lengths) / seconds}, problems)


def quantile(values: list[float], share: float) -> float:
    """Return a quantile: the least value that so large a share of all does not exceed."""
    ranked = sorted(values)
    return ranked[min(len(ranked) - 1, int(share * len(ranked)))]


DRIVES: dict[str, Callable[[Engine, Workload], Run]] = {
    "burst": burst,
    "scaling": scaling,
    "long": long,
    "conversation": conversation,
    "embed": embed,
}
