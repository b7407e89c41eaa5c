"""Real C projects (script/fetch-source), as builds of an enclave, and what to expect of their programs."""
import json
import os
import shlex
import shutil
import subprocess
import tempfile

# Name, command, output, arguments of a try, what that prints.
PROJECTS = (("lua5.4", "make linux", "src/lua", ("-e", "print(6 * 7)"), "42\n"),
            ("hello", "./configure && make", "hello", (), "Hello, world!\n"))


def write_spec(folder, command, output):
    with open(f"{folder}/build.json", "w", encoding="utf-8") as file:
        json.dump({"language": "c", "input": {"cmd": command}, "output": {"files": [output]},
                   "network": {"mode": "offline"}, "limits": {"timeout": "2h", "memory": "512M", "disk": "256M"}}, file)


def copy(sources, name, command, output, project):
    """A copy of it with its times, for make, and with a build.json."""
    subprocess.run(["cp", "-a", f"{sources}/{name}", str(project)], check=True)
    write_spec(project, command, output)


def run(tool, image, program, arguments):
    """What the program prints, with the libraries of the image: those of this machine may be older."""
    with tempfile.TemporaryDirectory(prefix="tee-program-") as base:
        os.mkdir(f"{base}/project")
        shutil.copy(program, f"{base}/project/program")
        write_spec(f"{base}/project", shlex.join(["./program", *arguments]) + " > said", "said")
        done = subprocess.run([tool, "build", "--dir", f"{base}/project", "--image", image, "--backend", "local", "--output",
                               f"{base}/said.tar", "--extract", f"{base}/out"], capture_output=True, text=True, check=False,
                              env={**os.environ, "XDG_DATA_HOME": f"{base}/data"})
        if done.returncode != 0:
            return done.stderr[-1000:]
        with open(f"{base}/out/said", encoding="utf-8") as file:
            return file.read()
