"""The ladder: try the quantizations one after the other, measure each, decide by the figures.

`rungs` names what is tried, `items` and `checkers` what is asked, `results` keeps what one rung
left. `summary` compares with the baseline by `stats` and `distributions`; `decide` chooses;
`report` shows it all.
"""
