"""A tiny vocabulary for CLIP's tokenizer, learnt from the words below, and the tokenizer folders of the fixture models.

It has the layout of the real one: 256 bytes, the same 256 at the end of a word, the merges, start and end of text.
"""

import collections
import json

from transformers import CLIPTokenizer

MERGES = 400
START, END = "<|startoftext|>", "<|endoftext|>"

TEXT = """
a photo of a cat a photo of a dog a painting of a fox in the style of an old master the red fox the quick brown fox
jumps over the lazy dog an astronaut riding a horse on the moon a castle by the sea at sunset mountains and a river in
the morning light highly detailed sharp focus best quality masterpiece blurry low quality bad anatomy watermark text
a small house in the forest with a garden of flowers and a bird on the roof portrait of a woman with a hat a man walking
in the rain a city at night with neon lights a ship on the ocean a glass of water on a wooden table blue green yellow
white black orange purple snow winter summer autumn spring it's don't we've they're i'm she'd we'll photo photo photo
cat cat cat dog dog fox fox a a a a of of of of in in in the the the the on on and and with with
robot dragon knight wizard bridge tower library market village temple desert island waterfall lighthouse telescope
watercolour sketch photograph illustration cinematic dramatic volumetric studio vintage minimal abstract surreal fantasy
smiling sleeping dancing reading holding wearing standing sitting between behind under through
café naïve straße über señor façade 日本 日本語 猫 привет мир 🙂 🙂 🚀 ñandú 2024 8k 4k 1920s
"""


def byte_characters():
    """The character that stands for each byte: itself where it prints, one above 255 otherwise. In CLIP's id order."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printing]
    return {byte: chr(byte) for byte in printing} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def learn_merges(text, count):
    """The commonest neighbours first; equally common ones in alphabetical order."""
    character = byte_characters()
    words = collections.Counter(text.lower().split())
    spelt = {}
    for word in words:
        letters = [character[byte] for byte in word.encode()]
        spelt[word] = letters[:-1] + [letters[-1] + "</w>"]
    merges = []
    while len(merges) < count:
        pairs = collections.Counter()
        for word, parts in spelt.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        for word, parts in spelt.items():
            joined, i = [], 0
            while i < len(parts):
                found = tuple(parts[i : i + 2]) == best
                joined.append(parts[i] + parts[i + 1] if found else parts[i])
                i += 2 if found else 1
            spelt[word] = joined
    return merges


def build():
    """The vocabulary (token to id) and the merges."""
    merges = learn_merges(TEXT, MERGES)
    letters = list(byte_characters().values())
    tokens = letters + [letter + "</w>" for letter in letters] + [a + b for a, b in merges] + [START, END]
    assert len(set(tokens)) == len(tokens)
    return {token: i for i, token in enumerate(tokens)}, merges


VOCABULARY, MERGE_LIST = build()
SIZE = len(VOCABULARY)


def tokenizer(pad=END):
    """transformers' tokenizer over the tiny vocabulary. SD 1.x pads with the end token, SD 2.x and XL's second with "!"."""
    return CLIPTokenizer(vocab=VOCABULARY, merges=MERGE_LIST, pad_token=pad, model_max_length=77)


def save(folder, pad=END):
    """The files that published models hold (vocab.json, merges.txt and two small configurations)."""
    folder.mkdir(parents=True)
    (folder / "vocab.json").write_text(json.dumps(VOCABULARY, ensure_ascii=False), encoding="utf-8")
    lines = ["#version: 0.2", *(f"{a} {b}" for a, b in MERGE_LIST)]
    (folder / "merges.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    special = {"bos_token": START, "eos_token": END, "pad_token": pad, "unk_token": END}
    (folder / "special_tokens_map.json").write_text(json.dumps(special, indent=2) + "\n")
    config = {"add_prefix_space": False, "do_lower_case": True, "errors": "replace", "model_max_length": 77}
    config |= special | {"tokenizer_class": "CLIPTokenizer"}
    (folder / "tokenizer_config.json").write_text(json.dumps(config, indent=2) + "\n")
