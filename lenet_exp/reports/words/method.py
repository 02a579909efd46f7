"""Explains how configurations are compared, for the help of `lenet-compare` and for the HTML
report.
"""

METHOD = """Configurations are ranked by the mean of their metric, by default validation accuracy, over seeds. The leader is
tested against every other configuration: with a paired test if the two share half their seeds, otherwise with Welch's
test. From four configurations on, the standard deviation of each configuration is estimated from all of them.
"Behind" is corrected for all pairs of configurations (Shaffer). In at most about 5 of 100 sweeps, it wrongly contains
an equally good configuration, or a win is wrong. "The best is one of" contains the truly best configuration in about
95 of 100 sweeps (Hsu); configurations outside are not the best, but may not be significantly behind the leader. "At
most 0.5 points better" bounds, in about 95 of 100 sweeps, how much better the truly best configuration is. An
unstable configuration varies too much between seeds to be excluded. These rates do not hold if some runs of a
configuration collapse (reach far lower accuracy than the rest). The intervals of all leads hold together in about 95
of 100 sweeps and cover only variation between seeds (and between splits, if split_seed is swept). "On new images" is
a claim about new seeds and new images of the same kind, with an error rate of 5% of its own; it is made from the last
epoch or from test images, because the best epoch was chosen by the validation images. The lead of a winner is biased
upward. Configurations with diverged runs rank last and are not tested. No configuration wins while runs are missing."""
