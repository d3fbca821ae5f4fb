"""The real engine: llama.cpp through llama-cpp-python's low-level API. Only this file imports `llama_cpp`.

Weights are loaded once per process and file, however many pools use them (`load` counts users). A forked
child of a process that has computed must not compute: OpenMP's threads do not survive a fork, and the first
parallel region would hang for ever. `load` refuses there.
"""

from __future__ import annotations

import ctypes
import logging
import os
import threading
from collections.abc import Callable
from typing import Any

from .._errors import ForkedPool, ModelError, PoolClosed
from .._requests import Generation
from .._spec import LaneSpec, ModelSpec
from .base import EngineFault, EngineInfo
from .llama_context import LlamaContext, LlamaSampler, stopping_here
from .probe import amx_works

_log = logging.getLogger("poolinfer.llama")
_LEVELS = {1: logging.DEBUG, 2: logging.DEBUG, 3: logging.WARNING, 4: logging.ERROR, 5: logging.DEBUG}


class _Library:
    """The bindings, once per process, and the weights that are loaded through them."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.weights: dict[ModelSpec, _Weights] = {}
        self.computed = False
        self._api: Any = None
        self._extra_buffers: bool | None = None

    @property
    def api(self) -> Any:
        if self._api is None:
            self._api = self._import()
        return self._api

    def extra_buffers(self) -> bool:
        """Whether weights may be repacked for this processor: not where that would crash (see `probe`)."""
        with self.lock:
            if self._extra_buffers is None:
                has_amx = b"AMX_INT8 = 1" in self.api.llama_print_system_info()
                self._extra_buffers = amx_works() if has_amx else True
            return self._extra_buffers

    def _import(self) -> Any:
        try:
            import llama_cpp.llama_cpp as api
        except (ImportError, OSError, RuntimeError) as error:
            raise ModelError(
                f"llama-cpp-python cannot be imported ({error}). It is built from source: install a C++ compiler"
                " (Debian: apt-get install build-essential; macOS: xcode-select --install), then"
                " pip install --force-reinstall 'llama-cpp-python>=0.3.36,<0.4'"
            ) from error
        self._log_callback = api.llama_log_callback(_forward_log)
        api.llama_log_set(self._log_callback, ctypes.c_void_p())
        api.llama_backend_init()
        return api


def _forward_log(level: int, text: bytes, _: object) -> None:
    # What llama.cpp calls an error is none when we stopped the step ourselves.
    number = logging.DEBUG if stopping_here() else _LEVELS.get(level, logging.DEBUG)
    if _log.isEnabledFor(number):
        _log.log(number, "%s", text.decode(errors="replace").rstrip())


_library = _Library()


def _current() -> _Library:
    """This process's library; a forked child starts a new one, unless its parent has computed."""
    global _library
    if _library.pid != os.getpid():
        if _library.computed:
            raise ForkedPool(
                "this process was forked from one that had already run a model, and the engine's threads do not"
                " survive a fork. Start pools after forking (gunicorn: without --preload, or in post_fork)"
            )
        _library = _Library()
    return _library


class _Weights:
    """One loaded model and how many engines use it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.model: Any = None


def load(
    spec: ModelSpec, lane: LaneSpec, cancelled: Callable[[], bool], *, probing: bool = False
) -> LlamaEngine:
    """Load a model, or share the one that this process has loaded.

    Raises:
        ModelError: the file changed since it was checked, or llama.cpp cannot load it.
        PoolClosed: `cancelled` said True while loading.
        ForkedPool: see the module's first lines.
    """
    library = _current()
    repack = spec.repack and (probing or library.extra_buffers())
    with library.lock:
        weights = library.weights.setdefault(spec, _Weights())
        weights.users += 1
    try:
        with weights.lock:
            if weights.model is None:
                weights.model = _load_weights(library.api, spec, cancelled, repack)
        return LlamaEngine(library, spec, lane, weights)
    except BaseException:
        _release(library, spec, weights)
        raise


def _padded(n_ctx: int) -> int:
    """Tokens that llama.cpp gives a sequence: a multiple of 256. The lane counts to `n_ctx` itself."""
    return -(-n_ctx // 256) * 256


def _release(library: _Library, spec: ModelSpec, weights: _Weights) -> None:
    with library.lock:
        weights.users -= 1
        if weights.users or library.weights.get(spec) is not weights:
            return
        del library.weights[spec]
    if weights.model is not None:
        library.api.llama_model_free(weights.model)


def _load_weights(api: Any, spec: ModelSpec, cancelled: Callable[[], bool], repack: bool) -> Any:
    status = os.stat(spec.path)
    if (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) != spec.identity:
        raise ModelError(f"{spec.path}: the file changed since it was opened; load the model again")
    params = api.llama_model_default_params()
    params.n_gpu_layers = spec.n_gpu_layers
    mode = (2 if spec.mlock else 0) + (1 if spec.mmap else 0)
    params.load_mode = (
        *(api.LLAMA_LOAD_MODE_NONE, api.LLAMA_LOAD_MODE_MMAP),
        *(api.LLAMA_LOAD_MODE_MLOCK, api.LLAMA_LOAD_MODE_MMAP_MLOCK),
    )[mode]
    params.use_extra_bufts = repack
    params.progress_callback = api.llama_progress_callback(lambda *_: not cancelled())
    model = api.llama_model_load_from_file(os.fsencode(spec.path), params)
    if cancelled():
        if model:
            api.llama_model_free(model)
        raise PoolClosed("the pool was closed while its model was loading")
    if not model:
        raise ModelError(
            f"{spec.path}: llama.cpp cannot load this model; logging.getLogger('poolinfer.llama') has the reason"
        )
    return model


class LlamaEngine:
    """A loaded GGUF model (`base.Engine`)."""

    def __init__(self, library: _Library, spec: ModelSpec, lane: LaneSpec, weights: _Weights) -> None:
        self._library = library
        self._api = library.api
        self._spec = spec
        self._lane = lane
        self._weights: _Weights | None = weights
        self._model = weights.model
        self._vocab = self._api.llama_model_get_vocab(self._model)
        self._pieces: dict[int, bytes] = {}
        self._info = self._read_info()

    @property
    def info(self) -> EngineInfo:
        return self._info

    def _read_info(self) -> EngineInfo:
        api, vocab = self._api, self._vocab
        n_vocab = int(api.llama_vocab_n_tokens(vocab))
        attributes = [api.llama_vocab_get_attr(vocab, token) for token in range(n_vocab)]
        template = self._spec.chat_template
        if template is None:
            found = api.llama_model_chat_template(self._model, None)
            template = found.decode(errors="replace") if found else None
        return EngineInfo(
            n_vocab=n_vocab,
            n_ctx_train=int(api.llama_model_n_ctx_train(self._model)),
            generates=self._spec.generates,
            causal=self._spec.causal,
            pooling=self._spec.pooling,
            chat_template=template,
            control=self._spellings(attributes, api.LLAMA_TOKEN_ATTR_CONTROL | api.LLAMA_TOKEN_ATTR_UNKNOWN),
            markers=self._spellings(attributes, api.LLAMA_TOKEN_ATTR_USER_DEFINED),
            bos=self._spelling(api.llama_vocab_bos(vocab)),
            eos=self._spelling(api.llama_vocab_eos(vocab)),
        )

    def _spellings(self, attributes: list[int], wanted: int) -> tuple[str, ...]:
        texts = (self._spelling(token) for token, found in enumerate(attributes) if found & wanted)
        return tuple(text for text in texts if text.strip())

    def _spelling(self, token: int) -> str:
        if token < 0:
            return ""
        return (self._api.llama_vocab_get_text(self._vocab, token) or b"").decode(errors="replace")

    def tokenize(self, text: str, *, add_special: bool, parse_special: bool) -> list[int]:
        data = text.encode()
        room = len(data) + 8
        while True:
            tokens = (ctypes.c_int32 * room)()
            n = self._api.llama_tokenize(
                self._vocab, data, len(data), tokens, room, add_special, parse_special
            )
            if n >= 0:
                return tokens[:n]
            if -n <= room:
                raise EngineFault(f"the text of {len(data)} bytes is too long to tokenize")
            room = -n

    def piece(self, token: int) -> bytes:
        found = self._pieces.get(token)
        if found is None:
            found = self._pieces[token] = self._read_piece(token, 64)
        return found

    def _read_piece(self, token: int, room: int) -> bytes:
        buffer = ctypes.create_string_buffer(room)
        n = self._api.llama_token_to_piece(self._vocab, token, buffer, room, 0, False)
        return buffer.raw[:n] if n >= 0 else self._read_piece(token, -n)

    def is_end(self, token: int) -> bool:
        return bool(self._api.llama_vocab_is_eog(self._vocab, token))

    def sampler(self, request: Generation, seed: int) -> LlamaSampler:
        return LlamaSampler(self._api, request, seed, self._info.n_vocab)

    def context(self, *, n_seq: int, n_ctx: int, embeddings: bool = False) -> LlamaContext:
        self._library.computed = True
        return LlamaContext(self._api, self._model, self._context_params(n_seq, n_ctx, embeddings))

    def _context_params(self, n_seq: int, n_ctx: int, embeddings: bool) -> Any:
        params = self._api.llama_context_default_params()
        params.n_ctx = _padded(n_ctx) * (1 if embeddings else n_seq)
        whole = embeddings and not self._spec.causal
        params.n_batch = params.n_ubatch = max(n_ctx, n_seq) if whole else max(self._lane.n_batch, n_seq)
        params.n_seq_max = n_seq
        params.kv_unified = embeddings
        params.embeddings = embeddings
        if embeddings:
            params.pooling_type = self._api.LLAMA_POOLING_TYPE_NONE
        # One row per sequence has logits at a time: a whole batch of them would be gigabytes.
        params.n_outputs_max = 0 if embeddings else n_seq
        params.n_threads = params.n_threads_batch = self._lane.threads
        params.no_perf = True
        return params

    def close(self) -> None:
        weights, self._weights = self._weights, None
        if weights is not None and os.getpid() == self._library.pid:
            _release(self._library, self._spec, weights)
