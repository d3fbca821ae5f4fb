"""A llama.cpp context behind the lane's protocols; the bindings come as `api`."""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ..._data.errors import ModelError
from ..engine_protocol import Batch, EngineAborted, EngineFault

if TYPE_CHECKING:
    import numpy
    import numpy.typing

_CODE_ABORTED = 2
_STATE_HEAD_BYTES = 12
_MOST_VIEWS = 256
_thread = threading.local()


def stopping_here() -> bool:
    """Whether this thread is inside a decode that `LlamaContext.abort` told to stop."""
    context: LlamaContext | None = getattr(_thread, "context", None)
    return context is not None and context.stopping


class LlamaContext:
    """A llama.cpp context with its batch buffers (`Rectangle`, `EmbeddingContext`, `RankContext`)."""

    def __init__(self, api: Any, model: Any, params: Any, adapters: Sequence[tuple[Any, float]] = ()) -> None:
        self._api = api
        self._pid = os.getpid()
        self._ctx: Any = api.llama_init_from_model(model, params)
        if not self._ctx:
            raise ModelError(
                f"llama.cpp cannot make a context of {params.n_ctx} tokens for {params.n_seq_max} calls;"
                " lower n_ctx or slots"
            )
        if adapters:
            self._add(adapters)
        self._memory = api.llama_get_memory(self._ctx)
        self._n_vocab = api.llama_vocab_n_tokens(api.llama_model_get_vocab(model))
        self._n_embd = api.llama_model_n_embd_out(model)
        self._n_batch = int(params.n_batch)
        self._n_seq = int(params.n_seq_max)
        self._views: dict[int, numpy.typing.NDArray[numpy.float32]] = {}
        self._make_batch()
        self._make_abort()

    def _add(self, adapters: Sequence[tuple[Any, float]]) -> None:
        pointers, scales = zip(*adapters, strict=True)
        n, api = len(adapters), self._api
        array = (api.llama_adapter_lora_p_ctypes * n)(*pointers)
        if api.llama_set_adapters_lora(self._ctx, array, n, (ctypes.c_float * n)(*scales)):
            self.close()
            raise ModelError("llama.cpp refused a LoRA adapter; use one that was trained on this model")

    @property
    def n_batch(self) -> int:
        return self._n_batch

    def _make_batch(self) -> None:
        import numpy

        n = self._n_batch
        self._token = numpy.zeros(n, "i4")
        self._position = numpy.zeros(n, "i4")
        self._sequence = numpy.zeros(n, "i4")
        self._output = numpy.zeros(n, "i1")
        self._count = numpy.ones(n, "i4")
        self._pointer = self._sequence.ctypes.data + 4 * numpy.arange(n, dtype="u8")
        self._batch = self._api.llama_batch()
        for name, array in (
            *(("token", self._token), ("pos", self._position), ("n_seq_id", self._count)),
            *(("seq_id", self._pointer), ("logits", self._output)),
        ):
            kind = dict(self._api.llama_batch._fields_)[name]
            setattr(self._batch, name, ctypes.cast(array.ctypes.data, kind))

    def _make_abort(self) -> None:
        # strlen of a two-byte buffer is 0 (go on) or 1 (stop): a callback that never takes the GIL. It lets
        # a decode on the CPU backend end within one graph node.
        libc = ctypes.CDLL("msvcrt" if sys.platform == "win32" else None)
        self._abort_flag = ctypes.create_string_buffer(2)
        self._abort_callback = ctypes.cast(libc.strlen, self._api.ggml_abort_callback)
        self._api.llama_set_abort_callback(
            self._ctx, self._abort_callback, ctypes.addressof(self._abort_flag)
        )

    def decode(self, batch: Batch) -> None:
        n = len(batch)
        self._token[:n] = batch.tokens
        self._position[:n] = batch.positions
        self._sequence[:n] = batch.sequences
        self._output[:n] = batch.outputs
        self._batch.n_tokens = n
        _thread.context = self
        code = self._api.llama_decode(self._ctx, self._batch)
        _thread.context = None
        if code == _CODE_ABORTED:
            raise EngineAborted("the step was stopped")
        if code:
            raise EngineFault(f"llama_decode failed with code {code}")

    def logits(self, row: int) -> numpy.typing.NDArray[numpy.float32]:
        values = self._api.llama_get_logits_ith(self._ctx, row)
        address = ctypes.addressof(values.contents)
        view = self._views.get(address)
        if view is None:
            # Rows lie at the same addresses in every step, and making a view takes longer than choosing a token.
            if len(self._views) >= _MOST_VIEWS:
                self._views.clear()
            import numpy

            view = self._views[address] = numpy.ctypeslib.as_array(values, shape=(self._n_vocab,))
        return view

    def embeddings(self, rows: int) -> numpy.typing.NDArray[numpy.float32]:
        import numpy

        values = self._api.llama_get_embeddings(self._ctx)
        if not values:
            raise EngineFault("this model gives no embeddings")
        return numpy.ctypeslib.as_array(values, shape=(rows, self._n_embd))

    def score(self, sequence: int) -> float:
        values = self._api.llama_get_embeddings_seq(self._ctx, sequence)
        if not values:
            raise EngineFault("this model gives no scores")
        return float(values[0])

    def clear(self, sequence: int) -> None:
        if not self._memory:
            return
        if sequence < 0:
            self._api.llama_memory_clear(self._memory, False)
        else:
            self._api.llama_memory_seq_rm(self._memory, sequence, -1, -1)

    def copy(self, source: int, target: int) -> None:
        # Between separate streams only the whole of one can be copied, at the start of the next decode.
        self._api.llama_memory_seq_cp(self._memory, source, target, 0, -1)

    def cut(self, sequence: int, length: int) -> None:
        if not self._api.llama_memory_seq_rm(self._memory, sequence, length, -1):
            raise EngineFault(f"llama.cpp cannot cut a sequence at {length} tokens")

    def adopt(self, other: LlamaContext, source: int, target: int) -> None:
        state = _for_streams(other._state(source), source, other._n_seq, self._n_seq)
        data = ctypes.cast(state.ctypes.data, ctypes.POINTER(ctypes.c_uint8))
        if self._api.llama_state_seq_set_data(self._ctx, data, state.nbytes, target) != state.nbytes:
            raise EngineFault("llama.cpp cannot restore the state of a sequence")

    def _state(self, sequence: int) -> numpy.typing.NDArray[numpy.uint8]:
        import numpy

        size = self._api.llama_state_seq_get_size(self._ctx, sequence)
        state = numpy.empty(size, "u1")
        data = ctypes.cast(state.ctypes.data, ctypes.POINTER(ctypes.c_uint8))
        if self._api.llama_state_seq_get_data(self._ctx, data, size, sequence) != size:
            raise EngineFault("llama.cpp cannot read the state of a sequence")
        return state

    @property
    def stopping(self) -> bool:
        """Whether the running decode was told to stop."""
        return self._abort_flag[0] != b"\x00"

    def abort(self, on: bool) -> None:
        self._abort_flag[0] = b"\x01" if on else b"\x00"

    def close(self) -> None:
        ctx, self._ctx = self._ctx, None
        if ctx is not None and os.getpid() == self._pid:
            self._api.llama_free(ctx)


def _for_streams(
    state: numpy.typing.NDArray[numpy.uint8], sequence: int, n_old: int, n_new: int
) -> numpy.typing.NDArray[numpy.uint8]:
    """The state of one sequence, as a context of another number of sequences takes it.

    After two words of its own, llama.cpp writes the number of sequences, and for each of them how many cells
    follow. That is 0 but for the sequence that was asked for. A state that looks different is refused here.
    """
    import numpy

    if n_old == n_new:
        return state
    counts = _STATE_HEAD_BYTES + 4 * sequence
    tail = 4 * (n_old - 1 - sequence)
    body = state[counts : state.nbytes - tail]
    around = state[_STATE_HEAD_BYTES:counts].any() or state[state.nbytes - tail :].any()
    if state[8:_STATE_HEAD_BYTES].view("u4")[0] != n_old or around:
        raise EngineFault("llama.cpp's state of a sequence has a form that poolinfer does not know")
    count = numpy.array([n_new], "u4").view("u1")
    return numpy.concatenate([state[:8], count, body, numpy.zeros(4 * (n_new - 1), "u1")])
