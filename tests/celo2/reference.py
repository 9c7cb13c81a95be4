"""The learned rules a second time: plain NumPy in float64, one tensor after the other, no tricks.

Written from the papers' equations (arXiv 2602.19142, 2501.12670), to be compared with every fast path of `celo2`. Decays
are the last axis here, as in the published code, and features are built one by one.
"""

import numpy as np

MOMENTA = (0.9, 0.99, 0.999)
FACTORED = (0.9, 0.99, 0.999)
CLIP = 1000.0


def clip_gradient(g):
    return np.clip(np.where(np.isnan(g), 0.0, g), -CLIP, CLIP)


def ema(old, new, decays):
    decays = np.asarray(decays)
    return decays * old + (1 - decays) * new[..., None]


def largest_axes(shape):
    """(second largest, largest); of equal lengths the later axis counts as larger."""
    order = sorted(range(len(shape)), key=lambda axis: (shape[axis], axis))
    return order[-2], order[-1]


class Statistics:
    """Running statistics of one tensor of rank >= 1."""

    def __init__(self, shape, rms_decay, momenta=MOMENTA):
        self.shape, self.rms_decay, self.momenta = shape, rms_decay, momenta
        self.m = np.zeros((*shape, len(momenta)))
        self.v = np.zeros(shape)
        self.nu = np.zeros(shape)
        self.row = self.col = np.zeros((*shape, len(FACTORED)))  # spread over the axis that they are means over
        self.count = 0

    def update(self, g):
        self.count += 1
        squares = g**2 + 1e-30
        self.m = ema(self.m, g, self.momenta)
        self.v = self.rms_decay * self.v + (1 - self.rms_decay) * g**2
        self.nu = 0.999 * self.nu + 0.001 * g**2
        if len(self.shape) < 2:
            self.row = self.col = ema(self.row, squares, FACTORED)
            return
        second, largest = largest_axes(self.shape)
        self.row = ema(self.row, np.broadcast_to(squares.mean(largest, keepdims=True), self.shape), FACTORED)
        self.col = ema(self.col, np.broadcast_to(squares.mean(second, keepdims=True), self.shape), FACTORED)

    def factor(self):
        """What a gradient is multiplied by in the Adafactor-like feature, [*S, 3]."""
        if len(self.shape) < 2:
            return np.maximum(self.row + 1e-9, 1e-9) ** -0.5
        second, _ = largest_axes(self.shape)
        relative = self.row / (self.row.mean(second, keepdims=True) + 1e-9)
        return np.maximum(relative, 1e-9) ** -0.5 * np.maximum(self.col, 1e-9) ** -0.5


def groups(g, p, stats, rsqrt_eps, unfactored):
    """The 14 groups of features, each [*S, width]; unfactored: those 9 to 13 of a tensor below rank 2 as well."""
    r = (stats.v + rsqrt_eps) ** -0.5
    found = [
        g[..., None],
        np.clip(g, -0.1, 0.1)[..., None],
        p[..., None],
        stats.m,
        stats.v[..., None],
        stats.m * r[..., None],
        r[..., None],
        g[..., None] * stats.factor(),
        (g * r)[..., None],
    ]
    if g.ndim < 2 and not unfactored:
        return found
    momentum_factor = stats.factor() if g.ndim >= 2 else stats.row**-0.5
    return [
        *found,
        stats.row,
        stats.col,
        (stats.row + 1e-8) ** -0.5,
        (stats.col + 1e-8) ** -0.5,
        stats.m * momentum_factor,
    ]


def normalised(x, axes, eps):
    return x / np.sqrt(eps + np.mean(x**2, axis=axes, keepdims=True))


def mlp(weights, features):
    x = weights["b0"] + sum(feature @ weights[f"w0__{k}"] for k, feature in enumerate(features))
    x = np.maximum(x, 0) @ weights["w1"] + weights["b1"]
    return np.maximum(x, 0) @ weights["w2"] + weights["b2"]


def outputs(weights, g, p, stats, axes, norm_eps, rsqrt_eps, unfactored, odd):
    """The MLP's outputs; odd: those for this sign, and for the other one of gradient, momenta and parameters."""
    plus = mlp(weights, [normalised(x, axes, norm_eps) for x in groups(g, p, stats, rsqrt_eps, unfactored)])
    if not odd:
        return plus, None
    momenta = stats.m
    stats.m = -momenta
    minus = mlp(weights, [normalised(x, axes, norm_eps) for x in groups(-g, -p, stats, rsqrt_eps, unfactored)])
    stats.m = momenta
    return plus, minus


def orthogonalised(x, steps):
    """Newton-Schulz on one matrix."""
    if x.shape[0] > x.shape[1]:
        return orthogonalised(x.T, steps).T
    x = x / (np.linalg.norm(x) + 1e-8)
    for _ in range(steps):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


def rms(x):
    return np.sqrt(np.mean(x**2))


def adam_size(stats):
    """Root mean square of the step that Adam (0.9, 0.999, eps 1e-5) takes for the tensor."""
    mean = stats.m[..., stats.momenta.index(0.9)] / (1 - 0.9**stats.count)
    return rms(mean / (np.sqrt(stats.nu / (1 - 0.999**stats.count)) + 1e-5))


def celo2_step(theta, g, p, stats, *, orthogonalize, odd=False, size="unit", newton_schulz_steps=5):
    """One step of Celo2 for one tensor of rank >= 1, in the sign of the gradient; stats are updated."""
    weights = {name: np.asarray(x, np.float64) for name, x in theta["ff_mod_stack"]["~"].items()}
    g = clip_gradient(g)
    stats.update(g)
    axes = (-3, -2) if g.ndim >= 2 else (-2,)  # of the tensor, with the features behind
    plus, minus = outputs(weights, g, p, stats, axes, 1e-9, 1e-8, False, odd)
    step = plus[..., 0] if minus is None else (plus - minus)[..., 0] / 2
    if orthogonalize and g.ndim >= 2:
        matrices = step.reshape(-1, *step.shape[-2:])
        step = np.stack([orthogonalised(x, newton_schulz_steps) for x in matrices]).reshape(step.shape)
    step = normalised(step, (-2, -1) if g.ndim >= 2 else (-1,), 1e-9)
    return step * (adam_size(stats) if size == "adam" else 1.0)


def celo_step(theta, g, p, stats, eta, *, odd=False, size="unit"):
    """One step of Celo for one tensor of rank >= 1, in the sign of the gradient; stats are updated."""
    weights = {name: np.asarray(x, np.float64)[0] for name, x in theta["ff_mod_stack"]["~"].items()}
    g = clip_gradient(g)
    stats.update(g)
    plus, minus = outputs(weights, g, p, stats, tuple(range(g.ndim)), 1e-5, 1e-6, True, odd)

    def step(found):
        return found[..., 0] * np.exp(0.001 * found[..., 1])

    direction = step(plus) if minus is None else (step(plus) - step(minus)) / 2
    if size == "adam":
        return eta * 0.09 * adam_size(stats) * normalised(direction, tuple(range(g.ndim)), 1e-9)
    return eta * 0.001 * np.sqrt(np.mean(p**2) + 1e-9) * direction


def celo_adam_step(g, moments, count, eta):
    """One step of Celo-Adam, in the sign of the gradient; moments, a list of two arrays, are updated."""
    g = clip_gradient(g)
    moments[0] = 0.9 * moments[0] + 0.1 * g
    moments[1] = 0.999 * moments[1] + 0.001 * g**2
    mean, square = moments[0] / (1 - 0.9**count), moments[1] / (1 - 0.999**count)
    return eta * 0.001 * mean / (1e-8 + np.sqrt(square + 1e-10))


class Schedule:
    """Celo's step-size schedule: ten running means of the loss, and an LSTM."""

    def __init__(self, theta, num_steps):
        self.weights = {
            name: {k: np.asarray(x, np.float64) for k, x in part.items()} for name, part in theta["rnn_params"].items()
        }
        self.hidden, self.cell = (np.asarray(theta["lstm_init_state"][n], np.float64)[0] for n in ("hidden", "cell"))
        self.num_steps = num_steps
        self.beta = np.exp(-1 / np.logspace(1, np.log10(num_steps), 10))
        self.means, self.minima, self.count = np.zeros(10), np.full(10, 1e12), 0

    def __call__(self, loss, tensors=None):
        """Eta for the next step, given the loss before it; with features of tensors, [n, 12], one for each."""
        progress = np.tanh(
            10 * (self.count / self.num_steps - np.asarray([0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1, 1.1]))
        )
        x = np.concatenate([progress, self.features(loss)])
        if tensors is not None:
            return self.of_each(x, np.asarray(tensors, np.float64))
        u = self.dense("linear_2", x) + np.maximum(self.dense("linear_1", x), 0)
        self.advance(u)
        return 0.1 * np.exp(self.dense("step_size", self.hidden)[0])

    def of_each(self, x, tensors):
        """An LSTM row per tensor, which reads x and what the tensor is like; all share the largest ReLU."""
        self.hidden, self.cell = (np.broadcast_to(state, (len(tensors), 64)) for state in (self.hidden, self.cell))
        first, second = (
            self.dense(f"linear_{k}", x) + np.stack([row @ self.weights[f"tensor_{k}"]["w"] for row in tensors])
            for k in (1, 2)
        )
        self.advance(second + np.maximum(first, 0).max(axis=0))
        return 0.1 * np.exp(self.dense("step_size", self.hidden)[:, 0])

    def advance(self, u):
        """The LSTM after one more input."""
        gates = self.dense("rnn/linear", np.concatenate([u, self.hidden], axis=-1))
        i, g, f, o = np.split(gates, 4, axis=-1)
        self.cell = sigmoid(f + 1) * self.cell + sigmoid(i) * np.tanh(g)
        self.hidden = sigmoid(o) * np.tanh(self.cell)

    def features(self, loss):
        left = 1 - self.beta ** (self.count + 1)
        cap = loss if self.count == 0 else np.max(self.means / left)
        self.means = self.beta * self.means + (1 - self.beta) * min(loss, 2 * abs(cap))
        corrected = self.means / left
        self.minima = np.minimum(self.minima, corrected)
        self.count += 1
        if self.count <= 2:
            return np.zeros(9)
        above = corrected[:-1] - self.minima[:-1]
        return np.clip(above / np.maximum(1e-8, corrected[1:] - self.minima[:-1]) - 1, -1, 1)

    def dense(self, name, x):
        return x @ self.weights[name]["w"] + self.weights[name]["b"]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))
