"""Passes in C are built once or do without, and give what torch gives."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional
from transformers.models.cohere import modeling_cohere
from transformers.models.llama import modeling_llama

from tests.tiny import tiny_model
from tightrope.models import lean, rotation
from tightrope.models.kernels import build, calling, fused, layers
from tightrope.models.kernels.products import transposed

if hasattr(modeling_llama.apply_rotary_pos_emb, "in_one_pass"):  # another test's model has been here
    ORIGINAL_ROTATION = modeling_llama.apply_rotary_pos_emb.__wrapped__
else:
    ORIGINAL_ROTATION = modeling_llama.apply_rotary_pos_emb
needs_library = pytest.mark.skipif(not build.built().functions, reason="no C compiler, or switched off")
BORDERS = torch.tensor([0.0, -0.0, 1e-40, 0.3, -20.0, 100.0, -100.0, 1e30, -1e30])


def drawn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).bfloat16()


@pytest.fixture
def builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """An empty cache folder, and a library that is not built yet."""
    monkeypatch.setenv("TIGHTROPE_CACHE", str(tmp_path))
    monkeypatch.setenv("TIGHTROPE_KERNELS", "on")
    build._built.cache_clear()
    yield monkeypatch
    build._built.cache_clear()


def a_compiler(folder: Path, script: str) -> str:
    path = folder / "compiler"
    path.write_text(f"#!{sys.executable}\nimport subprocess, sys\n{script}")
    path.chmod(0o755)
    return str(path)


@needs_library
def test_the_library_is_built_once_per_sources_and_compiler(builds: pytest.MonkeyPatch, tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    note = f"open({str(tmp_path / 'calls')!r}, 'a').write(' '.join(sys.argv) + '\\n')"
    run = f"sys.exit(subprocess.run([{compiler!r}, *sys.argv[1:]]).returncode)"
    builds.setenv("CC", mine := a_compiler(tmp_path, f"{note}\n{run}"))
    for _ in range(2):
        assert build.built().functions
        assert len(list(tmp_path.glob("kernels/*.so"))) == 1
        assert [" -o " in line for line in (tmp_path / "calls").read_text().splitlines()].count(True) == 1
        build._built.cache_clear()
    builds.setattr(build, "FLAGS", (*build.FLAGS, "-DOTHER"))
    assert build.built().functions and len(list(tmp_path.glob("kernels/*.so"))) == 2
    build._built.cache_clear()
    builds.setenv("CC", f"{mine} -DASKED")
    assert build.built().functions and len(list(tmp_path.glob("kernels/*.so"))) == 3


def test_without_a_compiler_torch_computes(builds: pytest.MonkeyPatch, tmp_path: Path) -> None:
    builds.setenv("PATH", "")
    builds.delenv("CC", raising=False)
    assert build.built() == build.Built("no C compiler found")
    assert not calling.usable(drawn(2))
    assert not list(tmp_path.glob("kernels/*"))


@pytest.mark.parametrize("script", ["sys.exit('no such flag')", "print('1.0')"], ids=["fails", "writes nothing"])
def test_a_compiler_that_fails_is_named(script: str, builds: pytest.MonkeyPatch, tmp_path: Path) -> None:
    builds.setenv("CC", compiler := a_compiler(tmp_path, script))
    found = build.built()
    assert not found.functions and found.line.startswith(f"{compiler} failed: ") and len(found.line) > 30
    assert not list(tmp_path.glob("kernels/*"))


def test_what_cc_names_is_taken_or_named(builds: pytest.MonkeyPatch) -> None:
    for asked, expected in (("/not/there -m64", "/not/there -m64 failed: "), ("gcc '", "CC=gcc ': No closing")):
        builds.setenv("CC", asked)
        assert not build.built().functions and build.built().line.startswith(expected)
        build._built.cache_clear()
    if compiler := shutil.which("cc"):
        builds.setenv("CC", f"{compiler} -DWITH_ARGUMENTS")
        assert build.built().functions and build.built().line == f"built with {compiler} -DWITH_ARGUMENTS"


def another_process(cache: Path) -> subprocess.Popen[str]:
    """Builds, or loads what is there: a process keeps what it has loaded, whatever becomes of the file."""
    script = "from tightrope.models.kernels.build import built\nassert built().functions, built().line"
    environment = {**os.environ, "TIGHTROPE_CACHE": str(cache)}
    return subprocess.Popen([sys.executable, "-c", script], env=environment, text=True)


@needs_library
def test_what_is_damaged_or_may_be_of_others_is_not_loaded(tmp_path: Path) -> None:
    assert another_process(tmp_path).wait() == 0
    (library,) = tmp_path.glob("kernels/*.so")
    assert library.parent.stat().st_mode & 0o077 == 0 and library.stat().st_mode & 0o077 == 0
    whole, other = library.read_bytes(), b"somebody else's"
    for path, mode, after in ((library, 0o700, whole), (library, 0o722, whole), (library.parent, 0o777, other)):
        library.write_bytes(other)
        path.chmod(mode)
        assert another_process(tmp_path).wait() == 0
        assert (library.read_bytes() == other) is (after == other), "built anew, or left alone"


@needs_library
@pytest.mark.parametrize("where", ["file", ""], ids=["a file instead", "no home"])
def test_without_a_cache_folder_it_is_built_for_the_process(
    where: str, builds: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    builds.setattr(build, "cache_folder", (lambda: tmp_path / where) if where else nowhere)
    assert build.built().functions
    out = torch.empty(3).bfloat16()
    calling.call("gated", torch.zeros(3).bfloat16(), torch.ones(3).bfloat16(), out, 3)
    assert not out.any()


@needs_library
def test_processes_that_build_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    begun = [another_process(tmp_path) for _ in range(2)]
    assert [one.wait() for one in begun] == [0, 0]
    assert len(list(tmp_path.glob("kernels/*"))) == 1


@needs_library
def test_compilers_have_nothing_to_warn_of(tmp_path: Path) -> None:
    sources = [str(source) for source in build._sources() if source.suffix == ".c"]
    for compiler in filter(shutil.which, build.COMPILERS):
        command = [compiler, *build.FLAGS, "-Wall", "-Wextra", "-o", str(tmp_path / "out.so"), *sources, "-lm"]
        assert subprocess.run(command, capture_output=True, text=True, check=True).stderr == ""


@needs_library
def test_numbers_are_what_c_reads_whatever_python_calls_them() -> None:
    x, weight = drawn(3, 8), drawn(8, seed=1)
    assert torch.equal(layers.rms_norm(x, weight, 1)[1], layers.rms_norm(x, weight, 1.0)[1])


@needs_library
def test_tensors_of_another_type_than_c_reads_are_refused() -> None:
    with pytest.raises(TypeError, match=r"gated takes torch.bfloat16, not torch.float32"):
        calling.call("gated", torch.ones(3), torch.ones(3).bfloat16(), torch.ones(3).bfloat16(), 3)


def test_they_can_be_switched_off(builds: pytest.MonkeyPatch) -> None:
    builds.setenv("TIGHTROPE_KERNELS", "off")
    assert build.built() == build.Built("switched off by TIGHTROPE_KERNELS")


@needs_library
def test_loading_the_library_leaves_denormals_alone() -> None:
    """As libraries linked with -ffast-math would not, for the whole process."""
    script = (
        "import numpy as np\nfrom tightrope.models.kernels.build import built\nassert built().functions\n"
        "assert np.float32(1e-39) * np.float32(0.5) > 0"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=os.environ)


def close(ours: Tensor, right: Tensor, bits: int = 8) -> bool:
    """Whether bfloat16 numbers are the right ones, rounded once: half of a last bit off, and a little."""
    return bool(((ours.double() - right).abs() <= right.abs() * 2.0**-bits * 1.01 + 1e-38).all())


@needs_library
@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (2, 33, 576), (400, 576)])
def test_norms_are_torchs(shape: tuple[int, ...], threads: int) -> None:
    x, weight, pulled = drawn(*shape) * 3, drawn(shape[-1], seed=1), drawn(*shape, seed=2)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        out, scale = layers.rms_norm(x, weight, 1e-5)
        of_x, of_weight = layers.rms_norm_backward(pulled, x, weight, scale)
    finally:
        torch.set_num_threads(before)
    assert float((out != lean._normalised(x, weight, 1e-5)[0]).double().mean()) < 1e-3  # squares in another order
    wide, of = (of.double().requires_grad_() for of in (x, weight))
    exact = of * wide * (wide.square().mean(-1, keepdim=True) + 1e-5).rsqrt()
    right = torch.autograd.grad(exact, (wide, of), pulled.double())
    assert float((of_x.double() - right[0]).norm()) <= 2**-8 * float(right[0].norm()) + 1e-3
    assert torch.allclose(of_weight.double(), right[1], rtol=1e-4, atol=1e-4 * float(right[1].abs().max()))


@needs_library
@pytest.mark.parametrize("count", [1, 31, 70_000])
def test_gated_parts_are_torchs(count: int) -> None:
    gate, up, pulled = drawn(count) * 4, drawn(count, seed=1), drawn(count, seed=2)
    borders = BORDERS.bfloat16()[:count]
    gate[: len(borders)] = borders
    expected = functional.silu(gate) * up
    ours = layers.gated(gate, up)
    assert close(ours, expected.double(), bits=7) and float((ours != expected).double().mean()) < 1e-3
    of_gate, of_up, again = layers.gated_backward(pulled, gate, up)
    assert torch.equal(again, ours)
    leaves = gate.double().requires_grad_(), up.double().requires_grad_()
    right = torch.autograd.grad(functional.silu(leaves[0]) * leaves[1], leaves, pulled.double())
    assert close(of_up, right[1])
    slope = (pulled.double() * up.double()).abs()  # a derivative near 0 is a difference of two numbers
    assert bool(((of_gate.double() - right[0]).abs() <= right[0].abs() * 2**-8 * 1.01 + slope * 1e-6 + 1e-38).all())


@needs_library
@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (16, 16), (15, 64), (80, 33), (150, 70)])
def test_matrices_are_laid_on_their_side(shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.arange(shape[0] * shape[1], dtype=torch.int16).view(torch.bfloat16).view(shape)
    out = transposed(x)
    assert out.is_contiguous() and torch.equal(out.view(torch.int16), x.view(torch.int16).t())
    monkeypatch.setattr(calling, "WORTH_A_THREAD", 1)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)  # each turns some of the columns
    assert torch.equal(transposed(x).view(torch.int16), out.view(torch.int16))


@needs_library
def test_nan_stays_nan() -> None:
    gate, up = drawn(40), drawn(40, seed=1)
    gate[3] = up[5] = torch.nan
    assert layers.gated(gate, up).isnan().nonzero().flatten().tolist() == [3, 5]
    assert layers.rms_norm(gate[None], up, 1e-5)[0].isnan().all()
    patterns = torch.tensor([*range(0x7F81, 0x8000), *range(-0x7F, 0)], dtype=torch.int16).view(torch.bfloat16)
    assert patterns.isnan().all()  # all there are
    others = torch.ones_like(patterns)
    for pulled, one, two in ((patterns, others, others), (others, patterns, others), (others, others, patterns)):
        of_gate, of_up, out = layers.gated_backward(pulled, one, two)
        assert of_gate.isnan().all() and (of_up.isnan().all() or two is patterns)
        assert out.isnan().all() or pulled is patterns
    rows = patterns[:, None].expand(-1, 8).contiguous()
    ones, scale = torch.ones_like(rows), torch.ones(len(rows), 1)
    assert all(of.isnan().all() for of in layers.rms_norm_backward(rows, ones, ones[0], scale))
    angles = torch.ones(1, len(rows), 8).bfloat16()
    for back in (False, True):
        assert layers.rotate(rows[None, None], angles, angles, back=back).isnan().all()


def rotations(heads: int, tokens: int, width: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    q, k = (drawn(1, tokens, of, width, seed=of).transpose(1, 2) for of in (heads, 1))
    cos, sin = (drawn(1, tokens, width, seed=seed) for seed in (2, 3))
    return q, k, cos, sin


@needs_library
@pytest.mark.parametrize(("heads", "tokens", "width"), [(1, 1, 2), (3, 17, 6), (9, 300, 64)])
def test_rotations_are_transformers_bit_for_bit(heads: int, tokens: int, width: int) -> None:
    q, k, cos, sin = rotations(heads, tokens, width)
    found = []
    for rotate in (ORIGINAL_ROTATION, rotation.ours_or(ORIGINAL_ROTATION)):
        leaves = [x.clone().requires_grad_() for x in (q, k)]
        out = rotate(*leaves, cos, sin)
        found.append([*out, *torch.autograd.grad(out, leaves, [x.flip(2) for x in (q, k)])])
    theirs, ours = found
    assert all(map(torch.equal, ours, theirs))
    assert "_Rotated" in type(out[0].grad_fn).__name__


@needs_library
def test_rotations_of_another_kind_or_layout_stay_theirs() -> None:
    assert rotation._agrees(ORIGINAL_ROTATION)
    assert not rotation._agrees(modeling_cohere.apply_rotary_pos_emb)  # neighbours instead of halves
    q, k, cos, sin = rotations(2, 5, 8)

    def ours(*given: Tensor) -> bool:
        out = rotation.ours_or(lambda q, k, *_: (q * 1, k * 1))(*given)
        return "_Rotated" in type(out[0].grad_fn).__name__

    q.requires_grad_()
    assert ours(q, k, cos, sin)
    assert not ours(q.float(), k.float(), cos.float(), sin.float())
    assert not ours(q.repeat(2, 1, 1, 1), k, cos, sin)  # rows of their own
    assert not ours(torch.cat((q, q), -1), k, cos, sin)  # of a part of a head only
    assert not ours(q, k, cos.repeat(2, 1, 1), sin)


@needs_library
def test_all_calls_of_a_rotation_are_answered() -> None:
    q, k, cos, sin = rotations(2, 5, 8)
    ours, expected = rotation.ours_or(ORIGINAL_ROTATION), ORIGINAL_ROTATION(q, k, cos, sin)
    for found in (ours(q, k, cos, sin), ours(q=q, k=k, cos=cos, sin=sin), ours(q, k, cos, sin, unsqueeze_dim=1)):
        assert all(map(torch.equal, found, expected))
    assert ours.__name__ == rotation.NAME


@needs_library
def test_a_family_is_changed_once_and_only_where_it_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(modeling_llama, rotation.NAME, ORIGINAL_ROTATION)
    for _ in range(2):
        rotation.rotate_in_one_pass(tiny_model("llama"))
    changed = modeling_llama.apply_rotary_pos_emb
    assert changed is not ORIGINAL_ROTATION and changed.__wrapped__ is ORIGINAL_ROTATION
    other = types.SimpleNamespace(**{rotation.NAME: modeling_cohere.apply_rotary_pos_emb})
    monkeypatch.setitem(sys.modules, modeling_llama.__name__, other)
    rotation.rotate_in_one_pass(tiny_model("llama"))
    assert getattr(other, rotation.NAME) is modeling_cohere.apply_rotary_pos_emb


@pytest.mark.parametrize("adapters", [False, True], ids=["", "adapters"])
@pytest.mark.parametrize("formulas", [False, True], ids=["in C", "formulas"])
def test_a_model_learns_as_exactly_with_them_as_without(
    adapters: bool, formulas: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    from peft import LoraConfig, get_peft_model

    if formulas:  # what a GPU computes, though in bfloat16 torch rounds it more often
        for module in (calling, fused, layers, lean):
            monkeypatch.setattr(module, "usable", lambda *_: False)
        for module in (lean, rotation):
            monkeypatch.setattr(module, "in_one_pass", lambda *of: all(x.dtype == torch.bfloat16 for x in of))
        monkeypatch.setattr(modeling_llama, rotation.NAME, ORIGINAL_ROTATION)
    elif not build.built().functions:
        pytest.skip("no C compiler, or switched off")

    def gradients(dtype: torch.dtype) -> tuple[Tensor, dict[str, Tensor]]:
        torch.manual_seed(0)
        model = tiny_model("llama").bfloat16().to(dtype)
        lean.keep_less(model)
        if adapters:
            model = get_peft_model(model, LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
            for parameter in model.parameters():
                parameter.data = parameter.data.bfloat16().to(dtype)
        hidden = model.get_decoder()(input_ids=torch.arange(3, 43)[None], use_cache=False).last_hidden_state
        (hidden.float() * torch.linspace(-1, 1, hidden.numel()).view_as(hidden)).sum().backward()
        return hidden.detach().double(), {n: p.grad.double() for n, p in model.named_parameters() if p.grad is not None}

    exact, right = gradients(torch.float32)
    with_them, ours = gradients(torch.bfloat16)
    for module, asked in ((lean, "usable"), (lean, "in_one_pass"), (rotation, "in_one_pass")):
        monkeypatch.setattr(module, asked, lambda *_: False)
    without, theirs = gradients(torch.bfloat16)
    assert float((with_them - exact).norm()) <= 1.1 * float((without - exact).norm())
    assert ours.keys() == theirs.keys() == right.keys() and len(ours) > 10
    for name, gradient in right.items():
        off, theirs_off = (float((of[name] - gradient).norm()) for of in (ours, theirs))
        assert off <= 1.5 * theirs_off + 1e-3 * float(gradient.norm()), name
    together = [sum(float((of[n] - right[n]).norm()) ** 2 for n in right) ** 0.5 for of in (ours, theirs)]
    assert together[0] <= 1.15 * together[1]  # of twelve models between 0.94 and 1.11, 1.01 on average
