//! The octets of a mail, out of those on the wire (RFC 5321 §4.1.1.4, §4.5.2).

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

#[derive(Debug, PartialEq, Eq)]
pub enum Data {
    Mail(Vec<u8>),
    /// It was longer than it may be. It has been read to its end and thrown away.
    TooLarge,
    /// A CR or LF stood alone in it.
    Bare,
}

/// Where in a line we are.
#[derive(Clone, Copy)]
enum At {
    Start,
    /// A dot stood at the start.
    Dot,
    DotCr,
    Inside,
    Cr,
}

/// Reads to the end of the mail, `<CRLF>.<CRLF>`, and takes the dots away that were put before dots.
pub async fn read(from: &mut (impl AsyncBufRead + Unpin), most: usize) -> io::Result<Data> {
    let (mut mail, mut at, mut bare, mut too_large) = (Vec::new(), At::Start, false, false);
    loop {
        let chunk = from.fill_buf().await?;
        if chunk.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut used = 0;
        let mut ended = false;
        for &octet in chunk {
            used += 1;
            at = match (at, octet) {
                (At::DotCr, b'\n') => {
                    ended = true;
                    break;
                }
                (At::Cr, b'\n') => {
                    mail.extend_from_slice(b"\r\n");
                    At::Start
                }
                (At::Start, b'.') => At::Dot,
                (At::Dot, b'\r') => At::DotCr,
                (At::Start | At::Inside, b'\r') => At::Cr,
                (at, octet) => {
                    bare |= matches!(at, At::Cr | At::DotCr) || octet == b'\n';
                    mail.push(octet);
                    if octet == b'\r' { At::Cr } else { At::Inside }
                }
            };
        }
        from.consume(used);
        if mail.len() > most {
            (mail, too_large) = (Vec::new(), true);
        }
        if ended {
            return Ok(match (too_large, bare) {
                (true, _) => Data::TooLarge,
                (false, true) => Data::Bare,
                (false, false) => Data::Mail(mail),
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::BufReader;

    use super::*;

    /// What is read, and what is left on the wire.
    async fn reading(wire: &[u8], buffer: usize, most: usize) -> (io::Result<Data>, Vec<u8>) {
        let mut reader = BufReader::with_capacity(buffer, wire);
        let data = read(&mut reader, most).await;
        let mut rest = reader.buffer().to_vec();
        rest.extend_from_slice(reader.into_inner());
        (data, rest)
    }

    #[tokio::test]
    async fn a_mail_ends_with_a_dot_alone_on_a_line_and_nowhere_else() {
        let mail = |text: &str| Some(Data::Mail(text.as_bytes().to_vec()));
        for (wire, read, rest) in [
            ("a: b\r\n\r\ntea\r\n.\r\nQUIT\r\n", mail("a: b\r\n\r\ntea\r\n"), "QUIT\r\n"),
            (".\r\n", mail(""), ""),
            ("..\r\n...x\r\n.\r\n", mail(".\r\n..x\r\n"), ""),
            (".x\r\n.\r\n", mail("x\r\n"), ""),
            ("x.\r\n.\r\n", mail("x.\r\n"), ""),
            // What others have taken for an end.
            ("a\n.\nMAIL FROM:<x@y>\r\n.\r\n", Some(Data::Bare), ""),
            ("a\n.\r\nMAIL FROM:<x@y>\r\n.\r\n", Some(Data::Bare), ""),
            ("a\r\n.\nMAIL FROM:<x@y>\r\n.\r\n", Some(Data::Bare), ""),
            ("a\r.\rMAIL FROM:<x@y>\r\n.\r\n", Some(Data::Bare), ""),
            ("a\r\n.\rMAIL FROM:<x@y>\r\n.\r\n", Some(Data::Bare), ""),
            ("a\r\r\n.\r\n", Some(Data::Bare), ""),
            ("a\r\n.\r\r\n.\r\n", Some(Data::Bare), ""),
            ("tea\r\n", None, ""),
            ("tea\r\n.\r", None, ""),
        ] {
            for buffer in [1, 2, 3, 100] {
                let (data, left) = reading(wire.as_bytes(), buffer, 1000).await;
                assert_eq!(
                    (data.ok(), &*left),
                    (
                        read.as_ref().map(|data| match data {
                            Data::Mail(mail) => Data::Mail(mail.clone()),
                            Data::TooLarge => Data::TooLarge,
                            Data::Bare => Data::Bare,
                        }),
                        rest.as_bytes()
                    ),
                    "{wire:?}"
                );
            }
        }
    }

    #[tokio::test]
    async fn what_is_too_large_is_read_to_its_end_and_not_kept() {
        let (data, left) = reading(b"0123456789\r\n\r\n.\r\nQUIT\r\n", 3, 8).await;
        assert_eq!((data.unwrap(), &*left), (Data::TooLarge, &b"QUIT\r\n"[..]));
    }

    proptest! {
        #[test]
        fn what_is_stuffed_comes_back(lines in prop::collection::vec("[.a ]{0,4}", 0..8), buffer in 1usize..20) {
            let mail: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
            let stuff = |line: &String| if line.starts_with('.') { format!(".{line}\r\n") } else { format!("{line}\r\n") };
            let wire: String = lines.iter().map(stuff).collect::<String>() + ".\r\n";
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (data, left) = runtime.block_on(reading(wire.as_bytes(), buffer, 1000));
            prop_assert_eq!((data.unwrap(), left), (Data::Mail(mail.into_bytes()), Vec::new()));
        }

        #[test]
        fn any_octets_are_read(wire in prop::collection::vec(prop::sample::select(b"a.\r\n".to_vec()), 0..40), buffer in 1usize..9) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            let (data, _) = runtime.block_on(reading(&wire, buffer, 30));
            if let Ok(Data::Mail(mail)) = data {
                let text = String::from_utf8(mail).unwrap().replace("\r\n", "");
                prop_assert!(!text.contains(['\r', '\n']));
            }
        }
    }
}
