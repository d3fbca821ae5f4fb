"""A small model that is being written: its metadata, its vocabulary, and tensors with random weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import gguf
import numpy as np
from gguf_values import add_value

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
FILL_IN = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
MERGES = ("h e", "l l", "he ll", "hell o", "t h", "th e", "\u0120 t", "\u0120t h", "\u0120th e")
WIDTH, HEADS, FF, LAYERS = 64, 4, 96, 2
_NORMAL, _UNKNOWN, _CONTROL, _BYTE = 1, 2, 3, 6
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789.,!?'-"


@dataclass
class Model:
    """A model being written: metadata of its architecture, and tensors in llama.cpp's order of dimensions."""

    arch: str
    seed: int = 0
    metadata: dict[str, object] = field(default_factory=dict)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    vocabulary: int = 0
    quantized: gguf.GGMLQuantizationType | None = None
    part_tensors: int = 0

    def __post_init__(self) -> None:
        self._random = np.random.default_rng(self.seed)
        self.say(context_length=512, embedding_length=WIDTH, block_count=LAYERS, feed_forward_length=FF)
        self.say(**{"attention.head_count": HEADS, "attention.layer_norm_rms_epsilon": 1e-5})

    def say(self, **values: object) -> None:
        """Set metadata below the architecture's name."""
        self.metadata.update({f"{self.arch}.{key}": value for key, value in values.items()})

    def weight(self, name: str, *dims: int) -> None:
        """A matrix of random weights, scaled to its inputs."""
        scale = dims[0] ** -0.5
        self.tensors[f"{name}.weight"] = self._noise(dims) * np.float32(scale)

    def norm(self, *names: str, size: int = WIDTH) -> None:
        """Norms that change nothing."""
        for name in names:
            self.tensors[f"{name}.weight"] = np.ones(size, np.float32)

    def bias(self, *names: str, size: int = WIDTH) -> None:
        """Biases of zero."""
        for name in names:
            self.tensors[f"{name}.bias"] = np.zeros(size, np.float32)

    def attention(self, at: str, kv_width: int = WIDTH, out: str = "attn_output", kind: str = "attn") -> None:
        """The four matrices of an attention layer."""
        self.weight(f"{at}.{kind}_q", WIDTH, WIDTH)
        self.weight(f"{at}.{kind}_k", WIDTH, kv_width)
        self.weight(f"{at}.{kind}_v", WIDTH, kv_width)
        self.weight(f"{at}.{out}", WIDTH, WIDTH)

    def feed_forward(self, at: str, *, gate: bool = True) -> None:
        """The matrices of a feed-forward layer."""
        if gate:
            self.weight(f"{at}.ffn_gate", WIDTH, FF)
        self.weight(f"{at}.ffn_up", WIDTH, FF)
        self.weight(f"{at}.ffn_down", FF, WIDTH)

    def experts(self, at: str, n: int) -> None:
        """The matrices of feed-forward experts, of which a token takes two."""
        self.weight(f"{at}.ffn_gate_inp", WIDTH, n)
        self.weight(f"{at}.ffn_gate_exps", WIDTH, FF, n)
        self.weight(f"{at}.ffn_up_exps", WIDTH, FF, n)
        self.weight(f"{at}.ffn_down_exps", FF, WIDTH, n)
        self.say(expert_count=n, expert_used_count=2)

    def mamba(self, at: str, *, norms: bool) -> None:
        """A state-space layer."""
        inner, state, rank, kernel = 2 * WIDTH, 8, 4, 4
        self.weight(f"{at}.ssm_in", WIDTH, 2 * inner)
        self.weight(f"{at}.ssm_conv1d", kernel, inner)
        self.weight(f"{at}.ssm_x", inner, rank + 2 * state)
        self.weight(f"{at}.ssm_dt", rank, inner)
        self.weight(f"{at}.ssm_out", inner, WIDTH)
        self.bias(f"{at}.ssm_conv1d", f"{at}.ssm_dt", size=inner)
        self.tensors[f"{at}.ssm_a"] = -np.abs(self._noise((state, inner)))  # decays
        self.tensors[f"{at}.ssm_d"] = np.ones(inner, np.float32)
        if norms:
            self.norm(f"{at}.ssm_dt_norm", size=rank)
            self.norm(f"{at}.ssm_b_norm", f"{at}.ssm_c_norm", size=state)
        self.say(**{"ssm.conv_kernel": kernel, "ssm.inner_size": inner})
        self.say(**{"ssm.state_size": state, "ssm.time_step_rank": rank})

    def embed_tokens(self) -> None:
        """Token embeddings; they serve as the output matrix, too."""
        self.weight("token_embd", WIDTH, self.vocabulary)

    def bpe(self, chat_template: bool) -> None:
        """A byte-level vocabulary: any text can be spelled."""
        tokens = [*byte_symbols(), *(merge.replace(" ", "") for merge in MERGES), *CONTROL]
        self._tokens("gpt2", tokens, [_CONTROL if token in CONTROL else _NORMAL for token in tokens])
        ids = {token: i for i, token in enumerate(tokens)}
        self.metadata.update(
            {
                "tokenizer.ggml.pre": "gpt-2",
                "tokenizer.ggml.merges": list(MERGES),
                "tokenizer.ggml.bos_token_id": ids["<|endoftext|>"],
                "tokenizer.ggml.eos_token_id": ids["<|im_end|>"],
                "tokenizer.ggml.add_bos_token": False,
            }
        )
        if chat_template:
            self.metadata["tokenizer.chat_template"] = CHATML

    def code(self) -> None:
        """The vocabulary of `bpe`, with the tokens around which a model fills a gap."""
        self.bpe(chat_template=True)
        tokens, kinds = self.metadata["tokenizer.ggml.tokens"], self.metadata["tokenizer.ggml.token_type"]
        assert isinstance(tokens, list)
        assert isinstance(kinds, list)
        self._tokens("gpt2", [*tokens, *FILL_IN], [*kinds, *[_CONTROL] * len(FILL_IN)])

    def wordpiece(self) -> None:
        """BERT's kind of vocabulary: words by letters."""
        special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
        tokens = [
            *special,
            *(f"\u2581{letter}" for letter in _LETTERS),
            *_LETTERS,
            "\u2581the",
            "\u2581hello",
        ]
        kinds = [_UNKNOWN if token == "[UNK]" else _CONTROL for token in special]
        self._tokens("bert", tokens, kinds + [_NORMAL] * (len(tokens) - len(kinds)))
        names = ("padding", "unknown", "cls", "seperator", "mask")  # as llama.cpp spells it
        self.metadata.update({f"tokenizer.ggml.{name}_token_id": i for i, name in enumerate(names)})
        self.metadata.update({"tokenizer.ggml.bos_token_id": 2, "tokenizer.ggml.eos_token_id": 3})

    def sentencepiece(self, missing: int = -1) -> None:
        """Words by letters, and everything else by tokens of bytes; without one of these, if asked for."""
        special = ["<unk>", "<s>", "</s>"]
        codes = [f"<0x{byte:02X}>" for byte in range(256) if byte != missing]
        words = ["\u2581", *_LETTERS, "th", "he", "the", "\u2581the", "ll", "llo", "hello"]
        kinds = [_UNKNOWN, _CONTROL, _CONTROL, *[_BYTE] * len(codes), *[_NORMAL] * len(words)]
        self._scored("llama", [*special, *codes, *words], kinds)
        self.metadata.update({"tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2})
        self.metadata.update({"tokenizer.ggml.unknown_token_id": 0, "tokenizer.ggml.add_bos_token": True})
        self.metadata["tokenizer.chat_template"] = CHATML

    def unigram(self) -> None:
        """T5's kind of vocabulary: the likeliest pieces, and one token for all that is unknown."""
        special = ["<s>", "<pad>", "</s>", "<unk>"]
        words = ["\u2581", *_LETTERS, "th", "the", "\u2581the", "hello"]
        kinds = [*[_CONTROL] * 3, _UNKNOWN, *[_NORMAL] * len(words)]
        self._scored("t5", [*special, *words], kinds)
        names = ("bos", "padding", "eos", "unknown")
        self.metadata.update({f"tokenizer.ggml.{name}_token_id": i for i, name in enumerate(names)})
        self.metadata.update({"tokenizer.ggml.add_space_prefix": True, "tokenizer.ggml.add_eos_token": True})

    def rwkv(self) -> None:
        """RWKV's kind of vocabulary: bytes and words, escaped as in Python."""
        tokens = ["<s>", *(f"\\x{byte:02x}" for byte in range(256)), "the", " the", "hello"]
        self._tokens("rwkv", tokens, [_CONTROL, *[_NORMAL] * (len(tokens) - 1)])

    def _scored(self, model: str, tokens: list[str], kinds: list[int]) -> None:
        self._tokens(model, tokens, kinds)
        self.metadata["tokenizer.ggml.scores"] = [-float(i) for i in range(len(tokens))]

    def _tokens(self, model: str, tokens: list[str], kinds: list[int]) -> None:
        self.vocabulary = len(tokens)
        self.metadata["tokenizer.ggml.model"] = model
        self.metadata["tokenizer.ggml.tokens"] = tokens
        self.metadata["tokenizer.ggml.token_type"] = kinds

    def _noise(self, dims: tuple[int, ...]) -> np.ndarray:
        # numpy's last dimension is llama.cpp's first.
        return self._random.standard_normal(dims[::-1], dtype=np.float32)

    def write(self, path: str | Path, overrides: Mapping[str, object]) -> Path:
        """Write the file; `overrides` replace metadata, under its full name or the architecture's."""
        for key, value in overrides.items():
            full = (
                key
                if key in self.metadata or key.startswith(("general.", "tokenizer."))
                else f"{self.arch}.{key}"
            )
            self.metadata[full] = value
        writer = gguf.GGUFWriter(path, self.arch, split_max_tensors=self.part_tensors)
        for key, value in self.metadata.items():
            add_value(writer, key, value)
        for name, data in self.tensors.items():
            if self.quantized is not None and data.ndim > 1 and "norm" not in name and "ssm" not in name:
                packed = gguf.quants.quantize(data, self.quantized)
                writer.add_tensor(name, packed, raw_dtype=self.quantized)
            else:
                writer.add_tensor(name, np.ascontiguousarray(data))
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return Path(path)


def byte_symbols() -> list[str]:
    """GPT-2's printable stand-ins of the 256 bytes."""
    printable = {*range(33, 127), *range(161, 173), *range(174, 256)}
    others = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]
