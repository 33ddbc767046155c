"""Scalar heads on hidden states: the reward of a response, the value of every predicting position."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from tightrope.errors import InputError
from tightrope.files import write_bytes


class ScalarHead(nn.Module):
    """A float32 linear map from hidden states to one number, whatever the trunk computes in.

    Initialised with standard deviation 1/sqrt(hidden + 1) and zero bias (Stiennon et al. 2020;
    methods.md 2.2, details 7 and 8).
    """

    def __init__(self, hidden_size: int, *, seed: int = 0, scale: float = 1.0) -> None:
        super().__init__()
        self.linear = nn.Linear(hidden_size, 1, dtype=torch.float32)
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            noise = torch.randn(1, hidden_size, generator=generator)
            self.linear.weight.copy_(noise * scale / (hidden_size + 1) ** 0.5)
            self.linear.bias.zero_()

    def forward(self, hidden: Tensor) -> Tensor:
        """Maps hidden states [.., D] to float32 numbers [..]."""
        return self.linear(hidden.float())[..., 0]  # type: ignore[no-any-return]

    def save(self, path: Path) -> None:
        """Writes the head as one safetensors file, whole or not at all.

        Raises:
            WorkError: it cannot be written; an earlier file stays.
        """
        write_bytes(path, save({name: t.detach().cpu().contiguous() for name, t in self.state_dict().items()}))

    @classmethod
    def load(cls, path: Path) -> ScalarHead:
        """Reads a head written by `save`.

        Raises:
            InputError: the file is missing or is not a scalar head.
        """
        try:
            state = load_file(path)
            head = cls(state["linear.weight"].shape[1])
            head.load_state_dict(state)
        except (OSError, KeyError, RuntimeError, SafetensorError) as error:
            raise InputError(
                f"not a scalar head: {error}",
                where=str(path),
                remedy="Give a file written with a policy's value head.",
            ) from error
        return head
