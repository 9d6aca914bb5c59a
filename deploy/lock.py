"""Resolve every extra into ``requirements/stack.lock``: hashed, for all platforms, no host names.

Run by ``make lock``. PyTorch itself is left out (only what it depends on is locked): its CPU
and CUDA builds share a version, and which one a machine needs is for the machine to say.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TORCH = '"torch==2.13.0",'
# What torch 2.13.0 itself asks for, so that adding torch later changes nothing that is locked.
TORCH_NEEDS = '"filelock", "fsspec", "jinja2", "networkx", "sympy", "typing-extensions",'


def main() -> int:
    """Write the lock file; the exit status is the resolver's."""
    project = (ROOT / "pyproject.toml").read_text()
    if TORCH not in project:
        print(f"pyproject.toml no longer says {TORCH}; mend deploy/lock.py", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "pyproject.toml"
        source.write_text(project.replace(TORCH, TORCH_NEEDS))
        command = [
            str(Path(sys.executable).with_name("uv")), "pip", "compile", "--quiet", "--universal",
            "--python-version", "3.11", "--all-extras", "--generate-hashes", "--no-header",
            "--no-annotate", "--no-emit-index-url", "--output-file",
            str(ROOT / "requirements" / "stack.lock"), str(source),
        ]  # fmt: skip
        # The system's certificates: a company's own package mirror is signed with its own.
        environment = {
            **os.environ,
            "SSL_CERT_FILE": os.environ.get("SSL_CERT_FILE", _system_certificates()),
        }
        return subprocess.run(command, check=False, env=environment).returncode


def _system_certificates() -> str:
    return "/etc/ssl/certs/ca-certificates.crt"


if __name__ == "__main__":
    sys.exit(main())
