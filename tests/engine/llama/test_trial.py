"""Model files that pass our own parser and that llama.cpp does not survive: a child tries them first (F-57)."""

from __future__ import annotations

import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from gguf_header import Pair, read
from gguf_models import VARIANTS, WRITERS, write_llama
from gguf_models import Model as Vocabulary
from processes import alive

from poolinfer import Model, ModelError, Pool, PoolClosed, demo_model
from poolinfer._data.specs import LaneSpec, ModelSpec
from poolinfer._engine.llama import trial
from poolinfer._engine.llama.library import bindings, load
from poolinfer._engine.llama.trial import Trial
from poolinfer._executors.thread import ThreadExecutor
from poolinfer.testing import wait_until

WAIT = 40.0
SRC = str(Path(__file__).parents[3] / "src")
LOGGER = "poolinfer"
F16 = 1

#: Metadata of a small llama with one lie in it, and what is said of it then.
LIES: dict[str, tuple[dict[str, Any], str]] = {
    "no layers": ({"block_count": 0}, "signal 6.*GGML_ASSERT"),
    "more layers than llama.cpp has room for": ({"block_count": 513}, "signal 6.*GGML_ASSERT"),
    "2**31 layers": ({"block_count": 2**31}, "signal 6.*GGML_ASSERT"),
    "experts that nobody uses": ({"expert_count": 4}, "signal 6.*GGML_ASSERT"),
    "more experts used than there are": (
        {"expert_count": 2, "expert_used_count": 5},
        "signal 6.*GGML_ASSERT",
    ),
    "a tokenizer without its byte tokens": ({"tokenizer.ggml.model": "llama"}, "signal 6.*unordered_map"),
    "a tokenizer for other tokens": ({"tokenizer.ggml.model": "rwkv"}, "signal 6.*bad_alloc"),
    "no heads": ({"attention.head_count": 0}, "attn_q.weight' has wrong shape"),
    "heads that do not divide the width": ({"attention.head_count": 3}, "wrong shape"),
    "a layer without tensors": ({"block_count": 3}, "'blk.2.attn_norm.weight' not found"),
    "another width": ({"embedding_length": 32}, "wrong shape"),
    "a width that overflows": ({"embedding_length": 2**31 - 64}, "wrong shape"),
    "odd rotations": ({"rope.dimension_count": 3}, "invalid n_rot"),
    "heads for one layer of two": ({"attention.head_count": [4]}, "wrong array length"),
    "a text for a number": ({"block_count": "two"}, "wrong type"),
    "token types for two tokens": ({"tokenizer.ggml.token_type": [1, 2]}, "array bounds"),
    "an unknown architecture": ({"general.architecture": "zzz"}, "unknown model architecture: 'zzz'"),
}


def _refused(model: Model, reason: str) -> str:
    with pytest.raises(ModelError, match=reason) as caught, Pool(model, n_ctx=64):
        pass
    return caught.value.message


@pytest.mark.filterwarnings("ignore:Duplicated key name")
@pytest.mark.parametrize("lie", LIES)
def test_F57_a_file_that_the_native_code_does_not_survive(lie: str, tmp_path: Path) -> None:
    overrides, reason = LIES[lie]
    model = Model.load(write_llama(tmp_path / "model.gguf", **overrides))
    _refused(model, rf"(?s)model\.gguf: llama\.cpp cannot load.*{reason}")


@pytest.mark.parametrize("byte", [0xCE, 0xD0, 0xE3])
def test_F57_a_vocabulary_without_the_token_of_one_byte(byte: int, tmp_path: Path) -> None:
    """llama.cpp ends the process at the first prompt that holds it."""
    vocabulary = partial(Vocabulary.sentencepiece, missing=byte)
    model = Model.load(write_llama(tmp_path / "model.gguf", vocabulary=vocabulary))
    _refused(model, "(?s)llama\\.cpp cannot load.*signal 6.*unordered_map")


@pytest.mark.parametrize(
    ("kind", "tensor", "type"),
    [("llama", "blk.1.ffn_norm.weight", F16), ("bert", "token_embd_norm.bias", F16)],
)
def test_F57_a_file_that_only_computing_does_not_survive(
    kind: str, tensor: str, type: int, tmp_path: Path
) -> None:
    path = WRITERS[kind](tmp_path / "model.gguf")
    header = read(path.read_bytes())
    (found,) = (item for item in header.tensors if item.name == tensor.encode())
    found.kind = type
    path.write_bytes(header.pack())
    _refused(Model.load(path), "(?s)llama\\.cpp cannot load.*signal 6")


@pytest.mark.parametrize("width", [65, 344, 1 << 20])
def test_F57_a_file_that_only_an_embedding_does_not_survive(width: int, tmp_path: Path) -> None:
    """The header of a model that generates says that its vectors are wider than they are."""
    path = write_llama(tmp_path / "model.gguf")
    header = read(path.read_bytes())
    header.pairs.append(Pair(b"llama.embedding_length_out", 4, width.to_bytes(4, "little")))
    path.write_bytes(header.pack())
    _refused(Model.load(path), "(?s)llama\\.cpp cannot load.*signal 6.*out of bounds")


ALL_KINDS = {**VARIANTS, **{kind: write for kind, write in WRITERS.items() if kind != "t5"}}


@pytest.mark.parametrize("kind", ALL_KINDS)
def test_F57_sound_files_of_every_kind_pass(kind: str, tmp_path: Path) -> None:
    spec = Model.load(ALL_KINDS[kind](tmp_path / "model.gguf")).spec
    with Trial(spec) as trial:
        trial.wait(lambda: False)
    trial.judge_file()
    assert trial._steps == ["file", "file sound"]


MUTATE = """
import sys
from pathlib import Path
from poolinfer import *
alive = refused = 0
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        with Pool(Model.load(path), slots=1, n_ctx=64) as pool: pool.start()
        alive += 1
    except ModelError as error:
        refused += "llama.cpp cannot load" in error.message
print(alive, refused)
"""


def _mutants(source: Path, folder: Path, count: int) -> None:
    """Copies of a file with bytes of its header changed, as many as our own parser lets pass."""
    folder.mkdir()
    chance = random.Random(57)
    data = source.read_bytes()
    # The texts of the vocabulary are most of the header, and say little: most changes hit what follows the keys.
    keys = [at for at in range(len(data)) if data.startswith(b"llama.", at)]
    while len(list(folder.iterdir())) < count:
        mutant = bytearray(data)
        at = chance.choice(keys) + chance.randrange(6, 48)
        mutant[at] ^= 1 << chance.randrange(8)
        path = folder / f"{at}-{mutant[at]}.gguf"
        path.write_bytes(mutant)
        try:
            Model.load(path)
        except ModelError:
            path.unlink()


def test_F57_mutated_headers_never_end_the_host(tmp_path: Path) -> None:
    _mutants(write_llama(tmp_path / "sound.gguf"), tmp_path / "mutants", 12)
    done = subprocess.run(
        [sys.executable, "-c", MUTATE, str(tmp_path / "mutants")],
        capture_output=True,
        text=True,
        timeout=55,
        env={**os.environ, "PYTHONPATH": SRC},
    )
    assert done.returncode == 0, done.stderr
    alive, refused = map(int, done.stdout.split())
    assert alive + refused == 12
    assert refused > 0


def _interpreter(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str) -> None:
    """Have children run a script of the shell instead of Python."""
    path = tmp_path / "interpreter"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    monkeypatch.setattr(trial, "interpreter", lambda: str(path))


def _copy(tmp_path: Path) -> Model:
    """A model that this process has not tried yet."""
    shutil.copyfile(demo_model(), tmp_path / "model.gguf")
    return Model.load(tmp_path / "model.gguf")


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGBUS, signal.SIGKILL])
def test_F57_the_signal_that_killed_the_child_is_named(number, monkeypatch, tmp_path):
    model = _copy(tmp_path)
    _interpreter(monkeypatch, tmp_path, f"echo file; echo last words >&2; kill -{int(number)} $$")
    _refused(model, rf"killed by signal {int(number)} \(.*\); last words")


def test_F57_a_flood_of_last_words_is_bounded(monkeypatch, tmp_path):
    model = _copy(tmp_path)
    flood = f"{sys.executable} -c \"import sys; sys.stderr.write('\\033[31m' + 'x' * 10**6)\""
    _interpreter(monkeypatch, tmp_path, f"echo file; {flood}; exit 1")
    message = _refused(model, "xxx")
    assert len(message) < 9000
    assert "\033" not in message


@pytest.fixture
def endless(tmp_path: Path) -> ModelSpec:
    """A file that never ends to be opened: a FIFO that nobody writes to."""
    path = tmp_path / "endless.gguf"
    os.mkfifo(path)
    found = path.stat()
    return ModelSpec(str(path), (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns))


def _pool(spec: ModelSpec) -> Pool:
    lane = LaneSpec(n_ctx=256)
    loader = lambda cancelled: load(spec, lane, cancelled, try_first=True)  # noqa: E731
    return Pool(executor=ThreadExecutor(loader, workers=1, lane=lane))


def test_F57_a_file_that_hangs_the_child_is_refused(monkeypatch, endless):
    monkeypatch.setattr(trial, "_TRIAL_SECONDS", 2.0)
    with pytest.raises(ModelError, match="no answer within 2 s"), _pool(endless):
        pass


def test_F20_close_while_a_child_tries_the_file(monkeypatch, endless):
    started = threading.Event()
    start = trial._start

    def note(arguments: list[str]) -> Any:
        child = start(arguments)
        started.set()
        return child

    monkeypatch.setattr(trial, "_start", note)
    pool = _pool(endless)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            pool.start()
        except PoolClosed as error:
            failures.append(error)

    starter = threading.Thread(target=run)
    starter.start()
    assert started.wait(WAIT)
    pool.close(0)
    starter.join(WAIT)
    assert not starter.is_alive()
    assert len(failures) == 1


@pytest.mark.parametrize("interpreter", ["/does/not/exist", "/bin/false"])
def test_F38_without_a_child_files_are_loaded_untried(interpreter, monkeypatch, tmp_path, caplog):
    model = _copy(tmp_path)
    monkeypatch.setattr(trial, "interpreter", lambda: interpreter)
    with caplog.at_level(logging.WARNING, logger=LOGGER), Pool(model, n_ctx=64) as pool:
        assert pool.raw("a", max_tokens=1).usage.completion_tokens == 1
    assert "without having been tried" in caplog.text


def test_a_file_is_tried_once(monkeypatch, tmp_path):
    tried: list[list[str]] = []
    start = trial._start
    monkeypatch.setattr(trial, "_start", lambda arguments: tried.append(arguments) or start(arguments))
    model = _copy(tmp_path)
    for _ in range(2):
        with Pool(model, n_ctx=64):
            pass
    assert len(tried) == 1
    (tmp_path / "model.gguf").touch()
    with Pool(Model.load(tmp_path / "model.gguf"), n_ctx=64):
        pass
    assert len(tried) == 2


def test_layers_for_a_gpu_that_is_not_there_are_warned_of(tmp_path, caplog):
    if bindings().llama_supports_gpu_offload():
        pytest.skip("there is a GPU")
    for n_gpu_layers, warned in ((0, False), (-1, True)):
        caplog.clear()
        path = shutil.copyfile(demo_model(), tmp_path / f"model{n_gpu_layers}.gguf")
        model = Model.load(path, n_gpu_layers=n_gpu_layers)
        with caplog.at_level(logging.WARNING, logger=LOGGER), Pool(model, n_ctx=64) as pool:
            assert pool.raw("a", max_tokens=1).usage.completion_tokens == 1
        assert (f"n_gpu_layers is {n_gpu_layers}, but" in caplog.text) == warned


def test_F58_a_file_that_changed_is_not_even_tried(monkeypatch, tmp_path):
    model = _copy(tmp_path)
    (tmp_path / "model.gguf").touch()
    monkeypatch.setattr(trial, "_start", lambda arguments: pytest.fail("a child was started"))
    _refused(model, "changed")


def test_F18_a_host_that_ignores_the_end_of_children(run_script, tmp_path):
    bad = write_llama(tmp_path / "bad.gguf", block_count=0)
    done = run_script(
        f"""
        import os, signal
        from poolinfer import *
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        try: Pool(Model.load({str(bad)!r})).start()
        except ModelError as error: print("GGML_ASSERT" in error.message)
        with Pool(demo_model(), n_ctx=64) as pool: print(pool.raw("a", max_tokens=1).usage.completion_tokens)
        """
    )
    assert (done.returncode, done.stdout) == (0, "True\n1\n"), done.stderr


HOST = """
import sys, threading

from poolinfer._data.specs import ModelSpec
from poolinfer._engine.llama.trial import Trial
def run():
    with Trial(ModelSpec(sys.argv[1], (0, 0, 0, 0))) as trial:
        print(trial._child.pid, flush=True)
        trial.wait(lambda: False)
THREAD
"""


def _in_native_code(pid: int) -> bool:
    """Whether the child has come to the file: it has settled in before."""
    try:
        return "NoNewPrivs:\t1" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="needs /proc, and a signal at a parent's death")
@pytest.mark.parametrize("early", [True, False], ids=["before it could ask for it", "in the file"])
@pytest.mark.parametrize("start", ["run()", "threading.Thread(target=run).start()"], ids=["main", "thread"])
def test_F14_no_child_outlives_the_process_that_tries(start, early, endless):
    """A worker that tries the AMX kernels and is killed is such a process."""
    host = subprocess.Popen(
        [sys.executable, "-c", HOST.replace("THREAD", start), endless.path],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": SRC},
    )
    with host:
        assert host.stdout is not None
        pid = int(host.stdout.readline())
        if not early:
            wait_until(lambda: _in_native_code(pid), "the child tries the file", WAIT)
        host.kill()
    wait_until(lambda: not alive(pid), "the child has ended", WAIT)


@pytest.mark.parametrize(
    ("script", "works"),
    [("echo amx; echo amx works", True), ("echo amx; kill -11 $$", False), ("exit 1", False)],
)
def test_amx_kernels_that_crash_a_child_are_not_used(script, works, monkeypatch, tmp_path, caplog):
    _interpreter(monkeypatch, tmp_path, script)
    with caplog.at_level(logging.WARNING, logger=LOGGER):
        with Trial(amx=True) as trial:
            trial.wait(lambda: False)
        assert trial.judge_amx() is works
    assert bool(caplog.text) is not works


def test_a_long_chat_template_does_not_reach_the_child(tmp_path):
    """A long template would not fit into the arguments of a process."""
    spec = replace(_copy(tmp_path).spec, chat_template="x" * 10**6)
    with Trial(spec) as trial:
        trial.wait(lambda: False)
    trial.judge_file()


def test_F16_a_child_that_holds_its_pipes_open_is_not_waited_for(monkeypatch, tmp_path):
    """A process that the host forks just when the pipes are made holds them open, too."""
    _interpreter(monkeypatch, tmp_path, "sleep 30 & echo $! >&2; echo amx; echo amx works")
    with Trial(amx=True) as trial:
        trial.wait(lambda: False)
    os.kill(int(trial._words), signal.SIGKILL)
    assert trial.judge_amx()
