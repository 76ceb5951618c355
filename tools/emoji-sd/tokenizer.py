"""Writes the tokenizer of CLIP (byte-pair encoding, 49,408 entries) in the form that transformers reads.

    python tools/emoji-sd/tokenizer.py FOLDER

The merges come from PyPI's open_clip_torch (MIT, after OpenAI's CLIP, MIT), pinned by SHA-256.
"""

import gzip
import hashlib
import json
import pathlib
import subprocess
import sys
import zipfile

from transformers import CLIPTokenizer

from data import parser

PACKAGE = "open_clip_torch==3.3.0"
MEMBER = "open_clip/bpe_simple_vocab_16e6.txt.gz"
SHA256 = "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a"
ENTRIES = 49408
START, END = "<|startoftext|>", "<|endoftext|>"
LENGTH = 77


def merges_text(work):
    wheels = sorted(work.glob("open_clip_torch-3.3.0-*.whl"))
    if not wheels:
        work.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work), PACKAGE]
        subprocess.run(command, check=True)
        wheels = sorted(work.glob("open_clip_torch-3.3.0-*.whl"))
    packed = zipfile.ZipFile(wheels[0]).read(MEMBER)
    if hashlib.sha256(packed).hexdigest() != SHA256:
        raise SystemExit(f"{wheels[0]} does not hold the pinned vocabulary: delete it and try again")
    return gzip.decompress(packed).decode()


def byte_letters():
    """GPT-2's letter for each byte, in the order in which CLIP numbers them."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + index) for index in range(len(others))]


def write(folder, work):
    letters = byte_letters()
    merges = merges_text(work).split("\n")[1 : ENTRIES - 2 - 512 + 1]
    words = letters + [letter + "</w>" for letter in letters] + [merge.replace(" ", "") for merge in merges]
    vocabulary = {word: index for index, word in enumerate([*words, START, END])}
    if len(vocabulary) != ENTRIES:
        raise SystemExit(f"the vocabulary has {len(vocabulary)} entries instead of {ENTRIES}")
    special = {"lstrip": False, "normalized": True, "rstrip": False, "single_word": False}
    start, end = {"content": START, **special}, {"content": END, **special}
    files = {
        "vocab.json": vocabulary,
        "special_tokens_map.json": {"bos_token": start, "eos_token": end, "pad_token": END, "unk_token": end},
        "tokenizer_config.json": {
            "add_prefix_space": False,
            "bos_token": START,
            "do_lower_case": True,
            "eos_token": END,
            "errors": "replace",
            "model_max_length": LENGTH,
            "pad_token": END,
            "tokenizer_class": "CLIPTokenizer",
            "unk_token": END,
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n")
    for name, content in files.items():
        indent = None if name == "vocab.json" else 2
        (folder / name).write_text(json.dumps(content, indent=indent, ensure_ascii=False) + "\n")


def load(work):
    folder = work / "tokenizer"
    if not (folder / "vocab.json").exists():
        write(folder, work)
    return CLIPTokenizer.from_pretrained(folder)


if __name__ == "__main__":
    options = parser(__doc__)
    options.add_argument("folder", type=pathlib.Path)
    options = options.parse_args()
    write(options.folder, options.work)
