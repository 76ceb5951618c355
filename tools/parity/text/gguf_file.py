"""Writes a fixture model as one GGUF file, named and laid out as llama.cpp's convert_hf_to_gguf.py does."""

import math

import gguf
import torch

import vocabulary

ARCHITECTURES = {
    "llama": gguf.MODEL_ARCH.LLAMA,
    "mistral": gguf.MODEL_ARCH.LLAMA,
    "qwen2": gguf.MODEL_ARCH.QWEN2,
    "qwen3": gguf.MODEL_ARCH.QWEN3,
    "gemma3_text": gguf.MODEL_ARCH.GEMMA3,
    "phi3": gguf.MODEL_ARCH.PHI3,
}
FILE_TYPES = {
    "F32": gguf.LlamaFileType.ALL_F32,
    "F16": gguf.LlamaFileType.MOSTLY_F16,
    "BF16": gguf.LlamaFileType.MOSTLY_BF16,
}


def interleaved(weight, heads):
    """Rows of q or k so ordered that rope turns neighbours (2i, 2i+1), where Hugging Face's turns (i, i + half)."""
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def llama3_divisors(config, scaling):
    """By how much llama3 scaling divides each of rope's frequencies."""
    head = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    divisors = []
    for i in range(0, head, 2):
        turns = scaling["original_max_position_embeddings"] / (2 * math.pi * config["rope_theta"] ** (i / head))
        low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
        smooth = min(max((turns - low) / (high - low), 0), 1)
        divisors.append(1 / ((1 - smooth) / scaling["factor"] + smooth))
    return divisors


def metadata(writer, config):
    kind = config["model_type"]
    scaling = config.get("rope_scaling") or {}
    rope = scaling.get("rope_type", scaling.get("type"))
    heads = config["num_attention_heads"]
    head = config.get("head_dim")
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.get("num_key_value_heads", heads))
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config.get("rope_theta", 10000.0))
    if head:
        writer.add_key_length(head)
        writer.add_value_length(head)
    if rope == "linear":
        writer.add_rope_scaling_type(gguf.RopeScalingType.LINEAR)
        writer.add_rope_scaling_factor(scaling["factor"])
    if kind in ("llama", "mistral"):
        writer.add_vocab_size(config["vocab_size"])
        writer.add_rope_dimension_count(head or config["hidden_size"] // heads)
    if kind == "gemma3_text":
        writer.add_rope_freq_base_swa(config["rope_local_base_freq"])
        if config["sliding_window_pattern"] != 1:
            writer.add_sliding_window(config["sliding_window"])
        if config["final_logit_softcapping"]:
            writer.add_final_logit_softcapping(config["final_logit_softcapping"])
    if kind == "phi3":
        original = config["original_max_position_embeddings"]
        factor = config["max_position_embeddings"] / original
        writer.add_rope_scaling_orig_ctx_len(original)
        writer.add_rope_dimension_count(config["hidden_size"] // heads)
        writer.add_sliding_window(config["sliding_window"] or 0)
        if rope:
            writer.add_rope_scaling_attn_factors(math.sqrt(1 + math.log(factor) / math.log(original)))


def tokenizer(writer):
    tokens = vocabulary.TOKENS + vocabulary.SPECIAL
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list(tokens)
    writer.add_token_types(
        [gguf.TokenType.NORMAL] * len(vocabulary.TOKENS) + [gguf.TokenType.CONTROL] * len(vocabulary.SPECIAL)
    )
    writer.add_token_merges([" ".join(pair) for pair in vocabulary.MERGES])
    writer.add_bos_token_id(vocabulary.BEGIN)
    writer.add_eos_token_id(vocabulary.END)
    writer.add_eot_token_id(vocabulary.TURN)
    writer.add_add_bos_token(True)
    writer.add_chat_template(vocabulary.TEMPLATE)


def tensors(config, state):
    """The model's tensors with llama.cpp's names and, where that differs, its values."""
    kind = config["model_type"]
    names = gguf.get_tensor_name_map(ARCHITECTURES[kind], config["num_hidden_layers"])
    heads = config["num_attention_heads"]
    scaling = config.get("rope_scaling") or {}
    if scaling.get("rope_type") == "llama3":
        yield "rope_freqs.weight", torch.tensor(llama3_divisors(config, scaling))
    if "long_factor" in scaling:
        yield "rope_factors_long.weight", torch.tensor(scaling["long_factor"])
        yield "rope_factors_short.weight", torch.tensor(scaling["short_factor"])
    for name, tensor in state.items():
        if kind in ("llama", "mistral") and ".q_proj." in name:
            tensor = interleaved(tensor, heads)
        if kind in ("llama", "mistral") and ".k_proj." in name:
            tensor = interleaved(tensor, config.get("num_key_value_heads", heads))
        if kind == "gemma3_text" and name.endswith("norm.weight"):
            tensor = tensor + 1
        yield names.get_name(name, try_suffixes=(".weight", ".bias")), tensor


def write(path, name, config, state, matrices):
    """`config` in the form of old config.json files; `state` in f32, without a tied output; `matrices` F32, F16 or BF16."""
    writer = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[ARCHITECTURES[config["model_type"]]])
    writer.add_type("model")
    writer.add_name(name.replace("phi3", "phi"))  # a name with "phi3" makes llama.cpp ask for Phi-3's own tokens
    metadata(writer, config)
    writer.add_file_type(FILE_TYPES[matrices])
    writer.add_quantization_version(gguf.GGML_QUANT_VERSION)
    tokenizer(writer)
    for tensor_name, tensor in tensors(config, state):
        kind = gguf.GGMLQuantizationType[matrices] if tensor.dim() == 2 else gguf.GGMLQuantizationType.F32
        data = gguf.quants.quantize(tensor.to(torch.float32).contiguous().numpy(), kind)
        writer.add_tensor(tensor_name, data, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    path.chmod(0o644)
