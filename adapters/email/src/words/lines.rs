//! A text as the lines that its author saw, each with how deep it is quoted.

/// One line of what somebody wrote or quoted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Line {
    /// What is read in it, without the marks of a quotation.
    pub text: String,
    /// How many quotations it lies in.
    pub depth: usize,
    /// What the mail's own markup says it is.
    pub role: Option<Role>,
    /// The same in HTML, if it was HTML: with the tags since the line before.
    pub html: String,
    /// The tags of `html` alone, which other lines may lie between.
    pub tags: String,
    /// The pictures that stand in it, by their Content-ID.
    pub pictures: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Says whose words are quoted after it.
    Attribution,
    Signature,
    /// With it the mail begins that was answered or forwarded; all that follows is of it.
    Divider,
}

impl Line {
    pub fn is_blank(&self) -> bool {
        self.text.trim().is_empty()
    }
}

/// How lines are to be read (RFC 3676).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Fixed,
    /// A line that ends in a space goes on in the next one; with `delete_space` without that space.
    Flowed {
        delete_space: bool,
    },
}

/// The lines of a `text/plain`.
pub fn read(text: &str, format: Format) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    let mut goes_on = false;
    for written in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        let written = written.strip_suffix('\r').unwrap_or(written);
        let (depth, rest) = match format {
            Format::Fixed => unquoted(written, lines.last()),
            Format::Flowed { .. } => {
                let rest = written.trim_start_matches('>');
                (written.len() - rest.len(), rest.strip_prefix(' ').unwrap_or(rest))
            }
        };
        let is_flowed = format != Format::Fixed && rest.ends_with(' ') && rest != "-- ";
        let delete_space = is_flowed && format == Format::Flowed { delete_space: true };
        let rest = if delete_space { &rest[..rest.len() - 1] } else { rest };
        match lines.last_mut() {
            // RFC 3676 §4.5: whatever its end says, a line of another depth is another paragraph, and so is a signature's.
            Some(before) if goes_on && before.depth == depth && rest != "-- " => before.text.push_str(rest),
            _ => lines.push(Line { text: rest.to_owned(), depth, ..Line::default() }),
        }
        goes_on = is_flowed;
    }
    lines
}

/// How deep a line is quoted, and what stands in it.
pub fn unquoted<'t>(written: &'t str, before: Option<&Line>) -> (usize, &'t str) {
    // A mailbox file marks lines that begin like this one; nobody has quoted it.
    if written.starts_with(">From ") && before.is_none_or(|before| before.depth == 0) {
        return (0, &written[1..]);
    }
    let mut depth = 0;
    let mut rest = written;
    // `>>`, `> >` and `> > ` are all in use.
    while let Some(inside) = rest.strip_prefix('>').or_else(|| rest.strip_prefix(" >").filter(|_| depth > 0)) {
        depth += 1;
        rest = inside;
    }
    (depth, if depth > 0 { rest.strip_prefix(' ').unwrap_or(rest) } else { rest })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str, format: Format) -> Vec<(usize, String)> {
        read(text, format).into_iter().map(|line| (line.depth, line.text)).collect()
    }

    #[test]
    fn quotations_are_counted_however_they_are_marked() {
        let text = "a\n> b\n>> c\n> > d\n>e\n > f\n>\n\n>From home\n> x\n>From x\n";
        let expected = [
            (0, "a"),
            (1, "b"),
            (2, "c"),
            (2, "d"),
            (1, "e"),
            (0, " > f"),
            (1, ""),
            (0, ""),
            (0, "From home"),
            (1, "x"),
            (1, "From x"),
        ];
        assert_eq!(lines(text, Format::Fixed), expected.map(|(depth, text)| (depth, text.to_owned())));
    }

    #[test]
    fn flowed_lines_are_joined() {
        // The shapes of RFC 3676 §4 and §5.
        for (text, delete_space, expected) in [
            ("one \ntwo\nthree", false, vec![(0, "one two"), (0, "three")]),
            ("one \ntwo", true, vec![(0, "onetwo")]),
            ("> one \n> two \nthree", false, vec![(1, "one two "), (0, "three")]),
            (">> a \n> b", false, vec![(2, "a "), (1, "b")]),
            (" From here\n >no quote", false, vec![(0, "From here"), (0, ">no quote")]),
            ("end \n-- \nAlice", false, vec![(0, "end "), (0, "-- "), (0, "Alice")]),
        ] {
            let expected: Vec<_> = expected.into_iter().map(|(depth, text)| (depth, text.to_owned())).collect();
            assert_eq!(lines(text, Format::Flowed { delete_space }), expected, "{text:?}");
        }
    }
}
