"""Synapse as the homeserver of a.example, with one application service.

It speaks to clients only, has no federation, and lets people talk as fast as they can: its rate limits
are another suite's subject, not the lab's.
"""

import hashlib
import hmac
import json
import sys
import urllib.request
from pathlib import Path

from .process import Process, answers_http, run

SERVER_NAME = "matrix.a.example"
_REGISTRATION_SECRET = "only-for-the-lab"
_NO_LIMIT = {"per_second": 100_000, "burst_count": 100_000}


class Synapse(Process):
    def __init__(self, directory: Path, port: int, registration: Path | None):
        directory.mkdir(parents=True)
        self.url = f"http://127.0.0.1:{port}"
        self._config = directory / "homeserver.yaml"
        # JSON is YAML.
        self._config.write_text(json.dumps(_config(directory, port, registration), indent=1))
        (directory / "log.yaml").write_text(json.dumps(_LOGGING))
        super().__init__(
            "synapse",
            [sys.executable, "-m", "synapse.app.homeserver", "-c", self._config],
            directory / "synapse.log",
            answers_http(f"{self.url}/health"),
            cwd=directory,
            # Synapse looks for a proxy in the environment, and its application service is on loopback.
            env={"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"},
        )

    async def start(self, within: float = 60, env: dict[str, str] | None = None):
        if not self._config.with_name("signing.key").exists():
            await run(sys.executable, "-m", "synapse.app.homeserver", "-c", self._config, "--generate-keys")
        await super().start(within, env)

    def register(self, name: str, password: str):
        """Creates an account the way `register_new_matrix_user` does, with the shared secret."""
        url = f"{self.url}/_synapse/admin/v1/register"
        with urllib.request.urlopen(url) as response:
            nonce = json.load(response)["nonce"]
        mac = hmac.new(_REGISTRATION_SECRET.encode(), digestmod=hashlib.sha1)
        mac.update(b"\x00".join(part.encode() for part in (nonce, name, password, "notadmin")))
        body = {"nonce": nonce, "username": name, "password": password, "admin": False, "mac": mac.hexdigest()}
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        urllib.request.urlopen(request).close()


def _config(directory: Path, port: int, registration: Path | None) -> dict:
    limits = (
        "rc_message rc_registration rc_admin_redaction rc_joins_per_room rc_reports rc_room_creation "
        "rc_presence rc_3pid_validation rc_third_party_invite rc_media_create rc_delayed_event_mgmt"
    ).split()
    nested = {
        "rc_login": ["address", "account", "failed_attempts"],
        "rc_joins": ["local", "remote"],
        "rc_invites": ["per_room", "per_user", "per_issuer"],
    }
    return {
        "server_name": SERVER_NAME,
        "report_stats": False,
        "listeners": [
            {
                "port": port,
                "type": "http",
                "bind_addresses": ["127.0.0.1"],
                "resources": [{"names": ["client", "media"]}],
            }
        ],
        "database": {"name": "sqlite3", "args": {"database": str(directory / "homeserver.db")}},
        "media_store_path": str(directory / "media"),
        "signing_key_path": str(directory / "signing.key"),
        "pid_file": str(directory / "synapse.pid"),
        "log_config": str(directory / "log.yaml"),
        "registration_shared_secret": _REGISTRATION_SECRET,
        "macaroon_secret_key": "only-for-the-lab-too",
        "form_secret": "only-for-the-lab-as-well",
        "bcrypt_rounds": 4,
        "app_service_config_files": [str(registration)] if registration else [],
        "federation_domain_whitelist": [],
        "trusted_key_servers": [],
        "suppress_key_server_warning": True,
        "presence": {"enabled": False},
        "push": {"enabled": False},
        "stats": {"enabled": False},
        "user_directory": {"enabled": False},
        # A client that was away gets all it missed in one sync, so a person can see every message.
        "filter_timeline_limit": -1,
        **{limit: _NO_LIMIT for limit in limits},
        **{limit: {kind: _NO_LIMIT for kind in kinds} for limit, kinds in nested.items()},
    }


_LOGGING = {
    "version": 1,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"level": "INFO", "handlers": ["console"]},
    "disable_existing_loggers": False,
}
