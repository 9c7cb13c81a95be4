"""Reports: what they say of good and of bad evidence, their tables, and the page in a real browser."""

import csv
import dataclasses
import io
import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest

from rlopt import cli
from rlopt.benchmark import protocol
from rlopt.benchmark.plan import TUNING_SEEDS_FROM, Plan
from rlopt.report import evidence, reproduce, scores, tables, write
from rlopt.runs import results
from rlopt.statistics import Interval
from rlopt.training.config import TrainConfig

ENVS = ("CartPole-v1", "Catch-bsuite")
PLAN = Plan(envs=ENVS, optimizers=("sgd", "celo_adam"), seeds=4, tuning_seeds=2, factors=(0.1, 1.0, 10.0), steps=1000)
# Reported final returns: sgd is below Adam everywhere, Celo-Adam above.
FINAL = {"adam": [40.0, 50.0, 50.0, 60.0], "sgd": [20.0, 30.0, 20.0, 10.0], "celo_adam": [70.0, 80.0, 90.0, 70.0]}


def write_cells(folder, plan, write_run, stage, optimizer, env, rates, final, **rest):
    config = plan.config(optimizer, env)
    if stage == protocol.TUNING:
        config = dataclasses.replace(config, seed=TUNING_SEEDS_FROM)
    for rate in rates or (None,):
        place = protocol.place(folder, stage, env, optimizer)
        place = place / results.rate_name(rate) if rates else place
        write_run(place, dataclasses.replace(config, learning_rate=rate), final, **rest)


@pytest.fixture
def bench(tmp_path, write_run):
    """A finished benchmark, made up."""
    protocol.write_plan(tmp_path, PLAN)
    (tmp_path / protocol.RANDOM).write_text(json.dumps({env: [0.0, 20.0] for env in ENVS}))
    for optimizer in PLAN.all_optimizers:
        for env in ENVS:
            rates = PLAN.candidates(optimizer)
            for i, rate in enumerate(rates):
                tried = [50.0 - 20 * abs(i - 1)] * 2
                write_cells(tmp_path, PLAN, write_run, protocol.TUNING, optimizer, env, (rate,), tried)
            write_cells(tmp_path, PLAN, write_run, protocol.FINAL, optimizer, env, rates[1:2], FINAL[optimizer])
    return tmp_path


def report(folder, **rest):
    page = write.write([folder], timing=False, **rest)
    return page.read_text()


def read_csv(folder, name):
    return list(csv.DictReader(io.StringIO((folder / "report" / "tables" / f"{name}.csv").read_text())))


def test_scores_are_normalised_by_a_random_policy_and_tuned_adam(bench):
    assert "Read with care" not in report(bench)
    rows = {row["optimizer"]: row for row in read_csv(bench, "leaderboard_tuned")}
    assert list(rows) == ["celo_adam", "adam", "sgd"]
    # A random policy has 10, Adam 50 in the mean: sgd's interquartile mean of 20 is a quarter.
    assert [float(rows[name]["IQM"]) for name in rows] == [1.625, 1.0, 0.25]
    assert float(rows["sgd"]["mean"]) == 0.25
    assert float(rows["sgd"]["optimality gap"]) == 0.75
    assert (rows["celo_adam"]["better than Adam"], rows["sgd"]["better than Adam"]) == ("1.0", "0.0")
    assert float(rows["celo_adam"]["difference to Adam"]) == pytest.approx(27.5 / 40)
    assert float(rows["adam"]["IQM low"]) < 1 < float(rows["adam"]["IQM high"])
    assert rows["adam"]["better than Adam"] == ""
    returns = {row["optimizer"]: row for row in read_csv(bench, "returns_shared")}
    assert (returns["sgd"]["CartPole-v1"], returns["sgd"]["rate, CartPole-v1"]) == ("20.0", "0.1")
    assert returns["celo_adam"]["rate, CartPole-v1"] == ""


def test_the_page_holds_everything_and_says_how_to_make_it_again(bench):
    page = report(bench)
    for title in ("Scores (tuned)", "Scores (shared)", "Better than Adam", "Learning curves", "Sample efficiency"):
        assert title in page
    assert "better: celo_adam; worse: sgd" in page
    assert 'src="http' not in page
    assert 'href="http' not in page
    assert f"rlopt benchmark ppo --suite quick --envs {' '.join(ENVS)} --optimizers sgd celo_adam --seeds 4" in page
    assert f"rlopt report {bench}" in page
    names = {path.name for path in (bench / "report" / "figures").iterdir()}
    figures = ("scores", "improvement", "curves", "efficiency", "profiles", "sensitivity")
    assert names == {f"{name}.{kind}" for name in figures for kind in ("png", "svg")}
    for path in (bench / "report" / "figures").glob("*.png"):
        width, height = struct.unpack(">II", path.read_bytes()[16:24])
        assert (width, height > 150) == (1200, True)
    again = report(bench)
    assert again == page


def test_windows_of_learning_rates(bench):
    report(bench)
    (adam, *_) = read_csv(bench, "sensitivity")
    assert (adam["optimizer"], adam["best rate"]) == ("adam", "0.0025")
    # Returns fall from 50 to 30 over a decade, so to 45 over a quarter of one to either side.
    assert float(adam["width"]) == pytest.approx(10**0.5)


def test_whatever_is_missing_is_said_beside_what_there_is(bench, write_run):
    final = {name: protocol.place(bench, protocol.FINAL, ENVS[0], name) for name in ("sgd", "celo_adam")}
    shutil.rmtree(final["sgd"])
    (final["celo_adam"] / results.SUMMARY).unlink()
    page = report(bench)
    assert "The run of sgd on CartPole-v1 at rate 0.1 is missing." in page
    assert "The run of celo_adam on CartPole-v1 is not finished, and not counted." in page
    assert "sgd (tuned setting) is not among the scores: it has no result on CartPole-v1." in page
    assert [row["optimizer"] for row in read_csv(bench, "leaderboard_tuned")] == ["adam"]
    assert float(read_csv(bench, "returns_tuned")[1]["Catch-bsuite"]) == 20.0
    shutil.rmtree(bench / protocol.TUNING)
    page = report(bench)
    assert "sgd: no learning rate could be chosen, since tuning runs (or Adam&#x27;s) are missing." in page
    assert "The tuning run of adam on CartPole-v1 at rate 0.00025 is missing." in page


def test_nothing_at_all_is_said_too(tmp_path):
    protocol.write_plan(tmp_path / "bench", PLAN)
    assert "There is nothing to show yet." in report(tmp_path / "bench")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"no finished run in .*empty$"):
        report(tmp_path / "empty")
    assert not (tmp_path / "empty" / "report").exists()


def test_a_seed_that_broke_is_listed_and_counts_as_its_worst(bench, write_run):
    args = (bench, PLAN, write_run, protocol.FINAL, "sgd", ENVS[0], (0.1,))
    write_cells(*args, [20.0, 30.0, 2.0, 10.0], stopped=[-1, -1, 400, -1])
    page = report(bench)
    assert "Seeds that broke" in page
    (row,) = read_csv(bench, "failures")
    assert row == {
        "optimizer": "sgd",
        "environment": ENVS[0],
        "rate": "0.1",
        "runs": "reported",
        "seed": "2",
        "step": "400",
    }
    sgd = read_csv(bench, "leaderboard_tuned")[-1]
    assert sgd["not finite"] == "1"
    assert float(sgd["mean"]) == pytest.approx(((20 + 30 + 2 + 10 + 80) / 8 - 10) / 40)


def test_a_run_that_ended_early_since_all_seeds_broke_keeps_its_worst_to_the_end(tmp_path, made_up):
    made_up(tmp_path / "adam", [10.0, 20.0])
    broken = made_up(tmp_path / "sgd", [5.0, 5.0], optimizer="sgd", stopped=[600, 600])
    arrays = dict(np.load(broken / results.RETURNS))
    cut = {name: arrays[name][..., :3] for name in ("steps", "returns", "lengths")}
    np.savez(broken / results.RETURNS, **(arrays | cut))
    found = evidence.read([tmp_path])
    steps, returns = scores.curve(found.cell("CartPole-v1", "sgd", 0.01), 1000)
    assert steps.tolist() == [200, 400, 600, 1000]
    np.testing.assert_allclose(returns[0], [1, 2, 3, 1])
    assert not any("length" in problem for problem in found.problems)


def test_unequal_seeds_other_versions_and_foreign_folders_are_said(tmp_path, made_up):
    made_up(tmp_path / "adam", [10.0, 20.0, 30.0])
    made_up(tmp_path / "sgd", [5.0, 15.0, 25.0, 35.0], optimizer="sgd", seed=1)
    document = json.loads((tmp_path / "sgd" / results.CONFIG).read_text())
    document["packages"]["jax"] = "0.0.1"
    (tmp_path / "sgd" / results.CONFIG).write_text(json.dumps(document))
    summary = (tmp_path / "sgd" / results.SUMMARY).read_text()
    (tmp_path / "sgd" / results.SUMMARY).write_text(summary.replace("1 x cpu", "2 x NVIDIA H200"))
    made_up(tmp_path / "old", [1.0], optimizer="lion")
    (tmp_path / "old" / results.CONFIG).write_text('{"agent": "ppo", "hyper": {"epoch": 3}}')
    made_up(tmp_path / "silent", [np.nan, np.nan], optimizer="yogi")
    page = report(tmp_path)
    assert "On CartPole-v1, optimizers have unequal seeds (adam: 3 from 0; sgd: 4 from 1; yogi: 2 from 0)" in page
    assert "several versions of jax: 0.0.1," in page
    assert "several kinds of device: NVIDIA H200, cpu." in page
    assert f"The run in {tmp_path / 'old'} cannot be read, and is not counted: " in page
    assert "not of a run that this version understands" in page
    assert f"The run in {tmp_path / 'silent'} has no returns: no episode ended in any of its seeds." in page
    assert "yogi (tuned setting) is not among the scores" in page
    # Seeds 1 and 2 are common to both: 15 - 20 and 25... of the others: 5 at seed 1, 15 at seed 2.
    assert read_csv(tmp_path, "leaderboard")[1]["difference to Adam"] == "-15.0"


def test_runs_of_other_commands_need_no_benchmark(tmp_path, made_up):
    for rate, final in ((0.01, [10.0, 20.0]), (0.1, [30.0, 40.0])):
        made_up(tmp_path / "s" / "adam" / f"rate-{rate}", final, rate=rate)
    (tmp_path / "s" / "adam" / results.CONFIG).write_text(json.dumps({"rates": [0.01, 0.1]}))
    made_up(tmp_path / "one" / "adam", [50.0, 60.0], rate=0.1)
    made_up(tmp_path / "one" / "other", [0.0, 1.0], optimizer="sgd")
    page = report(tmp_path / "s")
    assert "PPO on CartPole-v1" in page
    assert "the best of 2 learning rates was chosen on the same seeds that are reported" in page
    (row,) = read_csv(tmp_path / "s", "leaderboard")
    assert row["IQM"] == "35.0"
    assert "rlopt train ppo --env CartPole-v1 --optimizer adam --learning-rate 0.1 --seeds 2 --total-steps 1000" in page
    out = write.write([tmp_path / "s", tmp_path / "one"], tmp_path / "both", timing=False).parent
    rows = list(csv.DictReader(io.StringIO((out / "tables" / "leaderboard.csv").read_text())))
    assert {row["optimizer"] for row in rows} == {"adam", "adam (adam)", "adam (rate-0.1)", "sgd"}


def test_a_benchmark_is_not_mixed_with_anything_and_folders_must_exist(bench, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli.runtime, "configure", lambda **settings: None)
    (tmp_path / "x").mkdir()
    assert cli.main(["report", str(bench), str(tmp_path / "x")]) == 2
    assert "holds a benchmark, which gets a report of its own" in capsys.readouterr().err
    assert cli.main(["report", str(tmp_path / "nowhere")]) == 2
    assert "there is no folder" in capsys.readouterr().err
    assert cli.main(["report", str(bench), "--no-timing", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "report.html").is_file()
    (bench / protocol.PLAN).write_text('{"suites": 3}')
    assert cli.main(["report", str(bench)]) == 2
    assert "not of a benchmark that this version understands" in capsys.readouterr().err


def test_the_cost_of_an_update_is_measured_on_the_runs_networks(bench):
    page = write.write([bench]).read_text()
    assert "on the network for CartPole-v1 (9,155 parameters)" in page
    rows = {row["optimizer"]: row for row in read_csv(bench, "cost")}
    assert float(rows["adam"]["times Adam's"]) == 1.0
    assert float(rows["adam"]["state, floats per parameter"]) == pytest.approx(2.0, abs=0.01)
    assert float(rows["sgd"]["state, floats per parameter"]) == pytest.approx(1.0, abs=0.01)
    assert rows["adam"]["training, s per seed"] == "0.5"


def test_tables_survive_csv_and_latex():
    table = tables.Table(
        "x", "Title", "A note.", ("name_1", "value, %"), [("a_b & c", Interval(1.0, 0.5, 2.0)), ("d", None), ('"e"', 3)]
    )
    assert tables.to_csv(table).splitlines() == [
        'name_1,"value, %","value, % low","value, % high"',
        "a_b & c,1.0,0.5,2.0",
        "d,,,",
        '"""e""",3,,',
    ]
    latex = tables.to_latex(table)
    assert r"a\_b \& c & 1.00 [0.50, 2.00] \\" in latex
    assert r"name\_1 & value, \% \\" in latex
    assert latex.count("{") == latex.count("}")


def test_commands_name_what_differs_from_the_preset():
    plan = Plan("dqn", "classic", optimizers=("adam", "a:b"), learning_rates=(0.1, 0.01), seed=3, steps=None)
    assert reproduce.benchmark(plan, Path("runs/x y")) == (
        "rlopt benchmark dqn --suite classic --optimizers adam a:b --seed 3 --learning-rates 0.1 0.01 --out 'runs/x y'"
    )
    config = TrainConfig(env="Acrobot-v1", optimizer="adamw", options={"weight_decay": 0.1}, seeds=3)
    config = dataclasses.replace(config, hyper=dataclasses.replace(config.hyper, anneal=False, hidden=(8, 8)))
    command = reproduce.train(config, Path("r"))
    assert command == (
        "rlopt train ppo --env Acrobot-v1 --optimizer adamw --options weight_decay 0.1 --seeds 3 --no-anneal --hidden 8 8 --out r"
    )
    command = cli._parse(command.split()[1:])
    assert command.config == config


def test_in_a_browser_it_loads_sorts_and_shows_its_figures(bench):
    """In light and dark, on a desktop and a phone."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    from playwright.sync_api import sync_playwright

    report(bench)
    quiet = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium, args=[*quiet, "--disable-component-update", "--disable-quic"]
        )
        for width, scheme in ((1280, "light"), (390, "dark")):
            context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
            page = context.new_page()
            said, asked = [], []
            page.on("console", lambda message, said=said: said.append(message.text))
            page.on("pageerror", lambda error, said=said: said.append(str(error)))
            page.on("request", lambda request, asked=asked: asked.append(request.url))
            page.goto((bench / "report" / "report.html").as_uri())
            assert said == []
            assert [url for url in asked if not url.startswith(("file:", "data:"))] == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            widths = page.eval_on_selector_all("img", "all => all.map(x => x.complete ? x.naturalWidth : 0)")
            assert len(widths) == 6
            assert min(widths) > 300
            used = page.eval_on_selector_all("picture", "all => all.map(x => x.querySelector('img').currentSrc)")
            dark = page.eval_on_selector_all("source", "all => all.map(x => x.srcset)")
            assert (used == dark) == (scheme == "dark")
            paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
            assert paper == {"light": "rgb(252, 252, 251)", "dark": "rgb(21, 24, 28)"}[scheme]

            def first_column(page=page):
                return page.locator("#leaderboard_tuned tbody td:first-child").all_inner_texts()

            press = page.locator("#leaderboard_tuned th button")
            assert first_column() == ["celo_adam", "adam", "sgd"]
            press.nth(1).click()  # the interquartile mean, highest first
            assert first_column() == ["celo_adam", "adam", "sgd"]
            press.nth(1).click()
            assert first_column() == ["sgd", "adam", "celo_adam"]
            press.nth(0).click()
            assert first_column() == ["sgd", "celo_adam", "adam"]
            # Adam cannot be better than itself: an empty cell is last in either order.
            press.nth(5).click()
            assert first_column() == ["celo_adam", "sgd", "adam"]
            press.nth(5).click()
            assert first_column() == ["sgd", "celo_adam", "adam"]
        browser.close()
