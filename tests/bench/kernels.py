"""What scripts do: kernels.py GROUP prints the seconds that each repetition of each kernel of the group took, as JSON.

The groups are `python`, `numpy` and `torch`. Each kernel takes some 20 ms, and is called once before it counts.
"""

import json
import sys
import time

REPETITIONS = 7


class Point:
    __slots__ = ("x", "y")

    def __init__(self, x, y):
        self.x, self.y = x, y

    def moved(self, by):
        return Point(self.x + by, self.y - by)


def objects():
    point = Point(1, 2)
    for i in range(80_000):
        point = point.moved(i)


def dicts():
    table = {}
    for i in range(120_000):
        table[f"key{i % 5000}"] = table.get(f"key{(i * 7) % 5000}", 0) + 1


def text():
    words = [f"word{i}" for i in range(20_000)]
    for _ in range(16):
        " ".join(words).upper().replace("WORD", "w").split()


def json_kernel():
    data = [{"id": i, "name": f"n{i}", "tags": ["a", "b", str(i)]} for i in range(3000)]
    for _ in range(6):
        json.loads(json.dumps(data))


def regex():
    import re
    pattern = re.compile(r"(\w+)@(\w+)\.(com|org)")
    line = "somebody@example.com, nobody here, else@place.org " * 400
    for _ in range(80):
        pattern.findall(line)


def generators():
    def count(n):
        yield from (i * i for i in range(n) if i & 1)
    sum(count(350_000))


def calls():
    def fibonacci(n):
        return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
    fibonacci(26)


def sorting():
    values = [(i * 7919) % 100_003 for i in range(60_000)]
    sorted(values)
    sorted(values, key=lambda value: -value)


def collector():
    for _ in range(2000):
        rings = []
        for _ in range(100):
            ring = []
            ring.append(ring)
            rings.append(ring)


def numpy_kernels():
    import numpy
    generator = numpy.random.default_rng(1)
    matrix = generator.random((300, 300))
    vector = generator.random(1_000_000)
    small = generator.random(8)

    def small_calls():
        for _ in range(12_000):
            numpy.add(small, small).sum()

    return {
        "matmul": lambda: [matrix @ matrix for _ in range(3)],
        "elementwise": lambda: [numpy.sqrt(vector * 2 + 1).sum() for _ in range(4)],
        "sort": lambda: numpy.sort(vector[:300_000]),
        "fft": lambda: [numpy.fft.rfft(vector[:262_144]) for _ in range(8)],
        "small calls": small_calls,
        "solve": lambda: numpy.linalg.solve(matrix, matrix),
    }


def torch_kernels():
    import torch
    torch.manual_seed(1)
    matrix = torch.rand(384, 384)
    images = torch.rand(4, 8, 48, 48)
    layer = torch.nn.Conv2d(8, 16, 3)
    network = torch.nn.Sequential(torch.nn.Linear(128, 256), torch.nn.ReLU(), torch.nn.Linear(256, 10))
    batch = torch.rand(64, 128)
    small = torch.rand(8)

    def train():
        for _ in range(10):
            network.zero_grad()
            network(batch).square().mean().backward()

    def small_calls():
        for _ in range(4000):
            torch.add(small, small).sum()

    return {
        "matmul": lambda: [matrix @ matrix for _ in range(2)],
        "convolution": lambda: [layer(images) for _ in range(60)],
        "training": train,
        "small calls": small_calls,
        "elementwise": lambda: [torch.rand(600_000).sqrt().sum() for _ in range(8)],
    }


def python_kernels():
    return {"objects": objects, "dicts": dicts, "text": text, "json": json_kernel, "re": regex, "generators": generators,
            "calls": calls, "sorting": sorting, "collector": collector}


GROUPS = {"python": python_kernels, "numpy": numpy_kernels, "torch": torch_kernels}


def seconds(kernel):
    kernel()
    taken = []
    for _ in range(REPETITIONS):
        began = time.perf_counter()
        kernel()
        taken.append(round(time.perf_counter() - began, 7))
    return taken


def main():
    print(json.dumps({name: seconds(kernel) for name, kernel in GROUPS[sys.argv[1]]().items()}))


if __name__ == "__main__":
    main()
