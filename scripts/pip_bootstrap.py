"""What ansible-test runs to bring pip into an empty virtual environment, from Python's own ensurepip instead of a download.

ansible-test calls it with pip's requirement strings (`pip==24.2`, ...) and get-pip's switches (`--no-wheel`, ...).
"""

import subprocess
import sys

GET_PIP_SWITCHES = {"--no-setuptools", "--no-wheel"}

if __name__ == "__main__":
    arguments = [argument for argument in sys.argv[1:] if argument not in GET_PIP_SWITCHES]
    # Two processes: ensurepip makes its own process blind to the machine's pip configuration.
    for command in (["ensurepip"], ["pip", "install", *arguments]):
        subprocess.run([sys.executable, "-m", *command], check=True)  # noqa: S603 - our own interpreter, arguments of ansible-test
