"""What tests here share with those of `rlopt`."""

from sharing import saves_at_every_interval, shared_programs

__all__ = ["saves_at_every_interval", "shared_programs"]
