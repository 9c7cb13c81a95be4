"""Ids of envpool's tasks besides Atari, without importing it. A test compares them with envpool's."""

from types import MappingProxyType

_GYM = ("Ant", "HalfCheetah", "Hopper", "Humanoid", "Swimmer", "Walker2d")  # before version 4, version 3
_SMALL = ("HumanoidStandup", "InvertedDoublePendulum", "InvertedPendulum", "Pusher", "Reacher")  # version 2
# Without LqrLqr21 and LqrLqr62, whose actions have bounds of 10^10.
_CONTROL = (
    *("AcrobotSwingup", "AcrobotSwingupSparse", "BallInCupCatch", "CartpoleBalance", "CartpoleBalanceSparse"),
    *("CartpoleSwingup", "CartpoleSwingupSparse", "CartpoleThreePoles", "CartpoleTwoPoles", "CheetahRun", "DogFetch"),
    *("DogRun", "DogStand", "DogTrot", "DogWalk", "FingerSpin", "FingerTurnEasy", "FingerTurnHard", "FishSwim"),
    *("FishUpright", "HopperHop", "HopperStand", "HumanoidCMURun", "HumanoidCMUStand", "HumanoidCMUWalk"),
    *("HumanoidRun", "HumanoidRunPureState", "HumanoidStand", "HumanoidWalk", "ManipulatorBringBall"),
    *("ManipulatorBringPeg", "ManipulatorInsertBall", "ManipulatorInsertPeg", "PendulumSwingup", "PointMassEasy"),
    *("PointMassHard", "QuadrupedEscape", "QuadrupedFetch", "QuadrupedRun", "QuadrupedWalk", "ReacherEasy"),
    *("ReacherHard", "StackerStack2", "StackerStack4", "SwimmerSwimmer15", "SwimmerSwimmer6", "WalkerRun"),
    *("WalkerStand", "WalkerWalk"),
)
_LANDING = ("LunarLander", "LunarLanderContinuous", "CarRacing")

# By envpool's name of the suite. "mujoco.gym" are gymnasium's robots, "mujoco.dmc" DeepMind's control suite.
SUITES = MappingProxyType(
    {
        "envpool.mujoco.gym": (
            *(f"{name}-v{version}" for name in _GYM for version in (3, 4, 5)),
            *(f"{name}-v{version}" for name in _SMALL for version in (2, 4, 5)),
        ),
        "envpool.mujoco.dmc": tuple(f"{name}-v1" for name in _CONTROL),
        "envpool.box2d": (
            *(f"{name}-v{version}" for name in _LANDING for version in (2, 3)),
            "BipedalWalker-v3",
            "BipedalWalkerHardcore-v3",
        ),
    }
)
ALL = frozenset(env_id for ids in SUITES.values() for env_id in ids)
