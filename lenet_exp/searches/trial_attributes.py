"""Names of the user attributes of trials in study.db."""

from __future__ import annotations

RUN = "run"  # ID of the run with the first seed
EPOCHS_BEFORE = "epochs_before"  # number of epochs that this run already had
EPOCHS = "epochs"  # number of epochs trained for the trial
OUTCOME = "outcome"  # outcome of the run
REASON = "reason"  # reason why the run did not finish
SAMPLER_STATE = "drawn"  # state of the sampler after it drew the trial
