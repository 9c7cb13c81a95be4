"""Suites of environments that are packages of their own: prefix, package, extra, and their ids. Imports nothing heavy.

An id is PREFIX:NAME, with arguments PREFIX:NAME(argument=1). A suite takes any name that its package knows; those
here are what `rlopt envs` lists.
"""

from types import MappingProxyType
from typing import NamedTuple


class Suite(NamedTuple):
    """package: what is imported. extra: of this distribution, which installs it. ids: without the prefix."""

    package: str
    extra: str
    ids: tuple[str, ...]


_ROOMS = (
    *(f"Empty-{size}" for size in ("5x5", "6x6", "8x8", "16x16")),
    *(f"Empty-Random-{size}" for size in ("5x5", "6x6", "8x8", "16x16")),
    *(f"DoorKey-{size}" for size in ("5x5", "6x6", "8x8", "16x16")),
    *(f"DoorKey-Random-{size}" for size in ("5x5", "6x6", "8x8", "16x16")),
    "FourRooms",
    *(f"KeyCorridor{size}" for size in ("S3R1", "S3R2", "S3R3", "S4R3", "S5R3", "S6R3")),
    *(f"LavaGap{size}" for size in ("S5", "S6", "S7")),
    *(f"SimpleCrossing{size}" for size in ("S9N1", "S9N2", "S9N3", "S11N5")),
    *(f"Dynamic-Obstacles-{size}" for size in ("5x5", "5x5-Random", "6x6", "6x6-Random", "8x8", "16x16")),
    *("DistShift1", "DistShift2"),
    *(f"GoToDoor-{size}" for size in ("5x5", "6x6", "8x8")),
)
SUITES = MappingProxyType(
    {
        "brax": Suite(
            "brax",
            "brax",
            (
                *("ant", "halfcheetah", "hopper", "humanoid", "humanoidstandup", "inverted_pendulum"),
                *("inverted_double_pendulum", "pusher", "reacher", "swimmer", "walker2d"),
            ),
        ),
        "playground": Suite(
            "mujoco_playground",
            "playground",
            (
                *("AcrobotSwingup", "AcrobotSwingupSparse", "BallInCup", "CartpoleBalance", "CartpoleBalanceSparse"),
                *("CartpoleSwingup", "CartpoleSwingupSparse", "CheetahRun", "FingerSpin", "FingerTurnEasy"),
                *("FingerTurnHard", "FishSwim", "HopperHop", "HopperStand", "HumanoidStand", "HumanoidWalk"),
                *("HumanoidRun", "PendulumSwingup", "PointMass", "ReacherEasy", "ReacherHard", "SwimmerSwimmer6"),
                *("WalkerRun", "WalkerStand", "WalkerWalk"),
            ),
        ),
        "craftax": Suite(
            "craftax",
            "craftax",
            (
                *("Craftax-Classic-Symbolic-v1", "Craftax-Classic-Pixels-v1"),
                *("Craftax-Symbolic-v1", "Craftax-Pixels-v1"),
            ),
        ),
        "navix": Suite("navix", "navix", tuple(f"Navix-{room}-v0" for room in _ROOMS)),
        "jumanji": Suite(
            "jumanji",
            "jumanji",
            (
                *("BinPack-v2", "CVRP-v1", "Cleaner-v0", "FlatPack-v0", "Game2048-v1"),
                *("GraphColoring-v1", "Knapsack-v1", "LevelBasedForaging-v0", "Maze-v0"),
                *("Minesweeper-v0", "PacMan-v1", "RobotWarehouse-v0", "RubiksCube-v0"),
                *("RubiksCube-partly-scrambled-v0", "SearchAndRescue-v0", "SlidingTilePuzzle-v0", "Snake-v1"),
                *("Sudoku-v0", "Sudoku-very-easy-v0", "TSP-v1", "Tetris-v0"),
            ),
        ),
        "octax": Suite(
            "octax",
            "octax",
            (
                *("airplane", "blinky", "brix", "cavern1", "cavern2", "cavern3", "cavern5", "cavern6", "deep"),
                *("filter", "flight_runner", "missile", "pong", "rocket", "shooting_stars"),
                *(f"space_flight{level}" for level in range(1, 11)),
                *("spacejam", "squash", "submarine", "tank", "target_shooter1", "target_shooter2"),
                *("target_shooter3", "tetris", "ufo", "vertical_brix", "wipe_off", "worm"),
            ),
        ),
    }
)
