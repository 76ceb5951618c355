"""The tokenizer that all fixture models share: byte-level BPE of 320 tokens, learnt from the words below.

Ids: 256 bytes in the order of their characters, then what the merges make, then the special tokens.
"""

import collections
import json

from tokenizers import Tokenizer, pre_tokenizers

from common import write_json

SPECIAL = ["<|begin|>", "<|end|>", "<|turn|>"]
SIZE = 320
BEGIN, END, TURN = range(SIZE - len(SPECIAL), SIZE)

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}{{ '<|turn|>' + message['role'] + '\\n' + message['content'] | trim "
    "+ '<|end|>\\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|turn|>assistant\\n' }}{% endif %}"
)

TEXT = """
the lighthouse stands on the rock and the sea is around it the keeper writes in the book every morning what the wind
was and which ships went by in the night there was a storm and the boat could not land for seven days what is the
answer to this question I think that the answer is not in the book but in the sea user assistant system
in the winter the lamp burns for sixteen hours and the children are learning to read there are thirty three steps
"""


def byte_characters():
    """The character that stands for each byte: itself where it prints, one above 255 otherwise."""
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printing]
    return {byte: chr(byte) for byte in printing} | {byte: chr(256 + i) for i, byte in enumerate(others)}


def learn_merges(text, count):
    """The commonest neighbours first; equally common ones in alphabetical order."""
    split = pre_tokenizers.ByteLevel(add_prefix_space=False)
    words = collections.Counter(word for word, _ in split.pre_tokenize_str(" ".join(text.split())))
    spelt = {word: list(word) for word in words}
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


MERGES = learn_merges(TEXT, SIZE - 256 - len(SPECIAL))
TOKENS = sorted(byte_characters().values()) + ["".join(pair) for pair in MERGES]
assert len(set(TOKENS)) == len(TOKENS) == BEGIN


def tokenizer_json(pairs_as_lists):
    """`tokenizer.json` as published files have it; newer ones have each merge as a list of two, older as one string."""
    added = [
        {
            "id": BEGIN + i,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for i, token in enumerate(SPECIAL)
    ]
    begin = {"SpecialToken": {"id": SPECIAL[0], "type_id": 0}}
    second = {"SpecialToken": {"id": SPECIAL[0], "type_id": 1}}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [begin, {"Sequence": {"id": "A", "type_id": 0}}, second, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {SPECIAL[0]: {"id": SPECIAL[0], "ids": [BEGIN], "tokens": [SPECIAL[0]]}},
        },
        "decoder": {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(TOKENS)},
            "merges": [list(pair) if pairs_as_lists else " ".join(pair) for pair in MERGES],
        },
    }


def tokenizer():
    return Tokenizer.from_str(json.dumps(tokenizer_json(False)))


def write_tokenizer(folder, context, pairs_as_lists=False):
    content = json.dumps(tokenizer_json(pairs_as_lists), ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(content + "\n", encoding="utf-8")
    write_json(
        folder / "tokenizer_config.json",
        {
            "added_tokens_decoder": {
                str(BEGIN + i): {
                    "content": token,
                    "lstrip": False,
                    "normalized": False,
                    "rstrip": False,
                    "single_word": False,
                    "special": True,
                }
                for i, token in enumerate(SPECIAL)
            },
            "bos_token": SPECIAL[0],
            "chat_template": TEMPLATE,
            "clean_up_tokenization_spaces": False,
            "eos_token": SPECIAL[1],
            "model_input_names": ["input_ids", "attention_mask"],
            "model_max_length": context,
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )
