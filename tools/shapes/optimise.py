"""What training needs beside the models: Muon with AdamW, a schedule over a time budget, averaged weights."""
import math
import time
from collections import defaultdict

import torch


def orthogonalised(stack, steps=5):
    """The nearest orthogonal matrices of a stack [n, rows, columns], by Newton-Schulz iteration in bfloat16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    tall = stack.shape[1] > stack.shape[2]
    x = stack.mT if tall else stack
    x = (x / (x.flatten(1).norm(dim=1)[:, None, None] + 1e-7)).bfloat16()
    for _ in range(steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum whose step is orthogonalised, for matrices and convolution kernels (Jordan et al., 2024)."""

    def __init__(self, params, lr, momentum=0.95, weight_decay=0.0):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            by_shape = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.flatten(1).shape].append(parameter)
            for shape, parameters in by_shape.items():
                self.step_stack(group, shape, parameters)

    def step_stack(self, group, shape, parameters):
        updates = []
        for parameter in parameters:
            state = self.state[parameter]
            if "momentum" not in state:
                state["momentum"] = torch.zeros_like(parameter)
            state["momentum"].lerp_(parameter.grad, 1 - group["momentum"])
            updates.append(parameter.grad.lerp(state["momentum"], group["momentum"]).flatten(1))
        scale = 0.2 * math.sqrt(max(shape))
        for parameter, update in zip(parameters, orthogonalised(torch.stack(updates)), strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(update.view_as(parameter), alpha=-group["lr"] * scale)


class Optimisers:
    """Muon for the inner matrices, AdamW for all other parameters, one learning rate schedule."""

    def __init__(self, named_parameters, rate, is_inner, weight_decay=0.01):
        named = [(name, p) for name, p in named_parameters if p.requires_grad]
        inner = [p for name, p in named if p.ndim >= 2 and is_inner(name)]
        chosen = {id(p) for p in inner}
        outer = [p for _, p in named if id(p) not in chosen]
        self.parameters = inner + outer
        self.rate = rate
        self.members = [
            Muon(inner, rate, weight_decay=weight_decay),
            torch.optim.AdamW(outer, rate, betas=(0.9, 0.98), weight_decay=weight_decay),
        ]

    def step(self, factor, clip=1.0):
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, clip)
        for member in self.members:
            for group in member.param_groups:
                group["lr"] = self.rate * factor
            member.step()
            member.zero_grad(set_to_none=True)
        return norm

    def state_dict(self):
        return [member.state_dict() for member in self.members]

    def load_state_dict(self, states):
        for member, state in zip(self.members, states, strict=True):
            member.load_state_dict(state)


class Average:
    """Exponentially averaged weights of a module."""

    def __init__(self, module, decay):
        self.decay = decay
        self.steps = 0
        self.weights = {name: value.detach().clone() for name, value in module.state_dict().items()}

    @torch.no_grad()
    def update(self, module):
        self.steps += 1
        decay = min(self.decay, self.steps / (self.steps + 10))
        for name, value in module.state_dict().items():
            self.weights[name].lerp_(value, 1 - decay)

    def state_dict(self):
        return {"steps": self.steps, "weights": self.weights}

    def load_state_dict(self, state):
        self.steps = state["steps"]
        self.weights = state["weights"]


class Budget:
    """A stage's time: how far it is, and the learning rate's factor there.

    Processor time per thread, so that a busy machine makes a stage longer and not worse.
    """

    def __init__(self, minutes, threads, warm_up=0.02, decay=0.7):
        self.start = time.process_time()
        self.seconds = minutes * 60 * threads
        self.warm_up = warm_up
        self.decay = decay

    def elapsed(self):
        return time.process_time() - self.start

    def progress(self):
        return self.elapsed() / self.seconds

    def factor(self):
        progress = min(self.progress(), 1.0)
        rise = min(1.0, progress / self.warm_up + 0.02)
        fall = min(1.0, (1 - progress) / self.decay)
        return rise * max(fall, 0.01)
