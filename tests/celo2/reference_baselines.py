"""The learned baselines a second time: plain NumPy in float64, features by their published names, sorted.

A tree is a dict of arrays here, tensors in the sorted order of their names; decays are the last axis.
"""

import numpy as np

TIMES = np.asarray([1, 3, 10, 30, 100, 300, 1e3, 3e3, 1e4, 3e4, 1e5])


def raised(tree):
    return {k: raised(x) if isinstance(x, dict) else np.asarray(x, np.float64) for k, x in tree.items()}


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def dense(layer, x):
    return x @ layer["w"] + layer["b"]


def log_size(x):
    return np.clip(np.log(1e-8 + np.abs(x)), -5, 5)


def by_name(features):
    return np.concatenate([np.atleast_1d(features[name]) for name in sorted(features)])


def normalised(x):
    """Channels last, each over the whole tensor."""
    return x / np.sqrt(1e-5 + np.mean(x**2, axis=tuple(range(x.ndim - 1)), keepdims=True))


def clip_gradient(g):
    return np.clip(np.where(np.isnan(g), 0.0, g), -1000, 1000)


class Lstm:
    """One row, for one tensor."""

    def __init__(self, theta):
        self.layer = theta["rnn_params"]["rnn/linear"]
        self.hidden, self.cell = (theta["lstm_init_state"][name][0] for name in ("hidden", "cell"))

    def __call__(self, x):
        i, g, f, o = np.split(dense(self.layer, np.concatenate([x, self.hidden])), 4)
        self.cell = sigmoid(f + 1) * self.cell + sigmoid(i) * np.tanh(g)
        self.hidden = sigmoid(o) * np.tanh(self.cell)
        return self.hidden


class NNAdam:
    def __init__(self, theta, params):
        self.theta = theta = raised(theta)
        self.lstm = {name: Lstm(theta) for name in params}
        start = {k: float(theta[f"per_layer_{k}"]) for k in ("lr", "beta1", "beta2", "epsilon")}
        self.raw = {name: dict(start) for name in params}
        self.m, self.v = ({name: np.zeros(p.shape) for name, p in params.items()} for _ in range(2))

    def __call__(self, params, grads, loss):
        return {name: self.tensor(name, p, clip_gradient(grads[name])) for name, p in params.items()}

    @staticmethod
    def adam(raw):
        rate, eps = np.clip(np.exp(10 * raw["lr"]), 1e-8, 1e3), np.clip(np.exp(10 * raw["epsilon"]), 1e-11, 1e4)
        b1, b2 = (1 - np.exp(np.clip(10 * raw[k], -10, 0)) for k in ("beta1", "beta2"))
        return {"lr": rate, "beta1": b1, "beta2": b2, "epsilon": eps}

    def tensor(self, name, p, g):
        raw, adam = self.raw[name], self.adam(self.raw[name])
        m = self.m[name] = adam["beta1"] * self.m[name] + (1 - adam["beta1"]) * g
        v = self.v[name] = adam["beta2"] * self.v[name] + (1 - adam["beta2"]) * g**2
        step = adam["lr"] * (1 + adam["epsilon"]) * m / (adam["epsilon"] + np.sqrt(v + 1e-10))
        x = {k: 0.2 * np.clip(raw[k], -5, 5) for k in raw}
        x |= {"is_bias": 1.0 if p.ndim == 1 else -1.0, "is_scalar": 1.0 if p.ndim == 0 else -1.0}
        for key, value in (("p", p), ("g", g), ("m", m)):
            x |= {f"mean_{key}_mag": 0.5 * log_size(value.mean()), f"mean_{key}_sign": np.sign(value.mean())}
            x[f"var_{key}"] = 0.5 * log_size(value.var())
        x |= {"mean_rms": 0.5 * log_size(v.mean()), "mean_sign": np.sign(v.mean()), "var_rms": 0.5 * log_size(v.var())}
        x["mean_gabs_mag"] = 0.5 * log_size(np.abs(g).mean())
        moved = 0.01 * dense(self.theta["rnn_to_controls_params"]["rnn_to_controls"], self.lstm[name](by_name(x)))
        moved = {k: raw[k] + moved[i] for i, k in enumerate(("lr", "beta1", "beta2", "epsilon"))}
        bounded = self.adam(moved)
        self.raw[name] = {k: 0.1 * np.log(bounded[k] if k in ("lr", "epsilon") else 1 - bounded[k]) for k in bounded}
        return step


def ema(old, new, decays):
    return decays * old + (1 - decays) * new[..., None]


class AdafacMLP:
    def __init__(self, theta, params):
        self.theta = theta = raised(theta)

        def decays(start, name):
            return 1 - np.exp(10 * (0.1 * np.log(1 - np.asarray(start)) + theta[name]))

        self.momenta = decays([0.9, 0.99, 0.999], "momentum_decays")
        self.rms = decays([0.999], "rms_decays")
        self.factored = decays([0.9, 0.99, 0.999], "adafactor_decays")
        self.state = {name: (np.zeros((*p.shape, 3)), np.zeros((*p.shape, 1)), 0.0, 0.0) for name, p in params.items()}
        self.count = 0

    def __call__(self, params, grads, loss):
        steps = {
            name: self.tensor(name, p, np.where(np.isnan(grads[name]), 0, grads[name])) for name, p in params.items()
        }
        self.count += 1
        return steps

    def tensor(self, name, p, g):
        m, v, row, col = self.state[name]
        m, v, squares = ema(m, g, self.momenta), ema(v, g**2, self.rms), g**2 + 1e-30
        if p.ndim < 2:
            row = col = ema(row, squares, self.factored)
            of_gradient = 1 / np.sqrt(np.maximum(row + 1e-9, 1e-9))
            of_momentum = 1 / np.sqrt(row + 1e-6)
        else:
            order = sorted(range(p.ndim), key=lambda axis: (p.shape[axis], axis))
            second, largest = order[-2], order[-1]
            row = ema(row, np.broadcast_to(squares.mean(largest, keepdims=True), p.shape), self.factored)
            col = ema(col, np.broadcast_to(squares.mean(second, keepdims=True), p.shape), self.factored)
            relative = row / (row.mean(second, keepdims=True) + 1e-9)
            of_gradient = of_momentum = 1 / np.sqrt(np.maximum(relative, 1e-9) * np.maximum(col, 1e-9))
        self.state[name] = m, v, row, col
        root = 1 / np.sqrt(v + 1e-6)
        groups = [g[..., None], p[..., None], m, v, m * root, root, g[..., None] * of_gradient, row, col]
        groups += [1 / np.sqrt(row + 1e-8), 1 / np.sqrt(col + 1e-8), m * of_momentum]
        time = np.broadcast_to(np.tanh(self.count / TIMES - 1), (*p.shape, 11))
        x, nn = np.concatenate([normalised(np.concatenate(groups, -1)), time], -1), self.theta["nn"]["~"]
        for k in (0, 1):
            x = np.maximum(x @ nn[f"w{k}"] + nn[f"b{k}"], 0)
        x = x @ nn["w2"] + nn["b2"]
        return 0.001 * x[..., 0] * np.exp(0.001 * x[..., 1])


class RnnMLP:
    DECAYS = np.asarray([0.5, 0.9, 0.99, 0.999, 0.9999])

    def __init__(self, theta, params):
        self.theta = theta = raised(theta)
        self.lstm = {name: Lstm(theta) for name in params}
        self.m, self.v = ({name: np.zeros((*p.shape, 5)) for name, p in params.items()} for _ in range(2))
        self.from_lstm, self.from_mlp = theta["initial_from_lstm"], dict.fromkeys(params, theta["initial_from_mlp"])
        self.size, self.mean, self.var, self.count = 0.01, 0.0, 0.0, 0

    def __call__(self, params, grads, loss):
        self.count += 1
        self.mean = 0.9 * self.mean + 0.1 * loss
        self.var = 0.9 * self.var + 0.1 * (self.mean - loss) ** 2
        c = 1 / (1 - 0.9**self.count + 1e-8)
        told = [np.clip((x - self.mean * c) / np.sqrt(self.var * c + 1e-8), -5, 5) for x in (loss, 0.0)]
        most = 10 * self.size / (1 - 0.99**self.count)
        grads = {name: np.clip(np.where(np.isnan(grads[name]), 0, grads[name]), -most, most) for name in params}
        self.size = 0.99 * self.size + 0.01 * np.sqrt(1e-8 + np.mean([np.mean(g**2) for g in grads.values()]))
        hidden = {}
        for name, p in params.items():
            self.m[name] = ema(self.m[name], grads[name], self.DECAYS)
            self.v[name] = ema(self.v[name], grads[name] ** 2, self.DECAYS)
            hidden[name] = self.lstm[name](self.of_tensor(name, p, grads[name], told))
        rows = [dense(self.theta["rnn_to_in_params"]["rnn_to_in"], h) for h in hidden.values()]
        self.from_lstm = np.mean(rows, axis=0)
        return {name: self.tensor(name, p, grads[name], hidden[name], len(params)) for name, p in params.items()}

    def of_tensor(self, name, p, g, told):
        x = {"from_lstm": self.from_lstm, "from_mlp": self.from_mlp[name]}
        for key, value in (("ms", self.m[name]), ("v", p)):
            x |= {f"mean_{key}_mag": log_size(value.mean()), f"mean_{key}_sign": np.sign(value.mean())}
            x[f"var_{key}"] = log_size(value.var())
        v = self.v[name]
        x |= {"mean_rms": log_size(v.mean()), "mean_sign": np.sign(v.mean()), "var_rms": log_size(v.var())}
        x |= {"norm_weight": log_size(np.sqrt((p**2).sum())), "g_norm": log_size(np.sqrt((g**2).sum()))}
        x["is_scalar"] = 1.0 if p.ndim == 0 else -1.0
        x |= {f"shape_{j}": np.log(n) - 1 for j, n in enumerate((*p.shape, 1, 1, 1, 1)[:4])}
        return by_name(x | {"train_loss_feat": told[0], "valid_loss_feat": told[1]})

    def tensor(self, name, p, g, hidden, num_tensors):
        m, v = self.m[name].reshape(-1, 5), self.v[name].reshape(-1, 5)
        root = 1 / np.sqrt(v + 1e-6)
        own = {"flat_g": g.reshape(-1, 1), "flat_v": p.reshape(-1, 1), "m": m, "rms": v, "rsqrt": root}
        own |= {"log_abs_v": np.log(np.abs(p.reshape(-1, 1)) + 1e-8), "rms_scaled_g": m * root}
        own = normalised(np.concatenate([own[key] for key in sorted(own)], 1))
        norms = [np.log(num_tensors) - 1, np.log(np.sqrt((p**2).sum()) + 1e-8), np.log(p.size)]
        told = dense(self.theta["rnn_to_ff_params"]["rnn_to_ff"], hidden)
        shared = np.concatenate([np.sin((self.count - 1) / (TIMES * np.pi)), norms, told])
        x, net = np.concatenate([own, np.tile(shared, (len(own), 1))], 1), self.theta["ffmod_params"]
        for k in (0, 1):
            x = np.maximum(dense(net[f"mlp/~/linear_{k}"], x), 0)
        x = dense(net["mlp/~/linear_2"], x)
        self.from_mlp[name] = x[:, 2:].mean(0)
        return (0.001 * x[:, 0] * np.exp(0.001 * x[:, 1])).reshape(p.shape)


class VeLO:
    """The schedule's inputs and Celo's tensor step are those of `reference`, handed in."""

    def __init__(self, theta, params, num_steps, reference):
        self.theta = theta = raised(theta)
        self.reference, self.num_steps = reference, num_steps
        self.lstm = {name: Lstm(theta) for name in params}
        self.stats = {name: reference.Statistics(p.shape or (1,), 0.999) for name, p in params.items()}
        # Of Celo's schedule only what it knows of the loss.
        self.course = reference.Schedule({"rnn_params": {}, "lstm_init_state": {"hidden": [0], "cell": [0]}}, num_steps)

    def __call__(self, params, grads, loss):
        centres = np.asarray([0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1, 1.1])
        progress = np.tanh(10 * (self.course.count / self.num_steps - centres))
        losses = self.course.features(loss)
        x = {
            name: by_name(self.of_tensor(name, p) | {"fraction_left": progress, "loss_features": losses})
            for name, p in params.items()
        }
        net = self.theta["rnn_params"]
        most = np.max([np.maximum(dense(net["linear_1"], row), 0) for row in x.values()], axis=0)
        return {
            name: self.tensor(name, p, grads[name], dense(net["linear_2"], x[name]) + most)
            for name, p in params.items()
        }

    def of_tensor(self, name, p):
        unit = 1 / np.sqrt(max(1e-9, np.mean(p**2)))
        m, v = self.stats[name].m.reshape(-1, 3) * unit, self.stats[name].v.reshape(-1, 1) * unit

        def log(x):
            return 0.5 * log_size(10 * x)

        rank = np.eye(5)[sum(n > 1 for n in p.shape)]
        about = np.mean((v - m.mean(0)) ** 2, axis=0)
        return {"mean_rms": log(v.mean()), "rank": rank, "var_m": log(m.var(axis=0)), "var_rms": log(about)}

    def tensor(self, name, p, g, u):
        hidden, net = self.lstm[name](u), self.theta["rnn_params"]
        controls = dense(net["rnn_to_controls"], hidden)
        mlp = {
            k: np.mean([c * w for c, w in zip(controls, bank, strict=True)], axis=0)[None]
            for k, bank in self.theta["ff_mod_stack"]["~"].items()
        }
        eta, shape = dense(net["step_size"], hidden)[0], p.shape
        p, g = p.reshape(shape or (1,)), np.reshape(g, shape or (1,))
        theta = {"ff_mod_stack": {"~": mlp}}
        return self.reference.celo_step(theta, g, p, self.stats[name], eta).reshape(shape)


class Open:
    """One GRU per element. told: update's number -> progress, epoch, and by name acts, layer, dormancy, noise."""

    def __init__(self, theta, params, told):
        theta = raised(theta)
        self.gru, self.mlp, self.told, self.count = theta["gru_params"]["params"], theta["params"]["params"], told, 0
        self.m = {name: np.zeros((*p.shape, 6)) for name, p in params.items()}
        self.h = {name: np.zeros((*p.shape, len(self.gru["hn"]["bias"]))) for name, p in params.items()}

    def __call__(self, params, grads, loss):
        told = self.told(self.count)
        steps = {name: self.tensor(name, p, clip_gradient(grads[name]), told) for name, p in params.items()}
        self.count += 1
        mean = sum(x.sum() for x in steps.values()) / sum(x.size for x in steps.values())
        return {name: x - mean for name, x in steps.items()}

    def tensor(self, name, p, g, told):
        m = self.m[name] = ema(self.m[name], g, np.asarray([0.1, 0.5, 0.9, 0.99, 0.999, 0.9999]))
        per_tensor = [p[..., None], np.sign(m), np.log(np.abs(m) + 1e-13)]
        per_tensor += [np.sign(g)[..., None], np.log(np.abs(g) + 1e-13)[..., None]]
        alike = [told["progress"], told["layer"][name], told["epoch"], told["dormancy"][name]]
        alike = [np.broadcast_to(np.asarray(x, np.float64), p.shape)[..., None] for x in alike]
        x = np.concatenate([normalised(np.concatenate(per_tensor, -1)), *alike], -1)
        h = self.h[name]
        r, z = (sigmoid(self.dense(f"i{k}", x) + self.dense(f"h{k}", h)) for k in "rz")
        h = self.h[name] = z * h + (1 - z) * np.tanh(self.dense("in", x) + r * self.dense("hn", h))
        for k in ("0", "3"):
            layer, norm = self.mlp[f"layers_{k}"], self.mlp[f"layers_{int(k) + 1}"]
            h = h @ layer["kernel"] + layer["bias"]
            h = (h - h.mean(-1, keepdims=True)) / np.sqrt(h.var(-1, keepdims=True) + 1e-6)
            h = np.maximum(h * norm["scale"] + norm["bias"], 0)
        out = h @ self.mlp["layers_6"]["kernel"] + self.mlp["layers_6"]["bias"]
        noise = out[..., 2] * told["noise"][name] if told["acts"][name] else 0.0
        return 0.001 * (out[..., 0] * np.exp(0.001 * out[..., 1]) + noise)

    def dense(self, name, x):
        return x @ self.gru[name]["kernel"] + self.gru[name].get("bias", 0.0)
