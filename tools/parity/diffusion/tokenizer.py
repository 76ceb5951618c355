"""Token ids of about 300 varied strings, under the tiny vocabulary and under CLIP's real one.

The real vocabulary comes out of the package open_clip_torch, which holds OpenAI's file; only ids are recorded.
"""

import gzip
import importlib.util
import pathlib
import sys

from transformers import CLIPTokenizer

import vocabulary
from common import fresh_folder, write_cases

PLAIN = """a
cat
a photo of a cat
A Photo Of A CAT
aPhotoOfACat
A portrait of a woman, highly detailed, sharp focus, 8k
masterpiece, best quality, ultra-detailed, absurdres
RAW photo, (high detailed skin:1.2), 8k uhd, dslr, soft lighting
an astronaut riding a horse on mars, artstation, hd, dramatic lighting
lowres, bad anatomy, bad hands, text, error, missing fingers
supercalifragilisticexpialidocious antidisestablishmentarianism
the quick brown fox jumps over the lazy dog
xyzzy qwrtp zzzz aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa
it's
it's don't we've they're i'm she'd we'll
IT'S DON'T WE'VE THEY'RE I'M SHE'D WE'LL
It’s don’t we’ve
rock 'n' roll
'twas the night
'sup 'tis 'dare 'malt 'rest 'vest 'llama
cats' dogs' the '90s
o'clock o'neill l'été d'accord
'' ' 's 't 're 've 'm 'll 'd
a's!s 's's's
!'s "'t ('ll)
hello!
hello! cat!
hello!world
! !! !!! ! !
a!
!a
wow!!! amazing!?!
what?! no...
... …
, . ; : - _
a,b;c:d.e
a-b a--b a—b a–b
a_b __init__ snake_case
user@example.com
https://example.com/a/b?c=d&e=f#g
C++ C# F# .NET
(a) [b] {c} <d>
((a)) [[b]]
\\(a\\) \\[b\\]
a\\b a/b a|b
#hashtag @mention $100 100% 5° ^ ~ `
`code` "quoted" «guillemets» “curly” ‘single’
*bold* **bold** ~strike~
=== --- +++ *** ///
:-) :( ;) :D xD ^_^ ¯\\_(ツ)_/¯
<3 </3 <- -> => ≠ ≤ ≥
a+b=c 2*3=6 7/8 1.5e-3
1 12 123 1234567890
2024 1920s 80's 3rd 21st
3.14159 1,000,000 -5 +7
4k 8K 16:9 f/1.8 35mm 1080p
0x1F 0b10 1e10
I II III IV Ⅷ ⅷ
½ ¼ ⅓ ² ³ ₁ ① ⑳ ❶
٠١٢٣ ०१२३ ０１２３ 一二三 〇
no.1 #1 №5
a1b2c3 abc123def
v1.5 sd2.1 sdxl1.0
&amp; &lt;b&gt; &quot;x&quot; &#39; &nbsp; &eacute;
AT&T R&B &
<b>bold</b> <br/> <lora:name:0.8>
<|startoftext|>
<|endoftext|>
a <|startoftext|> b
a<|endoftext|>b
<|endoftext|> a <|endoftext|>
<|ENDOFTEXT|> <|StartOfText|>
<| endoftext |> <|endoftext <endoftext>
</w> a</w> cat</w>
<unk> [CLS] [PAD] [MASK]
café
naïve façade jalapeño über straße
ÀÉÎÕÜ ÇÑ ŠŽ ŁØ ĐÞ
STRASSE Straße GROẞ
İstanbul ISTANBUL ı I i
ΟΔΟΣ Όδυσσεύς Σίσυφος ΣΑΣ
ПРИВЕТ мир Ёлка йогурт
Ǆ ǅ ǆ Ŀ ŉ
ﬁ ﬂ ﬀ œ æ Æ ĳ
ＦＵＬＬ ｗｉｄｔｈ ｶﾅ
日本語 日本 語
吾輩は猫である。名前はまだ無い。
東京タワー、夜景、高解像度
你好，世界！
一只可爱的猫，大师之作
한국어 고양이 사진
안녕하세요
สวัสดีชาวโลก แมว
नमस्ते दुनिया बिल्ली
مرحبا بالعالم قطة
שלום עולם חתול
გამარჯობა ბარეӀ Բարեւ
ᏣᎳᎩ ꮳꮃꭹ
ᄒ ᅡ ᆫ
Việt Nam con mèo đẹp
Zażółć gęślą jaźń
příliš žluťoučký kůň
mañana ñandú señor
fjörður þú æ
🙂
🙂🙂 🙂 🙂
a🙂b 🙂cat cat🙂
🚀🌕✨ to the moon
👍🏽 👩‍🚀 👨‍👩‍👧‍👦
🇩🇪 🇯🇵🇺🇸
❤️ ❤ ☺️ ☺
1️⃣ #️⃣ *️⃣
🏴󠁧󠁢󠁥󠁮󠁧󠁿 🫠 🪿
♥ ★ ☆ ♪ ♫ ✓ ✗ → ⇒ ∞ ∑ √
© ® ™ § ¶ † ‡ • ·
€ £ ¥ ₿ ¢ ฿
𝓯𝓪𝓷𝓬𝔂 𝔉𝔯𝔞𝔨𝔱𝔲𝔯 𝕒 𝟙𝟚𝟛
Z̷a̷l̷g̷o̷ ḩ̴e̶
ʰʲʷ ˈsaʊnd ə
𒀀 𓀀 𐍈 𠮷
""".strip("\n").split("\n")

SPACES = [
    "", " ", "  ", "   a", "a   ", " a b  c   d ", "a\tb", "a\nb", "a\r\nb", "\n", "\t\t", "a\x0bb\x0cc",
    "a\u00a0b", "a\u2003b\u2009c", "a\u3000b", "a\u200bb", "a\u200db", "a\ufeffb", "\ufeffa", "a\u2028b\u2029c",
    "a\u0085b", "a\u1680b", "a\u180eb", "a\u202fb\u205fc", "a\u00adb", "a\u2060b", "a , b", "a ,b", "a( b )c",
]
CONTROLS = [
    "a\x00b", "\x00", "\x01\x02\x03", "a\x07b", "a\x1bb", "a\x1c\x1d\x1e\x1fb", "a\x7fb", "a\x80\x81b", "a\u200eb\u200f",
    "\u202ea\u202c", "a\ufffdb", "a\ufffeb", "\ue000", "\U0010ffff", "\u0301", "\u200d", "\ufe0f",
]
COMPOSED = [
    "e\u0301", "\u00e9", "cafe\u0301", "a\u030a \u00c5 \u212b", "n\u0303and\u00fa", "\u1100\u1161\u11a8", "o\u0308\u0304",
    "o\u0304\u0308", "\u1e9b\u0323", "\u2126 \u03a9", "\u0344", "s\u0323\u0307 s\u0307\u0323", "\u0958", "\u2adc", "\uf900",
]
BYTES = [chr(code) for code in (*range(0x21, 0x7F), *range(0xA1, 0x100, 5))]


def strings():
    found = [text.replace("\\\\", "\\") for text in PLAIN] + SPACES + CONTROLS + COMPOSED + BYTES
    found += [f"{mark}{mark}cat{mark} {mark}" for mark in "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"]
    found += ["a " * 80, "photo" * 30, "cat, " * 40, "é" * 20, "🙂" * 12, "!" * 90]
    return list(dict.fromkeys(found))


def real_vocabulary():
    """CLIP's: the file lists merges only; ids follow from their order."""
    package = importlib.util.find_spec("open_clip")
    if package is None:
        sys.exit("the real vocabulary is missing: pip install --no-deps open_clip_torch==3.3.0")
    path = pathlib.Path(package.submodule_search_locations[0]) / "bpe_simple_vocab_16e6.txt.gz"
    lines = gzip.decompress(path.read_bytes()).decode().split("\n")
    merges = [tuple(line.split()) for line in lines[1 : 49152 - 256 - 2 + 1]]
    letters = list(vocabulary.byte_characters().values())
    tokens = letters + [f"{letter}</w>" for letter in letters] + [a + b for a, b in merges]
    tokens += [vocabulary.START, vocabulary.END]
    assert len(tokens) == len(set(tokens)) == 49408
    return {token: i for i, token in enumerate(tokens)}, merges


NOTE = {
    "ids": "of the text without start and end; nothing is cut",
    "padding": "ids_pad_end: the pad token is the end token (1.x, XL's first). ids_pad_exclamation, where that differs: "
    "the pad token is '!' (2.x, XL's second), which makes every '!' in a text the id 0, apart from its neighbours",
}


def record(folder, name, make):
    usual, exclamation = make(vocabulary.END), make("!")
    cases = []
    for text in strings():
        case = {"text": text, "ids_pad_end": usual(text, add_special_tokens=False).input_ids}
        other = exclamation(text, add_special_tokens=False).input_ids
        if other != case["ids_pad_end"]:
            case["ids_pad_exclamation"] = other
        cases.append(case)
    write_cases(folder / f"{name}.json", NOTE, cases)


def tokenizer():
    folder = fresh_folder("tokenizer")
    record(folder, "tiny", vocabulary.tokenizer)
    vocab, merges = real_vocabulary()
    record(folder, "real", lambda pad: CLIPTokenizer(vocab=vocab, merges=merges, pad_token=pad, model_max_length=77))
