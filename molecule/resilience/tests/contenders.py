"""Four others who change rules all the time, run on a server until a line or the end of the input; prints JSON.

The arguments are for how many seconds the lock of iptables-legacy is held, and how many pass in between; 0 is never.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
import sys
import threading
from itertools import product
from pathlib import Path

# In their own chain and, by a rule and a jump, at the top of INPUT, where all that stands below moves.
ADD = ("-N {chain}", "-A {chain} -p udp -m udp --dport 7 -j RETURN", "-I INPUT 1 {rule}", "-I INPUT 1 -j {chain}")
DELETE = ("-D INPUT -j {chain}", "-D INPUT {rule}", "-D {chain} -p udp -m udp --dport 7 -j RETURN", "-X {chain}")
RULE = "-p udp -m udp --sport {number} -m comment --comment CONTENDER -j ACCEPT"
# Without a pause they would leave nothing of the processor to the role.
PAUSE = 0.05

ended = threading.Event()
done: list[str] = []
failed: list[str] = []
held: list[float] = []


def change(number: int) -> None:
    """Add rules and delete them, over and over."""
    while not ended.is_set():
        for command, program in product((*ADD, *DELETE), ("iptables", "ip6tables")):
            words = command.format(chain=f"CONTENDER-{number}", rule=RULE.format(number=number))
            result = subprocess.run([program, "-w", *words.split()], capture_output=True, text=True, check=False)
            (failed if result.returncode else done).append(f"{program} {words}: {result.stderr.strip()}")
            ended.wait(PAUSE)


def hold(seconds: float, pause: float) -> None:
    """Hold the lock, over and over."""
    with Path("/run/xtables.lock").open("w") as lock:
        while not ended.is_set():
            fcntl.flock(lock, fcntl.LOCK_EX)
            ended.wait(seconds)
            held.append(seconds)
            fcntl.flock(lock, fcntl.LOCK_UN)
            ended.wait(pause)


def main() -> None:
    """Run them."""
    seconds, pause = map(float, sys.argv[1:])
    threads = [threading.Thread(target=change, args=(number,)) for number in range(1, 5)]
    threads += [threading.Thread(target=hold, args=(seconds, pause))] if seconds else []
    for thread in threads:
        thread.start()
    sys.stdin.readline()
    ended.set()
    for thread in threads:
        thread.join()
    added = sum(" -A " in words or " -I " in words for words in done)
    deleted = sum(" -D " in words for words in done)
    print(json.dumps({"added": added, "deleted": deleted, "failed": failed, "held": sum(held)}))


main()
