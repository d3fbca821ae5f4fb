"""Malformed GGUF files (F-57): handcrafted ones, and sound ones with bytes changed."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from struct import pack

import pytest
from gguf_bytes import (
    DATA,
    PAIRS,
    array,
    gguf,
    number,
    pair,
    refused,
    string,
    strings,
    tensor,
    text,
    u32,
    u64,
)
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from poolinfer._data.errors import ModelError
from poolinfer._gguf.model_file import read_model_file


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], Path]:
    def write(data: bytes) -> Path:
        path = tmp_path / "model.gguf"
        path.write_bytes(data)
        return path

    return write


EPSILON = "llama.attention.layer_norm_rms_epsilon"
MALFORMED: dict[str, tuple[bytes, str]] = {
    "magic": (gguf(magic=b"GGML"), "not a GGUF file"),
    "version 0": (gguf(version=0), "version 0"),
    "version 1": (gguf(version=1), "version 1"),
    "version 4": (gguf(version=4), "version 4"),
    "big-endian": (gguf(version=3 << 24), "big-endian"),
    "n_pairs -1": (gguf(n_pairs=-1), "metadata pairs"),
    "n_pairs huge": (gguf(n_pairs=1 << 60), "metadata pairs"),
    "n_pairs more than there are": (gguf(n_pairs=3), ""),
    "n_pairs more than fit": (gguf(n_pairs=1 << 16), "truncated"),
    "n_pairs fewer than there are": (gguf(n_pairs=1), ""),
    "n_tensors -1": (gguf(n_tensors=-1), "tensors"),
    "n_tensors huge": (gguf(n_tensors=1 << 60), "tensors"),
    "n_tensors more than fit": (gguf(n_tensors=1 << 16), "truncated"),
    "no tensors": (gguf(tensors=[]), "no tensors"),
    "no architecture": (gguf(PAIRS[1:]), "general.architecture"),
    "no tokenizer": (gguf(PAIRS[:1]), "tokenizer.ggml.model"),
    "architecture a number": (gguf([number("general.architecture", 1), PAIRS[1]]), "general.architecture"),
    "architecture empty": (gguf([string("general.architecture", ""), PAIRS[1]]), "general.architecture"),
    "key empty": (gguf([*PAIRS, number("", 1)]), "empty or duplicate key"),
    "key twice": (gguf([*PAIRS, number("a", 1), number("a", 1)]), "empty or duplicate key"),
    "key too long": (gguf([*PAIRS, number("x" * 65_536, 1)]), "65,536 bytes"),
    "key length wraps": (gguf([*PAIRS, u64(-1) + b"x" * 64]), "at most"),
    "key not UTF-8": (gguf([*PAIRS, pair(b"\xff", 4, u32(1))]), "not UTF-8"),
    "value type unknown": (gguf([*PAIRS, pair("a", 13, u64(0))]), "unknown type 13"),
    "value type negative": (gguf([*PAIRS, pair("a", -1, u64(0))]), "unknown type"),
    "string length wraps": (gguf([*PAIRS, pair("a", 8, u64(-1))]), "truncated"),
    "string length past the end": (gguf([*PAIRS, pair("a", 8, u64(1 << 40))]), "truncated"),
    "array of arrays": (gguf([*PAIRS, array("a", 9, 1, u32(4) + u64(1) + u32(1))]), "unknown type 9"),
    "array type unknown": (gguf([*PAIRS, array("a", 99, 1, u32(1))]), "unknown type 99"),
    "array length wraps": (gguf([*PAIRS, array("a", 4, 1 << 62, u32(1))]), "truncated"),
    "array length -1": (gguf([*PAIRS, array("a", 12, -1, u64(1))]), "truncated"),
    "string array length wraps": (gguf([*PAIRS, array("a", 8, 1 << 61, u64(0))]), "truncated"),
    "string array item wraps": (gguf([*PAIRS, array("a", 8, 99, text("a") * 98 + u64(-8))]), "truncated"),
    "vocabulary empty": (gguf([*PAIRS, strings("tokenizer.ggml.tokens", [])]), "0 tokens"),
    "vocabulary huge": (gguf([*PAIRS, array("tokenizer.ggml.tokens", 8, 1 << 40, b"")]), "tokens"),
    "token twice": (gguf([*PAIRS, strings("tokenizer.ggml.tokens", ["a", "b", "a"])]), "same token twice"),
    "alignment 0": (gguf([*PAIRS, number("general.alignment", 0)]), "power of two"),
    "alignment 48": (gguf([*PAIRS, number("general.alignment", 48)]), "power of two"),
    "alignment u64": (gguf([*PAIRS, pair("general.alignment", 10, u64(32))]), "not an u32"),
    "alignment a text": (gguf([*PAIRS, string("general.alignment", "32")]), "not an u32"),
    "alignment huge": (gguf([*PAIRS, number("general.alignment", 1 << 31)]), ""),
    "tensor twice": (gguf(tensors=[tensor("a", [32, 2]), tensor("a", [32], offset=256)]), "twice"),
    "tensor name too long": (gguf(tensors=[tensor("x" * 64, [32])]), "64 bytes"),
    "tensor name wraps": (gguf(tensors=[u64(-1) + b"x" * 64]), "at most"),
    "tensor of 5 dimensions": (gguf(tensors=[tensor("a", [1] * 5)]), "5 dimensions"),
    "tensor of 2**32-1 dimensions": (gguf(tensors=[text("a") + u32(-1) + b"\0" * 64]), "dimensions"),
    "dimension 0": (gguf(tensors=[tensor("a", [32, 0])]), "impossible dimensions"),
    "dimension -1": (gguf(tensors=[tensor("a", [-1])]), "impossible dimensions"),
    "dimensions overflow": (gguf(tensors=[tensor("a", [1 << 32, 1 << 31])]), "impossible dimensions"),
    "dimensions wrap to 0": (gguf(tensors=[tensor("a", [1 << 32, 1 << 32])]), "impossible dimensions"),
    "size wraps": (gguf(tensors=[tensor("a", [1 << 61, 2])]), "truncated"),
    "tensor type unknown": (gguf(tensors=[tensor("a", [32], kind=43)]), "unknown type 43"),
    "tensor type removed": (gguf(tensors=[tensor("a", [32], kind=4)]), "unknown type 4"),
    "tensor type negative": (gguf(tensors=[tensor("a", [32], kind=-1)]), "unknown type"),
    "tensor of Q8_1": (gguf(tensors=[tensor("a", [32], kind=9)]), "type Q8_1"),
    "tensor of Q8_K": (gguf(tensors=[tensor("a", [256], kind=15)]), "type Q8_K"),
    "tensor of I8": (gguf(tensors=[tensor("a", [32], kind=24)]), "type I8"),
    "tensor of I16": (gguf(tensors=[tensor("a", [32], kind=25)]), "type I16"),
    "tensor of I32": (gguf(tensors=[tensor("a", [32], kind=26)]), "type I32"),
    "tensor of I64": (gguf(tensors=[tensor("a", [32], kind=27)]), "type I64"),
    "tensor of F64": (gguf(tensors=[tensor("a", [32], kind=28)]), "type F64"),
    "norm quantised": (gguf(tensors=[tensor("blk.0.attn_norm.weight", [32], kind=8)]), "quantised (type 8)"),
    "bias quantised": (gguf(tensors=[tensor("blk.0.attn_q.bias", [32], kind=8)]), "quantised (type 8)"),
    "epsilon negative": (gguf([*PAIRS, pair(EPSILON, 6, pack("<f", -0.5))]), "is -0.5"),
    "epsilon NaN": (gguf([*PAIRS, pair(EPSILON, 6, pack("<f", math.nan))]), "is nan"),
    "epsilon infinite": (gguf([*PAIRS, pair(EPSILON, 12, pack("<d", math.inf))]), "is inf"),
    "epsilon of a list": (gguf([*PAIRS, array(EPSILON, 6, 2, pack("<2f", 1e-5, -1.0))]), "is -1.0"),
    "vectors wider than any": (gguf([*PAIRS, number("llama.embedding_length_out", 1 << 21)]), "is 2,097,152"),
    "row not whole blocks": (gguf(tensors=[tensor("a", [33], kind=8)]), "whole blocks"),
    "row not whole superblocks": (gguf(tensors=[tensor("a", [32, 8], kind=12)]), "whole blocks"),
    "offset misaligned": (gguf(tensors=[tensor("a", [32], offset=1)]), "offset 1"),
    "offset overlaps": (gguf(tensors=[tensor("a", [32]), tensor("b", [32])]), "offset 0"),
    "offset with a gap": (gguf(tensors=[tensor("a", [32], offset=32)]), "offset 32"),
    "offset wraps": (gguf(tensors=[tensor("a", [32], offset=-32)]), "offset"),
    "data missing": (gguf(data=0), "truncated"),
    "data one byte short": (gguf(data=DATA - 1), "truncated"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_F57_malformed(name: str, write: Callable[[bytes], Path]) -> None:
    data, reason = MALFORMED[name]
    path = write(data)
    message = refused(path)
    assert reason in message
    assert repr(str(path)) in message
    assert len(message) < 500 + len(str(path))


BASE = gguf([*PAIRS, strings("tokenizer.ggml.tokens", ["a", "b"]), array("s", 6, 2, b"\0" * 8)])
EDIT = st.tuples(st.integers(0, len(BASE) - 1), st.sampled_from([0, 1, 9, 32, 127, 128, 255]))


@settings(max_examples=500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(EDIT, min_size=1, max_size=6),
    cut=st.integers(0, len(BASE)) | st.none(),
    tail=st.binary(max_size=64),
)
def test_F57_mutated(
    write: Callable[[bytes], Path], edits: list[tuple[int, int]], cut: int | None, tail: bytes
) -> None:
    data = bytearray(BASE)
    for at, value in edits:
        data[at] = value
    path = write(bytes(data[:cut]) + tail)
    began = time.thread_time()
    try:
        read_model_file(path)
    except ModelError as error:
        error.message.encode()
    assert time.thread_time() - began < 1


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=st.binary(max_size=300))
def test_F57_noise_after_a_good_header(write: Callable[[bytes], Path], body: bytes) -> None:
    for n in (1, 3):
        with pytest.raises(ModelError):
            read_model_file(write(b"GGUF" + u32(3) + u64(n) + u64(n) + body))
