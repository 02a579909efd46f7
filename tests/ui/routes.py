"""Print the method and the path of every route of MLflow's server: python -m tests.ui.routes."""

from __future__ import annotations

import re

from fastapi import routing
from mlflow.server import app as flask_app
from mlflow.server.fastapi_app import app as fastapi_app


def main() -> None:
    """Print each route once, with the value 1 for each variable in its path."""
    routes: set[tuple[str, str]] = set()
    # Newer releases of FastAPI keep the routes of a router together.
    contexts = getattr(routing, "iter_route_contexts", iter)
    for route in contexts(fastapi_app.routes):
        path = re.sub(r"\{[^}]*\}", "1", route.path) or "/"
        routes.update((method, path) for method in getattr(route, "methods", None) or ("GET",))

    for rule in flask_app.url_map.iter_rules():
        path = re.sub(r"<[^>]*>", "1", rule.rule)
        routes.update((method, path) for method in rule.methods or ())

    for method, path in sorted(routes):
        print(method, path)


if __name__ == "__main__":
    main()
