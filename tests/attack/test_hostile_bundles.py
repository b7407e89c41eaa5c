#!/usr/bin/python3
"""Bundles by somebody who wants to harm whoever looks at them.

test_hostile_bundles.py TEE_COMPILE MAKE_BUNDLE [NAME...]

Each is given to verify, verify --json, verify --extract and report.
Whatever it is: no signal and no sanitizer's report, exit 1 or 2, only printable
UTF-8 on both streams, nothing written anywhere, memory below 64 MB, and an end
before the guard's (the times are guards against a hang, and measure nothing).
"""
import gzip
import hashlib
import json
import lzma
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import tarfile
import tempfile
import threading

TOOL, MAKE_BUNDLE = (os.path.abspath(path) for path in sys.argv[1:3])
WANTED = sys.argv[3:]
BLOCK, MIB, GIB = 512, 1 << 20, 1 << 30
GUARD = 300  # seconds
with open(TOOL, "rb") as tool_file:
    SANITIZED = b"__asan_init" in tool_file.read()
# A sanitizer's shadow and quarantine are not the program's memory.
MEMORY_KB = (2048 if SANITIZED else 64) * 1024
COMMANDS = (["verify"], ["verify", "--json"], ["verify", "--extract", "out"], ["report"],
            ["report", "--json"], ["report", "--markdown"])
NASTY = "\x1b[31m\r\n\x9b2J\u202e"


class Wrong(Exception):
    pass


def octal(value, size):
    return b"%0*o\0" % (size - 1, value)


def header(name, size=0, kind=b"0", mode=0o644, link=b"", size_field=None, magic=b"ustar\x0000",
           uid=0, mtime=0, prefix=b"", device=0):
    """A header block as the bundle's writer makes it, unless told otherwise."""
    block = bytearray(BLOCK)
    for at, field in ((0, name[:100]), (100, octal(mode, 8)), (108, octal(uid, 8)),
                      (116, octal(0, 8)), (124, size_field or octal(size, 12)),
                      (136, octal(mtime, 12)), (148, b" " * 8), (156, kind), (157, link[:100]),
                      (257, magic), (329, octal(device, 8)), (337, octal(device, 8)),
                      (345, prefix)):
        block[at:at + len(field)] = field
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data):
    return data + bytes(-len(data) % BLOCK)


def member(name, data=b"", **more):
    return header(name, len(data), **more) + padded(data)


def records(*pairs):
    out = b""
    for key, value in pairs:
        rest = len(key) + len(value) + 3
        size = rest + len(str(rest))
        if len(str(size)) > len(str(rest)):
            size += 1
        out += b"%d %s=%s\n" % (size, key, value)
    return out


def pax(*pairs, kind=b"x", name=b"PaxHeaders/member"):
    return member(name, records(*pairs), kind=kind)


END = bytes(2 * BLOCK)


def spawner(requests):
    """Starts what it is told and answers with exit and peak memory, in a process of its own
    that stays small: a child's peak begins with the memory of the process it was forked from."""
    while True:
        message, fds, _, _ = socket.recv_fds(requests, 65536, 3)
        if not message:
            os._exit(0)
        args, folder = json.loads(message)
        process = subprocess.Popen(args, stdin=fds[0], stdout=fds[1], stderr=fds[2], cwd=folder,
                                   env=dict(os.environ, NO_COLOR="", TERM="xterm"))
        for fd in fds:
            os.close(fd)
        guard = threading.Timer(GUARD, process.kill)
        guard.start()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        guard.cancel()
        requests.sendall(json.dumps([process.returncode, usage.ru_maxrss]).encode())


def start_spawner():
    mine, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    if os.fork() == 0:
        mine.close()
        spawner(its)
    its.close()
    return mine


class Lab:
    """A folder of its own for each run: `work` to be in, `sentinel` to be left alone."""

    def __init__(self, base, starter):
        self.base = base
        self.starter = starter
        self.bundle = os.path.join(base, "good.tar")
        self.root = os.path.join(base, "root.pem")
        subprocess.run([MAKE_BUNDLE, self.bundle, self.root], check=True)
        with open(self.bundle, "rb") as file:
            self.good = file.read()
        with tarfile.open(self.bundle) as tar:
            self.members = [(m.name.encode(), tar.extractfile(m).read(), m.mode)
                            for m in tar.getmembers()]
        if self.build(self.members) != self.good:
            raise Wrong("this test's writer does not make the bytes of a good bundle")
        self.runs = 0
        self.peak = 0

    @staticmethod
    def build(members):
        return b"".join(member(n, d, mode=m) for n, d, m in members) + END

    def with_content(self, name, data):
        return self.build([(n, data if n == name else d, m) for n, d, m in self.members])

    def with_tail(self, raw):
        """The good members, then raw bytes, then the end."""
        return self.good[:-len(END)] + raw + END

    def snapshot(self, place):
        seen = {}
        for folder, folders, files in os.walk(place):
            for name in folders + files + ["."]:
                path = os.path.join(folder, name)
                info = os.lstat(path)
                content = b""
                if stat.S_ISREG(info.st_mode):
                    with open(path, "rb") as file:
                        content = hashlib.sha256(file.read()).digest()
                elif stat.S_ISLNK(info.st_mode):
                    content = os.readlink(path)
                seen[path] = (info.st_mode, info.st_ino, info.st_uid, content)
        return seen

    def prepare(self):
        place = os.path.join(self.base, "place")
        shutil.rmtree(place, ignore_errors=True)
        for name in ("work", "sentinel", "sentinel/bin"):
            os.makedirs(os.path.join(place, name))
        for name in ("sentinel/app", "sentinel/bin/app", "app", "escaped"):
            with open(os.path.join(place, name), "w", encoding="ascii") as file:
                file.write("as it was\n")
        return place

    def run(self, args, bundle="-", feed=None, place=None, expected=(1, 2), keep_open=False):
        """One run; returns what it printed. feed: bytes, or an iterator of them, for stdin."""
        place = place or self.prepare()
        before = self.snapshot(place)
        # The sample's image, by its PCR0: no list of this machine has a say.
        options = ["--root", self.root, "--pcr", "0=" + "10" * 48] if args[0] == "verify" else []
        with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
            reader, writer = os.pipe()
            request = json.dumps([[TOOL, *args, *options, bundle], os.path.join(place, "work")])
            socket.send_fds(self.starter, [request.encode()], [reader, out.fileno(), err.fileno()])
            os.close(reader)
            with os.fdopen(writer, "wb", buffering=0) as pipe:
                feeder = threading.Thread(target=pour, args=(pipe, feed, not keep_open))
                feeder.start()
                code, memory = json.loads(self.starter.recv(65536))
                feeder.join()
            out.seek(0)
            err.seek(0)
            printed, said = out.read(), err.read()
        self.runs += 1
        self.peak = max(self.peak, memory)
        shown = f"{' '.join(args)}: {printed[-800:]!r} {said[-800:]!r}"
        if code not in expected:
            raise Wrong(f"exit {code}, expected {expected}: {shown}")
        if re.search(rb"Sanitizer|runtime error:", said):
            raise Wrong(f"a sanitizer speaks: {shown}")
        if memory > MEMORY_KB:
            raise Wrong(f"{memory} KiB of memory: {shown}")
        for text in (printed, said):
            check_printable(text, shown)
        if "--json" in args and (printed or args[0] == "verify" and code == 1):
            json.loads(printed)
        if self.snapshot(place) != before and not (0 in expected and code == 0):
            raise Wrong(f"something was written: {shown}")
        return printed.decode() + said.decode()

    def refuse(self, feed, reason, expected=(1, 2)):
        """Every command on the same bytes; verify gives the reason, or reads it in its list."""
        for args in COMMANDS[:4]:
            exits = (0, 2) if args[0] == "report" else expected
            said = self.run(args, feed=feed() if callable(feed) else feed, expected=exits)
            if args == ["verify"] and not re.search(reason, said):
                raise Wrong(f"{reason!r} is not the reason: {said[:1500]}")


def pour(pipe, feed, close):
    """Stops at a reader that has gone: that is its right."""
    try:
        for piece in [feed] if isinstance(feed, bytes) else feed or []:
            left = memoryview(piece)
            while left:
                left = left[pipe.write(left):]
        if close:
            pipe.close()
    except BrokenPipeError:
        pass


def check_printable(text, shown):
    try:
        characters = text.decode()
    except UnicodeDecodeError as error:
        raise Wrong(f"no UTF-8: {shown}") from error
    for c in characters:
        code = ord(c)
        if (code < 0x20 and c != "\n") or 0x7f <= code < 0xa0 or c in "\u200e\u200f\u061c" or \
                0x202a <= code <= 0x202e or 0x2066 <= code <= 0x2069:
            raise Wrong(f"U+{code:04X} reaches the terminal: {shown}")


def test_the_test(lab):
    """The good one passes, and is seen to be written: the checks above can tell."""
    for args in COMMANDS:
        lab.run(args, feed=lab.good, expected=(0,))
    lab.run(["verify"], feed=lab.good + b"x", expected=(1,))
    place = lab.prepare()
    lab.run(["verify", "--extract", "out"], feed=lab.good, place=place, expected=(0,))
    if sorted(os.listdir(os.path.join(place, "work/out"))) != ["bin", "notes.txt"]:
        raise Wrong("the outputs of a good bundle are not there")


def test_names(lab):
    bad = (b"../escaped", b"outputs/../../escaped", b"outputs/..", b"/etc/x", b"//x", b"",
           b"outputs//x", b"outputs/./x", b"outputs/", b".", b"..", b"./outputs/x",
           b"outputs/" + b"n" * 256, b"outputs/\xff\xfe", b"outputs/\xc0\xaf",
           b"outputs/\xed\xa0\x80", b"outputs/\x1b[31m", b"outputs/a\nb", b"outputs/\x7f",
           b"outputs/\xc2\x9b2J", b"outputs/" + b"d/" * 300 + b"x")
    for name in bad:
        raw = member(name, b"x")
        if len(name) > 100:
            raw = pax((b"path", name)) + raw
        lab.refuse(lab.with_tail(raw), "not a relative path")
    strange = (b"outputs/..\\..\\escaped", b"outputs/C:\\x", b"outputs/\xe2\x80\xae.txt",
               b"outputs/con", b"outputs/-rf", b"outputs/$(id)", b"zzz", b"source.tar")
    for name in strange:
        lab.refuse(lab.build(sorted([*lab.members, (name, b"x", 0o644)])),
                   "not among the statement's outputs|no place in a bundle", expected=(1,))
    lab.refuse(lab.with_tail(member(b"outputs/z\0../escaped", b"x")), "not in the form")
    lab.refuse(lab.with_tail(member(b"x", b"x", prefix=b"outputs/..")), "not in the form")
    for name in (b"outputs/" + b"n/" * 3000 + b"x", b"a\0b", b"outputs/z\0/../../escaped"):
        lab.refuse(lab.with_tail(pax((b"path", name)) + member(name, b"x")), "the bundle")


def test_kinds(lab):
    for kind in b"1234567ABCDKLMNSVXg\0ax~\xff\x1b":
        raw = header(b"outputs/z", 0, kind=bytes([kind]), link=b"../../sentinel/app", device=1)
        lab.refuse(lab.with_tail(raw), "the bundle")
    for target in (b"../../sentinel", b"/etc", b"outputs/bin/app", b"attestation/statement.json"):
        link = header(b"outputs/bin", 0, kind=b"2", link=target)
        lab.refuse(link + lab.good, "a link")
        lab.refuse(lab.with_tail(header(b"outputs/z", 0, kind=b"1", link=target)), "a link")


def test_members(lab):
    for i, (name, _, _) in enumerate(lab.members):
        left = lab.members[:i] + lab.members[i + 1:]
        lab.refuse(lab.build(left), "missing|neither in|no log", expected=(1,))
        lab.refuse(lab.build(lab.members[:i + 1] + lab.members[i:]), "there twice")
        if i > 0:
            swapped = [*lab.members]
            swapped[i - 1], swapped[i] = swapped[i], swapped[i - 1]
            lab.refuse(lab.build(swapped), "out of order")
        changed = [(n, d + b"\0" if n == name else d, m) for n, d, m in lab.members]
        lab.refuse(lab.build(changed), "expected", expected=(1,))
    lab.refuse(lab.build([]), "missing", expected=(1,))
    lab.refuse(b"", "cut off, or it is no bundle")
    for modes in (0o4755, 0o777, 0o600, 0):
        changed = [(n, d, modes) for n, d, _ in lab.members]
        lab.refuse(lab.build(changed), "not in the form")


def test_sizes(lab):
    claims = (b"\x80" + b"\0" * 6 + b"\x7f" + b"\xff" * 4, b"\xff" * 12, b"\x80" + b"\xff" * 11,
              b"\xff" * 11 + b"\xfe", b"-0000000001\0", b"+0000000001\0", b"77777777777\0",
              b"0x00000010 \0"[:12], b" 1 \0".ljust(12, b"\0"), bytes(12), b"8" * 12)
    for claim in claims:
        for name in (b"outputs/z", b"attestation/build.json"):
            raw = header(name, size_field=claim)
            whole = lab.with_tail(raw) if name.startswith(b"outputs") else raw + END
            lab.refuse(whole, "the bundle|not read further")
    for claim in (b"-1", b"18446744073709551615", b"18446744073709551616", b"1099511627777",
                  b"1e9", b"0x10", b"", b"1" * 100, b"10T", b"1\0", b"9223372036854775808"):
        raw = pax((b"size", claim)) + header(b"outputs/z")
        lab.refuse(lab.with_tail(raw), "the bundle")
    names = ("build.json", "document.cbor", "envelope.dsse.json", "statement.json",
             "network.jsonl", "build.log")
    for name in names:
        size = 9 * GIB
        raw = pax((b"size", b"%d" % size)) + header(b"attestation/" + name.encode())
        lab.refuse(raw + bytes(MIB), "at most")


def test_sparse(lab):
    old = bytearray(header(b"outputs/z", BLOCK, kind=b"S", magic=b"ustar  \0"))
    old[386:410] = octal(0, 12) + octal(BLOCK, 12)
    old[483:495] = octal(GIB, 12)
    lab.refuse(lab.with_tail(bytes(old) + bytes(BLOCK)), "type 'S'|the bundle")
    for pairs in (((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"),
                   (b"GNU.sparse.name", b"outputs/z"), (b"GNU.sparse.realsize", b"10737418240")),
                  ((b"GNU.sparse.size", b"10737418240"), (b"GNU.sparse.map", b"0,0")),
                  ((b"SCHILY.realsize", b"10737418240"),)):
        raw = pax(*pairs) + member(b"outputs/z", b"0\n")
        lab.refuse(lab.with_tail(raw), "has no place in one")


def test_pax(lab):
    good = member(b"outputs/z", b"x")
    lab.refuse(pax((b"path", b"../escaped"), kind=b"g") + lab.good, "type 'g'")
    lab.refuse(lab.with_tail(pax((b"comment", NASTY.encode())) + good), "has no place")
    lab.refuse(lab.with_tail(pax((NASTY.encode(), b"x")) + good), "has no place")
    lab.refuse(lab.with_tail(pax((b"linkpath", b"/etc/passwd")) + good), "has no place")
    lab.refuse(lab.with_tail(pax((b"path", b"outputs/z")) + good), "not in the form")
    lab.refuse(lab.with_tail(pax((b"path", b"outputs/z")) * 2 + good), "repeated")
    lab.refuse(lab.with_tail(pax((b"path", b"a" * 20000)) + good), "too long")
    lab.refuse(lab.with_tail(member(b"PaxHeaders/member", kind=b"x") + good), "empty")
    for text in (b"99 path=x\n", b"0 path=x\n", b"-5 path=x\n", b"9 path=xx", b"path=x\n",
                 b"99999999999999999999 path=x\n", b"10 path:xx\n", b" 9 path=x\n", b"\0" * 30):
        raw = member(b"PaxHeaders/member", text, kind=b"x") + good
        lab.refuse(lab.with_tail(raw), "pax record|not in the form")


def zeros(count):
    piece = bytes(MIB)
    for _ in range(count // MIB):
        yield piece


def zstd_of_zeros(size):
    """One frame, blocks of one repeated byte: four bytes for each 128 KiB."""
    blocks = [bytes((0x02, 0x00, 0x10, 0x00))] * (size >> 17)
    blocks[-1] = bytes((0x03, 0x00, 0x10, 0x00))
    return b"\x28\xb5\x2f\xfd\x00\x38" + b"".join(blocks)


def test_ten_gigabytes(lab):
    """A compressed bundle is no bundle; nothing here unpacks one."""
    lab.refuse(gzip.compress(bytes(10 * MIB)) * 1024, "the bundle")
    lab.refuse(lzma.compress(bytes(10 * MIB)) * 1024, "the bundle")
    lab.refuse(zstd_of_zeros(10 * GIB), "the bundle")
    lab.refuse(lambda: zeros(10 * GIB), "after its end")
    # Inside a member, where zeros are not the end: refused by its claim alone.
    for name in (b"outputs/bin/app", b"outputs/z", b"source.tar"):
        at = [m for m in lab.members if m[0] < name]
        head = self_contained(lab, at) + pax((b"size", b"%d" % (10 * GIB))) + header(name)
        lab.refuse(lambda head=head: stream(head, zeros(10 * GIB)), "not read further",
                   expected=(1,))


def self_contained(lab, members):
    return lab.build(members)[:-len(END)]


def stream(head, pieces):
    yield head
    yield from pieces


def test_gigabytes_of_log(lab):
    """A log that may be as large is read, once and in bounded memory; a larger one is not."""
    head = self_contained(lab, lab.members[:1])
    claim = header(b"attestation/build.log", GIB)
    lab.run(["verify"], feed=stream(head + claim, zeros(GIB)), expected=(1,))
    over = pax((b"size", b"%d" % (10 * GIB))) + header(b"attestation/build.log")
    lab.refuse(lambda: stream(head + over, zeros(10 * GIB)), "at most")


def test_quiet_ends(lab):
    """Whoever sends and then stays silent: the answer does not wait for him."""
    huge = pax((b"size", b"%d" % (1 << 40)))
    silent = (huge + header(b"attestation/statement.json"),
              huge + header(b"attestation/document.cbor"),
              huge + header(b"attestation/build.log"),
              huge + header(b"attestation/network.jsonl"),
              lab.good[:-len(END)] + huge + header(b"outputs/z"),
              lab.good + b"x", bytes(MIB), b"\x1f\x8b" + bytes(BLOCK), b"x" * BLOCK)
    for raw in silent:
        for args in (["verify"], ["verify", "--extract", "out"], ["report"]):
            lab.run(args, feed=raw, keep_open=True)


def test_many_members(lab):
    many = [(b"outputs/z%06d" % i, b"x", 0o644) for i in range(100000)]
    whole = lab.build([*lab.members, *many])
    lab.refuse(whole, "more than 16384 members")
    lab.refuse(lab.build([*lab.members, *many[:10000]]), "not among", expected=(1,))


def test_contents(lab):
    statement = dict((n, d) for n, d, _ in lab.members)[b"attestation/statement.json"]
    deep = b'{"_type":' + b"[" * 100000 + b"]" * 100000 + b"}"
    wide = b'{"_type":[' + b",".join([b"{}"] * 79000) + b"]}"
    flat = b'{"_type":[' + b"0," * 2000000 + b"0]}"
    short = b"{" + b",".join(b'"%x":{}' % i for i in range(79000)) + b"}"
    keys = b"{" + b",".join(b'"%048d":{}' % i for i in range(70000)) + b"}"
    subjects = json.loads(statement)
    subjects["subject"] = [{"name": "bin/%05d%s" % (i, "n" * 200), "digest": {"sha256": "00" * 32},
                            "annotations": {"mode": "0644", "size": 1}} for i in range(10000)]
    texts = [("nests deeper", deep), ("expected", wide), ("more than", flat),
             ("expected", short), ("expected", keys),
             ("expected", json.dumps(subjects).encode()), ("expected", b""), ("expected", b"\0"),
             ("expected", b"\xef\xbb\xbf" + statement), ("expected", b'"' + b"\xff" * 1000 + b'"'),
             ("expected", json.dumps({NASTY: NASTY}).encode()),
             ("expected", statement.replace(b"https://in-toto.io/Statement/v1",
                                            json.dumps(NASTY).encode()[1:-1])),
             ("expected", NASTY.encode()), ("expected", b" " * (4 * MIB - 1)),
             ("expected", b'{"_type":"' + b"a" * (4 * MIB - 100) + b'"}')]
    for reason, text in texts:
        lab.refuse(lab.with_content(b"attestation/statement.json", text), reason, expected=(1,))
        lab.refuse(lab.with_content(b"attestation/envelope.dsse.json", text), "envelope",
                   expected=(1,))
    # Everything at its largest at once, in the alphabet that has to be translated.
    large = (b'{"payload":"' + b"_" * (6 * MIB - 256) + b'","payloadType":"application/vnd.in-toto+json",'
             b'"signatures":[{"keyid":"","sig":"AAAA"}]}')
    for text in (short, keys, wide, json.dumps(subjects).encode()):
        changed = {b"attestation/statement.json": text, b"attestation/envelope.dsse.json": large}
        lab.refuse(lab.build([(n, changed.get(n, d), m) for n, d, m in lab.members]), "expected",
                   expected=(1,))
    lab.refuse(lab.with_content(b"attestation/statement.json", bytes(16 * MIB + 1)), "at most")
    lab.refuse(lab.with_content(b"attestation/envelope.dsse.json", bytes(23 * MIB + 1)), "at most")
    lab.refuse(lab.with_content(b"attestation/build.json", bytes(65537)), "at most")
    for document in (b"", b"\x84", bytes(16384), b"\x9f" * 16000, b"\xd2" * 16000,
                     b"\x84\x44\xa1\x01\x38\x22\xa0\x5b" + b"\xff" * 8, b"\xbf" * 16000):
        lab.refuse(lab.with_content(b"attestation/document.cbor", document), "document",
                   expected=(1,))
    lab.refuse(lab.with_content(b"attestation/document.cbor", bytes(MIB)), "at most")
    # One bundle, one form: what is signed in no other place has one mode.
    for name in [n for n, _, _ in lab.members if n.startswith(b"attestation/")]:
        lab.refuse(lab.build([(n, d, 0o755 if n == name else m) for n, d, m in lab.members]),
                   "mode 0755", expected=(1,))


def test_transcripts(lab):
    head = b'{"type":"tee-compile/network/1"}\n'
    lines = (b"x" * (64 * MIB) + b"\n", b'{"a":"' + b"x" * 65536 + b'"}\n', b"\n" * MIB,
             b"{}\n" * MIB, b'{"a":' + b"[" * 60000 + b"\n", b"\xff\n", NASTY.encode() + b"\n",
             json.dumps({NASTY: 1}).encode(), b"\0\n", b"[]\n", b'{"\x1b":1}\n')
    for text in lines:
        lab.refuse(lab.with_content(b"attestation/network.jsonl", head + text), "transcript",
                   expected=(1,))
        lab.refuse(lab.with_content(b"attestation/network.jsonl", text), "transcript",
                   expected=(1,))


def test_cut_and_continued(lab):
    for size in range(0, len(lab.good), BLOCK):
        for args in (["verify"], ["verify", "--extract", "out"], ["report"]):
            lab.run(args, feed=lab.good[:size], expected=(1,) if args[0] == "verify" else (2,))
    for tail in (b"\0", b"x", bytes(BLOCK), lab.good, b"\x1f\x8b\x08", bytes(10240)):
        lab.refuse(lab.good + tail, "after its end", expected=(1,))
    for at in range(0, len(lab.good), 97):
        changed = bytearray(lab.good)
        changed[at] ^= 0x80
        lab.run(["verify", "--extract", "out"], feed=bytes(changed))


def test_signed_texts(lab):
    """The same escapes in a bundle that is good: signed text is no better text."""
    hostile, root = os.path.join(lab.base, "hostile.tar"), os.path.join(lab.base, "hostile.pem")
    subprocess.run([MAKE_BUNDLE, hostile, root, "hostile"], check=True)
    kept, lab.root = lab.root, root
    with open(hostile, "rb") as file:
        raw = file.read()
    for args in COMMANDS:
        said = lab.run(args, feed=raw, expected=(0,))
        if args == ["report"] and "\\x1b[31m" not in said:
            raise Wrong(f"the escape itself is not shown: {said}")
        if args == ["report", "--markdown"] and "<script>" in said:
            raise Wrong(f"a page would run what the bundle says: {said}")
    policy = os.path.join(lab.base, "policy.json")
    with open(policy, "w", encoding="ascii") as file:
        json.dump({"type": "tee-compile/policy/1", "build_file": "x", "images": ["x"],
                   "repository": NASTY, "ref": NASTY, "builder_version": [NASTY]}, file)
    for args in (["verify", "--policy", policy], ["verify", "--json", "--policy", policy]):
        lab.run(args, feed=raw, expected=(1,))
    lab.root = kept
    lab.run(["verify", "--artifact", NASTY], feed=lab.good, expected=(2,))
    lab.run(["verify"], bundle="no\x1b[31m\u202ebundle", expected=(2,))


def test_extract(lab):
    def place_with(make):
        place = lab.prepare()
        make(place)
        return place

    def planted(place):
        os.mkdir(f"{place}/work/out")
        os.symlink("../../sentinel", f"{place}/work/out/bin")
        os.symlink("../../sentinel/app", f"{place}/work/out/notes.txt")

    def link_to_folder(place):
        os.symlink("../sentinel/bin", f"{place}/work/out")

    def dangling(place):
        os.symlink("../escaped-too", f"{place}/work/out")

    def existing_file(place):
        with open(f"{place}/work/out", "w", encoding="ascii") as file:
            file.write("mine\n")

    def pipe(place):
        os.mkfifo(f"{place}/work/out")

    for make in (planted, link_to_folder, dangling, existing_file, pipe):
        lab.run(["verify", "--extract", "out"], feed=lab.good, place=place_with(make),
                expected=(2,))
    for target in ("/proc/out", "/sys/out", "/dev/null", "/dev/null/out", "none/out", "..", ".",
                   "/", "", "../sentinel", "x" * 300):
        lab.run(["verify", "--extract", target], feed=lab.good, expected=(2,))
    # An empty folder is taken, and a link beside the target is nobody's business.
    lab.run(["verify", "--extract", "out"], feed=lab.good, expected=(0,),
            place=place_with(lambda place: os.mkdir(f"{place}/work/out")))


def main():
    tests = {name: test for name, test in globals().items() if name.startswith("test_")}
    failed = 0
    starter = start_spawner()
    with tempfile.TemporaryDirectory() as base:
        lab = Lab(base, starter)
        for name, test in tests.items():
            if WANTED and name not in WANTED:
                continue
            before = lab.runs
            try:
                test(lab)
                print(f"ok      {name}: {lab.runs - before} runs", flush=True)
            except Wrong as wrong:
                failed += 1
                print(f"FAILED  {name}: {wrong}", flush=True)
        print(f"{lab.runs} runs, {failed} failed, at most {lab.peak} KiB of memory")
        return 1 if failed or lab.runs == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
