"""scale: to come."""


def measure(bench):
    return {}
