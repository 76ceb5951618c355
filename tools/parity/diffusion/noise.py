"""EMC's counter-based noise (docs/spec/sampling.md) with numpy, and its use in place of diffusers' random tensors.

Latents and step noises of the pipeline cases come from here, so a Rust engine that is given the case's seed draws the
same numbers. (numpy's logarithm may differ from libm's in the last bit of f64; rounded to f32 that is hardly ever seen.)
"""

import contextlib
import sys

import numpy as np
import torch

LATENT, STEP = 2, 3


def words(seed, domain, position, count):
    """`count` words of the stream, by Philox4x32-10 over all blocks at once."""
    blocks = np.arange((count + 3) // 4, dtype=np.uint64)
    low, high = np.uint64(0xFFFFFFFF), np.uint64(32)
    c = [blocks & low, blocks >> high, np.full_like(blocks, position), np.full_like(blocks, domain)]
    k = [seed & 0xFFFFFFFF, seed >> 32]
    for _ in range(10):
        p0, p1 = c[0] * np.uint64(0xD2511F53), c[2] * np.uint64(0xCD9E8D57)
        c = [(p1 >> high) ^ c[1] ^ np.uint64(k[0]), p1 & low, (p0 >> high) ^ c[3] ^ np.uint64(k[1]), p0 & low]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return np.stack(c, axis=1).reshape(-1)[:count]


def normals(seed, domain, position, shape):
    """Standard normal values of that shape in row-major order, computed in f64 and rounded once."""
    count = int(np.prod(shape))
    uniform = (words(seed, domain, position, count + count % 2).astype(np.float64) + 0.5) / 2.0**32
    radius, angle = np.sqrt(-2.0 * np.log(uniform[0::2])), 2.0 * np.pi * uniform[1::2]
    pairs = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
    return torch.from_numpy(pairs[:count].astype(np.float32)).reshape(shape)


def first_latent(seed, shape):
    return normals(seed, LATENT, 0, shape)


def step_noise(seed, step, shape):
    return normals(seed, STEP, step, shape)


@contextlib.contextmanager
def injected(draw):
    """Within this, every random tensor that diffusers asks for is draw(shape) instead."""

    def replacement(shape, generator=None, device=None, dtype=None, layout=None):
        return draw(tuple(shape)).to(dtype or torch.float32)

    changed = []
    for name, module in list(sys.modules.items()):
        if name.startswith("diffusers") and "randn_tensor" in vars(module):
            changed.append((module, module.randn_tensor))
            module.randn_tensor = replacement
    try:
        yield
    finally:
        for module, original in changed:
            module.randn_tensor = original
