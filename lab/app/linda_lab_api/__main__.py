"""`linda-lab-api`: serve until SIGTERM, then stop without cutting anybody off."""

import logging
import os
import sys

import uvicorn

from . import tracing
from .api import create_app
from .settings import SettingsError, read


def main() -> None:
    """Read the settings and serve.

    On SIGTERM or SIGINT uvicorn closes the port, closes WebSockets with 1012 (service restart) and lets calls in flight finish until the
    deadline. Ends with code 2 for wrong settings and 1 when it refuses to start.
    """
    try:
        settings = read(os.environ)
    except SettingsError as error:
        print(f"linda-lab-api: {error}", file=sys.stderr)
        sys.exit(2)
    tracing.configure(settings.log_level)
    if settings.drill_refuse_start:
        logging.getLogger("linda_lab_api").error("refusing to start (drill refuse_start)")
        sys.exit(1)
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws_max_size=64 * 1024,
        # Longer than a proxy keeps an idle connection, so that it is the proxy who closes it and never meets one that just went away.
        timeout_keep_alive=75,
        timeout_graceful_shutdown=settings.shutdown_deadline,
    )


if __name__ == "__main__":
    main()
