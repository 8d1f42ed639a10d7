"""How fast, on real servers: `make bench` measures and writes `docs/benchmarks.md`.

A scenario is a function that returns a `Result` (`figures.py`): figures, each beside what it is
compared with in the same run and beside its goal. `__main__.py` has their list, `stage.py` the
servers, `prepared.py` what several of them need.
"""
