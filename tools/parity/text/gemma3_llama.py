"""Logits and greedy tokens of Gemma 3 270M by llama.cpp: what emc-inference must come near to.

    python tools/parity/text/gemma3_llama.py gemma-3-270m-q4_k_m.gguf [F32.gguf]

Writes worker/inference/tests/data/gemma3_llama.json. The packages are those of tools/peers/text/requirements.txt and
gguf==0.19.0; `cargo xtask setup --tests` brings the model to .emc/models/gemma-3-270m.

llama.cpp rounds activations to 8 bits where matrices are quantised, so each case is recorded twice: with the file as it
is ("quantised", approximate), and with every tensor of it expanded to f32 ("f32", the reference). The expanded file,
1.1 GB, is kept beside the other unless its place is given. Keys and values are f32 in both. What is left unlike plain
f32 is llama.cpp's GELU, which it looks up in a table of f16 numbers.
"""

import ctypes
import hashlib
import json
import pathlib
import sys

import gguf
import llama_cpp
import numpy

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
OUTPUT = REPOSITORY / "worker/inference/tests/data/gemma3_llama.json"
NEW_TOKENS, TOP, ROOM, THREADS = 48, 10, 256, 1
WRITTEN_BY_THE_WRITER = ("general.architecture", "general.file_type", "general.quantization_version")

TEXTS = {
    "a story": (
        "Once upon a time there was an old fisherman who lived by the sea with his granddaughter. Every morning"
    ),
    "a list": "The seven colours of the rainbow are:\n1. red\n2. orange\n3.",
    "code": "def fibonacci(n):\n    if n < 2:\n        return n\n    return",
}


@llama_cpp.llama_log_callback
def quiet(_level, _text, _data):
    pass


def expand(source, target):
    """A copy of a GGUF file with every tensor in f32."""
    reader = gguf.GGUFReader(source)
    unfinished = target.with_suffix(".unfinished")
    writer = gguf.GGUFWriter(unfinished, reader.fields["general.architecture"].contents())
    for name, field in reader.fields.items():
        if not name.startswith("GGUF.") and name not in WRITTEN_BY_THE_WRITER:
            element = field.types[-1] if len(field.types) > 1 else None
            writer.add_key_value(name, field.contents(), field.types[0], element)
    writer.add_file_type(gguf.LlamaFileType.ALL_F32)
    for tensor in reader.tensors:
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        writer.add_tensor(tensor.name, numpy.ascontiguousarray(values, dtype=numpy.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    unfinished.rename(target)


class Model:
    def __init__(self, path):
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        assert self.model, f"{path} cannot be loaded"
        self.vocabulary = llama_cpp.llama_model_get_vocab(self.model)
        self.size = llama_cpp.llama_vocab_n_tokens(self.vocabulary)
        params = llama_cpp.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = ROOM
        params.n_threads = params.n_threads_batch = THREADS
        params.type_k = params.type_v = llama_cpp.GGML_TYPE_F32
        params.flash_attn_type = llama_cpp.LLAMA_FLASH_ATTN_TYPE_DISABLED
        self.context = llama_cpp.llama_init_from_model(self.model, params)
        assert self.context, "no context"

    def encode(self, text):
        ids, data = (llama_cpp.llama_token * ROOM)(), text.encode()
        count = llama_cpp.llama_tokenize(self.vocabulary, data, len(data), ids, ROOM, True, False)
        assert 0 < count <= ROOM - NEW_TOKENS, count
        assert ids[0] == llama_cpp.llama_vocab_bos(self.vocabulary)
        return list(ids[:count])

    def decode(self, ids):
        piece = ctypes.create_string_buffer(256)
        parts = []
        for id in ids:
            count = llama_cpp.llama_token_to_piece(self.vocabulary, id, piece, len(piece), 0, True)
            assert count >= 0, id
            parts.append(piece.raw[:count])
        return b"".join(parts).decode(errors="replace")

    def clear(self):
        llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(self.context), True)

    def logits(self, ids):
        """Those after `ids`, which follow what has been read since clear()."""
        tokens = (llama_cpp.llama_token * len(ids))(*ids)
        code = llama_cpp.llama_decode(self.context, llama_cpp.llama_batch_get_one(tokens, len(ids)))
        assert code == 0, f"llama_decode: {code}"
        found = llama_cpp.llama_get_logits_ith(self.context, -1)
        return numpy.ctypeslib.as_array(found, (self.size,)).copy()

    def greedy(self, prompt):
        """Goes on after a token that ends a text, too."""
        self.clear()
        logits = first = self.logits(prompt)
        ids, leads = [], []
        while True:
            second, best = numpy.argpartition(logits, -2)[-2:]
            second, best = sorted((second, best), key=lambda id: (logits[id], -id))
            ids.append(int(best))
            leads.append(float(logits[best]) - float(logits[second]))
            if len(ids) == NEW_TOKENS:
                break
            logits = self.logits(ids[-1:])
        top = numpy.argsort(-first, kind="stable")[:TOP]
        return {
            "top_logits": [[int(id), round(float(first[id]), 6)] for id in top],
            "greedy_ids": ids,
            "leads": [round(lead, 6) for lead in leads],
            "text": self.decode(ids),
        }


def main(path, expanded):
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    if not expanded.exists():
        expand(path, expanded)
    models = {"quantised": Model(path), "f32": Model(expanded)}
    cases = []
    for name, text in TEXTS.items():
        prompt = models["quantised"].encode(text)
        assert prompt == models["f32"].encode(text)
        found = {kind: model.greedy(prompt) for kind, model in models.items()}
        cases.append({"name": name, "text": text, "prompt_ids": prompt} | found)
        ids = [case["greedy_ids"] for case in found.values()]
        same = next((i for i, (one, other) in enumerate(zip(*ids, strict=True)) if one != other), NEW_TOKENS)
        lead = min(found["f32"]["leads"])
        print(f"{name}: {len(prompt)} tokens, {same} alike, f32's smallest lead {lead:.4f}", file=sys.stderr)
    made_with = {
        "llama-cpp-python": llama_cpp.__version__,
        "cpu": llama_cpp.llama_print_system_info().decode().strip(),
        "gguf": "0.19.0",
        "model": path.name,
        "model_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
    }
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    OUTPUT.write_text(f'{{"made_with": {json.dumps(made_with)},\n"cases": [\n{lines}\n]}}\n', encoding="utf-8")


if __name__ == "__main__":
    source = pathlib.Path(sys.argv[1]).resolve()
    main(source, pathlib.Path(sys.argv[2]).resolve() if sys.argv[2:] else source.with_suffix(".f32.gguf"))
