"""Write the trained tiny model as one GGUF file with its tokenizer and chat template."""

from __future__ import annotations

import argparse
from pathlib import Path

import gguf
import numpy as np
import torch
from gguf import GGMLQuantizationType, GGUFWriter, LlamaFileType, TokenType, quants

from chat import CHAT_TEMPLATE, RERANK_TEMPLATE
from model import Config
from tokenizer import BUILD_FOLDER, CONTROL, USER_DEFINED, VOCAB_SIZE, Encoder, merges_of

DESCRIPTION = (
    "A demonstration model of 0.9 million parameters, trained on synthetic chats. "
    "It shows that an engine works and is not useful for anything else."
)
KINDS = {
    "f16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
BLOCK_NAMES = {
    "attn_norm": "attn_norm",
    "attn.q": "attn_q",
    "attn.k": "attn_k",
    "attn.v": "attn_v",
    "attn.output": "attn_output",
    "ffn_norm": "ffn_norm",
    "ffn.gate": "ffn_gate",
    "ffn.up": "ffn_up",
    "ffn.down": "ffn_down",
}


def gguf_name(name: str) -> str:
    """Return the GGUF name of a weight of the PyTorch model."""
    fixed = {"embedding.weight": "token_embd.weight", "norm.weight": "output_norm.weight"}
    if name in fixed:
        return fixed[name]
    _, index, rest = name.split(".", 2)
    return f"blk.{index}.{BLOCK_NAMES[rest.removesuffix('.weight')]}.weight"


def token_type(token: str) -> TokenType:
    """Return the kind of a token."""
    if token in CONTROL:
        return TokenType.CONTROL
    return TokenType.USER_DEFINED if token in USER_DEFINED else TokenType.NORMAL


def add_header(writer: GGUFWriter, config: Config) -> None:
    """Write what the model is and its sizes."""
    writer.add_name("poolinfer tiny")
    writer.add_description(DESCRIPTION)
    writer.add_license("MIT")
    writer.add_context_length(config.context)
    writer.add_embedding_length(config.width)
    writer.add_block_count(config.layers)
    writer.add_feed_forward_length(config.hidden)
    writer.add_head_count(config.heads)
    writer.add_head_count_kv(config.kv_heads)
    writer.add_rope_dimension_count(config.head_width)
    writer.add_rope_freq_base(config.rope_base)
    writer.add_layer_norm_rms_eps(config.norm_eps)
    writer.add_vocab_size(config.vocab)


def add_tokenizer(writer: GGUFWriter, encoder: Encoder) -> None:
    """Write the tokens, merges, special tokens and the templates."""
    tokens = [encoder.tokenizer.id_to_token(index) for index in range(VOCAB_SIZE)]
    end, text_end = encoder.end, tokens.index("<|endoftext|>")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([token_type(token) for token in tokens])
    writer.add_token_merges(merges_of(encoder.tokenizer))
    writer.add_bos_token_id(text_end)
    writer.add_eos_token_id(end)
    writer.add_eot_token_id(end)
    writer.add_pad_token_id(text_end)
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_chat_template(CHAT_TEMPLATE)
    # A file with this template is a judge to poolinfer.
    writer.add_string(gguf.Keys.Tokenizer.CHAT_TEMPLATE_N.format(name="rerank"), RERANK_TEMPLATE)


def add_weights(writer: GGUFWriter, weights: dict[str, torch.Tensor], kind: GGMLQuantizationType) -> None:
    """Write the weights: matrices in the wanted type, vectors as they are."""
    for name, weight in weights.items():
        values = weight.float().numpy().astype(np.float32)
        if values.ndim == 1:
            writer.add_tensor(gguf_name(name), values)
            continue
        writer.add_tensor(gguf_name(name), quants.quantize(values, kind), raw_dtype=kind)


def export(folder: Path, target: Path, type_name: str) -> None:
    """Export the weights and tokenizer of a training folder, replacing the file at once."""
    kind, file_type = KINDS[type_name]
    temporary = target.with_name(target.name + ".new")
    writer = GGUFWriter(temporary, "llama")
    add_header(writer, Config())
    writer.add_file_type(file_type)
    writer.add_quantization_version(2)
    add_tokenizer(writer, Encoder.load(folder / "tokenizer.json"))
    add_weights(writer, torch.load(folder / "model.pt", weights_only=True), kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    temporary.replace(target)


def main() -> None:
    """Read the command line and export."""
    root = Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=BUILD_FOLDER)
    parser.add_argument("--target", type=Path, default=root / "src/poolinfer/data/tiny.gguf")
    parser.add_argument("--type", choices=sorted(KINDS), default="q8_0")
    args = parser.parse_args()
    export(args.out, args.target, args.type)
    print(f"{args.target}: {args.target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
