"""Options that several command lines share, each with its help; defaults are the commands' own."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

AllowedEnv = Annotated[str, typer.Option(help="another environment that they may run")]
BatchRows = Annotated[int, typer.Option(help="rows in an update")]
ClassWeights = Annotated[str, typer.Option(help="none or balanced")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda")]
DeviceOrDefault = Annotated[str | None, typer.Option(help="auto, cpu or cuda")]
EnvId = Annotated[str, typer.Option(help="a Gymnasium environment, or python:module:function")]
EnvKeywords = Annotated[str, typer.Option(help="JSON object of its keywords")]
Grey = Annotated[bool, typer.Option("--grey/--rgb", help="of the pictures")]
HiddenDim = Annotated[int, typer.Option(min=1, help="of ImpalaCNN")]
LearningRate = Annotated[float, typer.Option("--lr", "--learning-rate")]
MaxSteps = Annotated[int | None, typer.Option(min=1, help="actions until an episode is cut off")]
ModelSize = Annotated[str | None, typer.Option(help="of HierQ: slim or large")]
MovedRom = Annotated[str | None, typer.Option(help="the ROM, if it lies elsewhere now")]
PictureSize = Annotated[str, typer.Option(help="of the pictures: height x width as in 84x84, or native")]
RandomStartSteps = Annotated[int, typer.Option(min=0, help="random actions before an episode, at most")]
Resume = Annotated[Path | None, typer.Option(help="run folder or checkpoint to go on from")]
Rom = Annotated[str | None, typer.Option(help="your pokemon_red.gb; default: the practice cartridge")]
SequenceLength = Annotated[int, typer.Option(min=1, help="rows of a sequence, HierQ")]
Settings = Annotated[Path | None, typer.Option(help="YAML file of settings")]
StudentKind = Annotated[str, typer.Option(help="hierq or impala")]
Threads = Annotated[int, typer.Option(min=1, help="torch threads")]
WeightDecay = Annotated[float, typer.Option()]
