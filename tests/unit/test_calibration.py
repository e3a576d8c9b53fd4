"""Statistics are read in the order of the layers, checked, and their outliers found."""

import json
from pathlib import Path

import matplotlib
import pytest
import torch

from labutils import calibration
from labutils.calibration_plots import plot_absmax, plot_range
from labutils.errors import LabError

matplotlib.use("agg")
LAYERS, HEADS, DIM, CHANNELS = 12, 2, 8, 6
STATISTICS = ("min", "max", "absmax", "mean", "absmean")


def numbered(layer: int, *shape: int) -> torch.Tensor:
    """Values between 1 and 2 that tell the layer: 1.25 in layer 25."""
    return torch.full(shape, 1 + layer / 100, dtype=torch.float16)


def save(folder: Path, kv: bool = True, prefix: str = "model.layers") -> Path:
    """What `lite calibrate` would leave of a small model; layers in an order of no meaning."""
    order = sorted(range(LAYERS), key=str)
    modules = ("attn.q", "mlp.down")
    names = {f"{prefix}.{layer}.{module}": layer for layer in order for module in modules}
    inputs = {s: {n: numbered(layer, CHANNELS) for n, layer in names.items()} for s in STATISTICS}
    for statistic in STATISTICS:
        inputs[statistic]["model.norm"] = torch.zeros(3)
    inputs["ratios"] = dict.fromkeys(names, 0.5)  # --search-scale adds them
    torch.save(inputs, folder / "inputs_stats.pth")
    if kv:
        names = {f"{prefix}.{layer}": layer for layer in order}
        heads = {
            s: {n: numbered(layer, HEADS, DIM) for n, layer in names.items()}
            for s in STATISTICS[:3]
        }
        for kind in ("key", "value"):
            torch.save(heads, folder / f"{kind}_stats.pth")
    return folder


def model(folder: Path, **changes: object) -> Path:
    """A model folder, as far as its config.json."""
    config = {
        "num_hidden_layers": LAYERS,
        "num_attention_heads": 4,
        "num_key_value_heads": HEADS,
        "hidden_size": 4 * DIM,
    }
    made = folder / "model"
    made.mkdir()
    (made / "config.json").write_text(json.dumps(config | changes))
    return made


@pytest.mark.parametrize("prefix", ["model.layers", "transformer.h"])
def test_layers_come_in_their_order(tmp_path, prefix):
    found = calibration.read(save(tmp_path, prefix=prefix), model(tmp_path))
    assert found.layers == LAYERS
    assert list(found.inputs) == ["attn.q", "mlp.down"]
    for of_layers in (found.keys.min, found.values.absmax, found.inputs["mlp.down"]["mean"]):
        assert of_layers.dtype == torch.float16
        expected = [numbered(layer, 1).item() for layer in range(LAYERS)]
        assert of_layers.flatten(1)[:, -1].tolist() == expected
    assert found.keys.max.shape == (LAYERS, HEADS, DIM)
    assert found.inputs["attn.q"]["absmax"].shape == (LAYERS, CHANNELS)


def test_todays_lmdeploy_leaves_no_keys_and_values(tmp_path):
    found = calibration.read(save(tmp_path, kv=False), model(tmp_path))
    assert found.keys is None and found.values is None and found.outputs == {}


def test_no_calibration_folder(tmp_path):
    with pytest.raises(LabError, match=r"holds no statistics \(inputs_stats.pth .*lite calibrate"):
        calibration.read(tmp_path / "nowhere")


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("kind", ["inputs", "key"])
def test_numbers_that_are_none(tmp_path, bad, kind):
    file = save(tmp_path) / f"{kind}_stats.pth"
    stored = torch.load(file)
    name = next(name for name in stored["max"] if ".7" in name)
    stored["max"][name].view(-1)[3] = bad
    torch.save(stored, file)
    with pytest.raises(LabError, match=rf"{kind}_stats.pth: max of {name} holds NaN or infinity"):
        calibration.read(tmp_path)


@pytest.mark.parametrize("damage", ["cut", "text", "other", "gap"])
def test_a_damaged_file(tmp_path, damage):
    file = save(tmp_path) / "value_stats.pth"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2] if damage == "cut" else b"no pickle at all")
    if damage == "other":
        torch.save({"weight": torch.zeros(3)}, file)
    if damage == "gap":
        torch.save({s: {"model.layers.3": torch.zeros(2, 8)} for s in STATISTICS[:3]}, file)
    with pytest.raises(LabError, match="value_stats.pth is damaged: run lmdeploy lite calibrate"):
        calibration.read(tmp_path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"num_hidden_layers": 30}, "a model with 12 layers, and model has 30: calibrate this"),
        ({"num_key_value_heads": 4}, "K of 12 × 2 × 8 .* model calls for 12 × 4 × 8: calibrate"),
        ({"head_dim": 16}, "K of 12 × 2 × 8 .* calls for 12 × 2 × 16"),
    ],
)
def test_another_models_statistics(tmp_path, changes, sentence):
    with pytest.raises(LabError, match=sentence):
        calibration.read(save(tmp_path), model(tmp_path, **changes))


def test_planted_outliers_are_found_the_farthest_first():
    absmax = torch.ones(LAYERS, HEADS, DIM, dtype=torch.float16)
    absmax[3, 1, 5], absmax[7, 0, 2], absmax[8, 0, 0] = 20, 50, 6
    found = calibration.outliers(absmax, k=6)
    assert found == [calibration.Outlier(7, 0, 2, 50.0, 50.0), calibration.Outlier(3, 1, 5, 20, 20)]
    assert len(calibration.outliers(absmax, k=5.9)) == 3
    flat = calibration.outliers(absmax.flatten(1))
    assert [(o.layer, o.channel) for o in flat] == [(7, 2), (3, DIM + 5)]


def test_padding_is_no_channel():
    """A widened model's channels are zero for the greater part; a layer of zeros has no median."""
    absmax = torch.zeros(2, 1, DIM)
    absmax[0, 0, :3] = torch.tensor([1.0, 1.0, 9.0])
    assert calibration.outliers(absmax) == [calibration.Outlier(0, 0, 2, 9.0, 9.0)]


def test_pictures_return_the_numbers_they_draw(tmp_path):
    found = calibration.read(save(tmp_path))
    drawn = plot_absmax(found.keys.absmax, "K")
    assert torch.equal(drawn, found.keys.absmax.float().flatten(1))
    spans = plot_range(found.keys, 7, "K")
    assert spans.shape == (HEADS * DIM, 2) and spans.unique().tolist() == [numbered(7, 1).item()]
    with_zeros = found.keys.absmax.clone()
    with_zeros[:, 0, :4] = 0
    assert torch.equal(plot_absmax(with_zeros, "K"), with_zeros.float().flatten(1))
    matplotlib.pyplot.close("all")
