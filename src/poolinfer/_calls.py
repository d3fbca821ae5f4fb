"""The six calls and what follows from them, each a line or two over ``submit``. `Pool` and `Model` share them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any, TypeAlias, TypeVar, overload

import anyio
from typing_extensions import Unpack

from ._call import Call
from ._errors import InvalidRequest, PoolFull
from ._requests import Chat, ChatInput, ChatOptions, Embed, EmbedOptions, Raw, RawOptions
from ._results import Embedding, Response
from ._stats import PoolStats

ResultT = TypeVar("ResultT")
_Mapped: TypeAlias = ChatInput | Chat | Raw | Embed


class Calls(ABC):
    """Chat, raw and embed calls, sync and async, over one primitive: `submit`."""

    @overload
    def submit(self, request: Chat | Raw) -> Call[Response]: ...
    @overload
    def submit(self, request: Embed) -> Call[list[Embedding]]: ...
    @overload
    def submit(self, request: Chat | Raw | Embed) -> Call[Any]: ...
    @abstractmethod
    def submit(self, request: Chat | Raw | Embed) -> Call[Any]:
        """See `poolinfer.Pool.submit`."""

    @property
    @abstractmethod
    def max_queue(self) -> int:
        """Most calls that may wait."""

    @abstractmethod
    def stats(self) -> PoolStats:
        """A snapshot of what the pool does and has done."""

    def chat(self, prompt: ChatInput, **options: Unpack[ChatOptions]) -> Response:
        """Answer a chat and wait for it. Options: see `Chat`; errors: see `submit` and `Call.result`."""
        return self.submit(Chat(prompt, **options)).result()

    async def achat(self, prompt: ChatInput, **options: Unpack[ChatOptions]) -> Response:
        """`chat` for async code (asyncio and trio)."""
        return await self.submit(Chat(prompt, **options))

    def raw(self, prompt: str, **options: Unpack[RawOptions]) -> Response:
        """Continue a text and wait for it. Options: see `Raw`."""
        return self.submit(Raw(prompt, **options)).result()

    async def araw(self, prompt: str, **options: Unpack[RawOptions]) -> Response:
        """`raw` for async code (asyncio and trio)."""
        return await self.submit(Raw(prompt, **options))

    @overload
    def embed(self, input: str, **options: Unpack[EmbedOptions]) -> Embedding: ...
    @overload
    def embed(
        self, input: list[str] | tuple[str, ...], **options: Unpack[EmbedOptions]
    ) -> list[Embedding]: ...
    def embed(
        self, input: str | list[str] | tuple[str, ...], **options: Unpack[EmbedOptions]
    ) -> Embedding | list[Embedding]:
        """Turn one text into a vector, or several into as many, in order. Options: see `Embed`."""
        found = self.submit(Embed(input, **options)).result()
        return found[0] if isinstance(input, str) else found

    @overload
    async def aembed(self, input: str, **options: Unpack[EmbedOptions]) -> Embedding: ...
    @overload
    async def aembed(
        self, input: list[str] | tuple[str, ...], **options: Unpack[EmbedOptions]
    ) -> list[Embedding]: ...
    async def aembed(
        self, input: str | list[str] | tuple[str, ...], **options: Unpack[EmbedOptions]
    ) -> Embedding | list[Embedding]:
        """`embed` for async code (asyncio and trio)."""
        found = await self.submit(Embed(input, **options))
        return found[0] if isinstance(input, str) else found

    def stream(self, prompt: ChatInput | Chat | Raw, **options: Unpack[ChatOptions]) -> Call[Response]:
        """Start a chat (or a request made before) and return its call, to read piece by piece.

        ``for piece in pool.stream(..)`` in sync code, ``async for`` in async code. Dropping the iterator half
        way cancels the call; after the last piece, ``call.result()`` is the whole `Response`.
        """
        request = _as_request(prompt, options)
        if isinstance(request, Embed):
            raise InvalidRequest(
                "prompt: an Embed request has no pieces to stream; use submit", field="prompt"
            )
        return self.submit(request)

    @overload
    def map(
        self, prompts: Iterable[Embed], *, window: int | None = None, progress: bool = False
    ) -> Iterator[list[Embedding]]: ...
    @overload
    def map(
        self,
        prompts: Iterable[ChatInput | Chat | Raw],
        *,
        window: int | None = None,
        progress: bool = False,
        **options: Unpack[ChatOptions],
    ) -> Iterator[Response]: ...
    def map(
        self,
        prompts: Iterable[_Mapped],
        *,
        window: int | None = None,
        progress: bool = False,
        **options: Unpack[ChatOptions],
    ) -> Iterator[Any]:
        """Results for many prompts, in their order, with a bounded number of calls at a time.

        Args:
            prompts: chat prompts or requests; any iterable, read only as far as needed.
            window: most calls submitted and not yet yielded; None for a few more than the pool has slots.
            progress: whether to show a progress bar (needs ``pip install 'poolinfer[progress]'``).
            options: for prompts that are not requests; see `Chat`.

        Raises:
            Exception: what a call raised, at its place in the order; the calls after it are cancelled.
        """
        waiting: deque[Call[Any]] = deque()
        source = _show_progress(prompts) if progress else prompts
        try:
            for prompt in source:
                request = _as_request(prompt, options)
                while len(waiting) >= self._window(window):
                    yield waiting.popleft().result()
                while (call := self._try_submit(request)) is None:
                    if waiting:
                        yield waiting.popleft().result()
                    else:
                        time.sleep(_PAUSE)
                waiting.append(call)
            while waiting:
                yield waiting.popleft().result()
        finally:
            for call in waiting:
                call.cancel()

    @overload
    def amap(
        self, prompts: Iterable[Embed], *, window: int | None = None, progress: bool = False
    ) -> AsyncIterator[list[Embedding]]: ...
    @overload
    def amap(
        self,
        prompts: Iterable[ChatInput | Chat | Raw],
        *,
        window: int | None = None,
        progress: bool = False,
        **options: Unpack[ChatOptions],
    ) -> AsyncIterator[Response]: ...
    async def amap(
        self,
        prompts: Iterable[_Mapped],
        *,
        window: int | None = None,
        progress: bool = False,
        **options: Unpack[ChatOptions],
    ) -> AsyncIterator[Any]:
        """`map` for async code (asyncio and trio)."""
        waiting: deque[Call[Any]] = deque()
        source = _show_progress(prompts) if progress else prompts
        try:
            for prompt in source:
                request = _as_request(prompt, options)
                while len(waiting) >= self._window(window):
                    yield await waiting.popleft()
                while (call := self._try_submit(request)) is None:
                    if waiting:
                        yield await waiting.popleft()
                    else:
                        await anyio.sleep(_PAUSE)
                waiting.append(call)
            while waiting:
                yield await waiting.popleft()
        finally:
            for call in waiting:
                call.cancel()

    def _window(self, window: int | None) -> int:
        most = window if window is not None else 2 * max(8, self.stats().slots)
        return max(1, min(most, self.max_queue))

    def _try_submit(self, request: Chat | Raw | Embed) -> Call[Any] | None:
        """The request's call, or None while others fill the queue."""
        try:
            return self.submit(request)
        except PoolFull:
            return None


_PAUSE = 0.02


def _as_request(prompt: _Mapped, options: ChatOptions) -> Chat | Raw | Embed:
    if not isinstance(prompt, Chat | Raw | Embed):
        return Chat(prompt, **options)
    if options:
        raise InvalidRequest(
            f"{next(iter(options))}: options go into the request itself when one is given",
            field=next(iter(options)),
        )
    return prompt


def _show_progress(prompts: Iterable[_Mapped]) -> Iterable[_Mapped]:
    try:
        from tqdm.auto import tqdm
    except ImportError as error:
        raise InvalidRequest(
            "progress: a progress bar needs tqdm; pip install 'poolinfer[progress]'", field="progress"
        ) from error
    return tqdm(prompts)  # type: ignore[no-any-return,unused-ignore]
