"""Sound model files with a few lies in their headers: keys, values, vocabularies, tensors; the same for a seed."""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from random import Random

from gguf_header import ARRAY, BLOCKS, CODES, STRING, Header, Pair, Tensor, read

_MODELS = "llama gpt2 bert t5 rwkv plamo2 gemma4 hybriddna whitespace no_vocab test x"
_PRE = "default gpt-2 llama-bpe deepseek-llm tekken qwen2 gpt-4o falcon jina-v2-de x"
_ARCHITECTURES = (
    "llama llama4 falcon grok gpt2 mpt starcoder bert nomic-bert jina-bert-v2 neo-bert bloom qwen2 qwen3 "
    "qwen2moe phi2 phi3 gemma gemma2 gemma3 mamba mamba2 jamba command-r olmo2 deepseek2 t5 t5encoder rwkv7 "
    "granite minicpm modern-bert eurobert mistral3 seed_oss arcee smollm3 refact baichuan orion llama-embed "
    "gemma-embedding x"
)
#: Keys below the architecture's name that a header may lack, by the type that llama.cpp wants.
_OPTIONAL: dict[int, str] = {
    4: (
        "expert_count expert_used_count expert_group_count expert_group_used_count expert_shared_count "
        "expert_gating_func leading_dense_block_count vocab_size nextn_predict_layers embedding_length_out "
        "interleave_moe_layer_step num_loops attention.key_length attention.value_length attention.sliding_window "
        "attention.sliding_window_pattern attention.shared_kv_layers attention.kv_lora_rank "
        "attention.head_count_kv attention.group_norm_groups pooling_type rope.dimension_count "
        "rope.scaling.original_context_length ssm.group_count ssm.conv_kernel ssm.state_size ssm.inner_size "
        "ssm.time_step_rank"
    ),
    7: (
        "attention.causal use_parallel_residual swin_norm rope.scaling.finetuned ssm.dt_b_c_rms "
        "expert_weights_norm"
    ),
    6: (
        "attention.layer_norm_epsilon attention.layer_norm_rms_epsilon logit_scale attention.group_norm_epsilon "
        "attention.clamp_kqv attention.max_alibi_bias attention.scale attn_logit_softcapping "
        "final_logit_softcapping rope.freq_base rope.scaling.factor rope.scale_linear rope.scaling.attn_factor "
        "residual_scale embedding_scale expert_weights_scale rope.freq_base_swa"
    ),
    8: "rope.scaling.type",
}
#: The same for keys of the tokenizer.
_TOKENIZER: dict[int, str] = {
    4: (
        "bos_token_id eos_token_id eot_token_id eom_token_id unknown_token_id padding_token_id cls_token_id "
        "seperator_token_id mask_token_id fim_pre_token_id prefix_token_id token_type_count"
    ),
    7: (
        "add_bos_token add_eos_token add_sep_token add_space_prefix remove_extra_whitespaces normalizer.lowercase "
        "normalizer.strip_accents"
    ),
    8: "pre",
}


def mutant(sound: bytes, chance: Random) -> tuple[bytes, list[str]]:
    """A copy of a sound file with one to three lies in it, and what they are."""
    header = read(sound)
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        change = chance.choices(_CHANGES, _WEIGHTS)[0]
        change(header, chance)
    data = bytearray(header.pack())
    if chance.random() < 0.05:
        at = chance.randrange(len(data) - len(header.data))
        data[at] ^= 1 << chance.randrange(8)
        header.notes.append(f"bit of byte {at}")
    return bytes(data), header.notes


def _number(kind: int, old: bytes, chance: Random) -> bytes:
    """Another number of a type: an edge, a neighbour, or a bit."""
    code = CODES[kind]
    (value,) = struct.unpack(f"<{code}", old)
    if code in "fd":
        picks = [math.nan, math.inf, -math.inf, -value, 0.0, -1.0, 1.0, 1e-40, 1e38, value * 1e6, value / 1e6]
        chosen = chance.choice(picks)
        most = 3e38 if code == "f" else 1e308
        return struct.pack(f"<{code}", max(-most, min(most, chosen)) if math.isfinite(chosen) else chosen)
    bits = 8 * struct.calcsize(code)
    picks = [
        0,
        1,
        2,
        3,
        -1,
        1 << (bits - 1),
        (1 << (bits - 1)) - 1,
        value + 1,
        value - 1,
        value * 2,
        value // 2,
    ]
    picks += [value ^ (1 << chance.randrange(bits)), chance.randrange(600), value * value]
    return (chance.choice(picks) & ((1 << bits) - 1)).to_bytes(bits // 8, "little")


def _words(key: bytes, old: bytes, chance: Random) -> bytes:
    """Another text for a key."""
    known = {
        b"tokenizer.ggml.model": _MODELS,
        b"tokenizer.ggml.pre": _PRE,
        b"general.architecture": _ARCHITECTURES,
    }.get(key)
    if key.endswith(b"rope.scaling.type"):
        known = "none linear yarn longrope x"
    if known and chance.random() < 0.8:
        return chance.choice(known.split()).encode()
    return _mangled(old, chance)


def _mangled(old: bytes, chance: Random) -> bytes:
    at = chance.randrange(len(old) + 1)
    picks = [
        b"",
        old[:at],
        old + old,
        old[:at] + b"\0" + old[at:],
        b"\xff\xfe" + old,
        chance.randbytes(8),
        b"x" * 70_000,
    ]
    picks += [
        old[:at] + chance.randbytes(1) + old[at + 1 :],
        b" " + old,
        b"<0x",
        b"<0xZZ>",
        "\u2581".encode(),
        b"\n",
    ]
    return chance.choice(picks)


def _change_number(header: Header, chance: Random) -> None:
    own = [p for p in header.pairs if p.kind in CODES]
    pair = chance.choice(own)
    pair.value = _number(pair.kind, pair.value, chance)
    header.notes.append(f"{pair.key!r} = {pair.value.hex()} (type {pair.kind})")


def _change_text(header: Header, chance: Random) -> None:
    pair = chance.choice([p for p in header.pairs if p.kind == STRING])
    pair.value = _words(pair.key, pair.value, chance)
    header.notes.append(f"{pair.key!r} = {pair.value[:40]!r}")


def _change_items(header: Header, chance: Random) -> None:
    """Items of an array: tokens, their types and scores, merges, numbers of heads by layer."""
    arrays = [p for p in header.pairs if p.kind == ARRAY and p.value]
    if not arrays:
        return
    pair = chance.choice(arrays)
    for _ in range(chance.choice((1, 1, 4, 40))):
        at = chance.randrange(len(pair.value))
        if pair.items == STRING:
            pair.value[at] = _mangled(pair.value[at], chance)
        else:
            pair.value[at] = _number(pair.items, pair.value[at], chance)
        header.notes.append(f"{pair.key!r}[{at}] = {pair.value[at][:20]!r}")


def _change_length(header: Header, chance: Random) -> None:
    """The length of an array, or its order."""
    arrays = [p for p in header.pairs if p.kind == ARRAY and p.value]
    if not arrays:
        return
    pair = chance.choice(arrays)
    n, at = len(pair.value), chance.randrange(len(pair.value))
    how = chance.randrange(5)
    if how == 0:
        pair.value = pair.value[:at]
    elif how == 1:
        pair.value = pair.value * 2
    elif how == 2:
        chance.shuffle(pair.value)
    elif how == 3:
        del pair.value[at]
    else:
        pair.value.insert(at, pair.value[chance.randrange(n)])
    header.notes.append(f"{pair.key!r}: {n} -> {len(pair.value)} items (way {how}, at {at})")


def _change_kind(header: Header, chance: Random) -> None:
    """The type of a value, with or without its bytes."""
    pair = chance.choice(header.pairs)
    old = pair.kind
    pair.kind = chance.choice((*CODES, STRING, ARRAY, 13))
    if pair.kind in CODES:
        size = struct.calcsize(CODES[pair.kind])
        raw = pair.value if isinstance(pair.value, bytes) else b""
        pair.value = raw[:size].ljust(size, b"\0")
    elif pair.kind == ARRAY:
        pair.items = old if old in CODES or old == STRING else pair.items
        pair.value = (
            pair.value if isinstance(pair.value, list) else [pair.value] * chance.choice((0, 1, 2, 3))
        )
    elif not isinstance(pair.value, bytes):
        pair.value = b"x"
    header.notes.append(f"{pair.key!r}: type {old} -> {pair.kind}")


def _change_key(header: Header, chance: Random) -> None:
    at = chance.randrange(len(header.pairs))
    pair = header.pairs[at]
    if chance.random() < 0.6:
        del header.pairs[at]
        header.notes.append(f"without {pair.key!r}")
    else:
        old, pair.key = pair.key, _mangled(pair.key, chance)
        header.notes.append(f"{old!r} renamed {pair.key[:40]!r}")


def _add_key(header: Header, chance: Random) -> None:
    """A key that llama.cpp reads where it is there."""
    table, prefix = _OPTIONAL, header.architecture
    if chance.random() < 0.3:
        table, prefix = _TOKENIZER, b"tokenizer.ggml"
    kind, name = chance.choice([(kind, name) for kind, names in table.items() for name in names.split()])
    key = prefix + b"." + name.encode()
    header.pairs = [p for p in header.pairs if p.key != key]
    value = (
        _words(key, b"", chance)
        if kind == STRING
        else _number(kind, bytes(struct.calcsize(CODES[kind])), chance)
    )
    pair = Pair(key, kind, value)
    if kind == 4 and chance.random() < 0.2:
        pair = Pair(key, ARRAY, [value, *(_number(4, value, chance) for _ in range(chance.randrange(4)))], 4)
    header.pairs.append(pair)
    header.notes.append(f"with {key!r} = {value[:20]!r}")


def _change_architecture(header: Header, chance: Random) -> None:
    """Another architecture, its keys renamed: its own tensors are missing, or not."""
    old, new = header.architecture, chance.choice(_ARCHITECTURES.split()).encode()
    for pair in header.pairs:
        if pair.key.startswith(old + b"."):
            pair.key = new + pair.key[len(old) :]
        elif pair.key == b"general.architecture" and pair.kind == STRING:
            pair.value = new
    header.notes.append(f"architecture {new!r}")


def _change_tensor_kind(header: Header, chance: Random) -> None:
    tensor = chance.choice(header.tensors)
    tensor.kind = chance.choice(list(BLOCKS))
    header.notes.append(f"{tensor.name!r} of type {tensor.kind}")


def _change_shape(header: Header, chance: Random) -> None:
    tensor = chance.choice(header.tensors)
    at = chance.randrange(len(tensor.dims))
    how = chance.randrange(6)
    if how == 0:
        tensor.dims.reverse()
    elif how == 1:
        tensor.dims.append(1)
    elif how == 2:
        tensor.dims = [math.prod(tensor.dims)]
    elif how == 3:
        tensor.dims[at] += chance.choice((-1, 1, 32, -32))
    elif how == 4:
        tensor.dims[at] *= 2
    else:
        tensor.dims[at] = chance.choice((0, 1, 1 << 31, 1 << 63, (1 << 64) - 1))
    header.notes.append(f"{tensor.name!r} of shape {tensor.dims}")


def _change_tensors(header: Header, chance: Random) -> None:
    """A tensor less, one twice, two names swapped, one under another name."""
    a, b = chance.choice(header.tensors), chance.choice(header.tensors)
    how = chance.randrange(4)
    if how == 0:
        header.tensors.remove(a)
    elif how == 1:
        header.tensors.append(Tensor(a.name + b"2", list(a.dims), a.kind, 0))
    elif how == 2:
        a.name, b.name = b.name, a.name
    else:
        names = (
            b"output.weight",
            b"rope_freqs.weight",
            b"position_embd.weight",
            b"output.bias",
            b"blk.0.attn_q.bias",
        )
        a.name = chance.choice(names)
    header.notes.append(f"tensors {a.name!r}, {b.name!r} (way {how})")


def _add_tensor(header: Header, chance: Random) -> None:
    """A tensor that llama.cpp takes where it is there, with a shape that may suit."""
    names = (
        "rope_freqs.weight",
        "output.bias",
        "blk.0.attn_q.bias",
        "blk.0.attn_output.bias",
        "blk.0.ffn_up.bias",
    )
    names += ("blk.0.attn_q_norm.weight", "output.weight", "position_embd.weight", "blk.0.ffn_up.scale")
    dims = chance.choice(([64], [8], [16], [1], [64, 270], [64, 512], [96], [32]))
    kind = chance.choice((0, 0, 1, 8, 26, 28, 30))
    name = chance.choice(names).encode()
    header.tensors.append(Tensor(name, dims, kind, 0))
    header.notes.append(f"with tensor {name!r} {dims} of type {kind}")


def _change_offset(header: Header, chance: Random) -> None:
    header.pack()
    header.repaired = False
    tensor = chance.choice(header.tensors)
    tensor.offset = _offset(tensor.offset, chance)
    header.notes.append(f"{tensor.name!r} at {tensor.offset}")


def _offset(old: int, chance: Random) -> int:
    return int.from_bytes(_number(10, (old % 2**64).to_bytes(8, "little"), chance), "little")


_CHANGES: tuple[Callable[[Header, Random], None], ...] = (
    *(_change_number, _change_text, _change_items, _change_length, _change_kind, _change_key, _add_key),
    *(_change_architecture, _change_tensor_kind, _change_shape, _change_tensors, _add_tensor, _change_offset),
)
_WEIGHTS = (20, 6, 12, 6, 5, 6, 16, 4, 10, 4, 4, 6, 1)
