"""Behavioural cloning: a student learns to do what demonstrations do, as a classifier of what is seen (Pomerleau 1991).

In: `Demonstrations`, a `Student`, settings. Out: a `Measured` for every update. Knows no environment and writes no
file: `command.py` evaluates, logs and saves between two updates.

The loss is the cross-entropy of the demonstrated action, weighted by class if asked for; rows without one (an expert
that labels may know nothing) have none. Adam with decoupled weight
decay (Loshchilov & Hutter 2019); the gradient's norm is clipped for the recurrent student's sake.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from daddy_puffer.demos.episode import UNLABELLED
from daddy_puffer.errors import UserError
from daddy_puffer.imitate.data import Demonstrations, Span
from daddy_puffer.imitate.students import Student
from daddy_puffer.numerics.schedules import linear

MAX_GRADIENT_NORM = 10.0
SMALLEST_WEIGHT = 1e-9  # of a batch: nothing in it may be labelled
WEIGHTINGS = ("none", "balanced")


@dataclass(frozen=True, slots=True, kw_only=True)
class BcSettings:
    """How to learn."""

    total_training_steps: int = 100_000  # updates
    batch_size: int = 64  # rows in an update; HierQ takes them as sequences
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    class_weights: str = "none"  # or balanced: every action counts as much in all, however rare it is
    eval_frequency: int = 5_000  # updates between evaluations
    save_frequency: int = 10_000  # updates between checkpoints
    seed: int = 0
    shuffled: bool = False  # HierQ learns sequences from anywhere, not whole episodes in their order
    anneal: bool = False  # the learning rate falls to 0 over the updates

    def __post_init__(self) -> None:
        """Check ranges."""
        whole = (self.total_training_steps, self.batch_size, self.eval_frequency, self.save_frequency)
        if min(whole) < 1:
            raise UserError(f"steps, batch size and frequencies must be at least 1, got {whole}")
        if self.learning_rate <= 0.0 or self.weight_decay < 0.0:
            raise UserError(
                f"learning rate above 0 and weight decay from 0, got {self.learning_rate, self.weight_decay}"
            )
        if self.class_weights not in WEIGHTINGS:
            raise UserError(f"class weights must be one of {', '.join(WEIGHTINGS)}, got {self.class_weights!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One update."""

    step: int  # updates so far
    loss: float
    accuracy: float  # share of the batch's rows where the most likely action was the demonstrated one
    gradient_norm: float  # before clipping


def clone_behaviour(
    student: Student, demos: Demonstrations, settings: BcSettings, steps_done: int = 0
) -> Iterator[Measured]:
    """Learn; yields after every update. `steps_done`: updates before, which are counted only.

    Raises:
        UserError: no row has an action to learn, or the loss is no finite number any more.
    """
    if not any((demos.actions[slice(*span)] != UNLABELLED).any() for span in demos.trained):
        raise UserError("nothing to learn from: the expert named no action in any of the states it was shown")
    parameters = list(student.network.parameters())
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    weights = torch.from_numpy(action_weights(demos, settings.class_weights)).to(student.device)
    batches = student.batches(demos, settings.batch_size, np.random.default_rng(settings.seed), settings.shuffled)
    for step in range(steps_done + 1, steps_done + settings.total_training_steps + 1):
        if settings.anneal:
            done = step - steps_done - 1
            rate = linear(done, settings.learning_rate, 0.0, settings.total_training_steps)
            optimizer.param_groups[0]["lr"] = rate
        batch = next(batches)
        logits = student.logits(demos, batch)
        wanted = torch.from_numpy(demos.actions[batch.rows]).to(student.device)
        loss = cross_entropy(logits, wanted, weights)
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(parameters, MAX_GRADIENT_NORM)
        optimizer.step()
        measured = Measured(
            step=step,
            loss=float(loss.detach()),
            accuracy=float((logits.argmax(-1) == wanted).sum() / (wanted != UNLABELLED).sum().clamp(min=1)),
            gradient_norm=float(norm),
        )
        if not np.isfinite(measured.loss):
            raise UserError(f"the loss of update {step} is {measured.loss}: take a smaller --learning-rate")
        yield measured


def cross_entropy(logits: Tensor, wanted: Tensor, weights: Tensor) -> Tensor:
    """Of logits f32 `[N, A]` and actions i64 `[N]`, a mean by the weights `[A]` over the rows that have an action."""
    losses = functional.cross_entropy(logits, wanted, weights, reduction="none", ignore_index=UNLABELLED)
    total = torch.where(wanted == UNLABELLED, 0.0, weights[wanted.clamp(min=0)]).sum()
    return losses.sum() / total.clamp(min=SMALLEST_WEIGHT)


def action_weights(demos: Demonstrations, kind: str) -> NDArray[np.float32]:
    """Weight of each action `[A]`; balanced: inverse to how often it is demonstrated, 1 on average over the rows."""
    if kind == "none":
        return np.ones(demos.num_actions, np.float32)
    rows = np.concatenate([demos.actions[slice(*span)] for span in demos.trained])
    counts = np.bincount(rows[rows != UNLABELLED], minlength=demos.num_actions)
    weights = counts.sum() / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(counts, weights, 0.0).astype(np.float32)


def accuracy_on(student: Student, demos: Demonstrations, spans: Sequence[Span]) -> float:
    """Share of the labelled rows of whole episodes in which the student does as demonstrated; NaN without any."""
    chosen = [student.episode_logits(demos, span).argmax(-1).cpu().numpy() for span in spans]
    wanted = [demos.actions[slice(*span)] for span in spans]
    if not any((rows != UNLABELLED).any() for rows in wanted):
        return float("nan")
    known = np.concatenate(wanted) != UNLABELLED
    return float((np.concatenate(chosen) == np.concatenate(wanted))[known].mean())
