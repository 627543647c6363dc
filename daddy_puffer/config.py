"""The one tree of settings: frozen dataclasses, read from YAML, overridden by the command line.

In: a YAML file in upstream's sections (env, train, policies, rewards, wrappers, wandb). Out: `Config`.
Unknown keys and wrong types raise `UserError`. Every field has its unit and, where there is one, its source.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from difflib import get_close_matches
from math import isfinite
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from daddy_puffer.errors import UserError
from daddy_puffer.files import replacing

_LONGEST_FILE, _DEEPEST, _MOST_NODES = 1 << 18, 32, 20_000  # characters, levels and values of a YAML file


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise UserError(message)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnvConfig:
    """One emulated game."""

    gb_path: str = ""  # ROM file; empty = the practice cartridge in the package
    init_state: str = ""  # save state file or power_on; empty = the practice cartridge's start, else power_on
    action_freq: int = 24  # frames an action lasts
    max_steps: int = 2048  # actions until an episode is truncated
    patience_steps: int = 0  # in training also once so many actions brought no more than patience_reward; 0 = never
    patience_reward: float = 0.0  # rewards above 0 of the game, added up over patience_steps
    frame_stack: int = 1  # frames the policy sees at once; it has memories, and 24 frames pass between two
    random_wait: int = 30  # frames waited before an episode at most, drawn anew: turns the game's dice

    def __post_init__(self) -> None:
        """Check ranges."""
        _require(self.action_freq >= 10, f"env.action_freq must be at least 10 frames, got {self.action_freq}")
        _require(self.max_steps >= 1, f"env.max_steps must be at least 1, got {self.max_steps}")
        _require(self.patience_steps >= 0, f"env.patience_steps is negative: {self.patience_steps}")
        _require(self.patience_reward >= 0.0, f"env.patience_reward is negative: {self.patience_reward}")
        ok = 0 <= self.random_wait <= 3600  # a minute
        _require(ok, f"env.random_wait must be 0..3600 frames, got {self.random_wait}")
        _require(1 <= self.frame_stack <= 16, f"env.frame_stack must be 1..16, got {self.frame_stack}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyConfig:
    """HierQ. `model_size` picks the preset; every memory can be switched off for ablations."""

    model_size: str = "slim"  # slim | large
    use_gru: bool = True
    use_lstm: bool = True
    use_ssm: bool = True
    lstm_stride: int = 1  # LSTM updates every k-th step of an episode
    dueling: bool = True
    bf16: bool = False  # matrix products below the heads in bfloat16, where autocast finds that safe; for GPUs
    pretrained: str = ""  # tokenizer of `daddy-puffer pretrain` whose encoder the screen goes through; empty = none
    finetune_encoder: bool = False  # train that encoder along; false = it stays as it is

    def __post_init__(self) -> None:
        """Check ranges."""
        ok = bool(self.pretrained) or not self.finetune_encoder
        _require(ok, "policy.finetune_encoder needs policy.pretrained: a tokenizer of `daddy-puffer pretrain`")
        _require(self.model_size in ("slim", "large"), f"model_size must be slim or large, got {self.model_size!r}")
        _require(self.lstm_stride >= 1, f"lstm_stride must be at least 1, got {self.lstm_stride}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayConfig:
    """Sequence replay (Kapturowski et al. 2019, section 2.3)."""

    kind: str = "sequences"  # sequences, or rollouts: only the newest rows, no replay (PQN, Gallici 2025)
    capacity: int = 200_000  # transitions
    file: str = ""  # where they lie instead of memory (2 KB each): a file that goes with the run; empty = memory
    burn_in: int = 4  # rows unrolled without loss before the trained ones
    sequence_length: int = 20  # trained rows
    sequence_period: int = 10  # rows between stored recurrent states, where sequences may start
    batch_size: int = 8  # sequences in an update
    learning_starts: int = 3_000  # transitions stored before the first update
    prioritized: bool = False  # draw sequences by TD error instead of evenly: on the cartridge it learned less
    priority_exponent: float = 0.9  # R2D2 table 2
    importance_sampling_exponent: float = 0.6  # R2D2 table 2
    max_priority_weight: float = 0.9  # share of max against mean absolute TD error
    return_filter: float = 1.0  # share of the ended episodes that is learned from, those of the best returns; 1 = all

    def __post_init__(self) -> None:
        """Check ranges."""
        _require(0.0 < self.return_filter <= 1.0, f"replay.return_filter must be in (0, 1], got {self.return_filter}")
        rows = self.burn_in + self.sequence_length + 1
        kinds = ("sequences", "rollouts")
        _require(self.kind in kinds, f"replay.kind must be one of {kinds}, got {self.kind!r}")
        _require(
            self.kind == "sequences" or self.burn_in == 0, "replay.burn_in must be 0 where replay.kind is rollouts"
        )
        _require(self.kind == "sequences" or not self.file, "replay.file is for replay.kind sequences")
        _require(self.sequence_length >= 1 and self.burn_in >= 0, "replay.sequence_length >= 1 and burn_in >= 0")
        _require(self.capacity >= 4 * rows, f"replay.capacity {self.capacity} must be at least 4 x {rows} rows")
        _require(self.sequence_period >= 1, f"replay.sequence_period must be at least 1, got {self.sequence_period}")
        _require(self.batch_size >= 1, f"replay.batch_size must be at least 1, got {self.batch_size}")
        reachable = 2 * self.learning_starts <= self.capacity  # half: capacity is rounded down, ends are no transitions
        _require(reachable, f"replay.learning_starts {self.learning_starts} is over half of capacity {self.capacity}")
        _require(self.priority_exponent >= 0.0, f"replay.priority_exponent is negative: {self.priority_exponent}")
        shares = (self.importance_sampling_exponent, self.max_priority_weight)
        _require(
            all(0.0 <= share <= 1.0 for share in shares),
            f"replay.importance_sampling_exponent and max_priority_weight must be in [0, 1], got {shares}",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnerConfig:
    """Deep Q-learning on sequences."""

    learning_rate: float = 5e-4
    anneal_from: float = 1.0  # share of train.total_steps from where on the learning rate falls to 0; 1 = never
    recurrent_learning_rate_scale: float = 0.5  # RESeL: recurrent cells learn slower than heads
    gamma: float = 0.97  # discount a step
    n_step: int = 1  # rows until the bootstrap; 1 = TD(0)
    double_q: bool = True  # van Hasselt 2016
    expected_bootstrap: bool = True  # Expected Sarsa of softmax(Q / exploration.temperature), not its best action
    value_rescaling: bool = False  # signed hyperbolic h, Pohlen 2018
    trace_decay: float = 0.0  # lambda of Q(lambda); above 0 it takes n_step's place
    cut_traces: bool = True  # Watkins: returns end where the action was not greedy; false = Peng, as in PQN
    munchausen_scale: float = 0.0  # M-DQN, Vieillard 2020 has 0.9; above 0 it takes double_q's place
    milestone_loss_weight: float = 0.05  # share of foreseeing milestones in the loss
    target_network: bool = True  # false: the online network is its own target, as in PQN
    target_period_updates: int = 8  # updates between target network copies
    max_grad_norm: float = 10.0
    replay_ratio: float = 6.0  # trained rows for each environment step

    def __post_init__(self) -> None:
        """Check ranges."""
        _require(0.0 <= self.gamma < 1.0, f"learner.gamma must be in [0, 1), got {self.gamma}")
        _require(self.n_step >= 1, f"learner.n_step must be at least 1, got {self.n_step}")
        _require(0.0 <= self.anneal_from <= 1.0, f"learner.anneal_from must be in [0, 1], got {self.anneal_from}")
        shares = (self.trace_decay, self.munchausen_scale)
        ok = all(0.0 <= share <= 1.0 for share in shares)
        _require(ok, f"learner.trace_decay and munchausen_scale must be in [0, 1], got {shares}")


@dataclass(frozen=True, slots=True, kw_only=True)
class DemosConfig:
    """Q-learning with demonstrations, in the stand-alone trainer: recorded ones, or the run's own best way."""

    folder: str = ""  # of episode_0001.npz and so on; empty = none
    own_way: list[str] = field(default_factory=list)  # milestones: the shortest way kept to the last one is learnt from
    own_way_interval: int = 5_000  # environment steps between looks for a better one
    own_wins: int = 0  # whole episodes that got to such a milestone: the newest so many are learnt from, too
    ratio: float = 0.0625  # share of a batch's sequences that are demonstrations; R2D3, Paine 2019
    bc_weight: float = 1.0  # of the cross-entropy of what was demonstrated, times exploration.temperature
    margin_weight: float = 0.0  # of the large-margin loss; DQfD, Hester 2018
    margin: float = 0.25  # reward by which that wants the demonstrated action to lead
    anneal_steps: int = 0  # environment steps over which both weights fall to 0; 0 = never
    refresh_updates: int = 1_000  # updates between recomputations of the recurrent states in demonstrations
    warm_up_updates: int = 0  # updates on demonstrations alone before the first step

    def __post_init__(self) -> None:
        """Check ranges."""
        _require(0.0 <= self.ratio <= 1.0, f"demos.ratio must be in [0, 1], got {self.ratio}")
        for name in ("bc_weight", "margin_weight", "margin", "anneal_steps", "warm_up_updates"):
            _require(getattr(self, name) >= 0, f"demos.{name} is negative: {getattr(self, name)}")
        _require(not self.folder or not self.own_way, "demos.folder and demos.own_way: one of them has to be empty")
        _require(self.own_wins >= 0, f"demos.own_wins is negative: {self.own_wins}")
        _require(not self.own_wins or bool(self.own_way), "demos.own_wins needs milestones in demos.own_way")
        _require(self.own_way_interval >= 1, f"demos.own_way_interval must be at least 1, got {self.own_way_interval}")
        _require(self.refresh_updates >= 1, f"demos.refresh_updates must be at least 1, got {self.refresh_updates}")


@dataclass(frozen=True, slots=True, kw_only=True)
class IntrinsicConfig:
    """Rewards for curiosity, beside those of the game."""

    rnd_weight: float = 0.0  # of what a network could not foretell of an observation (Burda 2018); 0 = off
    novelty_weight: float = 0.0  # of the bonus for cells of the map that were seldom visited; 0 = off
    novelty_scope: str = (
        "swarm"  # swarm: 1 / sqrt(episodes there), paid once an episode; episode: 1 / sqrt(visits in it)
    )
    novelty_first: float = 0.0  # added to that bonus in a cell that nobody has ever been to
    novelty_milestones: bool = False  # cells count anew with every set of milestones
    bayes_weight: float = 0.0  # of the potential-based bonus for milestones that are not reliable yet; 0 = off

    def __post_init__(self) -> None:
        """Check ranges."""
        for name in ("rnd_weight", "novelty_weight", "novelty_first", "bayes_weight"):
            _require(getattr(self, name) >= 0.0, f"intrinsic.{name} is negative: {getattr(self, name)}")
        scopes = ("swarm", "episode")
        ok = self.novelty_scope in scopes
        _require(ok, f"intrinsic.novelty_scope must be one of {scopes}, got {self.novelty_scope!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressRewardConfig:
    """A reward for getting on, as a network sees it that was trained on the order of frames: docs/PRETRAINING.md."""

    model: str = ""  # folder of `daddy-puffer pretrain reward-model`; empty = no such reward
    game_scale: float = 0.0  # of the game's own rewards beside it
    reward_interval: int = 64  # steps from one look at the screen to the next, when it is paid
    mode: str = "best"  # what is paid: a new best of the episode that lasts (best), or every change (delta, potential)
    scale: float = 20.0  # of the gain in progress: what a whole run is worth where progress is a share of it
    time_penalty: float = 0.01  # taken off at every look
    bounded: bool = True  # progress is a share of a run, 0 to 1; false = the network's score in nats
    gamma: float = 0.97  # discount a step, for mode potential

    def __post_init__(self) -> None:
        """Check ranges."""
        modes = ("best", "delta", "potential")
        _require(self.mode in modes, f"ProgressReward's mode must be one of {modes}, got {self.mode!r}")
        ok = self.reward_interval >= 1
        _require(ok, f"ProgressReward's reward_interval must be at least 1 step, got {self.reward_interval}")
        ok = min(self.game_scale, self.scale, self.time_penalty) >= 0.0
        _require(ok, "ProgressReward's game_scale, scale and time_penalty must not be negative")
        _require(0.0 < self.gamma <= 1.0, f"ProgressReward's gamma must be in (0, 1], got {self.gamma}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgressConfig:
    """What is believed about each milestone: the chance to reach it within a budget of steps."""

    step_budget: int = 512  # actions since the episode's beginning within which a milestone counts as reached
    step_budgets: dict[str, int] = field(default_factory=dict)  # other budgets, by milestone
    forgetting: float = 0.95  # what a trial still counts after one more; 1 / (1 - this) trials are remembered
    watched: list[str] = field(default_factory=lambda: ["EVENT_FOLLOWED_OAK_INTO_LAB", "EVENT_GOT_STARTER", "Boulder"])
    target: float = 0.4  # chance from where on a milestone is reliable
    alarm_never: float = 411.0  # alarm after so many trials below it of the first watched one that is not reliable
    alarm_lost: float = -2.01  # and at these log-odds that a watched one fell below half of its best

    def __post_init__(self) -> None:
        """Check ranges."""
        budgets = (self.step_budget, *self.step_budgets.values())
        _require(all(budget >= 1 for budget in budgets), f"progress.step_budget(s) must be at least 1, got {budgets}")
        _require(0.0 < self.forgetting < 1.0, f"progress.forgetting must be in (0, 1), got {self.forgetting}")
        _require(0.0 < self.target < 1.0, f"progress.target must be in (0, 1), got {self.target}")


@dataclass(frozen=True, slots=True, kw_only=True)
class CurriculumConfig:
    """Episodes that begin where an earlier one got to; evaluation always begins at the true start."""

    mode: str = (
        "off"  # or how states are drawn: mixture, go_explore, frontier, rubinstein, progress (swarm/sampling.py)
    )
    true_start_share: float = 0.2  # of episodes begin at the true start whatever there is
    episode_steps: int = 512  # actions until an episode that began from a state is truncated
    cell_size: int = 8  # keep states by cells of so many squares a side; 0 = only by maps and milestones
    max_states: int = 500  # save states kept, 168 kB each
    max_megabytes: int = 200  # of disk they may take

    def __post_init__(self) -> None:
        """Check ranges."""
        modes = ("off", "mixture", "go_explore", "frontier", "rubinstein", "progress")
        quotes = " (YAML reads a bare off as false: put it in quotes)" if self.mode == "False" else ""
        _require(self.mode in modes, f"curriculum.mode must be one of {modes}, got {self.mode!r}{quotes}")
        ok = 0.0 <= self.true_start_share <= 1.0
        _require(ok, f"curriculum.true_start_share must be in [0, 1], got {self.true_start_share}")
        _require(self.episode_steps >= 1, f"curriculum.episode_steps must be at least 1, got {self.episode_steps}")
        _require(self.cell_size >= 0, f"curriculum.cell_size is negative: {self.cell_size}")
        ok = self.max_states >= 1 and self.max_megabytes >= 1
        _require(ok, "curriculum.max_states and max_megabytes must be at least 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ExplorationConfig:
    """Epsilon-greedy, annealed by environment steps."""

    epsilon_start: float = 1.0
    epsilon_end: float = 0.02
    epsilon_decay_steps: int = 40_000  # environment steps of all envs together
    repeat_exponent: float = 2.0  # of the zeta distribution of how long a random action lasts, Dabney 2021
    repeat_longest: int = 32  # steps at most; 1 = plain epsilon-greedy
    from_states: float = 0.0  # epsilon at least, in episodes that begin at a state of the curriculum
    ladder: float = 0.0  # env i of N explores with epsilon ** (1 + ladder * i / (N - 1)); R2D2 has 7, 0 = all alike
    talk_chance: float = 0.0  # of pressing A before somebody not spoken to yet: chance meets few people
    temperature: float = 0.05  # other steps draw from softmax(Q / temperature); 0 = the best action

    def __post_init__(self) -> None:
        """Check ranges."""
        ok = 0.0 <= self.epsilon_end <= self.epsilon_start <= 1.0
        _require(ok, "exploration needs 0 <= epsilon_end <= epsilon_start <= 1")
        _require(0.0 <= self.from_states <= 1.0, f"exploration.from_states must be in [0, 1], got {self.from_states}")
        _require(0.0 <= self.talk_chance <= 1.0, f"exploration.talk_chance must be in [0, 1], got {self.talk_chance}")
        _require(self.repeat_exponent > 1.0, f"exploration.repeat_exponent must be above 1, got {self.repeat_exponent}")
        ok = self.ladder >= 0.0 and self.temperature >= 0.0
        _require(ok, f"exploration.ladder and temperature must be >= 0, got {self.ladder} and {self.temperature}")
        _require(self.repeat_longest >= 1, f"exploration.repeat_longest must be at least 1, got {self.repeat_longest}")


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """The run."""

    algorithm: str = "q"  # q; under pokemonred_puffer also ppo, its own trainer on the same network
    num_envs: int = 8
    num_workers: int = 2
    vectorization: str = "multiprocessing"  # serial | threads | multiprocessing | ray (docs/RAY.md)
    total_steps: int = 1_000_000  # environment steps of all envs together
    seed: int = 7
    device: str = "auto"  # auto | cpu | cuda
    threads: int = 1  # torch threads of the trainer
    updates_in: str = "auto"  # process | thread; auto: a process where that works (CPU, one torch thread, Linux)
    compile: bool = False  # torch.compile the update's forward and backward pass: takes minutes at the beginning
    run_name: str = ""  # empty = date and time
    runs_dir: str = "runs"
    log_interval: int = 5_000  # environment steps
    save_interval: int = 100_000
    keep_checkpoints: int = 3  # the newest so many, older ones are deleted
    save_replay: bool = False  # the newest has the replay and the running episodes, too: see docs/RESUME.md
    video_interval: int = 0  # 0 = only at the end
    step_log_interval: int = 100  # every so many steps of an environment one row of it goes to steps/; 0 = never
    live_interval: float = 0.1  # seconds between two looks at all environments in live/, for `watch`; 0 = never
    record_episodes: str = "best"  # none, best (by milestones) or all: their actions go to recordings/
    max_seconds: float = 0.0  # stop training after so long; 0 = no limit
    worker_timeout_seconds: float = 60.0  # a silent worker for so long ends the run

    def __post_init__(self) -> None:
        """Check ranges."""
        kinds = ("serial", "threads", "multiprocessing", "ray")
        _require(self.vectorization in kinds, f"train.vectorization must be one of {kinds}, got {self.vectorization!r}")
        places = ("auto", "process", "thread")
        _require(self.updates_in in places, f"train.updates_in must be one of {places}, got {self.updates_in!r}")
        algorithms = ("q", "ppo")
        ok = self.algorithm in algorithms
        _require(ok, f"train.algorithm must be one of {algorithms}, got {self.algorithm!r}")
        _require(self.log_interval >= 1 and self.save_interval >= 1, "train.log_interval and save_interval >= 1")
        _require(self.step_log_interval >= 0, f"train.step_log_interval is negative: {self.step_log_interval}")
        _require(self.live_interval >= 0, f"train.live_interval is negative: {self.live_interval}")
        kept = ("none", "best", "all")
        ok = self.record_episodes in kept
        _require(ok, f"train.record_episodes must be one of {kept}, got {self.record_episodes!r}")
        _require(self.keep_checkpoints >= 1, f"train.keep_checkpoints >= 1, got {self.keep_checkpoints}")
        if self.vectorization != "serial":  # any thread takes any game, a process has its own
            ok = self.num_workers >= 1 and (self.vectorization == "threads" or self.num_envs % self.num_workers == 0)
            _require(ok, f"train.num_envs {self.num_envs} must be a multiple of train.num_workers {self.num_workers}")


@dataclass(frozen=True, slots=True, kw_only=True)
class WandbConfig:
    """Weights & Biases; `WANDB_MODE=offline` needs no network."""

    enabled: bool = False
    project: str = "daddy_puffer"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything a run depends on."""

    env: EnvConfig = field(default_factory=EnvConfig)
    policy: PolicyConfig = field(default_factory=PolicyConfig)
    rewards: dict[str, float] = field(default_factory=dict)  # weight by term; empty = the defaults of rewards/sets.py
    progress_reward: ProgressRewardConfig = field(default_factory=ProgressRewardConfig)
    intrinsic: IntrinsicConfig = field(default_factory=IntrinsicConfig)
    replay: ReplayConfig = field(default_factory=ReplayConfig)
    learner: LearnerConfig = field(default_factory=LearnerConfig)
    demos: DemosConfig = field(default_factory=DemosConfig)
    exploration: ExplorationConfig = field(default_factory=ExplorationConfig)
    curriculum: CurriculumConfig = field(default_factory=CurriculumConfig)
    progress: ProgressConfig = field(default_factory=ProgressConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    wandb: WandbConfig = field(default_factory=WandbConfig)

    def __post_init__(self) -> None:
        """Check what concerns two sections."""
        progress, gamma = self.progress_reward, self.learner.gamma
        ok = not progress.model or progress.mode != "potential" or progress.gamma == gamma
        _require(ok, f"ProgressReward's gamma {progress.gamma} must be the learner's {gamma} in mode potential")
        ok = not progress.model or not self.demos.folder
        _require(ok, "demos.folder holds demonstrations of the game's own rewards: not together with ProgressReward")
        ok = not self.learner.expected_bootstrap or self.exploration.temperature > 0.0
        _require(ok, "learner.expected_bootstrap needs exploration.temperature above 0")
        ok = not self.demos.own_way or self.curriculum.mode != "off"
        _require(ok, "demos.own_way needs a curriculum: set curriculum.mode to one of go_explore, mixture ...")
        shown = self.demos.folder or self.demos.own_way
        ok = not shown or not self.demos.bc_weight or self.exploration.temperature > 0.0
        _require(ok, "demos.bc_weight needs exploration.temperature above 0: it is the policy that learns to imitate")

    def for_evaluation(self) -> Config:
        """The same without what is for training only: whole episodes, the game's own rewards, the true start.

        A few games need no cluster: on this machine.
        """
        kind = "multiprocessing" if self.train.vectorization == "ray" else self.train.vectorization
        return replace(
            self,
            train=replace(self.train, vectorization=kind),
            env=replace(self.env, patience_steps=0, patience_reward=0.0),
            progress_reward=ProgressRewardConfig(),
            intrinsic=IntrinsicConfig(),
            curriculum=replace(self.curriculum, mode="off"),
            demos=DemosConfig(),
        )


# Where each part lives in the YAML: upstream's loader keeps only these top-level sections and drops any other.
POLICY_NAME = "daddy_puffer.HierQ"
REWARD_NAME = "daddy_puffer.Practice"
YAML_PATHS: dict[str, tuple[str, ...]] = {
    "env": ("env",),
    "policy": ("policies", POLICY_NAME, "policy"),
    "rewards": ("rewards", REWARD_NAME, "reward"),
    "progress_reward": ("rewards", "daddy_puffer.ProgressReward", "reward"),
    "intrinsic": ("train", "intrinsic"),
    "replay": ("train", "replay"),
    "learner": ("train", "learner"),
    "demos": ("train", "demos"),
    "exploration": ("train", "exploration"),
    "curriculum": ("train", "curriculum"),
    "progress": ("train", "progress"),
    "train": ("train",),  # after its sub-sections: they are taken out first
    "wandb": ("wandb",),
}


def load_config(path: Path | None = None, overrides: dict[str, Any] | None = None) -> Config:
    """Read `path` (None = defaults), apply `overrides` by dotted name ("train.seed": 3), check everything.

    An override of None is no override, so that command-line options can be handed over as they are.

    Raises:
        UserError: file missing or no YAML, unknown key, wrong type, value out of range.
    """
    sections = {} if path is None else _read_yaml(path)
    origin = "" if path is None else f"{path}: "  # begins what is said of a mistake
    parts = {name: _take(sections, keys, origin) for name, keys in YAML_PATHS.items()}
    _reject_leftovers(sections, origin)
    for dotted, value in (overrides or {}).items():
        part, _, key = dotted.partition(".")
        if part not in parts or not key:
            raise UserError(f"unknown setting {dotted!r}: it starts with one of {', '.join(parts)} and a dot")
        if value is not None:
            parts[part] = {**parts[part], key: value}
    built = {name: load_section(name, values, origin) for name, values in parts.items()}
    return Config(**built)


def load_section(name: str, values: dict[str, Any], origin: str = "") -> Any:
    """One section of `Config` by its field's name, checked by itself: not whether it agrees with the others.

    `origin` begins what is said of a mistake.

    Raises:
        UserError: unknown key, wrong type, value out of range.
    """
    types = {f.name: f.default_factory for f in fields(Config)}
    return _build(types[name], values, f"{origin}{'.'.join(YAML_PATHS[name])}")


def save_config(config: Config, path: Path) -> None:
    """Write the resolved tree as YAML in the form that `load_config` reads; replaces `path` in one step."""
    tree: dict[str, Any] = {}
    for name, keys in YAML_PATHS.items():
        value = getattr(config, name)
        node = tree
        for key in keys:
            node = node.setdefault(key, {})
        node.update(asdict(value) if is_dataclass(value) and not isinstance(value, type) else value)
    with replacing(path) as temporary:
        temporary.write_text(OmegaConf.to_yaml(OmegaConf.create(tree)), encoding="utf-8")


def _read_yaml(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"config file {path} does not exist: give another --config, or leave it out for the defaults")
    try:
        check_yaml(path.read_text(encoding="utf-8"))
        content = OmegaConf.to_container(OmegaConf.load(path))
    except (OmegaConfBaseException, yaml.YAMLError, OSError, ValueError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is no readable YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a mapping of sections, found {type(content).__name__}")
    return {str(key): value for key, value in content.items()}


def check_yaml(text: str) -> None:
    """Refuse what takes for ever to build, or what OmegaConf would fill in, before it is built.

    Raises:
        ValueError: too long, too deep, aliases of aliases make it too large, or a value refers to another.
        yaml.YAMLError: it is no YAML.
    """
    if len(text) > _LONGEST_FILE:
        raise ValueError(f"{len(text)} characters, {_LONGEST_FILE} are allowed")
    anchors: dict[str, int] = {}
    open_sizes: list[int] = [0]  # nodes, aliases written out, of every collection that is open
    open_names: list[str | None] = [None]
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            open_sizes.append(1)
            open_names.append(event.anchor)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            size, name = open_sizes.pop(), open_names.pop()
            open_sizes[-1] += size
            if name is not None:
                anchors[name] = size
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in anchors:
                raise ValueError(f"alias {event.anchor} stands in itself, or for nothing")
            open_sizes[-1] += anchors[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            if "${" in event.value:
                raise ValueError(f"{event.value[:40]!r}: settings are written out, ${{...}} is not filled in")
            open_sizes[-1] += 1
            if event.anchor is not None:
                anchors[event.anchor] = 1
        if len(open_sizes) > _DEEPEST or open_sizes[-1] > _MOST_NODES:
            raise ValueError(f"more than {_DEEPEST} levels, or {_MOST_NODES} values")


def _take(sections: dict[str, Any], keys: tuple[str, ...], origin: str) -> dict[str, Any]:
    """Remove and return the mapping at `keys`; a missing one is empty."""
    node: Any = sections
    for key in keys[:-1]:
        node = node.get(key)
        if node is None:
            return {}
        if not isinstance(node, dict):
            raise UserError(f"{origin}{key} must be a mapping, found {type(node).__name__}")
    found = node.pop(keys[-1], None)
    if found is None:
        return {}
    if not isinstance(found, dict):
        raise UserError(f"{origin}{'.'.join(keys)} must be a mapping, found {type(found).__name__}")
    return found


def _reject_leftovers(sections: dict[str, Any], origin: str) -> None:
    def leaves(node: Any, prefix: str) -> list[str]:
        if isinstance(node, dict):
            return [leaf for key, value in node.items() for leaf in leaves(value, f"{prefix}{key}.")]
        return [prefix.rstrip(".")]

    unknown = leaves(sections, "")
    if unknown:
        known = ", ".join(dict.fromkeys(keys[0] for keys in YAML_PATHS.values()))
        raise UserError(f"{origin}unknown key {unknown[0]!r} (sections: {known})")


def _build(kind: Any, values: dict[str, Any], where: str) -> Any:
    """One dataclass out of YAML values, checked against its types by OmegaConf."""
    if kind is dict:
        return {str(key): _number(value, f"{where}.{key}") for key, value in values.items()}
    known = [f.name for f in fields(kind)]
    for key in values:
        if key not in known:
            close = get_close_matches(key, known, n=1)
            hint = f" (did you mean {close[0]}?)" if close else f" (known: {', '.join(known)})"
            raise UserError(f"{where}: unknown key {key!r}{hint}")
    schema = OmegaConf.structured(kind)
    OmegaConf.set_readonly(schema, False)
    try:
        return OmegaConf.to_object(OmegaConf.merge(schema, values))
    except (OmegaConfBaseException, OverflowError) as error:  # an overflow is an integer too long for a float
        raise UserError(f"{where}: {str(error).splitlines()[0]}") from error


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not isfinite(value):
        raise UserError(f"{where} must be a finite number, got {value!r}")
    return float(value)
