"""``python -m models``: train, evaluate, publish, roll back."""

from models.cli import main

if __name__ == "__main__":
    main()
