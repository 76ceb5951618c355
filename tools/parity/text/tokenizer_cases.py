"""The tokenizer fixtures: what Hugging Face's tokenizers make of 10,000 strings, and of random ids.

README.md and TOKENIZERS.md beside this file say what the files hold.
"""

import hashlib
import json
import random
import struct

import sentencepiece
import torch
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

import tokenizer_reference
from common import fresh_folder, write_tensors
from tokenizer_families import FAMILIES
from tokenizer_strings import FIRST, strings

WITH_SPECIAL = 50
DECODED = 200

NOTES = {
    "ids": "of the first strings of strings.json, without the tokens that the post-processor adds; tokens written out in "
    "a string are taken as tokens",
    "with_special_tokens": "[index of a string, its ids with the post-processor's tokens]",
    "decoded": "[ids, their text without special tokens; spaces are left as they are]",
    "digests": "are in expected.safetensors: for each string, the first 8 bytes of SHA-256 of its ids as little-endian u32",
    "gguf_digests": "the same for a tokenizer made from vocabulary.gguf by llama.cpp's rules, where that gives other ids",
}


def digest(ids):
    return hashlib.sha256(struct.pack(f"<{len(ids)}I", *ids)).digest()[:8]


def digests(all_ids):
    data = b"".join(map(digest, all_ids))
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).reshape(len(all_ids), 8)


def write_lines(path, lists):
    """One line for each entry of each list."""
    parts = [f'"notes": {json.dumps(NOTES, indent=1, ensure_ascii=False)}']
    for name, entries in lists.items():
        lines = ",\n".join(json.dumps(entry, ensure_ascii=False, separators=(",", ":")) for entry in entries)
        parts.append(f'"{name}": [\n{lines}\n]')
    path.write_text("{" + ",\n".join(parts) + "}\n", encoding="utf-8")


def sequences(name, all_ids, size):
    """Ids to decode: of strings, of strings cut off within a character or a word, and random ones."""
    draw = random.Random(f"decoded/{name}")
    number = lambda low, high: low + int(draw.random() * (high - low + 1))
    chosen = [all_ids[number(0, len(all_ids) - 1)] for _ in range(120)]
    chosen[70:] = [ids[number(0, 2) : len(ids) - number(0, 2)] for ids in chosen[70:]]
    return chosen + [[number(0, size - 1) for _ in range(number(1, 12))] for _ in range(DECODED - len(chosen))]


def expected(folder, name, texts):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    encode = lambda some, special: tokenizer(some, add_special_tokens=special).input_ids
    ids = encode(texts, False)
    alone = Tokenizer.from_file(str(folder / "tokenizer.json")).encode_batch(texts, add_special_tokens=False)
    assert ids == [encoding.ids for encoding in alone]  # transformers takes the file as it is written
    chosen = range(0, FIRST, FIRST // WITH_SPECIAL)
    special = encode([texts[i] for i in chosen], True)
    decode = lambda some: tokenizer.decode(some, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    size = len(tokenizer.get_vocab())
    lists = {
        "ids": ids[:FIRST],
        "with_special_tokens": [[i, some] for i, some in zip(chosen, special)],
        "decoded": [[some, decode(some)] for some in sequences(name, ids, size)],
    }
    write_lines(folder / "expected.json", lists)
    return tokenizer, ids, lists


def differences(found, ids):
    return [i for i, (a, b) in enumerate(zip(found, ids, strict=True)) if a != b]


def from_gguf(folder, name, texts, ids, lists):
    """What the GGUF alone gives. Every difference that is known is asserted; TOKENIZERS.md explains them."""
    encoded = lambda **rules: list(
        map(tokenizer_reference.Tokenizer(folder / "vocabulary.gguf", **rules).encode, texts)
    )
    found = encoded(compose=name == "qwen2")
    other = differences(found, ids)
    print(f"  {name}: {len(other)} of {len(texts)} strings have other ids from the GGUF", flush=True)
    if name == "mistral":
        assert not differences(encoded(prefix="start"), ids)
    elif name == "gemma3":
        assert all("▁" in texts[i] for i in other)
    else:
        assert not other
    if name == "qwen2":
        print(f"  {name}: {len(differences(encoded(), ids))} without NFC, as llama.cpp does it", flush=True)
    reader = tokenizer_reference.Tokenizer(folder / "vocabulary.gguf")
    for i, some in lists["with_special_tokens"]:
        assert some == ([reader.begin] if reader.add_begin else []) + ids[i], (name, texts[i])
    return found if other else None


def against_sentencepiece(name, model, tokenizer, texts, ids):
    """The library that made the pieces, on strings without tokens written out in them."""
    processor = sentencepiece.SentencePieceProcessor(model_proto=model)
    added = [token for token in tokenizer.get_added_vocab() if token.strip("\n▁")]
    plain = [i for i, text in enumerate(texts) if not any(token in text for token in added)]
    other = [i for i in plain if processor.encode(texts[i]) != ids[i]]
    print(f"  {name}: {len(other)} of {len(plain)} plain strings have other ids from SentencePiece", flush=True)
    if name == "mistral":
        assert all(texts[i][0] in " ▁" for i in other)
    elif name == "gemma3":
        assert all("▁" in texts[i] for i in other)
    else:
        assert not other


def make():
    folder = fresh_folder("tokenizers")
    texts = strings()
    lines = ",\n".join(json.dumps(text, ensure_ascii=False) for text in texts)
    (folder / "strings.json").write_text(f"[\n{lines}\n]\n", encoding="utf-8")
    assert json.loads((folder / "strings.json").read_text(encoding="utf-8")) == texts
    for name, family in FAMILIES.items():
        place = folder / name
        place.mkdir()
        model = family(place)
        tokenizer, ids, lists = expected(place, name, texts)
        tensors = {"digests": digests(ids)}
        if (place / "vocabulary.gguf").exists() and (found := from_gguf(place, name, texts, ids, lists)):
            tensors["gguf_digests"] = digests(found)
        if model:
            against_sentencepiece(name, model, tokenizer, texts, ids)
        write_tensors(place / "expected.safetensors", tensors)
