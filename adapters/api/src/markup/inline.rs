//! The words of a block and their emphasis, as Markdown.
//!
//! Markdown knows emphasis by what stands around its marks: `a **b **c` is none. So a whole block is looked at before
//! anything is written: space at the edge of a span goes out of it, and a span whose marks would not be seen as such
//! loses them.

use super::writer::Mark;

#[derive(Clone, Debug, PartialEq)]
pub(super) enum Inline {
    Text(String),
    Code(String),
    Break,
    Open(Mark),
    Close(Mark),
    OpenLink(String),
    CloseLink,
}

pub(super) fn render(inlines: &[Inline]) -> String {
    let mut pieces = pair(inlines);
    move_space_out(&mut pieces);
    drop_empty(&mut pieces);
    drop_unseen(&mut pieces);
    write(&pieces)
}

/// Closes what is open in the order in which it was opened, and drops what closes nothing or is open already.
fn pair(inlines: &[Inline]) -> Vec<Inline> {
    let mut pieces: Vec<Inline> = Vec::with_capacity(inlines.len());
    let mut open: Vec<Inline> = Vec::new();
    let closing = |opened: &Inline| match opened {
        Inline::Open(mark) => Inline::Close(*mark),
        _ => Inline::CloseLink,
    };
    for inline in inlines {
        match inline {
            Inline::Open(_) if open.contains(inline) => {}
            Inline::OpenLink(_) if open.iter().any(|it| matches!(it, Inline::OpenLink(_))) => {}
            Inline::Open(_) | Inline::OpenLink(_) => {
                open.push(inline.clone());
                pieces.push(inline.clone());
            }
            Inline::Close(_) | Inline::CloseLink => {
                let Some(at) = open.iter().rposition(|opened| closing(opened) == *inline) else { continue };
                // What was opened inside goes on behind.
                let inside = open.split_off(at + 1);
                pieces.extend(inside.iter().rev().map(closing));
                open.pop();
                pieces.push(inline.clone());
                pieces.extend(inside.iter().cloned());
                open.extend(inside);
            }
            // One text where there were several in a row.
            Inline::Text(text) => match pieces.last_mut() {
                Some(Inline::Text(before)) => before.push_str(text),
                _ => pieces.push(inline.clone()),
            },
            Inline::Code(_) | Inline::Break => pieces.push(inline.clone()),
        }
    }
    pieces.extend(open.iter().rev().map(closing));
    pieces
}

/// Space and line breaks at the edge of a span go out of it, and at the edge of the block they go.
fn move_space_out(pieces: &mut Vec<Inline>) {
    let opens = |piece: &Inline| matches!(piece, Inline::Open(_) | Inline::OpenLink(_));
    let closes = |piece: &Inline| matches!(piece, Inline::Close(_) | Inline::CloseLink);
    // Before an opening mark goes what stands behind it, and behind a closing one what stands before it. Where a space
    // has come to is noted, and put there at the end: a message can have ten thousand marks.
    let space = |there: bool| there.then(|| Inline::Text(" ".into()));
    let mut before = vec![false; pieces.len()];
    for at in (0..pieces.len().saturating_sub(1)).rev() {
        let mut mark = at;
        while mark + 1 < pieces.len() && opens(&pieces[mark]) && !before[mark + 1] && pieces[mark + 1] == Inline::Break
        {
            pieces.swap(mark, mark + 1);
            mark += 1;
        }
        if mark + 1 < pieces.len() && opens(&pieces[mark]) {
            before[mark] |= std::mem::take(&mut before[mark + 1]) || trim(&mut pieces[mark + 1], str::trim_start);
        }
    }
    *pieces =
        before.into_iter().zip(pieces.drain(..)).flat_map(|(there, it)| space(there).into_iter().chain([it])).collect();
    let mut behind = vec![false; pieces.len()];
    for at in 1..pieces.len() {
        let mut mark = at;
        while mark > 0 && closes(&pieces[mark]) && !behind[mark - 1] && pieces[mark - 1] == Inline::Break {
            pieces.swap(mark, mark - 1);
            mark -= 1;
        }
        if mark > 0 && closes(&pieces[mark]) {
            behind[mark] |= std::mem::take(&mut behind[mark - 1]) || trim(&mut pieces[mark - 1], str::trim_end);
        }
    }
    *pieces =
        behind.into_iter().zip(pieces.drain(..)).flat_map(|(there, it)| [it].into_iter().chain(space(there))).collect();
    let says = |piece: &Inline| match piece {
        Inline::Text(text) => !text.trim().is_empty(),
        Inline::Break => false,
        _ => true,
    };
    while pieces.last().is_some_and(|last| !says(last)) {
        pieces.pop();
    }
    if let Some(Inline::Text(text)) = pieces.last_mut() {
        text.truncate(text.trim_end().len());
    }
    let silent = pieces.iter().take_while(|piece| !says(piece)).count();
    pieces.drain(..silent);
}

/// Whether there was space at that edge of a text.
fn trim(piece: &mut Inline, trimmed: fn(&str) -> &str) -> bool {
    let Inline::Text(text) = piece else { return false };
    let rest = trimmed(text).to_owned();
    let space = rest.len() < text.len();
    *text = rest;
    space
}

/// Spans without words.
fn drop_empty(pieces: &mut Vec<Inline>) {
    let mut kept: Vec<Inline> = Vec::with_capacity(pieces.len());
    for piece in pieces.drain(..) {
        match (kept.last(), &piece) {
            (_, Inline::Text(text)) if text.is_empty() => {}
            (Some(Inline::Open(a)), Inline::Close(b)) if a == b => drop(kept.pop()),
            (Some(Inline::OpenLink(_)), Inline::CloseLink) => drop(kept.pop()),
            _ => kept.push(piece),
        }
    }
    *pieces = kept;
}

/// Marks that Markdown would not take for marks ("left-flanking" and "right-flanking", CommonMark §6.2).
fn drop_unseen(pieces: &mut Vec<Inline>) {
    let mut neighbours = Neighbours::of(pieces.len());
    let mut seen = vec![true; pieces.len()];
    for at in 0..pieces.len() {
        let Inline::Open(mark) = pieces[at] else { continue };
        // No mark is open twice, so this one's end is the next.
        let Some(length) = pieces[at..].iter().position(|piece| *piece == Inline::Close(mark)) else { continue };
        let end = at + length;
        let edge = |c: Option<char>| c.is_none_or(|c| c.is_whitespace() || is_punctuation(c));
        let piece = |at: Option<usize>| at.map(|at| &pieces[at]);
        let around = |at| (last_char(piece(neighbours.before[at])), first_char(piece(neighbours.behind[at])));
        let ((before, first), (last, behind)) = (around(at), around(end));
        let opens = first.is_some_and(|c| !c.is_whitespace() && (!is_punctuation(c) || edge(before)));
        let closes = last.is_some_and(|c| !c.is_whitespace() && (!is_punctuation(c) || edge(behind)));
        if !(opens && closes) {
            for gone in [at, end] {
                neighbours.forget(gone);
                seen[gone] = false;
            }
        }
    }
    let mut seen = seen.into_iter();
    pieces.retain(|_| seen.next().unwrap_or(true));
}

/// What stands next to each piece, without those that are gone.
struct Neighbours {
    before: Vec<Option<usize>>,
    behind: Vec<Option<usize>>,
}

impl Neighbours {
    fn of(pieces: usize) -> Self {
        Self {
            before: (0..pieces).map(|at| at.checked_sub(1)).collect(),
            behind: (1..=pieces).map(|at| Some(at).filter(|at| *at < pieces)).collect(),
        }
    }

    fn forget(&mut self, at: usize) {
        let (before, behind) = (self.before[at], self.behind[at]);
        if let Some(before) = before {
            self.behind[before] = behind;
        }
        if let Some(behind) = behind {
            self.before[behind] = before;
        }
    }
}

fn is_punctuation(c: char) -> bool {
    // Unicode's punctuation and symbols; what is neither a letter nor a number nor space is close enough to them here,
    // as a mistake only costs a mark.
    !c.is_alphanumeric() && !c.is_whitespace()
}

fn first_char(piece: Option<&Inline>) -> Option<char> {
    piece.and_then(|piece| match piece {
        Inline::Text(text) => text.chars().next(),
        Inline::Break => Some('\n'),
        _ => Some('*'),
    })
}

fn last_char(piece: Option<&Inline>) -> Option<char> {
    piece.and_then(|piece| match piece {
        Inline::Text(text) => text.chars().next_back(),
        Inline::Break => Some('\n'),
        _ => Some('*'),
    })
}

fn write(pieces: &[Inline]) -> String {
    let mut out = String::new();
    let mut links: Vec<&str> = Vec::new();
    for (at, piece) in pieces.iter().enumerate() {
        match piece {
            Inline::Text(text) => escape(text, &mut out),
            Inline::Break => {
                let kept = out.trim_end_matches(' ').len();
                out.truncate(kept);
                // Two in a row would be the end of the paragraph.
                out.push_str(if out.ends_with('\n') { "&nbsp;\\\n" } else { "\\\n" });
            }
            Inline::Code(code) => {
                let fence = "`".repeat(longest_run(code, '`') + 1);
                let pad = if code.starts_with(['`', ' ']) || code.ends_with(['`', ' ']) { " " } else { "" };
                out.extend([&fence, pad, code, pad, &fence]);
            }
            Inline::Open(mark) | Inline::Close(mark) => out.push_str(match mark {
                Mark::Strong => "**",
                Mark::Strike => "~~",
                Mark::Emphasis => emphasis(pieces, at),
            }),
            Inline::OpenLink(target) => {
                links.push(target);
                out.push('[');
            }
            Inline::CloseLink => {
                let target = links.pop().unwrap_or_default();
                if target.contains(['(', ')', '<', '>', '\\', '*', '_', '`', '&']) {
                    let target = target.replace('\\', "%5C").replace('<', "%3C").replace('>', "%3E");
                    out.extend(["](<", &target, ">)"]);
                } else {
                    out.extend(["](", target, ")"]);
                }
            }
        }
    }
    out
}

/// `_`, which can't be taken for half a `**`; but inside a word only `*` is a mark.
fn emphasis(pieces: &[Inline], at: usize) -> &'static str {
    let mark = [Inline::Open(Mark::Emphasis), Inline::Close(Mark::Emphasis)];
    let open = if pieces[at] == mark[0] { Some(at) } else { pieces[..at].iter().rposition(|piece| *piece == mark[0]) };
    let close = pieces[at..].iter().position(|piece| *piece == mark[1]).map(|n| at + n);
    let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
    match (open, close) {
        (Some(open), Some(close))
            if word(last_char(pieces[..open].last())) || word(first_char(pieces[close + 1..].first())) =>
        {
            "*"
        }
        _ => "_",
    }
}

/// Escapes what would mean something. At the beginning of a line that is more than within.
fn escape(text: &str, out: &mut String) {
    let mut before = out.chars().next_back();
    let mut rest = text.chars().peekable();
    if before.is_none_or(|c| c == '\n') {
        while rest.next_if(|c| *c == ' ' || *c == '\t').is_some() {}
        let line = rest.clone().collect::<String>();
        let digits = line.bytes().take_while(u8::is_ascii_digit).count();
        let after = |n: usize| line[n..].chars().next();
        let gap = |c: Option<char>| c.is_none_or(char::is_whitespace);
        let underline = |c: char| line.starts_with(c) && line.trim_end().chars().all(|other| other == c);
        if (1..=9).contains(&digits) && matches!(after(digits), Some('.' | ')')) && gap(after(digits + 1)) {
            out.push_str(&line[..digits]);
            out.push('\\');
            out.push_str(&line[digits..=digits]);
            before = out.chars().next_back();
            rest.nth(digits);
        } else if line.starts_with(['>', '#', '|'])
            || (line.starts_with(['-', '+'])
                && (gap(after(1)) || after(1) == line.chars().next() || after(1) == Some('|')))
            || line.starts_with(":-")
            || underline('=')
            || underline('-')
        {
            out.push('\\');
            before = rest.next();
            out.extend(before);
        }
    }
    while let Some(c) = rest.next() {
        let next = rest.peek().copied();
        let word = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        match c {
            '\\' | '`' | '*' | '[' | ']' | '~' | '|' => out.extend(['\\', c]),
            '_' if !(word(before) && word(next)) => out.extend(['\\', c]),
            '&' if next.is_some_and(|c| c == '#' || c.is_ascii_alphabetic()) => out.extend(['\\', c]),
            // C§7.1.1 wants this one as an entity.
            '<' => out.push_str("&lt;"),
            '\t' | '\u{b}' | '\u{c}' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
        before = Some(c);
    }
}

pub(super) fn longest_run(text: &str, of: char) -> usize {
    text.split(|c| c != of).map(str::len).max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{Inline::*, Mark::*, *};

    fn text(text: &str) -> Inline {
        Text(text.into())
    }

    #[test]
    fn emphasis_is_written_so_that_it_is_seen() {
        for (inlines, markdown) in [
            (vec![text("a "), Open(Strong), text("b"), Close(Strong), text(" c")], "a **b** c"),
            (vec![text("a"), Open(Strong), text(" b "), Close(Strong), text("c")], "a **b** c"),
            (vec![text("a"), Open(Emphasis), text("b"), Close(Emphasis), text("c")], "a*b*c"),
            (vec![Open(Emphasis), text("b"), Close(Emphasis), text(".")], "_b_."),
            (vec![text("a"), Open(Strong), text("(b)"), Close(Strong), text("c")], "a(b)c"),
            (vec![Open(Strong), Open(Emphasis), text("b"), Close(Strong), text(" c"), Close(Emphasis)], "**_b_** _c_"),
            (vec![Open(Strong), Open(Strong), text("b"), Close(Strong), text(" c")], "**b** c"),
            (vec![Open(Strong), text(" "), Close(Strong), text("c")], "c"),
            (vec![Open(Strong), Break, text("c"), Break, Close(Strong), text("d")], "**c**\\\nd"),
            (vec![text("x "), Code("a`b".into()), text(" "), Code("`".into())], "x ``a`b`` `` ` ``"),
            (
                vec![OpenLink("https://a.example/(x)".into()), text("here"), CloseLink],
                "[here](<https://a.example/(x)>)",
            ),
            (vec![OpenLink("https://a.example".into()), CloseLink, text("x")], "x"),
        ] {
            assert_eq!(render(&inlines), markdown, "{inlines:?}");
        }
    }
}
