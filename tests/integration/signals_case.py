"""To be imported by tests that send signals: what a shell's background job, or nohup, is told to
ignore, the commands that it starts would ignore, too (tee-compile leaves such signals ignored)."""
import signal

for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    if signal.getsignal(number) == signal.SIG_IGN:
        signal.signal(number, signal.SIG_DFL)
