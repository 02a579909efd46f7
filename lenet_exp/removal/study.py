"""The study of a search that lies in a database of the user's own, and not in the sweep's folder."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser

from lenet_exp.addresses import SQLITE, hide_password, sqlite_path
from lenet_exp.removal.units import Unit

STORAGE = "search.storage="


@dataclass(frozen=True)
class Study:
    """Where it is.

    Attributes:
        of: the sweep's folder, as the study names it.
    """

    url: str
    name: str
    of: str

    @property
    def can_be_opened(self) -> bool:
        """Whether Optuna is here, and the address known: a password is never kept."""
        return "***" not in self.url and find_spec("optuna") is not None

    def is_there(self) -> bool:
        """Raises:
        ConfigError: the database can't be used now.
        """
        return self._found(only_look=True)

    def delete(self) -> None:
        """Deletes it where it is there, and this sweep's; as `is_there`."""
        self._found(only_look=False)

    def _found(self, *, only_look: bool) -> bool:
        database = sqlite_path(self.url)
        if not self.can_be_opened or (database is not None and not database.exists()):
            return False
        from lenet_exp.searches.study import delete_study

        return delete_study(self.url, self.name, self.of, only_look=only_look)

    @property
    def by_hand(self) -> str:
        """The line that deletes it, for who knows the password."""
        return f"optuna delete-study --study-name '{self.name}' --storage '{hide_password(self.url)}'"


def study_of(unit: Unit) -> Study | None:
    """The study that the line of a search put into a database of the user's own; None where it did not."""
    plan = unit.plan
    if plan is None or plan.search is None:
        return None
    asked = [override for override in plan.overrides if override.lstrip("+").startswith(STORAGE)]
    if not asked:
        return None
    value = OverridesParser.create().parse_overrides(asked[-1:])[0].value()
    if value is None:
        return None
    url = str(value)
    if url.startswith(SQLITE):  # as seen from where the line was typed
        url = f"{SQLITE}{Path(plan.directory) / url.removeprefix(SQLITE)}"
    return Study(url, f"lenet_exp {unit.removing.name}", str(unit.lies.parent.resolve() / unit.lies.name))
