"""What a GPU takes and gives: `lab bench gpu` and `lab bench pair`, and lessons' peak of memory.

- `commands`: the options of both; loads nothing else;
- `bench`: engine after engine, each in a process of its own, the `worker`, which can take a decode
  step apart (`trace`);
- `pair`: two GPUs in three ways;
- `memory`: the peak of a GPU's memory while something runs.

Not here: the comparison with Hugging Face (`labutils.bench`), the two limits (`labutils.limits`).
"""
