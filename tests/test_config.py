"""Config: YAML in, frozen tree out, and one clear line for every mistake."""

from __future__ import annotations

from pathlib import Path

import pytest

from daddy_puffer.config import Config, load_config, save_config
from daddy_puffer.errors import UserError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    return path


def test_defaults_without_a_file() -> None:
    assert load_config() == Config()


def test_yaml_then_overrides(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "train: {num_envs: 4, learner: {gamma: 0.9}}\n"
        "policies: {daddy_puffer.HierQ: {policy: {model_size: large}}}\n"
        "rewards: {daddy_puffer.Practice: {reward: {badge: 5}}}\n",
    )
    config = load_config(path, {"train.num_envs": 2, "learner.n_step": 3, "train.seed": None})
    assert (config.train.num_envs, config.train.seed) == (2, Config().train.seed)
    assert (config.learner.gamma, config.learner.n_step) == (0.9, 3)
    assert config.policy.model_size == "large"
    assert config.rewards == {"badge": 5.0}


@pytest.mark.timeout(60)
def test_no_value_refers_to_another(tmp_path: Path) -> None:
    bomb = ['a0: "0123456789"', *(f'a{n}: "${{a{n - 1}}}${{a{n - 1}}}"' for n in range(1, 33))]  # 40 GB written out
    texts = ("\n".join(bomb), "train: {run_name: '${oc.env:HOME}'}", 'train: {run_name: "\\x24{env.gb_path}"}')
    for text in texts:
        with pytest.raises(UserError, match="is not filled in") as error:
            load_config(write(tmp_path, text))
        assert "\n" not in str(error.value)
    assert load_config(write(tmp_path, "train: {run_name: $a}  # ${b}")).train.run_name == "$a"


def test_saved_tree_reads_back_equal(tmp_path: Path) -> None:
    config = load_config(None, {"replay.burn_in": 3, "rewards.badge": 2.5, "env.gb_path": "a b.gb"})
    save_config(config, tmp_path / "saved.yaml")
    assert load_config(tmp_path / "saved.yaml") == config
    assert [p.name for p in tmp_path.iterdir()] == ["saved.yaml"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: {num_env: 4}", "did you mean num_envs"),
        ("trian: {num_envs: 4}", "unknown key 'trian.num_envs'"),
        ("policies: {other.Policy: {policy: {}}, x: 3}", "unknown key 'policies.x'"),
        ("train: {num_envs: many}", "many"),
        ("train: 3", "train must be a mapping"),
        ("train: {learner: {gamma: 1.0}}", "gamma must be in [0, 1)"),
        ("train: {replay: {kind: rollouts, burn_in: 0, file: a}}", "replay.file is for"),
        ("train: {num_envs: 5, num_workers: 2}", "multiple of train.num_workers"),
        ("rewards: {daddy_puffer.Practice: {reward: {badge: .nan}}}", "finite number"),
        ("- a\n- b", "mapping of sections"),
        ("train: {a: [", "no readable YAML"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config(write(tmp_path, text))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_file_and_unknown_override(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="does not exist"):
        load_config(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="unknown setting"):
        load_config(None, {"nothing.here": 1})
    with pytest.raises(UserError, match="unknown key"):
        load_config(None, {"train.here": 1})
