"""What Prometheus finds, read as it would."""

import contextlib
import http.client
import os
import pathlib
import re
import signal
import socket
import subprocess
import time

import pytest

import harness

TWO_POOLS = "[pool:first]\nsize = 1\n[pool:second]\nsize = 1\nmodules = json\n"


def free_port(family):
    with socket.socket(family) as listening:
        listening.bind(("127.0.0.1" if family == socket.AF_INET else "::1", 0))
        return listening.getsockname()[1]


class Metrics:
    """The other side of `metrics =`."""

    def __init__(self, address):
        self.address = address

    def ini(self, pools="[pool:default]\nsize = 1\n"):
        return f"[poold]\nmetrics = {self.address}\n{pools}"

    def connect(self):
        if self.address.startswith("unix:"):
            client = socket.socket(socket.AF_UNIX)
            client.connect(self.address[5:])  # which waits while the backlog is full, if there is no timeout
            client.settimeout(harness.DEADLINE)
            return client
        host, _, port = self.address.rpartition(":")
        return socket.create_connection((host.strip("[]"), int(port)), timeout=harness.DEADLINE)

    def ask(self, method="GET", path="/metrics", **headers):
        """Returns the status, the headers and the body."""
        connection = http.client.HTTPConnection("localhost")
        with self.connect() as connection.sock:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            return response.status, response.headers, response.read().decode()

    def page(self):
        status, _, body = self.ask()
        assert status == 200
        return body

    def samples(self):
        """Every sample: its name and labels as they are written, to its value."""
        lines = [line for line in self.page().splitlines() if not line.startswith("#")]
        found = {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}
        assert len(found) == len(lines), "a sample is there twice"
        return found

    def sends(self, data):
        """What comes back for these bytes, until the connection is closed."""
        with self.connect() as client:
            answer = b""
            with contextlib.suppress(ConnectionError):
                client.sendall(data)
                while got := client.recv(65536):
                    answer += got
            return answer


@pytest.fixture(params=["tcp4", "tcp6", "unix"])
def metrics(request, poold):
    if request.param == "unix":
        return Metrics(f"unix:{poold.runtime}/metrics/metrics.sock")
    if request.param == "tcp6":
        return Metrics(f"[::1]:{free_port(socket.AF_INET6)}")
    return Metrics(f"127.0.0.1:{free_port(socket.AF_INET)}")


@pytest.fixture
def local(poold):
    """The same over TCP alone, which anybody on the machine may reach."""
    return Metrics(f"127.0.0.1:{free_port(socket.AF_INET)}")


def test_promtool_has_nothing_to_say(poold, metrics):
    poold.start(metrics.ini(TWO_POOLS))
    assert poold.run("-c", "pass").returncode == 0
    status, headers, page = metrics.ask()
    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    promtool = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True)
    assert (promtool.returncode, promtool.stdout, promtool.stderr) == (0, "", "")


def test_runs_and_misses_are_counted(poold, local):
    poold.start(local.ini(TWO_POOLS))
    before = local.samples()
    for _ in range(3):
        poold.wait_idle("first")
        assert poold.run("--pool", "first", "-c", "pass").returncode == 0
    poold.wait_idle("second")
    assert poold.run("--pool", "second", "-c", "pass").returncode == 0
    assert poold.ctl("run", "--pool", "second", "-X", "importtime", "-c", "pass").returncode == 0
    for name in ("first", "second"):
        poold.wait_idle(name)
    after = local.samples()

    grown = {name: value - before.get(name, 0) for name, value in after.items()}
    assert grown['poold_runs_total{pool="first"}'] == 3
    assert grown['poold_runs_total{pool="second"}'] == 2
    assert sum(value for name, value in grown.items() if name.startswith('poold_misses_total{pool="first"')) == 0
    assert sum(value for name, value in grown.items() if name.startswith('poold_misses_total{pool="second"')) == 1
    for pool, runs in (("first", 3), ("second", 1)):
        assert grown[f'poold_handoff_seconds_count{{pool="{pool}"}}'] == runs
        assert 0 < grown[f'poold_handoff_seconds_sum{{pool="{pool}"}}'] < 60
        assert after[f'poold_workers{{pool="{pool}",state="idle"}}'] == 1
        assert after[f'poold_workers_target{{pool="{pool}"}}'] == 1
        assert after[f'poold_pool_degraded{{pool="{pool}"}}'] == 0
        assert after[f'poold_runs_waiting{{pool="{pool}"}}'] == 0
        assert after[f'poold_worker_starts_total{{pool="{pool}"}}'] == 1 + runs
        assert after[f'poold_warmup_seconds_count{{pool="{pool}"}}'] == 1 + runs
        assert after[f'poold_worker_start_failures_total{{pool="{pool}"}}'] == 0


def test_histograms_are_cumulative(poold, local):
    poold.start(local.ini())
    assert poold.run("-c", "pass").returncode == 0
    samples = local.samples()
    for name in ("handoff", "warmup", "wait"):
        buckets = [(float(found[1]), value) for sample, value in samples.items()
                   if (found := re.fullmatch(rf'poold_{name}_seconds_bucket{{pool="default",le="(.*)"}}', sample))]
        assert buckets == sorted(buckets) and len(buckets) > 10
        assert [value for _, value in buckets] == sorted(value for _, value in buckets)
        assert buckets[-1] == (float("inf"), samples[f'poold_{name}_seconds_count{{pool="default"}}'])


def test_failing_pool(poold, local):
    poold.launch(local.ini("[pool:default]\nsize = 1\nmodules = no_such_module\n"))
    harness.eventually("a failed start", lambda: local.samples()['poold_pool_degraded{pool="default"}'] == 1)
    assert local.samples()['poold_worker_start_failures_total{pool="default"}'] >= 1


def test_process(poold, local):
    began = time.time()
    poold.start(local.ini())
    samples = local.samples()
    version = subprocess.run([poold.program("poold"), "--version"], capture_output=True, text=True).stdout.split()[1]
    assert samples[f'poold_build_info{{version="{version}"}}'] == 1
    assert began - 1 < samples["process_start_time_seconds"] < time.time() + 1
    assert 0 < samples["process_cpu_seconds_total"] < 60
    assert 1 << 20 < samples["process_resident_memory_bytes"] < samples["process_virtual_memory_bytes"]
    # The connection that asks is one of them.
    assert abs(samples["process_open_fds"] - len(harness.fds_of(poold.pid))) <= 1
    assert samples["process_max_fds"] >= 1024


def test_nothing_else_is_answered(poold, metrics):
    poold.start(metrics.ini())
    assert metrics.ask(path="/")[0] == 404
    assert metrics.ask(path="/metrics/..")[0] == 404
    assert metrics.ask(path="/metrics?name=up")[0] == 200
    status, headers, body = metrics.ask("HEAD")
    assert (status, body) == (200, "") and headers["Content-Type"].startswith("text/plain; version=0.0.4")
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "TRACE"):
        assert metrics.ask(method)[0] >= 400


def test_a_web_site_cannot_read_it(poold, local):
    """DNS rebinding: the browser has been told that the site's name is 127.0.0.1."""
    poold.start(local.ini())
    for host in ("localhost", "127.0.0.1:9464", "[::1]:9464"):
        assert local.ask(Host=host)[0] == 200
    for host in ("site.example", "site.example:9464", "[::1].example", "[", "[]", "[" + "1" * 100 + "]"):
        status, _, body = local.ask(Host=host)
        assert status == 400 and "poold_" not in body


def test_garbage(poold, metrics):
    poold.start(metrics.ini())
    fds = harness.fds_of(poold.pid).keys()
    for garbage in (b"\n", b"\0" * 4096, b"GET\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n", b"\xff" * 100 + b"\r\n\r\n",
                    b"GET /metrics HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"GET " + b"a" * 100000,
                    b"GET /metrics HTTP/1.1\r\n" + b"A: b\r\n" * 10000 + b"\r\n",
                    b"POST /metrics HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 100000,
                    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", os.urandom(10000) + b"\r\n\r\n"):
        assert b"poold_" not in metrics.sends(garbage), garbage[:50]
    assert poold.run("-c", "pass").returncode == 0
    assert "poold_build_info" in metrics.page()
    harness.eventually("the connections to be gone", lambda: len(harness.fds_of(poold.pid)) <= len(fds) + 1)
    assert len(poold.log) < 10000, poold.log


def test_idle_connections_are_few(poold, local):
    """However many there are, poold has only some, and the last one is answered all the same."""
    poold.start(local.ini())
    fds = len(harness.fds_of(poold.pid))
    with contextlib.ExitStack() as stack:
        for _ in range(100):
            stack.enter_context(local.connect())
        assert "poold_build_info" in local.page()
        assert len(harness.fds_of(poold.pid)) <= fds + 20
        assert poold.run("-c", "pass").returncode == 0
        # Those that say nothing are closed in the end.
        poold.wait_idle()
        harness.eventually("silent connections to be closed", lambda: len(harness.fds_of(poold.pid)) <= fds + 1)


def test_nobody_reads_the_answer(poold, local):
    pools = "".join(f"[pool:p{number}]\nsize = 0\nmax_workers = 1\n" for number in range(60))
    poold.start(local.ini(pools))
    fds = len(harness.fds_of(poold.pid))
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            client.settimeout(harness.DEADLINE)
            client.connect(("127.0.0.1", int(local.address.rpartition(":")[2])))
            client.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert "poold_build_info" in local.page()
        assert len(harness.fds_of(poold.pid)) <= fds + 20


def test_scrape_takes_no_time(poold, local):
    """CPU time of poold for a page of 50 pools; what others do on the machine does not count."""
    pools = "".join(f"[pool:p{number}]\nsize = 0\nmax_workers = 1\n" for number in range(50))
    poold.start(local.ini(pools))
    page = local.page()
    assert page.count("\n") > 2500
    before = local.samples()["process_cpu_seconds_total"]
    for _ in range(50):
        local.page()
    spent = (local.samples()["process_cpu_seconds_total"] - before) / 51
    assert spent < 0.005, f"{spent * 1000:.2f} ms a page"


def test_unix_socket_is_its_owners_only(poold):
    metrics = Metrics(f"unix:{poold.runtime}/metrics/metrics.sock")
    poold.start(metrics.ini())
    path = poold.runtime / "metrics/metrics.sock"
    assert (path.stat().st_mode & 0o777, path.parent.stat().st_mode & 0o777) == (0o600, 0o700)

    poold.kill()
    assert path.exists()
    poold.start(metrics.ini())  # which replaces what the other one has left
    assert "poold_build_info" in metrics.page()

    poold.stop()
    assert not path.exists()


def test_successor_gets_the_address(poold, metrics, tmp_path, prefix):
    """poold gives it up when it begins to stop, not when the last script has ended."""
    poold.start(metrics.ini())
    script = poold.popen("-c", "import sys; print(flush=True); sys.stdin.read()")
    script.stdout.readline()
    poold.process.send_signal(signal.SIGTERM)
    poold.wait_log("stopping")

    (tmp_path / "next").mkdir()
    successor = harness.Poold(prefix, tmp_path / "next")
    try:
        successor.start(metrics.ini())
        assert "poold_build_info" in metrics.page()
    finally:
        successor.stop()
        script.communicate("")


def test_address_in_use(poold, local):
    """It is said, and the runs do not suffer."""
    with socket.create_server(("127.0.0.1", int(local.address.rpartition(":")[2]))):
        poold.start(local.ini())
        assert f"err: no metrics at {local.address}: Address already in use" in poold.log
        assert poold.run("-c", "pass").returncode == 0


def test_folder_that_is_open_to_others(poold, tmp_path):
    tmp_path.chmod(0o755)
    address = f"unix:{tmp_path}/metrics.sock"
    poold.start(Metrics(address).ini())
    assert (f"err: no metrics at {address}: the socket or its folder belongs to somebody else, or the folder is open to "
            "others") in poold.log
    assert poold.run("-c", "pass").returncode == 0


def test_no_address_no_server(poold):
    poold.start()
    listening = subprocess.run(["ss", "--listening", "--processes", "--no-header", "--tcp"],
                               capture_output=True, text=True).stdout
    assert f"pid={poold.pid}," not in listening


def test_out_of_fds(poold, local):
    """A machine with no fd left for a connection: no busy loop, and it goes on when there are some."""
    poold.start(local.ini())
    used = max(harness.fds_of(poold.pid)) + 1
    subprocess.run(["prlimit", f"--pid={poold.pid}", f"--nofile={used}:"], check=True)
    with local.connect() as client:
        before = cpu_seconds(poold.pid)
        time.sleep(1)  # what there is to see is that nothing happens
        assert cpu_seconds(poold.pid) - before < 0.1 and poold.process.poll() is None
        subprocess.run(["prlimit", f"--pid={poold.pid}", "--nofile=1024:"], check=True)
        client.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
        assert client.recv(100).startswith(b"HTTP/1.0 200")


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
