"""Greedy tokens of SmolLM2-135M-Instruct by Hugging Face transformers in f32: what emc-inference must reproduce.

Writes worker/inference/tests/data/smollm2_greedy.json. To run it anew:

    python3 -m venv /tmp/hf
    /tmp/hf/bin/pip install torch==2.11.0 transformers==5.23.0 tokenizers==0.23.3 gguf==0.19.0 accelerate==1.15.0 \
        numpy==2.4.6
    cargo xtask setup
    /tmp/hf/bin/python tools/parity/smollm2_greedy.py

transformers reads the GGUF file itself (it expands the weights to f32), so both sides start from the same numbers. Its
GGUF tokenizer, however, ignores the pre-tokenizer that the file names, so the prompt's ids come from a tokenizer built
here from the file's own lists, with SmolLM's published pre-tokenizer (digits one by one, then GPT-2's pattern).
"""

import hashlib
import json
import pathlib
import sys

import gguf
import tokenizers
import torch
import transformers
from tokenizers import models, pre_tokenizers

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
MODEL = REPOSITORY / ".emc/models/SmolLM2-135M-Instruct/SmolLM2-135M-Instruct.Q4_1.gguf"
OUTPUT = REPOSITORY / "worker/inference/tests/data/smollm2_greedy.json"
NEW_TOKENS = 128
CONTROL = 3

ARTICLE = """The lighthouse at Cape Varrow was built in 1871, after 23 ships had been lost on the reef within 10 years.
Its tower is 41.5 metres high and stands on granite that was carried from the mainland by barge, block by block. The
first keeper, Élise Moreau, kept a diary for 36 years; it is now in the museum of the town. She wrote down the weather
every morning, the ships that passed, and what her children said. In the winter of 1894 the supply boat could not land
for 67 days, and the family lived on fish, potatoes and seabirds' eggs. "We are not hungry," she wrote, "but we are
tired of one another's stories."

The lamp burned whale oil at first, then kerosene, and since 1932 it has been electric. The lens, made in Paris, weighs
2,300 kg and floats in a bath of mercury, so that a child can turn it with one finger. It could be seen 19 nautical
miles away. In 1988 the light was made automatic and the last keeper left the island. Volunteers paint the tower every
5 years, look after the garden, and show visitors the way up the 198 steps. Last summer 12,450 people came; many of
them had read the diary, which was translated into 日本語 and español, and a film about it won a prize in Tromsø 🎬.

The reef is now a marine reserve. Divers have found the remains of 14 of the 23 ships, among them the schooner
"Perpetua" with its cargo of 6,000 blue plates, hardly one of them broken. The plates stay where they are: it is
forbidden to take anything from the wrecks, and the octopuses that live between them seem to like the shelter."""

CASES = {
    "a question": [
        {"role": "user", "content": "Explain in three sentences why the sky is blue, then list five colours of the rainbow."},
    ],
    "a follow-up with history": [
        {"role": "system", "content": "You are a patient teacher of physics. Answer in plain words."},
        {"role": "user", "content": "What is heat?"},
        {"role": "assistant", "content": "Heat is energy that moves from a warmer thing to a colder one."},
        {"role": "user", "content": "And why does metal feel colder than wood in the same room?"},
    ],
    "a long prompt": [
        {"role": "user", "content": "Read the text below and summarise it in a short paragraph.\n\n" + ARTICLE},
    ],
    "code and whitespace": [
        {"role": "user", "content": "Explain this program:\n\n```python\ndef f(n):\n    if n < 2:\n        return n\n    return f(n-1) + f(n-2)\n\n\nprint([f(i) for i in range(12)])\n```"},
    ],
    "a long answer": [
        {"role": "user", "content": "Tell me a long story about an old fisherman, his granddaughter and the sea."},
    ],
    "an answer that ends by itself": [
        {"role": "user", "content": "What is the capital of France? Answer with one short sentence."},
    ],
}


def file_tokenizer(fields):
    """The tokenizer that the file describes, by Hugging Face's own library."""
    tokens = fields["tokenizer.ggml.tokens"].contents()
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"].contents()]
    types = fields["tokenizer.ggml.token_type"].contents()
    assert fields["tokenizer.ggml.pre"].contents() == "smollm"
    tokenizer = tokenizers.Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens([token for token, kind in zip(tokens, types) if kind == CONTROL])
    return tokenizer


def greedy(model, prompt, stops):
    """The ids chosen, the first step's logits, and the smallest lead that a chosen token had over the second best."""
    ids, lead, first = [], float("inf"), None
    with torch.inference_mode():
        output = model(torch.tensor([prompt]), use_cache=True)
        while True:
            logits = output.logits[0, -1]
            first = logits if first is None else first
            best = logits.topk(2).values
            lead = min(lead, (best[0] - best[1]).item())
            ids.append(int(logits.argmax()))
            if ids[-1] in stops or len(ids) == NEW_TOKENS:
                return ids, first, lead
            output = model(torch.tensor([ids[-1:]]), past_key_values=output.past_key_values, use_cache=True)


def main():
    fields = gguf.GGUFReader(MODEL).fields
    tokenizer = file_tokenizer(fields)
    template = transformers.AutoTokenizer.from_pretrained(MODEL.parent, gguf_file=MODEL.name)
    template.chat_template = fields["tokenizer.chat_template"].contents()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        MODEL.parent, gguf_file=MODEL.name, dtype=torch.float32
    ).eval()
    stops = {int(fields["tokenizer.ggml.eos_token_id"].contents())}
    cases = []
    for name, messages in CASES.items():
        text = template.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        prompt = tokenizer.encode(text, add_special_tokens=False).ids
        ids, first, lead = greedy(model, prompt, stops)
        top = first.topk(10)
        cases.append(
            {
                "name": name,
                "messages": messages,
                "rendered": text,
                "prompt_ids": prompt,
                "greedy_ids": ids,
                "text": tokenizer.decode(ids, skip_special_tokens=True),
                "first_top_logits": [[int(i), round(v, 6)] for i, v in zip(top.indices.tolist(), top.values.tolist())],
                "smallest_lead": round(lead, 6),
            }
        )
        print(f"{name}: {len(prompt)} + {len(ids)} tokens, smallest lead {lead:.4f}", file=sys.stderr)
    OUTPUT.parent.mkdir(parents=True, exist_ok=True)
    made_with = {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "tokenizers": tokenizers.__version__,
        "model_sha256": hashlib.sha256(MODEL.read_bytes()).hexdigest(),
    }
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    OUTPUT.write_text(f'{{"made_with": {json.dumps(made_with)},\n"cases": [\n{lines}\n]}}\n', encoding="utf-8")


main()
