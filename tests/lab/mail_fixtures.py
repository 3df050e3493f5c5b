"""Mails that are signed, and the DNS zone with the keys: adapters/email/tests/fixtures/trust.

Signed with dkimpy, so that what our adapter verifies was not made by what it verifies with. The keys are thrown away;
run again, it makes everything anew. Nothing in it expires.

    pip install dkimpy authres cryptography pynacl
    python tests/lab/mail_fixtures.py
"""

import base64
import pathlib

import dkim
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

HERE = pathlib.Path(__file__).parents[2] / "adapters/email/tests/fixtures/trust"
RAW = (serialization.Encoding.Raw, serialization.PublicFormat.Raw)


class Everything(tuple):
    """A tuple of header fields for which dkimpy believes that From is in it."""

    def __contains__(self, _):
        return True


def rsa_key():
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private, "v=DKIM1; k=rsa; p=" + base64.b64encode(public).decode()


def ed25519_key():
    key = ed25519.Ed25519PrivateKey.generate()
    private = base64.b64encode(
        key.private_bytes(
            serialization.Encoding.Raw, serialization.PrivateFormat.Raw, serialization.NoEncryption()
        )
    )
    return private, "v=DKIM1; k=ed25519; p=" + base64.b64encode(key.public_key().public_bytes(*RAW)).decode()


def txt(name, value):
    parts = " ".join(f'"{value[at : at + 200]}"' for at in range(0, len(value), 200))
    return f"{name} TXT ( {parts} )\n"


def mail(sender):
    lines = f"""From: Alice <{sender}>
To: tea@gw.example
Subject: Tea
Message-ID: <1@{sender.split("@")[1]}>
Date: Mon, 3 Feb 2025 10:11:12 +0100

Is the tea ready?
"""
    return lines.replace("\n", "\r\n").encode()


def main():
    keys = {domain: rsa_key() for domain in ("a", "b", "mail.b", "d", "evil", "list")}
    ed = ed25519_key()

    def sign(message, domain, **how):
        signature = dkim.sign(
            message, b"s1", f"{domain}.example".encode(), keys[domain][0],
            canonicalize=(b"relaxed", b"relaxed"), **how,
        )
        return signature + message

    def through(domain):
        """A list that has changed the subject, and seals what it found out before."""
        changed = signed.replace(b"Subject: Tea", b"Subject: [list] Tea")
        results = f"mx.{domain}.example; dkim=pass header.d=a.example; dmarc=pass header.from=a.example"
        changed = f"Authentication-Results: {results}\r\n".encode() + changed
        sealed = dkim.arc_sign(
            changed, b"s1", f"{domain}.example".encode(), keys[domain][0], f"mx.{domain}.example".encode()
        )
        return b"".join(sealed) + changed

    signed = sign(mail("alice@a.example"), "a")
    # dkimpy refuses to leave From out, and looks for it in the tuple that it makes.
    dkim.tuple = Everything
    without_from = sign(mail("alice@a.example"), "a", include_headers=[b"to", b"subject"])
    del dkim.tuple

    mails = {
        "signed": signed,
        "signed-ed25519": dkim.sign(
            mail("alice@a.example"), b"ed", b"a.example", ed[0], signature_algorithm=b"ed25519-sha256",
            canonicalize=(b"relaxed", b"relaxed"),
        ) + mail("alice@a.example"),
        "tampered": signed.replace(b"ready", b"poisoned"),
        "spoofed": mail("alice@a.example"),
        "signed-by-evil": sign(mail("alice@a.example"), "evil"),
        "signed-without-from": without_from,
        "signed-in-part": sign(mail("alice@a.example"), "a", length=True) + b"And the money is at evil.example.\r\n",
        "without-policy": sign(mail("alice@b.example"), "b"),
        "without-policy-from-below": sign(mail("alice@mail.b.example"), "b"),
        "without-policy-from-above": sign(mail("alice@b.example"), "mail.b"),
        "without-policy-unsigned": mail("alice@b.example"),
        "without-anything": mail("alice@c.example"),
        "policy-none-unsigned": mail("alice@d.example"),
        "broken-dns": sign(mail("alice@e.broken.example"), "a"),
        "sealed-by-list": through("list"),
        "sealed-by-evil": through("evil"),
    }
    HERE.mkdir(parents=True, exist_ok=True)
    for name, octets in mails.items():
        (HERE / f"{name}.eml").write_bytes(octets)

    zone = "$ORIGIN example.\n$TTL 60\n@ SOA ns.example. admin.example. 1 60 60 60 60\n@ NS ns\nns A 127.0.0.1\n"
    zone += txt("a", "v=spf1 ip4:192.0.2.1 -all") + txt("_dmarc.a", "v=DMARC1; p=reject")
    zone += txt("b", "v=spf1 ip4:192.0.2.2 -all") + txt("c", "nothing here")
    zone += txt("d", "v=spf1 -all") + txt("_dmarc.d", "v=DMARC1; p=none")
    zone += txt("evil", "v=spf1 +all")
    zone += "".join(txt(f"s1._domainkey.{domain}", public) for domain, (_, public) in keys.items())
    zone += txt("ed._domainkey.a", ed[1])
    (HERE / "example.zone").write_text(zone)


if __name__ == "__main__":
    main()
