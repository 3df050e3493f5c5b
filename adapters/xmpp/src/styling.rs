//! Message Styling (XEP-0393), which is what XMPP's people type for formatting, ⇄ Markdown.
//!
//! Both use asterisks, and don't mean the same by them: `*this*` is strong here and emphasis there. So what is styled
//! here is written as Markdown, and what is not stays what it was, character for character.

use mimi_adapter::{
    Text,
    markup::{Mark, Marks, Writer, to_text},
};

/// What stands for what in a body.
const MARKS: Marks = Marks { strong: "*", emphasis: "_", strike: "~", code: "`", block: "```", targets: true };

/// Quotations in quotations, up to here.
const DEEPEST: usize = 20;

/// What somebody wrote.
pub fn read(body: &str) -> Text {
    let mut reader = Reader::default();
    reader.blocks(&body.split('\n').collect::<Vec<_>>(), 0);
    if reader.styled { Text::Markdown(reader.writer.finish()) } else { Text::Plain(body.to_owned()) }
}

/// A body that shows `text`, and whether a client must be told not to look for styling in it.
pub fn write(text: &Text) -> (String, bool) {
    match text {
        Text::Plain(text) => {
            let mistaken = matches!(read(text), Text::Markdown(_));
            (text.clone(), mistaken)
        }
        Text::Markdown(markdown) => {
            let body = to_text(markdown, &MARKS);
            if body.trim().is_empty() { (markdown.clone(), true) } else { (body, false) }
        }
    }
}

#[derive(Default)]
struct Reader {
    writer: Writer,
    styled: bool,
}

impl Reader {
    fn blocks(&mut self, lines: &[&str], depth: usize) {
        let mut rest = lines;
        // Whether the line before is one of the same paragraph.
        let mut goes_on = false;
        while let Some((line, after)) = rest.split_first() {
            if let Some(language) = line.strip_prefix("```") {
                let end = after.iter().position(|line| line.trim_end() == "```");
                let (code, after) = after.split_at(end.unwrap_or(after.len()));
                self.writer.code_block(language.trim(), &code.join("\n"));
                self.styled = true;
                goes_on = false;
                rest = after.get(1..).unwrap_or_default();
            } else if line.starts_with('>') && depth < DEEPEST {
                let length = rest.iter().take_while(|line| line.starts_with('>')).count();
                let quoted: Vec<&str> = rest[..length]
                    .iter()
                    .map(|line| &line[1..])
                    .map(|line| line.strip_prefix(' ').unwrap_or(line))
                    .collect();
                self.writer.open_quote();
                self.blocks(&quoted, depth + 1);
                self.writer.close_quote();
                self.styled = true;
                goes_on = false;
                rest = &rest[length..];
            } else {
                match (goes_on, line.trim().is_empty()) {
                    (_, true) => self.writer.paragraph(),
                    (true, false) => self.writer.line_break(),
                    (false, false) => {}
                }
                goes_on = !line.trim().is_empty();
                self.spans(line);
                rest = after;
            }
        }
    }

    fn spans(&mut self, line: &str) {
        let mut unclosed = [false; 4];
        let mut said = 0;
        let mut at = 0;
        while let Some(c) = line[at..].chars().next() {
            let after = at + c.len_utf8();
            let starts = line[..at].chars().next_back().is_none_or(char::is_whitespace);
            let directive = DIRECTIVES.iter().position(|directive| *directive == c);
            let Some(directive) = directive.filter(|directive| starts && !unclosed[*directive]) else {
                at = after;
                continue;
            };
            let Some(end) = closing(&line[after..], c).map(|end| after + end) else {
                // A later one is not closed either, if the reason is not the space right behind this one.
                unclosed[directive] = !line[after..].starts_with(char::is_whitespace) && !line[after..].starts_with(c);
                at = after;
                continue;
            };
            self.writer.text(&line[said..at]);
            self.styled = true;
            let inside = &line[after..end];
            match MARK[directive] {
                None => self.writer.code(inside),
                Some(mark) => {
                    self.writer.open(mark);
                    self.spans(inside);
                    self.writer.close(mark);
                }
            }
            at = end + c.len_utf8();
            said = at;
        }
        self.writer.text(&line[said..]);
    }
}

const DIRECTIVES: [char; 4] = ['*', '_', '~', '`'];
const MARK: [Option<Mark>; 4] = [Some(Mark::Strong), Some(Mark::Emphasis), Some(Mark::Strike), None];

/// Where the span that `text` is the inside and the rest of ends: the first directive with something in between and no
/// space before it (XEP-0393 §6).
fn closing(text: &str, directive: char) -> Option<usize> {
    if text.starts_with(char::is_whitespace) {
        return None;
    }
    let ends = |(at, c): &(usize, char)| *c == directive && *at > 0 && !text[..*at].ends_with(char::is_whitespace);
    text.char_indices().find(ends).map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn markdown(text: &str) -> Text {
        Text::Markdown(text.into())
    }

    #[test]
    fn what_is_styled_becomes_markdown_and_comes_back() {
        for (body, expected) in [
            ("*strong* _emph_ ~gone~ `code`", "**strong** _emph_ ~~gone~~ `code`"),
            ("*_both_*", "**_both_**"),
            ("one\n*two*\n\nthree", "one\\\n**two**\n\nthree"),
            ("> tea?\n> > milk?\nyes", "> tea?\n>\n> > milk?\n\nyes"),
            ("```rust\nlet a = *b;\n```\ndone", "```rust\nlet a = *b;\n```\n\ndone"),
            ("2*3 and *4*", r"2\*3 and **4**"),
        ] {
            assert_eq!(read(body), markdown(expected), "{body}");
        }
        for body in ["*strong* _emph_ ~gone~ `code`", "*_both_*", "> tea?\n\nyes", "```rust\nlet a = *b;\n```\n\ndone"]
        {
            assert_eq!(write(&read(body)), (body.to_owned(), false));
        }
    }

    #[test]
    fn what_is_not_styled_stays_as_it_is() {
        for body in
            ["2 * 3 * 4", "snake_case_name", "**", "* a\n* b", "*unclosed", "a*b*c", "* x*", "*x *", "<b> & # 1.", "``"]
        {
            assert_eq!(read(body), Text::Plain(body.into()), "{body}");
        }
    }

    #[test]
    fn what_only_looks_styled_is_marked_as_not_being_it() {
        assert_eq!(write(&Text::Plain("*stars*".into())), ("*stars*".into(), true));
        assert_eq!(write(&Text::Plain("no stars".into())), ("no stars".into(), false));
        assert_eq!(write(&markdown("[@Bob](mimi://b.example/u/bob): **tea**")), ("@Bob: *tea*".into(), false));
        assert_eq!(write(&markdown("[a]: b:c")), ("[a]: b:c".into(), true));
    }

    #[test]
    fn a_line_of_a_hundred_thousand_openings_is_read_in_no_time() {
        for piece in ["*a ", "*a _b ~c `d ", "> ", "*_~"] {
            read(&piece.repeat(100_000 / piece.len()));
        }
        read(&format!("{}x", ">".repeat(100_000)));
    }

    proptest! {
        #[test]
        fn any_body_is_read_and_keeps_its_letters(body in "[a-z *_~`>\n]{0,80}") {
            let letters = |text: &str| text.chars().filter(|c| c.is_alphabetic()).collect::<String>();
            let text = match read(&body) {
                Text::Plain(text) => text,
                Text::Markdown(markdown) => to_text(&markdown, &Marks::NONE),
            };
            // What follows three backticks on their line is the language.
            if !body.contains("```") {
                prop_assert_eq!(letters(&text), letters(&body));
            }
        }
    }
}
