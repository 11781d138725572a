"""UniPCMultistepScheduler and FlowMatchEulerDiscreteScheduler against diffusers: random configs over every field, random
samples and model outputs, 1 to 60 steps.

Timesteps and sigmas are equal to the bit (float32 sigmas may be off by one unit in the last place where numpy's own
float64 pow, exp and log are not those of the C library), samples to 1e-5. What has no finite result in diffusers is
refused here, and nothing else is.
"""
import json
import sys

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler

from oracle.support import compare, expect, probe_process, run_cases, run_probe, same, write_model_folder


def spacing(rng, config):
    kind = rng.choice(["", "", "karras", "exponential", "beta"])
    if kind:
        config[f"use_{kind}_sigmas"] = True
    return kind


def euler(rng):
    config = dict(shift=rng.uniform(0.5, 9), num_train_timesteps=rng.choice([1000, 1000, 333]),
                  invert_sigmas=rng.chance(0.2))
    if rng.chance(0.3):
        config["shift_terminal"] = rng.uniform(0.02, 0.3)
    spacing(rng, config)
    return FlowMatchEulerDiscreteScheduler(**config)


def unipc(rng):
    config = dict(solver_order=rng.choice([1, 2, 2, 3]), predict_x0=rng.chance(0.8),
                  solver_type=rng.choice(["bh1", "bh2", "bh2", "bh2", "midpoint"]), lower_order_final=rng.chance(0.9),
                  final_sigmas_type=rng.choice(["zero", "zero", "sigma_min"]),
                  num_train_timesteps=rng.choice([1000, 1000, 200, 77]),
                  timestep_spacing=rng.choice(["linspace", "leading", "trailing"]), steps_offset=rng.choice([0, 1]),
                  prediction_type=rng.choice(["flow_prediction", "epsilon", "sample", "v_prediction"]),
                  thresholding=rng.chance(0.2), dynamic_thresholding_ratio=rng.uniform(0.7, 0.99),
                  sample_max_value=rng.uniform(1, 2), disable_corrector=rng.sample(range(6), rng.choice([0, 0, 2])))
    if rng.chance(0.5):
        config.update(use_flow_sigmas=True, flow_shift=rng.uniform(0.5, 8))
        if rng.chance(0.2):
            config["shift_terminal"] = rng.uniform(0.02, 0.3)
        if rng.chance(0.2):
            config["use_karras_sigmas"] = True
    else:
        config.update(beta_schedule=rng.choice(["linear", "scaled_linear", "squaredcos_cap_v2"]),
                      beta_start=rng.uniform(1e-5, 1e-3), beta_end=rng.uniform(0.01, 0.03),
                      rescale_betas_zero_snr=rng.chance(0.2))
        if rng.chance(0.15):
            config["trained_betas"] = [rng.uniform(1e-4, 0.02) for _ in range(rng.choice([50, 300]))]
        if spacing(rng, config) and rng.chance(0.3):
            config["sigma_min"], config["sigma_max"] = rng.uniform(0.01, 0.1), rng.uniform(5, 20)
    if config["prediction_type"] == "flow_prediction":
        config["predict_x0"] = True
    return UniPCMultistepScheduler(**config)


def reference_run(scheduler, steps, sample, outputs):
    """timesteps, sigmas and samples, or None where diffusers fails or gives what is not finite."""
    try:
        scheduler.set_timesteps(steps)
        scheduler.set_begin_index(0)
        samples = []
        for timestep, output in zip(scheduler.timesteps, outputs):
            sample = scheduler.step(output, timestep, sample).prev_sample
            samples.append(sample)
    except torch.linalg.LinAlgError:
        return None
    samples = torch.stack(samples)
    return (scheduler.timesteps, scheduler.sigmas, samples) if samples.isfinite().all() else None


def whole_timesteps(config):
    """Are the timesteps cut to whole numbers where they can lie on one but for rounding?"""
    return "use_flow_sigmas" in config and not config["use_flow_sigmas"] and (
        config["use_exponential_sigmas"] or config["use_beta_sigmas"])


def case(rng, folder):
    scheduler = rng.choice([unipc, unipc, unipc, euler])(rng)
    steps = rng.choice([1, 2, 3, 4, 5, 8, 12, 20, 40, 60])
    shape = rng.choice([(2, 4, 3, 5, 6), (1, 16, 2, 3), (3, 7, 2)])
    inputs = {"sample": rng.normal(*shape), "model_outputs": rng.normal(steps, *shape)}
    write_model_folder(folder / "model", {"scheduler": scheduler})
    config = json.loads((folder / "model" / "scheduler" / "scheduler_config.json").read_text())
    print(type(scheduler).__name__, steps, {key: value for key, value in config.items() if key != "trained_betas"})
    want = reference_run(scheduler, steps, inputs["sample"], inputs["model_outputs"])
    if want is None:
        done = probe_process(["--model", folder / "model", "--component", "scheduler", "--steps", steps, "--in",
                              save(inputs, folder), "--out", folder / "out"])
        expect(done.returncode == 2 and "finite" in done.stderr, f"has no finite result: {done.stderr}")
        print("  refused, as it should be")
        return
    got = run_probe(folder / "model", "scheduler", inputs, steps=steps)
    timesteps, sigmas, samples = want
    if timesteps.shape[0] != steps:  # rounding gave one more; the probe stops after `steps`
        expect(config["timestep_spacing"] == "trailing", "more timesteps than steps")
    if whole_timesteps(config):
        expect((got["timesteps"] - timesteps).abs().max() <= 1, f"{got['timesteps']}, should be {timesteps}")
    else:
        same("timesteps", got["timesteps"], timesteps.float())
    compare("sigmas", got["sigmas"], sigmas, atol=1e-12, rtol=1.3e-7, min_rms=0)
    compare("samples", got["samples"], samples, atol=1e-5, rtol=1e-5)


def save(inputs, folder):
    from safetensors.torch import save_file
    save_file(inputs, folder / "in.safetensors")
    return folder / "in.safetensors"


if __name__ == "__main__":
    sys.exit(run_cases(case, count=24))
