"""LPIPS: the loss, its weights from an archive or a hub, and what is refused as such."""

from __future__ import annotations

import hashlib
import math
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import lpips
import numpy as np
import pytest
import torch
import torchvision
from torch import Tensor, nn

from bitexpand.errors import MissingInputError, UsageError
from bitexpand.metrics import lpips_weights
from bitexpand.metrics.lpips_weights import BACKBONES, LEAST_SIDE, Net, default_folder, load_network
from training.losses import load
from training.losses.structure import Lpips

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = torch.device("cpu")
PEAK = torch.full((1, 1, 1, 1), 255.0)
NETS: list[Net] = ["alex", "vgg"]
BOTH = pytest.mark.parametrize("net", NETS)
REAL = default_folder()
real_weights = pytest.mark.skipif(
    not all((REAL / backbone.file).is_file() for backbone in BACKBONES.values()),
    reason=f"there are no LPIPS weights in {REAL}; `{lpips_weights.COMMAND}` downloads them",
)


def plates(size: tuple[int, int], batch: int = 1) -> tuple[Tensor, Tensor]:
    random = torch.Generator().manual_seed(4)
    truth_cv = 255 * torch.rand((batch, 3, *size), generator=random)
    return truth_cv + 4 * torch.randn(truth_cv.shape, generator=random), truth_cv


def convolutions(network: nn.Module) -> list[nn.Conv2d]:
    return [module for module in network.modules() if isinstance(module, nn.Conv2d)]


def pickled(net: Net, backbone: nn.Module) -> bytes:
    """Return the file that JAX would have written of a network, as the archive's are: protocol 3, HWIO."""
    layers = {
        f"Conv_{i}": {
            "kernel": layer.weight.detach().numpy().transpose(2, 3, 1, 0).copy(),
            "bias": dict(layer.named_parameters())["bias"].detach().numpy(),
        }
        for i, layer in enumerate(convolutions(backbone))
    }
    return pickle.dumps({BACKBONES[net].key: layers}, protocol=3)


@pytest.fixture(scope="module")
def random_backbones() -> dict[Net, nn.Module]:
    with torch.device("meta"):  # most of a network is its classifier, which is not needed
        whole = {
            "alex": torchvision.models.alexnet(weights=None),
            "vgg": torchvision.models.vgg16(weights=None),
        }
    backbones: dict[Net, nn.Module] = {net: whole[net].features.to_empty(device="cpu") for net in NETS}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        for net in NETS:
            for layer in convolutions(backbones[net]):
                layer.reset_parameters()
    return backbones


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, random_backbones: dict[Net, nn.Module]) -> Path:
    """Return a folder with backbones of random weights."""
    made = tmp_path_factory.mktemp("lpips")
    for net, backbone in random_backbones.items():
        (made / BACKBONES[net].file).write_bytes(pickled(net, backbone))
    return made


@pytest.fixture(scope="module")
def losses(folder: Path) -> dict[str, Lpips]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BITEXPAND_LPIPS", str(folder))
        loaded = load(["lpips", "lpips_vgg"], CPU)
    return {name: loss for name, loss in loaded.items() if isinstance(loss, Lpips)}


def of(losses: dict[str, Lpips], net: Net) -> Lpips:
    return losses["lpips" if net == "alex" else "lpips_vgg"]


# --- the loss


@BOTH
def test_the_distance_is_that_of_its_package(losses: dict[str, Lpips], net: Net) -> None:
    loss, (expanded_cv, truth_cv) = of(losses, net), plates((40, 37), batch=2)
    expected = loss.network(expanded_cv / 255, truth_cv / 255, normalize=True)
    assert expected.shape == (2, 1, 1, 1)
    distance = loss(expanded_cv, truth_cv, PEAK)
    assert distance.shape == ()
    torch.testing.assert_close(distance, expected.mean(), rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(loss(truth_cv, expanded_cv, PEAK), distance, rtol=1e-5, atol=1e-8)
    assert float(distance) > 0
    assert float(loss(truth_cv, truth_cv, PEAK)) == 0


def test_the_peak_scales_the_signal(losses: dict[str, Lpips]) -> None:
    expanded_cv, truth_cv = plates((31, 31))
    torch.testing.assert_close(
        losses["lpips"](expanded_cv, truth_cv, PEAK),
        losses["lpips"](expanded_cv * 1023 / 255, truth_cv * 1023 / 255, PEAK * 1023 / 255),
        rtol=1e-4,
        atol=1e-8,
    )


def test_the_gradient_is_that_of_the_value(losses: dict[str, Lpips]) -> None:
    expanded_cv, truth_cv = (plate_cv.double() for plate_cv in plates((31, 31)))
    loss = losses["lpips"]
    loss.network.double()
    try:
        assert torch.autograd.gradcheck(
            lambda cv: loss(cv, truth_cv, PEAK.double()),
            expanded_cv.requires_grad_(),
            fast_mode=True,
            atol=1e-6,
        )
    finally:
        loss.network.float()


@pytest.mark.parametrize("truth", [0.0, 128.0, 255.0])
@pytest.mark.parametrize("away", [0.0, 0.5, -6.0, 6.0])
def test_value_and_gradient_are_finite(losses: dict[str, Lpips], truth: float, away: float) -> None:
    truth_cv = torch.full((1, 3, 32, 32), truth)
    expanded_cv = torch.full_like(truth_cv, truth + away).requires_grad_()
    distance = losses["lpips"](expanded_cv, truth_cv, PEAK)
    distance.backward()
    assert torch.isfinite(distance.detach())
    assert expanded_cv.grad is not None
    assert torch.isfinite(expanded_cv.grad).all()


def test_places_where_no_feature_fires_have_a_gradient_of_zero(folder: Path) -> None:
    loss = Lpips("alex", CPU, folder)
    for layer in convolutions(loss.network.net):
        assert layer.bias is not None
        layer.bias.fill_(-1e6)
    expanded_cv, truth_cv = plates((31, 31))
    expanded_cv.requires_grad_()
    (gradient,) = torch.autograd.grad(loss(expanded_cv, truth_cv, PEAK), expanded_cv)
    assert torch.equal(gradient, torch.zeros_like(gradient))


def test_autocast_changes_neither_value_nor_gradient(losses: dict[str, Lpips]) -> None:
    expanded_cv, truth_cv = plates((40, 40))
    expanded_cv.requires_grad_()
    plain = losses["lpips"](expanded_cv, truth_cv, PEAK)
    with torch.autocast("cpu", torch.bfloat16):
        cast = losses["lpips"](expanded_cv, truth_cv, PEAK)
    assert torch.equal(plain, cast)
    assert torch.equal(*(torch.autograd.grad(loss, expanded_cv)[0] for loss in (plain, cast)))


@BOTH
@pytest.mark.parametrize("wide", [True, False])
def test_the_least_side_is_the_least_that_works(losses: dict[str, Lpips], net: Net, wide: bool) -> None:
    loss, least = of(losses, net), LEAST_SIDE[net]
    sizes = [(least - i, 48) if wide else (48, least - i) for i in range(2)]
    assert math.isfinite(float(loss(*plates(sizes[0]), PEAK)))
    with pytest.raises(RuntimeError):  # torch's own word for it
        loss.network(*plates(sizes[1]))
    message = (
        f"loss '{loss.name}' needs crops of at least {least} pixels a side, not {sizes[1][1]}x{sizes[1][0]}"
    )
    with pytest.raises(UsageError, match=message):
        loss(*plates(sizes[1]), PEAK)


# --- reading the archive


@BOTH
def test_a_backbone_is_read_bit_for_bit_and_frozen(
    losses: dict[str, Lpips], random_backbones: dict[Net, nn.Module], net: Net
) -> None:
    network = of(losses, net).network
    assert not network.training
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert len(convolutions(network.net)) == (5 if net == "alex" else 13)
    assert_same(network.net, random_backbones[net])


def assert_same(loaded: nn.Module, written: nn.Module) -> None:
    for a, b in zip(convolutions(loaded), convolutions(written), strict=True):
        assert all(map(torch.equal, a.parameters(), b.parameters()))


def test_loading_leaves_no_trace(folder: Path, capfd: pytest.CaptureFixture[str]) -> None:
    random_state = torch.get_rng_state()
    load_network("alex", folder)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert capfd.readouterr() == ("", "")


class Exploit:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_pickle_that_would_run_something_is_refused_before_it_does(tmp_path: Path) -> None:
    marker, file = tmp_path / "ran", tmp_path / "alexnet.ckpt"
    file.write_bytes(pickle.dumps({"AlexNet_0": Exploit(marker)}, protocol=3))
    with pytest.raises(UsageError) as error:
        load_network("alex", tmp_path)
    assert f"{file}: not the weights of LPIPS (it asks for posix.system)" in str(error.value)
    assert "delete it and run `python -m training lpips-weights`" in str(error.value)
    assert not marker.exists()


def small_kernels(backbone: nn.Module) -> bytes:
    return pickled("alex", nn.Sequential(*[nn.Conv2d(3, 4, 3) for _ in convolutions(backbone)]))


DAMAGES: dict[str, tuple[Callable[[nn.Module], bytes], str]] = {
    "empty": (lambda _: b"", "Ran out of input"),
    "text": (lambda _: b"<html>not found</html>", "invalid load key"),
    "cut off": (lambda backbone: pickled("alex", backbone)[:-1000], "truncated|Ran out of input"),
    "the other network": (lambda backbone: pickled("vgg", backbone), "AlexNet_0"),
    "no mapping": (lambda _: pickle.dumps([1, 2], 3), "list indices"),
    "no arrays": (
        lambda _: pickle.dumps({"AlexNet_0": {"Conv_0": {"kernel": 1, "bias": 2}}}, 3),
        "transpose",
    ),
    "missing layers": (lambda _: pickle.dumps({"AlexNet_0": {}}, 3), "Conv_0"),
    "other sizes": (small_kernels, "size mismatch for slice1.0.weight"),
    "objects": (
        lambda _: pickle.dumps({"AlexNet_0": {"Conv_0": {"kernel": np.full((1, 1, 1, 1), None)}}}, 3),
        "object",
    ),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_with_anything_else_is_refused(
    tmp_path: Path, random_backbones: dict[Net, nn.Module], damage: str
) -> None:
    make, reason = DAMAGES[damage]
    (tmp_path / "alexnet.ckpt").write_bytes(make(random_backbones["alex"]))
    with pytest.raises(UsageError, match=f"alexnet.ckpt: not the weights of LPIPS .*({reason})"):
        load_network("alex", tmp_path)


def test_the_folder_is_named_by_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BITEXPAND_LPIPS", str(tmp_path))
    assert default_folder() == tmp_path
    monkeypatch.delenv("BITEXPAND_LPIPS")
    assert default_folder() == Path.home() / ".cache" / "bitexpand" / "lpips"


# --- the hub


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return where an empty hub's cache would have AlexNet; no other machine can be reached."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")  # discard, where nobody listens
        monkeypatch.delenv(variable.upper(), raising=False)
    for variable in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    checkpoints = tmp_path / "torch" / "hub" / "checkpoints"
    checkpoints.mkdir(parents=True)
    return checkpoints / Path(torchvision.models.AlexNet_Weights.DEFAULT.url).name


def test_without_the_archive_the_hubs_cache_is_used(
    hub: Path, tmp_path: Path, random_backbones: dict[Net, nn.Module]
) -> None:
    with torch.device("meta"):
        state = torchvision.models.alexnet(weights=None).state_dict()
    features = {f"features.{name}": value for name, value in random_backbones["alex"].state_dict().items()}
    # the classifier, 230 MB, is not used: one zero stands for each of its tensors
    unused = {
        name: torch.zeros(1).expand(value.shape) for name, value in state.items() if name not in features
    }
    torch.save({**features, **unused}, hub)
    network = load_network("alex", tmp_path / "no archive")
    assert_same(network.net, random_backbones["alex"])
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_damaged_file_in_the_hubs_cache_is_named(hub: Path, tmp_path: Path) -> None:
    hub.write_bytes(b"half a download")
    with pytest.raises(UsageError) as error:
        load_network("alex", tmp_path)
    assert str(hub.parent) in str(error.value)
    assert "delete them, or run `python -m training lpips-weights`, which needs no hub" in str(error.value)


@pytest.mark.usefixtures("hub")
def test_neither_archive_nor_hub_names_the_folder_and_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BITEXPAND_LPIPS", str(tmp_path / "here"))
    with pytest.raises(MissingInputError) as error:
        load(["l1", "lpips"], CPU)
    assert f"there is no {tmp_path / 'here' / 'alexnet.ckpt'}" in str(error.value)
    assert "hub cannot be reached" in str(error.value)
    assert "run `python -m training lpips-weights`" in str(error.value)


# --- the real weights, where they are


@real_weights
@BOTH
def test_the_archive_holds_the_heads_of_lpips_bit_for_bit(net: Net) -> None:
    assert hashlib.sha256((REAL / BACKBONES[net].file).read_bytes()).hexdigest() == BACKBONES[net].sha256
    content = lpips_weights._read(REAL / BACKBONES[net].file)
    heads = torch.load(Path(lpips.__file__).parent / "weights" / "v0.1" / f"{net}.pth", map_location="cpu")
    for i in range(5):
        kernel = content[f"NetLinLayer_{i}"]["Conv_0"]["kernel"]
        assert np.array_equal(kernel.transpose(3, 2, 0, 1), heads[f"lin{i}.model.1.weight"].numpy())


@real_weights
@BOTH
def test_real_weights_see_more_in_more_noise(net: Net) -> None:
    loss = Lpips(net, CPU, REAL)
    x, y = torch.meshgrid(torch.linspace(0, 6, 32), torch.linspace(0, 9, 32), indexing="xy")
    truth_cv = torch.stack([128 + 90 * torch.sin(x + k) * torch.cos(y - k) for k in range(3)])[None]
    noise_cv = torch.randn(truth_cv.shape, generator=torch.Generator().manual_seed(0))
    distances = [float(loss(truth_cv + sigma * noise_cv, truth_cv, PEAK)) for sigma in (0, 0.3, 1, 8, 32)]
    assert distances[0] == 0
    assert distances == sorted(set(distances))
    assert distances[-1] > 0.1
