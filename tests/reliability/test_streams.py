"""Output that nobody reads."""

import contextlib
import io
import os

import pytest

from rlopt.storage.streams import Steady


class Failing(io.StringIO):
    """A log on a full disk, or one that has been closed."""

    def __init__(self, error):
        super().__init__()
        self.error = error

    def write(self, text):
        raise self.error

    def flush(self):
        raise self.error

    def isatty(self):
        raise self.error


@pytest.mark.parametrize(
    "error", [OSError(28, "No space left on device"), BrokenPipeError(), ValueError("closed file")]
)
def test_a_stream_that_fails_loses_what_is_written_and_nothing_else(error):
    stream = Steady(Failing(error))
    assert stream.write("text") == 4
    stream.flush()
    assert not stream.isatty()


def test_a_stream_that_is_none_takes_everything():
    stream = Steady(None)
    assert stream.write("text") == 4
    stream.flush()
    assert not stream.isatty()
    assert stream.encoding == "utf-8"
    assert not hasattr(stream, "buffer")  # as of a stream that has none: what asks so goes on
    with pytest.raises(OSError, match="fileno"):
        stream.fileno()


def test_letters_that_a_stream_has_none_for_are_written_in_others():
    raw = io.BytesIO()
    stream = Steady(io.TextIOWrapper(raw, "ascii"))
    stream.write("a µ\n")
    stream.flush()
    assert raw.getvalue() == b"a \\xb5\n"


def test_a_bar_does_not_wait_for_a_reader():
    reader, writer = os.pipe()
    with os.fdopen(writer, "w") as pipe, os.fdopen(reader):
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, b"x" * 4096)
        os.set_blocking(writer, True)
        stream = Steady(pipe, patient=False)
        for _ in range(100):
            assert stream.write("x" * 100) == 100
            stream.flush()
