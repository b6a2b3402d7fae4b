"""``python -m lrnet_cli`` is ``lrnet``."""

from lrnet_cli.cli.app import main

if __name__ == "__main__":
    main()
