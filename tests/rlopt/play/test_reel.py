"""Frames of films: sizes, the strip of text, how long they are shown."""

import numpy as np
import pytest
from PIL import Image

from rlopt.play import reel
from rlopt.play.reel import Panel, Reel, Shot


def grey(value):
    return np.full((10, 10, 3), value, np.uint8)


def panel(count, over=True, each=1.0, who="PPO with celo2, seed 0"):
    shots = [Shot(min(255, 80 + 10 * i), each * i, i, over and i == count - 1) for i in range(count)]
    return Panel(shots, grey, "CartPole-v1", who)


@pytest.mark.parametrize(
    ("shape", "times", "size"),
    [
        ((10, 10), 32, (320, 320)),  # MinAtar
        ((210, 160), 2, (420, 320)),  # a console
        ((130, 320), 1, (130, 320)),  # drawn as wide as it is to be
        ((13, 13), 24, (312, 320)),  # dark at its sides
        ((10, 5), 42, (420, 320)),
        ((500, 401), 1, (500, 402)),  # larger, and made even
        ((11, 11), 29, (320, 320)),
    ],
)
def test_pictures_are_enlarged_by_whole_numbers_to_the_width_of_a_film(shape, times, size):
    picture = np.random.default_rng(0).integers(60, 255, (*shape, 3), np.uint8)
    large = reel.enlarged(picture)
    assert large.shape == (*size, 3)
    at = (size[1] - times * shape[1]) // 2
    kept = large[: times * shape[0], at : at + times * shape[1]]
    np.testing.assert_array_equal(kept[times // 2 :: times, times // 2 :: times], picture)
    assert (np.delete(large, np.s_[at : at + times * shape[1]], axis=1) == 0x1C).all()


def test_the_strip_says_what_it_is_told_left_and_right():
    def halves(left, right):
        shown = reel.strip(320, left, right)
        assert shown.shape == (reel.STRIP, 320, 3)
        return shown[:, :160], shown[:, 160:]

    empty = halves(("", ""), ("", ""))
    assert all((half == 0x1C).all() for half in empty)
    one = halves(("CartPole-v1", "PPO"), ("return 12", "step 3"))
    other = halves(("CartPole-v1", "PPO"), ("return 13", "step 3"))
    for half in one:
        upper, lower = half[: reel.STRIP // 2], half[reel.STRIP // 2 :]
        assert (upper > 200).any()
        assert (lower > 150).any()
    np.testing.assert_array_equal(one[0], other[0])
    assert (one[1] != other[1]).any()
    np.testing.assert_array_equal(one[1][reel.STRIP // 2 :], other[1][reel.STRIP // 2 :])


def test_what_finds_no_room_is_cut_short_and_does_not_run_into_the_numbers():
    right = ("return 1,234", "step 3,000 (end)")
    alone = reel.strip(320, ("", ""), right)
    long = reel.strip(320, ("module:" + "x" * 300, "PPO with\n" + "y" * 300), right)
    for line in range(2):
        rows = slice(line * reel.STRIP // 2, (line + 1) * reel.STRIP // 2)
        begins = np.nonzero((alone[rows] > 0x1C).any((0, 2)))[0].min()
        np.testing.assert_array_equal(long[rows, begins:], alone[rows, begins:])
        assert (long[rows, begins - 5 : begins] == 0x1C).all()
        assert (long[rows, : begins - 40] > 100).any()
    assert reel._fitted("a\x1b[2Jb", 300) == r"a\x1b[2Jb"
    assert reel._fitted("abc", 1) == ""


def test_a_return_has_decimals_where_it_needs_some():
    assert reel.decimals([0.0, 1.0, -200.0]) == 0
    assert reel.decimals([0.0, -2.25]) == 2
    assert reel.decimals([0.0, -0.005]) == 3
    assert reel.decimals([0.0, -1082.5]) == 1
    assert reel.decimals([0.0, float("nan")]) == 0
    assert reel.decimals([0.5, float("inf")]) == 3


def test_episodes_side_by_side_wait_for_the_longest():
    film = Reel([panel(3), panel(6)], 10.0)
    assert len(film) == 6
    frames = list(film)
    assert {frame.shape for frame in frames} == {(reel.STRIP + 320, 320 + 4 + 320, 3)}
    left, right = ([frame[:, at] for frame in frames] for at in (np.s_[:320], np.s_[-320:]))
    assert all(np.array_equal(frame, left[2]) for frame in left[3:])
    assert len({frame.tobytes() for frame in right}) == 6
    assert film.over
    assert not Reel([panel(3), panel(6, over=False)], 10.0).over


@pytest.mark.parametrize(("over", "last"), [(True, reel.HOLD), (False, 20)])
def test_a_gif_shows_every_step_and_stays_at_the_end(tmp_path, over, last):
    film = Reel([panel(12, over)], 50.0)
    reel.write_gif(film, tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as read:
        assert (read.size, read.n_frames, read.info["loop"]) == ((320, 364), 12, 0)
        for i, frame in enumerate(film):
            read.seek(i)
            assert read.info["duration"] == (last if i == 11 else 20)
            difference = np.abs(np.asarray(read.convert("RGB")).astype(int) - frame)
            assert difference.max() < 40  # 64 colours
            assert difference[reel.STRIP :].max() < 8


def test_what_is_shown_for_a_single_step_has_its_own_colour(tmp_path):
    def picture(i):
        shown = np.full((10, 10, 3), (180, 30, 0), np.uint8)
        shown[3, 4] = (20, 220, 200) if i == 77 else (250, 190, 60)
        return shown

    shots = [Shot(i, float(i), i, False) for i in range(200)]
    reel.write_gif(Reel([Panel(shots, picture, "Seaquest-MinAtar", "x")], 10.0), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as read:
        for i in (0, 77, 78):
            read.seek(i)
            found = np.asarray(read.convert("RGB"))[reel.STRIP + 3 * 32 + 16, 4 * 32 + 16]
            assert np.abs(found.astype(int) - picture(i)[3, 4]).max() < 8
