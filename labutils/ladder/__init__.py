"""The ladder: try the quantizations one after the other, measure each, decide by the figures.

In reading order:

- `rungs` names what is tried, `items` and `checkers` what is asked, `plan` and `data` how much;
- `runner` runs a `request`: each rung in a process (`supervisor`, `worker`, `task`), unless it was
  measured under the same `conditions`; `weights` makes the 4-bit weights;
- `measure` is what happens in that process: `engine`, `memory`, `speed`, `logits`;
- `results` keeps what one rung left; `summary` compares with the baseline by `stats` and
  `distributions`; `decide` chooses;
- `report` shows it all, `notebook` in a notebook; `command` is `lab ladder`.
"""
