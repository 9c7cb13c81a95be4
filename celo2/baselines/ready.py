"""The learned baselines ready to use: updates that are added to parameters."""

import jax
import optax

from celo2.baselines.rule_adafac_mlp import scale_by_adafac_mlp
from celo2.baselines.rule_nnadam import scale_by_nnadam
from celo2.baselines.rule_open import scale_by_open
from celo2.baselines.rule_rnn_mlp import scale_by_rnn_mlp
from celo2.baselines.rule_velo import scale_by_velo
from celo2.checkpoint import ThetaLike
from celo2.optimizers import descent


def nnadam(theta: ThetaLike, *, multiplier: optax.ScalarOrSchedule = 1.0) -> optax.GradientTransformationExtraArgs:
    """NN-Adam: Adam whose settings an LSTM moves, tensor by tensor; no learning rate.

    Args:
      theta: weights, see `scale_by_nnadam`. None are packaged.
      multiplier: what all steps are multiplied by, a number, a traced scalar or a schedule; 1, as published.

    Returns:
      An `optax.GradientTransformationExtraArgs` whose updates, those of `scale_by_nnadam` with the other sign, are
      added to the parameters. Its state is a `ScaleByNNAdamState`.

    Raises:
      ValueError: what `scale_by_nnadam` refuses.

    Reference: arXiv 2203.11860.
    """
    return descent(scale_by_nnadam(theta), multiplier)


def adafac_mlp(theta: ThetaLike, *, multiplier: optax.ScalarOrSchedule = 1.0) -> optax.GradientTransformationExtraArgs:
    """AdaFac-MLP (`small_fc_mlp`): a small MLP over gradient statistics; no learning rate.

    Args:
      theta: weights, see `scale_by_adafac_mlp`. None are packaged.
      multiplier: see `nnadam`.

    Returns:
      As `nnadam`; its state is a `ScaleByAdafacMLPState`.

    Raises:
      ValueError: what `scale_by_adafac_mlp` refuses.

    Reference: arXiv 2203.11860.
    """
    return descent(scale_by_adafac_mlp(theta), multiplier)


def rnn_mlp(theta: ThetaLike, *, multiplier: optax.ScalarOrSchedule = 1.0) -> optax.GradientTransformationExtraArgs:
    """RNN-MLP: an LSTM per tensor above an MLP per parameter; no learning rate. `update` needs the loss as `value=`.

    Args:
      theta: weights, see `scale_by_rnn_mlp`. None are packaged.
      multiplier: see `nnadam`.

    Returns:
      As `nnadam`; its state is a `ScaleByRNNMLPState`.

    Raises:
      ValueError: what `scale_by_rnn_mlp` refuses.

    Reference: arXiv 2009.11243.
    """
    return descent(scale_by_rnn_mlp(theta), multiplier)


def velo(
    num_steps: int | jax.Array,
    theta: ThetaLike,
    *,
    multiplier: optax.ScalarOrSchedule = 1.0,
    mlp_mult: float = 1.0,
) -> optax.GradientTransformationExtraArgs:
    """VeLO, of any size: a learned schedule per tensor above mixed MLPs; no learning rate. `update` needs `value=`.

    Args:
      num_steps: number of updates of the whole training, at least 1.
      theta: weights, see `scale_by_velo`. None are packaged.
      multiplier: see `nnadam`.
      mlp_mult: see `scale_by_velo`.

    Returns:
      As `nnadam`; its state is a `ScaleByVeLOState`.

    Raises:
      ValueError: what `scale_by_velo` refuses.

    Reference: arXiv 2211.09760.
    """
    return descent(scale_by_velo(num_steps, theta, mlp_mult=mlp_mult), multiplier)


def open_rule(
    theta: ThetaLike,
    *,
    multiplier: optax.ScalarOrSchedule = 1.0,
    num_steps: int | None = None,
    steps_per_batch: int = 1,
    epochs: int = 1,
) -> optax.GradientTransformationExtraArgs:
    """OPEN, made for RL: a GRU per parameter; no learning rate. `update` needs what the agents here tell optimizers.

    Args:
      theta: weights, see `scale_by_open`. None are packaged; published `.npy` files load.
      multiplier: see `nnadam`.
      num_steps: see `scale_by_open`.
      steps_per_batch: see `scale_by_open`.
      epochs: see `scale_by_open`.

    Returns:
      As `nnadam`; its state is a `ScaleByOpenState`.

    Raises:
      ValueError: what `scale_by_open` refuses.

    Reference: arXiv 2407.07082.
    """
    direction = scale_by_open(theta, num_steps=num_steps, steps_per_batch=steps_per_batch, epochs=epochs)
    return descent(direction, multiplier)
