"""What pyproject.toml cannot say: the sentences are compiled before they are packed, as git keeps only their sources."""

import runpy
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py


class BuildWithSentences(build_py):
    """Compiles the sentences first; a language that lacks one ends the build."""

    def run(self) -> None:
        """See setuptools."""
        compiler = Path(__file__).parent / "bots" / "chat" / "locales" / "compile.py"
        if runpy.run_path(str(compiler))["main"]([]):
            raise SystemExit("The sentences do not compile.")
        super().run()


setup(cmdclass={"build_py": BuildWithSentences})
