#!/usr/bin/python3
"""bench/recorder.py [--rounds N] [--megabytes N] [--requests N]

What a download over HTTPS costs on its way through the recorder, against curl
without anybody in between, and against mitmproxy and sslsplit (Debian packages;
left out when they are not there). Everything is on the loopback: a TLS server,
the one in the middle, curl. The rounds alternate, so that a machine that slows
down slows all. "processor" is what the one in the middle used, user and system:
bytes by that is what one core of it carries. The same for small requests, on one
connection and on a new one each. Figures, not tests: nothing here can fail by
being slow.
"""
import argparse
import contextlib
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / 'tests/attack'))
import recorder_world as world  # noqa: E402

LAB = os.environ.get('RECORDER_LAB', str(ROOT / 'build/tests/recorder_lab'))
NAME = 'localhost'  # mitmproxy asks the resolver


def processor(pid):
    """Seconds of a process, its threads and its children so far."""
    fields = pathlib.Path(f'/proc/{pid}/stat').read_text().rsplit(') ', 1)[1].split()
    children = pathlib.Path(f'/proc/{pid}/task/{pid}/children').read_text().split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK') + sum(map(processor, children))


def serve_tcp(server):
    """The same server for those who dial themselves."""
    listener = socket.create_server(('127.0.0.1', 0), backlog=512)

    def accept():
        while True:
            try:
                sock, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=world.quietly, args=(server, sock), daemon=True).start()
    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def wait_for(port):
    for _ in range(600):
        with contextlib.suppress(OSError):
            socket.create_connection(('127.0.0.1', port)).close()
            return
        threading.Event().wait(0.1)
    sys.exit(f'nobody listens on port {port}')


def free_port():
    with socket.create_server(('127.0.0.1', 0)) as sock:
        return sock.getsockname()[1]


class Middle:
    """Somebody in the middle: a process, and how curl gets to it."""

    def __init__(self, name, process, ca, *curl):
        self.name, self.process, self.ca, self.curl = name, process, ca, curl
        self.seconds, self.cpu = {}, {}

    def measure(self, what, url, *options):
        before = processor(self.process.pid) if self.process else 0
        start = time.monotonic()
        subprocess.run(['curl', '-sSf', '--cacert', self.ca, '-o', '/dev/null', *options, *self.curl, *url],
                       check=True)
        self.seconds.setdefault(what, []).append(time.monotonic() - start)
        after = processor(self.process.pid) if self.process else 0
        self.cpu.setdefault(what, []).append(after - before)


def start_mitmproxy(folder, root, port):
    if not shutil.which('mitmdump'):
        return None
    listen = free_port()
    process = subprocess.Popen(
        ['mitmdump', '--quiet', '--listen-host', '127.0.0.1', '-p', str(listen), '--set',
         f'confdir={folder}/mitm', '--set', f'ssl_verify_upstream_trusted_ca={root}',
         '--mode', f'reverse:https://{NAME}:{port}', '--set', 'connection_strategy=lazy',
         '--set', 'stream_large_bodies=1m'])
    wait_for(listen)
    return Middle('mitmproxy', process, f'{folder}/mitm/mitmproxy-ca-cert.pem',
                  '--connect-to', f'{NAME}:{port}:127.0.0.1:{listen}')


def start_sslsplit(folder, authority, port):
    if not shutil.which('sslsplit'):
        return None
    listen = free_port()
    process = subprocess.Popen(['sslsplit', '-D', '-k', authority.key, '-c', authority.pem, '-l',
                                '/dev/null', 'ssl', '127.0.0.1', str(listen), '127.0.0.1', str(port)],
                               stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_for(listen)
    return Middle('sslsplit', process, str(authority.pem), '--connect-to',
                  f'{NAME}:{port}:127.0.0.1:{listen}')


def make_server(context, megabytes):
    piece = os.urandom(1 << 20)

    def answer(request, sock):
        if request.target == '/small':
            sock.sendall(world.response(b'x' * 1000))
            return
        sock.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n' % (megabytes << 20))
        for _ in range(megabytes):
            sock.sendall(piece)
    return world.Server(context, answer)


def show(middles, what, amount, unit):
    for middle in middles:
        seconds, cpu = (statistics.median(times[what]) for times in (middle.seconds, middle.cpu))
        text = f'{what:<22} {middle.name:<12} {seconds:8.2f} s {amount / seconds:9.0f} {unit}/s'
        if cpu:
            text += f'   processor {cpu:7.2f} s {amount / cpu:9.0f} {unit}/s'
        print(text, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[1])
    parser.add_argument('--rounds', type=int, default=3)
    parser.add_argument('--megabytes', type=int, default=500)
    parser.add_argument('--requests', type=int, default=10000)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        authority = world.Authority(folder, 'root')
        server = make_server(authority.server(NAME), wanted.megabytes)
        port = serve_tcp(server)
        egress = world.Egress(folder)
        egress.routes[NAME] = server
        recorder = world.Recorder(LAB, egress, folder, '--bundle', authority.pem)
        middles = [Middle('nobody', None, str(authority.pem), '--resolve', f'{NAME}:{port}:127.0.0.1'),
                   Middle('recorder', recorder.process, f'{folder}/ca.pem', '--proxy',
                          f'http://127.0.0.1:{recorder.port}')]
        others = [start_mitmproxy(folder, authority.pem, port), start_sslsplit(folder, authority, port)]
        for name, other in zip(('mitmproxy', 'sslsplit'), others):
            print(f'{name}: ' + ('compared' if other else 'not installed, left out'))
        middles += [other for other in others if other]
        print(f'{wanted.megabytes} MiB and {wanted.requests} requests, {os.cpu_count()} cores, '
              f'load {os.getloadavg()[0]:.1f}, median of {wanted.rounds}')
        base = f'https://{NAME}:{port}/'
        listed = pathlib.Path(folder) / 'urls'
        listed.write_text(''.join(f'url = "{base}small"\noutput = "/dev/null"\n'
                                  for _ in range(wanted.requests)))
        few = pathlib.Path(folder) / 'few'
        few.write_text(''.join(f'url = "{base}small"\noutput = "/dev/null"\n'
                               for _ in range(max(wanted.requests // 10, 1))))
        for _ in range(wanted.rounds):
            for middle in middles:
                middle.measure('download', [f'{base}big'])
                middle.measure('one connection', ['-K', str(listed)])
                middle.measure('a connection each', ['-K', str(few)], '-H', 'Connection: close')
        show(middles, 'download', wanted.megabytes, 'MiB')
        show(middles, 'one connection', wanted.requests, 'requests')
        show(middles, 'a connection each', max(wanted.requests // 10, 1), 'requests')
        for middle in middles[2:]:
            middle.process.terminate()
            middle.process.wait()
        recorder.close()
        egress.close()


if __name__ == '__main__':
    main()
