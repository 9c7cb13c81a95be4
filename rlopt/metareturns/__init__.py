"""Meta-training on the returns of whole agents: a search for the weights of a head over an optimizer's steps."""
