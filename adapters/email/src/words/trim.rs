//! Which lines of a mail its author newly wrote.
//!
//! In doubt a line stays: a quotation too many is read over, a sentence too few is missed by nobody who could ask.
//! So a line goes only if the mail's markup says what it is, or its words do and it also stands where such lines stand.

use super::{
    lines::{Line, Role},
    phrases::{self, Field},
};

/// What the mail's header says about its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// It answers another mail.
    pub answers: bool,
    /// It passes one on.
    pub forwards: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Blank,
    New,
    Quoted,
    Attribution,
    Signature,
}

/// What became of the lines of a mail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    All,
    /// Those that are `true`.
    Some(Vec<bool>),
    /// Nothing in it is new; there is at most a quotation and a signature.
    Nothing,
}

pub fn kept(lines: &[Line], context: Context) -> Kept {
    let divider = divider(lines);
    let is_forwarded = |at: usize| lines[at].depth == 0 && phrases::is_forwarded(&lines[at].text);
    let forwards = (0..divider.unwrap_or(lines.len())).any(is_forwarded) || divider.is_some_and(is_forwarded);
    if context.forwards || forwards {
        return Kept::All;
    }
    let mut kinds: Vec<Kind> = lines.iter().map(kind).collect();
    if let Some(divider) = divider {
        kinds[divider..].fill(Kind::Quoted);
    }
    attribute(lines, &mut kinds);
    sign(lines, &mut kinds);
    // Hotmail quotes the fields too.
    let has_header = (0..lines.len()).any(|at| lines[at].depth > 0 && is_header(&lines[at..]));
    let answers = context.answers || divider.is_some() || kinds.contains(&Kind::Attribution) || has_header;
    match choose(&kinds, answers) {
        // Behind a divider nothing is marked, and somebody may have written below it.
        Kept::Nothing if divider.is_some() => Kept::All,
        kept => kept,
    }
}

fn kind(line: &Line) -> Kind {
    match line.role {
        _ if line.depth > 0 => Kind::Quoted,
        Some(Role::Signature) => Kind::Signature,
        _ if line.is_blank() && line.pictures.is_empty() => Kind::Blank,
        Some(Role::Attribution) => Kind::Attribution,
        _ => Kind::New,
    }
}

/// Where the mail begins that was answered, if it is quoted without marks.
fn divider(lines: &[Line]) -> Option<usize> {
    let begins = |at: usize| {
        let line = &lines[at];
        line.role == Some(Role::Divider)
            || (line.depth == 0
                && (phrases::is_original(&line.text) || phrases::is_forwarded(&line.text) || is_header(&lines[at..])))
    };
    let at = (0..lines.len()).find(|at| begins(*at))?;
    // Outlook draws a line before it.
    let before = lines[..at].iter().rposition(|line| !line.is_blank());
    let is_drawn = |text: &str| text.trim().len() >= 10 && text.trim().chars().all(|c| c == '_');
    Some(before.filter(|before| is_drawn(&lines[*before].text)).unwrap_or(at))
}

/// Whether these lines begin with the fields of a mail, as Outlook writes them.
fn is_header(lines: &[Line]) -> bool {
    if phrases::field(&lines[0].text).is_none() {
        return false;
    }
    let block = lines.iter().take(8).take_while(|line| !line.is_blank());
    let fields: Vec<(Field, &str)> = block.filter_map(|line| phrases::field(&line.text)).collect();
    let value = |of| fields.iter().find(|(field, _)| *field == of).map(|(_, value)| *value);
    let Some(from) = value(Field::From) else { return false };
    let others = [Field::Date, Field::To, Field::Subject].into_iter().filter(|field| value(*field).is_some()).count();
    // Somebody's plan may say from where, to where and when.
    others == 3 || (others == 2 && from.contains('@'))
}

/// Lines from an attribution to what it is of, at most.
const GAP: usize = 5;

/// Finds the lines that say whose words follow.
fn attribute(lines: &[Line], kinds: &mut [Kind]) {
    for at in 1..lines.len() {
        if kinds[at] != Kind::Quoted {
            continue;
        }
        let Some(last) = kinds[..at].iter().rposition(|kind| *kind != Kind::Blank) else { continue };
        if kinds[last] != Kind::New || at - last > GAP {
            continue;
        }
        // It may have been wrapped.
        for first in last.saturating_sub(2)..=last {
            let wrapped: Vec<&str> = lines[first..=last].iter().map(|line| line.text.as_str()).collect();
            if kinds[first..=last].iter().all(|kind| *kind == Kind::New) && phrases::is_attribution(&wrapped) {
                kinds[first..=last].fill(Kind::Attribution);
                break;
            }
        }
    }
}

/// Lines of a signature, at most; and of one whose delimiter has lost its space, which people write too.
const LONG: usize = 40;
const SHORT: usize = 10;

/// Finds signatures: behind their delimiter (RFC 3676 §4.3), and the line of a telephone.
fn sign(lines: &[Line], kinds: &mut [Kind]) {
    let mut at = 0;
    while at < lines.len() {
        let end = end_of_words(kinds, at);
        let is_delimiter = |n: &usize| {
            let (text, length) = (lines[*n].text.as_str(), end - n);
            let is_whole = matches!(text, "-- " | "--\u{a0}") && length <= LONG;
            kinds[*n] == Kind::New && (is_whole || (text.trim() == "--" && (2..=SHORT).contains(&length)))
        };
        if let Some(delimiter) = (at..end).find(is_delimiter) {
            kinds[delimiter..end].fill(Kind::Signature);
        }
        let is_word = |n: &usize| matches!(kinds[*n], Kind::New);
        if let Some(last) = (at..end).rev().find(is_word)
            && (last == at || kinds[last - 1] != Kind::New)
            && phrases::is_sent_from(&lines[last].text)
        {
            kinds[last] = Kind::Signature;
        }
        at = end.max(at + 1);
    }
}

/// Where the next quotation begins.
fn end_of_words(kinds: &[Kind], from: usize) -> usize {
    let quoted = |kind: &Kind| matches!(kind, Kind::Quoted | Kind::Attribution);
    kinds[from..].iter().position(quoted).map_or(kinds.len(), |at| from + at)
}

fn choose(kinds: &[Kind], answers: bool) -> Kept {
    let is_new = |kind: &Kind| *kind == Kind::New;
    let (Some(first), Some(last)) = (kinds.iter().position(is_new), kinds.iter().rposition(is_new)) else {
        return Kept::Nothing;
    };
    let between = kinds[first..last].contains(&Kind::Quoted);
    let keep = |(at, kind): (usize, &Kind)| match kind {
        Kind::New | Kind::Blank => true,
        Kind::Attribution | Kind::Signature => false,
        Kind::Quoted if !answers => true,
        // A quotation between words, or before words with others between them, says what they answer.
        Kind::Quoted => between && at < last,
    };
    let kept: Vec<bool> = kinds.iter().enumerate().map(keep).collect();
    if kept.iter().all(|kept| *kept) { Kept::All } else { Kept::Some(kept) }
}
