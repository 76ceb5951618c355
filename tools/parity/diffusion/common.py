"""Paths, reproducible random tensors and the writing of fixture files, for all scripts of this folder."""

import hashlib
import json
import pathlib
import shutil

import torch
from safetensors.torch import save_file

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
DATA = REPOSITORY / "worker/inference/tests/data/diffusion"

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)
torch.set_grad_enabled(False)


def normal(name, *shape):
    """Standard normal values that depend on the name and the shape only, not on what was drawn before."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:7], "little")
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def half_exact(tensor):
    """The nearest values that f16 can hold, as f32: such weights are the same in an f32 and in an f16 file."""
    return tensor.to(torch.float16).to(torch.float32)


def fresh_folder(*parts):
    """The fixture folder of that name, emptied, so that nothing is left of an earlier run."""
    folder = DATA.joinpath(*parts)
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def write_tensors(path, tensors):
    path.parent.mkdir(parents=True, exist_ok=True)
    for name, tensor in tensors.items():
        assert tensor.dtype in (torch.int64, torch.float16) or tensor.isfinite().all(), name
        assert tensor.dtype in (torch.float32, torch.float16, torch.int64), (name, tensor.dtype)
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
