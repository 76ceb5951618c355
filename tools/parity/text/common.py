"""Paths, reproducible random tensors and the writing of fixture files, for all scripts of this folder."""

import hashlib
import json
import pathlib
import shutil

import numpy
import torch
from safetensors.torch import save_file

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
DATA = REPOSITORY / "worker/inference/tests/data/text"
DTYPES = (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8)

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
torch.set_grad_enabled(False)


def seed(name):
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "little")


def normal(name, *shape):
    """Standard normal values that depend on the name and the shape only, not on what was drawn before."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed(name)))


def integers(name, low, high, *shape):
    """Whole numbers from low to high, both included, that depend on the name, the bounds and the shape only."""
    return torch.randint(low, high + 1, shape, generator=torch.Generator().manual_seed(seed(name)))


def random_bytes(name, count):
    return numpy.frombuffer(hashlib.shake_256(name.encode()).digest(count), dtype=numpy.uint8).copy()


def half_exact(tensor):
    """The nearest values that both f16 and bf16 can hold, as f32: such weights are the same in every format."""
    rounded = tensor.to(torch.bfloat16).to(torch.float32)
    rounded[rounded.abs() < 2.0**-14] = 0.0  # below, f16 is subnormal and has fewer digits than bf16
    assert torch.equal(rounded, rounded.to(torch.float16).to(torch.float32))
    return rounded


def fresh_folder(*parts):
    """The fixture folder of that name, emptied, so that nothing is left of an earlier run."""
    folder = DATA.joinpath(*parts)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def write_tensors(path, tensors):
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, tensor in tensors.items():
        assert tensor.dtype in DTYPES, (name, tensor.dtype)
        assert not tensor.dtype.is_floating_point or tensor.isfinite().all(), name
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, path, {"format": "pt"})
    path.chmod(0o644)


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_cases(path, head, cases):
    """A JSON file with a head of notes and one line for each case, so that a change shows as the lines it concerns."""
    path.parent.mkdir(parents=True, exist_ok=True)
    notes = ",\n".join(f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in head.items())
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    path.write_text("{" + notes + ',\n"cases": [\n' + lines + "\n]}\n", encoding="utf-8")
