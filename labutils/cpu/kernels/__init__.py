"""The arithmetic of a step as machine code, compiled by numba for the student's processor.

`instructions` executes a list of operators on addresses; `products`, `rowwise` and `history` are
their arithmetic on `numbers`, one by one or sixteen at a time (`vectors`).

Left out: float16.
"""
