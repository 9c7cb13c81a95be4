"""Pictures of environments, of states that are made up by hand."""

import types

import gymnax
import jax
import numpy as np
import pytest

from envs.gymnax import ids as gymnax_ids
from rlopt.drawing import COLOURS
from rlopt.play import asked, scenes

DRAWN = tuple(scenes._SCENES)
BLUE, RED, GREEN = COLOURS[:3]
INK, WHITE = scenes._INK, scenes._WHITE


def drawn(env_id, obs, **state):
    """The picture of an observation; state: what else is known of it."""
    obs = np.asarray(obs, np.float32)
    made = types.SimpleNamespace(**{name: np.asarray([value]) for name, value in state.items()})
    return scenes.find(env_id, obs.shape).draw(obs, made)


def places(picture, colour):
    """Rows and columns of the pixels of a colour, both from the upper left corner."""
    wanted = np.array(scenes._rgb(colour))
    rows, columns = np.nonzero((np.abs(picture.astype(int) - wanted) <= 2).all(-1))
    assert len(rows), f"nothing is {colour}"
    return rows, columns


def middle(picture, colour):
    """Mean row and column of a colour."""
    return np.array([x.mean() for x in places(picture, colour)])


@pytest.mark.parametrize("env_id", DRAWN)
def test_every_scene_goes_with_what_its_environment_shows(env_id):
    env, params = gymnax.make(env_id)
    obs, state = jax.eval_shape(lambda key: env.reset_env(key, params), jax.random.key(0))
    if env_id == "FrozenLake-misc":
        obs = jax.ShapeDtypeStruct((int(env.observation_space(params).n),), np.float32)  # agents see it one-hot
    state = jax.tree.map(lambda x: np.ones((1, *x.shape), x.dtype), state)
    picture = scenes.find(env_id, obs.shape).draw(np.ones(obs.shape, obs.dtype), state)
    assert picture.dtype == np.uint8
    assert picture.shape[2:] == (3,)
    assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 2
    if picture.shape[1] == scenes.WIDTH:
        assert picture.shape[0] % 2 == 0


def test_a_pole_leans_the_way_of_its_angle_and_its_cart_goes_where_it_is():
    for angle in (0.2, -0.2):
        picture = drawn("CartPole-v1", [0.0, 0.0, angle, 0.0])
        rows, columns = places(picture, RED)
        assert np.polyfit(-rows, columns, 1)[0] == pytest.approx(np.tan(angle), rel=0.15)
        assert rows.max() < middle(picture, INK)[0]
    carts = [middle(drawn("CartPole-v1", [x, 0.0, 0.0, 0.0]), INK)[1] for x in (-2.4, 0.0, 2.4)]
    np.testing.assert_allclose(np.diff(carts), 2.4 * scenes.WIDTH / 5.4, atol=1.5)
    assert carts[1] == pytest.approx((scenes.WIDTH - 1) / 2, abs=1)


def test_an_acrobot_hangs_at_rest_and_reaches_above_its_line_upright():
    def joints(first, second):
        angles = [np.cos(first), np.sin(first), np.cos(second), np.sin(second)]
        picture = drawn("Acrobot-v1", [*angles, 0.0, 0.0])
        return middle(picture, BLUE), middle(picture, RED), places(picture, RED)[0].min(), middle(picture, GREEN)[0]

    upper, lower, _, line = joints(0.0, 0.0)
    assert line < upper[0] < lower[0]
    upper, lower, tip, line = joints(np.pi, 0.0)
    assert tip < line < upper[0]
    # The second angle is counted from the first link; both turn the tip to the right.
    upper, lower, _, _ = joints(0.0, np.pi / 2)
    assert lower[1] > upper[1]
    assert lower[0] == pytest.approx(upper[0] + scenes.WIDTH / 4.6 / 2, abs=3)
    assert joints(np.pi / 2, 0.0)[1][1] > joints(np.pi / 2, 0.0)[0][1] > scenes.WIDTH / 2


@pytest.mark.parametrize(("env_id", "goal"), [("MountainCar-v0", 0.5), ("MountainCarContinuous-v0", 0.45)])
def test_a_car_climbs_to_its_flag(env_id, goal):
    down, up = (drawn(env_id, [x, 0.0]) for x in (-np.pi / 6, goal))
    assert places(down, RED)[0].max() > places(up, RED)[0].max() + 100
    # The pole of the flag stands where the car is at the end: its top is to the right of the flag.
    rows, columns = places(up, GREEN)
    assert middle(up, RED)[1] == pytest.approx(columns.max(), abs=4)
    assert middle(down, RED)[1] == pytest.approx((1.2 - np.pi / 6) / 1.8 * scenes.WIDTH, abs=3)
    # Down in the valley it stands level; on the slope on the right its nose, on the right, points up.
    rows, columns = places(drawn(env_id, [-0.1, 0.0]), RED)
    assert rows[columns > columns.mean()].mean() < rows[columns < columns.mean()].mean() - 3


def test_a_pendulum_stands_up_at_angle_zero_and_turns_anticlockwise():
    def end(angle):
        picture = drawn("Pendulum-v1", [np.cos(angle), np.sin(angle), 0.0])
        centre = middle(picture, INK)
        return middle(picture, RED) - centre

    assert end(0.0)[0] < -20
    assert end(np.pi)[0] > 20
    assert end(np.pi / 2)[1] < -20
    assert end(-np.pi / 2)[1] > 20


def test_a_reachers_tip_lies_on_the_goal_where_it_is_reached():
    # Both links to the right, then the second one up; the goal at the tip of the latter.
    across = drawn("Reacher-misc", [1, 1, 0, 0, 0, 0, -1, -1])
    assert middle(across, RED)[1] > middle(across, BLUE)[1] > scenes.WIDTH / 2
    bent = drawn("Reacher-misc", [1, 0, 0, 1, 0, 0, 1, 1])
    assert middle(bent, RED)[0] < middle(bent, BLUE)[0]
    assert np.abs(middle(bent, GREEN) - middle(bent, RED)).max() < scenes.WIDTH / 4.6
    assert middle(across, GREEN)[0] > middle(across, BLUE)[0]


def test_a_swimmer_that_has_left_the_picture_is_hollow_and_at_its_edge():
    urchins = [0.5, 0.5] * 5
    inside = drawn("Swimmer-misc", [*urchins, -1.0, 0.0, 0, 0, 0.0, -1.0])
    assert middle(inside, RED)[1] < middle(inside, GREEN)[1] < middle(inside, INK)[1]
    assert middle(inside, INK)[0] < middle(inside, RED)[0] < middle(inside, GREEN)[0]
    outside = drawn("Swimmer-misc", [*urchins, 9.0, 0.0, 0, 0, 0.0, -1.0])
    assert places(outside, RED)[1].max() >= scenes.WIDTH - 2
    assert len(places(outside, RED)[0]) < 0.85 * len(places(inside, RED)[0])


def test_the_goal_of_a_point_robot_is_taken_from_the_state():
    goals = [middle(drawn("PointRobot-misc", np.zeros(6), goal=[x, 0.0]), GREEN)[1] for x in (-1.0, 1.0)]
    assert goals[1] - goals[0] == pytest.approx(2 / 3.2 * scenes.WIDTH, abs=2)


def test_mazes_show_walls_agent_and_goal_by_row_and_column():
    for picture in (
        drawn("FourRooms-misc", [4, 1, 8, 9]),
        drawn("MetaMaze-misc", np.zeros(15), pos=[4, 1], goal=[8, 9]),
    ):
        assert tuple(middle(picture, RED)) == (4, 1)
        assert tuple(middle(picture, GREEN)) == (8, 9)
        assert tuple(picture[0, 0]) == scenes._rgb(INK)
        assert tuple(picture[1, 1]) == scenes._rgb(WHITE)
    assert len(places(drawn("FourRooms-misc", [8, 9, 8, 9]), RED)[0]) == 1
    lake = drawn("FrozenLake-misc", np.eye(16)[6])
    assert tuple(middle(lake, RED)) == (1, 2)
    assert tuple(middle(lake, GREEN)) == (3, 3)
    assert set(zip(*places(lake, BLUE), strict=True)) == {(1, 1), (1, 3), (2, 3), (3, 0)}


def test_a_grid_has_a_colour_for_each_channel_and_the_first_is_on_top():
    obs = np.zeros((3, 4, 2), bool)
    obs[0, 0, 0] = obs[1, 1, 1] = True
    obs[2, 3] = True
    picture = scenes.find("mine:Grid", obs.shape).draw(obs, None)
    assert picture.shape == (3, 4, 3)
    assert tuple(picture[0, 1]) == (0, 0, 0)
    assert tuple(picture[2, 3]) == tuple(picture[0, 0]) != tuple(picture[1, 1])
    for channels in (1, 3):
        screen = np.random.default_rng(0).integers(0, 255, (5, 6, channels), np.uint8)
        assert np.array_equal(
            scenes.find("mine:Screen", screen.shape).draw(screen, None), screen + np.zeros((1, 1, 3), int)
        )
    flat = scenes.find("Catch-bsuite", (10, 5)).draw(np.eye(10, 5), None)
    assert np.array_equal(flat.any(-1), np.eye(10, 5, dtype=bool))


def test_every_environment_is_drawn_a_grid_or_blank():
    assert set(DRAWN) == set(asked.DRAWN)
    kinds = (asked.DRAWN, asked.GRIDS, asked.BLANK, [name for name in gymnax_ids() if name.endswith("-MinAtar")])
    assert sorted(name for kind in kinds for name in kind) == sorted(gymnax_ids())


def test_what_has_no_picture_is_refused_with_those_that_have_one():
    with pytest.raises(ValueError, match=r"there is no picture of mine:Env; .*, got \(4,\)") as refused:
        scenes.find("mine:Env", (4,))
    for env_id in (*DRAWN, "Atari", "MinAtar", "Catch-bsuite"):
        assert env_id in str(refused.value)
