"""Image sets at 8x8 that ship with the package; `build.py` makes them, `NOTICE.md` has sources and licences."""
