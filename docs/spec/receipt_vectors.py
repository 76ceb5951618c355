#!/usr/bin/env python3
"""Receipts in a second language: writes and checks receipt-vectors.json, by receipt.md alone.

    python3 receipt_vectors.py            check the file beside this program
    python3 receipt_vectors.py --write    write it anew

Python 3.8 or newer, no packages. Ed25519 is written out by RFC 8032 (slow, not constant-time: for tests only).
"""

import base64
import hashlib
import json
import pathlib
import sys
import zlib

FILE = pathlib.Path(__file__).with_name("receipt-vectors.json")
ROLES = {"system": 0, "user": 1, "assistant": 2}
REASONS = {"stop": 0, "length": 1, "stop_string": 2}


# --- canonical bytes ---

def integer(size):
    return lambda n: int(n).to_bytes(size, "little")


u8, u32, u64, u128 = integer(1), integer(4), integer(8), integer(16)


def lengthy(data):
    return u32(len(data)) + data


def text(s):
    return lengthy(s.encode())


def domain(s):
    return u8(len(s)) + s.encode("ascii")


def sha256(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def maybe(write, value):
    return u8(0) if value is None else u8(1) + write(value)


def image_parameters(p):
    numbers = b"".join(u32(p[n]) for n in ("width", "height", "steps", "guidance_milli"))
    return numbers + maybe(text, p["sampler"]) + maybe(u32, p["clip_skip"]) + maybe(u32, p["strength_milli"])


def input_bytes(value):
    if "image" in value:
        i = value["image"]
        blobs = b"".join(maybe(lambda b: lengthy(bytes(b)), i[n]) for n in ("init", "mask"))
        head = u8(1) + u8(2) + text(i["prompt"]) + maybe(text, i["negative"])
        return head + image_parameters(i["parameters"]) + blobs
    if "chat" in value:
        messages = value["chat"]["messages"]
        body = b"".join(u8(ROLES[m["role"]]) + text(m["content"]) for m in messages)
        return u8(1) + u8(0) + u32(len(messages)) + body
    return u8(1) + u8(1) + text(value["completion"]["prompt"])


def image_output_bytes(value):
    small = maybe(lambda b: lengthy(bytes(b)), value["thumbnail"])
    latent = b"".join(int(v).to_bytes(4, "little", signed=True) for v in value["latent"])
    return u8(1) + u8(1) + lengthy(bytes(value["png"])) + small + u32(len(value["latent"])) + latent


def output_bytes(value):
    ids = b"".join(u32(i) for i in value["ids"])
    head = u8(1) + u8(0) + u8(REASONS[value["finish_reason"]]) + u32(len(value["ids"]))
    return head + ids + text(value["text"])


def parameters_bytes(model, p):
    numbers = ("max_tokens", "temperature_milli", "top_k", "top_p_milli", "min_p_milli")
    stops = u32(len(p["stop"])) + b"".join(text(s) for s in p["stop"])
    head = domain("emc-parameters-v1") + u8(1) + text(model["id"]) + u32(model["version"] or 0)
    return head + b"".join(u32(p[n]) for n in numbers) + stops


def image_parameters_bytes(model, p):
    head = domain("emc-image-parameters-v1") + u8(1) + text(model["id"]) + u32(model["version"] or 0)
    return head + image_parameters(p)


def receipt_bytes(r):
    escrow = principal_bytes(r["escrow"])
    return b"".join([
        domain("emc-receipt-v1"), u8(1), u8(len(escrow)), escrow, fixed(r["nonce"], 16), u64(r["job_id"]),
        u32(r["attempt"]), fixed(r["model_root"], 32), fixed(r["parameters_hash"], 32), fixed(r["input_hash"], 32),
        fixed(r["output_hash"], 32), u64(r["seed"]), u64(r["prompt_tokens"]), u64(r["output_tokens"]),
        u64(r["pixel_steps"]), u8(REASONS[r["finish_reason"]]), u128(r["charge"]), fixed(r["evidence_root"], 32),
    ])


def fixed(hexadecimal, length):
    data = bytes.fromhex(hexadecimal)
    if len(data) != length:
        raise ValueError(f"{length} bytes expected, {len(data)} found")
    return data


# --- principals ---

def principal_text(data):
    checked = zlib.crc32(data).to_bytes(4, "big") + data
    s = base64.b32encode(checked).decode().lower().rstrip("=")
    return "-".join(s[i:i + 5] for i in range(0, len(s), 5))


def principal_bytes(s):
    letters = s.replace("-", "").upper()
    data = base64.b32decode(letters + "=" * (-len(letters) % 8))[4:]
    if principal_text(data) != s:
        raise ValueError(f"{s} is not a principal")
    return data


def node_principal(key):
    der = bytes.fromhex("302a300506032b6570032100") + key
    return principal_text(hashlib.sha224(der).digest() + b"\x02")


# --- Ed25519 ---

P = 2 ** 255 - 19
L = 2 ** 252 + 27742317777372353535851937790883648493
D = -121665 * pow(121666, -1, P) % P


def add(a, b):
    (x1, y1, z1, t1), (x2, y2, z2, t2) = a, b
    e, g = (y1 - x1) * (y2 - x2) % P, (y1 + x1) * (y2 + x2) % P
    c, d = 2 * t1 * t2 * D % P, 2 * z1 * z2 % P
    x, f, h, y = g - e, d - c, d + c, g + e
    return x * f % P, y * h % P, f * h % P, x * y % P


ZERO = (0, 1, 1, 0)


def times(n, point):
    result = ZERO
    while n:
        if n & 1:
            result = add(result, point)
        point, n = add(point, point), n >> 1
    return result


def encode(point):
    x, y, z, _ = point
    inverse = pow(z, -1, P)
    x, y = x * inverse % P, y * inverse % P
    return (y | (x & 1) << 255).to_bytes(32, "little")


def decode(data):
    number = int.from_bytes(data, "little")
    sign, y = number >> 255, number & (1 << 255) - 1
    if y >= P:
        return None
    square = (y * y - 1) * pow(D * y * y + 1, -1, P) % P
    x = pow(square, (P + 3) // 8, P)
    if (x * x - square) % P:
        x = x * pow(2, (P - 1) // 4, P) % P
    if (x * x - square) % P or (x == 0 and sign):
        return None
    x = P - x if x & 1 != sign else x
    return x, y, 1, x * y % P


BASE = decode((4 * pow(5, -1, P) % P).to_bytes(32, "little"))


def small_order(point):
    return encode(times(8, point)) == encode(ZERO)


def number(*parts):
    return int.from_bytes(hashlib.sha512(b"".join(parts)).digest(), "little")


def secret(seed):
    h = hashlib.sha512(seed).digest()
    return int.from_bytes(h[:32], "little") & (1 << 254) - 8 | 1 << 254, h[32:]


def public_key(seed):
    return encode(times(secret(seed)[0], BASE))


def sign(seed, message):
    a, prefix = secret(seed)
    r = number(prefix, message) % L
    big_r = encode(times(r, BASE))
    k = number(big_r, public_key(seed), message) % L
    return big_r + ((r + k * a) % L).to_bytes(32, "little")


def verify(key, message, signature):
    if len(key) != 32 or len(signature) != 64:
        return False
    a, r = decode(key), decode(signature[:32])
    s = int.from_bytes(signature[32:], "little")
    if a is None or r is None or s >= L or small_order(a) or small_order(r):
        return False
    k = number(signature[:32], key, message) % L
    x, y, z, t = a
    return encode(add(times(s, BASE), times(k, (P - x, y, z, P - t)))) == signature[:32]


# --- vectors ---

def signed_message(receipt):
    return domain("emc-receipt-v1") + sha256(receipt_bytes(receipt))


def input_vector(name, salt, value):
    data = input_bytes(value)
    digest = sha256(domain("emc-input-v1"), bytes.fromhex(salt), data)
    return {"name": name, "input": value, "bytes": data.hex(), "salt": salt, "hash": digest.hex()}


def output_vector(name, salt, value):
    data = output_bytes(value)
    digest = sha256(domain("emc-output-v1"), bytes.fromhex(salt), data)
    return {"name": name, "output": value, "bytes": data.hex(), "salt": salt, "hash": digest.hex()}


def image_vector(name, salt, value):
    data = image_output_bytes(value)
    digest = sha256(domain("emc-output-v1"), bytes.fromhex(salt), data)
    return {"name": name, "image": value, "bytes": data.hex(), "salt": salt, "hash": digest.hex()}


def image_parameters_vector(name, model, parameters):
    data = image_parameters_bytes(model, parameters)
    return {"name": name, "model": model, "parameters": parameters, "bytes": data.hex(), "hash": sha256(data).hex()}


def parameters_vector(name, model, parameters):
    data = parameters_bytes(model, parameters)
    return {"name": name, "model": model, "parameters": parameters, "bytes": data.hex(), "hash": sha256(data).hex()}


def receipt_vector(name, seed, receipt):
    key = public_key(bytes.fromhex(seed))
    message = signed_message(receipt)
    return {
        "name": name, "receipt": receipt, "bytes": receipt_bytes(receipt).hex(),
        "digest": sha256(receipt_bytes(receipt)).hex(), "message": message.hex(), "secret_key": seed,
        "public_key": key.hex(), "node": node_principal(key), "signature": sign(bytes.fromhex(seed), message).hex(),
    }


def refused(name, good, key=None, signature=None, receipt=None):
    return {
        "name": name, "receipt": receipt or good["receipt"], "public_key": key or good["public_key"],
        "signature": signature or good["signature"],
    }


def make():
    salts = ["00" * 32, bytes(range(32)).hex()]
    plain = {"width": 512, "height": 768, "steps": 20, "guidance_milli": 7500, "sampler": None, "clip_skip": None,
             "strength_milli": None}
    full = {"width": 64, "height": 2048, "steps": 150, "guidance_milli": 0, "sampler": "dpmpp_2m", "clip_skip": 1,
            "strength_milli": 600}
    chat = {"chat": {"messages": [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why is the sky blue?"},
        {"role": "assistant", "content": "Rayleigh scattering."}, {"role": "user", "content": "Und abends? 🌇\n"},
    ]}}
    inputs = [
        input_vector("a conversation", salts[1], chat),
        input_vector("no message at all", salts[0], {"chat": {"messages": []}}),
        input_vector("an empty message", salts[0], {"chat": {"messages": [{"role": "user", "content": ""}]}}),
        input_vector("a completion", salts[1], {"completion": {"prompt": "Once upon a time"}}),
        input_vector("not normalised", salts[1], {"completion": {"prompt": "e\u0301 \u00e9 \u0000"}}),
        input_vector("a picture", salts[1], {"image": {
            "prompt": "a lighthouse 🌇", "negative": None, "parameters": plain, "init": None, "mask": None}}),
        input_vector("a picture from another", salts[0], {"image": {
            "prompt": "in winter", "negative": "snow", "parameters": full, "init": [137, 80, 78, 71], "mask": []}}),
    ]
    answer = {"ids": [0, 504, 4294967295, 2], "finish_reason": "stop", "text": "Längerer Weg. 🌇"}
    outputs = [
        output_vector("an answer", salts[1], answer),
        output_vector("nothing", salts[0], {"ids": [], "finish_reason": "length", "text": ""}),
        output_vector("a stop string", salts[0], {"ids": [7], "finish_reason": "stop_string", "text": "a"}),
    ]
    images = [
        image_vector("a picture", salts[1], {"png": [137, 80, 78, 71], "thumbnail": [1, 2, 3],
                                             "latent": [0, 1, -1, 2147483647, -2147483648]}),
        image_vector("no thumbnail", salts[0], {"png": [], "thumbnail": None, "latent": []}),
    ]
    image_parameters = [
        image_parameters_vector("the model's own sampler", {"id": "sd-1.5", "version": 1}, plain),
        image_parameters_vector("everything", {"id": "a/b.c-d_1", "version": 4294967295}, full),
    ]
    greedy = {"max_tokens": 256, "temperature_milli": 0, "top_k": 0, "top_p_milli": 1000, "min_p_milli": 0, "stop": []}
    sampled = {"max_tokens": 32768, "temperature_milli": 700, "top_k": 40, "top_p_milli": 950, "min_p_milli": 50,
               "stop": ["\n\n", "Ende", ""]}
    parameters = [
        parameters_vector("greedy", {"id": "smollm2-135m-instruct", "version": 1}, greedy),
        parameters_vector("sampled", {"id": "a/b.c-d_1", "version": 4294967295}, sampled),
        parameters_vector("no version", {"id": "m", "version": None}, greedy),
    ]
    receipt = {
        "escrow": principal_text(bytes.fromhex("00000000000000070101")), "nonce": bytes(range(16)).hex(),
        "job_id": "42", "attempt": 1, "model_root": "11" * 32, "parameters_hash": parameters[0]["hash"],
        "input_hash": inputs[0]["hash"], "output_hash": outputs[0]["hash"], "seed": "7", "prompt_tokens": "61",
        "output_tokens": "4", "pixel_steps": "0", "finish_reason": "stop", "charge": "12345", "evidence_root": "00" * 32,
    }
    largest = dict(receipt, escrow=principal_text(b"\xff" * 29), nonce="ff" * 16, job_id=str(2 ** 64 - 1),
                   attempt=2 ** 32 - 1, model_root="ff" * 32, parameters_hash="fe" * 32, input_hash="fd" * 32,
                   output_hash="fc" * 32, seed=str(2 ** 64 - 1), prompt_tokens=str(2 ** 64 - 1),
                   output_tokens=str(2 ** 64 - 2), pixel_steps=str(2 ** 64 - 3), finish_reason="stop_string",
                   charge=str(2 ** 128 - 1), evidence_root="fb" * 32)
    smallest = dict(receipt, escrow=principal_text(b""), nonce="00" * 16, job_id="0", attempt=0, model_root="00" * 32,
                    parameters_hash="00" * 32, input_hash="00" * 32, output_hash="00" * 32, seed="0",
                    prompt_tokens="0", output_tokens="0", finish_reason="length", charge="0")
    receipts = [
        receipt_vector("an ordinary one", bytes(range(32)).hex(), receipt),
        receipt_vector("every field at its largest", "ff" * 32, largest),
        receipt_vector("every field at its smallest", "00" * 32, smallest),
    ]
    good = receipts[0]
    signature = bytes.fromhex(good["signature"])
    s = int.from_bytes(signature[32:], "little")
    raw = sign(bytes.fromhex(good["secret_key"]), bytes.fromhex(good["bytes"]))
    bare = sign(bytes.fromhex(good["secret_key"]), bytes.fromhex(good["digest"]))
    identity = (1).to_bytes(32, "little")
    refusals = [
        refused("another job", good, receipt=dict(receipt, job_id="43")),
        refused("another charge", good, receipt=dict(receipt, charge="12346")),
        refused("another node's key", good, key=receipts[1]["public_key"]),
        refused("a flipped bit", good, signature=(signature[:9] + bytes([signature[9] ^ 1]) + signature[10:]).hex()),
        refused("S plus the order of the group", good, signature=(signature[:32] + (s + L).to_bytes(32, "little")).hex()),
        refused("a key of small order, which would accept anything", good, key=identity.hex(),
                signature=(identity + bytes(32)).hex()),
        refused("the receipt's bytes signed without digest and domain", good, signature=raw.hex()),
        refused("the digest signed without its domain", good, signature=bare.hex()),
        refused("a signature of 63 bytes", good, signature=signature[:63].hex()),
        refused("a key of 31 bytes", good, key=good["public_key"][:62]),
    ]
    return {
        "about": "Test vectors of receipt.md. Bytes are hexadecimal; integers that may pass 2^53 are decimal texts.",
        "version": 1, "inputs": inputs, "outputs": outputs, "images": images, "parameters": parameters,
        "image_parameters": image_parameters, "receipts": receipts, "refused": refusals,
    }


def main():
    vectors = make()
    for vector in vectors["receipts"]:
        parts = [bytes.fromhex(vector[name]) for name in ("public_key", "message", "signature")]
        assert verify(*parts), vector["name"]
    for vector in vectors["refused"]:
        key, signature = bytes.fromhex(vector["public_key"]), bytes.fromhex(vector["signature"])
        assert not verify(key, signed_message(vector["receipt"]), signature), vector["name"]
    written = json.dumps(vectors, indent=1, ensure_ascii=True) + "\n"
    if sys.argv[1:] == ["--write"]:
        FILE.write_text(written)
    elif FILE.read_text() != written:
        sys.exit(f"{FILE.name} is not what receipt.md says")
    count = sum(len(vectors[name]) for name in ("inputs", "outputs", "images", "parameters",
                                                  "image_parameters", "receipts", "refused"))
    print(f"{count} vectors hold")


if __name__ == "__main__":
    main()
