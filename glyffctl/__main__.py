"""`python -m glyffctl` from a source tree, without installing."""

from glyffctl.cli import main

if __name__ == "__main__":
    main()
