"""memory: to come."""


def measure(bench):
    return {}
