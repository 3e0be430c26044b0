"""`penstock reload`: the running gateway reads its configuration again, in all its workers or in none."""

from __future__ import annotations

from penstock.cli.admin_socket import Admin, AdminSocket
from penstock.cli.config_file import ConfigFile
from penstock.cli.screen import out


def reload(*, config: ConfigFile = None, admin: AdminSocket = "") -> None:
    """Have the running gateway read its configuration again.

    What it cannot use changes nothing: exit code 1, and why.
    """
    Admin(config, admin).post("/reload", {})
    out.print("the configuration is served by all workers")
