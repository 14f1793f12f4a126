"""`python -m drkf_cli`, and `accelerate launch -m drkf_cli predict --manifest ...`."""

from . import app

if __name__ == "__main__":
    app(prog_name="drkf")
