#!/usr/bin/env python3
"""Ten thousand connections of one build. It takes long: script/test network runs it.

usage: test_network_crowd.py TEE_COMPILE [NAME...]"""
import glob
import os
import resource
import subprocess
import time

from network_case import LIMITS, TOOL, main

CROWD = """
import select, socket, sys
talk = sys.argv[1] == 'talk'
poller, socks, address = select.epoll(), {}, socket.gethostbyname('plain.test')
ready = served = 0


def look(patience):
    global ready
    for fd, _ in poller.poll(patience):
        ready += 1
        if talk:
            socks[fd].send(b'GET /empty HTTP/1.1\\r\\nHost: plain.test\\r\\nConnection: close\\r\\n\\r\\n')
        poller.unregister(fd)


for _ in range(10000):
    sock = socket.socket()
    sock.setblocking(False)
    sock.connect_ex((address, 80))
    socks[sock.fileno()] = sock
    poller.register(sock, select.EPOLLOUT)
    look(0)
while ready < len(socks):
    look(-1)
for sock in socks.values():
    if talk:
        sock.settimeout(3000)
        served += sock.recv(65536).startswith(b'HTTP/1.1 200')
open('out', 'w').write(str(served))
"""


def workers_below(pid):
    """Peaks of memory, in kilobytes, of the worker's processes below this one."""
    parents, peaks = {}, {}
    for folder in glob.glob("/proc/[0-9]*"):
        try:
            with open(f"{folder}/status") as file:
                said = dict(line.split(":", 1) for line in file if ":" in line)
        except OSError:
            continue
        number = int(folder.rpartition("/")[2])
        parents[number] = int(said["PPid"])
        if said["Name"].strip().startswith("tee-compile") and "VmHWM" in said:
            peaks[number] = int(said["VmHWM"].split()[0])

    def is_below(number):
        while number > 1 and number != pid:
            number = parents.get(number, 0)
        return number == pid
    return [peak for number, peak in peaks.items() if number != pid and is_below(number)]


def test_ten_thousand_connections(p):
    """All open at once: they are served, or the build ends and says why; it never hangs, and what
    the worker needs has a bound."""
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < 16384:
        print("fewer descriptors than a build has elsewhere: test_ten_thousand_connections is passed over")
        return
    (p.dir / "crowd.py").write_text(CROWD)
    for how, served in ("silent", 0), ("talk", 10000):
        p.spec(f"/usr/bin/python3 crowd.py {how}", limits={**LIMITS, "timeout": "60m"}, plain_http=["plain.test"])
        building = subprocess.Popen([TOOL, "build", "--image", "host", "--dir", p.dir, "--output", p.out],
                                    stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                    env={**os.environ, "HTTPS_PROXY": p.lab.proxy.url, "NO_PROXY": ""})
        peak = 0
        while building.poll() is None:
            peak = max([peak, *workers_below(building.pid)])
            time.sleep(0.2)
        said = building.communicate()[1]
        assert 0 < peak < 256 << 10, peak
        if building.returncode == 0:
            assert p.output() == b"%d" % served, p.output()
            assert len(p.transcript()) == served
            p.verify("--allow-unauthenticated")
            p.out.unlink()
            continue
        assert building.returncode == 2 and not p.out.exists(), said
        assert "waited for one of the recorder's connections" in said, said


main(globals())
