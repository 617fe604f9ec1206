"""Peers of the quality benchmark: fed without loss, they keep sizes and order, and absent ones are named."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from trials import small_trial

from benchmarks.quality import peers, ramps
from benchmarks.quality.trial import CodeValues, Trial
from bitexpand.code_values import Floats
from bitexpand.errors import BitexpandError

IDENTITIES = {
    "ffmpeg of 16 bits": peers.ffmpeg_filter("null", 16),
    "ffmpeg of 8 bits": peers.ffmpeg_filter("null", 8),
    "ffmpeg deband": peers.ffmpeg_filter("deband=1thr=0.00003:2thr=0.00003:3thr=0.00003", 16),
    "libplacebo": peers._libplacebo(":deband_threshold=0:deband_grain=0"),
    "G'MIC": peers.gmic_commands(),
}


@pytest.mark.parametrize("name", IDENTITIES)
def test_the_way_through_a_peer_loses_nothing(name: str) -> None:
    skip_without(name)
    codes = np.random.default_rng(0).integers(0, 256, (2, 33, 50, 3), np.uint8)
    result_cv = IDENTITIES[name](codes)
    assert result_cv.dtype == np.float32
    assert result_cv.shape == codes.shape
    assert np.abs(result_cv - codes).max() < 1e-4


def test_a_16_bit_way_has_16_bits() -> None:
    codes = np.tile(np.arange(256, dtype=np.uint8)[None, :, None], (64, 1, 3))[None]
    halved = peers.ffmpeg_filter("lutrgb=r=val/3:g=val/3:b=val/3", 16)(codes)
    assert np.abs(halved - codes / 3).max() < 1 / 257


@pytest.mark.parametrize("index", range(len(peers._PEERS)))
def test_peers_move_a_ramp_a_little_and_keep_its_size(index: int) -> None:
    peer, _ = peers._PEERS[index]
    skip_without(peer.name)
    trial = Trial.rounded("ramps", "ramp", ramps.ramp(8, 20, side=96)[:, :81])
    (result_cv,) = peer.expand([trial])
    moved = np.abs(result_cv - trial.codes)
    assert moved.shape == trial.codes.shape
    assert 0 < moved.mean() < 2
    assert moved.max() < 12


def test_pocs_stays_in_the_bin_and_finds_ramps() -> None:
    trial = Trial.rounded("ramps", "ramp", ramps.ramp(8, 20, side=96))
    result_cv = peers.pocs(trial.codes[None])[0]
    assert np.abs(result_cv - trial.codes).max() <= 0.5
    assert trial.errors(result_cv).gain() > 10


def test_trials_of_several_sizes_come_back_in_order() -> None:
    seen = []

    def expand_all(codes: CodeValues) -> Floats:
        seen.append(codes.shape)
        return codes.astype(np.float32)

    trials = [small_trial(n, height) for n, height in enumerate((40, 40, 24, 40))]
    results = list(peers.Peer("plain", expand_all).expand(trials))
    assert seen == [(2, 40, 56, 3), (1, 24, 56, 3), (1, 40, 56, 3)]
    assert all(np.array_equal(cv, trial.codes) for cv, trial in zip(results, trials, strict=True))


def test_a_peer_that_is_not_there_is_named_with_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    def run_absent(codes: CodeValues) -> Floats:
        return np.frombuffer(peers._output(["no-such-program"], codes.tobytes()), np.float32)

    absent = peers.Peer("Absent", run_absent), "apt's absent"
    broken = peers.Peer("Broken", peers.ffmpeg_filter("no_such_filter", 8)), "another ffmpeg"
    monkeypatch.setattr(peers, "_PEERS", (absent, broken))
    found, missing = peers.available()
    assert [peer.name[:4] for peer in found] == ["POCS"]
    assert missing[0] == "Absent left out (no-such-program is not installed); it needs apt's absent"
    assert missing[1].startswith("Broken left out (")
    assert missing[1].endswith("it needs another ffmpeg")


def test_a_peer_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "_PATIENCE", 0.2)
    with pytest.raises(BitexpandError, match=r"sleep did not end within 0\.2 s"):
        peers._output(["sleep", "60"], b"")


def skip_without(name: str) -> None:
    """Skip where a peer's program is not installed."""
    if "G'MIC" in name and not shutil.which("gmic"):
        pytest.skip("G'MIC is not installed: apt's gmic")
    if "libplacebo" in name:
        try:
            IDENTITIES["libplacebo"](np.zeros((1, 16, 16, 3), np.uint8))
        except BitexpandError as error:
            pytest.skip(f"libplacebo needs Vulkan, apt's mesa-vulkan-drivers: {error}")
