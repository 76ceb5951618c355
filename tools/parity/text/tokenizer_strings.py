"""The strings on which the tokenizers are compared: 10,000 of them, all different, the most varied ones first.

Only characters that Unicode 14 has are drawn, and combining marks only as old as Unicode 3.2: which version's tables a
library has must not decide a test.
"""

import random
import unicodedata

from tokenizer_text import CODE, LINES

COUNT = 10_000
FIRST = 300  # those whose ids are recorded in full

assert unicodedata.unidata_version == "14.0.0", "the strings are drawn with the tables of Python 3.11"

# Written out as text in the strings. Each family takes some of them as tokens; to the others they are letters.
SPECIAL = """
<s> </s> <unk> <pad> <bos> <eos> <mask> <|endoftext|> <|im_start|> <|im_end|> <|begin_of_text|> <|end_of_text|>
<|start_header_id|> <|end_header_id|> <|eot_id|> <|python_tag|> <|reserved_special_token_0|> <start_of_turn> <end_of_turn>
<unused0> <unused1> <unused10> <|user|> <|assistant|> <|system|> <|end|> <|placeholder1|> [INST] [/INST] [TOOL_CALLS]
[AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [control_8] [CLS] [SEP] [MASK] [UNK] [PAD] <tool_call> </tool_call> <think> </think>
<|fim_prefix|> <|object_ref_start|> <table> <h1> </h1> [multimodal] <repo_name> <file_sep>
""".split()

# Words in which the families' rules meet: contractions, digits, spaces, special tokens, bytes, marks.
EDGES = [
    "", " ", "  ", "   ", "\n", "\n\n", "\n\n\n", "\t", "\t\t", "\r", "\r\n", "\r\n\r\n", " \n", "\n ", " \n ",
    "\t\n", "a", " a", "a ", " a ", "  a", "a  ", "a  b", "a   b", "a\nb", "a \n b", "a\n\nb", "a\tb", "a \t b",
    "a\r\nb", "a\u00a0b", "a\u3000b", "\u3000", "\u00a0", "\u2003a", "a\u2028b", "a\u0085b", "a\u200bb", "\ufeffa",
    "a\x0bb\x0cc", "a\x1cb\x1fc", "hello world", "Hello, world!", "HELLO WORLD", "hello  world", " hello world ",
    "helloworld", "\nhello", "hello\n", "it's", "IT'S", "It'S", "don't", "DON'T", "we'll", "WE'LL", "we'Ll",
    "they've", "I'm", "I'M", "he'd", "'s", "'S", "''s", "it’s", "'tis", "'twas 'the", "x'sy", "'ſ", "it'ſa",
    "a's's's", "'re're", "l'été", "O'Neill's", "1", "12", "123", "1234", "12345", "123456", "1234567", "3.14159",
    "1,234,567.89", "-1", "1e-10", "0x1F", "a1b2c3", "2026-01-02T09:30:00Z", "½", "²³", "١٢٣", "१२३४", "１２３４", "Ⅷ",
    "①②", "一二三", "1 2  3", "10%", "$5", "no.1", "café", "cafe\u0301", "e\u0301", "\u0301", "\u0301e", "A\u030a Å Å",
    "ﬁ ﬂ", "ＡＢＣ", "ｶﾞ", "が", "か\u3099", "각", "\u1100\u1161\u11a8", "ñ n\u0303", "ö o\u0308",
    "q\u0307\u0323 q\u0323\u0307", "Ω Ω", "豈", "𝒳", "ẞß", "İı", "ǅ", "ʰ", "a\u0308b", "你好，世界！", "你好世界", "日本語", "カタカナ",
    "ひらがな", "안녕하세요", "Привет, мир!", "مرحبا بالعالم", "שלום עולם", "नमस्ते दुनिया", "สวัสดี", "Γειά σου", "გამარჯობა",
    "Բարեւ", "ᏣᎳᎩ", "𒀀𒀁", "𠮷野家", "한국어 텍스트", "ǆ", "mixedЯзыки和文字", "😀", "😀😀", "👍🏽", "👩‍🚀", "👨‍👩‍👧‍👦", "🇫🇷🇩🇪", "❤️",
    "1️⃣", "🏴\U000e0067\U000e0062\U000e007f", "a😀b", " 😀 ", "😀 is 😀", "<s>", "</s>", "<s></s>", " <s> ", "<s> a",
    "a <s>", "a<s>b", "<s>hello</s>", "<s><s>", "< s>", "<s", "s>", "<<s>>", "<|im_start|>user\nhi<|im_end|>\n",
    "<|im_start|> user", "<|endoftext|>", " <|endoftext|> ", "<|end|>", "<|end|>\n", "<|end|> \n a",
    "<|user|>\nhi<|end|>\n<|assistant|>\n", "a <|end|>\u3000b", "<|end|>\u00a0a", "<|endoftext|> a", "</s> a",
    "</s>\n\na", "[INST] hi [/INST] yes</s>", "[INST]hi[/INST]", "[INST]  hi", "[TOOL_CALLS] [{}]",
    "<start_of_turn>user\nhi<end_of_turn>\n", "<start_of_turn>  a", "<bos>a<eos>",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nhi<|eot_id|>", "<unused0><unused1>", "<unused10>",
    "<unused1", "<table>a</table>", "[CLS] a [SEP]", "[MASK]ed", "<tool_call>\n{}\n</tool_call>",
    "<think>\n\n</think>\n\n", "<0x0A>", "<0x41>", "<0xFF>", "<|IM_START|>", "<|im_start|", "|im_start|>",
    "<|im_<|im_end|>start|>", "▁", "▁▁", "▁a", "a▁b", " ▁ ", "▁▁▁ a", "a ▁▁b", "Ġ", "Ġa", "Ċ", "##a", "##ing", "</w>",
    "def f(x):\n    return x", "if (a && b) {\n\treturn;\n}", "    indented", "\tindented", "a = b;  // c", "x+=1",
    "a->b", "a::b", "#!/bin/sh", "http://example.com/a?b=c", "a@b.c", "a_b", "__init__", "camelCase", "snake_case",
    "SHOUTING_CASE", "...", "…", "?!", "!!!", "-----", "\"quoted\"", "“quoted”", "(a)", "[b]", "{c}", "a/b", "a\\b",
    "a|b", "`c`", "*d*", "~e~", "#f", "^g", "&amp;", "<br/>", "\x00", "\x01\x02", "a\x00b", "\x7f", "\x80", "\x9f",
    "a\x1bb", "\ud7ff", "\ue000", "\uf8ff", "\ufffd", "\ufffe", "\uffff", "\U00010000", "\U0010ffff", "\U000f0000",
    "\u200d", "\u200e\u200f", "\u202eabc\u202c", "\u2066a\u2069", "\ufe0f", "\u034f", "a\u0300\u0301\u0302\u0303",
    "\u0e33", "\u0fb2\u0f80", "\u1e9b\u0323", "\u2126", "\u212b", "\u0958", "\u2adc", "\uac00\u11a8", "\u0344",
    "\u1100\u1161", "aaaaaaaaaaaaaaaaaaaa", "                    ", "\n\n\n\n\n\n\n\n\n\n\n\n", "\t\t\t\t\t\t\t\t\t",
    "00000000000000000", "....................", "====================", "ababababababab", "          a",
    "a          ", "a          b", "a\n\n\n\n\n\n\nb", "a \n \n \n b",
]  # fmt: skip

BLOCKS = [
    (0x20, 0x7E), (0x20, 0x7E), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2AF), (0x2B0, 0x36F), (0x370, 0x3FF),
    (0x400, 0x52F), (0x531, 0x58F), (0x591, 0x5F4), (0x600, 0x6FF), (0x700, 0x74F), (0x780, 0x7B1), (0x900, 0x97F),
    (0x980, 0x9FE), (0xA01, 0xA76), (0xB82, 0xBFA), (0xC00, 0xC7F), (0xD00, 0xD7F), (0xE01, 0xE5B), (0xE81, 0xEDF),
    (0xF00, 0xFDA), (0x1000, 0x109F), (0x10A0, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x137C), (0x13A0, 0x13FD),
    (0x1780, 0x17F9), (0x1800, 0x18AA), (0x1E00, 0x1EFF), (0x1F00, 0x1FFE), (0x2000, 0x206F), (0x2070, 0x20BF),
    (0x2100, 0x218B), (0x2190, 0x23FF), (0x2460, 0x24FF), (0x2500, 0x27BF), (0x2C00, 0x2DFF), (0x2E80, 0x2FD5),
    (0x3000, 0x303F), (0x3041, 0x30FF), (0x3105, 0x318E), (0x3200, 0x33FF), (0x4E00, 0x9FFC), (0x4E00, 0x9FFC),
    (0xA640, 0xA69F), (0xA720, 0xA7CA), (0xAC00, 0xD7A3), (0xF900, 0xFAD9), (0xFB00, 0xFDFF), (0xFE20, 0xFEFC),
    (0xFF01, 0xFFEE), (0x10300, 0x1034A), (0x10400, 0x104FB), (0x12000, 0x12399), (0x1D400, 0x1D7FF),
    (0x1F100, 0x1F1FF), (0x1F300, 0x1F64F), (0x1F680, 0x1F6EC), (0x1F900, 0x1F9FF), (0x20000, 0x20080),
    (0xE000, 0xE010),
]  # fmt: skip
SPACES = " \t\n\r\x0b\x0c\x1c\x85\u00a0\u1680\u2000\u2003\u2009\u200a\u2028\u2029\u202f\u205f\u3000"
INVISIBLE = "\u00ad\u034f\u061c\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2061\u2066\u2069\ufe0e\ufe0f\ufeff"
MARKS = [
    chr(c)
    for c in (
        *range(0x300, 0x370),
        *range(0x64B, 0x656),
        *range(0x5B0, 0x5BD),
        0x93C,
        0x94D,
        0x3099,
        0x309A,
        0x20D0,
        0xFE20,
    )
]
SUFFIXES = [
    "'s",
    "'t",
    "'re",
    "'ve",
    "'m",
    "'ll",
    "'d",
    "'S",
    "'T",
    "'RE",
    "'Ve",
    "'M",
    "'lL",
    "'D",
    "’s",
    "'x",
    "'",
    "''",
]
PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~¡¿«»“”‘’…–—、。，！？「」·•§†"
SKINS = [chr(c) for c in range(0x1F3FB, 0x1F400)]
PEOPLE = "👍👋👏🙏💪👶👧🧒👦👩🧑👨👵🧓👴👮🕵💂👷🤴👸"
THINGS = ["🚀", "⚕️", "🌾", "🍳", "🎓", "🎤", "🏫", "🏭", "💻", "💼", "🔧", "🔬", "🎨", "🚒", "✈️", "⚖️"]


class Source:
    """Random pieces of text. Every kind of string below is a method without arguments."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.words = sorted({word for line in LINES for word in line.split()})

    def pick(self, options):
        return options[int(self.random.random() * len(options))]

    def number(self, low, high):
        return low + int(self.random.random() * (high - low + 1))

    def character(self, block=None):
        while True:
            low, high = block or self.pick(BLOCKS)
            character = chr(self.number(low, high))
            known = unicodedata.ucd_3_2_0 if unicodedata.combining(character) else unicodedata
            if known.category(character) != "Cn":
                return character

    def some(self, make, low, high, joint=""):
        return joint.join(make() for _ in range(self.number(low, high)))

    def word(self):
        return self.pick(self.words)

    def space(self):
        return self.pick(SPACES) if self.random.random() < 0.4 else self.pick([" ", " ", "  ", "\n", "\t"])

    def special(self):
        return self.pick(SPECIAL)

    # The kinds.

    def sentence(self):
        return self.some(self.word, 2, 9, " ")

    def piece_of_line(self):
        line = self.pick(LINES)
        start = self.number(0, max(0, len(line) - 2))
        return line[start : start + self.number(1, 40)]

    def script(self):
        block = self.pick(BLOCKS)
        return self.some(lambda: self.some(lambda: self.character(block), 1, 6), 1, 4, " ")

    def any_characters(self):
        return self.some(self.character, 1, 14)

    def marked(self):
        return self.some(lambda: self.character() + self.some(lambda: self.pick(MARKS), 0, 3), 1, 7)

    def composed(self):
        form = self.pick(["NFC", "NFD", "NFKC", "NFKD"])
        return unicodedata.normalize(form, self.pick([self.sentence, self.script, self.marked])())

    def spaced(self):
        return self.some(lambda: self.some(self.space, 0, 5) + self.word(), 1, 4) + self.some(self.space, 0, 4)

    def only_spaces(self):
        return self.some(self.space, 1, 12)

    def run(self):
        character = self.pick([self.character(), self.pick(" \n\t\r.-=_#*0aA/<|"), self.pick("é中😀▁")])
        around = self.pick(["", "a", " ", "\n", "1"])
        return around + character * self.number(2, 70) + self.pick(["", around, "b", " b"])

    def digits(self):
        digit = self.pick(["0123456789"] * 6 + ["٠١٢٣٤٥٦٧٨٩", "०१२३४५६७८९", "０１２３４５６７８９", "²³¹½¼①②Ⅷ〇一"])
        return self.some(
            lambda: self.some(lambda: self.pick(digit), 1, 9), 1, 3, self.pick(["", " ", ".", ",", "-", ":", "  ", "a"])
        )

    def contraction(self):
        return self.some(
            lambda: self.word() + self.pick(SUFFIXES) + self.pick(["", " ", "s", " a"]), 1, 3, self.pick(["", " "])
        )

    def emoji(self):
        person = lambda: (
            self.pick(PEOPLE) + self.pick(["", self.pick(SKINS)]) + self.pick(["", "\u200d" + self.pick(THINGS)])
        )
        flag = lambda: "".join(chr(self.number(0x1F1E6, 0x1F1FF)) for _ in range(2))
        other = lambda: self.character((0x1F300, 0x1F64F)) + self.pick(["", "\ufe0f", "\ufe0e"])
        return self.some(lambda: self.pick([person, flag, other])() + self.pick(["", "", " ", "a"]), 1, 5)

    def punctuation(self):
        return self.some(
            lambda: self.some(lambda: self.pick(PUNCTUATION), 1, 5) + self.pick(["", " ", "\n", self.word()]), 1, 4
        )

    def right_to_left(self):
        words = [word for word in self.words if any(0x590 <= ord(c) <= 0x6FF for c in word)]
        return self.some(
            lambda: self.pick([self.pick(words), self.word(), self.pick(INVISIBLE)]), 2, 7, self.pick(["", " "])
        )

    def invisible(self):
        return self.some(lambda: self.pick([self.word(), self.pick(INVISIBLE), " "]), 2, 8)

    def control(self):
        return self.some(
            lambda: self.pick([chr(self.number(0, 31)), chr(self.number(127, 159)), self.pick("ab ")]), 1, 8
        )

    def odd_characters(self):
        odd = [
            "\ud7ff",
            "\ue000",
            "\uf8ff",
            "\ufdd0",
            "\ufffd",
            "\ufffe",
            "\uffff",
            "\U00010000",
            "\U0001ffff",
            "\U000f0001",
            "\U0010fffd",
            "\U0010ffff",
        ]
        return self.some(lambda: self.pick([self.pick(odd), self.pick(odd), self.word(), " "]), 1, 6)

    def latin_bytes(self):
        return bytes(self.number(0, 255) for _ in range(self.number(1, 24))).decode("latin-1")

    def broken_text(self):
        return self.sentence().encode()[: self.number(3, 40)].decode("latin-1")

    def code(self):
        return self.some(
            lambda: self.pick(["", "    ", "\t", "        "]) + self.pick(CODE), 1, 2, self.pick(["\n", "\r\n", "\n\n"])
        )

    def specials(self):
        between = lambda: self.pick(
            ["", "", " ", "  ", "\n", "\u3000", "\u00a0", "\x1c", "a", " a", "a ", self.word(), " \n", "▁"]
        )
        return between() + self.some(lambda: self.special() + between(), 1, 4)

    def broken_specials(self):
        token = self.special()
        at = self.number(0, len(token))
        return self.pick(
            [
                token[:at],
                token[at:],
                token[:at] + " " + token[at:],
                token[:at] + self.special() + token[at:],
                token.upper(),
                token * 3,
            ]
        )

    def chat(self):
        begin, end = self.pick(
            [
                ("<|im_start|>", "<|im_end|>\n"),
                ("[INST] ", " [/INST]"),
                ("<|user|>\n", "<|end|>\n"),
                ("<start_of_turn>", "<end_of_turn>\n"),
                ("<|start_header_id|>", "<|eot_id|>"),
                ("<s>[INST] ", " [/INST] ok </s>"),
            ]
        )
        return self.some(
            lambda: begin + self.pick(["user\n", "", "assistant\n", "\n"]) + self.some(self.word, 1, 4, " ") + end, 1, 2
        )

    def underlines(self):
        return self.some(
            lambda: self.pick(["▁", "▁▁", " ", "  ", "a", self.word(), "\n", "Ġ", "Ċ", "<0x0A>", "<0xE2>"]), 1, 7
        )

    def mixed(self):
        kinds = [self.word, self.word, self.character, self.space, self.special, self.digits, self.emoji]
        return self.some(lambda: self.pick(kinds)(), 2, 7)


KINDS = """sentence piece_of_line script any_characters marked composed spaced only_spaces run digits contraction emoji punctuation
right_to_left invisible control odd_characters latin_bytes broken_text code specials broken_specials chat underlines mixed""".split()


def strings():
    source = Source("tokenizers")
    found = dict.fromkeys(EDGES)
    assert len(found) == len(EDGES), [text for text in EDGES if EDGES.count(text) > 1]
    assert len(found) >= FIRST, len(found)
    while len(found) < COUNT:
        for kind in KINDS:
            text = getattr(source, kind)()
            if len(text.encode()) <= 160:
                found[text] = None
    return list(found)[:COUNT]
