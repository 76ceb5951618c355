"""Every scheduler over a model that is a simple function: timesteps, sigmas and the latent after each step."""

import math

import diffusers
import torch

from common import fresh_folder, normal, write_cases, write_tensors
from noise import injected

SHAPE = (1, 4, 2, 3)
LONGEST = 31
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}

KINDS = {
    "pndm": ("PNDMScheduler", {"skip_prk_steps": True, "set_alpha_to_one": False, "steps_offset": 1}),
    "ddim": ("DDIMScheduler", {"clip_sample": False, "set_alpha_to_one": False, "steps_offset": 1}),
    "ddpm": ("DDPMScheduler", {"clip_sample": False, "steps_offset": 1}),
    "euler": ("EulerDiscreteScheduler", {"steps_offset": 1}),
    "euler_a": ("EulerAncestralDiscreteScheduler", {"steps_offset": 1}),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", {"steps_offset": 1}),
    "dpmpp_2m_sde": ("DPMSolverMultistepScheduler", {"steps_offset": 1, "algorithm_type": "sde-dpmsolver++"}),
    "unipc": ("UniPCMultistepScheduler", {"steps_offset": 1}),
    "lcm": ("LCMScheduler", {"clip_sample": False, "steps_offset": 0}),
}

PREDICTIONS = {
    "pndm": ["epsilon", "v_prediction"],
    "euler_a": ["epsilon", "v_prediction"],
}
KARRAS, EXPONENTIAL = {"use_karras_sigmas": True}, {"use_exponential_sigmas": True}
ZERO_SNR = {"rescale_betas_zero_snr": True}
ZERO_SNR_V = ZERO_SNR | {"prediction_type": "v_prediction"}
LAST_SIGMA = {"final_sigmas_type": "sigma_min"}

# Further variants by name: what they add to the configuration, and the timestep spacings they run with.
VARIANTS = {
    "ddim": [
        ("to_one", {"set_alpha_to_one": True}, ["leading"]),
        ("linear_betas", {"beta_schedule": "linear"}, ["leading"]),
        ("clip", {"clip_sample": True}, ["leading"]),
        ("zero_snr_v", ZERO_SNR_V, ["trailing"]),
    ],
    "ddpm": [
        ("fixed_large", {"variance_type": "fixed_large"}, ["leading"]),
        ("zero_snr_v", ZERO_SNR_V, ["trailing"]),
    ],
    "euler": [
        ("karras", KARRAS, ["leading", "linspace", "trailing"]),
        ("exponential", EXPONENTIAL, ["leading", "linspace"]),
        ("karras_v", KARRAS | {"prediction_type": "v_prediction"}, ["linspace"]),
        ("last_sigma", LAST_SIGMA, ["leading"]),
        ("zero_snr_v", ZERO_SNR_V, ["trailing"]),
    ],
    "euler_a": [("zero_snr_v", ZERO_SNR_V, ["trailing"])],
    "dpmpp_2m": [
        ("karras", KARRAS, ["leading", "linspace"]),
        ("karras_v", KARRAS | {"prediction_type": "v_prediction"}, ["linspace"]),
        ("exponential", EXPONENTIAL, ["linspace"]),
        ("last_sigma", LAST_SIGMA, ["linspace"]),
        ("euler_at_final", {"euler_at_final": True}, ["linspace"]),
        ("not_lower_final", {"lower_order_final": False}, ["linspace"]),
        ("heun", {"solver_type": "heun"}, ["linspace"]),
        ("order_1", {"solver_order": 1}, ["linspace"]),
        ("zero_snr_v", ZERO_SNR_V, ["trailing"]),
    ],
    "dpmpp_2m_sde": [("karras", KARRAS, ["linspace"]), ("heun", {"solver_type": "heun"}, ["linspace"])],
    "unipc": [
        ("karras", KARRAS, ["leading", "linspace"]),
        ("exponential", EXPONENTIAL, ["linspace"]),
        ("last_sigma", LAST_SIGMA, ["linspace"]),
        ("bh1", LAST_SIGMA | {"solver_type": "bh1"}, ["linspace"]),
        ("order_3", {"solver_order": 3}, ["linspace"]),
        ("not_lower_final", {"lower_order_final": False, "final_sigmas_type": "sigma_min"}, ["linspace"]),
        ("zero_snr_v", ZERO_SNR_V, ["trailing"]),
    ],
    "lcm": [("zero_snr_v", ZERO_SNR_V, ["leading"]), ("to_alpha_0", {"set_alpha_to_one": False}, ["leading"])],
}

NOTES = {
    "model": "model_output = x * a + 0.1 in f32, where x is the latent after scale_model_input and a is "
    "0.3 * cos(timestep / 1000), computed in f64 from the timestep as it stands in `timesteps` and rounded to f32",
    "start": "the first latent is `initial` * init_noise_sigma; with a strength it is `image` noised by add_noise with "
    "`initial` at the first timestep that remains (tensor <case>.noisy), as the image-to-image pipelines do",
    "noise": "a step that draws noise gets row i of `noise`, where i is the step's number in `timesteps`, from 0 (with a "
    "strength: from 0 at the first step that runs)",
    "tensors": "<case>.timesteps (in diffusers' own number type), <case>.sigmas (where the scheduler has them), "
    "<case>.latents: the latent after each step, stacked. tables.alphas_cumprod.<betas>: the 1000 products",
    "config": "of the diffusers class; what is not named has the class's default",
}


def model_output(scaled, timestep):
    factor = torch.tensor(0.3 * math.cos(float(timestep) / 1000.0), dtype=torch.float32)
    return scaled * factor + 0.1


class Run:
    """The recorded tensors and cases of one run over all schedulers."""

    def __init__(self):
        self.initial = normal("schedulers/initial", *SHAPE)
        self.image = normal("schedulers/image", *SHAPE) * 0.8
        self.noise = normal("schedulers/noise", LONGEST, *SHAPE)
        self.tensors = {"initial": self.initial, "image": self.image, "noise": self.noise}
        self.cases = []

    def case(self, name, kind, config, steps, eta=None, strength=None):
        class_name, common = KINDS[kind]
        config = common | config
        scheduler = getattr(diffusers, class_name)(**(BETAS | config))
        scheduler.set_timesteps(steps)
        timesteps = scheduler.timesteps
        entry = {"name": name, "class": class_name, "config": BETAS | config, "steps": steps}
        if strength is None:
            latent = self.initial * scheduler.init_noise_sigma
            entry["init_noise_sigma"] = float(scheduler.init_noise_sigma)
        else:
            entry["strength"] = strength
            first = max(steps - min(int(steps * strength), steps), 0)
            timesteps = timesteps[first:]
            if hasattr(scheduler, "set_begin_index"):
                scheduler.set_begin_index(first)
            latent = scheduler.add_noise(self.image, self.initial, timesteps[:1])
            self.tensors[f"{name}.noisy"] = latent
        more = {} if eta is None else {"eta": eta}
        latents, draws = [], []
        for i, t in enumerate(timesteps):
            scaled = scheduler.scale_model_input(latent, t)

            def draw(shape, i=i):
                draws.append(i)
                return self.noise[i].reshape(shape)

            with injected(draw):
                latent = scheduler.step(model_output(scaled, t), t, latent, **more).prev_sample
            assert latent.dtype == torch.float32
            latents.append(latent)
        self.tensors |= {f"{name}.timesteps": timesteps, f"{name}.latents": torch.stack(latents)}
        sigmas = getattr(scheduler, "sigmas", None)
        if sigmas is not None:
            self.tensors[f"{name}.sigmas"] = sigmas
        self.cases.append(entry | more | {"noise_at_steps": draws})




def all_cases(run):
    for kind in KINDS:
        predictions = PREDICTIONS.get(kind, ["epsilon", "v_prediction", "sample"])
        # LCM takes its timesteps from its training schedule, whatever the spacing is called.
        spacings = ["leading"] if kind == "lcm" else ["leading", "linspace", "trailing"]
        for spacing in spacings:
            for prediction in predictions:
                config = {"timestep_spacing": spacing, "prediction_type": prediction}
                for steps in (4, 10, 30) if prediction == "epsilon" else (10,):
                    run.case(f"{kind}.{prediction}.{spacing}.{steps}", kind, config, steps)
        for variant, config, spacings in VARIANTS.get(kind, []):
            for spacing in spacings:
                for steps in (4, 10, 30):
                    name = f"{kind}.{variant}.{spacing}.{steps}"
                    run.case(name, kind, config | {"timestep_spacing": spacing}, steps)
    for spacing in ("leading", "trailing"):
        for prediction in ("epsilon", "v_prediction"):
            for steps in (4, 10, 30) if prediction == "epsilon" else (10,):
                config = {"timestep_spacing": spacing, "prediction_type": prediction}
                run.case(f"ddim.eta_half.{prediction}.{spacing}.{steps}", "ddim", config, steps, eta=0.5)


def few_steps(run):
    """One to three steps, as distilled models run."""
    for kind in ("ddim", "euler", "euler_a", "dpmpp_2m", "unipc", "lcm"):
        for steps in (1, 2, 3):
            run.case(f"{kind}.few.trailing.{steps}", kind, {"timestep_spacing": "trailing"}, steps)
    run.case("lcm.few.leading.8", "lcm", {"timestep_spacing": "leading"}, 8)


def from_image(run):
    """Image to image: the first timesteps are left out."""
    for kind in KINDS:
        spacing = "linspace" if kind in ("dpmpp_2m", "dpmpp_2m_sde", "unipc") else "leading"
        for steps, strengths in ((10, (0.3, 0.6, 1.0)), (30, (0.75,))):
            for strength in strengths:
                config = {"timestep_spacing": spacing}
                name = f"{kind}.from_image.{spacing}.{steps}.strength_{strength}"
                run.case(name, kind, config, steps, strength=strength)
    for strength in (0.3, 0.6):
        config = KARRAS | {"timestep_spacing": "linspace"}
        run.case(f"dpmpp_2m.from_image_karras.linspace.10.strength_{strength}", "dpmpp_2m", config, 10, strength=strength)
        run.case(f"euler.from_image_karras.linspace.10.strength_{strength}", "euler", config, 10, strength=strength)


def tables(run):
    for name, config in {
        "scaled_linear": BETAS,
        "linear": BETAS | {"beta_schedule": "linear"},
        "squaredcos_cap_v2": BETAS | {"beta_schedule": "squaredcos_cap_v2"},
        "scaled_linear_zero_snr": BETAS | ZERO_SNR,
    }.items():
        run.tensors[f"tables.alphas_cumprod.{name}"] = diffusers.DDIMScheduler(**config).alphas_cumprod


def schedulers():
    folder, run = fresh_folder("schedulers"), Run()
    tables(run)
    all_cases(run)
    few_steps(run)
    from_image(run)
    names = [case["name"] for case in run.cases]
    assert len(set(names)) == len(names)
    write_tensors(folder / "expected.safetensors", run.tensors)
    write_cases(folder / "cases.json", NOTES, run.cases)
