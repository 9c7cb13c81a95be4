"""The suite of returns: what is trained, what its table and a card say of it, and that nothing is trained twice."""

import json
import shutil
from importlib import resources

import numpy as np
import pytest

from helpers import write_run
from rlopt.metatest import returns
from rlopt.metatest.returns_config import ENVS, ReturnsConfig
from rlopt.optimizers import theta
from rlopt.runs import results
from rlopt.training import loop

FINALS = {"adam": [90.0, 100, 110, 100], "muon_routed": [50.0, 60, 70, 60], "celo2": [120.0, 20, 140, 120]}


@pytest.fixture
def own_theta(tmp_path):
    """Packaged weights with their card, as a user has a file of his own."""
    for suffix in (".theta", ".json"):
        with resources.as_file(resources.files("celo2.weights") / f"celo2{suffix}") as path:
            shutil.copy(path, tmp_path / f"mine{suffix}")
    card = tmp_path / "mine.json"
    said = json.loads(card.read_text())
    card.write_text(json.dumps({name: value for name, value in said.items() if name != "returns"}))
    return tmp_path / "mine.theta"


def folder_of(config, folder, finals=FINALS):
    """A suite that was trained to its end; a random policy has a return of 10."""
    for env, compared in config.runs("celo2").items():
        for name, one in compared.items():
            write_run(folder / env / results.safe_name(name), one, finals[one.optimizer])
        (folder / env / "random.json").write_text('{"mean": 10.0}')
    return folder


def test_a_card_gets_the_returns_and_keeps_what_it_said(own_theta, tmp_path, monkeypatch, command):
    config = ReturnsConfig(str(own_theta), envs=("CartPole-v1", "Catch-bsuite"), seeds=4)
    folder = folder_of(config, tmp_path / "out")
    before = json.loads(own_theta.with_suffix(".json").read_text())
    monkeypatch.setattr(loop, "train", None)  # nothing is missing
    words = f"metatest {own_theta} --suite returns --envs CartPole-v1 Catch-bsuite --seeds 4 --out {folder}"
    done = command(*words.split())
    assert done.status == 0, done.err
    card = json.loads(own_theta.with_suffix(".json").read_text())
    assert {name: value for name, value in card.items() if name != "returns"} == before
    assert card["returns"] == json.loads((folder / "returns.json").read_text())
    found = card["returns"]["environments"]["CartPole-v1"]
    assert found["adam"][0] == 100  # without the lowest and the highest
    assert found["random"] == 10
    assert found["lost_seeds"] == 1  # 20 is nearer to 10 than to 100
    # (120, 20, 140, 120) are scores of 110/90, 10/90, ... in both environments.
    assert card["returns"]["score"][0] == pytest.approx(110 / 90, rel=1e-4)
    assert card["returns"]["better_than_adam"][0] == 0.75
    table = (folder / "tables.md").read_text()
    assert "| environment | random | adam | muon_routed | celo2 | lost seeds |" in table
    assert "| Catch-bsuite | 10.0 | 100.0 [" in table
    assert "| score, all | 0 | 1.00 [" in table
    assert (folder / "plots" / "CartPole-v1.png").stat().st_size > 10_000
    assert f"card: {own_theta.with_suffix('.json')}" in done.out
    assert "returns: score 1.22 [" in theta.info(theta.load(str(own_theta)))


def test_a_score_is_of_what_a_random_policy_does_not_have(own_theta, tmp_path):
    config = ReturnsConfig(str(own_theta), envs=("CartPole-v1",), seeds=4)
    low = {name: [5.0, 5, 5, 5] for name in FINALS}
    judged = returns.run(config, folder_of(config, tmp_path / "out", low), progress=False)
    assert "| score, all | 0 | - | - | - | 0 |" in returns.table(judged).markdown()
    assert returns.entry(judged, config)["score"] == [None] * 3


def test_seeds_without_a_return_leave_a_dash(own_theta, tmp_path):
    config = ReturnsConfig(str(own_theta), envs=("CartPole-v1",), seeds=4)
    finals = FINALS | {"celo2": [np.nan] * 4}
    judged = returns.run(config, folder_of(config, tmp_path / "out", finals), progress=False)
    assert "] | - | 4 |" in returns.table(judged).markdown()
    assert returns.entry(judged, config)["environments"]["CartPole-v1"]["celo2"] == [None] * 3
    assert returns.entry(judged, config)["score"] == [None] * 3


def test_packaged_weights_and_files_without_a_card_are_left_alone(tmp_path, own_theta):
    own_theta.with_suffix(".json").unlink()
    for source in ("celo2", str(own_theta)):
        config = ReturnsConfig(source, "celo2:size=adam,odd=true", envs=("CartPole-v1",), seeds=4)
        folder = folder_of(config, tmp_path / results.safe_name(source))
        judged = returns.run(config, folder, progress=False)
        assert returns.write(judged, config, folder, returns.table(judged)) is None
    assert not own_theta.with_suffix(".json").exists()


def test_what_is_judged_is_what_the_card_names():
    plan = ReturnsConfig("celo2_base").runs("celo2")
    assert tuple(plan) == ENVS
    assert [config.optimizer for config in plan["Acrobot-v1"].values()] == ["adam", "muon_routed", "celo2_base"]
    assert {config.hyper.total_steps for config in plan["Freeway-MinAtar"].values()} == {200_000}
    assert plan["CartPole-v1"]["celo2_base"].theta is None
    mine = ReturnsConfig("x.theta").runs("celo_adam")["CartPole-v1"]["celo_adam"]
    assert (mine.theta.name, mine.resolved_learning_rate) == ("x.theta", None)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "adam"}, "adam takes no weights; learned rules are celo2"),
        ({"optimizer": "adam=celo2"}, "adam is what the rule is measured by"),
        ({"seeds": 1}, "seeds must be at least 2, got 1"),
        ({"envs": ("CartPole-v1",) * 2}, "envs must be one or more, each once"),
        ({"envs": ()}, "envs must be one or more, each once"),
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"agent": "a3c"}, "unknown agent 'a3c'"),
    ],
)
def test_what_cannot_be_trained_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        ReturnsConfig("celo2", **changes).runs("celo2")
    with pytest.raises(ValueError, match=r"no optimizer is called x\.theta or some_rule: name one, --optimizer celo2"):
        ReturnsConfig("x.theta").runs("some_rule")


def test_another_suite_in_the_same_folder_is_refused(own_theta, tmp_path):
    folder = folder_of(ReturnsConfig(str(own_theta), envs=("CartPole-v1",), seeds=4), tmp_path / "out")
    with pytest.raises(ValueError, match="steps"):
        returns.run(ReturnsConfig(str(own_theta), envs=("CartPole-v1",), seeds=4, steps=10_000), folder, progress=False)


@pytest.mark.slow
def test_a_suite_that_was_stopped_goes_on(own_theta, tmp_path, command):
    words = f"metatest {own_theta} --suite returns --envs CartPole-v1 --seeds 2 --steps 4096 --out {tmp_path / 'out'}"
    assert command(*words.split()).status == 0
    first = (tmp_path / "out" / "returns.json").read_bytes()
    shutil.rmtree(tmp_path / "out" / "CartPole-v1" / "celo2")
    assert command(*words.split()).status == 0
    assert (tmp_path / "out" / "returns.json").read_bytes() == first
