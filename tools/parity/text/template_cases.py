"""The chat template fixtures: what transformers makes of each template with each conversation.

The templates themselves lie beside the results (LICENSES.md there says where they come from); this writes only the
conversations and the results: `<template>.json`, and `expressions.json` for many short templates.

What transformers 5.23 does around Jinja, as far as the results show it:

- trim_blocks and lstrip_blocks are on, keep_trailing_newline is off: one newline at the end of a template is dropped.
  autoescape is off. The sandbox forbids names that begin with an underscore and methods that change lists and mappings.
- Always given: messages, tools, documents (None if there are none: `is defined` is true), add_generation_prompt, the
  tokenizer's tokens that have a name and are set (bos_token, eos_token ...), and the caller's variables.
- Entries of a message that are null are dropped before, at its top level only. `reasoning_content`, `thinking` and
  `reasoning` stand for each other: the first that is set becomes `reasoning_content`, and `thinking` if that is missing.
- Further global names: raise_exception(message), strftime_now(format), and dict and namespace in a safe form; a
  namespace takes no names that begin with an underscore. Further tags: break, continue, generation (its content stays).
- tojson is json.dumps with ensure_ascii=False: nothing is escaped for HTML, ", " and ": " between, keys in their order
  (ensure_ascii, indent, separators, sort_keys can be given by name; the first positional one is ensure_ascii). Numbers are
  written as Python does: 1.0, 1e-05, 1e+16.
- Values that are no strings are printed as Python prints them: None, True, ['a', 1.0], {'a': None}.
"""

import datetime

import jinja2
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast
from transformers.utils import chat_template_utils

from common import DATA, write_cases
from template_conversations import CONVERSATIONS
from template_expressions import LINES

FOLDER = DATA / "templates"
NOW = datetime.datetime(2026, 1, 2, 15, 4, 5)

# Template: its first and last token. Those of the models, where the template is a model's.
TEMPLATES = {
    "chatml": ("<s>", "<|im_end|>"),
    "deepseek-r1-distill": ("<｜begin▁of▁sentence｜>", "<｜end▁of▁sentence｜>"),
    "gemma-3": ("<bos>", "<eos>"),
    "gpt-oss": ("<|startoftext|>", "<|return|>"),
    "granite-3.3": ("<|end_of_text|>", "<|end_of_text|>"),
    "llama-2": ("<s>", "</s>"),
    "llama-3.1": ("<|begin_of_text|>", "<|eot_id|>"),
    "llama-3.2": ("<|begin_of_text|>", "<|eot_id|>"),
    "mistral-nemo": ("<s>", "</s>"),
    "mistral-v0.1": ("<s>", "</s>"),
    "mistral-v0.3": ("<s>", "</s>"),
    "phi-3": ("<s>", "<|endoftext|>"),
    "qwen2.5": (None, "<|im_end|>"),
    "qwen3": (None, "<|im_end|>"),
    "qwen3-coder": (None, "<|im_end|>"),
    "smollm2": ("<|im_start|>", "<|im_end|>"),
    "smollm3": (None, "<|im_end|>"),
    "features-loops": ("<s>", "</s>"),
    "features-spaces": ("<s>", "</s>"),
}
# What the features' templates are rendered with; the others with every conversation.
FEW = ("plain", "answered", "turns", "tool_call", "parts", "documents")

NOTES = {
    "now": NOW.isoformat(),
    "text": "what the template gives",
    "error": "why it gives nothing. `by_template`: the template said so itself with raise_exception, and then in these "
    "words; else the words are Python's",
}
CONVERSATION_NOTES = {
    "messages": "as a caller gives them: transformers drops a message's entries that are null before it renders",
    "variables": "further variables of the template",
}


class FrozenClock(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return NOW


def with_tokens(begin, end):
    """A tokenizer without words: only its names for the first and the last token matter here."""
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), bos_token=begin, eos_token=end)


def render(tokenizer, template, conversation, add_generation_prompt):
    try:
        text = tokenizer.apply_chat_template(
            conversation["messages"],
            tools=conversation.get("tools"),
            documents=conversation.get("documents"),
            chat_template=template,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
            **conversation.get("variables", {}),
        )
    except Exception as error:
        by_template = type(error) is jinja2.exceptions.TemplateError
        return {"error": str(error), "by_template": by_template}
    return {"text": text}


def make():
    chat_template_utils.datetime = FrozenClock
    missing = {path.stem for path in FOLDER.glob("*.jinja")} ^ set(TEMPLATES)
    assert not missing, missing
    conversations = [{"name": name} | conversation for name, conversation in CONVERSATIONS.items()]
    write_cases(FOLDER / "conversations.json", {"notes": CONVERSATION_NOTES}, conversations)
    tokenizer = with_tokens("<s>", "</s>")
    lines = [{"template": line} | render(tokenizer, line, CONVERSATIONS["turns"], True) for line in LINES]
    write_cases(FOLDER / "expressions.json", {"notes": NOTES, "bos_token": "<s>", "eos_token": "</s>"}, lines)
    for name, (begin, end) in TEMPLATES.items():
        template = (FOLDER / f"{name}.jinja").read_bytes().decode()
        tokenizer = with_tokens(begin, end)
        cases = []
        for title in FEW if name.startswith("features-") else CONVERSATIONS:
            for prompt in (False, True):
                result = render(tokenizer, template, CONVERSATIONS[title], prompt)
                cases.append({"conversation": title, "add_generation_prompt": prompt} | result)
        head = {"notes": NOTES, "bos_token": begin, "eos_token": end}
        write_cases(FOLDER / f"{name}.json", head, cases)
