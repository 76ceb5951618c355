"""A tokenizer made from nothing but what vocabulary.gguf says, by the rules that TOKENIZERS.md writes down.

It is slow and plain. tokenizer_cases.py compares it with Hugging Face's tokenizer and writes down where they differ.
"""

import functools
import unicodedata

import gguf
import regex

UNKNOWN, CONTROL, USER_DEFINED, BYTE = 2, 3, 4, 6

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)"
CONTRACTION = r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])"
LLAMA3 = CONTRACTION + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
SPLITS = {
    "gpt-2": [GPT2],
    "smollm": [r"\p{N}", GPT2],
    "llama-bpe": [LLAMA3],
    "qwen2": [LLAMA3.replace("{1,3}", "")],
}


def byte_characters():
    printing = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printing]
    return {byte: chr(byte) for byte in printing} | {byte: chr(256 + i) for i, byte in enumerate(others)}


LETTER = byte_characters()


def cut(text, pattern):
    """The matches of a pattern and what lies between them: nothing is lost."""
    end = 0
    for match in regex.finditer(pattern, text):
        if match.start() > end:
            yield text[end : match.start()]
        if match.end() > match.start():
            yield match.group()
        end = match.end()
    if end < len(text):
        yield text[end:]


class Tokenizer:
    """`prefix` says before which pieces of text a SentencePiece tokenizer puts its space; see TOKENIZERS.md."""

    def __init__(self, path, prefix="each", compose=False):
        fields = gguf.GGUFReader(path).fields
        value = lambda name, default=None: fields[name].contents() if name in fields else default
        self.name = value("general.name", "").lower()
        self.model = value("tokenizer.ggml.model")
        self.pre = value("tokenizer.ggml.pre")
        self.tokens = value("tokenizer.ggml.tokens")
        self.types = value("tokenizer.ggml.token_type")
        self.scores = value("tokenizer.ggml.scores")
        self.ids = {token: i for i, token in enumerate(self.tokens)}
        self.prefix = prefix if value("tokenizer.ggml.add_space_prefix", self.model == "llama") else "none"
        self.compose = compose
        self.begin = value("tokenizer.ggml.bos_token_id")
        self.add_begin = value("tokenizer.ggml.add_bos_token", self.model == "llama" or self.pre == "llama-bpe")
        merges = value("tokenizer.ggml.merges", [])
        # A space stands between the two parts. It is looked for from the second character on.
        parts = [(merge[: merge.index(" ", 1)], merge[merge.index(" ", 1) + 1 :]) for merge in merges]
        self.ranks = {pair: i for i, pair in enumerate(parts)}
        self.bytes = {int(t[3:5], 16): i for i, t in enumerate(self.tokens) if self.types[i] == BYTE}
        special = [t for t, kind in zip(self.tokens, self.types) if kind in (UNKNOWN, CONTROL, USER_DEFINED)]
        self.special = regex.compile("|".join(map(regex.escape, sorted(special, key=len, reverse=True))))

    def strips_right(self, token):
        """The file has no field for it; llama.cpp goes by the model's name."""
        return ("phi-3" in self.name or "phi3" in self.name) and token not in ("<unk>", "<s>", "<|endoftext|>")

    def encode(self, text):
        ids, end = [], 0
        for match in self.special.finditer(text):
            if match.start() < end:  # its start was stripped; tokens do not start with a space here
                continue
            ids += self.plain(text[end : match.start()], first=end == 0)
            ids.append(self.ids[match.group()])
            end = match.end()
            if self.strips_right(match.group()):
                end += len(regex.match(r"\s*", text[end:]).group())
        return ids + self.plain(text[end:], first=end == 0)

    def plain(self, text, first):
        if not text:
            return []
        if self.model == "llama":
            spaced = text[0] in " ▁"
            if self.prefix == "each" or (self.prefix == "start" and first and not spaced):
                text = " " + text
            return self.pieces(text.replace(" ", "▁"))
        if self.compose:
            text = unicodedata.normalize("NFC", text)
        words = [text]
        for pattern in SPLITS[self.pre]:
            words = [part for word in words for part in cut(word, pattern)]
        return [token_id for word in words for token_id in self.word(word)]

    @functools.lru_cache(100_000)
    def word(self, word):
        word = "".join(LETTER[byte] for byte in word.encode())
        if self.pre == "llama-bpe" and word in self.ids:
            return [self.ids[word]]
        parts = list(word)
        while pairs := [(self.ranks[pair], i) for i, pair in enumerate(zip(parts, parts[1:])) if pair in self.ranks]:
            _, i = min(pairs)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        return [self.ids[part] for part in parts]

    def pieces(self, text):
        """Neighbours are joined while the join is a token; the highest score goes first, then the leftmost."""
        parts = list(text)
        while True:
            pairs = [
                (-self.scores[self.ids[a + b]], i)
                for i, (a, b) in enumerate(zip(parts, parts[1:]))
                if a + b in self.ids
            ]
            if not pairs:
                break
            _, i = min(pairs)
            parts[i : i + 2] = [parts[i] + parts[i + 1]]
        ids = []
        for part in parts:
            ids += [self.ids[part]] if part in self.ids else [self.bytes[byte] for byte in part.encode()]
        return ids
