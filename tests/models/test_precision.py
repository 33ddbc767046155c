"""What `dtype: auto` means on this and other machines."""

from __future__ import annotations

import pytest

from tightrope.models import precision
from tightrope.models.precision import resolve_dtype


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"avx2", "avx512f"}, "float32"),
        ({"avx512f", "avx512_bf16"}, "bfloat16"),
        ({"amx_bf16"}, "bfloat16"),
        (None, "float32"),
    ],
)
def test_auto_is_bfloat16_only_where_the_processor_multiplies_it(
    monkeypatch: pytest.MonkeyPatch, flags: set[str] | None, expected: str
) -> None:
    monkeypatch.setattr(precision, "cpu_flags", lambda: None if flags is None else frozenset(flags))
    assert resolve_dtype("auto", "cpu") == expected
    assert resolve_dtype("bfloat16", "cpu") == "bfloat16" and resolve_dtype("float32", "cpu") == "float32"
