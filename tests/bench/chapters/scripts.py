"""scripts: to come."""


def measure(bench):
    return {}
