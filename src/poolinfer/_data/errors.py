"""Every error that poolinfer raises, in one tree.

    PoolinferError
    ├── InvalidRequest (ValueError)      the caller's fault; nothing was computed
    │   ├── ContextOverflow              prompt (and max_tokens) do not fit n_ctx
    │   ├── InvalidGrammar               no answer can be held to this schema, regex or grammar
    │   └── UnknownOption (TypeError)    there is no option of that name
    ├── ModelError                       the model file cannot be used
    ├── PoolError                        the pool's state
    │   ├── PoolFull                     the queue is at max_queue; has .retry_after
    │   ├── PoolClosed                   close() has begun
    │   ├── PoolBroken                   the executor cannot go on
    │   └── ForkedPool                   this process was forked from the pool's owner
    └── CallError                        this call's fate; has .partial
        ├── CallCancelled
        ├── DeadlineExceeded (TimeoutError)
        ├── TooManyRounds                a session's run wanted more rounds than it may have
        ├── WorkerLost                   the worker that ran the call died
        ├── EngineError                  the engine refused or failed
        └── ParseError (ValueError)      the answer is not the data that was asked for

There are four branches, so that ``except InvalidRequest`` never hides a crash. What an error has to say beside its
message is in plain attributes. So errors can be pickled, and cross process boundaries as data (`error_to_data` and
`error_from_data`).
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import TypeVar


class PoolinferError(Exception):
    """Base class of every error that poolinfer raises.

    Attributes:
        index: of an error from `map` or `amap`, the position of the prompt among those given, from 0; else None.
        prompt: the prompt at that position, as it was given; else None.
    """

    index: int | None = None
    prompt: object = None

    def __init__(self, message: str = "") -> None:
        super().__init__(message)

    @property
    def message(self) -> str:
        """The sentence shown to a person."""
        return str(self.args[0]) if self.args else ""


class InvalidRequest(PoolinferError, ValueError):
    """A request is not acceptable; raised before any engine sees it.

    Attributes:
        field: name of the offending field (``"max_tokens"``, ``"messages[2].role"``), or ``""``.
    """

    def __init__(self, message: str = "", *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class ContextOverflow(InvalidRequest):
    """Prompt plus requested output do not fit the context of one call.

    Attributes:
        n_prompt: tokens of the prompt. Of a prompt that was refused before it was tokenized, the least number that
            it can have.
        n_ctx: tokens that one call may use, prompt and output together.
    """

    def __init__(
        self, message: str = "", *, field: str = "prompt", n_prompt: int = 0, n_ctx: int = 0
    ) -> None:
        super().__init__(message, field=field)
        self.n_prompt = n_prompt
        self.n_ctx = n_ctx


class InvalidGrammar(InvalidRequest):
    """A schema, regex, list of choices or grammar to which no answer can be held; the message says why.

    It is malformed, too large or too costly, nothing matches it, or it uses a keyword that cannot be enforced.
    """


class UnknownOption(InvalidRequest, TypeError):
    """There is no option of that name; the message says which one comes closest.

    A `TypeError` too, since that is what Python raises for an argument that a function does not have.
    """


class ModelError(PoolinferError):
    """A model file cannot be opened, parsed, loaded or used for what was asked."""


class PoolError(PoolinferError):
    """The pool cannot take the call."""


class PoolFull(PoolError):
    """The waiting queue is at ``max_queue``.

    Attributes:
        retry_after: seconds after which room is likely, for a ``Retry-After`` header.
    """

    def __init__(self, message: str = "", *, retry_after: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class PoolClosed(PoolError):
    """The pool is closed or closing."""


class PoolBroken(PoolError):
    """The pool's executor failed and cannot go on; build a new pool."""


class ForkedPool(PoolError):
    """The pool belongs to the parent of this forked process; build a new one here."""


class CallError(PoolinferError):
    """How one accepted call failed.

    Attributes:
        partial: the text produced before the failure (may be empty).
    """

    def __init__(self, message: str = "", *, partial: str = "") -> None:
        super().__init__(message)
        self.partial = partial


#: The two reasons for which a call is cancelled, as `CallCancelled` says them.
CALL_WAS_CANCELLED = "the call was cancelled"
POOL_WAS_CLOSED = "the pool was closed before the call ended"


class CallCancelled(CallError):
    """The call was cancelled by its owner, or its pool closed before it ended."""


class DeadlineExceeded(CallError, TimeoutError):
    """The call's ``timeout`` passed before it ended.

    Attributes:
        timeout: the configured seconds.
    """

    def __init__(self, message: str = "", *, partial: str = "", timeout: float = 0.0) -> None:
        super().__init__(message, partial=partial)
        self.timeout = timeout


class WorkerLost(CallError):
    """The worker that ran this call died or broke its protocol.

    Attributes:
        exitcode: exit status of the worker, or None when it is unknown or a signal killed the worker.
        signal: number of the signal that killed the worker, or None.
        stderr_tail: the last lines that the worker printed.
        suspect: whether more than one worker has died of this request, so that it is not run again.
    """

    def __init__(
        self,
        message: str = "",
        *,
        partial: str = "",
        exitcode: int | None = None,
        signal: int | None = None,
        stderr_tail: str = "",
        suspect: bool = False,
    ) -> None:
        super().__init__(message, partial=partial)
        self.exitcode = exitcode
        self.signal = signal
        self.stderr_tail = stderr_tail
        self.suspect = suspect


class TooManyRounds(CallError):
    """The model still asked for tools in the last round of `Session.run`; the session keeps all rounds.

    Attributes:
        rounds: how many answers the model gave.
    """

    def __init__(self, message: str = "", *, partial: str = "", rounds: int = 0) -> None:
        super().__init__(message, partial=partial)
        self.rounds = rounds


class EngineError(CallError):
    """The engine refused or failed this call; other calls are not affected."""


class ParseError(CallError, ValueError):
    """An answer is not the data that was asked for; raised by ``Response.parsed`` alone.

    It was cut off, it is no JSON, or it does not fit the type. ``.partial`` is the answer, as far as it goes.
    """


_ErrorT = TypeVar("_ErrorT", bound=PoolinferError)


def fresh(error: _ErrorT) -> _ErrorT:
    """A copy of an error, for one more caller to raise: without the traceback and the context of earlier ones."""
    copied = copy.copy(error)
    if error.__cause__ is not None:
        copied.__cause__ = error.__cause__
    return copied


ERRORS: Mapping[str, type[PoolinferError]] = {
    cls.__name__: cls
    for cls in (
        InvalidRequest,
        ContextOverflow,
        InvalidGrammar,
        UnknownOption,
        ModelError,
        PoolFull,
        PoolClosed,
        PoolBroken,
        ForkedPool,
        CallCancelled,
        DeadlineExceeded,
        TooManyRounds,
        WorkerLost,
        EngineError,
        ParseError,
    )
}


def error_to_data(error: PoolinferError) -> tuple[str, str, dict[str, object]]:
    """Name, message and attributes of an error: what crosses a process boundary."""
    return type(error).__name__, error.message, dict(vars(error))


def error_from_data(kind: str, message: str, detail: Mapping[str, object]) -> PoolinferError:
    """The error that `error_to_data` described; an unknown kind becomes `EngineError`."""
    cls = ERRORS.get(kind)
    if cls is None:
        return EngineError(f"{kind}: {message}")
    error = cls(message)
    vars(error).update({name: value for name, value in detail.items() if name in vars(error)})
    return error
