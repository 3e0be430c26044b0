"""Writes a trained guide as a GGUF file, the format that llama.cpp loads.

Usage: python to_gguf.py FOLDER OUT.gguf [--type f32|f16|q8_0]. FOLDER is what train.py wrote. Needs numpy and gguf, no torch.
Knows one architecture only: a Llama with a byte-level BPE, as train.py makes it; anything else is an error, not a guess.
"""

from __future__ import annotations

import argparse
import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

FILE_TYPES = {
    "f32": gguf.LlamaFileType.ALL_F32,
    "f16": gguf.LlamaFileType.MOSTLY_F16,
    "q8_0": gguf.LlamaFileType.MOSTLY_Q8_0,
}
TOP = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}
LAYER = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}
STORED: dict[str, np.dtype[np.float32] | np.dtype[np.float16]] = {"F32": np.dtype("<f4"), "F16": np.dtype("<f2")}


@dataclass(frozen=True, slots=True)
class Trained:
    """What train.py wrote, read back: config.json, tokenizer.json and the chat template."""

    folder: Path
    config: dict[str, Any]
    tokenizer: dict[str, Any]
    template: str


def read(folder: Path) -> Trained:
    """The folder's text files. Raises ValueError for a model of another architecture."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if config["model_type"] != "llama" or not config["tie_word_embeddings"]:
        message = f"reading {folder}/config.json: {config['model_type']!r} is not a Llama with tied embeddings"
        raise ValueError(message)
    tokenizer = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))
    return Trained(folder, config, tokenizer, (folder / "chat_template.jinja").read_text(encoding="utf-8"))


def weights(path: Path) -> Iterator[tuple[str, Floats]]:
    """Every tensor of a safetensors file as float32: a length, a JSON header, then the raw numbers."""
    content = path.read_bytes()
    (header_size,) = struct.unpack_from("<Q", content)
    start = 8 + header_size
    for name, entry in json.loads(content[8:start]).items():
        if name == "__metadata__":
            continue
        begin, end = entry["data_offsets"]
        numbers = np.frombuffer(content[start + begin : start + end], STORED[entry["dtype"]])
        yield name, numbers.astype(np.float32).reshape(entry["shape"])


def pairwise(tensor: Floats, heads: int) -> Floats:
    """Reorders the rows of q and k: transformers rotates the halves of a head, llama.cpp neighbouring pairs."""
    rows, columns = tensor.shape
    return tensor.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2).reshape(rows, columns)


def renamed(trained: Trained) -> Iterator[tuple[str, Floats]]:
    """Every tensor under llama.cpp's name and in its order."""
    heads = {"attn_q": trained.config["num_attention_heads"], "attn_k": trained.config["num_key_value_heads"]}
    for name, tensor in weights(trained.folder / "model.safetensors"):
        if name in TOP:
            yield TOP[name], tensor
            continue
        _, _, layer, rest = name.split(".", 3)
        kind = LAYER[rest.removesuffix(".weight")]
        yield f"blk.{layer}.{kind}.weight", pairwise(tensor, heads[kind]) if kind in heads else tensor


def add_architecture(writer: gguf.GGUFWriter, config: dict[str, Any]) -> None:
    """The sizes."""
    head = config["head_dim"]
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(float(config["rope_parameters"]["rope_theta"]))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])


def add_tokenizer(writer: gguf.GGUFWriter, trained: Trained) -> None:
    """The vocabulary and merges. The template writes the bos token itself, so the tokenizer must not add a second one."""
    special = {entry["content"]: entry["id"] for entry in trained.tokenizer["added_tokens"]}
    by_id = {number: text for text, number in {**trained.tokenizer["model"]["vocab"], **special}.items()}
    tokens = [by_id[number] for number in range(trained.config["vocab_size"])]
    merges = trained.tokenizer["model"]["merges"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if text in special else gguf.TokenType.NORMAL for text in tokens])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_bos_token_id(trained.config["bos_token_id"])
    writer.add_eos_token_id(trained.config["eos_token_id"])
    writer.add_pad_token_id(trained.config["pad_token_id"])
    writer.add_add_bos_token(value=False)
    writer.add_chat_template(trained.template)


def add_tensor(writer: gguf.GGUFWriter, name: str, tensor: Floats, kind: str) -> None:
    """One tensor; vectors stay float32 because they are few and every layer's scale hangs on them."""
    if tensor.ndim == 1 or kind == "f32":
        writer.add_tensor(name, np.ascontiguousarray(tensor))
    elif kind == "f16":
        writer.add_tensor(name, tensor.astype(np.float16))
    else:
        packed = gguf.quantize(np.ascontiguousarray(tensor), gguf.GGMLQuantizationType.Q8_0)
        writer.add_tensor(name, packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)


def write(trained: Trained, out: Path, kind: str) -> None:
    """The whole file, under a name of its own until it is complete."""
    partial = out.with_name(out.name + ".part")
    writer = gguf.GGUFWriter(partial, "llama")
    writer.add_name("guide")
    writer.add_description("Penstock's bundled model. It has memorised models/guide/pairs.yaml and is no assistant.")
    writer.add_license("Apache-2.0")
    writer.add_file_type(FILE_TYPES[kind])
    add_architecture(writer, trained.config)
    add_tokenizer(writer, trained)
    for name, tensor in renamed(trained):
        add_tensor(writer, name, tensor, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.replace(out)


def main() -> None:
    """Reads the command line and writes the file."""
    parser = argparse.ArgumentParser(description="Write a trained guide as GGUF.")
    parser.add_argument("folder", type=Path, help="what train.py wrote")
    parser.add_argument("out", type=Path, help="the GGUF file to write")
    parser.add_argument("--type", choices=sorted(FILE_TYPES), default="q8_0")
    given = parser.parse_args()
    given.out.parent.mkdir(parents=True, exist_ok=True)
    write(read(given.folder), given.out, given.type)
    print(f"{given.out}: {given.out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
