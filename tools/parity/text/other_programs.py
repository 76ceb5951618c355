"""Greedy answers of other programs to the prompts of a calibration, for `cargo xtask calibrate --answers`.

    python tools/parity/text/other_programs.py MODEL.gguf ANSWERS.json [--tokens 32] [--llama-python PYTHON]

Answers are made by transformers in f32 and in bf16, with the file's weights expanded, and by llama.cpp with the file as it
is. Every second prompt is answered: those that are held out. Packages are those of requirements.txt here; llama.cpp is
asked through another Python (tools/peers/text/README.md says how to set it up), in which this script calls itself.
"""

import argparse
import ctypes
import json
import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[3]
PROMPTS = REPOSITORY / "worker/inference/src/calibration/prompts.txt"


def held_out():
    lines = [line.strip() for line in PROMPTS.read_text().splitlines() if line.strip()]
    return lines[1::2]


class Llama:
    """llama.cpp, called as its own programs call it."""

    def __init__(self, path):
        import llama_cpp

        self.lib = llama_cpp
        self.quiet = llama_cpp.llama_log_callback(lambda *_: None)
        llama_cpp.llama_log_set(self.quiet, ctypes.c_void_p(0))
        llama_cpp.llama_backend_init()
        self.model = llama_cpp.llama_model_load_from_file(str(path).encode(), llama_cpp.llama_model_default_params())
        assert self.model, "llama.cpp does not load the model"
        self.vocab = llama_cpp.llama_model_get_vocab(self.model)

    def prompt_ids(self, text):
        template = self.lib.llama_model_chat_template(self.model, None)
        if template:
            import jinja2.sandbox

            environment = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
            messages = [{"role": "user", "content": text}]
            text = environment.from_string(template.decode()).render(messages=messages, add_generation_prompt=True)
        encoded = text.encode()
        room = (self.lib.llama_token * (len(encoded) + 8))()
        count = self.lib.llama_tokenize(self.vocab, encoded, len(encoded), room, len(room), template is None, True)
        assert count > 0, "llama.cpp does not tokenise the prompt"
        return list(room[:count])

    def greedy(self, ids, tokens):
        lib = self.lib
        params = lib.llama_context_default_params()
        params.n_ctx = params.n_batch = params.n_ubatch = 1024
        params.n_threads = params.n_threads_batch = 2
        context = lib.llama_init_from_model(self.model, params)
        sampler = lib.llama_sampler_init_greedy()
        answer = []
        while len(answer) < tokens:
            batch = (lib.llama_token * len(ids))(*ids)
            assert lib.llama_decode(context, lib.llama_batch_get_one(batch, len(ids))) == 0
            ids = [lib.llama_sampler_sample(sampler, context, -1)]
            answer += ids
            if lib.llama_vocab_is_eog(self.vocab, ids[0]):
                break
        lib.llama_sampler_free(sampler)
        lib.llama_free(context)
        return answer


def by_llama(path, tokens):
    llama = Llama(path)
    for prompt in held_out():
        ids = llama.prompt_ids(prompt)
        answer = llama.greedy(ids, tokens)
        yield {"author": "llama.cpp", "prompt": prompt, "prompt_ids": ids, "ids": answer}


def by_transformers(path, tokens, kind, asked):
    import torch
    import transformers

    transformers.logging.disable_progress_bar()
    model = transformers.AutoModelForCausalLM.from_pretrained(
        path.parent,
        gguf_file=path.name,
        dtype=torch.float32,
        quantization_config=transformers.GgufConfig(dequantize=True),
    )
    model = model.to({"f32": torch.float32, "bf16": torch.bfloat16}[kind]).eval()
    for one in asked:
        ids = torch.tensor([one["prompt_ids"]])
        settings = {"do_sample": False, "max_new_tokens": tokens, "pad_token_id": 0}
        answer = model.generate(ids, attention_mask=torch.ones_like(ids), **settings)[0, ids.shape[1] :].tolist()
        yield {**one, "author": f"transformers {kind}", "ids": answer}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("answers", type=pathlib.Path)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--llama-python", default=REPOSITORY / "target/python/venv-llama/bin/python")
    parser.add_argument("--only-llama", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    model = arguments.model.resolve()
    if arguments.only_llama:
        answers = list(by_llama(model, arguments.tokens))
    else:
        same = ["--only-llama", "--tokens", str(arguments.tokens)]
        subprocess.run([arguments.llama_python, __file__, model, arguments.answers, *same], check=True)
        answers = json.loads(arguments.answers.read_text())
        asked = list(answers)
        for kind in ("f32", "bf16"):
            answers += by_transformers(model, arguments.tokens, kind, asked)
    lines = ",\n".join(json.dumps(answer, ensure_ascii=False) for answer in answers)
    arguments.answers.write_text(f"[\n{lines}\n]\n")
    print(f"{len(answers)} answers in {arguments.answers}", file=sys.stderr)


main()
