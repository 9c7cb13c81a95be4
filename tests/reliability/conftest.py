"""What tests here share with those of `rlopt`."""

from sharing import shared_programs

__all__ = ["shared_programs"]
