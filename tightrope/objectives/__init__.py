"""Losses, advantages and KL estimators: tensors in, tensors out."""
