"""What `map` and `amap` share: the checks of prompts and options, the calls, the results, the progress bar."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Mapping, Sized
from difflib import get_close_matches
from functools import partial
from typing import Any, TypeAlias

from .._checks.normalize import normalize_at_once
from .._checks.refusals import refuse
from .._data.errors import CallError, InvalidRequest, PoolinferError, UnknownOption
from .._data.prompt_builder import ChatInput, Prompt
from .._data.requests import Chat, ChatOptions, Request
from .bulk import Bulk, BulkItem
from .call import Call

#: What a map takes: prompts, and requests.
Mapped: TypeAlias = ChatInput | Request
#: What `map` takes beside the options of `Chat`.
_OF_MAP = ("prompts", "window", "progress", "ordered", "return_exceptions", "with_prompts")


def mapped(
    prompts: Iterable[Mapped],
    options: ChatOptions,
    *,
    submit: Callable[[Request], Call[Any]],
    room: Callable[[], tuple[int, int]],
    window: int | None,
    progress: bool,
    ordered: bool,
) -> Bulk:
    """The calls of a map, to be run with `mapped_result`.

    Args:
        prompts: prompts and requests.
        options: the options of `Chat`, for each prompt that is not a request.
        submit: makes a call of a request.
        room: says how many calls can run at once, and how many may wait.
        window: most calls submitted and not yet yielded; None for two per slot, and at least 16.
        progress: whether to show a progress bar.
        ordered: whether results come in the order of the prompts.

    Raises:
        InvalidRequest: an argument of the map is not acceptable.
    """
    if isinstance(prompts, AsyncIterable):
        refuse("prompts", prompts, "async iterables are not taken; collect the prompts in a list before")
    if not isinstance(prompts, Iterable) or isinstance(prompts, str | bytes | bytearray | Mapping | Prompt):
        refuse("prompts", prompts, "give a list or another iterable of prompts; chat answers a single one")
    _check_options(options)
    if window is not None and (not isinstance(window, int) or isinstance(window, bool) or window < 1):
        refuse("window", window, "use None or an int from 1, a number of calls")
    return Bulk(
        prompts,
        submit=lambda prompt: submit(as_request(prompt, options)),
        window=lambda: _window(window, *room()),
        ordered=ordered,
        patient=True,
        instead="`async for` over `amap(..)`",
        bar=_progress_bar(prompts) if progress else None,
    )


def _window(given: int | None, slots: int, max_queue: int) -> int:
    """How many calls of a map are open at a time: twice as many as can run, unless the caller says how many."""
    return max(1, min(given or 2 * max(8, slots), max_queue))


def mapped_result(return_exceptions: bool, with_prompts: bool, item: BulkItem) -> Any:
    """What a map yields for an item that has ended: its result, or its error if that is wanted.

    Raises:
        PoolinferError: the item's error, which ends the map. One of its own says which prompt it was.
    """
    outcome = item.outcome()
    if isinstance(outcome, InvalidRequest | CallError):
        outcome.index, outcome.prompt = item.index, item.given
        outcome.args = (f"{outcome.message} (prompts[{item.index}])",)
    if isinstance(outcome, PoolinferError) and not (
        return_exceptions and isinstance(outcome, InvalidRequest | CallError)
    ):
        raise outcome
    return (item.given, outcome) if with_prompts else outcome


def _check_options(options: ChatOptions) -> None:
    """Refuse options that no prompt of a map could have.

    Raises:
        InvalidRequest: an option is unknown, or out of bounds.
    """
    for name in options:
        if name not in ChatOptions.__annotations__ and (near := get_close_matches(name, _OF_MAP, 1)):
            raise UnknownOption(f"map has no option {name[:40]!r}: did you mean {near[0]}?", field=name[:40])
    try:
        normalize_at_once(Chat("x", **options))
    except UnknownOption as error:
        of_map = ", ".join(_OF_MAP[1:])
        raise UnknownOption(f"{error.message}; map itself has {of_map}", field=error.field) from None


def as_request(prompt: Mapped, options: ChatOptions) -> Request:
    """A prompt as a request; a request as it is.

    Raises:
        InvalidRequest: there are options beside a request, which has its own.
    """
    if not isinstance(prompt, Request):
        return Chat(prompt, **options)
    if options:
        raise InvalidRequest(
            f"{next(iter(options))}: options go into the request itself when one is given",
            field=next(iter(options)),
        )
    return prompt


def _progress_bar(prompts: Iterable[Mapped]) -> Callable[[], Any]:
    """What makes a progress bar, which is as long as there are prompts, if their number is known.

    Raises:
        InvalidRequest: tqdm is not installed.
    """
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise InvalidRequest(
            "progress: a progress bar needs tqdm; pip install 'poolinfer[progress]'", field="progress"
        ) from error
    return partial(tqdm, total=len(prompts) if isinstance(prompts, Sized) else None)
