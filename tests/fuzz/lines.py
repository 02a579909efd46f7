"""Command lines as a hasty, a curious and a hostile person type them."""

from __future__ import annotations

from hypothesis import strategies as st

from lenet_exp.config.conf_dir import CONF_DIR
from lenet_exp.config.explain import known_flags
from lenet_exp.config.schema import PredictConfig, knobs

TRAIN = sorted(known_flags((CONF_DIR,)) - {"tracking.uri"})  # stores have tests of their own
PREDICT = sorted({flag for flag, _, _ in knobs(PredictConfig)} - {"tracking.uri"})
GROUPS = ["dataset", "activation", "optimizer", "regularization", "schedule", "augmentation", "experiment"]
HYDRA = [
    "hydra", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.output_subdir", "hydra.job.name",
    "hydra.job.id", "hydra.job.env_copy", "hydra.job.env_set", "hydra.job.chdir", "hydra.mode", "hydra.verbose",
    "hydra.searchpath", "hydra.callbacks", "hydra.help", "hydra/launcher", "hydra/sweeper", "hydra.launcher.workers",
    "hydra.sweeper.params", "hydra.sweeper.max_batch_size", "hydra.hydra_logging", "hydra.job_logging",
    "hydra.overrides",
]  # fmt: skip
ODD_FLAGS = ["no_such_flag", "", "=", "a.b.c", "seed.x", "dataset@x", "é", "x" * 5000, "_target_", "hydra.launcher.no"]
OPTIONS = [
    "mnist",
    "digits",
    "selu",
    "prelu",
    "adam",
    "sgd",
    "none",
    "cosine",
    "affine",
    "[shift,flip]",
    "basic",
    "grid",
]
CLASSES = ["torch.nn.Identity", "torch.nn.Module", "torch.nn.ReLU", "torch.optim.SGD", "os.system", "os", "..a", "a."]
NUMBERS = ["0", "1", "-1", "3.5", "1e400", "-1e400", "1e-400", "nan", "1_0", "0x10", "9" * 30, str(2**63), "true"]
SHAPES = ["null", "[]", "{}", "[1]", "{a:1}", "{a:{b:[1]}}", "[[1]]", "[null]", "???", "", "a b", "'a'", '"', "'"]
SWEEPS = ["1,2", "range(3)", "range(0,1,0)", "range(9**9)", "choice(1,2)", "interval(0,1)", "glob(*)", "tag(a,1)", ","]
SIGNS = [
    "${seed}",
    "${nope}",
    "${oc.env:HOME}",
    "${oc.env:NOPE}",
    "${",
    "\n",
    "\\",
    "é",
    "(",
    "@x",
    "~",
    "$",
    "\t",
    "\x7f",
]
PATHS = [
    "/proc/x",
    "/dev/null",
    "/dev/zero",
    "/",
    ".",
    "..",
    "~",
    "~nouser/x",
    "nope/x",
    "x" * 300,
    "pipe",
    "\u202e.png",
]

GOOD = """
    activation=relu activation=prelu optimizer=adam optimizer=rmsprop optimizer.lr=0.05 regularization.dropout_rate=0.3
    regularization.weight_decay=0 schedule=cosine schedule.warmup=0.2 augmentation=shift augmentation=[flip,erase]
    seed=3 split_seed=2 batch_size=16 training.clip_norm=1 training.ema_decay=0.9 training.label_smoothing=0.1
    num_iter_echo=1 training.patience=1 device=cpu engine=torch num_threads=1 hydra.job.name=x tracking.tags.note=a
    ++optimizer.eps=1e-6
"""

odd_values = st.sampled_from([*OPTIONS, *CLASSES, *NUMBERS, *SHAPES, *SIGNS, *PATHS])
values = st.one_of(
    odd_values,
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8),
    st.integers().map(str),
    st.floats().map(str),
    st.lists(odd_values, max_size=3).map(lambda several: f"[{','.join(several)}]"),
)
prefixes = st.sampled_from(["", "", "", "+", "++", "~"])


def overrides(flags: list[str]) -> st.SearchStrategy[str]:
    """One of Hydra's, of a known flag mostly."""
    named = st.one_of(st.sampled_from(flags), st.sampled_from([*GROUPS, *HYDRA]), st.sampled_from(ODD_FLAGS))
    return st.one_of(
        st.builds("{}{}={}".format, prefixes, named, values), st.builds("~{}".format, named), named, values.map(str)
    )


train_lines = st.one_of(
    st.builds(
        lambda good, odd: [*good, *odd],
        st.lists(st.sampled_from(GOOD.split()), min_size=1, max_size=4, unique=True),
        st.lists(overrides(TRAIN), max_size=1),
    ),
    st.lists(overrides(TRAIN), min_size=1, max_size=3),
    st.builds(
        lambda flag, several, more: ["-m", f"{flag}={several}", *more],
        st.sampled_from([*TRAIN, *GROUPS]),
        st.sampled_from(SWEEPS),
        st.lists(overrides(TRAIN), max_size=2),
    ),
)
predict_lines = st.lists(overrides(PREDICT), min_size=1, max_size=3)


def literal_lines(keys: list[str], words: list[str]) -> st.SearchStrategy[list[str]]:
    """Of a command that is no Hydra app.

    Args:
        words: what may stand first.
    """
    argument = st.one_of(st.builds("{}={}".format, st.sampled_from([*keys, "nope", ""]), values), values)
    return st.builds(
        lambda word, more: [*word, *more], st.sampled_from([[], *([w] for w in words)]), st.lists(argument, max_size=3)
    )
