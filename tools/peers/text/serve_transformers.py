"""Hugging Face transformers in its best configuration, asked line by line: a peer of `cargo xtask bench llm`.

    python tools/peers/text/serve_transformers.py FOLDER --threads N --dtype bf16|f32 [--cache static|dynamic]

What is asked and answered is in README.md beside this file.
"""

import argparse
import json
import pathlib
import sys
import time

import torch
import transformers
from transformers import AutoModelForCausalLM, DynamicCache, StaticCache

KINDS = {"f32": torch.float32, "bf16": torch.bfloat16}


def prompt(vocab, tokens, sequences=1):
    return torch.tensor([[i * 7919 % vocab for i in range(tokens)]] * sequences)


def peak_memory():
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


class Engine:
    def __init__(self, folder, kind, static):
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=KINDS[kind], attn_implementation="sdpa").eval()
        self.vocab = self.model.config.vocab_size
        self.static = static

    def cache(self, room):
        config = self.model.config
        return StaticCache(config=config, max_cache_len=room) if self.static else DynamicCache(config=config)

    def step(self, ids, cache):
        """The best token of each sequence after `ids`."""
        logits = self.model(ids, past_key_values=cache, use_cache=True, logits_to_keep=1).logits
        return logits[:, -1].argmax(-1, keepdim=True)

    def prefill(self, tokens):
        ids, cache = prompt(self.vocab, tokens), self.cache(tokens)
        begin = time.perf_counter()
        self.step(ids, cache)
        return {"seconds": time.perf_counter() - begin}

    def decode(self, prompt_tokens, tokens, sequences=1):
        cache = self.cache(prompt_tokens + tokens)
        ids = self.step(prompt(self.vocab, prompt_tokens, sequences), cache)
        moments = [time.perf_counter()]
        for _ in range(tokens):
            ids = self.step(ids, cache)
            moments.append(time.perf_counter())
        steps = [after - before for before, after in zip(moments, moments[1:], strict=False)]
        return {"seconds": moments[-1] - moments[0], "fastest_step": min(steps)}

    def answer(self, asked):
        match asked["what"]:
            case "prefill":
                return self.prefill(asked["tokens"])
            case "decode":
                return self.decode(asked["prompt"], asked["tokens"])
            case "together":
                return self.decode(asked["prompt"], asked["tokens"], asked["sequences"])
            case "memory":
                return {"peak_bytes": peak_memory()}


@torch.inference_mode()
def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--dtype", choices=KINDS, required=True)
    parser.add_argument("--cache", choices=["static", "dynamic"], default="static")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    transformers.logging.disable_progress_bar()
    begin = time.perf_counter()
    engine = Engine(arguments.folder, arguments.dtype, arguments.cache == "static")
    engine.prefill(1)
    load = time.perf_counter() - begin
    flags = {
        "torch": torch.__version__,
        "dtype": arguments.dtype,
        "attention": engine.model.config._attn_implementation,
        "cache": arguments.cache,
        "threads": torch.get_num_threads(),
        "cpu": torch.backends.cpu.get_cpu_capability(),
    }
    ready = {"name": "transformers", "version": transformers.__version__, "flags": flags, "load_seconds": load}
    print(json.dumps(ready), flush=True)
    known = set()
    for line in sys.stdin:
        if line not in known:
            # The first time of a shape prepares what later ones find ready.
            known.add(line)
            engine.answer(json.loads(line))
        print(json.dumps(engine.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
