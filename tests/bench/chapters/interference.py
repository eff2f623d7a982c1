"""interference: to come."""


def measure(bench):
    return {}
