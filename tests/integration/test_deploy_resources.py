#!/usr/bin/env python3
"""What gives enclaves their resources (deploy/aws/enclave-resources), over a made-up /sys.

usage: test_deploy_resources.py PROJECT"""
import pathlib

from deploy_case import AWS, expect, main, run


class Machine:
    """Cores of two threads; node: of each core. One size of page is missing where it is None."""

    def __init__(self, base, nodes, large="0", small="0", pool="", config="MEMORY_MIB=3000\nCPUS=2\n"):
        self.root = pathlib.Path(base)
        self.put("etc/tee-compile/enclaves.conf", config)
        self.pool = self.put("sys/module/nitro_enclaves/parameters/ne_cpus", pool + "\n")
        self.nodes = nodes
        for core, node in enumerate(nodes):
            for cpu in (core, core + len(nodes)):
                self.put(f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list",
                         f"{core},{core + len(nodes)}\n")
                self.put(f"sys/devices/system/cpu/cpu{cpu}/node{node}/x", "")
        for node in set(nodes):
            for kind, count in (("1048576kB", large), ("2048kB", small)):
                if count is not None:
                    self.put(self.pages(node, kind), count + "\n")
            (self.root / f"sys/devices/system/node/node{node}").mkdir(parents=True, exist_ok=True)

    @staticmethod
    def pages(node, kind):
        return f"sys/devices/system/node/node{node}/hugepages/hugepages-{kind}/nr_hugepages"

    def put(self, path, text):
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def count(self, node, kind):
        return int((self.root / self.pages(node, kind)).read_text())

    def run(self, status=0):
        done = run(AWS / "enclave-resources", env={"ENCLAVE_RESOURCES_ROOT": str(self.root), "PATH": "/usr/bin:/bin"})
        expect(done.returncode == status, done.returncode, done.stdout, done.stderr)
        return done.stdout + done.stderr


def test_resources(base):
    machine = Machine(base, [0, 0, 0, 0])
    said = machine.run()
    expect(machine.pool.read_text() == "3,7\n", machine.pool.read_text())
    expect((machine.count(0, "1048576kB"), machine.count(0, "2048kB")) == (2, 476), said)
    expect("processors 3,7 and 3000 MiB of node 0" in said, said)
    machine.run()
    expect(machine.pool.read_text() == "3,7\n", "a second start changes nothing")


def test_resources_without_large_pages(base):
    machine = Machine(base, [0, 0], large=None)
    machine.run()
    expect(machine.count(0, "2048kB") == 1500, "all in small ones")


def test_resources_of_the_node_that_has_them(base):
    """The first node has processor 0 alone; memory follows the processors."""
    machine = Machine(base, [0, 1, 1], config="MEMORY_MIB=1024\nCPUS=4\n")
    machine.run()
    expect(machine.pool.read_text() == "1,2,4,5\n", machine.pool.read_text())
    expect((machine.count(0, "1048576kB"), machine.count(1, "1048576kB")) == (0, 1), "of node 1")


def test_resources_that_are_more(base):
    """Pages that somebody else reserved stay."""
    machine = Machine(base, [0, 0], large="9", pool="1,3")
    machine.run()
    expect((machine.count(0, "1048576kB"), machine.count(0, "2048kB")) == (9, 0), "none taken, none added")


def test_resources_that_are_missing(base):
    for number, (machine, text) in enumerate((
            ({"nodes": [0]}, "besides processor 0's core"),
            ({"nodes": [0, 0, 1], "config": "MEMORY_MIB=64\nCPUS=3\n"}, "besides processor 0's core"),
            ({"nodes": [0, 0], "large": None, "small": None}, "gives 0 MiB of huge pages, not 3000"),
            ({"nodes": [0, 0, 0], "pool": "1", "config": "MEMORY_MIB=64\nCPUS=2\n"}, "fewer than 2 processors"),
            ({"nodes": [0, 0], "config": "MEMORY_MIB=lots\nCPUS=2\n"}, "lacks a line MEMORY_MIB=NUMBER"),
            ({"nodes": [0, 0], "config": "MEMORY_MIB=64\n"}, "lacks a line CPUS=NUMBER"))):
        said = Machine(f"{base}/{number}", **machine).run(status=1)
        expect(text in said, text, said)
    machine = Machine(f"{base}/driver", [0, 0])
    machine.pool.unlink()
    expect("modprobe nitro_enclaves" in machine.run(status=1), "the driver is named")


main(globals())
