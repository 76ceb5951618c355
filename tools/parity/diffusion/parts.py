"""What each part of a fixture model gives by itself: token ids, text embeddings, one UNet call, both ways of the VAE."""

import torch
from diffusers import AutoencoderTiny

import models
import vocabulary
from common import fresh_folder, normal, write_cases, write_json, write_tensors
from weights import fill

PROMPTS = {
    "plain": "a photo of a cat",
    "empty": "",
    "marks": "A portrait, 8k!! it's (sharp) & détaillé 🙂",
    "long": "a castle by the sea at sunset, mountains and a river in the morning light, highly detailed, sharp focus, "
    "best quality masterpiece, a small house in the forest with a garden of flowers and a bird on the roof, "
    "portrait of a woman with a hat, a man walking in the rain, a city at night with neon lights, a ship on the ocean",
}

TEXT_NOTE = (
    "text.<case>.ids: 77 token ids, cut and padded as diffusers does. hidden.<k> (of one prompt): what enters encoder layer k (so the "
    "last one left the last layer), without the final norm. last: the last one after the final norm, which is what "
    "SD 1.x and 2.x take. skip1, skip2: hidden states one and two layers earlier after the final norm (diffusers' "
    "clip_skip=1 and 2, A1111's 'Clip skip' 2 and 3). pooled: `last` at the first end token."
)


def text_tensors(tensors, prefix, model, tokenizer, prompt):
    ids = tokenizer(prompt, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    output = model(ids, output_hidden_states=True)
    flat = getattr(model, "text_model", model)
    end = int((ids[0] == tokenizer.eos_token_id).nonzero()[0])
    tensors[f"{prefix}.ids"] = ids
    if prefix.endswith(".plain"):
        tensors |= {f"{prefix}.hidden.{k}": hidden for k, hidden in enumerate(output.hidden_states)}
    tensors[f"{prefix}.last"] = output.last_hidden_state
    for skip in (1, 2) if prefix.startswith("text.") else ():
        tensors[f"{prefix}.skip{skip}"] = flat.final_layer_norm(output.hidden_states[-(skip + 1)])
    tensors[f"{prefix}.pooled"] = output.last_hidden_state[:, end]
    if hasattr(output, "text_embeds"):
        assert torch.equal(output.text_embeds, model.text_projection(tensors[f"{prefix}.pooled"]))
        tensors[f"{prefix}.projected"] = output.text_embeds
    else:
        assert torch.equal(output.pooler_output, tensors[f"{prefix}.pooled"])
    return output


def watch_blocks(unet, seen):
    """Records what the UNet's main parts return, to find the first one that differs."""

    def record(name):
        return lambda module, args, output: seen.__setitem__(name, output[0] if isinstance(output, tuple) else output)

    parts = {"time_embedding": unet.time_embedding, "conv_in": unet.conv_in, "mid": unet.mid_block}
    parts |= {f"down.{i}": block for i, block in enumerate(unet.down_blocks)}
    parts |= {f"up.{i}": block for i, block in enumerate(unet.up_blocks)}
    if getattr(unet, "add_embedding", None) is not None:
        parts["add_embedding"] = unet.add_embedding
    return [part.register_forward_hook(record(name)) for name, part in parts.items()]


def unet_tensors(tensors, cases, name, unet):
    """One call with a batch of two, and one with a latent that does not halve evenly and a fractional timestep."""
    config = unet.config
    shapes = {"batch": (2, 8, 12, torch.tensor([999, 21])), "odd": (1, 10, 7, torch.tensor([249.75]))}
    for case, (batch, height, width, timestep) in shapes.items():
        prefix = f"unet.{case}"
        sample = normal(f"{name}/{prefix}/sample", batch, config.in_channels, height, width)
        context = normal(f"{name}/{prefix}/context", batch, 77, config.cross_attention_dim)
        tensors |= {f"{prefix}.sample": sample, f"{prefix}.timestep": timestep, f"{prefix}.context": context}
        more = {}
        if config.addition_embed_type == "text_time":
            pooled = normal(f"{name}/{prefix}/pooled", batch, 32)
            sizes = torch.tensor([[128.0, 96.0, 0.0, 8.0, 64.0, 48.0], [64.0, 64.0, 0.0, 0.0, 64.0, 64.0]])[:batch]
            tensors |= {f"{prefix}.pooled": pooled, f"{prefix}.time_ids": sizes}
            more["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": sizes}
        if config.time_cond_proj_dim is not None:
            tensors[f"{prefix}.timestep_cond"] = normal(f"{name}/{prefix}/cond", batch, config.time_cond_proj_dim)
            more["timestep_cond"] = tensors[f"{prefix}.timestep_cond"]
        seen = {}
        hooks = watch_blocks(unet, seen) if case == "batch" else []
        tensors[f"{prefix}.output"] = unet(sample, timestep, context, **more).sample
        for hook in hooks:
            hook.remove()
        tensors |= {f"{prefix}.at.{part}": value for part, value in seen.items()}
        cases.append({"name": prefix, "tensors": sorted(key for key in tensors if key.startswith(prefix + "."))})


def vae_tensors(tensors, cases, name, vae):
    side = 2 ** (len(vae.config.block_out_channels) - 1)
    image = normal(f"{name}/image", 1, 3, 6 * side, 8 * side).mul(0.5).clamp(-1, 1)
    moments = vae.encode(image).latent_dist
    latent = normal(f"{name}/latent", 1, 4, 6, 8)
    tensors |= {"vae.image": image, "vae.mean": moments.mean, "vae.logvar": moments.logvar, "vae.latent": latent}
    tensors["vae.decoded"] = vae.decode(latent).sample
    note = "vae.image in -1..1 encodes to mean and logvar (cut to -30..20); vae.latent (already divided by the scaling "
    note += "factor) decodes to vae.decoded, which is not cut to -1..1"
    cases.append({"name": "vae", "factor": side, "scaling_factor": vae.config.scaling_factor, "note": note})


def one_encoder(folder, name):
    tensors, cases = {}, []
    pad = "!" if name == "sd21" else vocabulary.END
    encoder = models.text_encoder(f"{name}/text_encoder")
    for case, prompt in PROMPTS.items():
        text_tensors(tensors, f"text.{case}", encoder, vocabulary.tokenizer(pad), prompt)
        cases.append({"name": f"text.{case}", "prompt": prompt})
    unet_tensors(tensors, cases, name, models.unet(name))
    vae_tensors(tensors, cases, name, models.vae(name))
    write_tensors(folder / "expected.safetensors", tensors)
    write_cases(folder / "cases.json", {"text": TEXT_NOTE}, cases)


def sd15():
    one_encoder(models.save_sd15(), "sd15")


def sd21():
    one_encoder(models.save_sd21(), "sd21")


XL_NOTE = (
    " text1 and text2 are the two encoders. text.<case>.context: hidden state before the last layer of both, side by "
    "side, no final norm (with clip_skip=k, k layers earlier: context_skip1). text.<case>.pooled: the second's "
    "projected. With force_zeros_for_empty_prompt the negative context and pooled are all zeros where no negative "
    "prompt is given at all; an empty negative prompt that is given is encoded as any other."
)


def sdxl():
    folder, tensors, cases = models.save_sdxl(), {}, []
    first, second = models.text_encoder("sdxl/text_encoder"), models.text_encoder("sdxl/text_encoder_2")
    for case, prompt in PROMPTS.items():
        a = text_tensors(tensors, f"text1.{case}", first, vocabulary.tokenizer(), prompt)
        b = text_tensors(tensors, f"text2.{case}", second, vocabulary.tokenizer("!"), prompt)
        tensors[f"text.{case}.context"] = torch.cat([a.hidden_states[-2], b.hidden_states[-2]], dim=-1)
        tensors[f"text.{case}.context_skip1"] = torch.cat([a.hidden_states[-3], b.hidden_states[-3]], dim=-1)
        tensors[f"text.{case}.pooled"] = b.text_embeds
        cases.append({"name": f"text.{case}", "prompt": prompt})
    unet_tensors(tensors, cases, "sdxl", models.unet("sdxl"))
    vae_tensors(tensors, cases, "sdxl", models.vae("sdxl"))
    write_tensors(folder / "expected.safetensors", tensors)
    write_cases(folder / "cases.json", {"text": TEXT_NOTE + XL_NOTE}, cases)


def small_unet(name):
    tensors, cases = {}, []
    folder = models.save_small_unet(name)
    unet_tensors(tensors, cases, name, models.unet(name))
    write_tensors(folder / "expected.safetensors", tensors)
    write_cases(folder / "cases.json", {"parts": "text encoder, tokenizer and VAE are those of sd15"}, cases)


def inpaint():
    small_unet("inpaint")


def lcm():
    small_unet("lcm")


TAESD = {
    "_class_name": "AutoencoderTiny",
    "act_fn": "relu",
    "decoder_block_out_channels": [8, 8, 8, 8],
    "encoder_block_out_channels": [8, 8, 8, 8],
    "force_upcast": False,
    "in_channels": 3,
    "latent_channels": 4,
    "latent_magnitude": 3,
    "latent_shift": 0.5,
    "num_decoder_blocks": [3, 3, 3, 1],
    "num_encoder_blocks": [1, 3, 3, 3],
    "out_channels": 3,
    "scaling_factor": 1.0,
    "upsampling_scaling_factor": 2,
}


def taesd():
    """The small autoencoder: it takes latents as the UNet gives them (its scaling factor is 1)."""
    folder = fresh_folder("taesd")
    model = fill(AutoencoderTiny.from_config(TAESD), "taesd")
    write_json(folder / "config.json", TAESD)
    write_tensors(folder / "diffusion_pytorch_model.safetensors", model.state_dict())
    models.same(model, AutoencoderTiny.from_pretrained(folder, local_files_only=True))
    latent = normal("taesd/latent", 1, 4, 6, 8)
    image = normal("taesd/image", 1, 3, 48, 64).mul(0.5).clamp(-1, 1)
    tensors = {"latent": latent, "decoded": model.decode(latent).sample}
    tensors |= {"image": image, "encoded": model.encode(image).latents}
    write_tensors(folder / "expected.safetensors", tensors)
    note = "latent decodes to decoded (about -1..1), image in -1..1 encodes to encoded; latents in the UNet's scale"
    write_cases(folder / "cases.json", {"note": note}, [{"name": "taesd", "tensors": sorted(tensors)}])
