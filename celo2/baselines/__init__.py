"""Learned optimizers that the papers of Celo compare with, each as an optax transformation.

`thetas` knows their weights, `rule_*` their arithmetic, `ready` what is added to parameters.
"""
