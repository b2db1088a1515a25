"""Asks for one answer after another until FOLDER/stop exists: steady_client.py PORT FOLDER.

Writes FOLDER/asked after each; ends with 1 at the first wrong byte or failed connection.
"""

import os
import sys
import time

from python_clients import by_http_client


def main(port, folder):
    number = 0
    while not os.path.exists(f"{folder}/stop"):
        by_http_client(port, number)
        number += 1
        with open(f"{folder}/asked.new", "w") as file:
            file.write(str(number))
        os.rename(f"{folder}/asked.new", f"{folder}/asked")
        time.sleep(0.002)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
