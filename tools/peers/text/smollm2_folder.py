"""Makes a Hugging Face folder in bf16 of the SmolLM2-135M-Instruct that the repository has as GGUF.

    python tools/peers/text/smollm2_folder.py FOLDER

For transformers to be timed with: no registry has the published folder. The weights are the GGUF's, expanded to f32 by
transformers and rounded to bf16. The tokenizer is made of the file's own lists with SmolLM's published pre-tokenizer,
because transformers ignores the one that a GGUF file names.
"""

import json
import pathlib
import shutil
import sys

import gguf
import tokenizers
import torch
import transformers
from tokenizers import models, pre_tokenizers

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
MODEL = REPOSITORY / ".emc/models/SmolLM2-135M-Instruct/SmolLM2-135M-Instruct.Q4_1.gguf"
CONTROL = 3


def read_fields(path):
    return {name: field.contents() for name, field in gguf.GGUFReader(path).fields.items()}


def file_tokenizer(fields):
    """The tokenizer that the file describes, by Hugging Face's own library."""
    tokens = fields["tokenizer.ggml.tokens"]
    merges = [tuple(merge.split(" ", 1)) for merge in fields["tokenizer.ggml.merges"]]
    types = fields["tokenizer.ggml.token_type"]
    assert fields["tokenizer.ggml.pre"] == "smollm"
    tokenizer = tokenizers.Tokenizer(models.BPE({token: i for i, token in enumerate(tokens)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    tokenizer.add_special_tokens([token for token, kind in zip(tokens, types, strict=True) if kind == CONTROL])
    return tokenizer


def main(folder):
    transformers.logging.disable_progress_bar()
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    fields = read_fields(MODEL)
    ids = {f"{name}_token_id": fields[f"tokenizer.ggml.{name}_token_id"] for name in ("bos", "eos")}
    model = transformers.AutoModelForCausalLM.from_pretrained(
        MODEL.parent,
        gguf_file=MODEL.name,
        dtype=torch.float32,
        quantization_config=transformers.GgufConfig(dequantize=True),
    )
    model = model.to(torch.bfloat16)
    model.config.dtype = torch.bfloat16
    model.generation_config = transformers.GenerationConfig(**ids)
    model.save_pretrained(unfinished)
    file_tokenizer(fields).save(str(unfinished / "tokenizer.json"))
    tokens = fields["tokenizer.ggml.tokens"]
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": tokens[ids["bos_token_id"]],
        "eos_token": tokens[ids["eos_token_id"]],
        "chat_template": fields["tokenizer.chat_template"],
    }
    (unfinished / "tokenizer_config.json").write_text(json.dumps(settings, indent=2) + "\n")
    shutil.rmtree(folder, ignore_errors=True)
    unfinished.rename(folder)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve())
