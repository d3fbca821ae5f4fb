"""Model files, sound and not (F-56): a bad one is a `ModelError`, soon; nothing blocks."""

from __future__ import annotations

import os
import socket
import struct
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from gguf_bytes import DATA, PAIRS, array, gguf, number, pair, refused, string, strings, tensor

import poolinfer._gguf.model_file
from poolinfer._data.errors import ModelError
from poolinfer._gguf.model_file import ArrayInfo, ModelFile, read_model_file

posix = pytest.mark.skipif(sys.platform == "win32", reason="POSIX files")


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        return path

    return write


def test_a_sound_file(write: Callable[[bytes], Path]) -> None:
    more = [
        number("llama.context_length", 512),
        number("llama.block_count", 3),
        number("llama.embedding_length", 64),
        number("llama.attention.head_count", 4),
        number("llama.attention.head_count_kv", 2),
        number("llama.pooling_type", 3),
        string("tokenizer.chat_template", "{{ x }}"),
        strings("tokenizer.ggml.tokens", ["a", "", "", "b"]),
        strings("tokenizer.ggml.merges", ["a b"] * 65),
        array("tokenizer.ggml.scores", 6, 1000, b"\0" * 4000),
        strings("general.languages", ["en", "fr"]),
        pair("general.flag", 7, b"\1"),
        pair("general.float", 6, struct.pack("<f", 0.5)),
    ]
    path = write(gguf(PAIRS + more))
    found = read_model_file(path)
    assert (found.architecture, found.name, found.n_tensors) == ("llama", "model.gguf", 2)
    assert (found.n_ctx_train, found.n_layer, found.n_embd) == (512, 3, 64)
    assert found.kv_bytes_per_token == 2 * 2 * (16 + 16) * 3
    assert (found.pooling, found.embedding_only, found.encoder_decoder) == ("last", False, False)
    assert found.chat_template == "{{ x }}"
    assert found.metadata["tokenizer.ggml.tokens"] == ArrayInfo("str", 4)
    assert found.metadata["tokenizer.ggml.merges"] == ArrayInfo("str", 65)
    assert found.metadata["tokenizer.ggml.scores"] == ArrayInfo("f32", 1000)
    assert found.metadata["general.languages"] == ("en", "fr")
    assert found.metadata["general.flag"] is True
    assert found.metadata["general.float"] == 0.5
    stat = path.stat()
    assert found.identity == (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns)
    assert found.path == str(path)
    hash(found)


def described(**metadata: object) -> ModelFile:
    arch = str(metadata.pop("arch", "llama"))
    pairs = {f"{arch}.{key.replace('__', '.')}": value for key, value in metadata.items()}
    return ModelFile("/m.gguf", (0, 0, 0, 0), {"general.architecture": arch, **pairs}, 1)


def test_what_a_file_says() -> None:
    sizes = {"embedding_length": 64, "block_count": 3, "attention__head_count": 4}
    assert described(**sizes).kv_bytes_per_token == 2 * 4 * 32 * 3
    assert described(**sizes, attention__head_count_kv=(2, 0, 2)).kv_bytes_per_token == 2 * 4 * 32
    assert described(**sizes, attention__key_length=24).kv_bytes_per_token == 2 * 4 * 40 * 3
    assert described().kv_bytes_per_token == 0
    assert described(block_count=True, context_length=-1).n_layer == 0
    assert described(arch="t5").encoder_decoder
    assert described(arch="bert", pooling_type=1).pooling == "mean"
    assert described(arch="bert", pooling_type=2).pooling == "cls"
    assert described(arch="bert", pooling_type=4).pooling == "rank"
    assert described(arch="bert", pooling_type=0).pooling is None
    assert described(arch="nomic-bert").embedding_only
    assert described(attention__causal=False).embedding_only
    assert not described(attention__causal=True).embedding_only


@pytest.mark.parametrize("path", [None, 5, b"model", [], "", "a\0b", "\ud800"])
def test_F41_F56_paths(path: Any) -> None:
    refused(path)


def test_F56_missing(tmp_path: Path) -> None:
    assert "No such file" in refused(tmp_path / "none.gguf")


def test_F56_directory(tmp_path: Path) -> None:
    assert "is a directory" in refused(tmp_path)


def test_F56_empty(write: Callable[[bytes], Path]) -> None:
    assert "is empty" in refused(write(b""))


@posix
def test_F56_fifo(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    assert "is a FIFO" in refused(path)


@posix
def test_F56_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # a socket's path may have 108 bytes at most
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind("s")
        assert "is a socket" in refused("s")


@posix
@pytest.mark.parametrize("path", ["/dev/zero", "/dev/null", "/dev/tty"])
def test_F56_device(path: str) -> None:
    if os.path.exists(path):
        assert "is a character device" in refused(path)


@posix
def test_F56_symlinks(write: Callable[[bytes], Path], tmp_path: Path) -> None:
    loop, good = tmp_path / "loop", tmp_path / "good"
    loop.symlink_to(loop)
    good.symlink_to(write(gguf()))
    assert "symbolic links" in refused(loop)
    assert read_model_file(good).n_tensors == 2


def test_F56_unreadable(write: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def deny(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    path = write(gguf())
    monkeypatch.setattr(os, "open", deny)
    assert "cannot be read: Permission denied" in refused(path)


@posix
def test_F56_swapped_for_a_fifo_while_opening(
    write: Callable[[bytes], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(gguf())
    os.mkfifo(tmp_path / "fifo")
    as_file = path.stat()
    monkeypatch.setattr(os, "stat", lambda _: as_file)
    assert "is a FIFO" in refused(str(tmp_path / "fifo"))


def test_F56_random_bytes(write: Callable[[bytes], Path]) -> None:
    assert "not a GGUF file" in refused(write(os.urandom(100_000)))


def test_F56_huge_sparse_file(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    assert "not a GGUF file" in refused(path)
    with path.open("r+b") as file:
        file.write(gguf(n_pairs=1 << 16, data=0)[:200])
    refused(path)
    with path.open("r+b") as file:
        file.write(gguf([array("a", 8, 1 << 22, b"")], data=0))
    refused(path, within=10)


@pytest.mark.skipif(sys.platform != "linux", reason="file systems that take any bytes")
def test_F56_name_not_utf8(tmp_path: Path) -> None:
    path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.gguf")
    Path(path).write_bytes(gguf())
    found = read_model_file(path)
    assert found.path == path
    assert found.name.endswith(".gguf")
    Path(path).write_bytes(b"junk")
    refused(path).encode()


def test_F56_every_truncation(write: Callable[[bytes], Path]) -> None:
    data = gguf([*PAIRS, strings("tokenizer.ggml.tokens", ["a", "b"]), array("x", 6, 600, b"\0" * 2400)])
    for cut in [*range(0, len(data), 7), len(data) - 1]:
        message = refused(write(data[:cut]))
        assert "truncated" in message or "empty" in message, (cut, message)


def test_F56_truncated_names_both_sizes(write: Callable[[bytes], Path]) -> None:
    size = len(gguf())
    assert f"needs {size:,} bytes, it has {size - 1:,}" in refused(write(gguf(data=DATA - 1)))


def test_F56_shrinks_while_read(write: Callable[[bytes], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(gguf())
    parts = iter([gguf()[:12]])
    monkeypatch.setattr(os, "read", lambda *_: next(parts, b""))
    assert "became shorter" in refused(path)


def test_F57_long_texts_are_noted_not_kept(write: Callable[[bytes], Path]) -> None:
    found = read_model_file(write(gguf([*PAIRS, string("a", "x" * 2_000_000), string("b", "y")])))
    assert (found.metadata["a"], found.metadata["b"]) == (ArrayInfo("str", 2_000_000), "y")


def test_F57_of_many_texts_so_much_is_kept(write: Callable[[bytes], Path]) -> None:
    texts = [string(f"general.text{i}", "x" * 1_000_000) for i in range(50)]
    lists = [strings(f"general.list{i}", ["x" * 100_000] * 10) for i in range(10)]
    numbers = [array(f"general.numbers{i}", 6, 512, b"\0" * 2048) for i in range(2000)]
    path = write(gguf([*PAIRS, *texts, *lists, *numbers, string("last", "y")]))
    tracemalloc.start()
    try:
        found = read_model_file(path)
        size, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert size < 20e6
    assert found.metadata["general.text0"] == "x" * 1_000_000
    assert found.metadata["general.text49"] == ArrayInfo("str", 1_000_000)
    assert found.metadata["general.numbers1999"] == ArrayInfo("f32", 512)
    assert found.metadata["last"] == "y"


def test_F57_so_many_bytes_of_keys_are_taken(write: Callable[[bytes], Path]) -> None:
    keys = [number(f"{i:05}" * 13_000, i) for i in range(300)]
    assert "keys of more than 16,777,216 bytes" in refused(write(gguf([*PAIRS, *keys])))


def vocabulary(special: list[str], kind: int = 3, *, types_first: bool = False) -> bytes:
    """A file with three plain tokens, and special ones of a kind."""
    kinds = struct.pack(f"<{3 + len(special)}i", 1, 1, 1, *[kind] * len(special))
    tokens = strings("tokenizer.ggml.tokens", ["a", "b", "", *special])
    types = array("tokenizer.ggml.token_type", 5, 3 + len(special), kinds)
    return gguf([*PAIRS, types, tokens] if types_first else [*PAIRS, tokens, types])


@pytest.mark.parametrize("kind", [2, 3, 4])
@pytest.mark.parametrize("types_first", [False, True])
def test_more_special_tokens_than_can_be_looked_for_are_refused(
    kind: int, types_first: bool, write: Callable[[bytes], Path]
) -> None:
    long = [f"{i:0100}" for i in range(21_000)]
    said = refused(write(vocabulary(long, kind, types_first=types_first)), within=5)
    assert "has 21,000 control and user-defined tokens of 2,100,000 bytes" in said
    for tokens in ([f"{i:06}" for i in range((1 << 17) + 1)], [f"{i:04}" * 25 for i in range(3000)]):
        assert "control and user-defined tokens" in refused(write(vocabulary(tokens, kind)), within=5)


@pytest.mark.parametrize(
    ("spelling", "count"),
    # The reserved tokens of Gemma 3, and of two models that speak: Orpheus and Llasa.
    [("<unused{}>", 6242), ("<custom_token_{}>", 28_682), ("<|s_{}|>", 65_536)],
)
def test_real_models_have_fewer_special_tokens(
    spelling: str, count: int, write: Callable[[bytes], Path]
) -> None:
    found = read_model_file(write(vocabulary([spelling.format(i) for i in range(count)], 4)))
    assert found.n_vocab == 3 + count
    assert found.metadata["tokenizer.ggml.token_type"] == ArrayInfo("i32", 3 + count)


def test_plain_tokens_are_not_counted(write: Callable[[bytes], Path]) -> None:
    assert read_model_file(write(vocabulary([f"{i:0100}" for i in range(21_000)], 1))).n_vocab == 21_003


def test_F57_long_items_cross_the_window(write: Callable[[bytes], Path]) -> None:
    items = ["x" * n for n in (0, 1, 700_000, 700_000, 3_000_000, 5)] * 11
    found = read_model_file(write(gguf([*PAIRS, strings("a", items), string("b", "y")])))
    assert (found.metadata["a"], found.metadata["b"]) == (ArrayInfo("str", 66), "y")


def test_a_large_vocabulary_is_quick(write: Callable[[bytes], Path]) -> None:
    tokens = [f"token{i}" for i in range(150_000)]
    path = write(gguf([*PAIRS, strings("tokenizer.ggml.tokens", tokens)]))
    times = []
    for _ in range(3):
        began = time.thread_time()
        read_model_file(path)
        times.append(time.thread_time() - began)
    assert min(times) < 0.5  # 0.05 on an idle core


def test_what_is_no_weight_may_be_of_whole_numbers(write: Callable[[bytes], Path]) -> None:
    table = tensor("blk.0.ffn_gate_tid2eid.weight", [6, 16], kind=26)
    pairs = [*PAIRS, pair("llama.attention.layer_norm_rms_epsilon", 6, b"\0\0\0\0")]
    assert read_model_file(write(gguf(pairs, [table]))).n_tensors == 1


@pytest.mark.parametrize(("dims", "expected"), [([32, 3], 3), ([32], 1)])
def test_learned_positions_are_counted(
    write: Callable[[bytes], Path], dims: list[int], expected: int
) -> None:
    assert read_model_file(write(gguf())).n_positions is None
    found = read_model_file(write(gguf(tensors=[tensor("position_embd.weight", dims)])))
    assert found.n_positions == expected


def test_no_descriptor_is_left(write: Callable[[bytes], Path]) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    before = len(os.listdir("/proc/self/fd"))
    for data in (gguf(), gguf(magic=b"nope"), gguf(data=0)):
        path = write(data)
        for _ in range(10):
            try:
                read_model_file(path)
            except ModelError:
                continue
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("kind", ["llama", "mamba", "jamba", "gemma2", "bert", "t5"])
def test_F60_kinds_of_models(kind: str, tmp_path: Path) -> None:
    writers = pytest.importorskip("gguf_models", exc_type=ImportError).WRITERS
    found = read_model_file(writers[kind](tmp_path / "model.gguf"))
    assert found.architecture == kind
    assert found.encoder_decoder == (kind == "t5")
    assert found.embedding_only == (kind == "bert")
    assert found.pooling == ("mean" if kind == "bert" else None)
    assert (found.chat_template is None) == (kind in ("bert", "t5"))
    assert found.kv_bytes_per_token == {"llama": 256, "mamba": 0, "jamba": 256}.get(kind, 512)


def test_the_shipped_model_is_sound() -> None:
    path = Path(poolinfer.__file__).with_name("data") / "tiny.gguf"
    found = read_model_file(path)
    assert found.chat_template
    assert found.n_ctx_train > 0
    assert not found.embedding_only
