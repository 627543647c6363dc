"""HierQ: encoder, then GRU, LSTM and state space model in series, then a dueling Q head over all three.

In: packed frames, visited cells, structured numbers and the recurrent state, for one step `[B, ...]` or a sequence
`[T, B, ...]`. Out: action values, the new state, and what else the network knows (`Aux`). Knows no environment,
no replay, no optimiser. A step is a sequence of length one, so stepping and unrolling are the same arithmetic.

A memory that is switched off passes its input on and has an empty state; without any, the head sees the encoder.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from daddy_puffer.config import PolicyConfig
from daddy_puffer.policies.encoder import Encoder, IdFields
from daddy_puffer.policies.heads import MilestoneHead, QHead
from daddy_puffer.policies.memory import DiagonalSsm, Gru, StridedLstm
from daddy_puffer.policies.pretrained import PretrainedScreen
from daddy_puffer.types import VISITED_SHAPE


@dataclass(frozen=True, slots=True, kw_only=True)
class Preset:
    """Widths of one model size."""

    channels: tuple[int, int, int]  # of the convolutions
    screen: int  # numbers the screen is reduced to
    structured: int  # and the structured part
    memory: int  # GRU, LSTM and output of the state space model
    modes: int  # complex modes of the state space model
    head: int  # hidden units for level and advantages each


PRESETS = {
    "slim": Preset(channels=(16, 32, 64), screen=128, structured=64, memory=128, modes=64, head=128),
    "large": Preset(channels=(32, 64, 128), screen=256, structured=128, memory=256, modes=128, head=256),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservationSpec:
    """Sizes of one observation."""

    stack: int  # frames
    structured: int  # numbers
    milestones: int  # flags: 8 times the packed bytes
    id_fields: IdFields = ()  # (vocabulary, field of the structured numbers, number of ids)


class StateLayout(NamedTuple):
    """Numbers in each part of a recurrent state; 0 for a memory that is switched off."""

    gru: int
    lstm: int  # of h, and of c
    clock: int
    ssm: int

    @property
    def sizes(self) -> list[int]:
        """In the order of `HierQState`."""
        return [self.gru, self.lstm, self.lstm, self.clock, self.ssm]

    @property
    def total(self) -> int:
        """Numbers in the whole state of one environment."""
        return sum(self.sizes)


@dataclass(frozen=True, slots=True)
class HierQState:
    """What the memories hold for B environments, each `[B, width]`; all zeros at the start of an episode."""

    gru: Tensor
    lstm_h: Tensor
    lstm_c: Tensor
    lstm_clock: Tensor  # rows until the LSTM's next update
    ssm: Tensor  # real and imaginary parts in pairs

    @classmethod
    def zeros(cls, batch: int, layout: StateLayout, device: torch.device | str = "cpu") -> HierQState:
        """The state before an episode."""
        return cls.from_flat(torch.zeros(batch, layout.total, device=device), layout)

    @classmethod
    def from_flat(cls, flat: Tensor, layout: StateLayout) -> HierQState:
        """Parts of `[B, S]`, without copying."""
        return cls(*flat.split(layout.sizes, dim=1))

    def to_flat(self) -> Tensor:
        """`[B, S]`."""
        return torch.cat(self.parts, dim=1)

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """In the order of the fields."""
        return self.gru, self.lstm_h, self.lstm_c, self.lstm_clock, self.ssm

    def mask(self, done: Tensor) -> HierQState:
        """Zero the rows where `done` `[B]` is set."""
        keep = (~done.bool()).to(self.gru.dtype).unsqueeze(1)
        return HierQState(*(part * keep for part in self.parts))

    def detach(self) -> HierQState:
        """The same numbers, cut off from the graph."""
        return HierQState(*(part.detach() for part in self.parts))

    def to_puffer(self) -> tuple[Tensor, Tensor]:
        """PufferLib's pair `(h, c)`, each `[1, B, ceil(S / 2)]`: the flat state in two halves, the last padded."""
        flat = self.to_flat()
        padded = torch.nn.functional.pad(flat, (0, flat.shape[1] % 2))
        h, c = padded.chunk(2, dim=1)
        return h.unsqueeze(0), c.unsqueeze(0)

    @classmethod
    def from_puffer(cls, pair: tuple[Tensor, Tensor], layout: StateLayout) -> HierQState:
        """The inverse of `to_puffer`."""
        flat = torch.cat([pair[0][0], pair[1][0]], dim=1)
        return cls.from_flat(flat[:, : layout.total], layout)


class Aux(NamedTuple):
    """What the network knows besides action values; leading axes as theirs."""

    value: Tensor  # level of the action values
    milestone_logits: Tensor  # [..., M]: flags held a little later
    features: Tensor  # what the heads see


class HierQ(nn.Module):
    """The network. Every parameter exists after the constructor; an optimiser may be built at once."""

    def __init__(self, spec: ObservationSpec, num_actions: int, config: PolicyConfig, encoder: nn.Module | None = None):
        """`encoder` replaces the one for screens: `size`, and `(frames, visited, structured) -> [N, size]`."""
        super().__init__()
        preset = PRESETS[config.model_size]
        width = preset.memory
        self.num_actions, self.config = num_actions, config
        self.bf16 = config.bf16
        self.encoder = encoder or _make_encoder(spec, preset, config)
        inputs = encoded = int(self.encoder.size)  # type: ignore[arg-type]
        self.gru = Gru(inputs, width) if config.use_gru else None
        inputs = width if config.use_gru else inputs
        self.lstm = StridedLstm(inputs, width, config.lstm_stride) if config.use_lstm else None
        inputs = width if config.use_lstm else inputs
        self.ssm = DiagonalSsm(inputs, width, preset.modes) if config.use_ssm else None
        self.layout = StateLayout(
            gru=width * config.use_gru,
            lstm=width * config.use_lstm,
            clock=int(config.use_lstm),
            ssm=2 * preset.modes * config.use_ssm,
        )
        memories = config.use_gru + config.use_lstm + config.use_ssm
        features = encoded + width * memories
        self.head = QHead(features, preset.head, num_actions, config.dueling)
        self.milestones = MilestoneHead(features, spec.milestones)

    @property
    def num_layers(self) -> int:
        """Of the state as PufferLib keeps it."""
        return 1

    @property
    def hidden_size(self) -> int:
        """Of the state as PufferLib keeps it."""
        return (self.layout.total + 1) // 2

    def initial_state(self, batch: int) -> HierQState:
        """The state before an episode, on the network's device."""
        return HierQState.zeros(batch, self.layout, next(self.parameters()).device)

    def recurrent_parameters(self) -> list[nn.Parameter]:
        """Parameters of the memories."""
        cells = [cell for cell in (self.gru, self.lstm, self.ssm) if cell is not None]
        return [parameter for cell in cells for parameter in cell.parameters()]

    def check_pretrained(self) -> None:
        """See that the pretrained encoder, if there is to be one, has its weights.

        Raises:
            UserError: there is no such tokenizer, and no checkpoint has been loaded either.
        """
        if self._pretrained is not None:
            self._pretrained.check_pretrained()

    def prepare(self, frames: Tensor) -> Tensor:
        """What `unroll` may be given in place of frames `[T, B, ...]`: a frozen encoder's latents of them.

        They are the same for every unroll, and for the target network too. Else the frames themselves.
        """
        screen = self._pretrained
        if screen is None or screen.trained:
            return frames
        with torch.autocast(frames.device.type, torch.bfloat16, enabled=self.bf16):
            return screen.encode(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

    def forward(
        self, frames: Tensor, structured: Tensor, state: HierQState, done_mask: Tensor, visited: Tensor | None = None
    ) -> tuple[Tensor, HierQState, Aux]:
        """One step of B environments.

        `frames` u8 `[B, stack, 72, 20 or 80]`, `structured` f32 `[B, F]`, `visited` u8 `[B, 9, 10]` or None for none;
        where `done_mask` bool `[B]` is set an episode begins, and the state counts as zero. Returns action values
        `[B, A]`, the state after this observation, and `Aux`.
        """
        if visited is None:
            visited = torch.zeros(len(structured), *VISITED_SHAPE, dtype=torch.uint8, device=structured.device)
        q_values, state, aux = self.unroll(frames[None], structured[None], visited[None], done_mask[None], state)
        return q_values[0], state, Aux(*(part[0] for part in aux))

    def unroll(
        self, frames: Tensor, structured: Tensor, visited: Tensor, first: Tensor, state: HierQState
    ) -> tuple[Tensor, HierQState, Aux]:
        """A sequence of T steps of B environments, all inputs `[T, B, ...]`, `state` before row 0.

        `frames` as `forward` takes them, or what `prepare` made of them.
        `first` bool `[T, B]`: the row begins an episode. Returns action values `[T, B, A]`, the state after the last
        row, and `Aux` `[T, B, ...]`.
        """
        steps, batch = first.shape
        keep = (~first.bool()).to(structured.dtype).unsqueeze(-1)
        with torch.autocast(structured.device.type, torch.bfloat16, enabled=self.bf16):
            encoded = self.encoder(frames.flatten(0, 1), visited.flatten(0, 1), structured.flatten(0, 1))
            features, state = self._remember(encoded.unflatten(0, (steps, batch)), keep, state)
        features = features.float()  # differences between action values are too fine for bfloat16
        q_values, value = self.head(features)
        return q_values, state, Aux(value, self.milestones(features), features)

    @property
    def _pretrained(self) -> PretrainedScreen | None:
        screen = getattr(self.encoder, "screen", None)
        return screen if isinstance(screen, PretrainedScreen) else None

    def _remember(self, x: Tensor, keep: Tensor, state: HierQState) -> tuple[Tensor, HierQState]:
        """The memories in series: `[T, B, D]` to the features of the heads, and the state after the last row."""
        gru, lstm_h, lstm_c, clock, ssm = state.parts
        seen = [x]  # the heads see the present moment itself too, not only what gates let through
        if self.gru is not None:
            x, gru = self.gru(x, keep, gru)
            seen.append(x)
        if self.lstm is not None:
            x, lstm_h, lstm_c, clock = self.lstm(x, keep, lstm_h, lstm_c, clock)
            seen.append(x)
        if self.ssm is not None:
            x, ssm = self.ssm(x, keep, ssm)
            seen.append(x)
        return torch.cat(seen[::-1], dim=-1), HierQState(gru, lstm_h, lstm_c, clock, ssm)


def _make_encoder(spec: ObservationSpec, preset: Preset, config: PolicyConfig) -> Encoder:
    screen = None
    if config.pretrained:
        path = Path(config.pretrained).expanduser()
        screen = PretrainedScreen(path, spec.stack, preset.channels, preset.screen, trained=config.finetune_encoder)
    return Encoder(
        spec.stack, spec.structured, spec.id_fields, preset.channels, preset.screen, preset.structured, screen
    )
