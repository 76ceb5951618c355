"""The tokenizers of the fixtures: files as published models of each family have them, over tiny vocabularies.

Each function at the end writes tokenizer.json and tokenizer_config.json into a folder and, but for bert, vocabulary.gguf:
the same tokenizer as llama.cpp's convert_hf_to_gguf.py writes it.
"""

import collections
import io
import json
import logging

import gguf
import sentencepiece
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from transformers.convert_slow_tokenizer import generate_merges

from common import write_json
from tokenizer_text import LINES

LLAMA3_SPLIT = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2_SPLIT = LLAMA3_SPLIT.replace("{1,3}", "")
logging.getLogger("gguf").setLevel(logging.ERROR)  # it warns of post-processors with a token between two texts

NO_LIMIT = 1000000000000000019884624838656  # what model_max_length says when there is none

# ---- files


def added(token, token_id, special=True, **flags):
    usual = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    return {"id": token_id, "content": token} | usual | flags | {"special": special}


def as_config(token):
    """A token as tokenizer_config.json has it."""
    names = ("content", "lstrip", "normalized", "rstrip", "single_word", "special")
    return {name: token[name] for name in names}


def template(first=None, last=None, ids=None):
    """The post-processor that puts tokens around a text."""
    piece = lambda kind, name, which: {kind: {"id": name, "type_id": which}}
    around = lambda letter, which: (
        ([piece("SpecialToken", first, which)] if first else [])
        + [piece("Sequence", letter, which)]
        + ([piece("SpecialToken", last, which)] if last else [])
    )
    pair = around("A", 0) + around("B", 1)
    if last:  # BERT's: no second [CLS]
        pair = around("A", 0) + around("B", 1)[1:]
    special = {name: {"id": name, "ids": [ids[name]], "tokens": [name]} for name in (first, last) if name}
    return {"type": "TemplateProcessing", "single": around("A", 0), "pair": pair, "special_tokens": special}


def byte_level(add_prefix_space=False, trim_offsets=True, use_regex=True):
    flags = {"add_prefix_space": add_prefix_space, "trim_offsets": trim_offsets, "use_regex": use_regex}
    return {"type": "ByteLevel"} | flags


def sequence(kind, *parts):
    return {"type": "Sequence", kind: list(parts)}


def bpe(vocab, merges, lists, **settings):
    usual = {
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
    }
    merges = [list(pair) if lists else " ".join(pair) for pair in merges]
    return {"type": "BPE"} | usual | settings | {"vocab": vocab, "merges": merges}


def save(folder, tokens, normalizer, pre_tokenizer, post_processor, decoder, model, config):
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": sorted(tokens, key=lambda token: token["id"]),
        "normalizer": normalizer,
        "pre_tokenizer": pre_tokenizer,
        "post_processor": post_processor,
        "decoder": decoder,
        "model": model,
    }
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    Tokenizer.from_str(text)
    (folder / "tokenizer.json").write_text(text + "\n", encoding="utf-8")
    write_json(folder / "tokenizer_config.json", dict(sorted(config.items())))


def decoder_of(tokens):
    return {str(token["id"]): as_config(token) for token in tokens}


# ---- GGUF


def looks_special(token):
    """Tokens that the conversion makes control tokens although their file does not call them special."""
    return (
        token in ("<pad>", "<mask>", "<2mass>", "[@BOS@]")
        or (token.startswith("<|") and token.endswith("|>"))
        or (token.startswith("<unused") and token.endswith(">"))
    )


def write_gguf(folder, architecture, name, model, pre, tokens, types, scores=None, **settings):
    """A file with metadata only. Which special ids and flags it holds, gguf.SpecialVocab reads from the folder."""
    path = folder / "vocabulary.gguf"
    writer = gguf.GGUFWriter(path, architecture)
    writer.add_type("model")
    writer.add_name(name)
    writer.add_vocab_size(len(tokens))
    if "space_prefix_first" in settings:
        writer.add_add_space_prefix(settings["space_prefix_first"])
    writer.add_tokenizer_model(model)
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(tokens)
    if scores:
        writer.add_token_scores(scores)
    writer.add_token_types(types)
    special = gguf.SpecialVocab(folder, load_merges=model == "gpt2", n_vocab=len(tokens))
    special.add_to_gguf(writer, quiet=True)
    if "space_prefix" in settings:
        writer.add_add_space_prefix(settings["space_prefix"])
    if "bos" in settings:
        writer.add_add_bos_token(settings["bos"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    path.chmod(0o644)


def bpe_gguf(folder, architecture, name, pre, **settings):
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    tokens, types = [], []
    for token_id, token in sorted((token_id, token) for token, token_id in tokenizer.get_vocab().items()):
        assert token_id == len(tokens), token
        kind = gguf.TokenType.NORMAL
        if flags := tokenizer.added_tokens_decoder.get(token_id):
            kind = gguf.TokenType.CONTROL if flags.special or looks_special(token) else gguf.TokenType.USER_DEFINED
        tokens.append(token)
        types.append(kind)
    write_gguf(folder, architecture, name, "gpt2", pre, tokens, types, **settings)


def piece_gguf(folder, architecture, name, pieces, tokens, **settings):
    """`tokens` are the added ones: those beyond the SentencePiece model, and those whose type and score change."""
    types = {1: gguf.TokenType.NORMAL, 2: gguf.TokenType.UNKNOWN, 3: gguf.TokenType.CONTROL, 4: gguf.TokenType.NORMAL}
    types[6] = gguf.TokenType.BYTE
    rows = [[piece.piece, types[piece.type], piece.score] for piece in pieces]
    for token in sorted(tokens, key=lambda token: token["id"]):
        text, kind = token["content"], gguf.TokenType.CONTROL
        # Phi 3's conversion is a copy without these two lines.
        if architecture != "phi3" and not token["special"] and not looks_special(text):
            text = text.replace("▁", " ")
        if not token["special"] and (architecture == "phi3" or not looks_special(text)):
            kind = gguf.TokenType.USER_DEFINED
        assert token["id"] <= len(rows), text
        rows[token["id"] : token["id"] + 1] = [[text, kind, -1000.0]]
    texts, kinds, scores = map(list, zip(*rows))
    write_gguf(folder, architecture, name, "llama", "default", texts, kinds, scores, **settings)


# ---- vocabularies


def byte_vocabulary(pre_tokenizer, size, first=(), normalizer=None):
    """Byte-level BPE: token to id, and the merges."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer:
        tokenizer.normalizer = normalizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=list(first), show_progress=False
    )
    tokenizer.train_from_iterator([line + "\n" for line in LINES] * 2, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    merges = [tuple(merge) for merge in model["merges"]]
    return model["vocab"], merges


def word_pieces(size):
    """BERT's vocabulary: characters at the start of words and within them, then what the commonest neighbours make.

    The library's trainer for it takes equally common neighbours in an order of chance; here it is the alphabet's.
    """
    normalizer, split = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    words = collections.Counter(
        word for line in LINES for word, _ in split.pre_tokenize_str(normalizer.normalize_str(line))
    )
    spelt = {word: [word[0]] + ["##" + letter for letter in word[1:]] for word in words}
    letters = collections.Counter(letter for word in words for letter in spelt[word] * words[word])
    pieces = sorted(letter for letter, count in letters.items() if count > 1)
    while len(pieces) < size:
        pairs = collections.Counter()
        for word, parts in spelt.items():
            for pair in zip(parts, parts[1:]):
                pairs[pair] += words[word]
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        joined = best[0] + best[1].removeprefix("##")
        pieces.append(joined)
        for word, parts in spelt.items():
            i = 0
            while i + 1 < len(parts):
                if (parts[i], parts[i + 1]) == best:
                    parts[i : i + 2] = [joined]
                i += 1
    return list(dict.fromkeys(pieces))


def split_by(regex):
    split = pre_tokenizers.Split(Regex(regex), "isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def split_json(regex):
    split = {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated", "invert": False}
    return sequence("pretokenizers", split, byte_level(use_regex=False))


def sentencepieces(size, **settings):
    """A SentencePiece BPE model trained as Llama's and Gemma's were; its pieces."""
    usual = {
        "model_type": "bpe",
        "vocab_size": size,
        "character_coverage": 0.985,
        "byte_fallback": True,
        "split_digits": True,
        "allow_whitespace_only_pieces": True,
        "normalization_rule_name": "identity",
        "remove_extra_whitespaces": False,
        "num_threads": 1,
        "minloglevel": 2,
    }
    file = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter([line for line in LINES for _ in range(2)]), model_writer=file, **(usual | settings)
    )
    model = sentencepiece_model_pb2.ModelProto.FromString(file.getvalue())
    assert model.normalizer_spec.precompiled_charsmap == b""
    return model.pieces, file.getvalue()


def piece_model(pieces, lists, tab=False, unknown="<unk>"):
    """The pieces as a BPE model with the merges that transformers' conversion finds: all splits, best score first."""
    names = ["\t" if tab and piece.piece == "<0x09>" else piece.piece for piece in pieces]
    vocab = {name: i for i, name in enumerate(names)}
    assert len(vocab) == len(pieces)
    merges = generate_merges(vocab, {name: piece.score for name, piece in zip(names, pieces)})
    return bpe(vocab, merges, lists, unk_token=unknown, fuse_unk=True, byte_fallback=True)


def llama_decoder(strip):
    parts = [
        {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
        {"type": "ByteFallback"},
        {"type": "Fuse"},
    ]
    if strip:
        parts.append({"type": "Strip", "content": " ", "start": 1, "stop": 0})
    return sequence("decoders", *parts)


LLAMA_NORMALIZER = sequence(
    "normalizers",
    {"type": "Prepend", "prepend": "▁"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
)
LLAMA_SPECIAL = {"<unk>": 0, "<s>": 1, "</s>": 2}
LLAMA_CONFIG = {
    "add_eos_token": False,
    "bos_token": "<s>",
    "clean_up_tokenization_spaces": False,
    "legacy": False,
    "sp_model_kwargs": {},
    "tokenizer_class": "LlamaTokenizer",
    "unk_token": "<unk>",
}

# ---- families. Each returns the SentencePiece model, where the family comes from one: the cases check against it.


def llama2(folder):
    pieces, model = sentencepieces(1400)
    tokens = [added(name, token_id) for name, token_id in LLAMA_SPECIAL.items()]
    names = ("unk_token", "bos_token", "eos_token")
    written = {name: {"__type": "AddedToken"} | as_config(token) for name, token in zip(names, tokens)}
    for token in written.values():
        del token["special"]
    config = LLAMA_CONFIG | written | {"add_bos_token": True, "pad_token": None, "model_max_length": NO_LIMIT}
    post = template("<s>", ids=LLAMA_SPECIAL)
    save(folder, tokens, LLAMA_NORMALIZER, None, post, llama_decoder(True), piece_model(pieces, False), config)
    piece_gguf(folder, "llama", "LLaMA v2", pieces, [])
    return model


def mistral(folder):
    names = "[INST] [/INST] [TOOL_CALLS] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS]".split()
    names += [f"[control_{i}]" for i in range(8, 24)]
    pieces, model = sentencepieces(1424, control_symbols=names)
    ids = LLAMA_SPECIAL | {name: i for i, name in enumerate(names, 3)}
    tokens = [added(name, token_id) for name, token_id in ids.items()]
    config = LLAMA_CONFIG | {
        "add_bos_token": True,
        "add_prefix_space": True,
        "added_tokens_decoder": decoder_of(tokens),
        "eos_token": "</s>",
        "model_max_length": NO_LIMIT,
        "pad_token": None,
        "use_default_system_prompt": False,
    }
    pre = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first", "split": False}
    model_json = piece_model(pieces, True)
    save(folder, tokens, None, pre, template("<s>", ids=ids), llama_decoder(True), model_json, config)
    piece_gguf(folder, "llama", "Mistral 7B Instruct v0.3", pieces, tokens, space_prefix_first=True)
    return model


def phi3(folder):
    pieces, model = sentencepieces(1400)
    names = "<|endoftext|> <|assistant|> <|placeholder1|> <|placeholder2|> <|placeholder3|> <|placeholder4|> <|system|> <|end|>"
    names = [*names.split(), "<|placeholder5|>", "<|placeholder6|>", "<|user|>"]
    tokens = [added("<unk>", 0), added("<s>", 1), added("</s>", 2, special=False, rstrip=True)]
    tokens += [added(name, i, rstrip=name != "<|endoftext|>") for i, name in enumerate(names, len(pieces))]
    config = LLAMA_CONFIG | {
        "add_bos_token": False,
        "added_tokens_decoder": decoder_of(tokens),
        "eos_token": "<|endoftext|>",
        "model_max_length": 4096,
        "pad_token": "<|endoftext|>",
        "padding_side": "left",
        "use_default_system_prompt": False,
    }
    model_json = piece_model(pieces, False)
    save(folder, tokens, LLAMA_NORMALIZER, None, template(), llama_decoder(True), model_json, config)
    piece_gguf(folder, "phi3", "Phi-3 Mini 4k Instruct", pieces, tokens)
    return model


def gemma3(folder):
    special = ["<pad>", "<eos>", "<bos>", "<unk>"]
    user = ["<mask>", "[multimodal]"]
    user += [f"<unused{i}>" for i in range(99)] + ["<start_of_turn>", "<end_of_turn>"]
    user += ["\n" * count for count in range(1, 32)] + ["▁" * count for count in range(2, 32)]
    user += [
        f"<{slash}{tag}>"
        for slash in ("", "/")
        for tag in ("table", "caption", "tr", "td", "h1", "h2", "b", "i", "code")
    ]
    pieces, model = sentencepieces(
        1500,
        add_dummy_prefix=False,
        pad_id=0,
        eos_id=1,
        bos_id=2,
        unk_id=3,
        eos_piece="<eos>",
        bos_piece="<bos>",
        user_defined_symbols=user,
    )
    ids = {piece.piece: i for i, piece in enumerate(pieces)}
    turns = ("<start_of_turn>", "<end_of_turn>")
    tokens = [added(name, ids[name], special=name in special or name in turns) for name in special + user]
    config = {
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": decoder_of(tokens),
        "bos_token": "<bos>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<eos>",
        "model_max_length": NO_LIMIT,
        "pad_token": "<pad>",
        "sp_model_kwargs": None,
        "spaces_between_special_tokens": False,
        "tokenizer_class": "GemmaTokenizer",
        "unk_token": "<unk>",
        "use_default_system_prompt": False,
    }
    save(
        folder,
        tokens,
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
        {"type": "Split", "pattern": {"String": " "}, "behavior": "MergedWithPrevious", "invert": False},
        template("<bos>", ids=ids),
        llama_decoder(False),
        piece_model(pieces, True, tab=True),
        config,
    )
    piece_gguf(folder, "gemma3", "Gemma 3 1b It", pieces, tokens, space_prefix=False)
    return model


def llama3(folder):
    vocab, merges = byte_vocabulary(split_by(LLAMA3_SPLIT), 1200)
    # Llama 3's vocabulary has tokens that its merges do not lead to; they are found only as whole words (ignore_merges).
    merges = [pair for i, pair in enumerate(merges) if i % 12 != 7]
    names = "<|begin_of_text|> <|end_of_text|> <|reserved_special_token_0|> <|reserved_special_token_1|>"
    names += " <|finetune_right_pad_id|> <|reserved_special_token_2|> <|start_header_id|> <|end_header_id|> <|eom_id|>"
    names = [*names.split(), "<|eot_id|>", "<|python_tag|>"]
    names += [f"<|reserved_special_token_{i}|>" for i in range(3, 24)]
    tokens = [added(name, i) for i, name in enumerate(names, len(vocab))]
    ids = {token["content"]: token["id"] for token in tokens}
    config = {
        "added_tokens_decoder": decoder_of(tokens),
        "bos_token": "<|begin_of_text|>",
        "clean_up_tokenization_spaces": True,
        "eos_token": "<|eot_id|>",
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 131072,
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    post = sequence("processors", byte_level(True, False), template("<|begin_of_text|>", ids=ids))
    model = bpe(vocab, merges, False, ignore_merges=True)
    save(folder, tokens, None, split_json(LLAMA3_SPLIT), post, byte_level(True, True), model, config)
    bpe_gguf(folder, "llama", "Llama 3.2 1B Instruct", "llama-bpe")


def qwen2(folder):
    vocab, merges = byte_vocabulary(split_by(QWEN2_SPLIT), 1200, normalizer=normalizers.NFC())
    special = "<|endoftext|> <|im_start|> <|im_end|> <|object_ref_start|> <|object_ref_end|> <|box_start|> <|box_end|>"
    special += " <|quad_start|> <|quad_end|> <|vision_start|> <|vision_end|> <|vision_pad|> <|image_pad|> <|video_pad|>"
    plain = (
        "<tool_call> </tool_call> <|fim_prefix|> <|fim_middle|> <|fim_suffix|> <|fim_pad|> <|repo_name|> <|file_sep|>"
    )
    plain += " <tool_response> </tool_response> <think> </think>"
    names = special.split() + plain.split()
    tokens = [added(name, i, special=name in special.split()) for i, name in enumerate(names, len(vocab))]
    config = {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": decoder_of(tokens),
        "additional_special_tokens": special.split()[1:],
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "errors": "replace",
        "model_max_length": 131072,
        "pad_token": "<|endoftext|>",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
    model = bpe(vocab, merges, False, continuing_subword_prefix="", end_of_word_suffix="")
    plain_bytes = byte_level(False, False, False)
    save(folder, tokens, {"type": "NFC"}, split_json(QWEN2_SPLIT), plain_bytes, plain_bytes, model, config)
    bpe_gguf(folder, "qwen3", "Qwen3 0.6B", "qwen2")


def smollm2(folder):
    names = (
        "<|endoftext|> <|im_start|> <|im_end|> <repo_name> <reponame> <file_sep> <filename> <gh_stars> <issue_start>"
    )
    names += " <issue_comment> <issue_closed> <jupyter_start> <jupyter_text> <jupyter_code> <jupyter_output>"
    names = [*names.split(), "<jupyter_script>", "<empty_output>"]
    digits = pre_tokenizers.Digits(individual_digits=True)
    pre = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
    vocab, merges = byte_vocabulary(pre, 1200, first=names)
    tokens = [added(name, i) for i, name in enumerate(names)]
    config = {
        "add_prefix_space": False,
        "added_tokens_decoder": decoder_of(tokens),
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
        "bos_token": "<|im_start|>",
        "clean_up_tokenization_spaces": False,
        "eos_token": "<|im_end|>",
        "model_max_length": 8192,
        "pad_token": "<|im_end|>",
        "tokenizer_class": "GPT2Tokenizer",
        "unk_token": "<|endoftext|>",
        "vocab_size": len(vocab),
    }
    pre = sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, byte_level())
    save(folder, tokens, None, pre, None, byte_level(True, True), bpe(vocab, merges, True), config)
    bpe_gguf(folder, "llama", "SmolLM2 135M Instruct", "smollm", space_prefix_first=False, bos=False)


def gpt2(folder):
    vocab, merges = byte_vocabulary(pre_tokenizers.ByteLevel(add_prefix_space=False), 1200)
    vocab["<|endoftext|>"] = len(vocab)
    tokens = [added("<|endoftext|>", vocab["<|endoftext|>"])]
    end = {"bos_token": "<|endoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    config = end | {"add_prefix_space": False, "model_max_length": 1024, "tokenizer_class": "GPT2Tokenizer"}
    model = bpe(vocab, merges, False, continuing_subword_prefix="", end_of_word_suffix="")
    save(folder, tokens, None, byte_level(), byte_level(True, False), byte_level(), model, config)
    bpe_gguf(folder, "gpt2", "Gpt2", "gpt-2")


def bert(folder):
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    vocab = {piece: i for i, piece in enumerate(special + word_pieces(1500 - len(special)))}
    tokens = [added(name, i) for i, name in enumerate(special)]
    config = {
        "added_tokens_decoder": decoder_of(tokens),
        "clean_up_tokenization_spaces": True,
        "cls_token": "[CLS]",
        "do_lower_case": True,
        "mask_token": "[MASK]",
        "model_max_length": 512,
        "pad_token": "[PAD]",
        "sep_token": "[SEP]",
        "strip_accents": None,
        "tokenize_chinese_chars": True,
        "tokenizer_class": "BertTokenizer",
        "unk_token": "[UNK]",
    }
    normalizer = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
    model = {"unk_token": "[UNK]", "continuing_subword_prefix": "##", "max_input_chars_per_word": 100, "vocab": vocab}
    save(
        folder,
        tokens,
        {"type": "BertNormalizer"} | normalizer,
        {"type": "BertPreTokenizer"},
        template("[CLS]", "[SEP]", vocab),
        {"type": "WordPiece", "prefix": "##", "cleanup": True},
        {"type": "WordPiece"} | model,
        config,
    )


FAMILIES = {
    "llama2": llama2,
    "mistral": mistral,
    "phi3": phi3,
    "gemma3": gemma3,
    "llama3": llama3,
    "qwen2": qwen2,
    "smollm2": smollm2,
    "gpt2": gpt2,
    "bert": bert,
}
