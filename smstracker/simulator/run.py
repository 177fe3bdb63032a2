"""Run the simulated carrier of demo mode until SIGTERM or SIGINT."""

import signal
import sys

from config import ConfigError, load
from smstracker.simulator import SimulatorServer, create_simulator

_STOP = (signal.SIGTERM, signal.SIGINT)


def main() -> int:
    # The threads inherit this block, so only `sigwait` receives these signals.
    signal.pthread_sigmask(signal.SIG_BLOCK, _STOP)
    try:
        config = load()
    except ConfigError as error:
        return _refuse(str(error))
    if not config.demo:
        return _refuse("The simulator does not run while live Twilio credentials are set.")
    app = create_simulator(
        account_sid=config.twilio_account_sid,
        auth_token=config.twilio_auth_token,
        auth_token_secondary=config.twilio_auth_token_secondary,
        webhook_key=next(iter(config.twilio_webhook_keys.items()), None),
        phone_numbers=config.twilio_phone_numbers,
    )
    try:
        server = SimulatorServer(app, config.simulator_port)
    except OSError as error:
        app.extensions["delivery"].close()
        port = config.simulator_port
        return _refuse(f"SIMULATOR_PORT: cannot listen on port {port}: {error.strerror}.")
    with server:
        print(f"Simulated carrier on {server.url}", flush=True)
        signal.sigwait(_STOP)
    return 0


def _refuse(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
