"""Whole pipelines of diffusers over the fixture models: the latent after every step and the image at the end."""

import functools

import diffusers
import torch

import models
import vocabulary
from common import fresh_folder, normal, write_cases, write_tensors
from noise import first_latent, injected, step_noise
from schedulers import BETAS

PROMPT, NEGATIVE = "a photo of a red fox in the snow, sharp focus", "blurry, low quality"

SD = BETAS | {"steps_offset": 1}
DDIM = ("DDIMScheduler", SD | {"clip_sample": False, "set_alpha_to_one": False})
PNDM = ("PNDMScheduler", SD | {"skip_prk_steps": True, "set_alpha_to_one": False})
DDPM = ("DDPMScheduler", SD | {"clip_sample": False})
EULER = ("EulerDiscreteScheduler", SD | {"timestep_spacing": "leading"})
EULER_A = ("EulerAncestralDiscreteScheduler", SD | {"timestep_spacing": "leading"})
DPM = ("DPMSolverMultistepScheduler", SD | {"timestep_spacing": "leading"})
DPM_KARRAS = ("DPMSolverMultistepScheduler", SD | {"use_karras_sigmas": True})
UNIPC = ("UniPCMultistepScheduler", SD)
LCM = ("LCMScheduler", SD)
TURBO = ("EulerAncestralDiscreteScheduler", SD | {"timestep_spacing": "trailing"})

NOTES = {
    "draws": "The first latent before scaling by init_noise_sigma is <case>.initial: normals(seed, domain 2, position 0) "
    "of docs/spec/sampling.md in row-major order. Image to image uses it as the noise that is added to the image. A step "
    "that draws noise gets normals(seed, domain 3, position i), i being the step's number from 0 at the first that runs; "
    "<case>.noise.<i>. A VAE's sample of its posterior takes <case>.posterior where that is recorded, else the mean.",
    "tensors": "<case>.latents: after each step, before division by the scaling factor, stacked. <case>.image (of some): decoded, "
    "/2 + 0.5, cut to 0..1. As bytes: times 255, rounded half to even.",
    "inputs": "image (0..1, every value k/255) and mask (0 keep, 1 repaint) by size, as input.image.<height>x<width>",
    "model": "names a fixture's folder; unet says which other fixture the UNet is from, and all else is from model",
    "guidance": "a scale of 1 or less means a single UNet call without the negative prompt; so does a UNet with an "
    "embedding of the guidance scale",
    "clip_skip": "diffusers' count: 1 leaves the last layer out",
}

# The cases whose image is kept as well as their latents: decoding is the same for all, and images are large.
PICTURES = {
    "sd15.ddim",
    "sd15.euler_a",
    "sd15.two_images",
    "sd15.from_image.ddim",
    "sd15.inpaint.ddim.strength_0.6",
    "inpaint.ddim.strength_1.0",
    "lcm.lcm",
    "sd21.dpmpp_2m_karras",
    "sdxl.euler",
    "sdxl.from_image",
}


@functools.cache
def parts(name):
    """What a pipeline of that model is made of. The models are shared and never changed."""
    unets = {"inpaint": "sd15", "lcm": "sd15"}
    base = unets.get(name, name)
    made = {"unet": models.unet(name), "vae": models.vae(base)}
    made["text_encoder"] = models.text_encoder(f"{base}/text_encoder")
    made["tokenizer"] = vocabulary.tokenizer("!" if base == "sd21" else vocabulary.END)
    if base == "sdxl":
        made["text_encoder_2"] = models.text_encoder("sdxl/text_encoder_2")
        made["tokenizer_2"] = vocabulary.tokenizer("!")
    else:
        made |= {"safety_checker": None, "feature_extractor": None}
    return made


def build(kind, name, scheduler, components=None):
    class_name, config = scheduler
    components = components or parts(name)
    more = {"requires_safety_checker": False} if "safety_checker" in components else {}
    scheduler = getattr(diffusers, class_name).from_config(config)
    pipeline = getattr(diffusers, kind)(**components, **more, scheduler=scheduler)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def input_image(height, width):
    smooth = torch.nn.functional.interpolate(normal("pipelines/image", 1, 3, 4, 5), (height, width), mode="bicubic")
    return ((smooth * 0.25 + 0.5).clamp(0, 1) * 255).round() / 255


def input_mask(height, width):
    mask = torch.zeros(1, 1, height, width)
    mask[..., height // 5 : height * 4 // 5, width // 3 : width * 7 // 8] = 1
    return mask


class Run:
    def __init__(self):
        self.tensors, self.cases = {}, []

    def case(self, name, kind, model, scheduler, seed, arguments, image=None, mask=False, posterior=False, unet=None):
        """Runs one pipeline; `image` is the size of the input image, `posterior` whether the VAE's sample is noisy."""
        pipeline = build(kind, unet or model, scheduler)
        factor = pipeline.vae_scale_factor
        height, width = image or (arguments["height"], arguments["width"])
        count = arguments.get("num_images_per_prompt", 1)
        shape = (count, 4, height // factor, width // factor)
        initial = first_latent(seed, shape)
        entry = {"name": name, "pipeline": kind, "model": model} | ({"unet": unet} if unet else {})
        entry |= {"scheduler": {"class": scheduler[0], "config": scheduler[1]}, "seed": seed} | arguments
        inputs, before = {}, []
        if image:
            entry |= {"height": height, "width": width}
            inputs["image"] = self.tensors[f"input.image.{height}x{width}"] = input_image(height, width)
            samples = [normal(f"pipelines/{name}/posterior", *shape) if posterior else torch.zeros(shape)] * 2
            if posterior:
                self.tensors[f"{name}.posterior"] = samples[0]
            # The order in which diffusers draws: the image's posterior, the noise, the masked image's posterior.
            before = [samples[0], initial, samples[1]] if mask else [samples[0], initial]
            if unet == "inpaint" and arguments["strength"] == 1.0:
                # At full strength that UNet's pipeline does not encode the whole image.
                before = [initial, samples[1]]
        else:
            inputs["latents"] = initial
        if mask:
            inputs["mask_image"] = self.tensors[f"input.mask.{height}x{width}"] = input_mask(height, width)
            inputs |= {"height": height, "width": width}
        latents, drawn = [], []

        def draw(asked):
            if before:
                value = before.pop(0)
            else:
                drawn.append(len(latents))
                value = self.tensors[f"{name}.noise.{len(latents)}"] = step_noise(seed, len(latents), shape)
            assert value.shape == asked, (name, asked)
            return value

        def after_step(pipeline, i, t, values):
            latents.append(values["latents"])
            return values

        with injected(draw):
            images = pipeline(
                **inputs, **self.changed(arguments, pipeline), output_type="pt", callback_on_step_end=after_step
            ).images
        assert not before
        entry |= {"timesteps": pipeline.scheduler.timesteps.tolist(), "noise_at_steps": drawn, "runs": len(latents)}
        self.tensors |= {f"{name}.initial": initial, f"{name}.latents": torch.stack(latents)}
        if name in PICTURES:
            self.tensors[f"{name}.image"] = images
        self.cases.append(entry)

    @staticmethod
    def changed(arguments, pipeline):
        """diffusers' clip_skip does not work with this transformers for one encoder: give it the embeddings instead."""
        skip = arguments.get("clip_skip")
        if skip is None or hasattr(pipeline, "text_encoder_2"):
            return arguments
        arguments = {key: value for key, value in arguments.items() if key != "clip_skip"}
        for key in ("prompt", "negative_prompt"):
            ids = pipeline.tokenizer(arguments.pop(key), padding="max_length", truncation=True, return_tensors="pt")
            hidden = pipeline.text_encoder(ids.input_ids, output_hidden_states=True).hidden_states
            left_out = skip if key == "prompt" else 0
            arguments[f"{key}_embeds"] = pipeline.text_encoder.final_layer_norm(hidden[-(left_out + 1)])
        return arguments


def asked(steps, guidance, size=None, negative=NEGATIVE, **more):
    arguments = {"prompt": PROMPT, "num_inference_steps": steps, "guidance_scale": guidance} | more
    if size:
        arguments |= {"height": size[0], "width": size[1]}
    return arguments | ({"negative_prompt": negative} if negative is not None else {})


def pipelines_sd15(run):
    size, text = (48, 64), "StableDiffusionPipeline"
    for name, scheduler, seed in (
        ("ddim", DDIM, 1),
        ("euler_a", EULER_A, 2),
        ("pndm", PNDM, 3),
        ("euler", EULER, 4),
        ("ddpm", DDPM, 5),
        ("dpmpp_2m_karras", DPM_KARRAS, 6),
        ("unipc", UNIPC, 7),
    ):
        run.case(f"sd15.{name}", text, "sd15", scheduler, seed, asked(10, 7.5, size))
    run.case("sd15.no_negative", text, "sd15", DDIM, 8, asked(5, 7.5, size, None))
    run.case("sd15.two_images", text, "sd15", EULER_A, 9, asked(4, 7.5, size, num_images_per_prompt=2))
    run.case("sd15.eta", text, "sd15", DDIM, 10, asked(5, 7.5, size, eta=0.5))
    run.case("sd15.rescaled_guidance", text, "sd15", DDIM, 11, asked(5, 7.5, size, guidance_rescale=0.7))
    run.case("sd15.clip_skip", text, "sd15", DDIM, 12, asked(5, 7.5, size, clip_skip=1))
    run.case("sd15.lcm_scheduler", text, "sd15", LCM, 13, asked(4, 1.5, size))
    run.case("sd15.turbo_1", text, "sd15", TURBO, 14, asked(1, 0.0, size, None))
    run.case("sd15.turbo_4", text, "sd15", TURBO, 15, asked(4, 0.0, size, None))
    image = "StableDiffusionImg2ImgPipeline"
    for name, scheduler, seed in (("ddim", DDIM, 21), ("euler_a", EULER_A, 22), ("pndm", PNDM, 23), ("dpm", DPM, 24)):
        run.case(f"sd15.from_image.{name}", image, "sd15", scheduler, seed, asked(10, 7.5, strength=0.6), size)
    more = asked(5, 7.5, strength=0.75)
    run.case("sd15.from_image.posterior", image, "sd15", DDIM, 25, more, size, posterior=True)
    inpaint = "StableDiffusionInpaintPipeline"
    for strength, seed in ((1.0, 31), (0.6, 32)):
        for name, scheduler in (("ddim", DDIM), ("euler_a", EULER_A)):
            case = f"sd15.inpaint.{name}.strength_{strength}"
            run.case(case, inpaint, "sd15", scheduler, seed, asked(5, 7.5, strength=strength), size, mask=True)


def pipelines_small(run):
    """The UNets of inpaint and lcm, with sd15's other parts."""
    inpaint, size = "StableDiffusionInpaintPipeline", (48, 64)
    for name, scheduler, strength, seed in (
        ("ddim", DDIM, 1.0, 41),
        ("euler_a", EULER_A, 1.0, 42),
        ("dpm", DPM, 0.6, 43),
    ):
        more = asked(5, 7.5, strength=strength)
        case = f"inpaint.{name}.strength_{strength}"
        run.case(case, inpaint, "sd15", scheduler, seed, more, size, mask=True, unet="inpaint")
    text = "StableDiffusionPipeline"
    run.case("lcm.lcm", text, "sd15", LCM, 44, asked(4, 8.0, size, None), unet="lcm")
    run.case("lcm.lcm_1", text, "sd15", LCM, 45, asked(1, 8.0, size, None), unet="lcm")


def pipelines_sd21(run):
    size, text = (16, 24), "StableDiffusionPipeline"
    v = {"prediction_type": "v_prediction"}
    zero_snr = v | {"rescale_betas_zero_snr": True, "timestep_spacing": "trailing"}
    for name, (kind, config), seed in (
        ("dpmpp_2m_karras", DPM_KARRAS, 51),
        ("ddim", DDIM, 52),
        ("euler_a", EULER_A, 53),
        ("pndm", PNDM, 54),
    ):
        run.case(f"sd21.{name}", text, "sd21", (kind, config | v), seed, asked(10, 7.5, size))
    for name, (kind, config), seed in (("ddim", DDIM, 55), ("euler", EULER, 56)):
        more = asked(5, 7.5, size, guidance_rescale=0.7)
        run.case(f"sd21.zero_snr.{name}", text, "sd21", (kind, config | zero_snr), seed, more)
    image = "StableDiffusionImg2ImgPipeline"
    run.case("sd21.from_image", image, "sd21", (DPM_KARRAS[0], DPM_KARRAS[1] | v), 57, asked(10, 7.5, strength=0.6), size)


def pipelines_sdxl(run):
    size, text = (32, 40), "StableDiffusionXLPipeline"
    sizes = {"original_size": (96, 128), "crops_coords_top_left": (8, 16), "target_size": (64, 80)}
    run.case("sdxl.euler", text, "sdxl", EULER, 61, asked(10, 5.0, size, **sizes))
    run.case("sdxl.no_negative", text, "sdxl", EULER, 62, asked(5, 5.0, size, None))
    run.case("sdxl.empty_negative", text, "sdxl", EULER, 62, asked(5, 5.0, size, ""))
    negative_sizes = {"negative_original_size": (24, 24), "negative_target_size": (64, 64)}
    negative_sizes["negative_crops_coords_top_left"] = (4, 0)
    run.case("sdxl.negative_sizes", text, "sdxl", EULER, 63, asked(5, 5.0, size, **sizes, **negative_sizes))
    two = {"prompt_2": "a painting by an old master", "negative_prompt_2": "watermark"}
    run.case("sdxl.two_prompts", text, "sdxl", EULER, 64, asked(5, 5.0, size, **two))
    run.case("sdxl.dpmpp_2m_karras", text, "sdxl", DPM_KARRAS, 65, asked(10, 5.0, size))
    run.case("sdxl.euler_a", text, "sdxl", EULER_A, 66, asked(5, 5.0, size))
    run.case("sdxl.rescaled_guidance", text, "sdxl", EULER, 67, asked(5, 5.0, size, guidance_rescale=0.7))
    run.case("sdxl.clip_skip", text, "sdxl", EULER, 68, asked(5, 5.0, size, clip_skip=1))
    run.case("sdxl.turbo_1", text, "sdxl", TURBO, 69, asked(1, 0.0, size, None))
    run.case("sdxl.turbo_4", text, "sdxl", TURBO, 70, asked(4, 0.0, size, None))
    run.case("sdxl.lcm_scheduler", text, "sdxl", LCM, 71, asked(4, 1.5, size))
    image = "StableDiffusionXLImg2ImgPipeline"
    run.case("sdxl.from_image", image, "sdxl", EULER, 72, asked(10, 5.0, strength=0.6), size)
    inpaint = "StableDiffusionXLInpaintPipeline"
    run.case("sdxl.inpaint", inpaint, "sdxl", EULER, 73, asked(5, 5.0, strength=0.6), size, mask=True)


def write(name, run):
    folder = fresh_folder("pipelines", name)
    write_tensors(folder / "expected.safetensors", run.tensors)
    write_cases(folder / "cases.json", NOTES, run.cases)


def sd15():
    run = Run()
    pipelines_sd15(run)
    write("sd15", run)


def small():
    run = Run()
    pipelines_small(run)
    write("small", run)


def sd21():
    run = Run()
    pipelines_sd21(run)
    write("sd21", run)


def sdxl():
    run = Run()
    pipelines_sdxl(run)
    write("sdxl", run)
