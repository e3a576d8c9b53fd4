"""Makes 4-bit models with the real `lmdeploy lite auto_awq`, in the environment under test."""

import json
import subprocess
import sys
from pathlib import Path

from safetensors.torch import load_file, save_file

README = """\
---
configs:
- config_name: wikitext-2-raw-v1
  data_files:
  - split: train
    path: train.jsonl
---
"""
DATASETS = """\
import json
from pathlib import Path


def load_dataset(name, *args, **kwargs):
    lines = Path(name, "train.jsonl").read_text(encoding="utf-8").splitlines()
    return {"text": [json.loads(line)["text"] for line in lines]}
"""
"""For LMDeploy 0.2.4, whose numpy the real library cannot use; it is seen by 0.2.4 only."""


def write_text(folder: Path) -> Path:
    """A folder in which LMDeploy finds a wikitext, with text from the standard library."""
    from pydoc_data.topics import topics

    (folder / "wikitext").mkdir()
    (folder / "wikitext" / "README.md").write_text(README)
    rows = [json.dumps({"text": topics[key]}) for key in sorted(topics)]
    (folder / "wikitext" / "train.jsonl").write_text("\n".join(rows) + "\n")
    (folder / "datasets.py").write_text(DATASETS)
    return folder


def auto_awq(model: Path, folder: Path, group_size: int, *options: str, text: Path) -> Path:
    """Quantize with today's LMDeploy: its own command, run in the folder of the text."""
    lmdeploy = str(Path(sys.executable).with_name("lmdeploy"))
    command = [lmdeploy, "lite", "auto_awq", str(model), "--work-dir", str(folder)]
    command += ["--w-group-size", str(group_size), "--device", "cpu", *options]
    done = subprocess.run(command, cwd=text, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


def shorten(model: Path, folder: Path, layers: int) -> Path:
    """A copy of a model's first few layers: real weights, quantized in seconds."""
    folder.mkdir()
    config = json.loads((model / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"num_hidden_layers": layers}))
    kept = {
        name: tensor
        for name, tensor in load_file(model / "model.safetensors").items()
        if not name.startswith("model.layers.") or int(name.split(".")[2]) < layers
    }
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (folder / name).symlink_to(model / name)
    return folder
