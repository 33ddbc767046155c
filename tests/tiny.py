"""Tiny random models and a tiny tokenizer, built in memory: fast, exact, and of every family we name."""

from __future__ import annotations

import torch
from tokenizers import Regex, Tokenizer, models, pre_tokenizers
from tokenizers.decoders import ByteLevel as ByteLevelDecoder
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    LlamaConfig,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
VOCABULARY = 300


def tiny_tokenizer(template: str | None = TEMPLATE) -> PreTrainedTokenizerFast:
    """Bytes as tokens, three special tokens in front, a ChatML template."""
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: i for i, token in enumerate([*specials, *alphabet])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(Regex(r"\n"), "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    backend.decoder = ByteLevelDecoder()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        unk_token="<|endoftext|>",
        bos_token="<|im_start|>",
    )
    if template is not None:
        tokenizer.chat_template = template
    return tokenizer


FAMILIES = ("llama", "qwen2", "gemma2", "gemma3", "gpt2")


def tiny_model(
    family: str = "llama", *, seed: int = 0, dtype: torch.dtype = torch.float32, heads: int = 4
) -> PreTrainedModel:
    """A two-layer random model of a family, hidden size 32, large enough weights to matter."""
    head_dim = 32 // heads
    torch.manual_seed(seed)
    common = dict(
        vocab_size=VOCABULARY,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=heads,
        num_key_value_heads=heads // 2,
        max_position_embeddings=256,
        initializer_range=0.2,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=0,
    )
    configs = {
        "llama": lambda: LlamaConfig(**common, tie_word_embeddings=True),
        "qwen2": lambda: Qwen2Config(**common, tie_word_embeddings=False),
        "gemma2": lambda: Gemma2Config(
            **common, head_dim=head_dim, sliding_window=8, query_pre_attn_scalar=8, final_logit_softcapping=5.0
        ),
        "gemma3": lambda: Gemma3TextConfig(
            **common, head_dim=head_dim, sliding_window=8, query_pre_attn_scalar=8
        ),
        "gpt2": lambda: GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=32,
            n_layer=2,
            n_head=heads,
            n_positions=256,
            initializer_range=0.2,
            bos_token_id=1,
            eos_token_id=2,
            pad_token_id=0,
        ),
    }
    return AutoModelForCausalLM.from_config(configs[family]()).to(dtype).eval()


def tiny_folder(path: object, family: str = "llama", *, seed: int = 0) -> str:
    """Writes a tiny model with its tokenizer as a plain folder and returns its path."""
    tiny_model(family, seed=seed).save_pretrained(str(path))
    tiny_tokenizer().save_pretrained(str(path))
    return str(path)
