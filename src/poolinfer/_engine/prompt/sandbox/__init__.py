"""Where chat templates run: Jinja's syntax, and operations that know who wrote what and what it costs."""
