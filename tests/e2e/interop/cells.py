"""What the drivers in Python share: how a cell of the table is found and said."""

import asyncio
import os

FILES = os.environ["FILES"]
PASSWORD = os.environ["PASSWORD"]
PORTS = {name: int(os.environ[f"{name}_PORT"]) for name in ("PLAIN", "TLS", "WS")}
PATIENCE = 10


def check(condition, what):
    if not condition:
        raise AssertionError(what)


def said(feature, cell):
    print(f"{feature}: {cell}", flush=True)


def wrong(feature, error, version):
    text = " ".join(f"{type(error).__name__}: {error}".split())
    said(feature, f"no ({text}, in {version})")


def table(cells, versions):
    """Tries each cell in each version it is for: `(function, versions)`, or why it cannot be."""
    for feature, cell in cells.items():
        if isinstance(cell, str):
            said(feature, f"cannot ({cell})")
            continue
        attempt, only = cell if isinstance(cell, tuple) else (cell, versions)
        for version in only:
            try:
                attempt(version)
            except Exception as error:  # whatever it is, it belongs into the table
                wrong(feature, error, version)
                break
        else:
            said(feature, "yes")


async def table_async(cells, versions):
    """The same for functions that are awaited."""
    for feature, cell in cells.items():
        if isinstance(cell, str):
            said(feature, f"cannot ({cell})")
            continue
        attempt, only = cell if isinstance(cell, tuple) else (cell, versions)
        for version in only:
            try:
                await asyncio.wait_for(attempt(version), PATIENCE)
            except Exception as error:  # whatever it is, it belongs into the table
                wrong(feature, error, version)
                break
        else:
            said(feature, "yes")
