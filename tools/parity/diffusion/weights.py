"""Random weights for a model: never zero, exact in f16, scaled so that activations stay of order one."""

import torch

from common import half_exact, normal


def fill(model, name, gains=(), shifts=()):
    """Sets every parameter from its own name. `gains` are (end of a parameter's name, factor) for louder or softer ones,
    `shifts` (end of a parameter's name, amount) for those with a mean other than zero."""
    for module_name, module in model.named_modules():
        for parameter_name, parameter in module.named_parameters(recurse=False):
            path = f"{module_name}.{parameter_name}".lstrip(".")
            values = normal(f"{name}/{path}", *parameter.shape)
            if isinstance(module, torch.nn.Embedding):
                values = values * 0.5
            elif isinstance(module, torch.nn.LayerNorm | torch.nn.GroupNorm) and parameter_name == "weight":
                values = 1 + 0.1 * values
            elif parameter.dim() == 1:
                values = 0.1 * values
            else:
                values = values / parameter[0].numel() ** 0.5
            for ending, factor in gains:
                if path.endswith(ending):
                    values = values * factor
            for ending, amount in shifts:
                if path.endswith(ending):
                    values = values + amount
            parameter.copy_(half_exact(values))
    return model.eval()
