"""Random blocks of every GGML format that the engine reads, and the numbers that the gguf package reads from them.

Writes quants.safetensors: for each format `<FORMAT>.packed` (u8) and `<FORMAT>.values` (f32).
"""

import gguf
import numpy
import torch

from common import DATA, random_bytes, write_tensors

BLOCKS = 24
PLAIN = 256  # numbers of the formats without blocks

# Where in a block the f16 scales lie, in bytes.
SCALES = {
    "Q8_0": [0],
    "Q4_0": [0],
    "Q4_1": [0, 2],
    "Q5_0": [0],
    "Q5_1": [0, 2],
    "Q2_K": [80, 82],
    "Q3_K": [108],
    "Q4_K": [0, 2],
    "Q5_K": [0, 2],
    "Q6_K": [208],
}
# The first blocks' scales: zeros, subnormal, the smallest normal, ordinary, a large one. The others' are random.
SPECIAL = [0.0, -0.0, 2.0**-24, -(2.0**-24), 1023 * 2.0**-24, -(2.0**-15), 2.0**-14, 1.0, -1.0, 0.1, -2.5, 100.0]


def scales(name, blocks):
    """f16 numbers of ordinary size, of both signs, for the given number of blocks, after the special ones."""
    drawn = random_bytes(f"quants.{name}", 4 * blocks).view(numpy.uint32).astype(numpy.float64) / 2**32
    ordinary = numpy.where(drawn < 0.5, -1, 1) * 2.0 ** (-12 + 10 * ((2 * drawn) % 1))
    ordinary[: len(SPECIAL)] = SPECIAL
    return ordinary.astype(numpy.float16)


def blocks(name):
    kind = gguf.GGMLQuantizationType[name]
    size = gguf.GGML_QUANT_SIZES[kind][1]
    packed = random_bytes(f"quants.{name}", BLOCKS * size).reshape(BLOCKS, size)
    for i, offset in enumerate(SCALES[name]):
        # The second scale meets the special values in another order, so that they are not zero together only.
        values = numpy.roll(scales(f"{name}.{i}", BLOCKS), 5 * i)
        packed[:, offset : offset + 2] = values.reshape(-1, 1).view(numpy.uint8)
    return packed


def plain(name):
    """f32, f16 and bf16: any bits but those of infinities and what is no number."""
    width = 4 if name == "F32" else 2
    packed = random_bytes(f"quants.{name}", PLAIN * width).reshape(PLAIN, width)
    exponent = {"F32": 0x7F800000, "F16": 0x7C00, "BF16": 0x7F80}[name]
    bits = packed.view(f"<u{width}").reshape(-1)
    bits[(bits & exponent) == exponent] ^= exponent & -exponent  # lowers the exponent by one
    bits[:4] = [0, 1 << (8 * width - 1), 1, (1 << (8 * width - 1)) | 1]  # zeros and the smallest subnormal numbers
    return packed


def make():
    tensors = {}
    for name in ["F32", "F16", "BF16", *SCALES]:
        packed = blocks(name) if name in SCALES else plain(name)
        values = gguf.quants.dequantize(packed.reshape(1, -1), gguf.GGMLQuantizationType[name])
        assert values.dtype == numpy.float32 and numpy.isfinite(values).all(), name
        tensors[f"{name}.packed"] = torch.from_numpy(packed.reshape(-1).copy())
        tensors[f"{name}.values"] = torch.from_numpy(values.reshape(-1).copy())
    write_tensors(DATA / "quants.safetensors", tensors)
