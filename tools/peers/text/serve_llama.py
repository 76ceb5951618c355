"""llama.cpp in its best configuration, asked line by line: a peer of `cargo xtask bench llm`.

    python tools/peers/text/serve_llama.py MODEL.gguf --threads N [--flash-attn on|off] [--unified]

What is asked and answered is in README.md beside this file. llama_decode is called as llama.cpp's own benchmark does;
nothing of the Python package's sampling is in what is timed.
"""

import argparse
import ctypes
import json
import pathlib
import sys
import time

import llama_cpp
import numpy

BATCH = 512


def prompt(vocab, tokens):
    return [i * 7919 % vocab for i in range(tokens)]


def peak_memory():
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return None


@llama_cpp.llama_log_callback
def quiet(_level, _text, _data):
    pass


class Context:
    """Room for some sequences of some tokens each."""

    def __init__(self, engine, sequences, tokens):
        self.sequences, self.tokens, self.vocab = sequences, -(-tokens // 256) * 256, engine.vocab
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = self.sequences * self.tokens
        params.n_seq_max = sequences
        params.n_batch = params.n_ubatch = BATCH
        params.n_threads = params.n_threads_batch = engine.threads
        params.flash_attn_type = engine.flash_attn
        params.kv_unified = engine.unified
        params.no_perf = True
        self.context = llama_cpp.llama_init_from_model(engine.model, params)
        assert self.context, "no context"
        self.batch = llama_cpp.llama_batch_init(BATCH, 0, 1)

    def close(self):
        llama_cpp.llama_batch_free(self.batch)
        llama_cpp.llama_free(self.context)

    def clear(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def put(self, entries):
        """Fills the batch with (token, position, sequence, whether its logits are wanted)."""
        batch = self.batch
        batch.n_tokens = len(entries)
        for i, (token, position, sequence, wanted) in enumerate(entries):
            batch.token[i], batch.pos[i], batch.logits[i] = token, position, wanted
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence

    def decode(self):
        code = llama_cpp.llama_decode(self.context, self.batch)
        assert code == 0, f"llama_decode: {code}"

    def logits(self, i):
        """Those of the batch's entry i, where llama.cpp has them."""
        return numpy.ctypeslib.as_array(llama_cpp.llama_get_logits_ith(self.context, i), (self.vocab,))

    def best(self, i):
        return int(self.logits(i).argmax())

    def read(self, ids, sequences=1):
        """The best token of each sequence after `ids`, and the seconds that llama_decode took."""
        entries = [(id, i, s, i + 1 == len(ids)) for s in range(sequences) for i, id in enumerate(ids)]
        found, seconds = [], 0.0
        for start in range(0, len(entries), BATCH):
            part = entries[start : start + BATCH]
            self.put(part)
            begin = time.perf_counter()
            self.decode()
            found += [self.best(i) for i, entry in enumerate(part) if entry[3]]
            seconds += time.perf_counter() - begin
        return found, seconds


class Engine:
    def __init__(self, path, threads, flash_attn, unified):
        self.threads, self.flash_attn, self.unified = threads, flash_attn, unified
        params = llama_cpp.llama_model_default_params()
        params.load_mode = llama_cpp.LLAMA_LOAD_MODE_MMAP
        self.model = llama_cpp.llama_model_load_from_file(path.encode(), params)
        assert self.model, f"{path} cannot be loaded"
        self.vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(self.model))
        self.contexts = {}

    def context(self, sequences, tokens):
        """An empty context, one that is there already if it is large enough."""
        context = self.contexts.get(sequences)
        if context is None or context.tokens < tokens:
            if context:
                context.close()
            context = self.contexts[sequences] = Context(self, sequences, tokens)
        context.clear()
        return context

    def prefill(self, tokens):
        _, seconds = self.context(1, tokens).read(prompt(self.vocab, tokens))
        return {"seconds": seconds}

    def decode(self, prompt_tokens, tokens, sequences=1):
        context = self.context(sequences, prompt_tokens + tokens)
        ids, _ = context.read(prompt(self.vocab, prompt_tokens), sequences)
        moments = [time.perf_counter()]
        for position in range(prompt_tokens, prompt_tokens + tokens):
            context.put([(id, position, s, True) for s, id in enumerate(ids)])
            context.decode()
            ids = [context.best(i) for i in range(sequences)]
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


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--flash-attn", choices=["on", "off"], default="on")
    parser.add_argument("--unified", action="store_true", help="one key-value buffer for all sequences")
    arguments = parser.parse_args()
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    flash_attn = {
        "on": llama_cpp.LLAMA_FLASH_ATTN_TYPE_ENABLED,
        "off": llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED,
    }[arguments.flash_attn]
    begin = time.perf_counter()
    engine = Engine(arguments.model, arguments.threads, flash_attn, arguments.unified)
    engine.prefill(1)
    load = time.perf_counter() - begin
    flags = {
        "flash_attn": arguments.flash_attn,
        "kv_unified": engine.unified,
        "n_batch": BATCH,
        "n_ubatch": BATCH,
        "n_threads": engine.threads,
        "n_threads_batch": engine.threads,
        "mmap": True,
        "cpu": llama_cpp.llama_print_system_info().decode().strip(),
    }
    ready = {"name": "llama.cpp", "version": f"llama-cpp-python {llama_cpp.__version__}", "flags": flags}
    print(json.dumps(ready | {"load_seconds": load}), flush=True)
    known = set()
    for line in sys.stdin:
        if line not in known:
            # The first time of a shape prepares what later ones find ready.
            known.add(line)
            engine.answer(json.loads(line))
        print(json.dumps(engine.answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
