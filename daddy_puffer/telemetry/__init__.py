"""What a run tells about itself: records, and the sinks they go to. Knows no environment, policy or learner."""

from daddy_puffer.telemetry.episodes import EpisodeTracker
from daddy_puffer.telemetry.phases import PhaseTimers
from daddy_puffer.telemetry.records import EpisodeRecord, Event, Interval, Record
from daddy_puffer.telemetry.sinks import Sink, Telemetry

__all__ = ["EpisodeRecord", "EpisodeTracker", "Event", "Interval", "PhaseTimers", "Record", "Sink", "Telemetry"]
