"""Loads models with llama.cpp.

Weights are loaded once per process and file, however many pools use them (`load` counts users). A forked
child of a process that has computed must not compute: OpenMP's threads do not survive a fork, and the first
parallel region would hang for ever. `load` refuses there.
"""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from ..._data.errors import ForkedPool, ModelError, PoolClosed
from ..._data.specs import FILES_ROPE, FileSpec, LaneSpec, ModelSpec
from ..._system.logs import SafeLog
from .adapters import load_adapter
from .bindings import Bindings
from .llama_engine import LlamaEngine
from .trial import Trial


class _Library:
    """The bindings, once per process, and the weights that are loaded through them."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.lock = threading.Lock()
        self.weights: dict[ModelSpec, _Weights] = {}
        self.computed = False
        self.bindings = Bindings()
        self._tried: set[tuple[FileSpec, ...]] = set()
        self._amx_works: bool | None = None

    def try_first(self, spec: ModelSpec, cancelled: Callable[[], bool]) -> None:
        """Have a child try a model file, once; this process imports the bindings meanwhile.

        A refusal is not remembered: the child may have had no memory.
        """
        if spec.files in self._tried:
            return
        amx = spec.repack and self._amx_works is None
        with Trial(spec, amx=amx) as trial:
            amx = amx and self.bindings.has_amx
            trial.wait(cancelled)
        trial.judge_file()
        if amx:
            self._amx_works = trial.judge_amx()
        self._tried.add(spec.files)

    def extra_buffers(self, cancelled: Callable[[], bool]) -> bool:
        """Whether weights may be repacked for this processor: not where that would crash."""
        if self.bindings.has_amx and self._amx_works is None:
            with Trial(amx=True) as trial:
                trial.wait(cancelled)
            self._amx_works = trial.judge_amx()
        return self._amx_works is not False

    def will_compute(self) -> None:
        """Note that a forked child could compute no more."""
        self.computed = True
        self.bindings.look_at_log()


_library = _Library()


def _current() -> _Library:
    """This process's library; a forked child starts a new one, unless its parent has computed."""
    global _library
    if _library.pid != os.getpid():
        if _library.computed:
            raise ForkedPool(
                "this process was forked from one that had already run a model, and the engine's threads do not"
                " survive a fork. Start pools after the fork only (gunicorn: in post_worker_init, not while the"
                " application is imported), or use executor='process'"
            )
        _library = _Library()
    return _library


def check_forkable() -> None:
    """Refuse where children of this process could not use what it has loaded.

    Raises:
        ModelError: the library can use a GPU, whose state does not survive a fork.
    """
    if _library.bindings.has_gpu:
        raise ModelError(
            "this build of llama-cpp-python uses a GPU, whose state does not survive a fork; use executor='process'"
        )


def inherit() -> None:
    """Go on with what the parent had loaded when it forked this process; it had one thread.

    Raises:
        ForkedPool: the parent had computed.
    """
    if _library.computed:
        raise ForkedPool("this process was forked from one that had already run a model")
    _library.pid = os.getpid()


class _Weights:
    """One loaded model and how many engines use it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.model: Any = None
        self._adapters: dict[FileSpec, Any] = {}

    def adapters(self, api: Any, spec: ModelSpec) -> list[tuple[Any, float]]:
        """The adapters of a model with their scales; each file is loaded once, and is freed with the weights.

        Raises:
            ModelError: llama.cpp cannot load one.
        """
        with self.lock:
            for lora in spec.loras:
                if lora.file not in self._adapters:
                    _check_unchanged(lora.file)
                    self._adapters[lora.file] = load_adapter(api, self.model, lora.file)
            return [(self._adapters[lora.file], lora.scale) for lora in spec.loras]


def load(
    spec: ModelSpec,
    lane: LaneSpec,
    cancelled: Callable[[], bool],
    *,
    try_first: bool = False,
) -> LlamaEngine:
    """Load a model, or share the one that this process has loaded.

    Args:
        spec: the model.
        lane: how its lanes run.
        cancelled: says whether loading has been given up.
        try_first: have a disposable child try the file first (see `Trial`), for a process that must not die of it.

    Raises:
        ModelError: the file is gone, or changed since it was checked, or llama.cpp cannot load it, or crashed
            trying to.
        PoolClosed: `cancelled` said True while loading.
        ForkedPool: see the module's first lines.
    """
    library = _current()
    with library.lock:
        weights = library.weights.setdefault(_weights_of(spec), _Weights())
        weights.users += 1
    try:
        with weights.lock:
            if weights.model is None:
                _check_files(spec)
                library.bindings.look_at_log()
                if try_first:
                    library.try_first(spec, cancelled)
                repack = spec.repack and library.extra_buffers(cancelled)
                weights.model = _load_weights(library.bindings.api, spec, cancelled, repack)
        return LlamaEngine(
            library.bindings.api,
            weights.model,
            spec,
            lane,
            adapters=weights.adapters(library.bindings.api, spec),
            computing=library.will_compute,
            release=partial(_release, library, spec, weights),
        )
    except BaseException:
        _release(library, spec, weights)
        raise


def _weights_of(spec: ModelSpec) -> ModelSpec:
    """What tells weights in memory apart: all but what is added to them, and how prompts and vectors are made."""
    own = replace(spec, chat_template=None, chat_template_kwargs=None, pooling="mean")
    return replace(own, loras=(), rope=FILES_ROPE)


def bindings() -> Any:
    """llama-cpp-python's low-level API.

    Raises:
        ModelError: llama-cpp-python cannot be imported.
        ForkedPool: see the module's first lines.
    """
    return _current().bindings.api


def _release(library: _Library, spec: ModelSpec, weights: _Weights) -> None:
    if os.getpid() != library.pid:
        return
    with library.lock:
        weights.users -= 1
        if weights.users or library.weights.get(_weights_of(spec)) is not weights:
            return
        del library.weights[_weights_of(spec)]
    if weights.model is not None:
        library.bindings.api.llama_model_free(weights.model)


def _check_files(spec: ModelSpec) -> None:
    for file in spec.files:
        _check_unchanged(file)


def _check_unchanged(file: FileSpec) -> None:
    try:
        status = os.stat(file.path)
    except OSError as error:
        raise ModelError(
            f"{file.path}: the file is gone or cannot be read ({error.strerror});"
            " put it back, or load the model from where it is now"
        ) from error
    if (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns) != file.identity:
        raise ModelError(f"{file.path}: the file changed since it was opened; load the model again")


def _load_weights(api: Any, spec: ModelSpec, cancelled: Callable[[], bool], repack: bool) -> Any:
    _check_files(spec)
    if spec.n_gpu_layers and not api.llama_supports_gpu_offload():
        SafeLog().warning(
            "n_gpu_layers is %d, but this llama-cpp-python finds no GPU: all layers stay on the CPU; install one"
            " that was built for the GPU, or leave n_gpu_layers out",
            spec.n_gpu_layers,
        )
    params = api.llama_model_default_params()
    params.n_gpu_layers = spec.n_gpu_layers
    if spec.main_gpu is not None:
        params.split_mode, params.main_gpu = api.LLAMA_SPLIT_MODE_NONE, spec.main_gpu
    if spec.tensor_split is not None:
        n = api.llama_max_devices()
        shares = (ctypes.c_float * n)(*spec.tensor_split[:n])
        params.tensor_split = shares
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
            f"{spec.path}: llama.cpp cannot load this model; give the logger 'poolinfer.llama' a level to learn"
            " why"
        )
    return model
