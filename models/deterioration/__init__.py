"""The deterioration score: learned from stays in intensive care, judged on stays it never saw."""
