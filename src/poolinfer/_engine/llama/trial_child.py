"""A disposable child that tries what could crash a process that must not die. `Trial` starts it, and listens.

It is run as `python -m poolinfer._engine.llama.trial_child PARENT SPEC AMX`.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import closing, suppress
from importlib.resources import files
from pathlib import Path
from typing import Any, NoReturn

from ..._data.errors import ModelError
from ..._data.specs import LaneSpec, ModelSpec
from ..._gguf.model_file import read_model_file
from ..._system.logs import LLAMA
from ..engine_protocol import Batch, EngineFault
from .adapters import load_adapter
from .bindings import Bindings
from .llama_engine import LlamaEngine
from .trial import AMX, AMX_WORKS, FILE, FILE_SOUND, decode_spec

_MEMORY_BYTES = 2 * 2**30
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
# Two rows take other kernels than one, and more than two would take none that two do not.
_TRIAL_ROWS, _TRIAL_BATCH, _TRIAL_CTX = 2, 32, 256
# What a tokenizer with a part missing would not survive.
_ANY_TEXT = "".join(map(chr, [*range(0x250), 0x2028, 0x4E00, 0xFFFD, 0x1F600])) + " the end"


def main() -> NoReturn:
    """The child: try what the arguments say, and announce each step."""
    parent, spec, amx = sys.argv[1:]
    _settle_in(int(parent))
    bindings = Bindings()
    amx_here = bindings.has_amx
    if spec:
        _say(FILE)
        if not try_file(bindings.api, decode_spec(spec)):
            os._exit(1)
        _say(FILE_SOUND)
    if amx and amx_here:
        _try_amx(bindings.api)
    # Nothing is left to do, and unloading libraries has crashed before.
    os._exit(0)


def _settle_in(parent: int) -> None:
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    logging.getLogger(LLAMA).setLevel(logging.WARNING)
    with suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        # A tokenizer that does not suit its vocabulary may ask for more memory for ever.
        resource.setrlimit(resource.RLIMIT_DATA, (_MEMORY_BYTES, _MEMORY_BYTES))
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            libc = ctypes.CDLL(None)
            # Ends with the thread that started it, which waits for it.
            libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
            libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        with suppress(OSError):
            # Where there is less memory, it is this process that goes.
            Path("/proc/self/oom_score_adj").write_text("1000")
    if os.getppid() != parent:
        os._exit(1)


def _say(step: str) -> None:
    os.write(1, f"{step}\n".encode())


def try_file(api: Any, spec: ModelSpec) -> bool:
    """Do with a model what calls will do: tokens, a prompt, a step, an embedding. A bad file may end this process.

    False when llama.cpp says that it cannot load the file; its log has the reason.
    """
    model = _load(api, spec, extra_buffers=False)
    if not model:
        return False
    try:
        adapters = [(load_adapter(api, model, lora.file), lora.scale) for lora in spec.loras]
    except ModelError:
        return False
    engine = _engine(api, model, spec, adapters)
    tokens = _try_tokens(api, model, engine)
    rows = tokens[:_TRIAL_ROWS] or [0]
    if engine.info.generates:
        with suppress(ModelError, EngineFault):
            _try_prompt(engine, rows)
    # Models that generate embed texts too, and read other tensors for it.
    with suppress(ModelError, EngineFault):
        _try_embedding(engine, rows)
    return True


def _load(api: Any, spec: ModelSpec, *, extra_buffers: bool) -> Any:
    params = api.llama_model_default_params()
    # Mapped, so that the host's pages serve: where nothing is repacked, this process has next to no memory.
    params.load_mode = api.LLAMA_LOAD_MODE_MMAP
    params.use_extra_bufts = extra_buffers
    # An empty list: the host may need all of the GPU's memory.
    devices = (ctypes.c_void_p * 1)()
    params.devices = ctypes.cast(devices, ctypes.c_void_p)
    return api.llama_model_load_from_file(os.fsencode(spec.path), params)


def _engine(api: Any, model: Any, spec: ModelSpec, adapters: Sequence[tuple[Any, float]] = ()) -> LlamaEngine:
    lane = LaneSpec(n_batch=_TRIAL_BATCH)
    return LlamaEngine(
        api, model, spec, lane, adapters=adapters, computing=lambda: None, release=lambda: None
    )


def _try_tokens(api: Any, model: Any, engine: LlamaEngine) -> list[int]:
    """Take texts to tokens and back; the tokens of the longest."""
    vocab = api.llama_model_get_vocab(model)
    room = (ctypes.c_int32 * 64)()
    for byte in range(256):
        # Each one alone, or it could be hidden in the token of a whole character.
        api.llama_tokenize(vocab, bytes([byte]), 1, room, len(room), False, False)
    tokens: list[int] = []
    for special in (False, True):
        tokens = engine.tokenize(_ANY_TEXT, add_special=special, parse_special=special)
        for token in tokens:
            engine.piece(token)
    return tokens


def _try_prompt(engine: LlamaEngine, tokens: list[int]) -> None:
    """Compute a prompt and a step after it."""
    with closing(engine.rectangle(1, _TRIAL_CTX)) as context:
        prompt, step = Batch(), Batch()
        prompt.add(0, 0, tokens, last=True)
        context.decode(prompt)
        step.add(0, len(tokens), tokens[-1:], last=True)
        context.decode(step)


def _try_embedding(engine: LlamaEngine, tokens: list[int]) -> None:
    """Compute the vectors of a text."""
    with closing(engine.embedding_context(n_seq=1, n_ctx=_TRIAL_CTX)) as context:
        text = Batch()
        text.add(0, 0, tokens, last=True, rest=True)
        context.decode(text)
        context.embeddings(len(text)).sum()


def _try_amx(api: Any) -> None:
    """Multiply with quantised weights in the layout that AMX kernels take."""
    file = read_model_file(str(files("poolinfer") / "data" / "tiny.gguf"))
    spec = ModelSpec(file.path, file.identity)
    context = _engine(api, _load(api, spec, extra_buffers=True), spec).rectangle(1, _TRIAL_CTX)
    batch = Batch()
    batch.add(0, 0, list(range(_TRIAL_BATCH)), last=True)
    _say(AMX)
    context.decode(batch)
    _say(AMX_WORKS)


if __name__ == "__main__":
    main()
