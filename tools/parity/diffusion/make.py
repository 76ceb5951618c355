"""Makes the fixtures of the diffusion tests anew, all of them or those that are named.

    python tools/parity/diffusion/make.py [name...]

What they hold and which Python packages they need is in README.md beside this file.
"""

import sys
import warnings

sys.dont_write_bytecode = True

import diffusers
import transformers

import check_noise
import lora
import parts
import pipelines
import prompts
import schedulers
import single_file
import tokenizer

FIXTURES = {
    "sd15": parts.sd15,
    "sd21": parts.sd21,
    "sdxl": parts.sdxl,
    "inpaint": parts.inpaint,
    "lcm": parts.lcm,
    "taesd": parts.taesd,
    "schedulers": schedulers.schedulers,
    "pipelines.sd15": pipelines.sd15,
    "pipelines.small": pipelines.small,
    "pipelines.sd21": pipelines.sd21,
    "pipelines.sdxl": pipelines.sdxl,
    "lora.sd15": lora.sd15,
    "lora.sdxl": lora.sdxl,
    "prompts": prompts.prompts,
    "single": single_file.single,
    "tokenizer": tokenizer.tokenizer,
}


def main():
    names = sys.argv[1:] or list(FIXTURES)
    unknown = [name for name in names if name not in FIXTURES]
    if unknown:
        sys.exit(f"no fixture is called {', '.join(unknown)}; there are: {', '.join(FIXTURES)}")
    warnings.filterwarnings("ignore", module="peft")
    diffusers.logging.set_verbosity_error()
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    check_noise.main()
    for name in names:
        print(name, flush=True)
        FIXTURES[name]()


main()
