#!/usr/bin/env python3
"""Audits in a second language: writes and checks audit-vectors.json, by audit.md and sampling.md alone.

    python3 audit_vectors.py            check the file beside this program
    python3 audit_vectors.py --write    write it anew

Python 3.8 or newer, no packages.
"""

import hashlib
import json
import math
import pathlib
import sys

FILE = pathlib.Path(__file__).with_name("audit-vectors.json")


# --- sampling.md ---

def word(seed, domain, position, index):
    mask = 0xFFFFFFFF
    c = [index // 4 & mask, index // 4 >> 32, position, domain]
    k = [seed & mask, seed >> 32]
    for _ in range(10):
        a, b = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [b >> 32 ^ c[1] ^ k[0], b & mask, a >> 32 ^ c[3] ^ k[1], a & mask]
        k = [k[0] + 0x9E3779B9 & mask, k[1] + 0xBB67AE85 & mask]
    return c[index % 4]


def gumbel(w):
    return -math.log(-math.log((w + 0.5) * 2.0 ** -32))


def by_likelihood(logits, ids):
    return sorted(ids, key=lambda id: (-logits[id], id))


def kept(logits, p):
    order = by_likelihood(logits, range(len(logits)))
    highest = logits[order[0]]
    weight = lambda id: math.exp((logits[id] - highest) / p["temperature"])
    if p["top_k"] > 0:
        order = order[:p["top_k"]]
    if p["top_p"] < 1:
        total, wanted = 0.0, p["top_p"] * sum(weight(id) for id in sorted(order))
        for count, id in enumerate(order, 1):
            total += weight(id)
            if total >= wanted:
                order = order[:count]
                break
    return [id for id in order if weight(id) >= p["min_p"]]


# --- audit.md ---

def edge(logits, p, x):
    others = by_likelihood(logits, (id for id in range(len(logits)) if id != x))
    m, t, result = max(logits), p["temperature"], -math.inf
    if 0 < p["top_k"] < len(logits):
        result = logits[others[p["top_k"] - 1]]
        others = others[:p["top_k"] - 1]
    if not others:
        return result
    if p["top_p"] < 1:
        w = [math.exp((logits[id] - m) / t) for id in others]
        need = lambda j: sum(w[:j]) / p["top_p"] - sum(w)
        j = max((j for j in range(1, len(w) + 1) if w[j - 1] > need(j)), default=0)
        least = max((w + [0.0])[j], need(j), 0.0)
        if least > 0:
            result = max(result, m + t * math.log(least))
    if p["min_p"] > 0:
        result = max(result, logits[others[0]] + t * math.log(p["min_p"]))
    return result


def gap(logits, p, position, a):
    if p["temperature"] == 0:
        return max(logits) - logits[a]
    score = lambda id: logits[id] + p["temperature"] * gumbel(word(int(p["seed"]), 1, position, id))
    keeps = kept(logits, p)
    if max(keeps, key=lambda id: (score(id), -id)) == a:
        return 0.0
    costs = [min(score(r) - score(a), logits[r] - edge(logits, p, r)) for r in keeps if r != a and score(r) > score(a)]
    return max([edge(logits, p, a) - logits[a], 0.0] + costs)


def thousandths(value, low, high):
    scaled = abs(value) * 1000.0
    rounded = math.floor(scaled) + (scaled - math.floor(scaled) >= 0.5)
    return max(low, min(high, int(math.copysign(rounded, value))))


def difference(logits, a, decoy):
    d = decoy % len(logits)
    d = (d + 1) % len(logits) if d == a else d
    return thousandths(logits[a] - logits[d], -2 ** 31, 2 ** 31 - 1)


def commitment_bytes(escrow, validator, job, round, salt, vote):
    u32 = lambda n: n.to_bytes(4, "little")
    u64 = lambda n: n.to_bytes(8, "little")
    out = bytes([11]) + b"emc-vote-v1"
    for principal in (escrow, validator):
        out += bytes([len(principal)]) + principal
    out += u64(job) + u32(round) + salt
    for name in ("positions", "matches", "largest_gap_milli", "mean_gap_milli"):
        out += u32(vote[name])
    out += u32(len(vote["above"])) + b"".join(u32(n) for n in vote["above"])
    out += u64(int(vote["prompt_tokens"])) + bytes([vote["ends_right"], vote["text_right"]])
    out += u32(len(vote["differences"]))
    return out + b"".join(n.to_bytes(4, "little", signed=True) for n in vote["differences"])


# --- vectors ---

def commitment_vector(name, escrow, validator, job, round, salt, vote):
    data = commitment_bytes(bytes.fromhex(escrow), bytes.fromhex(validator), job, round, bytes.fromhex(salt), vote)
    return {
        "name": name, "escrow": escrow, "validator": validator, "job": str(job), "round": round, "salt": salt,
        "vote": vote, "bytes": data.hex(), "commitment": hashlib.sha256(data).hexdigest(),
    }


def gap_vectors():
    off = {"temperature": 0.8, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": "42"}
    kinds = {
        "greedy": dict(off, temperature=0.0), "no filter": off, "top_k": dict(off, top_k=5, temperature=1.5),
        "top_p": dict(off, top_p=0.8), "min_p": dict(off, min_p=0.25), "one token is kept": dict(off, top_k=1),
        "all filters": dict(off, top_k=9, top_p=0.9, min_p=0.02, seed=str(2 ** 64 - 1)),
        "hot": dict(off, temperature=2.0, top_p=0.95, seed="7"),
    }
    vectors = []
    for number, (name, p) in enumerate(kinds.items()):
        for position in (0, 3):
            # Multiples of 1/64 are exact in every format.
            logits = [(word(9, 250, number, 20 * position + i) >> 8) % 600 / 64.0 - 5 for i in range(14)]
            gaps = [thousandths(gap(logits, p, position, a), 0, 2 ** 32 - 1) for a in range(14)]
            vectors.append({"name": name, "parameters": p, "position": position, "logits": logits, "gaps_milli": gaps})
    return vectors


def difference_vectors():
    logits = [1.0, 2.5, -4.0, 0.0004997253417968750]
    cases = [(1, 0), (1, 1), (3, 3), (0, 2 ** 64 - 1), (2, 4 * 10 ** 18 + 1), (3, 0)]
    return {
        "logits": logits,
        "cases": [{"chosen": a, "decoy": str(d), "difference_milli": difference(logits, a, d)} for a, d in cases],
    }


def make():
    ordinary = {
        "positions": 64, "matches": 61, "largest_gap_milli": 213, "mean_gap_milli": 4, "above": [3, 1, 0],
        "prompt_tokens": "48", "ends_right": True, "text_right": True,
        "differences": [12034, -17, 0, 8250, 991, 15310, 22, -4, 7, 100, 4096, 65536, -65536, 1, 2, 3],
    }
    empty = {
        "positions": 0, "matches": 0, "largest_gap_milli": 0, "mean_gap_milli": 0, "above": [], "prompt_tokens": "0",
        "ends_right": False, "text_right": False, "differences": [],
    }
    largest = {
        "positions": 2 ** 32 - 1, "matches": 2 ** 32 - 1, "largest_gap_milli": 2 ** 32 - 1,
        "mean_gap_milli": 2 ** 32 - 1, "above": [2 ** 32 - 1] * 8, "prompt_tokens": str(2 ** 64 - 1),
        "ends_right": True, "text_right": False, "differences": [-2 ** 31, 2 ** 31 - 1, -1],
    }
    escrow, node = "00000000000000070101", "ab" * 28 + "02"
    return {
        "about": "Test vectors of audit.md. Bytes are hexadecimal; integers that may pass 2^53 are decimal texts.",
        "version": 1,
        "commitments": [
            commitment_vector("an ordinary vote", escrow, node, 42, 1, bytes(range(32)).hex(), ordinary),
            commitment_vector("the same in the second round", escrow, node, 42, 2, bytes(range(32)).hex(), ordinary),
            commitment_vector("nothing", "", "", 0, 0, "00" * 32, empty),
            commitment_vector("everything at its largest", "ff" * 29, "ee" * 29, 2 ** 64 - 1, 2 ** 32 - 1, "ff" * 32,
                              largest),
        ],
        "gaps": gap_vectors(),
        "differences": difference_vectors(),
    }


def main():
    written = json.dumps(make(), indent=1, ensure_ascii=True) + "\n"
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(written)
    elif FILE.read_text() != written:
        sys.exit(f"{FILE.name} is not what audit.md says")
    print("the vectors hold")


if __name__ == "__main__":
    main()
