"""Policies, reward models, and what is read from their hidden states."""
