"""The network: shapes, stepping against unrolling, resets, ablations, gradients, state packing, files."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from daddy_puffer.config import PolicyConfig
from daddy_puffer.game.features import CELL_IDS, FEATURE_COUNT, ID_FIELDS
from daddy_puffer.policies.encoder import Encoder, ScreenEncoder, pack_pixels, unpack_tiles
from daddy_puffer.policies.hierq import HierQ, HierQState, ObservationSpec, StateLayout

SPEC = ObservationSpec(stack=2, structured=FEATURE_COUNT, milestones=16, id_fields=ID_FIELDS)
ACTIONS = 7
ABLATIONS = [
    {"use_gru": gru, "use_lstm": lstm, "use_ssm": ssm}
    for gru in (True, False)
    for lstm in (True, False)
    for ssm in (True, False)
]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)


def sequence(steps: int, batch: int, stack: int = SPEC.stack) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """frames, structured, visited, first with resets inside."""
    structured = torch.rand(steps, batch, FEATURE_COUNT)
    for _, field, count in ID_FIELDS:
        structured[..., field] = torch.randint(0, count, (steps, batch)).float()
    first = torch.zeros(steps, batch, dtype=torch.bool)
    first[0, 0] = True
    first[steps // 2 : steps // 2 + 2, -1] = True
    frames = torch.randint(0, 256, (steps, batch, stack, 72, 20), dtype=torch.uint8)
    return frames, structured, torch.randint(0, 2, (steps, batch, 9, 10), dtype=torch.uint8), first


def random_state(net: HierQ, batch: int) -> HierQState:
    state = HierQState.from_flat(torch.randn(batch, net.layout.total), net.layout)
    clock = torch.randint(0, 2, state.lstm_clock.shape).float() if net.lstm and net.lstm.stride > 1 else 0.0
    return replace(state, lstm_clock=torch.zeros_like(state.lstm_clock) + clock)


@pytest.mark.parametrize("size", ["slim", "large"])
def test_shapes_of_one_step(size: str) -> None:
    net = HierQ(SPEC, ACTIONS, PolicyConfig(model_size=size))
    frames, structured, visited, first = (part[0] for part in sequence(1, 3))
    q_values, state, aux = net(frames, structured, net.initial_state(3), first, visited)
    assert q_values.shape == (3, ACTIONS) and aux.value.shape == (3,) and aux.milestone_logits.shape == (3, 16)
    assert state.to_flat().shape == (3, net.layout.total)
    torch.testing.assert_close(aux.value, q_values.mean(1))


def test_unpacked_pixels_and_no_visited_cells_are_taken_as_well() -> None:
    net = HierQ(SPEC, ACTIONS, PolicyConfig())
    levels = torch.randint(0, 4, (3, SPEC.stack, 72, 80), dtype=torch.uint8)
    pixels = torch.tensor([0, 85, 170, 255], dtype=torch.uint8)[levels.long()]
    packed = torch.from_numpy(
        np.packbits(np.unpackbits(levels.numpy()[..., None], axis=-1)[..., 6:].reshape(3, 2, 72, 160), axis=-1)
    )
    assert torch.equal(pack_pixels(pixels), packed)
    structured, none = torch.rand(3, FEATURE_COUNT), torch.zeros(3, dtype=torch.bool)
    state = net.initial_state(3)
    one = net(pixels, structured, state, none)[0]
    other = net(packed, structured, state, none, torch.zeros(3, 9, 10, dtype=torch.uint8))[0]
    assert torch.equal(one, other)


@pytest.mark.parametrize("stride", [1, 3])
@pytest.mark.parametrize("ablation", ABLATIONS)
def test_stepping_equals_unrolling(ablation: dict[str, bool], stride: int) -> None:
    net = HierQ(SPEC, ACTIONS, PolicyConfig(lstm_stride=stride, **ablation))
    inputs = sequence(9, 3)
    frames, structured, visited, first = inputs
    state = stepped = random_state(net, 3)
    q_values, last, aux = net.unroll(*inputs, state)
    for t in range(9):
        q_step, stepped, aux_step = net(frames[t], structured[t], stepped, first[t], visited[t])
        torch.testing.assert_close(q_step, q_values[t], rtol=0, atol=1e-5)
        torch.testing.assert_close(aux_step.milestone_logits, aux.milestone_logits[t], rtol=0, atol=1e-5)
    torch.testing.assert_close(stepped.to_flat(), last.to_flat(), rtol=0, atol=1e-5)


def test_unrolling_in_two_parts_equals_unrolling_at_once() -> None:
    net = HierQ(SPEC, ACTIONS, PolicyConfig(lstm_stride=4))
    inputs = sequence(11, 2)
    state = random_state(net, 2)
    whole = net.unroll(*inputs, state)
    begin = net.unroll(*(part[:5] for part in inputs), state)
    end = net.unroll(*(part[5:] for part in inputs), begin[1])
    torch.testing.assert_close(torch.cat([begin[0], end[0]]), whole[0], rtol=0, atol=1e-5)
    torch.testing.assert_close(end[1].to_flat(), whole[1].to_flat(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 3])
def test_reset_isolates_episodes(stride: int) -> None:
    net = HierQ(SPEC, ACTIONS, PolicyConfig(lstm_stride=stride))
    frames, structured, visited, first = sequence(8, 2)
    changed = structured.clone()
    changed[:4] = 1.0 - changed[:4]
    q_values = net.unroll(frames, structured, visited, first, random_state(net, 2))[0]
    other = net.unroll(frames, changed, visited, first, random_state(net, 2))[0]
    begins = 4  # row 4 of the last environment is a first one
    assert first[begins, -1] and not first[1:, 0].any()
    torch.testing.assert_close(q_values[begins:, -1], other[begins:, -1])
    assert (q_values[begins:, 0] - other[begins:, 0]).abs().max() > 1e-4


def test_done_mask_equals_a_fresh_state() -> None:
    net = HierQ(SPEC, ACTIONS, PolicyConfig(lstm_stride=2))
    frames, structured, visited, _ = (part[0] for part in sequence(1, 3))
    done = torch.tensor([True, False, True])
    state = random_state(net, 3)
    told = net(frames, structured, state, done, visited)
    masked = net(frames, structured, state.mask(done), torch.zeros(3, dtype=torch.bool), visited)
    torch.testing.assert_close(told[0], masked[0])
    torch.testing.assert_close(told[1].to_flat(), masked[1].to_flat())


def test_memories_are_in_series_and_each_can_be_switched_off() -> None:
    sizes = {}
    for ablation in ABLATIONS:
        net = HierQ(SPEC, ACTIONS, PolicyConfig(**ablation))
        names = {name.split(".")[0] for name, _ in net.named_parameters()}
        assert names == {"encoder", "head", "milestones"} | {key[4:] for key, used in ablation.items() if used}
        sizes[tuple(ablation.values())] = net.layout
    assert sizes[True, True, True] == StateLayout(gru=128, lstm=128, clock=1, ssm=128)
    assert sizes[False, False, False].total == 0
    net = HierQ(SPEC, ACTIONS, PolicyConfig())
    state = net.initial_state(1)
    inputs = sequence(1, 1)
    before = net.unroll(*inputs, state)[1]
    with torch.no_grad():
        net.gru.inward.weight.mul_(2.0)
    after = net.unroll(*inputs, state)[1]
    for name in ("gru", "lstm_h", "ssm"):  # what the first memory does reaches the others
        assert not torch.equal(getattr(before, name), getattr(after, name))


@pytest.mark.parametrize("ablation", ABLATIONS)
@pytest.mark.parametrize("dueling", [True, False])
def test_every_parameter_gets_a_gradient(ablation: dict[str, bool], dueling: bool) -> None:
    net = HierQ(SPEC, ACTIONS, PolicyConfig(dueling=dueling, **ablation))
    q_values, _, aux = net.unroll(*sequence(6, 4), random_state(net, 4))
    (q_values.square().sum() + aux.milestone_logits.square().sum()).backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().max() > 0, name


def plain_screen(net: ScreenEncoder, frames: Tensor, visited: Tensor) -> Tensor:
    """The same encoder as convolutions of torch over unpacked pixels."""
    shifts = torch.tensor([6, 4, 2, 0], dtype=torch.uint8)
    ink = 1.0 - ((frames.unsqueeze(-1) >> shifts) & 3).flatten(-2).float() / 3.0
    stack, tile = frames.shape[1], len(net.tile_bias)
    weight = net.tile_weight.view(4, stack, 4, tile).permute(3, 1, 2, 0)  # column, frame, row
    x = functional.relu(functional.conv2d(ink, weight, net.tile_bias, stride=4))
    weight = net.cell_weight.view(2, 2, tile, -1).permute(3, 2, 0, 1)
    x = functional.conv2d(x, weight, net.cell_bias, stride=2)
    been, often = net.visited_weight.view(2, -1, 1, 1)
    levels = visited.float().unsqueeze(1)
    x = functional.relu(x + (levels > 0) * been + levels / 4 * often)
    weight = net.block_weight.view(3, 3, x.shape[1], -1).permute(3, 2, 0, 1)
    x = functional.relu(functional.conv2d(functional.pad(x, (0, 2)), weight, net.block_bias, stride=3))
    return functional.relu(net.norm(net.merge(x.permute(0, 2, 3, 1).flatten(1))))


@pytest.mark.parametrize("count", [1, 5, 131])
def test_screen_encoder_equals_convolutions(count: int) -> None:
    """With more frames than are unpacked at a time, too."""
    net = ScreenEncoder(stack=2, channels=(3, 5, 7), size=11)
    frames = torch.randint(0, 256, (count, 2, 72, 20), dtype=torch.uint8)
    visited = torch.randint(0, 4, (count, 9, 10), dtype=torch.uint8)
    fast, slow = net(frames, visited), plain_screen(net, frames, visited)
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-5)
    weights = torch.randn_like(fast)
    gradients = [torch.autograd.grad((part * weights).sum(), list(net.parameters())) for part in (fast, slow)]
    for (name, _), one, other in zip(net.named_parameters(), *gradients, strict=True):
        assert other.abs().max() > 0, name
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_tiles_are_unpacked_in_order() -> None:
    frames = torch.full((1, 1, 72, 20), 0xFF, dtype=torch.uint8)  # white
    frames[0, 0, 4 * 3 + 2, 7] = 0b11_11_00_11  # tile row 3, pixel row 2, tile column 7, third pixel black
    ink = unpack_tiles(frames)
    assert ink.sum() == 3.0
    assert ink[1, 0, 2 * 4 + 2, 1 * 20 + 7] == 3.0  # lower half, column 2, row 2, second row of cells


def test_the_network_tells_never_once_and_often_apart() -> None:
    net = ScreenEncoder(stack=1, channels=(8, 8, 8), size=5)
    frames, visited = torch.full((3, 1, 72, 20), 255, dtype=torch.uint8), torch.zeros(3, 9, 10, dtype=torch.uint8)
    visited[:, 4, 4] = torch.tensor([0, 1, 5])
    never, once, often = net(frames, visited)
    assert not torch.equal(never, once) and not torch.equal(once, often)


def test_ids_are_looked_up_and_equal_vocabularies_share_a_table() -> None:
    net = Encoder(1, FEATURE_COUNT, ID_FIELDS, (2, 3, 4), 5, 6)
    sizes = {name: table.num_embeddings for name, table in net.structured.tables.items()}
    assert sizes == {"map": 256, "species": 256, "cell": CELL_IDS}
    structured = torch.rand(2, FEATURE_COUNT)
    structured[:, 0] = torch.tensor([3.0, 4.0])
    structured[0, 3:] = structured[1, 3:]
    structured[0, 1:3] = structured[1, 1:3]
    features = net.structured(structured)
    assert not torch.equal(features[0], features[1])
    structured[:, 0] = 1e9  # no id: the last one is taken, nothing breaks
    assert net.structured(structured).isfinite().all()


class Vectors(nn.Module):
    """An encoder of one's own."""

    size = 9

    def forward(self, frames: Tensor, visited: Tensor, structured: Tensor) -> Tensor:
        return structured[:, :9]


def test_encoder_can_be_replaced() -> None:
    net = HierQ(SPEC, ACTIONS, PolicyConfig(use_gru=False, use_lstm=False, use_ssm=False), encoder=Vectors())
    frames, structured, visited, first = sequence(2, 3)
    features = net.unroll(frames, structured, visited, first, net.initial_state(3))[2].features
    assert torch.equal(features, structured[..., :9])


@pytest.mark.parametrize("ablation", [{}, {"use_ssm": False}, {"use_lstm": False}, ABLATIONS[-1]])
def test_state_packing_round_trips(ablation: dict[str, bool]) -> None:
    net = HierQ(SPEC, ACTIONS, PolicyConfig(**ablation))
    state = random_state(net, 5)
    flat = state.to_flat()
    assert flat.shape == (5, net.layout.total)
    for again in (HierQState.from_flat(flat, net.layout), HierQState.from_puffer(state.to_puffer(), net.layout)):
        for part, other in zip(state.parts, again.parts, strict=True):
            assert torch.equal(part, other)
    h, c = state.to_puffer()
    assert h.shape == c.shape == (net.num_layers, 5, net.hidden_size)
    zeros = HierQState.from_puffer((torch.zeros_like(h), torch.zeros_like(c)), net.layout)
    assert torch.equal(zeros.to_flat(), net.initial_state(5).to_flat())


@pytest.mark.parametrize("ablation", ABLATIONS)
def test_one_environment_alone(ablation: dict[str, bool]) -> None:
    """Parts of a single flat state begin at odd places in memory."""
    net = HierQ(SPEC, ACTIONS, PolicyConfig(**ablation))
    frames, structured, visited, first = (part[0] for part in sequence(1, 2))
    state = random_state(net, 2)
    both = net(frames, structured, state, first, visited)[0]
    alone = HierQState.from_flat(state.to_flat()[1:], net.layout)
    q_values, after, _ = net(frames[1:], structured[1:], alone, first[1:], visited[1:])
    torch.testing.assert_close(q_values[0], both[1], rtol=0, atol=1e-5)
    assert after.to_flat().shape == (1, net.layout.total)


def test_detached_state_carries_no_graph() -> None:
    net = HierQ(SPEC, ACTIONS, PolicyConfig())
    state = net.unroll(*sequence(2, 2), net.initial_state(2))[1]
    assert state.gru.requires_grad and not any(part.requires_grad for part in state.detach().parts)


def test_saved_and_loaded_network_gives_the_same_values() -> None:
    net, other = (HierQ(SPEC, ACTIONS, PolicyConfig()) for _ in range(2))
    inputs = sequence(3, 2)
    state = random_state(net, 2)
    assert not torch.equal(net.unroll(*inputs, state)[0], other.unroll(*inputs, state)[0])
    file = io.BytesIO()
    torch.save(net.state_dict(), file)
    file.seek(0)
    other.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(net.unroll(*inputs, state)[0], other.unroll(*inputs, state)[0])
