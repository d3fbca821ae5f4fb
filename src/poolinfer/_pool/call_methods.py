"""The methods that make calls, each a line or two over ``submit``. `Pool` and `Model` share them.

Each sync method has an async twin with the same parameters, since a function either blocks or is awaited. What both
do is written once: `submit` and `mapped`. The overloads of `map` and `amap` are there twice because
type checkers need them at each function.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeAlias, overload

from typing_extensions import Unpack

from .._data.errors import InvalidRequest
from .._data.prompt_builder import ChatInput
from .._data.requests import Chat, ChatOptions, Generation, Raw, RawOptions, Request, TurnOptions
from .._data.results import Embedding, Response
from .._data.stats import PoolStats
from .._data.text_requests import Embed, Rerank
from .._data.text_results import AppliedTemplate, RankedDocument
from .._data.token_requests import ApplyTemplate, Detokenize, Tokenize
from .bulk import Bulk
from .call import Call
from .mapping import Mapped, as_request, mapped, mapped_result
from .missing_argument import says_what_is_missing
from .retrieval_methods import RetrievalMethods
from .score_methods import ScoreMethods
from .session import Session
from .token_methods import TokenMethods
from .tool_functions import Tool

_Several: TypeAlias = Embed[list[str]] | Embed[tuple[str, ...]]


class CallMethods(RetrievalMethods, ScoreMethods, TokenMethods):
    """Calls of every kind, sync and async, over one primitive: `submit`."""

    @overload
    def submit(self, request: Chat | Raw) -> Call[Response]: ...
    @overload
    def submit(self, request: Embed[str]) -> Call[Embedding]: ...
    @overload
    def submit(self, request: _Several) -> Call[list[Embedding]]: ...
    @overload
    def submit(self, request: Rerank) -> Call[list[RankedDocument]]: ...
    @overload
    def submit(self, request: Tokenize) -> Call[list[int]]: ...
    @overload
    def submit(self, request: Detokenize) -> Call[str]: ...
    @overload
    def submit(self, request: ApplyTemplate) -> Call[AppliedTemplate]: ...
    @overload
    def submit(self, request: Request) -> Call[Any]: ...
    def submit(self, request: Request) -> Call[Any]:
        """Check a request, accept it, and return at once with its `Call`; never blocks.

        The call's result is a `Response`. For an `Embed` request it is an `Embedding` where there is one text, and
        a list of them where there are several. For a `Rerank` it is a list of `RankedDocument`, for a `Tokenize` a
        list of int, for a `Detokenize` a str, and for an `ApplyTemplate` an `AppliedTemplate`. May be called from a
        signal handler.

        In a running event loop a very large request is checked by another thread. If it is refused there, its call
        ends with the `InvalidRequest`. Do not change the dicts in the request until the call has ended.

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

    @says_what_is_missing(Chat, "prompt")
    def chat(self, prompt: ChatInput, **options: Unpack[ChatOptions]) -> Response:
        """Answer a chat and wait for it. Options: see `Chat`; errors: see `submit` and `Call.result`."""
        return self.submit(Chat(prompt, **options))._answer("`await achat(..)`")

    @says_what_is_missing(Chat, "prompt")
    async def achat(self, prompt: ChatInput, **options: Unpack[ChatOptions]) -> Response:
        """`chat` for async code (asyncio and trio)."""
        return await self.submit(Chat(prompt, **options))

    @says_what_is_missing(Raw, "prompt")
    def raw(self, prompt: str, **options: Unpack[RawOptions]) -> Response:
        """Continue a text and wait for it. Options: see `Raw`."""
        return self.submit(Raw(prompt, **options))._answer("`await araw(..)`")

    @says_what_is_missing(Raw, "prompt")
    async def araw(self, prompt: str, **options: Unpack[RawOptions]) -> Response:
        """`raw` for async code (asyncio and trio)."""
        return await self.submit(Raw(prompt, **options))

    @says_what_is_missing(Chat, "prompt")
    def stream(self, prompt: ChatInput | Chat | Raw, **options: Unpack[ChatOptions]) -> Call[Response]:
        """Start a chat (or a request made before) and return its call, to read chunk by chunk.

        ``for chunk in pool.stream(..)`` in sync code, ``async for`` in async code. Dropping the iterator half
        way cancels the call; after the last chunk, ``call.result()`` is the whole `Response`.
        """
        request = as_request(prompt, options)
        if not isinstance(request, Generation):
            kind = type(request).__name__
            raise InvalidRequest(
                f"prompt: an {kind} request has no text to stream; use submit", field="prompt"
            )
        return self.submit(request)

    def session(
        self,
        *,
        system: str | None = None,
        messages: ChatInput = (),
        tools: Sequence[Tool] = (),
        **options: Unpack[TurnOptions],
    ) -> Session:
        """A chat that keeps its turns. `Session` explains the arguments, and what they raise."""
        return Session(self, system=system, messages=messages, tools=tools, **options)

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

        Nothing is submitted until the first result is asked for, and then only as many calls as `window` allows.
        (`concurrent.futures.Executor.map` submits all at once.) Dropping the iterator cancels the open calls.

        Args:
            prompts: chat prompts or requests; any iterable, read only as far as needed.
            window: most calls submitted and not yet yielded; None for two per slot of the pool, and at least 16.
            progress: whether to show a progress bar of the results (needs ``pip install 'poolinfer[progress]'``).
            ordered: whether results come in the order of the prompts; False for each as soon as it is there.
            return_exceptions: whether the error of a prompt (`InvalidRequest`, `CallError`) is yielded in place of
                its result, so that the others go on. An error of the pool ends the map in either case.
            with_prompts: whether to yield pairs of a prompt, as it was given, and its result.
            options: the options of `Chat`, for every prompt; checked at once. A request among the prompts has
                options of its own. It is refused, at its place, if any are given here, as they would not count.

        Raises:
            InvalidRequest: `prompts` is a single prompt or an async iterable, `window` is no number of calls, or
                an option is unknown or out of bounds.
            Exception: the error of a call, at its place; the other calls are cancelled. The error's ``index`` and
                ``prompt`` say which prompt it was.
        """
        bulk = self._mapped(prompts, options, window, progress, ordered)
        return bulk.run(partial(mapped_result, return_exceptions, with_prompts))

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
        bulk = self._mapped(prompts, options, window, progress, ordered)
        return bulk.arun(partial(mapped_result, return_exceptions, with_prompts))

    def _mapped(
        self,
        prompts: Iterable[Mapped],
        options: ChatOptions,
        window: int | None,
        progress: bool,
        ordered: bool,
    ) -> Bulk:
        return mapped(
            prompts,
            options,
            submit=self.submit,
            room=lambda: (self._slots(), self.max_queue),
            window=window,
            progress=progress,
            ordered=ordered,
        )
