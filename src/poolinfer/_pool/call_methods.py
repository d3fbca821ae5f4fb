"""The six calls and what follows from them, each a line or two over ``submit``. `Pool` and `Model` share them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing
from functools import partial, wraps
from inspect import iscoroutinefunction
from itertools import chain
from typing import Any, TypeAlias, TypeVar, cast, overload

from typing_extensions import Unpack

from .._checks.normalize import normalize_at_once
from .._data.errors import InvalidRequest
from .._data.requests import Chat, ChatInput, ChatOptions, Embed, EmbedOptions, Raw, RawOptions, Request
from .._data.results import Embedding, Response
from .._data.stats import PoolStats
from .call import Call
from .mapping import Mapped, as_request, give, mapped
from .text_batches import TextBatches, split

_Several: TypeAlias = Embed[list[str]] | Embed[tuple[str, ...]]
_FunctionT = TypeVar("_FunctionT", bound=Callable[..., Any])


def _says_what_is_missing(request: type[Request], name: str) -> Callable[[_FunctionT], _FunctionT]:
    """Have a method say what its request says when the first argument is missing, or is called something else."""

    def wrap(function: _FunctionT) -> _FunctionT:
        @wraps(function)
        def call(self: Calls, *args: Any, **options: Any) -> Any:
            if not args and name not in options:
                request(**options)
            return function(self, *args, **options)

        @wraps(function)
        async def call_async(self: Calls, *args: Any, **options: Any) -> Any:
            return await call(self, *args, **options)

        return cast("_FunctionT", call_async if iscoroutinefunction(function) else call)

    return wrap


class Calls(ABC):
    """Chat, raw and embed calls, sync and async, over one primitive: `submit`."""

    @overload
    def submit(self, request: Chat | Raw) -> Call[Response]: ...
    @overload
    def submit(self, request: Embed[str]) -> Call[Embedding]: ...
    @overload
    def submit(self, request: _Several) -> Call[list[Embedding]]: ...
    @overload
    def submit(self, request: Request) -> Call[Any]: ...
    def submit(self, request: Request) -> Call[Any]:
        """Check a request, accept it, and return at once with its `Call`; never blocks.

        The call's result is a `Response`, or for an `Embed` request of one text an `Embedding`, and of several
        a list of them. May be called from a signal handler.

        In a running event loop a very large request is checked by another thread: if it is refused, its call ends
        with the InvalidRequest. Do not change the dicts in it before.

        Raises:
            InvalidRequest: a field is out of bounds; the message names it.
            PoolFull: the queue is full.
            PoolClosed: the pool is closing or closed.
            PoolBroken: the pool's executor cannot go on.
            ForkedPool: this process was forked from the pool's owner.
        """
        return self._submit(request)

    @abstractmethod
    def _submit(self, request: Request) -> Call[Any]: ...

    @property
    @abstractmethod
    def max_queue(self) -> int:
        """Most calls that may wait."""

    @abstractmethod
    def _slots(self) -> int:
        """Calls that can run at once, as far as is known without asking anybody."""

    @abstractmethod
    def stats(self) -> PoolStats:
        """A snapshot of what the pool does and has done."""

    @_says_what_is_missing(Chat, "prompt")
    def chat(self, prompt: ChatInput, **options: Unpack[ChatOptions]) -> Response:
        """Answer a chat and wait for it. Options: see `Chat`; errors: see `submit` and `Call.result`."""
        return self.submit(Chat(prompt, **options))._answer("`await achat(..)`")

    @_says_what_is_missing(Chat, "prompt")
    async def achat(self, prompt: ChatInput, **options: Unpack[ChatOptions]) -> Response:
        """`chat` for async code (asyncio and trio)."""
        return await self.submit(Chat(prompt, **options))

    @_says_what_is_missing(Raw, "prompt")
    def raw(self, prompt: str, **options: Unpack[RawOptions]) -> Response:
        """Continue a text and wait for it. Options: see `Raw`."""
        return self.submit(Raw(prompt, **options))._answer("`await araw(..)`")

    @_says_what_is_missing(Raw, "prompt")
    async def araw(self, prompt: str, **options: Unpack[RawOptions]) -> Response:
        """`raw` for async code (asyncio and trio)."""
        return await self.submit(Raw(prompt, **options))

    @overload
    def embed(self, input: str, **options: Unpack[EmbedOptions]) -> Embedding: ...  # type: ignore[overload-overlap]
    @overload
    def embed(self, input: Iterable[str], **options: Unpack[EmbedOptions]) -> list[Embedding]: ...
    @_says_what_is_missing(Embed, "input")
    def embed(
        self, input: str | Iterable[str], **options: Unpack[EmbedOptions]
    ) -> Embedding | list[Embedding]:
        """Turn one text into a vector, or several into as many, in order.

        Args:
            input: one text, or any iterable of texts, which may be empty. More than 256 texts (or a million
                characters) become several calls, of which at most four are open at a time; `timeout` is for all
                of them together.
            options: see `Embed`.

        Raises:
            PoolFull: the queue is full. Only the first of several calls raises it, the others wait.
            Exception: what a call raised; the others are cancelled. An `InvalidRequest` names ``input[i]``.
        """
        parts = split(input)
        first, second = next(parts, None), next(parts, None)
        if first is None:
            normalize_at_once(Embed("x", **options))  # for its errors
            return []
        if second is None:
            return self.submit(Embed(first.texts, **options))._answer("`await aembed(..)`")  # type: ignore[no-any-return]
        several = TextBatches(self.submit, options)
        run = several.bulk(chain((first, second), parts)).run(several.give)
        return [found for vectors in run for found in vectors]

    @overload
    async def aembed(self, input: str, **options: Unpack[EmbedOptions]) -> Embedding: ...  # type: ignore[overload-overlap]
    @overload
    async def aembed(self, input: Iterable[str], **options: Unpack[EmbedOptions]) -> list[Embedding]: ...
    @_says_what_is_missing(Embed, "input")
    async def aembed(
        self, input: str | Iterable[str], **options: Unpack[EmbedOptions]
    ) -> Embedding | list[Embedding]:
        """`embed` for async code (asyncio and trio)."""
        parts = split(input)
        first, second = next(parts, None), next(parts, None)
        if first is None:
            normalize_at_once(Embed("x", **options))  # for its errors
            return []
        if second is None:
            return await self.submit(Embed(first.texts, **options))  # type: ignore[no-any-return]
        several = TextBatches(self.submit, options)
        async with aclosing(several.bulk(chain((first, second), parts)).arun(several.give)) as run:
            return [found async for vectors in run for found in vectors]

    @_says_what_is_missing(Chat, "prompt")
    def stream(self, prompt: ChatInput | Chat | Raw, **options: Unpack[ChatOptions]) -> Call[Response]:
        """Start a chat (or a request made before) and return its call, to read piece by piece.

        ``for piece in pool.stream(..)`` in sync code, ``async for`` in async code. Dropping the iterator half
        way cancels the call; after the last piece, ``call.result()`` is the whole `Response`.
        """
        request = as_request(prompt, options)
        if isinstance(request, Embed):
            raise InvalidRequest(
                "prompt: an Embed request has no pieces to stream; use submit", field="prompt"
            )
        return self.submit(request)

    @overload
    def map(
        self,
        prompts: Iterable[Embed[str]],
        *,
        window: int | None = None,
        progress: bool = False,
        ordered: bool = True,
    ) -> Iterator[Embedding]: ...
    @overload
    def map(
        self,
        prompts: Iterable[_Several],
        *,
        window: int | None = None,
        progress: bool = False,
        ordered: bool = True,
    ) -> Iterator[list[Embedding]]: ...
    @overload
    def map(
        self,
        prompts: Iterable[ChatInput | Chat | Raw],
        *,
        window: int | None = None,
        progress: bool = False,
        ordered: bool = True,
        **options: Unpack[ChatOptions],
    ) -> Iterator[Response]: ...
    @overload
    def map(
        self,
        prompts: Iterable[Mapped],
        *,
        window: int | None = None,
        progress: bool = False,
        ordered: bool = True,
        return_exceptions: bool = False,
        with_prompts: bool = False,
        **options: Unpack[ChatOptions],
    ) -> Iterator[Any]: ...
    def map(
        self,
        prompts: Iterable[Mapped],
        *,
        window: int | None = None,
        progress: bool = False,
        ordered: bool = True,
        return_exceptions: bool = False,
        with_prompts: bool = False,
        **options: Unpack[ChatOptions],
    ) -> Iterator[Any]:
        """Results for many prompts, with a bounded number of calls at a time.

        Unlike `concurrent.futures.Executor.map`, it submits nothing until the first result is asked for, and
        between two results only as much as there is room for in `window`. Dropping the iterator cancels what is
        open.

        Args:
            prompts: chat prompts or requests; any iterable, read only as far as needed.
            window: most calls submitted and not yet yielded; None for a few more than the pool has slots.
            progress: whether to show a progress bar of the results (needs ``pip install 'poolinfer[progress]'``).
            ordered: whether results come in the order of the prompts; False for each as soon as it is there.
            return_exceptions: whether the error of a prompt (`InvalidRequest`, `CallError`) is yielded in place of
                its result, and the others go on. What ends the pool ends the map, too.
            with_prompts: whether to yield pairs of a prompt, as it was given, and its result.
            options: those of `Chat`, for every prompt; checked at once. A request among the prompts has options of
                its own: beside any given here it is refused, at its place, since they would not count for it.

        Raises:
            InvalidRequest: `prompts` is a single prompt or an async iterable, `window` no number of calls, or an
                option is unknown or out of bounds.
            Exception: what a call raised, at its place; the others are cancelled. Its ``index`` and ``prompt``
                say which one it was.
        """
        bulk = mapped(self, prompts, options, window, progress, ordered)
        return bulk.run(partial(give, return_exceptions, with_prompts))

    @overload
    def amap(
        self,
        prompts: Iterable[Embed[str]],
        *,
        window: int | None = None,
        progress: bool = False,
        ordered: bool = True,
    ) -> AsyncIterator[Embedding]: ...
    @overload
    def amap(
        self,
        prompts: Iterable[_Several],
        *,
        window: int | None = None,
        progress: bool = False,
        ordered: bool = True,
    ) -> AsyncIterator[list[Embedding]]: ...
    @overload
    def amap(
        self,
        prompts: Iterable[ChatInput | Chat | Raw],
        *,
        window: int | None = None,
        progress: bool = False,
        ordered: bool = True,
        **options: Unpack[ChatOptions],
    ) -> AsyncIterator[Response]: ...
    @overload
    def amap(
        self,
        prompts: Iterable[Mapped],
        *,
        window: int | None = None,
        progress: bool = False,
        ordered: bool = True,
        return_exceptions: bool = False,
        with_prompts: bool = False,
        **options: Unpack[ChatOptions],
    ) -> AsyncIterator[Any]: ...
    def amap(
        self,
        prompts: Iterable[Mapped],
        *,
        window: int | None = None,
        progress: bool = False,
        ordered: bool = True,
        return_exceptions: bool = False,
        with_prompts: bool = False,
        **options: Unpack[ChatOptions],
    ) -> AsyncIterator[Any]:
        """`map` for async code (asyncio and trio)."""
        bulk = mapped(self, prompts, options, window, progress, ordered)
        return bulk.arun(partial(give, return_exceptions, with_prompts))
