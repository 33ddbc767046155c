"""Tightrope: preference fine-tuning of language models, and the verdict whether it helped."""

__version__ = "0.1.0"
