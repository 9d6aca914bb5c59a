"""``python -m cloud_api``."""

from cloud_api.cli import main

if __name__ == "__main__":
    main()
