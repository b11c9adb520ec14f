"""Options of the Python tests: `pytest tests/python`, with --slow for everything."""

import pytest


def pytest_addoption(parser):
    parser.addoption("--slow", action="store_true", help="run the slow tests too (big models, large images)")


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: takes minutes or gigabytes, runs with --slow only")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--slow"):
        return
    skip = pytest.mark.skip(reason="slow, use --slow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)
