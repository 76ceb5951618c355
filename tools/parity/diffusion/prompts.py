"""Prompt weights and long prompts: how prompts are parsed, cut into chunks, and what embeddings come out."""

import torch

import pipelines
from common import fresh_folder, write_cases, write_tensors
from prompt_parser import BREAK, parse

PARSED = [
    "",
    " ",
    "normal text",
    "a cat, a dog",
    "an (important) word",
    "an [unimportant] word",
    "((very important)) word",
    "[[hardly]] there",
    "[[[a]]] ((((b))))",
    "(red fox:1.3) in the snow",
    "(red fox:0.5)",
    "(red fox: 1.3 )",
    "(a:1)",
    "(a:1.)",
    "(a:.5)",
    "(a:+2)",
    "(a:-0.3)",
    "(a:0)",
    "(a:1e2)",
    "(a:1.2.3)",
    "(a:)",
    "(a:b)",
    "(a:b:1.4)",
    "a:1.3",
    "a:1.3)",
    "[a:1.3]",
    "[(a:1.3)]",
    "[from:to:0.5]",
    "(unnecessary)(parens)",
    "(a) (b)",
    "(a)b(c)",
    "(a:1.2)(b:1.2)",
    "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
    "(a (b (c (d:2)))) e",
    "(unbalanced",
    "unbalanced)",
    "[unbalanced",
    "unbalanced]",
    "((a)",
    "(a))",
    "([a)b]",
    "[(a]b)",
    "()",
    "[]",
    "()a",
    "(:1.3)",
    "(())",
    r"\(literal\)",
    r"\[literal\]",
    r"(literal\)",
    r"\(a:1.3\)",
    r"(a \(b\):1.3)",
    r"\\(a)",
    r"\\\(a)",
    r"a \ b \n c",
    "a\\",
    "a BREAK b",
    "a  BREAK  b",
    "BREAK",
    "BREAK a",
    "a BREAK",
    "a BREAK BREAK b",
    "(a BREAK b:1.3)",
    "(a) BREAK [b]",
    "(a)BREAK(b)",
    "break BREAKFAST aBREAK a,BREAK,b",
    "a AND b",
    "(日本語:1.2), (café) [🙂]",
    "a\n(b\nc:1.1)\td",
    "50:50 (16:9:1.2)",
    "smile :) (smile ;))",
    "((a:1.1):1.1) (a:1.21)",
]

CASTLE = (
    "a castle by the sea at sunset, mountains and a river in the morning light, highly detailed, sharp focus, best "
    "quality masterpiece, a small house in the forest with a garden of flowers and a bird on the roof, a man walking in "
    "the rain, a city at night with neon lights, a ship on the ocean, a glass of water on a wooden table"
)
EMBEDDED = {
    "plain": "a photo of a red fox in the snow",
    "weighted": "a photo of a (red fox:1.3) in the [snow], ((sharp focus))",
    "lowered": "a (red:0.2) (fox:-0.5) in the snow",
    "split_word": "a photo(graph) of cas(tle:1.4)s",
    "escaped": r"a fox \(red\), (sketch \[ink\]:1.2)",
    "long": f"{CASTLE}, portrait of a woman with a hat",
    "long_weighted": f"(({CASTLE})), (portrait of a woman with a hat:1.3), [watermark]",
    "break": "a photo of a cat BREAK (a painting of a dog:1.2)",
    "break_first": "BREAK a photo of a cat",
    "exactly_75": " ".join(["a"] * 75),
    "one_more_than_75": " ".join(["a"] * 75) + " cat",
    "empty": "",
}
# Also with one and two layers left out.
SKIPPED = (EMBEDDED["weighted"], EMBEDDED["long_weighted"])

NOTES = {
    "parsed": "(text, weight) pairs of each prompt; a null text is BREAK",
    "chunks": "Each text is made tokens by itself. They fill chunks of 75; BREAK ends the chunk it is in, even an empty "
    "one; after the last one a chunk begins only for a token. A chunk is start, its tokens, end, then the pad token up to "
    "77. <case>.ids and <case>.weights have a row for each chunk; what is not of a text weighs 1",
    "embeddings": "Each chunk goes through the encoder alone. Then z' = z * weight for each token (weights rounded to "
    "f32), then z' * mean(z) / mean(z') with the means over the whole chunk, and the chunks are put in a row: "
    "<case>.last, and of some with one or two layers less <case>.skip1 and skip2 (1.x and 2.x, after the final norm). A chunk "
    "whose weights are all 1 stays as it is",
    "sdxl": "<case>.context: both encoders' hidden states before the last layer, each weighted by itself, side by side. "
    "<case>.pooled: of the first chunk's unweighted pass",
    "pair": "prompt and negative prompt of different length: chunks of the empty prompt are added to the shorter one",
    "compel": "for comparison only, not what EMC does: compel's embedding of 'a photo of a (red fox)1.3 in the snow', "
    "which moves each token from the empty prompt's embedding: empty + 1.3 * (z - empty)",
}


def chunks(tokenizer, prompt):
    """Rows of 77 ids and of 77 weights."""
    ids, weights = [[]], [[]]
    for text, weight in parse(prompt):
        if text is BREAK:
            ids.append([])
            weights.append([])
            continue
        for token in tokenizer(text, add_special_tokens=False).input_ids:
            if len(ids[-1]) == 75:
                ids.append([])
                weights.append([])
            ids[-1].append(token)
            weights[-1].append(weight)
    if len(ids) > 1 and not ids[-1]:
        ids.pop()
        weights.pop()
    start, end, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
    rows = [[start, *row, end, *[pad] * (75 - len(row))] for row in ids]
    weighed = [[1.0, *row, *[1.0] * (76 - len(row))] for row in weights]
    return torch.tensor(rows), torch.tensor(weighed, dtype=torch.float32)


def weigh(z, weights):
    """One chunk's embedding [77, width] with its tokens' weights."""
    if bool((weights == 1).all()):
        return z
    changed = z * weights.unsqueeze(-1)
    factor = z.mean() / changed.mean()
    assert 0.3 < float(factor) < 3, factor
    return changed * factor


def in_a_row(hidden, weights):
    return torch.cat([weigh(z, w) for z, w in zip(hidden, weights)]).unsqueeze(0)


def one_encoder(parts, prompt, least=1):
    """Ids, weights and the three embeddings; at least that many chunks."""
    ids, weights = chunks(parts["tokenizer"], prompt)
    while len(ids) < least:
        more_ids, more_weights = chunks(parts["tokenizer"], "")
        ids, weights = torch.cat([ids, more_ids]), torch.cat([weights, more_weights])
    model = parts["text_encoder"]
    hidden = [model(row.unsqueeze(0), output_hidden_states=True).hidden_states for row in ids]
    found = {"ids": ids, "weights": weights}
    skips = {"last": 0, "skip1": 1, "skip2": 2} if prompt in SKIPPED else {"last": 0}
    for name, skip in skips.items():
        each = [model.final_layer_norm(states[-(skip + 1)])[0] for states in hidden]
        found[name] = in_a_row(each, weights)
    return found


def two_encoders(parts, prompt):
    found, rows = {}, []
    for number, model, tokenizer in (("1", "text_encoder", "tokenizer"), ("2", "text_encoder_2", "tokenizer_2")):
        ids, weights = chunks(parts[tokenizer], prompt)
        found |= {f"ids{number}": ids, f"weights{number}": weights}
        outputs = [parts[model](row.unsqueeze(0), output_hidden_states=True) for row in ids]
        rows.append(in_a_row([output.hidden_states[-2][0] for output in outputs], weights))
    return found | {"context": torch.cat(rows, dim=-1), "pooled": outputs[0].text_embeds}


def compel_embedding(parts):
    from compel import Compel

    return Compel(tokenizer=parts["tokenizer"], text_encoder=parts["text_encoder"])(
        "a photo of a (red fox)1.3 in the snow"
    )


def prompts():
    folder, tensors, cases = fresh_folder("prompts"), {}, []
    for prompt in PARSED:
        cases.append({"prompt": prompt, "parsed": parse(prompt)})

    def keep(name, model, found, **more):
        tensors.update({f"{name}.{key}": value for key, value in found.items()})
        cases.append({"name": name, "model": model} | more)

    for name, prompt in EMBEDDED.items():
        keep(f"sd15.{name}", "sd15", one_encoder(pipelines.parts("sd15"), prompt), prompt=prompt)
    for name in ("weighted", "long_weighted"):
        prompt = EMBEDDED[name]
        keep(f"sd21.{name}", "sd21", one_encoder(pipelines.parts("sd21"), prompt), prompt=prompt)
        keep(f"sdxl.{name}", "sdxl", two_encoders(pipelines.parts("sdxl"), prompt), prompt=prompt)
    pair = {"prompt": EMBEDDED["long_weighted"], "negative_prompt": "(blurry:1.2), low quality"}
    long = one_encoder(pipelines.parts("sd15"), pair["prompt"])
    keep("sd15.pair.negative", "sd15", one_encoder(pipelines.parts("sd15"), pair["negative_prompt"], len(long["ids"])), **pair)
    tensors["compel"] = compel_embedding(pipelines.parts("sd15"))
    write_tensors(folder / "expected.safetensors", tensors)
    write_cases(folder / "cases.json", NOTES, cases)
