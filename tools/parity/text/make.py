"""Makes the fixtures of the text engines' tests anew, all of them or those that are named.

    python tools/parity/text/make.py [name...]

What they hold and which Python packages they need is in README.md beside this file.
"""

import importlib
import sys

sys.dont_write_bytecode = True

import transformers

# name: (the module beside this file, its function)
FIXTURES = {
    "models": ("models", "make"),
    "quants": ("quants", "make"),
    "bert": ("bert", "make"),
    "tokenizers": ("tokenizer_cases", "make"),
    "templates": ("template_cases", "make"),
}


def main():
    names = sys.argv[1:] or list(FIXTURES)
    unknown = [name for name in names if name not in FIXTURES]
    if unknown:
        sys.exit(f"no fixture is called {', '.join(unknown)}; there are: {', '.join(FIXTURES)}")
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    for name in names:
        print(name, flush=True)
        module, function = FIXTURES[name]
        getattr(importlib.import_module(module), function)()


main()
