"""Runs a workload on an engine, as its callers would, and says how long everything took for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from engine_registry import Answer, Engine
from workloads import Prompt, Workload, renderer, template_of

Figures = dict[str, float]
NO_ANSWER = Answer("", 0)
_STARTED = 4  # pieces after which a stream counts as running


@dataclass
class Heard:
    """One call as its caller saw it; all times are seconds of the process's performance counter."""

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
    """What a workload came to.

    Attributes:
        calls: every call that counts.
        seconds: from the first call to the last answer.
        extra: figures that only this workload has.
        problems: what was not as it should be.
    """

    calls: list[Heard]
    seconds: float
    extra: Figures = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def ask(
    engine: Engine, prompt: Prompt, max_tokens: int, also: Callable[[Heard], None] = lambda _: None
) -> Heard:
    """Make one call and note when its pieces came; `also` is told of each."""
    heard = Heard(prompt, time.perf_counter())

    def note() -> None:
        heard.times.append(time.perf_counter())
        also(heard)

    heard.answer = engine.generate(prompt, max_tokens, note)
    heard.ended = time.perf_counter()
    heard.times = heard.times or [heard.ended]  # an answer may be bytes that no text can be made of
    return heard


def ask_all(
    engine: Engine, prompts: list[Prompt], max_tokens: int, callers: int
) -> tuple[list[Heard], float]:
    """Ask all prompts from so many threads; the calls and the seconds for all of them."""
    with ThreadPoolExecutor(callers) as threads:
        began = time.perf_counter()
        calls = list(threads.map(lambda prompt: ask(engine, prompt, max_tokens), prompts))
        return calls, time.perf_counter() - began


def burst(engine: Engine, work: Workload) -> Run:
    """All callers begin at once, and each asks the next prompt as soon as it has its answer."""
    return Run(*ask_all(engine, work.prompts, work.max_tokens, work.callers))


def scaling(engine: Engine, work: Workload) -> Run:
    """The same, with more and more callers, and prompts that were never asked before."""
    every: list[Heard] = []
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
    """A long prompt alone; then streams, and another long prompt once all of them are running."""
    alone, entering, *prompts = work.prompts
    solo = ask(engine, alone, 4)
    running = threading.Semaphore(0)

    def note(heard: Heard) -> None:
        if len(heard.times) == _STARTED:
            running.release()

    def stream(prompt: Prompt) -> Heard:
        heard = ask(engine, prompt, work.max_tokens, note)
        if len(heard.times) < _STARTED:  # it came in fewer, longer pieces
            running.release()
        return heard

    with ThreadPoolExecutor(len(prompts)) as threads:
        began = time.perf_counter()
        asked = [threads.submit(stream, prompt) for prompt in prompts]
        for _ in prompts:
            running.acquire()
        newcomer = ask(engine, entering, 4)
        streams = [future.result() for future in asked]
        seconds = time.perf_counter() - began
    return Run(streams, seconds, *_entered(streams, newcomer, solo))


def _entered(streams: list[Heard], newcomer: Heard, solo: Heard) -> tuple[Figures, list[str]]:
    """What streams and a long prompt meant to each other."""
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
    """Conversations whose turns begin together; then the text of the last turn, begun differently."""
    render = renderer(template_of(work.model))
    turns = len(work.texts) // work.callers - 1
    gate = threading.Barrier(work.callers)

    def talk(index: int) -> tuple[list[Heard], Heard]:
        first, *more = work.texts[index * (turns + 1) : (index + 1) * (turns + 1)]
        messages: list[dict[str, str]] = []
        heard = []
        for text in more:
            messages.append({"role": "user", "content": text})
            gate.wait()
            heard.append(ask(engine, Prompt(render(messages)), work.max_tokens))
            messages.append({"role": "assistant", "content": heard[-1].answer.text})
        messages[0]["content"] = first
        gate.wait()
        return heard, ask(engine, Prompt(render(messages[:-1])), work.max_tokens)

    with ThreadPoolExecutor(work.callers) as threads:
        began = time.perf_counter()
        talks = list(threads.map(talk, range(work.callers)))
        seconds = time.perf_counter() - began
    last = median(heard[-1].ttft for heard, _ in talks)
    cold = median(heard.ttft for _, heard in talks)
    extra = {"last_turn_ttft": last, "cold_ttft": cold, "last_turn_over_cold": last / cold}
    return Run([call for heard, _ in talks for call in heard], seconds, extra)


def embed(engine: Engine, work: Workload) -> Run:
    """Lists of texts from a few callers."""
    size = 50
    lists = [work.texts[start : start + size] for start in range(0, len(work.texts), size)]
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
