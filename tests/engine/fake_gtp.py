"""A GTP engine for Connect Four that plays column 4 while it can, and fails as it is told: ``fake_gtp.py MODE [FILE]``.

It writes its process id to FILE, if one is given, at every start.
"""

import os
import subprocess
import sys
import time

COLUMN_FULL = 6


def main():
    mode = sys.argv[1]
    if len(sys.argv) > 2:
        with open(sys.argv[2], "a") as file:
            file.write(f"{os.getpid()}\n")
            if mode == "family":
                child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
                file.write(f"{child.pid}\n")
    if mode == "silent":
        time.sleep(600)
    if mode == "dies":
        sys.exit("no licence found")
    heights, told = [0] * 8, 0
    for line in sys.stdin:
        number, command, *words = line.split()
        answer, sign = "", "="
        if command == "protocol_version":
            answer = "1" if mode == "old" else "2"
        elif command == "boardsize" and mode == "big":
            sign, answer = "?", "unacceptable size"
        elif command == "clear_board":
            heights, told = [0] * 8, 0
        elif command == "play":
            heights[int(words[1])] += 1
            told += 1
            if mode == "refuses":
                sign, answer = "?", "illegal move"
        elif command == "genmove":
            move = next(column for column in (4, 3, 5, 2, 6, 1, 7) if heights[column] < COLUMN_FULL)
            heights[move] += 1
            answer = str(move)
            if mode == "crashes" and told >= 2:
                print("segmentation fault, sort of", file=sys.stderr)
                sys.stderr.flush()
                os._exit(3)
            if mode == "hangs" and told >= 2:
                time.sleep(600)
            if mode == "cheats":
                answer = "9"
            if mode == "overfills":
                answer = "4"
            if mode == "resigns":
                answer = "resign"
            if mode == "chatters":
                print("thinking...", flush=True)
            if mode == "confused":
                number = "77"
            while mode == "floods":
                print("x" * 65536, end="", flush=True)
        elif command == "quit" and mode == "family":
            time.sleep(600)
        print(f"{sign}{number} {answer}\n", flush=True)
        if command == "quit":
            return


if __name__ == "__main__":
    main()
