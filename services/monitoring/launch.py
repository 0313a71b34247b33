"""`python -m services.monitoring.launch NAME` becomes that program of the monitoring.

They are other people's programs: each starts from a bare environment with the one secret it needs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from dsdc.errors import DsdcError
from dsdc.settings import Settings, secrets, settings
from services.monitoring.configs import ALERTMANAGER, HERE, run_folder
from services.supervisor.launch import Command, program_path


def _data(config: Settings, name: str) -> Path:
    folder = config.root / "data" / name
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def prometheus(config: Settings) -> Command:
    """Metrics of the last fifteen days, at most 2 GB of them."""
    port = config.monitoring.prometheus_port
    arguments = (
        program_path("prometheus", package="prometheus"),
        f"--config.file={run_folder(config) / 'monitoring' / 'prometheus.yml'}",
        f"--storage.tsdb.path={_data(config, 'prometheus')}",
        "--storage.tsdb.retention.time=15d",
        "--storage.tsdb.retention.size=2GB",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--web.external-url=http://127.0.0.1:{port}/",
    )
    return Command(arguments, bare=True)


def alertmanager(config: Settings) -> Command:
    """One alone: no cluster port."""
    port = config.monitoring.alertmanager_port
    arguments = (
        program_path("alertmanager", "prometheus-alertmanager", package="prometheus-alertmanager"),
        f"--config.file={ALERTMANAGER}",
        f"--storage.path={_data(config, 'alertmanager')}",
        f"--web.listen-address=127.0.0.1:{port}",
        f"--web.external-url=http://127.0.0.1:{port}/",
        "--cluster.listen-address=",
    )
    return Command(arguments, bare=True)


def blackbox_exporter(config: Settings) -> Command:
    """Asks services that serve no metrics whether they are well."""
    arguments = (
        program_path("blackbox_exporter", "prometheus-blackbox-exporter", package="prometheus-blackbox-exporter"),
        f"--config.file={run_folder(config) / 'monitoring' / 'blackbox.yml'}",
        f"--web.listen-address=127.0.0.1:{config.monitoring.blackbox_port}",
    )
    return Command(arguments, bare=True)


def postgres_exporter(config: Settings) -> Command:
    """PostgreSQL's own statistics, read with the role `exporter`."""
    arguments = (
        program_path("postgres_exporter", "prometheus-postgres-exporter", package="prometheus-postgres-exporter"),
        f"--web.listen-address=127.0.0.1:{config.monitoring.postgres_exporter_port}",
        # PostgreSQL 17 moved these columns to another view, and exporter 0.11 asks for them in the old one.
        "--no-collector.bgwriter",
    )
    url = config.database_url("exporter").set(drivername="postgresql")
    if config.database.embedded:
        url = url.update_query_dict({"sslmode": "disable"})  # loopback; the exporter insists on TLS otherwise
    return Command(arguments, {"DATA_SOURCE_NAME": url.render_as_string(hide_password=False)}, bare=True)


def grafana(config: Settings) -> Command:
    """The dashboards, for the user `admin`."""
    program = program_path("grafana-server", "grafana", package="grafana")
    server = ("server",) if Path(program).name == "grafana" else ()
    port = config.monitoring.grafana_port
    data = _data(config, "grafana")
    variables = {
        "GF_SERVER_HTTP_ADDR": "127.0.0.1",
        "GF_SERVER_HTTP_PORT": str(port),
        "GF_SERVER_ROOT_URL": f"http://127.0.0.1:{port}/",
        "GF_SECURITY_ADMIN_USER": "admin",
        "GF_SECURITY_ADMIN_PASSWORD": secrets().value("grafana_admin"),
        "GF_PATHS_DATA": str(data),
        "GF_PATHS_LOGS": str(data / "log"),
        "GF_PATHS_PLUGINS": str(data / "plugins"),
        "GF_PATHS_PROVISIONING": str(HERE / "grafana" / "provisioning"),
        "GF_LOG_MODE": "console",
        "GF_ANALYTICS_REPORTING_ENABLED": "false",
        "GF_ANALYTICS_CHECK_FOR_UPDATES": "false",
        "GF_ANALYTICS_CHECK_FOR_PLUGIN_UPDATES": "false",
        "GF_NEWS_NEWS_FEED_ENABLED": "false",
        "GF_USERS_ALLOW_SIGN_UP": "false",
        "DSDC_PROMETHEUS_URL": f"http://127.0.0.1:{config.monitoring.prometheus_port}",
        "DSDC_DASHBOARDS": str(HERE / "grafana" / "dashboards"),
    }
    return Command((program, *server, "--homepath", "/usr/share/grafana"), variables, bare=True)


COMMANDS: dict[str, Callable[[Settings], Command]] = {
    "prometheus": prometheus,
    "alertmanager": alertmanager,
    "blackbox-exporter": blackbox_exporter,
    "postgres-exporter": postgres_exporter,
    "grafana": grafana,
}


def main(arguments: list[str]) -> int:
    """Become the program; returns only when that is impossible."""
    if len(arguments) != 1 or arguments[0] not in COMMANDS:
        sys.stderr.write(f"usage: python -m services.monitoring.launch {{{' | '.join(COMMANDS)}}}\n")
        return 2
    try:
        COMMANDS[arguments[0]](settings()).become()
    except DsdcError as error:
        sys.stderr.write(f"{error}\n")
    return 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
