"""burst: to come."""


def measure(bench):
    return {}
