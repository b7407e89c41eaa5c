"""Real C projects (script/fetch-source), as builds of an enclave, and what to expect of their programs."""
import json
import subprocess

# Name, command, output, arguments of a try, what that prints. Static: the image's C library may
# be newer than that of the machine on which they are tried.
PROJECTS = (("lua5.4", "make linux MYLDFLAGS=-static", "src/lua", ("-e", "print(6 * 7)"), "42\n"),
            ("hello", "./configure LDFLAGS=-static && make", "hello", (), "Hello, world!\n"))


def copy(sources, name, command, output, project):
    """A copy of it with its times, for make, and with a build.json."""
    subprocess.run(["cp", "-a", f"{sources}/{name}", str(project)], check=True)
    with open(f"{project}/build.json", "w", encoding="utf-8") as file:
        json.dump({"language": "c", "input": {"cmd": command}, "output": {"files": [output]},
                   "network": {"mode": "offline"}, "limits": {"timeout": "2h", "memory": "512M", "disk": "256M"}}, file)


def run(folder, output, arguments):
    return subprocess.run([f"{folder}/{output}", *arguments], capture_output=True, text=True, check=False).stdout
