"""Learning rates that were tried: which of them, and whether the best lies at their edge."""

from rlopt.report.cells import Cell, Evidence


def swept(evidence: Evidence, environment: str, optimizer: str) -> list[tuple[float, Cell]]:
    """Learning rates and their cells, lowest rate first; none where fewer than two rates were tried."""
    mine = [c for c in evidence.tuning if (c.environment, c.optimizer) == (environment, optimizer)]
    found = [(cell.rate, cell) for cell in mine if cell.rate is not None]
    return sorted(found, key=lambda pair: pair[0]) if len({rate for rate, _ in found}) > 1 else []


def edge(evidence: Evidence, environment: str, optimizer: str, rate: float | None) -> str | None:
    """Whether a rate is the "lowest" or the "highest" of those tried there; None: neither, or there was no choice."""
    tried = [rate for rate, _ in swept(evidence, environment, optimizer)]
    if not tried or rate is None:
        return None
    return "lowest" if rate == tried[0] else "highest" if rate == tried[-1] else None


def extended(evidence: Evidence) -> list[str]:
    """Optimizers of a benchmark of which more rates were tried than its candidates."""
    plan = evidence.plan
    if plan is None:
        return []
    candidates = {name: plan.candidates(name) for name in plan.all_optimizers}
    more = {c.optimizer for c in evidence.tuning if c.rate not in (candidates.get(c.optimizer) or (c.rate,))}
    return [name for name in candidates if name in more]


def problems(evidence: Evidence) -> list[str]:
    """Sentences on the best rates at the edge, and on those that nobody chose."""
    sentences = []
    for optimizer, choice in evidence.choices.items():
        at = [
            (environment, rate, edge(evidence, environment, optimizer, rate))
            for environment, rate in choice.tuned.items()
        ]
        if found := [
            f"{rate:g} on {environment} ({side})" for environment, rate, side in at if side and rate is not None
        ]:
            sentences.append(
                f"{optimizer}: the best learning rate is at the edge of those tried: {', '.join(found)}; a better one "
                f"may lie beyond (marked *{'; `rlopt benchmark --extend` tries more' if evidence.plan else ''})."
            )
    plan = evidence.plan
    if plan is not None and evidence.tuning:
        seeds = "seed" if plan.tuning_seeds == 1 else "seeds"
        sentences.append(
            f"Learning rates were tuned with {plan.tuning_seeds} {seeds} per rate, other ones than those reported: "
            "where rates are nearly as good as each other, chance has chosen between them."
        )
    if plan is None:
        alone = [o for o in evidence.optimizers if not any(swept(evidence, e, o) for e in evidence.environments)]
        alone = [o for o in alone if any(r is not None for r in evidence.choices[o].tuned.values())]
        if alone:
            sentences.append(f"Learning rates were not tuned, one was tried each: {', '.join(alone)}.")
    return sentences
