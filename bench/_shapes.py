"""Models with random weights in the shape of real ones, so that a GPU benchmark needs no download."""

from __future__ import annotations

import torch
from transformers import AutoModelForCausalLM, BitsAndBytesConfig, LlamaConfig, PreTrainedModel

SHAPES = {
    "8b": {
        "hidden_size": 4096,
        "intermediate_size": 14336,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "vocab_size": 128256,
        "tie_word_embeddings": False,
    },
    "1.7b": {
        "hidden_size": 2048,
        "intermediate_size": 8192,
        "num_hidden_layers": 24,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
    },
    "rehearsal": {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": 49152,
        "tie_word_embeddings": True,
    },
}


def random_model(shape: str, device: str, *, bits: int | None = None) -> PreTrainedModel:
    """Returns a Llama of the given shape in bfloat16 (float32 on a CPU), made where it will run.

    With `bits` 4 its linear layers are then quantised one by one, as loading a folder in four bits would do.
    """
    torch.manual_seed(0)
    config = LlamaConfig(**SHAPES[shape], max_position_embeddings=8192, bos_token_id=1, eos_token_id=2, pad_token_id=2)
    dtype = torch.float32 if device == "cpu" else torch.bfloat16
    with torch.device(device):
        model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    return in_four_bits(model, dtype) if bits == 4 else model


def in_four_bits(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    """Quantises every linear layer but the output head to NF4 with quantised constants (QLoRA)."""
    import bitsandbytes as bnb

    head = model.get_output_embeddings()
    linear = [(n, m) for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and m is not head]
    for name, layer in linear:
        parent, _, child = name.rpartition(".")
        device = layer.weight.device
        quantised = bnb.nn.Linear4bit(
            layer.in_features, layer.out_features, bias=False, compute_dtype=dtype, compress_statistics=True,
            quant_type="nf4", device="meta",
        )  # fmt: skip
        quantised.weight = bnb.nn.Params4bit(
            layer.weight.data.cpu(), requires_grad=False, compress_statistics=True, quant_type="nf4", module=quantised
        )
        setattr(model.get_submodule(parent), child, quantised.to(device))  # moving it quantises it
    model.config.quantization_config = BitsAndBytesConfig(
        load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True, bnb_4bit_compute_dtype=dtype
    )
    model.is_loaded_in_4bit = True  # where peft looks
    return model
