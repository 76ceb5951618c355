"""A tiny BERT with random weights, as a folder of sentence-transformers, and the embeddings of some texts.

Computed with transformers alone, by sentence-transformers' definitions: the text stripped, tokens cut to max_seq_length
with [CLS] and [SEP] counted in, the mean over all tokens that are no padding, and division by the length.
"""

import json

import torch
import transformers
from tokenizers import Tokenizer

from common import fresh_folder, half_exact, normal, write_cases, write_json, write_tensors

MAX_TOKENS = 32
CONFIG = {
    "architectures": ["BertModel"],
    "attention_probs_dropout_prob": 0.1,
    "classifier_dropout": None,
    "gradient_checkpointing": False,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "hidden_size": 32,
    "initializer_range": 0.02,
    "intermediate_size": 96,
    "layer_norm_eps": 1e-12,
    "max_position_embeddings": 64,
    "model_type": "bert",
    "num_attention_heads": 4,
    "num_hidden_layers": 3,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "transformers_version": "4.8.2",
    "type_vocab_size": 2,
    "use_cache": True,
    "vocab_size": 300,
}
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = """
the a an and or not but is are was were be been it its this that these those there here what which who when where why how
to of in on at by for with from into over under between about after before he she we they you i his her our their your my
one two three four five six seven eight nine ten day night morning year sea ship rock light house lamp wind storm book
keeper answer question write writes read stand stands burn burns land good new old great small long first last other
cafe naive resume stop really know believe under stand water fire man woman child children city world time work word
""".split()
PIECES = "s ed ing er ers est ly able ness ment tion house keeper ing ings stand standing believ ment un mis".split()
CHARACTERS = "日本語中文"


def vocabulary():
    tokens = SPECIAL + [chr(code) for code in range(33, 127) if not chr(code).isupper()]
    tokens += ["##" + character for character in LETTERS + "0123456789"] + list(CHARACTERS)
    tokens += WORDS + ["un", "mis"] + ["##" + piece for piece in PIECES]
    tokens = list(dict.fromkeys(tokens))
    assert len(tokens) <= CONFIG["vocab_size"], len(tokens)
    return tokens + [f"[unused{i}]" for i in range(CONFIG["vocab_size"] - len(tokens))]


TEXTS = [
    "",
    "a",
    "the lighthouse",
    "The LightHouse Keeper!",
    "Café, naïve: RÉSUMÉ ÀÉÎÕÜ ñ",
    "日本語 and 中文字",
    "What is the answer to this question?",
    "unbelievable misunderstandings",
    "The keeper writes in the book every morning what the wind was, and which ships went by in the night; there was a "
    "storm, and the boat could not land for 7 days.",
    "  two   spaces\tand\nlines, zero\u200bwidth, soft\u00adhyphen, nu\u0000ll  ",
    "🙂 ☃ Ω [CLS] [MASK] " + "x" * 101 + " end",
    "don't stop: it's 42% (really) 3.14...",
]
WHOLE = [3, 8]  # the texts whose every token's embedding is recorded


def write_tokenizer(folder):
    tokens = vocabulary()
    ids = {token: i for i, token in enumerate(tokens)}
    added = {
        token: {"content": token, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
        | {"special": True}
        for token in SPECIAL
    }
    first, last = ({"SpecialToken": {"id": token, "type_id": 0}} for token in ("[CLS]", "[SEP]"))
    tokenizer = {
        "version": "1.0",
        # As in all-MiniLM-L6-v2's file, and no more to be followed than there: sentence-transformers sets its own.
        "truncation": {"max_length": 16, "strategy": "LongestFirst", "stride": 0},
        "padding": {
            "strategy": {"Fixed": 16},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        },
        "added_tokens": [{"id": ids[token]} | added[token] for token in SPECIAL],
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": True,
            "handle_chinese_chars": True,
            "strip_accents": None,
            "lowercase": True,
        },
        "pre_tokenizer": {"type": "BertPreTokenizer"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [first, {"Sequence": {"id": "A", "type_id": 0}}, last],
            "pair": [
                first,
                {"Sequence": {"id": "A", "type_id": 0}},
                last,
                {"Sequence": {"id": "B", "type_id": 1}},
                {"SpecialToken": {"id": "[SEP]", "type_id": 1}},
            ],
            "special_tokens": {
                token: {"id": token, "ids": [ids[token]], "tokens": [token]} for token in ("[CLS]", "[SEP]")
            },
        },
        "decoder": {"type": "WordPiece", "prefix": "##", "cleanup": True},
        "model": {
            "type": "WordPiece",
            "unk_token": "[UNK]",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": ids,
        },
    }
    content = json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":"))
    (folder / "tokenizer.json").write_text(content + "\n", encoding="utf-8")
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    named = {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]"}
    named |= {"mask_token": "[MASK]"}
    write_json(folder / "special_tokens_map.json", named)
    own = {"do_lower_case": True, "tokenize_chinese_chars": True, "strip_accents": None, "model_max_length": 64}
    write_json(folder / "tokenizer_config.json", own | named | {"tokenizer_class": "BertTokenizer"})


def write_modules(folder):
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize")]
    modules = [
        {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for i, (path, kind) in enumerate(kinds)
    ]
    write_json(folder / "modules.json", modules)
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": MAX_TOKENS, "do_lower_case": False})
    write_json(
        folder / "1_Pooling/config.json",
        {
            "word_embedding_dimension": CONFIG["hidden_size"],
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": True,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
        },
    )


def weight(name, shape):
    drawn = normal(f"bert.{name}", *shape)
    if name.endswith("LayerNorm.weight"):
        return half_exact(1 + 0.2 * drawn)
    if name.endswith("bias"):
        return half_exact(0.2 * drawn)
    if "embeddings" in name:
        return half_exact(0.5 * drawn)
    return half_exact(drawn * (1.3 / shape[-1] ** 0.5))


def make():
    folder = fresh_folder("bert")
    write_json(folder / "config.json", CONFIG)
    write_tokenizer(folder)
    write_modules(folder)
    skeleton = transformers.BertModel(transformers.BertConfig.from_dict(CONFIG))
    state = {name: weight(name, tensor.shape) for name, tensor in skeleton.named_parameters()}
    # Older checkpoints hold this buffer too.
    positions = {"embeddings.position_ids": torch.arange(CONFIG["max_position_embeddings"])[None]}
    write_tensors(folder / "model.safetensors", positions | state)

    model = transformers.BertModel.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.named_parameters())
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(
        [text.strip() for text in TEXTS],
        padding=True,
        truncation="longest_first",
        max_length=MAX_TOKENS,
        return_tensors="pt",
    )
    alone = Tokenizer.from_file(str(folder / "tokenizer.json"))
    alone.no_padding()
    alone.enable_truncation(MAX_TOKENS)
    together = model(**batch).last_hidden_state

    means, firsts, tensors, cases = [], [], {}, []
    for i, text in enumerate(TEXTS):
        ids = batch["input_ids"][i, : int(batch["attention_mask"][i].sum())]
        assert ids.tolist() == alone.encode(text.strip()).ids
        tokens = model(input_ids=ids[None]).last_hidden_state[0]
        assert (tokens - together[i, : len(ids)]).abs().max() < 1e-5, "padding shows"
        means.append(tokens.mean(0))
        firsts.append(tokens[0])
        whole = len(tokenizer(text.strip(), padding=False, truncation=False)["input_ids"])
        cases.append({"text": text, "ids": ids.tolist(), "tokens": tokenizer.convert_ids_to_tokens(ids.tolist())})
        if whole > len(ids):
            cases[-1]["without_limit"] = whole
        if i in WHOLE:
            tensors[f"tokens.{i}"] = tokens
    assert any("without_limit" in case for case in cases)
    tensors["mean"], tensors["cls"] = torch.stack(means), torch.stack(firsts)
    for name in ("mean", "cls"):
        tensors[f"{name}_normalised"] = torch.nn.functional.normalize(tensors[name], dim=-1)
    write_tensors(folder / "expected.safetensors", tensors)
    notes = {
        "mean, cls": "[12, 32] f32: for each text the mean of its tokens' embeddings ([CLS] and [SEP] among them), and "
        "the embedding of [CLS]; mean is what 1_Pooling asks for",
        "mean_normalised, cls_normalised": "the same divided by max(length, 1e-12), as 2_Normalize does",
        "tokens.<i>": f"[tokens, 32] f32: every token's embedding, of the texts {WHOLE}",
        "without_limit": f"how many tokens the text has without the limit of {MAX_TOKENS}",
    }
    write_cases(folder / "cases.json", {"notes": notes}, cases)
