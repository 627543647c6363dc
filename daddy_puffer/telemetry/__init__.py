"""What a run tells about itself: records, and the sinks they go to. Knows no environment, policy or learner."""

from daddy_puffer.telemetry.episodes import EpisodeTracker
from daddy_puffer.telemetry.phases import PhaseTimers
from daddy_puffer.telemetry.records import EpisodeRecord, Event, Interval, ProgressRow, Record, StepRows
from daddy_puffer.telemetry.sinks import Sink
from daddy_puffer.telemetry.writer import Telemetry

__all__ = [
    "EpisodeRecord",
    "EpisodeTracker",
    "Event",
    "Interval",
    "PhaseTimers",
    "ProgressRow",
    "Record",
    "Sink",
    "StepRows",
    "Telemetry",
]
