"""Comparison that says how near it was."""
import torch


def compare(name, got, want, atol=1e-4, rtol=1e-4, min_rms=None):
    """|got - want| <= atol + rtol |want| everywhere, or AssertionError. Prints the largest difference, its place and
    the share of the tolerance used, and returns that share.

    min_rms (default 10 atol): a reference whose values are smaller than that would show nothing, and fails too.
    """
    if tuple(got.shape) != tuple(want.shape):
        raise AssertionError(f"{name}: shape {list(got.shape)}, should be {list(want.shape)}")
    got, want = got.detach().double(), want.detach().double()
    for what, tensor in (("result", got), ("reference", want)):
        bad = (~torch.isfinite(tensor)).sum().item()
        if bad:
            raise AssertionError(f"{name}: {bad} of {tensor.numel()} values of the {what} are not finite")
    if want.numel() == 0:
        raise AssertionError(f"{name}: nothing to compare, shape {list(want.shape)}")
    rms = want.pow(2).mean().sqrt().item()
    if rms < (10 * atol if min_rms is None else min_rms):
        raise AssertionError(f"{name}: the reference has an rms of only {rms:.2e}; agreeing with it shows nothing")
    difference = (got - want).abs()
    used = difference / (atol + rtol * want.abs())
    flat = int(used.argmax())
    place = [int(i) for i in torch.unravel_index(torch.tensor(flat), want.shape)] if want.dim() else []
    share = used.flatten()[flat].item()
    text = (f"{name}: largest difference {difference.max().item():.2e}; nearest to the limit at {place}: "
            f"{got.flatten()[flat].item():.7g}, should be {want.flatten()[flat].item():.7g}; "
            f"{100 * share:.1f} % of atol {atol:g} + rtol {rtol:g}; rms {rms:.3g}; shape {list(want.shape)}")
    print("  " + text, flush=True)
    if share > 1:
        wrong = (used > 1).sum().item()
        raise AssertionError(f"{text}; {wrong} of {want.numel()} values are outside")
    return share


def same(name, got, want):
    """Equal shape and values (ids, bit-equal results)."""
    if tuple(got.shape) != tuple(want.shape):
        raise AssertionError(f"{name}: shape {list(got.shape)}, should be {list(want.shape)}")
    if not torch.equal(got, want.to(got.dtype)):
        place = (got != want.to(got.dtype)).nonzero()[0].tolist()
        raise AssertionError(f"{name}: differs first at {place}: {got[tuple(place)].item()}, should be "
                             f"{want[tuple(place)].item()}")


def expect(condition, message):
    """For what is no tensor."""
    if not condition:
        raise AssertionError(message)
