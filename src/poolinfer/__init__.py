"""poolinfer: many concurrent local-LLM calls inside a Python application.

    import poolinfer

    model = poolinfer.Model.load(poolinfer.demo_model())
    print(model.chat("What is the capital of France?").answer)

See `Pool` for the concurrency settings.
"""

import logging

from . import executor as executor
from ._data.errors import (
    CallCancelled,
    CallError,
    ContextOverflow,
    DeadlineExceeded,
    EngineError,
    ForkedPool,
    InvalidGrammar,
    InvalidRequest,
    ModelError,
    ParseError,
    PoolBroken,
    PoolClosed,
    PoolError,
    PoolFull,
    PoolinferError,
    TooManyRounds,
    UnknownOption,
    WorkerLost,
)
from ._data.logprobs import Score, TokenLogprob
from ._data.prompt_builder import Prompt, Turn
from ._data.public_names import publish as _publish
from ._data.requests import Chat, Raw, Request
from ._data.results import Chunk, Embedding, Response, Timings, ToolCall, ToolCallDelta, Usage
from ._data.sampling import Sampling
from ._data.stats import PoolStats, Quantiles
from ._data.text_requests import Embed, Rerank
from ._data.text_results import AppliedTemplate, RankedDocument
from ._data.token_requests import ApplyTemplate, Detokenize, Tokenize
from ._data.tool_runs import RunStep, ToolResult, ToolRun
from ._data.version import __version__
from ._pool.call import Call
from ._pool.completion import AsCompleted, DoneAndNotDone, as_completed, wait
from ._pool.model import Model, demo_model
from ._pool.model_info import ModelInfo
from ._pool.pool import Pool
from ._pool.session import Session

logging.getLogger("poolinfer").addHandler(logging.NullHandler())

__all__ = [
    "AppliedTemplate",
    "ApplyTemplate",
    "AsCompleted",
    "Call",
    "CallCancelled",
    "CallError",
    "Chat",
    "Chunk",
    "ContextOverflow",
    "DeadlineExceeded",
    "Detokenize",
    "DoneAndNotDone",
    "Embed",
    "Embedding",
    "EngineError",
    "ForkedPool",
    "InvalidGrammar",
    "InvalidRequest",
    "Model",
    "ModelError",
    "ModelInfo",
    "ParseError",
    "Pool",
    "PoolBroken",
    "PoolClosed",
    "PoolError",
    "PoolFull",
    "PoolStats",
    "PoolinferError",
    "Prompt",
    "Quantiles",
    "RankedDocument",
    "Raw",
    "Request",
    "Rerank",
    "Response",
    "RunStep",
    "Sampling",
    "Score",
    "Session",
    "Timings",
    "TokenLogprob",
    "Tokenize",
    "TooManyRounds",
    "ToolCall",
    "ToolCallDelta",
    "ToolResult",
    "ToolRun",
    "Turn",
    "UnknownOption",
    "Usage",
    "WorkerLost",
    "__version__",
    "as_completed",
    "demo_model",
    "wait",
]

_publish(__name__, *(globals()[name] for name in __all__))
