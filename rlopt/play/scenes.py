"""Pictures of environments: drawn where observations are a few numbers, coloured where they are grids."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from rlopt.drawing import COLOURS
from rlopt.play import asked

# Pixels of a drawn picture from left to right.
WIDTH = 320
# Drawn at so many times the size, then made smaller: without jags.
_SMOOTH = 3
_INK, _GREY, _PALE, _WHITE = "#303030", "#909090", "#D8D8D8", "#FFFFFF"
_BLUE, _RED, _GREEN = COLOURS[:3]
Point = Sequence[float] | np.ndarray


class Scene(NamedTuple):
    """How an environment is shown.

    draw: (obs [*shape], state) -> uint8 [H, W, 3]; state is the environment's own, with a leading axis of 1. rate:
    pictures per second.
    """

    draw: Callable[[np.ndarray, Any], np.ndarray]
    rate: float


# Of grid worlds, at a speed that one can follow.
_GRID_RATE = 10.0


class _Canvas:
    """A white picture in the units of an environment; ordinates point up."""

    def __init__(self, left: float, right: float, bottom: float, top: float) -> None:
        self._left, self._top = left, top
        self._scale = _SMOOTH * WIDTH / (right - left)
        height = 2 * round((top - bottom) / (right - left) * WIDTH / 2)  # even: coders of films ask for that
        self._box = left, right, bottom, top
        self._image = Image.new("RGB", (_SMOOTH * WIDTH, _SMOOTH * height), _WHITE)
        self._draw = ImageDraw.Draw(self._image)

    def _at(self, point: Point) -> tuple[float, float]:
        return (float(point[0]) - self._left) * self._scale, (self._top - float(point[1])) * self._scale

    def line(self, points: Sequence[Point], colour: str, width: float = 2) -> None:
        """Through points, with round ends; width in pixels."""
        places, thick = [self._at(point) for point in points], round(_SMOOTH * width)
        self._draw.line(places, fill=colour, width=thick, joint="curve")
        for x, y in (places[0], places[-1]):
            self._draw.circle((x, y), thick / 2, fill=colour)

    def area(self, corners: Sequence[Point], colour: str) -> None:
        """A polygon."""
        self._draw.polygon([self._at(corner) for corner in corners], fill=colour)

    def disk(self, centre: Point, radius: float, colour: str) -> None:
        """A filled circle; radius in the environment's units."""
        self._draw.circle(self._at(centre), radius * self._scale, fill=colour)

    def agent(self, centre: Point, radius: float) -> None:
        """A filled circle; at the edge and hollow where it has left the picture."""
        left, right, bottom, top = self._box
        inside = np.clip(centre, (left + radius, bottom + radius), (right - radius, top - radius))
        self.disk(inside, radius, _RED)
        if not (left < centre[0] < right and bottom < centre[1] < top):
            self.disk(inside, radius / 2, _WHITE)

    @property
    def picture(self) -> np.ndarray:
        return np.asarray(self._image.reduce(_SMOOTH))


def _cart_pole(obs: np.ndarray, state: Any) -> np.ndarray:
    """obs: position, velocity, angle from upright (clockwise), its velocity. The episode ends at the two marks."""
    x, angle = float(obs[0]), float(obs[2])
    canvas = _Canvas(-2.7, 2.7, -0.5, 1.7)
    canvas.line([(-2.7, 0), (2.7, 0)], _GREY, 1.5)
    for mark in (-2.4, 2.4):
        canvas.line([(mark, -0.1), (mark, 0.1)], _GREY, 1.5)
    canvas.area([(x - 0.3, -0.15), (x + 0.3, -0.15), (x + 0.3, 0.15), (x - 0.3, 0.15)], _INK)
    canvas.line([(x, 0.15), (x + np.sin(angle), 0.15 + np.cos(angle))], _RED, 7)
    canvas.disk((x, 0.15), 0.06, _BLUE)
    return canvas.picture


def _acrobot(obs: np.ndarray, state: Any) -> np.ndarray:
    """obs: cosine and sine of the first angle from hanging down, and of the second from the first link; velocities."""
    first = np.arctan2(obs[1], obs[0])
    second = first + np.arctan2(obs[3], obs[2])
    elbow = np.array([np.sin(first), -np.cos(first)])
    tip = elbow + np.array([np.sin(second), -np.cos(second)])
    canvas = _Canvas(-2.3, 2.3, -2.3, 2.3)
    canvas.line([(-2.3, 1), (2.3, 1)], _GREEN, 1.5)  # the tip is to rise above it
    canvas.line([(0, 0), elbow], _BLUE, 8)
    canvas.line([elbow, tip], _RED, 8)
    for joint in ((0, 0), elbow):
        canvas.disk(joint, 0.1, _INK)
    return canvas.picture


def _mountain_car(goal: float) -> Callable[[np.ndarray, Any], np.ndarray]:
    def height(x: Any) -> Any:
        return 0.45 * np.sin(3 * x) + 0.55

    def draw(obs: np.ndarray, state: Any) -> np.ndarray:
        x = float(obs[0])
        canvas = _Canvas(-1.2, 0.6, -0.02, 1.23)
        across = np.linspace(-1.25, 0.65, 120)
        canvas.area([*zip(across, height(across), strict=True), (0.65, -1), (-1.25, -1)], _PALE)
        canvas.line([*zip(across, height(across), strict=True)], _GREY, 1.5)
        canvas.line([(goal, height(goal)), (goal, height(goal) + 0.2)], _INK, 1.5)
        canvas.area([(goal, height(goal) + y) for y in (0.2, 0.11)] + [(goal - 0.09, height(goal) + 0.155)], _GREEN)
        along = np.array([1, 1.35 * np.cos(3 * x)])
        along /= np.linalg.norm(along)
        up = np.array([-along[1], along[0]])
        ground = np.array([x, height(x)])
        sides = ((-0.075, 0.03), (0.075, 0.03), (0.05, 0.085), (-0.05, 0.085))
        canvas.area([ground + a * along + b * up for a, b in sides], _RED)
        for a in (-0.045, 0.045):
            canvas.disk(ground + a * along + 0.025 * up, 0.025, _INK)
        return canvas.picture

    return draw


def _pendulum(obs: np.ndarray, state: Any) -> np.ndarray:
    """obs: cosine and sine of the angle from upright (anticlockwise), its velocity."""
    canvas = _Canvas(-1.6, 1.6, -1.25, 1.25)
    canvas.line([(0, 0), (-obs[1], obs[0])], _RED, 12)
    canvas.disk((0, 0), 0.05, _INK)
    return canvas.picture


def _reacher(obs: np.ndarray, state: Any) -> np.ndarray:
    """obs: cosines [2] and sines [2] of both links' own angles, velocities [2], the goal [2]."""
    elbow = np.array([obs[0], obs[2]])
    tip = elbow + np.array([obs[1], obs[3]])
    canvas = _Canvas(-2.3, 2.3, -2.3, 2.3)
    canvas.disk(obs[6:8], 0.12, _GREEN)
    canvas.line([(0, 0), elbow], _BLUE, 7)
    canvas.line([elbow, tip], _RED, 7)
    for joint in ((0, 0), elbow):
        canvas.disk(joint, 0.09, _INK)
    return canvas.picture


def _swimmer(obs: np.ndarray, state: Any) -> np.ndarray:
    """obs: urchins [5, 2], position [2], velocity [2], the goal [2]."""
    *urchins, place, _, goal = obs.reshape(-1, 2)
    canvas = _Canvas(-1.6, 1.6, -1.6, 1.6)
    canvas.disk(goal, 0.12, _GREEN)
    for urchin in urchins:
        canvas.disk(urchin, 0.1, _INK)
    canvas.agent(place, 0.08)
    return canvas.picture


def _point_robot(obs: np.ndarray, state: Any) -> np.ndarray:
    """obs: position [2] and what else; the goal, which the agent is not shown, is the state's."""
    canvas = _Canvas(-1.6, 1.6, -1.0, 1.4)
    canvas.line([(np.cos(angle), np.sin(angle)) for angle in np.linspace(0, np.pi, 60)], _PALE, 1.5)
    canvas.disk(np.asarray(state.goal)[0], 0.2, _GREEN)
    canvas.agent(obs[:2], 0.06)
    return canvas.picture


def _cells(colours: Sequence[str], kinds: np.ndarray, agent: Point, goal: Point | None = None) -> np.ndarray:
    """A maze of kinds [H, W], places as row and column; the agent covers the goal."""
    picture = np.array([_rgb(colour) for colour in colours], np.uint8)[np.asarray(kinds, int)]
    for place, colour in ((goal, _GREEN), (agent, _RED)):
        if place is not None:
            picture[int(place[0]), int(place[1])] = _rgb(colour)
    return picture


def _rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour.removeprefix("#")))


def _made(env_id: str) -> Any:
    import gymnax

    return gymnax.make(env_id)[0]


def _four_rooms() -> Callable[[np.ndarray, Any], np.ndarray]:
    walls = np.asarray(_made("FourRooms-misc").occupied_map)
    return lambda obs, state: _cells((_WHITE, _INK), walls, obs[:2], obs[2:])


def _meta_maze() -> Callable[[np.ndarray, Any], np.ndarray]:
    walls = np.asarray(_made("MetaMaze-misc").occupied_map)
    return lambda obs, state: _cells((_WHITE, _INK), walls, np.asarray(state.pos)[0], np.asarray(state.goal)[0])


def _frozen_lake() -> Callable[[np.ndarray, Any], np.ndarray]:
    """obs: one-hot, by rows."""
    tiles = np.asarray(_made("FrozenLake-misc").desc)
    colours = (_PALE, _WHITE, _BLUE, _GREEN)  # start, ice, holes, goal
    return lambda obs, state: _cells(colours, tiles, divmod(int(np.argmax(obs)), tiles.shape[1]))


# One for each of `asked.DRAWN`; made when they are asked for: some look at the environment.
_SCENES: dict[str, Callable[[], Scene]] = {
    "CartPole-v1": lambda: Scene(_cart_pole, 50.0),
    "Acrobot-v1": lambda: Scene(_acrobot, 15.0),
    "MountainCar-v0": lambda: Scene(_mountain_car(0.5), 30.0),
    "MountainCarContinuous-v0": lambda: Scene(_mountain_car(0.45), 30.0),
    "Pendulum-v1": lambda: Scene(_pendulum, 20.0),
    "Reacher-misc": lambda: Scene(_reacher, 20.0),
    "Swimmer-misc": lambda: Scene(_swimmer, 20.0),
    "PointRobot-misc": lambda: Scene(_point_robot, _GRID_RATE),
    "FourRooms-misc": lambda: Scene(_four_rooms(), _GRID_RATE),
    "MetaMaze-misc": lambda: Scene(_meta_maze(), _GRID_RATE),
    "FrozenLake-misc": lambda: Scene(_frozen_lake(), _GRID_RATE),
}


def find(env_id: str, shape: Sequence[int]) -> Scene:
    """How an environment is shown that is no Atari game.

    Args:
      env_id: of the environment.
      shape: of its observations; [H, W] and [H, W, channels] are taken for grids, and those of uint8 with one or three
        channels for pictures.

    Raises:
      ValueError: for one without a picture, naming those that have one.
    """
    # Gymnasium's own, by `gymnasium:ID(argument=...)`, show the same numbers.
    drawn = _SCENES.get(env_id.removeprefix("gymnasium:").partition("(")[0])
    if drawn is not None:
        return drawn()
    if len(shape) in (2, 3):
        colours = _channels(shape[2] if len(shape) == 3 else 1)
        return Scene(lambda obs, state: _grid(obs.reshape(*shape[:2], -1), colours), _GRID_RATE)
    raise ValueError(f"{asked.no_picture(env_id)}, got {tuple(shape)}")


def _channels(count: int) -> np.ndarray:
    """Well separated colours, uint8 [count, 3]."""
    from matplotlib import colormaps

    return (255 * colormaps["turbo"](np.linspace(0.15, 0.92, count))[:, :3]).astype(np.uint8)


def _grid(obs: np.ndarray, colours: np.ndarray) -> np.ndarray:
    """A grid [H, W, C] as uint8 [H, W, 3]: each cell has the colour of its first channel that is not 0.

    The first: of MinAtar's channels, what moves comes before the trails that it leaves. A picture stays as it is.
    """
    if obs.dtype == np.uint8 and obs.shape[-1] in (1, 3):
        return np.broadcast_to(obs, (*obs.shape[:2], 3))
    shown = obs != 0
    return np.where(shown.any(-1)[..., None], colours[np.argmax(shown, axis=-1)], 0).astype(np.uint8)
