"""Tiny decoder models with random weights, one of each kind, and the logits and tokens that transformers gets from them.

Writes models/<name>/: a folder like those on Hugging Face's hub, `model.gguf`, and `expected.safetensors`; and cases.json.
"""

import json

import torch
import transformers
from jinja2.sandbox import ImmutableSandboxedEnvironment

import gguf_file
import vocabulary
from common import fresh_folder, half_exact, integers, normal, write_cases, write_json, write_tensors

PROMPT, NEW, LONG, LAST = 48, 64, 120, 4
MARGIN = 2e-3  # by which the best token leads the second at every greedy step
DIFFERENT = 24  # tokens among the 64
EFFECT = 0.05  # what a setting has to change in some logit to count as tested
SHORT, SHORT_NEW, CROSSING_NEW = 24, 8, 24  # phi3-longrope only

COMMON = {"bos_token_id": vocabulary.BEGIN, "eos_token_id": vocabulary.END, "vocab_size": vocabulary.SIZE}

# The keys and what is left out are those of published models' files; `like` names one. `gguf_says`: what model.gguf
# cannot say, and says instead. `matters`: changes of config.json that must show in the logits.
MODELS = {
    "llama": {
        "like": "TinyLlama-1.1B",
        "stored": "float32",
        "gguf": "F16",
        "config": {
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": False,
            "hidden_act": "silu",
            "hidden_size": 64,
            "initializer_range": 0.02,
            "intermediate_size": 96,
            "max_position_embeddings": 256,
            "model_type": "llama",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "pretraining_tp": 1,
            "rms_norm_eps": 1e-05,
            "rope_scaling": None,
            "rope_theta": 10000.0,
            "tie_word_embeddings": False,
            "torch_dtype": "float32",
            "transformers_version": "4.35.0",
            "use_cache": True,
        },
        "matters": [{"rope_theta": 1000.0}],
    },
    "llama-v5config": {
        "like": "a Llama as transformers 5 saves it: `rope_parameters`, `dtype`, merges as lists",
        "stored": "bfloat16",
        "gguf": None,
        "config": {
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "dtype": "bfloat16",
            "head_dim": 8,
            "hidden_act": "silu",
            "hidden_size": 32,
            "initializer_range": 0.02,
            "intermediate_size": 96,
            "max_position_embeddings": 256,
            "mlp_bias": False,
            "model_type": "llama",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "pad_token_id": None,
            "pretraining_tp": 1,
            "rms_norm_eps": 1e-05,
            "rope_parameters": {"rope_theta": 300.0, "rope_type": "default"},
            "tie_word_embeddings": False,
            "transformers_version": "5.23.0",
            "use_cache": True,
        },
        "matters": [{"rope_parameters": {"rope_theta": 10000.0, "rope_type": "default"}}],
    },
    "llama3": {
        "like": "Llama-3.2-1B-Instruct",
        "stored": "bfloat16",
        "shards": 2,
        "gguf": "BF16",
        "config": {
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "eos_token_id": [vocabulary.END, vocabulary.TURN],
            "head_dim": 16,
            "hidden_act": "silu",
            "hidden_size": 64,
            "initializer_range": 0.02,
            "intermediate_size": 96,
            "max_position_embeddings": 256,
            "mlp_bias": False,
            "model_type": "llama",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "pretraining_tp": 1,
            "rms_norm_eps": 1e-05,
            "rope_scaling": {
                "factor": 8.0,
                "high_freq_factor": 4.0,
                "low_freq_factor": 1.0,
                "original_max_position_embeddings": 32,
                "rope_type": "llama3",
            },
            "rope_theta": 500.0,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.45.0.dev0",
            "use_cache": True,
        },
        "matters": [
            {"rope_scaling": None},
            {"rope_scaling": {"factor": 8.0, "rope_type": "linear"}},
        ],
    },
    "llama-linear": {
        "like": "vicuna-7b-v1.5-16k: `type` in `rope_scaling`; no `rope_theta`, no `num_key_value_heads`; and with biases",
        "stored": "float16",
        "gguf": "F16",
        "config": {
            "architectures": ["LlamaForCausalLM"],
            "attention_bias": True,
            "hidden_act": "silu",
            "hidden_size": 32,
            "initializer_range": 0.02,
            "intermediate_size": 96,
            "max_position_embeddings": 256,
            "max_sequence_length": 256,
            "mlp_bias": True,
            "model_type": "llama",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "pretraining_tp": 1,
            "rms_norm_eps": 1e-05,
            "rope_scaling": {"factor": 4.0, "type": "linear"},
            "tie_word_embeddings": False,
            "torch_dtype": "float16",
            "transformers_version": "4.31.0",
            "use_cache": True,
        },
        "matters": [{"rope_scaling": None}, {"attention_bias": False}, {"mlp_bias": False}],
    },
    "mistral": {
        "like": "Mistral-7B-v0.1",
        "stored": "float16",
        "gguf": "F16",
        "gguf_says": {"sliding_window": None},
        "config": {
            "architectures": ["MistralForCausalLM"],
            "hidden_act": "silu",
            "hidden_size": 64,
            "initializer_range": 0.02,
            "intermediate_size": 96,
            "max_position_embeddings": 256,
            "model_type": "mistral",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "num_key_value_heads": 1,
            "rms_norm_eps": 1e-05,
            "rope_theta": 10000.0,
            "sliding_window": 16,
            "tie_word_embeddings": False,
            "torch_dtype": "float16",
            "transformers_version": "4.34.0.dev0",
            "use_cache": True,
        },
        "matters": [{"sliding_window": None}, {"sliding_window": 15}, {"sliding_window": 17}],
    },
    "mistral-nowindow": {
        "like": "Mistral-Nemo-Instruct-2407: `sliding_window` is null, `head_dim` is not width / heads",
        "stored": "bfloat16",
        "gguf": "BF16",
        "config": {
            "architectures": ["MistralForCausalLM"],
            "attention_dropout": 0.0,
            "head_dim": 16,
            "hidden_act": "silu",
            "hidden_size": 32,
            "initializer_range": 0.02,
            "intermediate_size": 96,
            "max_position_embeddings": 256,
            "model_type": "mistral",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "num_key_value_heads": 1,
            "rms_norm_eps": 1e-05,
            "rope_theta": 1000000.0,
            "sliding_window": None,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.43.0.dev0",
            "use_cache": True,
        },
        "matters": [{"rope_theta": 10000.0}, {"sliding_window": 16}],
    },
    "qwen2": {
        "like": "Qwen2.5-0.5B-Instruct: it names a window and does not use it",
        "stored": "bfloat16",
        "gguf": "BF16",
        "config": {
            "architectures": ["Qwen2ForCausalLM"],
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "hidden_size": 64,
            "initializer_range": 0.02,
            "intermediate_size": 96,
            "max_position_embeddings": 256,
            "max_window_layers": 1,
            "model_type": "qwen2",
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06,
            "rope_theta": 1000000.0,
            "sliding_window": 16,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.43.1",
            "use_cache": True,
            "use_sliding_window": False,
        },
        "matters": [{"use_sliding_window": True}],
    },
    "qwen2-window": {
        "like": "Qwen2-7B with its window switched on: layers from `max_window_layers` on have it",
        "stored": "bfloat16",
        "gguf": "BF16",
        "gguf_says": {"use_sliding_window": False},
        "config": {
            "architectures": ["Qwen2ForCausalLM"],
            "attention_dropout": 0.0,
            "hidden_act": "silu",
            "hidden_size": 32,
            "initializer_range": 0.02,
            "intermediate_size": 96,
            "max_position_embeddings": 256,
            "max_window_layers": 2,
            "model_type": "qwen2",
            "num_attention_heads": 4,
            "num_hidden_layers": 4,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06,
            "rope_theta": 1000000.0,
            "sliding_window": 12,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.41.2",
            "use_cache": True,
            "use_sliding_window": True,
        },
        "matters": [
            {"use_sliding_window": False},
            {"max_window_layers": 0},
            {"max_window_layers": 1},
            {"max_window_layers": 3},
            {"sliding_window": 11},
            {"sliding_window": 13},
        ],
    },
    "qwen3": {
        "like": "Qwen3-0.6B: the tied output is stored all the same; `head_dim` is not width / heads",
        "stored": "bfloat16",
        "stores_tied": True,
        "gguf": "BF16",
        "config": {
            "architectures": ["Qwen3ForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "head_dim": 16,
            "hidden_act": "silu",
            "hidden_size": 32,
            "initializer_range": 0.02,
            "intermediate_size": 96,
            "max_position_embeddings": 256,
            "max_window_layers": 3,
            "model_type": "qwen3",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "rms_norm_eps": 1e-06,
            "rope_scaling": None,
            "rope_theta": 1000000,
            "sliding_window": None,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.51.0",
            "use_cache": True,
            "use_sliding_window": False,
        },
        "matters": [{"rope_theta": 10000}],
    },
    "gemma3": {
        "like": "gemma-3-1b-it, with the rope scaling of the larger ones and the query scale of 27b",
        "stored": "bfloat16",
        "gguf": "BF16",
        "gguf_says": {"query_pre_attn_scalar": 16},
        "config": {
            "architectures": ["Gemma3ForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "attn_logit_softcapping": None,
            "cache_implementation": "hybrid",
            "eos_token_id": [vocabulary.END, vocabulary.TURN],
            "final_logit_softcapping": None,
            "head_dim": 16,
            "hidden_activation": "gelu_pytorch_tanh",
            "hidden_size": 32,
            "initializer_range": 0.02,
            "intermediate_size": 96,
            "max_position_embeddings": 256,
            "model_type": "gemma3_text",
            "num_attention_heads": 4,
            "num_hidden_layers": 7,
            "num_key_value_heads": 1,
            "pad_token_id": 0,
            "query_pre_attn_scalar": 40,
            "rms_norm_eps": 1e-06,
            "rope_local_base_freq": 10000,
            "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
            "rope_theta": 1000000,
            "sliding_window": 16,
            "sliding_window_pattern": 6,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.50.0.dev0",
            "use_cache": True,
        },
        "matters": [
            {"query_pre_attn_scalar": 16},
            {"rope_scaling": None},
            {"rope_local_base_freq": 1000000},
            {"rope_theta": 10000},
            {"sliding_window_pattern": 7},
            {"sliding_window_pattern": 1},
            {"sliding_window": 15},
            {"sliding_window": 17},
            {"hidden_activation": "silu"},
        ],
    },
    "gemma3-caps": {
        "like": "rnj-1: every layer global, final logits capped",
        "stored": "bfloat16",
        "gguf": "BF16",
        "config": {
            "architectures": ["Gemma3ForCausalLM"],
            "attention_bias": False,
            "attention_dropout": 0.0,
            "attn_logit_softcapping": None,
            "final_logit_softcapping": 3.0,
            "head_dim": 16,
            "hidden_activation": "gelu_pytorch_tanh",
            "hidden_size": 32,
            "initializer_range": 0.02,
            "intermediate_size": 96,
            "max_position_embeddings": 256,
            "model_type": "gemma3_text",
            "num_attention_heads": 4,
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "pad_token_id": 0,
            "query_pre_attn_scalar": 16,
            "rms_norm_eps": 1e-06,
            "rope_local_base_freq": 10000,
            "rope_scaling": None,
            "rope_theta": 10000,
            "sliding_window": 16,
            "sliding_window_pattern": 1,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.52.0",
            "use_cache": True,
        },
        "matters": [{"final_logit_softcapping": None}, {"sliding_window_pattern": 6}],
    },
    "phi3": {
        "like": "Phi-3-mini-4k-instruct",
        "stored": "bfloat16",
        "gguf": "BF16",
        "config": {
            "architectures": ["Phi3ForCausalLM"],
            "attention_dropout": 0.0,
            "auto_map": {
                "AutoConfig": "configuration_phi3.Phi3Config",
                "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
            },
            "embd_pdrop": 0.0,
            "hidden_act": "silu",
            "hidden_size": 64,
            "initializer_range": 0.02,
            "intermediate_size": 96,
            "max_position_embeddings": 256,
            "model_type": "phi3",
            "num_attention_heads": 4,
            "num_hidden_layers": 2,
            "num_key_value_heads": 2,
            "original_max_position_embeddings": 256,
            "pad_token_id": vocabulary.END,
            "resid_pdrop": 0.0,
            "rms_norm_eps": 1e-05,
            "rope_scaling": None,
            "rope_theta": 10000.0,
            "sliding_window": 16,
            "tie_word_embeddings": False,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.40.2",
            "use_cache": True,
            "attention_bias": False,
        },
        "matters": [{"sliding_window": None}, {"sliding_window": 15}, {"sliding_window": 17}],
    },
    "phi3-longrope": {
        "like": "Phi-3-mini-128k-instruct, tied as Phi-4-mini is",
        "stored": "bfloat16",
        "gguf": "BF16",
        "config": {
            "architectures": ["Phi3ForCausalLM"],
            "attention_dropout": 0.0,
            "auto_map": {
                "AutoConfig": "configuration_phi3.Phi3Config",
                "AutoModelForCausalLM": "modeling_phi3.Phi3ForCausalLM",
            },
            "embd_pdrop": 0.0,
            "hidden_act": "silu",
            "hidden_size": 32,
            "initializer_range": 0.02,
            "intermediate_size": 96,
            "max_position_embeddings": 256,
            "model_type": "phi3",
            "num_attention_heads": 2,
            "num_hidden_layers": 3,
            "num_key_value_heads": 2,
            "original_max_position_embeddings": 32,
            "pad_token_id": vocabulary.END,
            "partial_rotary_factor": 1.0,
            "resid_pdrop": 0.0,
            "rms_norm_eps": 1e-05,
            "rope_scaling": {
                "long_factor": [1.0, 1.25, 1.75, 2.5, 4.0, 5.5, 7.0, 8.0],
                "short_factor": [1.0, 1.0, 1.0625, 1.125, 1.25, 1.375, 1.5, 1.625],
                "type": "longrope",
            },
            "rope_theta": 10000.0,
            "sliding_window": 262144,
            "tie_word_embeddings": True,
            "torch_dtype": "bfloat16",
            "transformers_version": "4.40.2",
            "use_cache": True,
            "attention_bias": False,
        },
        "matters": [{"rope_scaling": None}, {"max_position_embeddings": 32}],
    },
}


def full_config(name):
    """The config.json of that model: its own keys and the shared ones."""
    merged = COMMON | MODELS[name]["config"]
    return dict(sorted(merged.items()))


# --- Weights


def weight(model, name, shape):
    """Random values of a size that makes logits spread by some units and depend on words far back."""
    drawn = normal(f"models.{model}.{name}", *shape)
    gemma = model.startswith("gemma3")
    if name.endswith(("q_norm.weight", "k_norm.weight")):
        centre = 0.75 if gemma else 1.5
    elif name == "model.norm.weight" and full_config(model).get("tie_word_embeddings", gemma):
        # Signs at random; otherwise the output would prefer the word that is the input, and greedy repeat itself.
        signs = normal(f"models.{model}.{name}.signs", *shape).sign()
        centre = signs * (2.0 if model == "gemma3" else 1.0) - (1.0 if gemma else 0.0)
    elif name.endswith("norm.weight"):
        centre = 0.0 if gemma else 1.0
    elif name.endswith(".bias"):
        return half_exact(drawn * (0.5 if ".self_attn." in name else 0.2))
    else:
        gain = 1.2
        if "embed_tokens" in name or "lm_head" in name:
            gain = 1.2 if gemma else 2.8  # Gemma scales its embeddings up
        if ".q_proj." in name or ".k_proj." in name:
            gain = 1.5
        return half_exact(drawn * (gain / shape[-1] ** 0.5))
    # Few digits, so that Gemma's 1 + weight is exact too.
    return half_exact(torch.round((centre + 0.25 * drawn).clamp(-3.9, 3.9) * 64) / 64)


def write_weights(folder, name, state):
    """The model's safetensors as published: one file, or several with an index."""
    model = MODELS[name]
    dtype = getattr(torch, model["stored"])
    stored = {key: tensor.to(dtype).contiguous() for key, tensor in state.items()}
    assert all(torch.equal(stored[key].to(torch.float32), state[key]) for key in state)
    if model.get("stores_tied"):
        stored["lm_head.weight"] = stored["model.embed_tokens.weight"].clone()
    shards = model.get("shards", 1)
    if shards == 1:
        write_tensors(folder / "model.safetensors", stored)
        return
    keys = list(stored)
    size = -(-len(keys) // shards)
    weight_map = {}
    for i in range(shards):
        file = f"model-{i + 1:05}-of-{shards:05}.safetensors"
        part = keys[i * size : (i + 1) * size]
        write_tensors(folder / file, {key: stored[key] for key in part})
        weight_map |= {key: file for key in part}
    total = sum(tensor.nbytes for tensor in stored.values())
    write_json(
        folder / "model.safetensors.index.json",
        {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))},
    )


def load(folder, changes=None):
    """The model of a folder in f32 on the CPU, as transformers reads it, with some of its config.json changed."""
    config = json.loads((folder / "config.json").read_text()) | (changes or {})
    kind = transformers.CONFIG_MAPPING[config["model_type"]]
    model, report = transformers.AutoModelForCausalLM.from_pretrained(
        folder,
        config=kind.from_dict(config),
        dtype=torch.float32,
        attn_implementation="eager",
        output_loading_info=True,
    )
    assert not report["missing_keys"], report
    assert changes or not report["unexpected_keys"], report
    return model.eval()


# --- What the model computes


def logits(model, ids):
    return model(input_ids=ids[None], use_cache=False).logits[0]


def greedy(model, ids, count):
    """`count` tokens after `ids`, the best at each step, with a cache; and by how much the best led at the closest."""
    step = model(input_ids=ids[None], use_cache=True)
    tokens, margin = [], float("inf")
    while True:
        best = step.logits[0, -1].topk(2).values
        margin = min(margin, float(best[0] - best[1]))
        tokens.append(int(step.logits[0, -1].argmax()))
        if len(tokens) == count:
            return torch.tensor(tokens), margin
        step = model(
            input_ids=torch.tensor([[tokens[-1]]]), past_key_values=step.past_key_values, use_cache=True
        )


def greedy_uncached(model, ids, count):
    """The same without a cache: everything anew at each step."""
    tokens, margin = [], float("inf")
    for _ in range(count):
        last = logits(model, torch.cat([ids, torch.tensor(tokens, dtype=torch.int64)]))[-1]
        best = last.topk(2).values
        margin = min(margin, float(best[0] - best[1]))
        tokens.append(int(last.argmax()))
    return torch.tensor(tokens), margin


def random_ids(name, count):
    ids = integers(name, 0, vocabulary.BEGIN - 1, count)
    ids[0] = vocabulary.BEGIN
    return ids


def expected(model, prompt, long_prompt):
    """What is recorded, or None where some greedy step is too close, or the tokens too monotonous, to be a good test."""
    tokens, margin = greedy(model, prompt, NEW)
    if margin < MARGIN or len(tokens.unique()) < DIFFERENT:
        return None
    every = logits(model, torch.cat([prompt, tokens]))
    assert torch.equal(every[PROMPT - 1 : -1].argmax(-1), tokens), "a cache changes the tokens"
    return {
        "prompt": prompt,
        "logits": logits(model, prompt),
        "greedy": tokens,
        "long_prompt": long_prompt,
        "long_logits_last": logits(model, long_prompt)[-LAST:],
    }, margin


def longrope(model, attempt):
    """Around the length at which longrope changes its factors; None where some step is too close."""
    prompt = random_ids(f"models.phi3-longrope.short.{attempt}", SHORT)
    short, margin = greedy(model, prompt, SHORT_NEW)
    crossing, crossing_margin = greedy_uncached(model, prompt, CROSSING_NEW)
    if min(margin, crossing_margin) < MARGIN:
        return None
    assert torch.equal(crossing[:SHORT_NEW], short)
    generated = model.generate(
        prompt[None], max_new_tokens=CROSSING_NEW, do_sample=False, eos_token_id=None, pad_token_id=0
    )
    assert torch.equal(generated[0, SHORT:], crossing), "generate() does not follow the rule that README.md states"
    kept = greedy(model, prompt, CROSSING_NEW)[0]
    if torch.equal(kept, crossing):
        return None  # must show whether a cache from before the change is kept
    return {
        "short_prompt": prompt,
        "short_logits": logits(model, prompt),
        "short_greedy": short,
        "crossing_greedy": crossing,
    }


def search(name, models):
    """The first of the numbered prompts that is a good test under all of the models; its results under each."""
    for attempt in range(200):
        prompt = random_ids(f"models.{name}.prompt.{attempt}", PROMPT)
        long_prompt = random_ids(f"models.{name}.long.{attempt}", LONG)
        found = []
        for model in models:
            result = expected(model, prompt, long_prompt)
            if result is None:
                break
            found.append(result)
        if len(found) == len(models):
            return attempt, found
    raise SystemExit(f"{name}: no prompt keeps the best token clear of the second")


def check_effects(name, folder, recorded):
    """That the settings which the fixture is for show in its logits, and the first words in the last ones."""
    for changes in MODELS[name]["matters"]:
        changed = load(folder, changes)
        effect = max(
            float((logits(changed, recorded["prompt"]) - recorded["logits"]).abs().max()),
            float((logits(changed, recorded["long_prompt"])[-LAST:] - recorded["long_logits_last"]).abs().max()),
        )
        assert effect > EFFECT, (name, changes, effect)
    model = load(folder)
    prompt = recorded["prompt"].clone()
    prompt[1:4] = (prompt[1:4] + 1) % vocabulary.BEGIN
    effect = float((logits(model, prompt) - recorded["logits"])[-1].abs().max())
    spread = float(recorded["logits"].std(-1).mean())
    print(f"    the first words change the last logits by up to {effect:.3f}; logits spread by {spread:.2f}", flush=True)
    reach = sum(PROMPT if window is None else window - 1 for window in windows(model))
    assert effect > EFFECT if reach >= PROMPT - 4 else effect == 0, (name, effect, reach)


def windows(model):
    """For each layer how many positions it sees, itself included; null where all."""
    config = model.config
    window = getattr(config, "sliding_window", None)
    kinds = getattr(config, "layer_types", None) or ["sliding_attention"] * config.num_hidden_layers
    return [window if kind == "sliding_attention" else None for kind in kinds]


def one(name):
    print(f"  {name}", flush=True)
    entry = MODELS[name]
    config = full_config(name)
    folder = fresh_folder("models", name)
    write_json(folder / "config.json", config)
    generation = {"bos_token_id": vocabulary.BEGIN, "eos_token_id": [vocabulary.END, vocabulary.TURN]}
    write_json(folder / "generation_config.json", generation | {"transformers_version": config["transformers_version"]})
    vocabulary.write_tokenizer(folder, config["max_position_embeddings"], pairs_as_lists=name == "llama-v5config")

    kind = transformers.CONFIG_MAPPING[config["model_type"]]
    skeleton = transformers.AutoModelForCausalLM.from_config(kind.from_dict(config))
    shapes = {key: tensor.shape for key, tensor in skeleton.named_parameters()}  # names a tied output once
    state = {key: weight(name, key, shape) for key, shape in shapes.items()}
    write_weights(folder, name, state)
    if entry["gguf"]:
        gguf_file.write(folder / "model.gguf", name, config, state, entry["gguf"])

    model = load(folder)
    loaded = dict(model.named_parameters())
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    says = entry.get("gguf_says")
    attempt, found = search(name, [model] + ([load(folder, says)] if says else []))
    recorded, margin = found[0]
    check_effects(name, folder, recorded)
    if name == "phi3-longrope":
        recorded |= next(filter(None, (longrope(model, i) for i in range(200))))
    write_tensors(folder / "expected.safetensors", recorded)
    if says:
        kept = ("logits", "greedy", "long_logits_last")
        write_tensors(folder / "expected_gguf.safetensors", {key: found[1][0][key] for key in kept})

    case = {
        "name": name,
        "like": entry["like"],
        "stored": entry["stored"],
        "gguf": entry["gguf"],
        "windows": windows(model),
        "prompt_number": attempt,
        "smallest_lead": round(margin, 5),
    }
    return case | ({"gguf_says": says} if says else {})


TEXTS = [
    "",
    "the lighthouse",
    "What is the answer to this question?",
    " leading and trailing ",
    "Café, naïve, 日本語 🙂\n\ttabs",
    "<|turn|>user\nHello<|end|>",
    "1234 it's we've",
]
CHAT = [
    {"role": "system", "content": "Answer in the book."},
    {"role": "user", "content": " What was the wind? "},
]


def tokenizer_head():
    tokenizer = vocabulary.tokenizer()
    texts = []
    for text in TEXTS:
        plain, special = (tokenizer.encode(text, add_special_tokens=add).ids for add in (False, True))
        assert special == [vocabulary.BEGIN] + plain
        assert tokenizer.decode(plain, skip_special_tokens=False) == text
        texts.append({"text": text, "ids": plain})
    template = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True).from_string(vocabulary.TEMPLATE)
    rendered = template.render(messages=CHAT, bos_token=vocabulary.SPECIAL[0], add_generation_prompt=True)
    ids = tokenizer.encode(rendered, add_special_tokens=False).ids
    return {"tokenizer": texts, "chat": {"messages": CHAT, "text": rendered, "ids": ids}}


NOTES = {
    "expected.safetensors": "in f32 on the CPU with eager attention: prompt [48], logits of all its positions [48, 320]; "
    "greedy: the 64 tokens after it, the best at each step, not stopping at end tokens; long_prompt [120] and the "
    "logits of its last 4 positions. At each greedy step the best logit leads the second by at least smallest_lead.",
    "expected_gguf.safetensors": "the same for model.gguf, where that file cannot say all that config.json says: "
    "gguf_says is what it says instead. The prompts are those of expected.safetensors.",
    "windows": "for each layer how many positions a token sees, itself included; null: all before it",
    "stored": "the format in model.safetensors; all weights are exact in f32, f16 and bf16",
    "gguf": "the format of the matrices in model.gguf; vectors are f32",
    "phi3-longrope": "original_max_position_embeddings is 32. prompt and long_prompt are longer, so logits, greedy and "
    "long_logits_last have the long factors throughout, at positions below 32 too. short_prompt [24], short_logits "
    "[24, 320] and short_greedy [8] have the short factors throughout: the last token comes from a pass over 31 "
    "positions. crossing_greedy [24] goes on from the same prompt over the boundary: each token is computed from all "
    "before it anew, with the short factors while these are at most 32 and with the long ones for all positions from "
    "33 on, as transformers' generate() does (it drops the cache once, at 33). Keeping the old keys gives other tokens. "
    "The attention factor sqrt(1 + ln(256 / 32) / ln(32)) multiplies cos and sin on both sides of the boundary.",
    "tokenizer": "ids without <|begin|>, which goes before them where special tokens are added; chat is encoded without",
}


def make():
    cases = [one(name) for name in MODELS]
    folder = fresh_folder("models", "notes").parent
    (folder / "notes").rmdir()
    notes = {"notes": NOTES} | tokenizer_head()
    write_cases(folder / "cases.json", notes, cases)
    total = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"  {total / 1e6:.2f} MB", flush=True)
    assert total <= 6e6
