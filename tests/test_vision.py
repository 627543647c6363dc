"""The parts of learning from frames, each by itself: codebook, losses, measures, files, networks that begin right."""

from __future__ import annotations

import math
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from daddy_puffer.errors import UserError
from daddy_puffer.pretraining.frames import pack, unpack
from daddy_puffer.vision.codebook import Codebook
from daddy_puffer.vision.dynamics import Dynamics, DynamicsSettings
from daddy_puffer.vision.losses import perceptual_loss, structural_loss
from daddy_puffer.vision.measures import changed_cells, codes_used, copy_last, mean_over, perplexity, psnr
from daddy_puffer.vision.pixels import nearest_levels, to_brightness, to_levels
from daddy_puffer.vision.saved import load_saved, save
from daddy_puffer.vision.tokenizer import Tokenizer, TokenizerSettings, load_tokenizer, network_state

SMALL = {"tile_channels": 8, "cell_channels": 12, "block_channels": 4}
CPU = torch.device("cpu")


pytestmark = pytest.mark.usefixtures("one_thread")


def pictures(seed: int, count: int = 2) -> torch.Tensor:
    """Packed frames with random pixels."""
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, (count, 72, 20), dtype=np.uint8))


def two_codes(decay: float = 0.5) -> Codebook:
    """Codes at (0, 0) and (10, 10), each as if one vector had always chosen it."""
    codebook = Codebook(2, 2, decay=decay, patience_updates=2)
    codes = torch.tensor([[0.0, 0.0], [10.0, 10.0]])
    codebook.codes.copy_(codes)
    codebook.sums.copy_(codes)
    return codebook


def test_codes_follow_their_vectors_as_worked_out_by_hand() -> None:
    codebook = two_codes(decay=0.5)
    vectors = torch.tensor([[1.0, 1.0], [3.0, 1.0], [1.0, 4.0], [11.0, 12.0]])
    tokens = codebook.nearest(vectors)
    assert tokens.tolist() == [0, 0, 0, 1]
    codebook.follow(vectors, tokens)
    # counts: 0.5 * 1 + 0.5 * 3 and 0.5 * 1 + 0.5 * 1
    # sums: 0.5 * (0, 0) + 0.5 * (5, 6) and 0.5 * (10, 10) + 0.5 * (11, 12)
    torch.testing.assert_close(codebook.counts, torch.tensor([2.0, 1.0]))
    torch.testing.assert_close(codebook.sums, torch.tensor([[2.5, 3.0], [10.5, 11.0]]))
    expected = torch.tensor([[2.5 / 2, 3.0 / 2], [10.5, 11.0]])
    torch.testing.assert_close(codebook.codes, expected, rtol=1e-4, atol=0.0)  # but for the smoothing of counts


def test_codes_move_onto_the_mean_of_what_chooses_them() -> None:
    codebook = two_codes(decay=0.9)
    vectors = torch.tensor([[1.0, 2.0], [3.0, 4.0], [9.0, 8.0]])
    for _ in range(200):
        codebook.follow(vectors, codebook.nearest(vectors))
    torch.testing.assert_close(codebook.codes, torch.tensor([[2.0, 3.0], [9.0, 8.0]]), rtol=1e-3, atol=1e-3)


def test_a_dead_code_is_put_where_a_code_is_missing() -> None:
    codebook = two_codes()
    vectors = torch.tensor([[0.0, 0.0]] * 50 + [[-7.0, 2.0]])  # nobody is near (10, 10); one vector is far from all
    restarted = []
    for _ in range(3):
        tokens = codebook.nearest(vectors)
        codebook.follow(vectors[:50], tokens[:50])
        restarted.append(codebook.restart_dead(vectors, tokens))
    assert restarted == [0, 1, 0]  # idle for two updates; once put elsewhere, not at once dead again
    torch.testing.assert_close(codebook.codes[1], torch.tensor([-7.0, 2.0]), rtol=1e-3, atol=0.0)
    assert codebook.nearest(vectors)[-1] == 1


def test_no_code_is_restarted_where_every_vector_has_its_own() -> None:
    codebook = two_codes()
    codebook.idle_updates.fill_(99)
    vectors = codebook.codes.clone()
    assert codebook.restart_dead(vectors, torch.tensor([0, 1])) == 0


@given(st.integers(0, 10_000))
@settings(max_examples=20, deadline=None)
def test_nearest_is_the_nearest(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    codebook = Codebook(7, 3)
    codebook.codes.copy_(torch.randn(7, 3, generator=generator))
    vectors = torch.randn(20, 3, generator=generator)
    slow = [min(range(7), key=lambda k: float(((v - codebook.codes[k]) ** 2).sum())) for v in vectors]
    assert codebook.nearest(vectors).tolist() == slow


@given(st.integers(0, 10_000))
@settings(max_examples=10, deadline=None)
def test_structural_loss_is_zero_for_equals_symmetric_and_positive(seed: int) -> None:
    one, other = (to_brightness(pictures(seed + offset))[:, None] for offset in (0, 20_000))
    assert float(structural_loss(one, one)) == pytest.approx(0.0, abs=1e-5)
    assert float(structural_loss(one, other)) == pytest.approx(float(structural_loss(other, one)), abs=1e-6)
    assert 0.1 < float(structural_loss(one, other)) <= 2.0


def test_structural_loss_knows_a_shifted_texture_from_a_darker_one() -> None:
    one = to_brightness(pictures(0))[:, None]
    assert structural_loss(one * 0.9, one) < 0.1 < structural_loss(one.roll(3, dims=-1), one)


def test_the_gradient_of_structural_loss_leads_to_the_picture() -> None:
    wanted = to_brightness(pictures(1))[:, None]
    shown = nn.Parameter(torch.full_like(wanted, 0.5))
    optimizer = torch.optim.Adam([shown], lr=0.05)
    first = float(structural_loss(shown.detach(), wanted))
    for _ in range(30):
        optimizer.zero_grad()
        structural_loss(shown, wanted).backward()
        assert bool(torch.isfinite(shown.grad).all())
        optimizer.step()
    assert float(structural_loss(shown.detach(), wanted)) < 0.2 * first


class StandInLpips(nn.Module):
    """Takes what lpips.LPIPS takes."""

    def __init__(self, net: str, verbose: bool) -> None:
        super().__init__()
        assert net == "alex"

    def forward(self, one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        assert one.shape[1] == 3 and float(one.min()) == -1.0 and float(one.max()) == 1.0
        return (one - other).abs().mean((1, 2, 3), keepdim=True)


def test_lpips_only_with_its_weights(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setitem(sys.modules, "lpips", None)
    loss, line = perceptual_loss("auto", CPU)
    assert loss is structural_loss and "lpips is not installed" in line
    module = types.ModuleType("lpips")
    module.LPIPS = StandInLpips  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "lpips", module)
    loss, line = perceptual_loss("auto", CPU)
    assert loss is structural_loss and "no weights" in line
    with pytest.raises(UserError, match="no weights"):
        perceptual_loss("lpips", CPU)
    weights = tmp_path / "hub" / "checkpoints" / "alexnet-owt-7be5be79.pth"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"")
    loss, line = perceptual_loss("auto", CPU)
    assert loss is not None and line == "perceptual loss: LPIPS (AlexNet)"
    one = to_brightness(pictures(2))[:, None]
    assert float(loss(one, one)) == 0.0 and float(loss(one, 1 - one)) > 0.5


def test_perceptual_losses_by_name() -> None:
    assert perceptual_loss("none", CPU) == (None, "perceptual loss: none")
    assert perceptual_loss("structural", CPU)[0] is structural_loss
    with pytest.raises(UserError, match="--perceptual must be one of auto"):
        perceptual_loss("vgg", CPU)


def test_measures_of_codes() -> None:
    assert codes_used(torch.tensor([5, 0, 1, 0])) == 0.5
    assert perplexity(torch.tensor([3, 3, 3, 0])) == pytest.approx(3.0)
    assert perplexity(torch.tensor([9, 0, 0, 0])) == pytest.approx(1.0)
    # entropy of (1/2, 1/4, 1/4) is 1.5 bits
    assert perplexity(torch.tensor([2, 1, 1])) == pytest.approx(2**1.5)


def test_measures_of_pictures() -> None:
    assert psnr(0.01) == pytest.approx(20.0) and psnr(0.0) == pytest.approx(100.0)
    assert math.isnan(mean_over(torch.ones(3), torch.zeros(3, dtype=torch.bool)))
    assert mean_over(torch.tensor([1.0, 2.0, 5.0]), torch.tensor([False, True, True])) == 3.5


def test_copy_last_is_the_newest_frame() -> None:
    frames = to_levels(pictures(3, 6)).unflatten(0, (2, 3))
    assert torch.equal(copy_last(frames), torch.stack([frames[0, 2], frames[1, 2]]))


@given(st.integers(0, 71), st.integers(0, 79))
@settings(max_examples=20, deadline=None)
def test_one_pixel_changes_one_cell(y: int, x: int) -> None:
    before = to_levels(pictures(4, 1))
    after = before.clone()
    after[0, y, x] = 3 - after[0, y, x]
    assert torch.nonzero(changed_cells(before, after)).tolist() == [[0, y // 8, x // 8]]
    assert not bool(changed_cells(before, before).any())


def test_levels_are_those_of_the_file_format() -> None:
    packed = pictures(5)
    assert np.array_equal(to_levels(packed).numpy(), unpack(packed.numpy()))
    assert torch.equal(nearest_levels(to_brightness(packed)), to_levels(packed))
    assert nearest_levels(torch.tensor([-0.4, 0.17, 0.16, 1.7])).tolist() == [0, 1, 0, 3]
    assert np.array_equal(pack(unpack(packed.numpy())), packed.numpy())


@pytest.mark.parametrize("kind", ["vq", "continuous"])
def test_a_tokenizer_comes_back_frozen_and_equal(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer(TokenizerSettings(kind=kind, codes=32, **SMALL))
    save(tmp_path / "tokenizer.pt", "tokenizer", network_state(tokenizer))
    loaded = load_tokenizer(tmp_path)
    assert not loaded.training and not any(p.requires_grad for p in loaded.parameters())
    packed = pictures(6)
    with torch.no_grad():
        one, other = tokenizer.encode(packed), loaded.encode(packed)
    assert one.latents.shape == (2, 16, 9, 10) and torch.equal(one.latents, other.latents)
    assert loaded.decode(other.latents).shape == (2, 1, 72, 80)
    if kind == "vq":
        assert other.tokens is not None and torch.equal(loaded.embed(other.tokens), other.latents)
    else:
        assert other.tokens is None
        with pytest.raises(ValueError, match="no tokens"):
            loaded.embed(torch.zeros(1, 9, 10, dtype=torch.int64))


def test_the_gradient_passes_straight_through_the_codebook() -> None:
    tokenizer = Tokenizer(TokenizerSettings(kind="vq", codes=16, **SMALL))
    encoded = tokenizer.encode(pictures(7))
    tokenizer.decode(encoded.latents).square().mean().backward()
    first = tokenizer.encoder[0].weight.grad
    assert first is not None and float(first.abs().sum()) > 0
    assert not tokenizer.codebook.codes.requires_grad


@pytest.mark.parametrize("damage", ["cut", "bit", "text", "kind", "missing"])
def test_a_damaged_file_is_named(damage: str, tmp_path: Path) -> None:
    path = save(tmp_path / "tokenizer.pt", "tokenizer", network_state(Tokenizer(TokenizerSettings(codes=8, **SMALL))))
    data = bytearray(path.read_bytes())
    if damage == "bit":
        data[len(data) // 2] ^= 1
    path.write_bytes({"cut": bytes(data[:1000]), "text": b"hello"}.get(damage, bytes(data)))
    if damage == "kind":
        save(path, "dynamics", {})
    if damage == "missing":
        path.unlink()
    with pytest.raises(UserError, match=r"tokenizer\.pt"):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "forged",
    [
        {"format": torch.zeros(3)},
        {"kind": torch.zeros(2, 2)},
        {"settings": torch.zeros(2, 2)},
        {"settings": {"blocks": 2**70}},
        {"settings": {"tile_channels": float("nan")}},
        {"settings": {"cell_channels": 2**40}},
        {"network": []},
    ],
)
def test_a_whole_file_with_an_odd_value_is_refused_at_once(forged: dict[str, object], tmp_path: Path) -> None:
    state = network_state(Tokenizer(TokenizerSettings(codes=8, **SMALL)))
    if isinstance(forged.get("settings"), dict):
        forged = {"settings": {**state["settings"], **forged["settings"]}}  # type: ignore[dict-item]
    torch.save({"format": 1, "kind": "tokenizer", **state, **forged}, tmp_path / "tokenizer.pt")
    with pytest.raises(UserError, match=r"tokenizer\.pt"):
        load_tokenizer(tmp_path)


def test_nothing_is_run_by_reading(tmp_path: Path) -> None:
    marker = tmp_path / "run"

    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return (eval, (f"open({str(marker)!r}, 'w')",))

    torch.save({"format": 1, "kind": "tokenizer", "network": Evil()}, tmp_path / "tokenizer.pt")
    with pytest.raises(UserError, match="damaged"):
        load_saved(tmp_path / "tokenizer.pt", "tokenizer")
    assert not marker.exists()


@pytest.mark.parametrize("model", ["transformer", "mlp"])
@pytest.mark.parametrize("kind", ["vq", "continuous"])
def test_dynamics_begin_as_the_copy_of_the_newest_frame(kind: str, model: str) -> None:
    torch.manual_seed(0)
    tokenizer = Tokenizer(TokenizerSettings(kind=kind, codes=32, **SMALL))
    dynamics = Dynamics(DynamicsSettings(model=model, context=2, width=16), tokenizer)
    context = pictures(8, 6).unflatten(0, (3, 2))
    newest = tokenizer.encode(context[:, -1])
    imagined = dynamics.imagine(context, 2)
    assert imagined.shape == (3, 2, 72, 80)
    for step in range(2):
        torch.testing.assert_close(imagined[:, step], tokenizer.decode(newest.latents)[:, 0], rtol=1e-4, atol=1e-5)
    assert all(p.requires_grad for p in dynamics.learned_parameters())
    assert not any(p.requires_grad for p in dynamics.train().tokenizer.parameters())


@pytest.mark.parametrize(
    ("build", "text"),
    [
        (lambda: TokenizerSettings(kind="gan"), "--kind must be one of vq, continuous"),
        (lambda: TokenizerSettings(codes=1), "2 to 16384"),
        (lambda: DynamicsSettings(model="rnn"), "--model must be one of transformer, mlp"),
        (lambda: DynamicsSettings(width=30), "multiple of heads"),
    ],
)
def test_impossible_shapes(build: object, text: str) -> None:
    with pytest.raises(UserError, match=text):
        build()  # type: ignore[operator]
