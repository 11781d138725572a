"""What every oracle test needs: seeds, random parameters, model folders, the probe, and comparison.

A test is a plain program (PYTHONPATH=tests python tests/oracle/test_x.py); its exit code is not zero when it fails.

    from oracle.support import Rng, compare, randomize_parameters, run_cases, run_probe, write_model_folder

    def case(rng, folder):
        module = Module(**random_config(rng)).eval()
        randomize_parameters(module, rng)
        write_model_folder(folder / "model", {"vae": module})
        ...
        compare("sample", run_probe(folder / "model", "vae", inputs, method="decode")["sample"], want)

    if __name__ == "__main__":
        sys.exit(run_cases(case, count=4))
"""
from .comparison import compare, expect, same
from .folders import write_model_folder
from .parameters import randomize_parameters
from .probe import binary, probe_process, refused_probe, run_probe
from .seeds import Rng, run_cases

__all__ = ["Rng", "binary", "compare", "expect", "probe_process", "randomize_parameters", "refused_probe", "run_cases",
           "run_probe", "same", "write_model_folder"]
