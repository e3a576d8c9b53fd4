"""Model folders: whole, or refused in one sentence with nothing half-written."""

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from labutils import models
from labutils.errors import LabError
from labutils.registry import MODELS, SMOLLM2_SOURCE


@pytest.fixture
def copy(tmp_path) -> Path:
    """A copy of the course's own model that a test may spoil."""
    return Path(shutil.copytree(models.model_path(models.DEFAULT), tmp_path / models.DEFAULT))


def test_the_course_model_verifies():
    found = models.verify(models.DEFAULT)
    assert found[0].startswith("files: whole")
    assert found[1] == "architecture: LlamaForCausalLM"
    assert "<|im_start|>user" in found[2]


def test_making_it_again_gives_the_same_files(tmp_path, monkeypatch):
    monkeypatch.setenv("LAB_MODELS_DIR", str(tmp_path))
    made = models.get(models.DEFAULT)
    original = Path(models.model_path(models.DEFAULT))
    assert (made / models.MANIFEST).read_text() == (original / models.MANIFEST).read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == [".lock", models.DEFAULT]


def test_a_missing_folder():
    with pytest.raises(LabError, match="There is no model folder /no/such/model: check the path"):
        models.model_path("/no/such/model")


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(LabError, match=r"no model or folder 'smollm3': choose one of smollm2"):
        models.model_path("smollm3")


def test_a_model_that_is_not_here_says_how_to_get_it():
    with pytest.raises(LabError, match="OpenXLab: ajupyter/EmoLLM_internlm2_7b_full .*LAB_MODEL"):
        models.get("emollm-internlm2-7b")


@pytest.mark.parametrize("lost", ["config.json", "model.safetensors", "tokenizer.json"])
def test_a_lost_file(copy, lost):
    (copy / lost).unlink()
    with pytest.raises(LabError, match=lost):
        models.check_folder(copy)


def test_a_half_downloaded_folder_of_the_students_own(copy):
    (copy / models.MANIFEST).unlink()
    with (copy / "model.safetensors").open("rb+") as weights:
        weights.truncate(100_000_000)
    with pytest.raises(LabError, match="model.safetensors is missing or truncated: fetch"):
        models.model_path(str(copy))


def test_a_lost_shard(copy):
    (copy / models.MANIFEST).unlink()
    index = {"weight_map": {"a": "model.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (copy / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(LabError, match="model-00002-of-00002.safetensors is missing"):
        models.check_folder(copy)


def test_one_altered_byte_is_found_by_verify(copy):
    with (copy / "model.safetensors").open("rb+") as weights:
        weights.seek(-1, os.SEEK_END)
        last = weights.read(1)
        weights.seek(-1, os.SEEK_END)
        weights.write(bytes([last[0] ^ 1]))
    with pytest.raises(LabError, match="model.safetensors is missing, truncated or altered"):
        models.verify(str(copy))


def test_a_changed_chat_template_is_found_by_verify(copy):
    (copy / models.MANIFEST).unlink()
    template = copy / "chat_template.jinja"
    template.write_text(template.read_text().replace("assistant", "robot"))
    with pytest.raises(LabError, match="renders the wrong prompt"):
        models.verify(str(copy))


def test_a_folder_without_a_chat_template_gets_the_line_that_cures_it(copy):
    (copy / models.MANIFEST).unlink()
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(LabError, match=rf"lmdeploy chat {copy} --chat-template \S+\.json$"):
        models.model_path(str(copy))


def test_an_unsupported_architecture(copy):
    (copy / models.MANIFEST).unlink()
    config = json.loads((copy / "config.json").read_text())
    config["architectures"] = ["MysteryForCausalLM"]
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(LabError, match="MysteryForCausalLM .* no such architecture"):
        models.verify(str(copy))


@pytest.mark.parametrize("damage", ["truncated", "altered", "missing"])
def test_a_damaged_embedded_file_is_refused(tmp_path, monkeypatch, damage):
    package = tmp_path / "damaged_model"
    package.mkdir()
    (package / "__init__.py").touch()
    gguf = models.embedded_file(SMOLLM2_SOURCE)
    if damage != "missing":
        data = bytearray(gguf.read_bytes())
        data = data[:-1000] if damage == "truncated" else data[:-1] + bytes([data[-1] ^ 1])
        (package / gguf.name).write_bytes(data)
    monkeypatch.syspath_prepend(tmp_path)
    source = replace(SMOLLM2_SOURCE, package="damaged_model")
    with pytest.raises(LabError, match="missing, truncated or altered: reinstall it with pip"):
        models.materialise(source, tmp_path / "models" / "new")
    assert not (tmp_path / "models").exists()


def in_a_small_disk(size: str, folder: Path, command: list[str]) -> subprocess.CompletedProcess:
    """Run a command with a tmpfs of `size` at `folder`, seen by it alone."""
    folder.mkdir()
    mounted = 'mount -t tmpfs -o size="$1" none "$2" && cd "$2" && shift 2'
    script = mounted + ' && "$@"; code=$?; ls -A; exit $code'
    return subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh"]
        + [size, str(folder), *command],
        env={**os.environ, "LAB_MODELS_DIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_a_full_disk_leaves_nothing(tmp_path):
    lab = [sys.executable, "-m", "labutils.cli", "model", "get", models.DEFAULT]
    failed = in_a_small_disk("20m", tmp_path / "disk", lab)
    if "unshare" in failed.stderr:
        pytest.skip("this system does not let us make a small disk")
    assert failed.returncode == 2
    assert "is full (" in failed.stderr.splitlines()[-1]
    assert "LAB_MODELS_DIR" in failed.stderr.splitlines()[-1]
    assert failed.stdout.split()[-1] == ".lock", "something half-written was left"


def test_an_interrupted_making_leaves_nothing(tmp_path):
    environment = {**os.environ, "LAB_MODELS_DIR": str(tmp_path)}
    lab = [sys.executable, "-m", "labutils.cli", "model", "get", models.DEFAULT]
    process = subprocess.Popen(lab, env=environment, stderr=subprocess.PIPE, text=True)
    while not list(tmp_path.glob(".*.unfinished")) and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(2)
    assert process.wait(60) == 130
    assert [p.name for p in tmp_path.iterdir()] == [".lock"]


def test_the_registry_is_consistent():
    assert len({m.name for m in MODELS}) == len(MODELS)
    assert all(m.sources and m.licence and m.bytes > 0 for m in MODELS)
    assert not models.find(models.DEFAULT).counselling
