"""Compares the fixture models with llama.cpp: that model.gguf is laid out and named as llama.cpp reads it.

    pip install xllamacpp==2026.10.11549
    python tools/parity/text/check_gguf.py

Not part of make.py. llama.cpp rounds activations to the format of the matrices, so each model is written once more with
f32 matrices into a temporary folder; the tensors of model.gguf itself are read back and compared with the folder's.
"""

import json
import pathlib
import sys
import tempfile

sys.dont_write_bytecode = True

import gguf
import torch
import transformers
import xllamacpp
from safetensors.torch import load_file

import gguf_file
import models
from common import DATA

# llama.cpp has Phi-3's window switched off, and a table in f16 for GELU.
IGNORED = {"phi3": {"sliding_window": None}}
TOLERANCE = {"gemma3": 0.02, "gemma3-caps": 0.005}


def llama_cpp(path, ids):
    """The logarithms of the probabilities of the token after `ids`."""
    f32 = xllamacpp.ggml_type.GGML_TYPE_F32
    params = xllamacpp.CommonParams()
    params.model.path = str(path)
    params.n_ctx = 128
    params.n_parallel = params.cpuparams.n_threads = 1
    params.cache_type_k = params.cache_type_v = f32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    params.warmup = False
    params.verbosity = -1
    # The bias makes it choose an ASCII letter, for which it reports; what it reports is without the bias.
    request = {
        "prompt": ids.tolist(),
        "n_predict": 1,
        "n_probs": models.vocabulary.SIZE,
        "temperature": 0.0,
        "cache_prompt": False,
        "logit_bias": [[models.vocabulary.TOKENS.index("a"), 1000.0]],
    }
    reply = xllamacpp.Server(params).handle_completions(request)
    reply = json.loads(reply) if isinstance(reply, str) else reply
    found = torch.full([models.vocabulary.SIZE], float("nan"))
    for entry in reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"]:
        found[entry["id"]] = entry["logprob"]
    return found


def main():
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    worst = 0.0
    for name, entry in models.MODELS.items():
        if not entry["gguf"]:
            continue
        folder = DATA / "models" / name
        config = models.full_config(name)
        state = dict(models.load(folder).named_parameters())
        stored = {}
        for tensor in gguf.GGUFReader(folder / "model.gguf").tensors:
            values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            stored[tensor.name] = torch.from_numpy(values.reshape(tuple(reversed(tensor.shape.tolist()))).copy())
        wanted = dict(gguf_file.tensors(config, state))
        assert stored.keys() == wanted.keys()
        assert all(torch.equal(stored[key], wanted[key]) for key in wanted), name
        recorded = load_file(folder / "expected.safetensors")
        model = models.load(folder, entry.get("gguf_says") or IGNORED.get(name))
        with tempfile.TemporaryDirectory() as temporary:
            path = pathlib.Path(temporary) / "model.gguf"
            gguf_file.write(path, name, config, state, "F32")
            for key in ("prompt", "long_prompt"):
                ours = models.logits(model, recorded[key])[-1].log_softmax(-1)
                difference = float((llama_cpp(path, recorded[key]) - ours).abs().max())
                print(f"{name} {key}: {difference:.6f}", flush=True)
                if not difference <= TOLERANCE.get(name, 1e-3):
                    sys.exit("differs")
                worst = max(worst, difference)
    print(f"all agree, to {worst:.6f} at worst")


main()
