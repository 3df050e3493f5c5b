//! `mimi-gateway inspect`, as somebody types it.

use std::{
    io::Write,
    process::{Command, Output, Stdio},
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_mimi-gateway");

fn inspect(arguments: &str, input: &[u8]) -> Output {
    let mut child = Command::new(PROGRAM)
        .arg("inspect")
        .args(arguments.split(' '))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

const TREE: &str = "{\n  \"representation\": \"httpsUri\",\n  \"ratchet_tree_url\": \"https://a/t\"\n}\n";

// The example of --help and of README.
#[test]
fn octets_are_read_and_written_again() {
    let read = inspect("--kind RatchetTreeOption --hex", b"02 0b 68747470733a2f2f612f74");
    assert_eq!(said(&read), (Some(0), TREE.into(), String::new()));
    let written = inspect("--kind ratchet-tree-option --encode", &read.stdout);
    assert_eq!((written.status.code(), &*written.stdout), (Some(0), &b"\x02\x0bhttps://a/t"[..]));
    let hex = inspect("--kind RatchetTreeOption --encode --hex -", &read.stdout);
    assert_eq!(said(&hex), (Some(0), "020b68747470733a2f2f612f74\n".into(), String::new()));
}

#[test]
fn malformed_octets_are_told_where_and_why() {
    let (code, out, err) = said(&inspect("--kind RatchetTreeOption", b"\x02\x0bhttp"));
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert_eq!(
        err,
        "stdin (6 octets) is no RatchetTreeOption: at offset 2 (0x2), in ratchet_tree_url: \
         the octets end too early; expected here: a vector of 11 octets\n"
    );
    let (code, _, err) = said(&inspect("--kind RatchetTreeOption", b"02 0b"));
    assert_eq!(code, Some(1));
    assert!(err.ends_with("\nThe input looks like hex; should there be --hex?\n"), "{err}");
    let (code, _, err) = said(&inspect("--kind RatchetTreeOption --encode", b"{}"));
    assert_eq!(
        (code, err.as_str()),
        (Some(1), "stdin is no RatchetTreeOption: in representation: this field is missing\n")
    );
}

#[test]
fn a_content_has_its_id() {
    // A deletion that names neither sender nor room.
    let content = "87 50 5eed9406c2545547ab6f09f20a18b003 f6 40 f6 f6 a0 83 01 60 00";
    let (code, out, err) = said(&inspect("--kind mimi-content --hex", content.as_bytes()));
    assert_eq!((code, err.as_str()), (Some(0), "stdin: no message ID: it needs the sender and the room\n"));
    assert!(!out.contains("_messageId"), "{out}");
    let arguments = "--kind mimi-content --hex --sender mimi://a.example/u/alice --room mimi://a.example/r/tea";
    let (code, out, err) = said(&inspect(arguments, content.as_bytes()));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    assert!(out.contains(r#""_messageId": "01"#), "{out}");
}

#[test]
fn every_kind_is_listed() {
    let (code, out, err) = said(&inspect("--list", b""));
    assert_eq!((code, err.as_str()), (Some(0), ""));
    for kind in mimi_gateway::inspect::KINDS {
        assert!(out.lines().any(|line| line.split(' ').next() == Some(kind.name)), "{} is not listed", kind.name);
    }
    assert!(out.contains("  PseudonymousCredential: "), "{out}");
}

#[test]
fn a_kind_that_there_is_not_is_a_usage_error() {
    let (code, out, err) = said(&inspect("--kind FanoutMesage", b""));
    assert_eq!((code, out.as_str()), (Some(2), ""));
    assert!(err.contains("did you mean FanoutMessage?"), "{err}");
}
