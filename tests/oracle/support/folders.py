"""Model folders in the Diffusers layout, written by the reference's own save_pretrained."""
import copy
import json

from torch import nn
from transformers.utils import logging

logging.disable_progress_bar()  # of save_pretrained, in logs


def write_model_folder(folder, components, pipeline_class="WanPipeline", dtype=None, max_shard_size=None,
                       extra=None):
    """Writes model_index.json and each component's folder; returns `folder`.

    components: key -> object with save_pretrained, None ([null, null]), or (library, class name, writer(folder)).
    dtype: type that modules are stored in. max_shard_size: bytes; small ones give several files and an index.
    extra: further entries of model_index.json.
    """
    folder.mkdir(parents=True, exist_ok=True)
    index = {"_class_name": pipeline_class, "_diffusers_version": "0.42.1", **(extra or {})}
    for key, component in components.items():
        if component is None:
            index[key] = [None, None]
        elif isinstance(component, tuple):
            library, class_name, write = component
            index[key] = [library, class_name]
            (folder / key).mkdir(exist_ok=True)
            write(folder / key)
        else:
            index[key] = [type(component).__module__.split(".")[0], type(component).__name__]
            _save(component, folder / key, dtype, max_shard_size)
    (folder / "model_index.json").write_text(json.dumps(index, indent=2))
    return folder


def _save(component, folder, dtype, max_shard_size):
    if not isinstance(component, nn.Module):
        component.save_pretrained(folder)
        return
    if dtype is not None:
        component = copy.deepcopy(component).to(dtype)
    component.save_pretrained(folder, **({"max_shard_size": max_shard_size} if max_shard_size else {}))
