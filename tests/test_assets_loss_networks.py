"""The networks of the losses and the official detail mesh."""

from pathlib import Path

import numpy as np
import pytest
import torch

from deca_cli.assets import loss_networks
from deca_cli.assets.convert import convert_official
from deca_cli.assets.dense_template import read_dense_template
from deca_cli.assets.loss_networks import read_identity_network, read_vgg19_features
from deca_cli.assets.pickles import read_npy
from deca_cli.errors import ModelError
from deca_cli.packs.store import Pack, load_pack
from deca_cli.pipeline.captures import Decoder
from deca_cli.render.uv import make_chart


@pytest.fixture(scope="module")
def identity(loss_weights: Path) -> dict[str, torch.Tensor]:
    return read_identity_network(loss_weights / "resnet50_ft_weight.pkl")


def test_the_identity_network_is_complete(identity: dict[str, torch.Tensor]):
    assert identity["conv1.weight"].shape == (64, 3, 7, 7)
    assert identity["layer4.2.conv3.weight"].shape == (2048, 512, 1, 1)
    assert identity["fc.weight"].shape == (8631, 2048)
    assert all(tensor.dtype == torch.float32 for tensor in identity.values())


def test_identity_tensors_that_are_unknown_missing_or_misshapen_are_named(
    identity: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch
):
    arrays = {name: tensor.numpy() for name, tensor in identity.items() if name != "fc.weight"}
    whole = identity["fc.weight"].numpy()
    for content, expected in (
        (arrays, r"id\.pkl do not fit.* missing: fc\.weight"),
        (arrays | {"fc.weight": whole, "extra": whole[:1]}, "unknown: extra"),
        (arrays | {"fc.weight": whole[:10]}, r"fc\.weight \(\[10, 2048\] instead"),
        ([1], "does not hold named arrays"),
    ):
        monkeypatch.setattr(loss_networks, "read_pickle", lambda _, content=content: content)
        with pytest.raises(ModelError, match=expected):
            read_identity_network(Path("id.pkl"))


def test_vgg19_is_read_with_and_without_its_classifier(loss_weights: Path, tmp_path: Path):
    features = read_vgg19_features(loss_weights / "vgg19_features.pth")
    assert features["features.34.weight"].shape == (512, 512, 3, 3)
    assert len(features) == 32
    torch.save(features | {"classifier.0.bias": torch.zeros(4096)}, tmp_path / "vgg.pth")
    assert read_vgg19_features(tmp_path / "vgg.pth").keys() == features.keys()
    del features["features.28.bias"]
    torch.save(features, tmp_path / "vgg.pth")
    with pytest.raises(ModelError, match=r"missing: features\.28\.bias"):
        read_vgg19_features(tmp_path / "vgg.pth")


def test_the_official_detail_mesh_is_the_one_of_the_uv_chart(loss_weights: Path, official_pack: Pack):
    template = read_dense_template(loss_weights / "texture_data_256.npy")
    head = official_pack.assets
    uv, uv_faces, faces = (torch.from_numpy(a) for a in (head.uv_coordinates, head.uv_faces, head.faces))
    chart = make_chart(uv, uv_faces, faces, 256)
    np.testing.assert_array_equal(np.sort(template.texels), chart.texels.numpy())
    order = np.argsort(template.texels)
    ours = torch.zeros(len(order), head.template_vertices.shape[0]).scatter_add_(
        1, chart.vertex_ids, chart.weights
    )
    rows = np.arange(len(order))[:, None]
    theirs = ours.numpy()[rows, template.vertex_ids[order]]
    np.testing.assert_allclose(theirs, template.weights[order], atol=1e-4)
    number = np.empty(len(order), np.int64)
    number[order] = np.arange(len(order))
    assert {*map(tuple, number[template.faces].tolist())} == {*map(tuple, chart.faces.tolist())}


def test_a_dense_template_that_points_outside_is_refused(loss_weights: Path, tmp_path: Path):
    content = read_npy(loss_weights / "texture_data_256.npy")
    content["f"] = content["f"] + 10
    np.save(tmp_path / "dense.npy", np.array(content, dtype=object), allow_pickle=True)
    with pytest.raises(ModelError, match="`f` points outside"):
        read_dense_template(tmp_path / "dense.npy")


def test_a_pack_made_with_the_official_detail_mesh_keeps_its_order(
    official_weights: Path, loss_weights: Path, tmp_path: Path
):
    """The made-up file is in the chart's own order, so its vertices are turned round first."""
    for file in official_weights.iterdir():
        (tmp_path / file.name).symlink_to(file)
    content = read_npy(loss_weights / "texture_data_256.npy")
    count = len(content["valid_pixel_ids"])
    for name in ("valid_pixel_ids", "valid_pixel_3d_faces", "valid_pixel_b_coords"):
        content[name] = content[name][::-1].copy()
    content["f"] = count - 1 - content["f"].astype(np.int64)
    np.save(tmp_path / "texture_data_256.npy", np.array(content, dtype=object), allow_pickle=True)
    pack = load_pack(convert_official(tmp_path, tmp_path / "pack"))
    decoder = Decoder.of(pack)
    np.testing.assert_array_equal(decoder.detail_mesh.texels.flip(0), decoder.chart.texels)
    turned = count - 1 - decoder.detail_mesh.faces
    assert {*map(tuple, turned.tolist())} == {*map(tuple, decoder.chart.faces.tolist())}
    np.savez(tmp_path / "pack" / "detail_mesh.npz", texels=np.zeros(1))
    with pytest.raises(ModelError, match=r"detail_mesh\.npz is not a detail mesh"):
        Decoder.of(pack)
    arrays = {"texels": [0], "vertex_ids": [[0, 1, 9999]], "weights": [[1, 0, 0]], "faces": [[0, 0, 0]]}
    np.savez(tmp_path / "pack" / "detail_mesh.npz", **arrays)
    with pytest.raises(ModelError, match="does not fit the head"):
        Decoder.of(pack)
