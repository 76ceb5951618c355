"""Random LoRA files in the formats in use, and what the models give with them at stated weights."""

import copy
import json
import re

import torch
from safetensors.torch import load_file, save_file

import models
import pipelines
from common import DATA, fresh_folder, half_exact, normal, write_cases, write_tensors
from original_names import unet_module

RANK = 4
PROMPT = "a photo of a red fox in the snow, sharp focus"

# Which modules a file touches. Not all, so that the files stay small, but every kind.
ATTENTION = r"(down_blocks\.1\.attentions\.0|mid_block\.attentions\.0|up_blocks\.1\.attentions\.0)\..*"
LINEARS = r"(attn[12]\.to_[qkv]|attn[12]\.to_out\.0|ff\.net\.0\.proj|ff\.net\.2|proj_in|proj_out)"
RESNETS = r"(down_blocks\.1\.resnets\.0|mid_block\.resnets\.1|up_blocks\.2\.resnets\.1)\."
CONVOLUTIONS = f"{RESNETS}(conv1|conv2|conv_shortcut|time_emb_proj)" + r"|.*_blocks\.0\..*samplers\.0\.conv|conv_(in|out)"
TEXT = r"(text_model\.)?encoder\.layers\.[02]\.(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])"


def modules_of(model, pattern):
    kinds = torch.nn.Linear | torch.nn.Conv2d
    found = [name for name, part in model.named_modules() if isinstance(part, kinds) and re.fullmatch(pattern, name)]
    assert found, pattern
    return found


class Lora:
    """Down and up matrices by model and module: a change of weight * alpha / rank * up @ down each."""

    def __init__(self, name, parts, patterns, alpha=RANK, loudness=0.4):
        self.name, self.alpha, self.layers = name, alpha, {}
        self.xl = "text_encoder_2" in parts
        for part, pattern in patterns.items():
            for module in modules_of(parts[part], pattern):
                weight = parts[part].get_submodule(module).weight
                down = normal(f"lora/{name}/{part}/{module}/down", RANK, *weight.shape[1:])
                up = normal(f"lora/{name}/{part}/{module}/up", weight.shape[0], RANK, *[1] * (weight.dim() - 2))
                down = half_exact(down / weight[0].numel() ** 0.5)
                self.layers[part, module] = (down, half_exact(up * loudness))

    def change(self, part, module, weight):
        down, up = self.layers[part, module]
        return weight * self.alpha / RANK * (up.flatten(1) @ down.flatten(1)).reshape(len(up), *down.shape[1:])


def text_path(module):
    """As published models have it: transformers 5 dropped text_model. from the model without a projection."""
    return module if module.startswith("text_model.") else f"text_model.{module}"


def kohya(lora):
    """kohya's format: one name of underscores for each module, with an alpha of its own. XL has the original UNet's names."""
    encoders = {"text_encoder": "te1" if lora.xl else "te", "text_encoder_2": "te2"}
    tensors = {}
    for (part, module), (down, up) in lora.layers.items():
        if part == "unet":
            path = unet_module(module, models.UNETS["sdxl"]) if lora.xl else module
            name = "lora_unet_" + path.replace(".", "_")
        else:
            name = f"lora_{encoders[part]}_" + text_path(module).replace(".", "_")
        tensors |= {f"{name}.lora_down.weight": down.half(), f"{name}.lora_up.weight": up.half()}
        tensors[f"{name}.alpha"] = torch.tensor(float(lora.alpha), dtype=torch.float16)
    return tensors


def peft(lora):
    """The format that diffusers writes today: lora_A is down, lora_B is up."""
    tensors = {}
    for (part, module), (down, up) in lora.layers.items():
        name = f"{part}.{module if part == 'unet' else text_path(module)}"
        tensors |= {f"{name}.lora_A.weight": down.half(), f"{name}.lora_B.weight": up.half()}
    return tensors


def peft_metadata(lora):
    """Where alpha is not the rank, newer files say so in their header."""
    config = {}
    for part in sorted({part for part, _ in lora.layers}):
        modules = sorted(module for found, module in lora.layers if found == part)
        config |= {f"{part}.r": RANK, f"{part}.lora_alpha": lora.alpha, f"{part}.target_modules": modules}
    return {"lora_adapter_metadata": json.dumps(config, sort_keys=True)}


def old_diffusers(lora):
    """What diffusers wrote at first: attention processors, down and up, no alpha."""
    tensors = {}
    for (part, module), (down, up) in lora.layers.items():
        if part == "unet":
            path, layer = module.replace(".to_out.0", ".to_out").rsplit(".", 1)
            name = f"unet.{path}.processor.{layer}_lora"
        else:
            path = text_path(module)
            for new, old in {"q_proj": "to_q", "k_proj": "to_k", "v_proj": "to_v", "out_proj": "to_out"}.items():
                path = path.replace(new, f"{old}_lora")
            name = f"{part}.{path}"
        tensors |= {f"{name}.down.weight": down.half(), f"{name}.up.weight": up.half()}
    return tensors


def fused(parts, part, loras):
    """A copy of the model with the changes of all LoRAs added to its weights: what EMC does."""
    model = copy.deepcopy(parts[part])
    for lora, weight in loras:
        for found, module in lora.layers:
            if found == part:
                model.get_submodule(module).weight.add_(lora.change(part, module, weight))
    return model


NOTES = {
    "rule": "each module's weight grows by weight * alpha / rank * up @ down; alpha is the rank where the file names none",
    "unet": "the inputs are those of unet.batch in <model>/expected.safetensors; <case>.unet is the output with the LoRAs",
    "text": "of the prompt with the LoRAs: <case>.<encoder> is the last hidden state after the final norm for sd15, the "
    "hidden state before the last layer for sdxl, and <case>.pooled XL's projected one",
    "prompt": PROMPT,
    "checked": "values are diffusers' own with peft at run time; adding to the weights gave the same within 2e-5",
}


class Run:
    def __init__(self, model):
        self.model, self.parts = model, pipelines.parts(model)
        self.folder = fresh_folder("lora", model)
        self.tensors, self.cases, self.files = {}, [], {}
        inputs = DATA / model / "expected.safetensors"
        self.inputs = {name: value for name, value in load_file(inputs).items() if name.startswith("unet.batch.")}

    def file(self, name, lora, write, metadata=None):
        self.files[name] = lora
        path = self.folder / f"{name}.safetensors"
        tensors = {key: value.contiguous() for key, value in write(lora).items()}
        save_file(tensors, path, metadata or {"format": "pt"})
        path.chmod(0o644)

    def outputs(self, parts):
        """What the models give for the recorded inputs and the prompt."""
        more = {}
        if self.model == "sdxl":
            conditions = {"text_embeds": "pooled", "time_ids": "time_ids"}
            more["added_cond_kwargs"] = {key: self.inputs[f"unet.batch.{name}"] for key, name in conditions.items()}
        inputs = [self.inputs[f"unet.batch.{name}"] for name in ("sample", "timestep", "context")]
        found = {"unet": parts["unet"](*inputs, **more).sample}
        for encoder, tokenizer in (("text_encoder", "tokenizer"), ("text_encoder_2", "tokenizer_2")):
            if encoder in parts:
                ids = parts[tokenizer](PROMPT, padding="max_length", return_tensors="pt").input_ids
                output = parts[encoder](ids, output_hidden_states=True)
                last = output.last_hidden_state if self.model == "sd15" else output.hidden_states[-2]
                found[encoder] = last
                if hasattr(output, "text_embeds"):
                    found["pooled"] = output.text_embeds
        return found

    def case(self, name, weights):
        kind = "StableDiffusionPipeline" if self.model == "sd15" else "StableDiffusionXLPipeline"
        own = {key: copy.deepcopy(part) for key, part in self.parts.items()}
        pipeline = pipelines.build(kind, self.model, pipelines.DDIM, own)
        for file in weights:
            pipeline.load_lora_weights(self.folder, weight_name=f"{file}.safetensors", adapter_name=file)
        pipeline.set_adapters(list(weights), list(weights.values()))
        theirs = self.outputs(pipeline.components)
        loras = [(self.files[file], weight) for file, weight in weights.items()]
        models_only = [key for key, part in self.parts.items() if isinstance(part, torch.nn.Module)]
        added = {key: fused(self.parts, key, loras) for key in models_only}
        ours, without = self.outputs(self.parts | added), self.outputs(self.parts)
        for key, value in theirs.items():
            assert (value - ours[key]).abs().max() < 2e-5, (name, key)
            touched = key != "pooled" and any(part == key for lora, _ in loras for part, _ in lora.layers)
            assert not touched or (value - without[key]).abs().max() > 0.05, (name, key)
            self.tensors[f"{name}.{key}"] = value
        self.cases.append({"name": name, "files": [{"file": f, "weight": w} for f, w in weights.items()]})

    def write(self):
        write_tensors(self.folder / "expected.safetensors", self.tensors)
        write_cases(self.folder / "cases.json", {"model": self.model} | NOTES, self.cases)


def sd15():
    run = Run("sd15")
    linears = {"unet": ATTENTION + LINEARS, "text_encoder": TEXT}
    only_attention = {"unet": ATTENTION + r"attn[12]\.(to_[qkv]|to_out\.0)"}
    only_attention["text_encoder"] = r"encoder\.layers\.[02]\.self_attn\.(q|k|v|out)_proj"
    run.file("kohya", Lora("sd15.kohya", run.parts, linears, alpha=2.0), kohya)
    convolutions = {"unet": CONVOLUTIONS}
    run.file("kohya_convolutions", Lora("sd15.conv", run.parts, convolutions, alpha=3.0, loudness=0.2), kohya)
    run.file("peft", Lora("sd15.peft", run.parts, linears), peft)
    scaled = Lora("sd15.scaled", run.parts, only_attention, alpha=8.0, loudness=0.2)
    run.file("peft_metadata", scaled, peft, peft_metadata(scaled))
    run.file("old_diffusers", Lora("sd15.old", run.parts, only_attention), old_diffusers)
    for file in run.files:
        run.case(file, {file: 0.7})
    run.case("two", {"kohya": 0.7, "peft": -0.4})
    run.case("three", {"kohya": 0.5, "kohya_convolutions": 1.0, "old_diffusers": -1.0})
    run.write()


def sdxl():
    run = Run("sdxl")
    linears = {"unet": ATTENTION + LINEARS, "text_encoder": TEXT, "text_encoder_2": TEXT}
    run.file("kohya", Lora("sdxl.kohya", run.parts, linears, alpha=2.0), kohya)
    convolutions = {"unet": CONVOLUTIONS}
    run.file("kohya_convolutions", Lora("sdxl.conv", run.parts, convolutions, alpha=3.0, loudness=0.2), kohya)
    run.file("peft", Lora("sdxl.peft", run.parts, linears), peft)
    for file in run.files:
        run.case(file, {file: 0.7})
    run.case("two", {"kohya": 0.7, "peft": -0.4})
    run.write()
