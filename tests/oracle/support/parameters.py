"""Random values for every saved parameter, so that none can be left out or mixed up without being seen.

Freshly made modules hide mistakes: their norms are ones, their biases and tables zeros.
"""
import torch
from torch import nn


def randomize_parameters(module, rng, dtype=None):
    """Gives all parameters and saved buffers of `module` random values that keep activations near order one.

    dtype: values that this type can hold exactly, so that a model saved in it loads to the same numbers.
    Returns the module.
    """
    done = set()
    # T5's attention has no 1/sqrt(d): unscaled queries would saturate the softmax, and a test see one token only.
    queries = {id(part.q.weight): part.key_value_proj_dim**-0.5 for part in module.modules()
               if type(part).__name__.endswith("T5Attention")}
    with torch.no_grad():
        for owner in module.modules():
            kept = set(owner.state_dict(keep_vars=True))
            own = list(owner.named_parameters(recurse=False)) + list(owner.named_buffers(recurse=False))
            for name, tensor in own:
                if name not in kept or id(tensor) in done or not tensor.is_floating_point():
                    continue
                done.add(id(tensor))
                mean, std = _law(owner, name, tensor)
                values = rng.normal(*tensor.shape, mean=mean, std=std * queries.get(id(tensor), 1.0))
                if name == "running_var":
                    values = values.abs() + 0.5
                tensor.copy_(values.to(dtype) if dtype is not None else values)
    return module


def _law(owner, name, tensor):
    kind = type(owner).__name__.lower()
    scales = name in ("weight", "gamma", "scale") and ("norm" in kind or tensor.dim() == 1)
    if scales or name == "gamma" or name == "running_var":
        return 1.0, 0.2
    if name in ("bias", "beta", "running_mean"):
        return 0.0, 0.2
    if isinstance(owner, nn.Embedding):
        return 0.0, 1.0
    if name == "weight" and tensor.dim() >= 2:
        inputs = tensor[0].numel()
        if isinstance(owner, (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)):
            inputs = tensor.numel() // tensor.shape[1]
        return 0.0, inputs**-0.5
    return 0.0, 0.4  # modulation tables, class tokens, positions
