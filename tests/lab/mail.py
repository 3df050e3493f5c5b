"""Postfix and Dovecot as the mail servers of c.example: mailboxes, a way in for everybody, one for those who sign in, and
mail for mimi.c.example handed over by LMTP.

Postfix has no network here: who comes in by the front door (`smtp`) is an outsider whose mail fails DMARC, who signs in
(`submission`) is who they say. That is what a milter would find out, and it is written where a milter would write it.
"""

import asyncio
import os
import shutil
from pathlib import Path

from .process import Process, free_ports, run

DOMAIN = "c.example"
GATEWAY = f"mimi.{DOMAIN}"
PASSWORD = "in-the-lab"


class Dovecot(Process):
    def __init__(self, directory: Path):
        directory.mkdir(parents=True)
        self.imap, self.lmtp, self.auth = free_ports(3)
        (directory / "mail").mkdir()
        shutil.chown(directory / "mail", "mail", "mail")
        config = directory / "dovecot.conf"
        config.write_text(
            _DOVECOT.format(directory=directory, imap=self.imap, lmtp=self.lmtp, auth=self.auth, password=PASSWORD)
        )
        super().__init__(
            "dovecot",
            ["/usr/sbin/dovecot", "-F", "-c", config],
            directory / "dovecot.log",
            lambda: _greets(self.imap, b"* OK"),
            cwd=directory,
        )


class Postfix(Process):
    def __init__(self, directory: Path, dovecot: Dovecot, submission: int, gateway: int):
        directory.mkdir(parents=True)
        self.directory, self.submission = directory, submission
        (self.smtp,) = free_ports(1)
        for name in ("queue", "data"):
            (directory / name).mkdir()
        shutil.chown(directory / "data", "postfix")
        names = dict(directory=directory, dovecot=dovecot, gateway=gateway, submission=submission, smtp=self.smtp)
        (directory / "main.cf").write_text(_MAIN.format(**names))
        (directory / "master.cf").write_text(_MASTER.format(**names))
        for each in [directory, *directory.parents]:
            if each.owner() == "root" and not each.stat().st_mode & 0o001:
                raise RuntimeError(f"{each} has to be open to the account of postfix (chmod a+x)")
        super().__init__(
            "postfix",
            ["/usr/sbin/postfix", "-c", directory, "start-fg"],
            directory / "start.log",
            lambda: _greets(submission, b"220"),
            cwd=directory,
        )

    async def flushes(self):
        """Tries everything that waits at once, as an admin would."""
        await run("/usr/sbin/postqueue", "-c", self.directory, "-f")

    def last_words(self, lines: int = 30) -> str:
        log = self.directory / "postfix.log"
        words = log.read_text(errors="replace").splitlines()[-lines:] if log.exists() else []
        return "\n".join([super().last_words(lines), *words])


async def _greets(port: int, with_word: bytes) -> bool:
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            greeting = await reader.readline()
            writer.close()
            return greeting.startswith(with_word)
    except (OSError, TimeoutError):
        return False


def runs_here() -> bool:
    """Both servers change their user."""
    return os.geteuid() == 0


_DOVECOT = """\
base_dir = {directory}/run
log_path = {directory}/dovecot.log
protocols = imap lmtp
listen = 127.0.0.1
ssl = no
disable_plaintext_auth = no
mail_location = maildir:{directory}/mail/%n
first_valid_uid = 1
passdb {{
  driver = static
  args = password={password}
}}
userdb {{
  driver = static
  args = uid=mail gid=mail home={directory}/mail/%n allow_all_users=yes
}}
service imap-login {{
  inet_listener imap {{
    port = {imap}
  }}
  inet_listener imaps {{
    port = 0
  }}
}}
service lmtp {{
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {lmtp}
  }}
}}
service auth {{
  inet_listener {{
    address = 127.0.0.1
    port = {auth}
  }}
}}
"""

_MAIN = """\
compatibility_level = 3.6
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file_prefixes = {directory}
maillog_file = {directory}/postfix.log
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
myhostname = mail.c.example
mydestination =
mynetworks =
smtputf8_enable = yes
virtual_mailbox_domains = c.example
virtual_mailbox_maps = inline:{{ bob@c.example=x, ben@c.example=x, dora@c.example=x, mimi-gateway@c.example=x }}
virtual_transport = lmtp:inet:127.0.0.1:{dovecot.lmtp}

# The gateway's domain: handed over by LMTP, one mail after the other.
relay_domains = mimi.c.example
# Mail for Dora is taken, and then nobody is there.
transport_maps = inline:{{ mimi.c.example=mimi:inet:127.0.0.1:{gateway}, dora@c.example=nobody }}
mimi_destination_concurrency_limit = 1
mimi_destination_recipient_limit = 1

# So that a scene does not wait for minutes.
minimal_backoff_time = 1s
maximal_backoff_time = 2s
queue_run_delay = 1s

smtpd_sasl_type = dovecot
smtpd_sasl_path = inet:127.0.0.1:{dovecot.auth}
smtpd_sasl_local_domain = c.example
smtpd_recipient_restrictions = permit_sasl_authenticated, reject_unauth_destination
smtpd_relay_restrictions = permit_sasl_authenticated, reject_unauth_destination
outsiders = check_sender_access static:{{PREPEND Authentication-Results: mail.c.example; dmarc=fail (p=reject) header.from=c.example}}
ours = check_sender_access static:{{PREPEND Authentication-Results: mail.c.example; dmarc=pass header.from=c.example}}
"""

_MASTER = """\
127.0.0.1:{smtp} inet n - n - - smtpd -o smtpd_sender_restrictions=$outsiders
127.0.0.1:{submission} inet n - n - - smtpd -o smtpd_sasl_auth_enable=yes -o smtpd_client_restrictions=permit_sasl_authenticated,reject -o smtpd_sender_restrictions=$ours
mimi unix - - n - 1 lmtp -o lmtp_send_xforward_command=yes
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
nobody unix - n n - 1 pipe flags= user=nobody argv=/bin/sh -c {{exit 67}}
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
lmtp unix - - n - - lmtp
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
tlsmgr unix - - n 1000? 1 tlsmgr
pickup unix n - n 60 1 pickup
showq unix n - n - - showq
postlog unix-dgram n - n - 1 postlogd
"""
