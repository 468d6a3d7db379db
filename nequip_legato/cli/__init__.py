"""The commands ``nequip-deploy`` and ``nequip-legato``: one file for each command.

They parse, call one function, and print. Torch and nequip are imported only by the commands that
need them.
"""

from nequip_legato.cli.commands import deploy_main, main

__all__ = ["deploy_main", "main"]
