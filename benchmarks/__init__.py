"""Speed, on real servers: `make bench` measures it and writes `docs/benchmarks.md`.

A scenario is a function that returns a `Result` (`figures.py`): figures, each with what it is
compared with in the same run and its goal, if any. `__main__.py` lists the scenarios, `stage.py`
starts the servers, `prepared.py` makes what several scenarios need.
"""
