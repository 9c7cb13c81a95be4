"""Looking into theta files."""

import functools
import json

import jax
import numpy as np
import pytest

import celo2
from celo2 import checks, form
from helpers import by_default
from rlopt.optimizers import theta, theta_probe


@pytest.fixture
def celo_file(tmp_path):
    path = tmp_path / "mine.theta"
    celo2.save_checkpoint(path, celo2.init_theta("celo", jax.random.key(0)))
    return path


def test_info_names_rule_size_hash_and_card(command):
    status, out, _ = command("theta", "info", "celo_adam")
    assert status == 0
    assert "theta of celo_adam, 36,865 numbers" in out
    card_hash = theta.load("celo_adam").card["sha256"]
    assert f"sha256 {card_hash}" in out
    assert "command: rlopt metatrain celo_adam" in out


def test_info_of_a_file_without_card(tmp_path, command):
    path = tmp_path / "mine.theta"
    celo2.save_checkpoint(path, celo2.init_theta("celo_adam", jax.random.key(0)))
    status, out, _ = command("theta", "info", path)
    assert status == 0
    assert "theta of celo_adam, 36,865 numbers" in out
    assert "no card beside it" in out


@pytest.fixture
def little_noise(monkeypatch):
    """The walk on noise from two starts in place of sixteen."""
    monkeypatch.setattr(theta_probe, "drift", functools.partial(theta_probe.drift, seeds=2))


@pytest.mark.parametrize("rule", by_default(["celo", "celo_adam"], "celo_adam"))
def test_plot_writes_a_picture(rule, tmp_path, command, monkeypatch):
    # Another test has what noise does computed; here it is drawn.
    monkeypatch.setattr(theta_probe, "drift", lambda loaded: theta_probe.Drift(np.linspace(-0.4, 0.1, 300), 1.2))
    path, picture = tmp_path / "mine.theta", tmp_path / "mine.png"
    celo2.save_checkpoint(path, celo2.init_theta(rule, jax.random.key(0)))
    assert command("theta", "plot", path, "--out", picture).status == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_the_trained_rule_goes_down_the_gradient():
    response = theta_probe.response(theta.load("celo2_base"))
    assert np.corrcoef(response.gradient, response.update)[0, 1] > 0.3
    assert np.corrcoef(response.momentum, response.update)[0, 1] > 0.3


def test_schedules_are_positive(celo_file):
    for eta in theta_probe.schedules(theta.load(str(celo_file))).values():
        assert eta.shape == (theta_probe.TRAINING_LENGTH,)
        assert np.all(eta > 0)


def test_what_is_no_theta_is_refused(tmp_path, command):
    (tmp_path / "noise").write_bytes(b"noise")
    for source, message in (
        ("celo3", "unknown packaged weights 'celo3'; there are celo, celo2, "),
        (tmp_path / "noise", "not a flax-msgpack theta file"),
    ):
        done = command("theta", "info", source)
        assert done.status == 2
        assert message in done.err


# Largest growth on noise, in 300 steps of 1e-3 (Celo: in its own). Long momenta make a walk that keeps its direction.
GROWTH = {"celo2": 1.55, "celo2_base": 1.75, "celo": 1.75}
WITH_A_RULE = [n for n in celo2.packaged_weights() if checks.rule_of(celo2.load_theta(n)) != "celo_adam"]
ODD = [name for name in WITH_A_RULE if celo2.load_weights(name).form.odd]


@pytest.mark.parametrize("name", ODD)
def test_no_part_of_a_step_of_packaged_rules_keeps_its_sign(name):
    assert theta_probe.even_share(theta_probe.response(theta.load(name))) < 1e-5


# Noise for 300 steps takes longer than its program takes to compile. It drifts only where a part of a step keeps its sign.
@pytest.mark.slow
@pytest.mark.usefixtures("compiled_as_users_do")
@pytest.mark.parametrize("name", ODD)
def test_noise_moves_the_weights_of_packaged_rules_nowhere(name):
    found = theta_probe.drift(theta.load(name))
    assert abs(found.path[-1]) <= 0.005
    assert found.growth <= GROWTH[name]


def test_rules_that_are_not_odd_are_known_by_name():
    assert set(WITH_A_RULE) - set(ODD) == {"celo_v1", "celo2_v1", "celo2_base_v1"}


@pytest.mark.usefixtures("little_noise")
def test_info_tells_the_form_and_what_noise_does(command):
    status, out, _ = command("theta", "info", "celo2_base_v1")
    assert status == 0
    assert "form: odd False, size unit, momentum_decays [0.9, 0.99, 0.999], newton_schulz_steps 5" in out
    assert "part of a step that keeps its sign over the part that changes it: 0.4" in out
    # What the odd form is for.
    assert "on noise, 300 steps: displacement over path -0.4" in out
    assert "theta of celo2, 347 numbers" in out


def test_the_form_of_a_file_is_that_of_its_card(tmp_path):
    path = tmp_path / "mine.theta"
    celo2.save_checkpoint(path, celo2.load_theta("celo2_v1"))
    wanted = form.Form(odd=True, size="snr")
    path.with_suffix(".json").write_text(json.dumps({"form": form.to_card(wanted)}))
    loaded = theta.load(str(path))
    assert loaded.form == wanted
    assert theta_probe.even_share(theta_probe.response(loaded)) < 1e-5
