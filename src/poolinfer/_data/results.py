"""What a caller gets: `Response`, `Chunk`, `Embedding` and what they are made of, frozen plain data."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, SupportsIndex, TypeAlias, overload

from .answer_types import parse_answer
from .errors import ParseError
from .logprobs import Score, TokenLogprob, openai_logprobs

if TYPE_CHECKING:
    import numpy
    import numpy.typing

#: Why generation ended, as OpenAI spells it.
FinishReason: TypeAlias = Literal["stop", "length", "tool_calls"]


@dataclass(frozen=True, slots=True)
class Usage:
    """Token counts of one call.

    Attributes:
        prompt_tokens: tokens of the prompt, template included.
        cached_tokens: prompt tokens that were not computed, because their KV was resident.
        completion_tokens: tokens generated.
        reasoning_tokens: those of them that belong to blocks of reasoning, marks included.
    """

    prompt_tokens: int = 0
    cached_tokens: int = 0
    completion_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        """Prompt and completion tokens together."""
        return self.prompt_tokens + self.completion_tokens


@dataclass(frozen=True, slots=True)
class Timings:
    """Where one call's time went, in seconds of a monotonic clock.

    Attributes:
        queue: from submission until it had a slot.
        prefill: from the slot until the prompt was computed.
        decode: from the first token until the last.
        ttft: time to first token, from submission.
        total: from submission until the end.
    """

    queue: float = 0.0
    prefill: float = 0.0
    decode: float = 0.0
    ttft: float = 0.0
    total: float = 0.0


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call of a tool that the model asks for.

    Attributes:
        id: identifier, which the answer to this tool call repeats as ``tool_call_id``. It is what the model wrote,
            if no other call of the conversation has that id. Else it is ``call_`` and 24 letters and digits. Where
            the chat template takes no others, it is nine letters and digits. A new id differs each time; with
            a `seed` it follows from the seed and the prompt.
        name: name of the tool.
        arguments: what the tool is called with, as JSON text, as OpenAI gives it.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A part of a tool call in a streamed answer. The parts of one index, joined, are that `ToolCall`.

    Attributes:
        index: which of the answer's tool calls this is a part of, from 0.
        id: identifier of the call, in its first part; ``""`` in all others.
        name: name of the tool, in the call's first part; ``""`` in all others.
        arguments: the next piece of the arguments' JSON text.
    """

    index: int
    id: str = ""
    name: str = ""
    arguments: str = ""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a streamed answer. The fields of all chunks of an answer, joined, are those of the `Response`.

    Attributes:
        text: all new text, as it was generated; marks that are control tokens are not text.
        answer: the new text of the answer.
        reasoning: the new text of the reasoning, without the marks around it.
        logprobs: the tokens of this chunk with their log probabilities, when asked for.
        tool_calls: the new parts of tool calls. The parts of one call, joined, are a `ToolCall`.
        index: which answer this is a part of, from 0, where `n` asked for several.
    """

    text: str = ""
    answer: str = ""
    reasoning: str = ""
    logprobs: tuple[TokenLogprob, ...] = ()
    tool_calls: tuple[ToolCallDelta, ...] = ()
    index: int = 0


@dataclass(frozen=True, slots=True)
class Response:
    """The answer to a `Chat` or `Raw` request.

    Attributes:
        text: everything generated, stop text excluded. Control tokens are not part of it, even where they mark
            reasoning and tool calls.
        answer: the text without reasoning and without tool calls.
        reasoning: what the model wrote in its blocks of reasoning, without the marks around them.
        tool_calls: the tools that the model asks to call.
        finish_reason: ``"stop"``, ``"length"`` or ``"tool_calls"``.
        usage: token counts; of all choices, where there are several, with the prompt counted once.
        timings: where the call's time went, in seconds.
        logprobs: generated tokens with their log probabilities, when asked for. The tokens of a stop text are among
            them, and so is the token that ended the answer.
        prompt_logprobs: the tokens of the prompt with their log probabilities, when asked for.
        others: the other answers, where `n` asked for several. See `choices`.
        answer_type: the type that the request's `response_format` named, of which `parsed` makes an instance; None
            if it named none.
    """

    text: str
    answer: str = ""
    reasoning: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: FinishReason = "stop"
    usage: Usage = field(default_factory=Usage)
    timings: Timings = field(default_factory=Timings)
    logprobs: tuple[TokenLogprob, ...] = ()
    prompt_logprobs: tuple[TokenLogprob, ...] = ()
    others: tuple[Response, ...] = ()
    answer_type: Any = field(default=None, repr=False, compare=False)

    @property
    def parsed(self) -> Any:
        """The answer, decoded from JSON; an instance of the type that `response_format` named, if it named one.

        It is decoded anew each time.

        Raises:
            ParseError: the answer was cut off (`finish_reason` is ``"length"``), asks for tools, is no JSON, or
                does not fit the type. ``.partial`` is the answer, as far as it goes.
        """
        if self.finish_reason == "length":
            raise ParseError(
                "the answer was cut off (finish_reason is 'length'): give a larger max_tokens or n_ctx",
                partial=self.answer,
            )
        if self.finish_reason == "tool_calls":
            raise ParseError("the model asks for tools: see tool_calls", partial=self.answer)
        return parse_answer(self.answer, self.answer_type)

    @property
    def choices(self) -> tuple[Response, ...]:
        """All answers, of which this one is the first; as many as `n` asked for."""
        return (self, *self.others)

    @property
    def score(self) -> Score:
        """What `prompt_logprobs` says of the prompt as a whole."""
        tokens = self.prompt_logprobs
        return Score(tokens[1:] if tokens and not tokens[0].rank else tokens)

    @property
    def tokens_per_second(self) -> float:
        """Decoded tokens per second after the first; 0 when fewer than two were generated."""
        more = self.usage.completion_tokens - 1
        return more / self.timings.decode if more > 0 and self.timings.decode > 0 else 0.0

    def to_openai(self, model: str = "poolinfer") -> dict[str, Any]:
        """This response as an OpenAI ``chat.completion`` dict (``id`` and ``created`` are the server's to add)."""
        return {
            "object": "chat.completion",
            "model": model,
            "choices": [choice._openai_choice(index) for index, choice in enumerate(self.choices)],
            "usage": {
                "prompt_tokens": self.usage.prompt_tokens,
                "completion_tokens": self.usage.completion_tokens,
                "total_tokens": self.usage.total_tokens,
                "prompt_tokens_details": {"cached_tokens": self.usage.cached_tokens},
                "completion_tokens_details": {"reasoning_tokens": self.usage.reasoning_tokens},
            },
        }

    def _openai_choice(self, index: int) -> dict[str, Any]:
        message: dict[str, Any] = {"role": "assistant", "content": self.answer or None}
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = [
                {
                    "id": call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": call.arguments},
                }
                for call in self.tool_calls
            ]
        else:
            message["content"] = self.answer
        return {
            "index": index,
            "message": message,
            "finish_reason": self.finish_reason,
            "logprobs": openai_logprobs(self.logprobs) if self.logprobs else None,
        }


@dataclass(frozen=True, slots=True, repr=False)
class Embedding:
    """One text as a vector: a sequence of floats, and what numpy takes as an array.

    ``bytes(embedding)`` is the vector as packed little-endian float32, which is how it is stored.

    Attributes:
        data: packed little-endian float32 values.
        prompt_tokens: tokens of the text.
    """

    data: bytes
    prompt_tokens: int = 0

    @property
    def vector(self) -> numpy.typing.NDArray[numpy.float32]:
        """The vector as a read-only float32 array of shape (dimensions,)."""
        import numpy

        return numpy.frombuffer(self.data, dtype="<f4")

    @property
    def dimensions(self) -> int:
        """Length of the vector."""
        return len(self.data) // 4

    def __bytes__(self) -> bytes:
        return self.data

    def __array__(
        self, dtype: numpy.typing.DTypeLike | None = None, copy: bool | None = None
    ) -> numpy.typing.NDArray[Any]:
        """The vector, for ``numpy.asarray(embedding)``; read-only where it need not be copied."""
        import numpy

        vector = self.vector
        wanted = vector.dtype if dtype is None else numpy.dtype(dtype)
        if copy is False and wanted != vector.dtype:
            raise ValueError(f"an embedding of float32 cannot become {wanted} without a copy")
        return vector.astype(wanted, copy=bool(copy))

    def __len__(self) -> int:
        return self.dimensions

    def __iter__(self) -> Iterator[float]:
        return iter(self.tolist())

    @overload
    def __getitem__(self, index: SupportsIndex) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> list[float]: ...
    def __getitem__(self, index: SupportsIndex | slice) -> float | list[float]:
        return self.tolist()[index]

    def tolist(self) -> list[float]:
        """The vector as a list of Python floats, for JSON, say."""
        return list(struct.unpack(f"<{self.dimensions}f", self.data))

    def __repr__(self) -> str:
        return f"Embedding(dimensions={self.dimensions}, prompt_tokens={self.prompt_tokens})"

    def norm(self) -> float:
        """Euclidean (L2) length of the vector."""
        import numpy

        return math.sqrt(float(numpy.dot(self._wide(), self._wide())))

    def normalize(self) -> Embedding:
        """This embedding scaled to length 1; a zero vector stays as it is."""
        length = self.norm()
        if length == 0.0:
            return self
        return Embedding((self._wide() / length).astype("<f4").tobytes(), self.prompt_tokens)

    def cosine_similarity(self, other: Embedding) -> float:
        """Cosine of the angle between two embeddings, -1 to 1; 0 when either is a zero vector.

        Raises:
            ValueError: the two have different dimensions.
        """
        import numpy

        if self.dimensions != other.dimensions:
            raise ValueError(
                f"embeddings of {self.dimensions} and {other.dimensions} dimensions cannot be compared;"
                " embed both texts with the same model"
            )
        lengths = self.norm() * other.norm()
        return float(numpy.dot(self._wide(), other._wide())) / lengths if lengths else 0.0

    def _wide(self) -> numpy.typing.NDArray[numpy.float64]:
        return self.vector.astype("f8")
