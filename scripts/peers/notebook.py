"""Takes other people's functions out of their files, runs them, and writes down what came out."""

from __future__ import annotations

import ast
import hashlib
import json
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers.inputs import make_inputs
from torch import Tensor, nn


def f64(values: Any) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def summed(values: Tensor, response: Sequence[int]) -> Tensor:
    """Values of tokens [N] by response, [R]."""
    return values.new_zeros(max(response) + 1).index_add(0, torch.tensor(response), values)


@dataclass
class Notebook:
    """Takes functions, runs them, and remembers all of it.

    Attributes:
        folder: wheels, and checkouts as OWNER/NAME.
        licences: of every code base, by its name and version.
    """

    folder: Path
    licences: Mapping[str, str]
    inputs: dict[str, dict[str, Any]] = field(default_factory=make_inputs)
    functions: dict[str, str] = field(default_factory=dict)
    results: list[dict[str, Any]] = field(default_factory=list)

    def taken(self, peer: str, path: str, name: str, **uses: Any) -> Any:
        """A function, class or method (`Class.method`, as a plain function) out of a file of theirs, as it stands.

        Args:
            peer: of `licences`.
            path: how the file's path ends in the wheel, or its path in the checkout.
            name: what to take.
            uses: what it refers to besides torch.
        """
        package, _, version = peer.partition(" ")
        if "/" in package:
            text = (self.folder / package / path).read_text(encoding="utf-8")
        else:
            (wheel,) = self.folder.glob(f"{package.replace('-', '_')}-{version}-*.whl")
            with zipfile.ZipFile(wheel) as archive:
                (found,) = (n for n in archive.namelist() if n.endswith(path))
                text = archive.read(found).decode()
        body: list[ast.stmt] = ast.parse(text).body
        for part in name.split("."):
            (node,) = (n for n in body if isinstance(n, ast.ClassDef | ast.FunctionDef) and n.name == part)
            body = node.body
        source = ast.get_source_segment(text, node) or ""
        self.functions[f"{peer} {path} {name}"] = hashlib.sha256(source.encode()).hexdigest()
        lazy = ast.parse("from __future__ import annotations").body  # annotations may name what is not here
        names = {"torch": torch, "nn": nn, "F": nn.functional, "dataclass": dataclass, "Enum": Enum, **uses}
        exec(compile(ast.Module([*lazy, node], []), path, "exec"), names)
        return names[node.name]

    def record(
        self,
        method: str,
        settings: dict[str, Any],
        by: str,
        inputs: str | Sequence[str],
        losses: Callable[..., Tensor],
        note: str = "",
    ) -> None:
        """Writes down the losses of one or several steps, and the gradient of each step's mean.

        Args:
            method: ours, with these settings.
            settings: of ours.
            by: whose code runs.
            inputs: names of inputs, one a step.
            losses: the leaves of a step to losses [units], or to their mean.
            note: what was done with their code or its result before it is compared.
        """
        steps = []
        for name in [inputs] if isinstance(inputs, str) else inputs:
            leaves = [f64(self.inputs[name][leaf]).requires_grad_() for leaf in self.inputs[name]["leaves"]]
            values = losses(*leaves).reshape(-1)
            slopes = torch.autograd.grad(values.mean(), leaves)
            steps.append({"inputs": name, "losses": values.tolist(), "gradients": [s.tolist() for s in slopes]})
        self.results.append({"method": method, "settings": settings, "by": by, "note": note, "steps": steps})

    def column(self, inputs: str, name: str) -> Tensor:
        """A field or column of the inputs of this name."""
        fields = self.inputs[inputs]
        return torch.from_numpy(np.array(fields[name] if name in fields else fields["columns"][name]))

    def responses(self, inputs: str, logprobs: Tensor) -> tuple[Tensor, Tensor]:
        """Log-probs of tokens and those of the reference, summed by response, each [R]."""
        response = self.inputs[inputs]["response"]
        return summed(logprobs, response), summed(self.column(inputs, "reference_logprobs"), response)

    def pairs(self, logprobs: Tensor) -> tuple[Tensor, ...]:
        """Summed log-probs of `pairs` [P]: policy chosen and rejected, reference chosen and rejected."""
        return tuple(model[side::2] for model in self.responses("pairs", logprobs) for side in (0, 1))

    def padded(self, inputs: str, values: Tensor, responses: Sequence[int]) -> Tensor:
        """Values of tokens [N, ...] as a row for each of these responses, zeros behind the shorter ones."""
        own = self.column(inputs, "response")
        return torch.nn.utils.rnn.pad_sequence([values[own == r] for r in responses], batch_first=True)

    def lengths(self) -> Tensor:
        """Tokens of each response of `pairs`, [R]."""
        return torch.bincount(torch.tensor(self.inputs["pairs"]["response"])).double()

    def write(self, path: Path, made_by: str) -> None:
        """Writes all of it, a line for each input and each result."""

        def lines(items: Sequence[str], brackets: str) -> str:
            return brackets[0] + "\n" + ",\n".join(items) + "\n" + brackets[1]

        def table(of: Mapping[str, Any]) -> str:
            return lines([f"{json.dumps(key)}: {json.dumps(value)}" for key, value in of.items()], "{}")

        parts = {
            "made_by": json.dumps(made_by),
            "licences": table(self.licences),
            "functions_sha256": table(self.functions),
            "inputs": table(self.inputs),
            "results": lines([json.dumps(result) for result in self.results], "[]"),
        }
        path.write_text(lines([f'"{key}": {part}' for key, part in parts.items()], "{}") + "\n", encoding="utf-8")


def each(function: Callable[..., Any], *columns: Tensor) -> Tensor:
    """Calls what returns a mean (alone or first of several) with one unit at a time, each a batch of one."""
    found = [function(*(column[i : i + 1] for column in columns)) for i in range(len(columns[0]))]
    return torch.stack([(one[0] if isinstance(one, tuple) else one).squeeze() for one in found])
