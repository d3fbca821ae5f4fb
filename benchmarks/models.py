"""The benchmark's model: random weights in the shape of a 0.6 B chat model, built once and cached.

Speed depends on shapes and quantisation, not on what the weights know, so nothing is downloaded. Run
``python benchmarks/models.py`` to build the file and print its size and build time.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import llama_cpp.llama_cpp as native
import numpy as np
from numpy.typing import NDArray

MODELS = Path(__file__).resolve().parent / "models"
CHAT_TEMPLATE = (
    "{%- for message in messages %}"
    "{{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>\\n' }}"
    "{%- endfor %}"
    "{%- if add_generation_prompt %}{{- '<|im_start|>assistant\\n' }}{%- endif %}"
)
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
ROLES = ("system", "user", "assistant")
CONSONANTS = "bcdfghjklmnprstvwxyz"
VOWELS = "aeiou"
SPACE = "\u0120"  # how a byte-level vocabulary spells the byte 0x20
WEIGHT_SCALE = 0.02
CONTROL_SCALE = 0.1
CHUNK_ROWS = 8192
QUANTIZE_BUFFER = 1 << 30


@dataclass(frozen=True)
class Shape:
    """Sizes of the model; the defaults are those of a 0.6 B model."""

    vocab: int = 151936
    width: int = 1024
    layers: int = 28
    heads: int = 16
    kv_heads: int = 8
    head_width: int = 128
    hidden: int = 3072
    context: int = 4096
    seed: int = 7


@dataclass(frozen=True)
class Vocabulary:
    """A byte-level BPE vocabulary; the control tokens come last."""

    tokens: list[str]
    merges: list[str]

    @property
    def types(self) -> list[gguf.TokenType]:
        """Return the type of every token."""
        plain = len(self.tokens) - len(CONTROL)
        return [gguf.TokenType.NORMAL] * plain + [gguf.TokenType.CONTROL] * len(CONTROL)


def byte_symbols() -> list[str]:
    """Return the printable character that stands for each byte, as GPT-2 spells them."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    symbols = {byte: chr(byte) for byte in printable}
    symbols.update({byte: chr(256 + index) for index, byte in enumerate(others)})
    return [symbols[byte] for byte in range(256)]


def word_merges() -> Iterator[tuple[str, str]]:
    """Yield merges that spell words such as " ba", " bako", " bakoti", the shortest first.

    Each merge adds one letter to a word's beginning, so that every token can be reached from bytes.
    """
    beginnings = [SPACE]
    letters = CONSONANTS
    while True:
        longer = []
        for beginning in beginnings:
            for letter in letters:
                yield beginning, letter
                longer.append(beginning + letter)
        beginnings = longer
        letters = VOWELS if letters == CONSONANTS else CONSONANTS


def role_merges() -> list[tuple[str, str]]:
    """Return the merges that make each role's name one token."""
    pairs = ((role[:end], role[end]) for role in ROLES for end in range(1, len(role)))
    return list(dict.fromkeys(pairs))


def make_vocabulary(size: int) -> Vocabulary:
    """Return a vocabulary of exactly ``size`` tokens."""
    tokens, roles = byte_symbols(), role_merges()
    room = size - len(tokens) - len(roles) - len(CONTROL)
    pairs = [pair for pair, _ in zip(word_merges(), range(room), strict=False)] + roles
    tokens += [left + right for left, right in pairs]
    return Vocabulary([*tokens, *CONTROL], [f"{left} {right}" for left, right in pairs])


def tensor_shapes(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Yield the name and the shape of every tensor, in the order in which they are written."""
    queries, keys = shape.heads * shape.head_width, shape.kv_heads * shape.head_width
    yield "token_embd.weight", (shape.vocab, shape.width)
    for layer in range(shape.layers):
        sizes: dict[str, tuple[int, ...]] = {
            "attn_norm": (shape.width,),
            "attn_q": (queries, shape.width),
            "attn_q_norm": (shape.head_width,),
            "attn_k": (keys, shape.width),
            "attn_k_norm": (shape.head_width,),
            "attn_v": (keys, shape.width),
            "attn_output": (shape.width, queries),
            "ffn_norm": (shape.width,),
            "ffn_gate": (shape.hidden, shape.width),
            "ffn_up": (shape.hidden, shape.width),
            "ffn_down": (shape.width, shape.hidden),
        }
        for name, size in sizes.items():
            yield f"blk.{layer}.{name}.weight", size
    yield "output_norm.weight", (shape.width,)


def random_matrix(size: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float16]:
    """Return a matrix of small random weights, generated a chunk of rows at a time."""
    matrix = np.empty(size, np.float16)
    for first in range(0, size[0], CHUNK_ROWS):
        rows = matrix[first : first + CHUNK_ROWS]
        rows[:] = rng.standard_normal(rows.shape, np.float32) * np.float32(WEIGHT_SCALE)
    return matrix


def make_tensor(
    name: str, size: tuple[int, ...], rng: np.random.Generator
) -> NDArray[np.float16] | NDArray[np.float32]:
    """Return one tensor's weights: norms are ones, everything else is random."""
    if len(size) == 1:
        return np.ones(size, np.float32)
    matrix = random_matrix(size, rng)
    if name == "token_embd.weight":
        # The output layer shares this tensor: small rows mean that greedy decoding never picks an end token.
        matrix[-len(CONTROL) :] *= np.float16(CONTROL_SCALE)
    return matrix


def add_metadata(writer: gguf.GGUFWriter, shape: Shape) -> None:
    """Describe the architecture and the vocabulary."""
    writer.add_name("random weights, 0.6B shape")
    writer.add_context_length(shape.context)
    writer.add_embedding_length(shape.width)
    writer.add_block_count(shape.layers)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_key_length(shape.head_width)
    writer.add_value_length(shape.head_width)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    vocabulary = make_vocabulary(shape.vocab)
    ids = {token: shape.vocab - len(CONTROL) + index for index, token in enumerate(CONTROL)}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    writer.add_token_list(vocabulary.tokens)
    writer.add_token_types(vocabulary.types)
    writer.add_token_merges(vocabulary.merges)
    writer.add_eos_token_id(ids["<|im_end|>"])
    writer.add_pad_token_id(ids["<|endoftext|>"])
    writer.add_add_bos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)


def write_f16(path: Path, shape: Shape) -> None:
    """Write the unquantised model, one tensor in memory at a time."""
    writer = gguf.GGUFWriter(path, "qwen3")
    add_metadata(writer, shape)
    tensors = list(tensor_shapes(shape))
    for name, size in tensors:
        kind = np.dtype(np.float32 if len(size) == 1 else np.float16)
        writer.add_tensor_info(name, size, kind, int(np.prod(size)) * kind.itemsize)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    rng = np.random.default_rng(shape.seed)
    for name, size in tensors:
        writer.write_tensor_data(make_tensor(name, size, rng))
    writer.close()


def quantize(source: Path, target: Path) -> None:
    """Quantise a model file to Q4_K_M."""
    logging.getLogger("llama-cpp-python").setLevel(logging.ERROR)
    params = native.llama_model_quantize_default_params()
    params.nthread = os.cpu_count() or 1
    params.ftype = native.LLAMA_FTYPE_MOSTLY_Q4_K_M
    params.max_buf_size = QUANTIZE_BUFFER
    code = native.llama_model_quantize(os.fsencode(source), os.fsencode(target), params)
    if code != 0:
        raise RuntimeError(f"quantising {source} failed with code {code}")


def benchmark_model(shape: Shape | None = None, folder: Path = MODELS) -> Path:
    """Return the path of the benchmark's model, building it first if it is not there yet.

    Args:
        shape: sizes of the model; None for those of a 0.6 B model.
        folder: where built models are kept.
    """
    shape = shape or Shape()
    path = folder / f"random-{shape.layers}x{shape.width}-v{shape.vocab}-s{shape.seed}-q4_k_m.gguf"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    plain, unfinished = path.with_suffix(f".{os.getpid()}.f16"), path.with_suffix(f".{os.getpid()}.part")
    started = time.perf_counter()
    try:
        write_f16(plain, shape)
        written = time.perf_counter()
        quantize(plain, unfinished)
        unfinished.replace(path)
    finally:
        plain.unlink(missing_ok=True)
        unfinished.unlink(missing_ok=True)
    total = time.perf_counter() - started
    print(
        f"built {path.name}: {path.stat().st_size / 1e6:.0f} MB in {total:.0f} s "
        f"({written - started:.0f} s to write, the rest to quantise)"
    )
    return path


if __name__ == "__main__":
    found = benchmark_model()
    print(f"{found} ({found.stat().st_size / 1e6:.0f} MB)")
