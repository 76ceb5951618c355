"""Checks noise.py against the vectors of docs/spec/sampling-vectors.json. Run by make.py before anything else."""

import json
import struct

from common import REPOSITORY
from noise import normals, words


def main():
    vectors = json.loads((REPOSITORY / "docs/spec/sampling-vectors.json").read_text())
    for v in vectors["words"]:
        seed, index = int(v["seed"]), int(v["index"])
        if index < 100_000:
            assert int(words(seed, v["domain"], v["position"], index + 1)[index]) == int(v["output"], 16), v
    for v in vectors["normals"]:
        seen = normals(int(v["seed"]), v["domain"], v["position"], (v["count"],)).tolist()
        for value, entry in zip(seen, v["output"], strict=True):
            expected = struct.unpack(">f", bytes.fromhex(entry["bits"]))[0]
            assert abs(value - expected) <= 2e-7 * max(1.0, abs(expected)), (v, value, expected)
