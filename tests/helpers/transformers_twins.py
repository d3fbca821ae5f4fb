"""The model of a GGUF file once more, as a transformers model with the same weights of F32."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy
import torch
import transformers
from gguf_drafts import FF, HEADS, LAYERS, WIDTH

# A model this small is slower with more threads, and the pool computes beside it.
torch.set_num_threads(1)

Tensors = dict[str, Any]
_NAMES = {
    "attn_q.": "self_attn.q_proj.",
    "attn_k.": "self_attn.k_proj.",
    "attn_v.": "self_attn.v_proj.",
    "attn_output.": "self_attn.o_proj.",
    "attn_q_norm.": "self_attn.q_norm.",
    "attn_k_norm.": "self_attn.k_norm.",
    "ffn_gate.": "mlp.gate_proj.",
    "ffn_up.": "mlp.up_proj.",
    "ffn_down.": "mlp.down_proj.",
    "attn_norm.": "input_layernorm.",
    "ffn_norm.": "post_attention_layernorm.",
    "token_embd.": "model.embed_tokens.",
    "output_norm.": "model.norm.",
    "blk.": "model.layers.",
}
_GPT2_NAMES = {
    "attn_qkv.": "attn.c_attn.",
    "attn_output.": "attn.c_proj.",
    "ffn_up.": "mlp.c_fc.",
    "ffn_down.": "mlp.c_proj.",
    "attn_norm.": "ln_1.",
    "ffn_norm.": "ln_2.",
    "token_embd.": "transformer.wte.",
    "position_embd.": "transformer.wpe.",
    "output_norm.": "transformer.ln_f.",
    "blk.": "transformer.h.",
}
_BERT_NAMES = {
    "attn_q.": "attention.self.query.",
    "attn_k.": "attention.self.key.",
    "attn_v.": "attention.self.value.",
    "attn_output.": "attention.output.dense.",
    "attn_output_norm.": "attention.output.LayerNorm.",
    "ffn_up.": "intermediate.dense.",
    "ffn_down.": "output.dense.",
    "layer_output_norm.": "output.LayerNorm.",
    "token_embd_norm.": "bert.embeddings.LayerNorm.",
    "token_embd.": "bert.embeddings.word_embeddings.",
    "position_embd.": "bert.embeddings.position_embeddings.",
    "token_types.": "bert.embeddings.token_type_embeddings.",
    "cls.output.": "classifier.",
    "cls.": "bert.pooler.dense.",
    "blk.": "bert.encoder.layer.",
}


def shake(path: Path, seed: int = 1) -> Path:
    """Write noise over the norms and biases of a model file, which change nothing as they were written."""
    rng = numpy.random.default_rng(seed)
    for tensor in gguf.GGUFReader(path, "r+").tensors:
        if tensor.data.ndim == 1:
            tensor.data[:] += rng.standard_normal(tensor.data.shape, dtype="f4") * numpy.float32(0.2)
            tensor.data.flush()
    return path


@dataclass
class Twin:
    """A transformers model, and what it computes for one text at a time."""

    model: Any

    def logprobs(self, tokens: Sequence[int]) -> Any:
        """A row for each token: the log-probabilities of what follows it."""
        logits = self._computed(tokens).logits[0]
        return torch.log_softmax(logits.double(), dim=-1).numpy()

    def vectors(self, tokens: Sequence[int]) -> Any:
        """The vector of each token, after the last norm."""
        return self._computed(tokens, output_hidden_states=True).hidden_states[-1][0].numpy()

    def scores(self, tokens: Sequence[int]) -> Any:
        """What the head of a classifier says of a text."""
        return self._computed(tokens).logits[0].numpy()

    def _computed(self, tokens: Sequence[int], **options: object) -> Any:
        with torch.inference_mode():
            return self.model(input_ids=torch.tensor([list(tokens)]), **options)


def twin(path: Path) -> Twin:
    """The model of a file, of an architecture in `_MAKERS`."""
    reader = gguf.GGUFReader(path)
    tensors = {tensor.name: numpy.array(tensor.data) for tensor in reader.tensors}
    metadata = {name: reader.fields[name].contents() for name in reader.fields}
    model = _MAKERS[metadata["general.architecture"]](tensors, metadata)
    return Twin(model.eval())


def _llama(tensors: Tensors, metadata: Mapping[str, Any]) -> Any:
    for name in tensors:
        if ".attn_q." in name:
            tensors[name] = _halves(tensors[name], HEADS)
        if ".attn_k." in name:
            tensors[name] = _halves(tensors[name], HEADS // 2)
    theta = metadata.get("llama.rope.freq_base", 10000.0)
    config = transformers.LlamaConfig(**_causal(tensors, theta), tie_word_embeddings=True)
    return _filled(transformers.LlamaForCausalLM(config), tensors, _NAMES)


def _halves(matrix: Any, heads: int) -> Any:
    """Rows of a head in transformers' order: llama.cpp turns neighbours by one angle, transformers the halves."""
    rows, width = matrix.shape
    return matrix.reshape(heads, rows // heads // 2, 2, width).swapaxes(1, 2).reshape(rows, width)


def _qwen3(tensors: Tensors, metadata: Mapping[str, Any]) -> Any:
    theta = metadata.get("qwen3.rope.freq_base", 10000.0)
    options = {**_causal(tensors, theta), "head_dim": WIDTH // HEADS, "tie_word_embeddings": True}
    if "cls.output.weight" not in tensors:
        model = transformers.Qwen3ForCausalLM(transformers.Qwen3Config(**options))
        return _filled(model, tensors, _NAMES)
    config = transformers.Qwen3Config(**options, num_labels=2, pad_token_id=None)
    model = transformers.Qwen3ForSequenceClassification(config)
    return _filled(model, tensors, {"cls.output.": "score.", **_NAMES})


def _causal(tensors: Tensors, theta: float) -> dict[str, Any]:
    return {
        **_sizes(tensors),
        "num_key_value_heads": HEADS // 2,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "default", "rope_theta": theta},
    }


def _gpt2(tensors: Tensors, metadata: Mapping[str, Any]) -> Any:
    config = transformers.GPT2Config(
        vocab_size=len(tensors["token_embd.weight"]),
        n_positions=512,
        n_embd=WIDTH,
        n_layer=LAYERS,
        n_head=HEADS,
        n_inner=FF,
        bos_token_id=None,
        eos_token_id=None,
        attn_implementation="eager",
    )
    # Its matrices are written the other way round.
    turned = {
        name: data.T if name.startswith("blk.") and data.ndim == 2 else data for name, data in tensors.items()
    }
    return _filled(transformers.GPT2LMHeadModel(config), turned, _GPT2_NAMES)


def _bert(tensors: Tensors, metadata: Mapping[str, Any]) -> Any:
    config = transformers.BertConfig(**_sizes(tensors), num_labels=1, layer_norm_eps=1e-5, hidden_act="gelu")
    return _filled(transformers.BertForSequenceClassification(config), tensors, _BERT_NAMES)


def _sizes(tensors: Tensors) -> dict[str, Any]:
    return {
        "vocab_size": len(tensors["token_embd.weight"]),
        "hidden_size": WIDTH,
        "intermediate_size": FF,
        "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS,
        "max_position_embeddings": 512,
        "attn_implementation": "eager",
    }


def _filled(model: Any, tensors: Tensors, names: Mapping[str, str]) -> Any:
    """Put the tensors of a file into a model; all of the file's are used, and biases it has not are zero."""
    state = {}
    for name, data in tensors.items():
        for ours, theirs in names.items():
            name = f".{name}".replace(f".{ours}", f".{theirs}")[1:]
        state[name] = torch.from_numpy(numpy.array(data))
    missing, unexpected = model.load_state_dict(state, strict=False)
    if unexpected:
        raise ValueError(f"transformers has no {unexpected}")
    own = model.state_dict()
    for name in missing:
        if name.endswith(".bias") or name.startswith("bert.pooler"):
            own[name].zero_()
        elif name != "lm_head.weight" and not name.startswith("classifier"):
            raise ValueError(f"the file has no {name}")
    return model


_MAKERS: Mapping[str, Callable[[Tensors, Mapping[str, Any]], Any]] = {
    "llama": _llama,
    "qwen3": _qwen3,
    "gpt2": _gpt2,
    "bert": _bert,
}
