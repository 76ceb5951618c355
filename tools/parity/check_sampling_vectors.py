"""Checks docs/spec/sampling-vectors.json with a second implementation of docs/spec/sampling.md, in plain Python.

    python3 tools/parity/check_sampling_vectors.py

It shares no code with emc-inference and uses Python's own logarithms, so real numbers must agree to a few units in the
last place, and words and chosen tokens exactly.
"""

import json
import math
import pathlib
import struct

VECTORS = pathlib.Path(__file__).resolve().parents[2] / "docs/spec/sampling-vectors.json"
MASK = 0xFFFFFFFF


def philox(counter, key):
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK, (p0 >> 32) ^ c3 ^ k1, p0 & MASK
        k0, k1 = (k0 + 0x9E3779B9) & MASK, (k1 + 0xBB67AE85) & MASK
    return [c0, c1, c2, c3]


def word(seed, domain, position, index):
    block = index // 4
    return philox([block & MASK, block >> 32, position, domain], [seed & MASK, seed >> 32])[index % 4]


def uniform(w):
    return (w + 0.5) / 2**32


def gumbel(w):
    return -math.log(-math.log(uniform(w)))


def single(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


def normal(seed, domain, position, index):
    even = index - index % 2
    w0, w1 = word(seed, domain, position, even), word(seed, domain, position, even + 1)
    radius, angle = math.sqrt(-2 * math.log(uniform(w0))), 2 * math.pi * uniform(w1)
    return single(radius * (math.sin(angle) if index % 2 else math.cos(angle)))


def choose(logits, t, top_k, top_p, min_p, seed, position):
    likely = sorted(range(len(logits)), key=lambda i: (-logits[i], i))
    if t == 0:
        return likely[0]
    weight = [math.exp((l - logits[likely[0]]) / t) for l in logits]
    if top_k > 0:
        likely = likely[:top_k]
    if top_p < 1:
        wanted = 0.0
        for i in sorted(likely):
            wanted += weight[i]
        wanted *= top_p
        kept, total = [], 0.0
        for i in likely:
            kept.append(i)
            total += weight[i]
            if total >= wanted:
                break
        likely = kept
    if min_p > 0:
        likely = [i for i in likely if weight[i] >= min_p]
    score = {i: logits[i] + t * gumbel(word(seed, 1, position, i)) for i in likely}
    return max(sorted(score), key=score.get)


def double_of(entry):
    return struct.unpack(">d", bytes.fromhex(entry["bits"]))[0]


def single_of(entry):
    return struct.unpack(">f", bytes.fromhex(entry["bits"]))[0]


def near(a, b, ulp):
    return abs(a - b) <= 4 * ulp * max(1.0, abs(a))


def main():
    vectors = json.loads(VECTORS.read_text())
    count = 0
    for v in vectors["philox4x32_10"]:
        words = [[int(w, 16) for w in v[k]] for k in ("counter", "key", "output")]
        assert philox(words[0], words[1]) == words[2], v
    for v in vectors["words"]:
        assert word(int(v["seed"]), v["domain"], v["position"], int(v["index"])) == int(v["output"], 16), v
    for v in vectors["reals"]:
        w, out = int(v["word"], 16), v["output"]
        assert uniform(w) == double_of(out["uniform"]), v
        assert near(gumbel(w), double_of(out["gumbel"]), 2**-52), v
    for v in vectors["normals"]:
        for i in range(v["count"]):
            seen = normal(int(v["seed"]), v["domain"], v["position"], i)
            assert near(seen, single_of(v["output"][i]), 2**-23), (v, i)
    for v in vectors["choices"]:
        logits = v["logits"]
        if isinstance(logits, dict):
            noise = [normal(int(logits["seed"]), 2, 0, i) for i in range(logits["count"])]
            logits = [single(n * logits["scale"]) for n in noise]
        parameters = [v[k] for k in ("temperature", "top_k", "top_p", "min_p")]
        for position in range(v["positions"]):
            chosen = choose(logits, *parameters, int(v["seed"]), position)
            assert chosen == v["output"][position], (v, position, chosen)
            count += 1
    print(f"all vectors agree, {count} chosen tokens among them")


main()
