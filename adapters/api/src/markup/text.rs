//! Markdown as text, with a mark for each kind of formatting or with none.

use pulldown_cmark::{CodeBlockKind, Event, Tag, TagEnd};

use super::read;

/// What stands around emphasised words and code.
pub struct Marks {
    pub strong: &'static str,
    pub emphasis: &'static str,
    pub strike: &'static str,
    pub code: &'static str,
    /// A line of its own before a block of code and after it.
    pub block: &'static str,
    /// Whether where a link leads stands behind its words.
    pub targets: bool,
}

impl Marks {
    /// For people who are shown words and nothing else.
    pub const NONE: Self = Self { strong: "", emphasis: "", strike: "", code: "", block: "", targets: true };
}

/// What people read, without what they don't. Quotations and lists keep their look.
pub fn to_text(markdown: &str, marks: &Marks) -> String {
    let mut text = Text { marks, out: String::new(), around: Vec::new(), due: Due::Nothing, links: Vec::new() };
    for event in read(markdown) {
        text.event(event);
    }
    text.out
}

struct Text<'a> {
    marks: &'a Marks,
    out: String,
    around: Vec<Around>,
    due: Due,
    /// Where the links that are open lead, and where their words begin.
    links: Vec<(String, usize)>,
}

enum Around {
    Quote,
    List(Option<u64>),
    /// How far it is indented.
    Item(usize),
}

/// What comes before the next words.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Due {
    Nothing,
    Line,
    Paragraph,
}

impl Text<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.start(tag),
            Event::End(end) => self.end(end),
            Event::Text(text) => self.say(&text),
            Event::Code(code) => {
                let mark = self.marks.code;
                self.say(&format!("{mark}{code}{mark}"));
            }
            Event::SoftBreak | Event::HardBreak => self.due(Due::Line),
            Event::Rule => {
                self.due(Due::Paragraph);
                self.say("---");
                self.due(Due::Paragraph);
            }
            Event::TaskListMarker(done) => self.say(if done { "[x] " } else { "[ ] " }),
            _ => {}
        }
    }

    fn start(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Paragraph | Tag::Heading { .. } | Tag::HtmlBlock => self.begin_block(),
            Tag::BlockQuote(_) => {
                self.begin_block();
                self.around.push(Around::Quote);
            }
            Tag::CodeBlock(kind) => {
                self.begin_block();
                if !self.marks.block.is_empty() {
                    let language = match kind {
                        CodeBlockKind::Fenced(language) => language.to_string(),
                        CodeBlockKind::Indented => String::new(),
                    };
                    self.say(&format!("{}{language}", self.marks.block));
                    self.due(Due::Line);
                }
            }
            Tag::List(first) => {
                let nested = matches!(self.around.last(), Some(Around::Item(_)));
                self.due(if nested { Due::Line } else { Due::Paragraph });
                self.around.push(Around::List(first));
            }
            Tag::Item => {
                self.due(Due::Line);
                let marker = match self.around.last_mut() {
                    Some(Around::List(Some(number))) => {
                        *number += 1;
                        format!("{}. ", *number - 1)
                    }
                    _ => "• ".to_owned(),
                };
                self.say(&marker);
                self.around.push(Around::Item(marker.chars().count()));
            }
            Tag::TableHead | Tag::TableRow => self.due(Due::Line),
            Tag::Table(_) => self.begin_block(),
            Tag::TableCell => {}
            Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. } => {
                self.say("");
                self.links.push((dest_url.to_string(), self.out.len()));
            }
            tag => self.mark(&tag.to_end()),
        }
    }

    fn end(&mut self, end: TagEnd) {
        match end {
            TagEnd::Paragraph | TagEnd::Heading(_) | TagEnd::HtmlBlock | TagEnd::Table => self.due(Due::Paragraph),
            TagEnd::BlockQuote(_) | TagEnd::List(_) => {
                self.around.pop();
                let nested = matches!(self.around.last(), Some(Around::Item(_)));
                self.due(if nested { Due::Line } else { Due::Paragraph });
            }
            TagEnd::Item => {
                self.around.pop();
                self.due = Due::Line;
            }
            TagEnd::CodeBlock => {
                if !self.marks.block.is_empty() {
                    self.due(Due::Line);
                    self.say(self.marks.block);
                }
                self.due(Due::Paragraph);
            }
            TagEnd::TableCell => self.say(" | "),
            TagEnd::TableHead | TagEnd::TableRow => {
                let kept = self.out.trim_end_matches(" | ").len();
                self.out.truncate(kept);
                self.due(Due::Line);
            }
            TagEnd::Link | TagEnd::Image => {
                let Some((target, begun)) = self.links.pop() else { return };
                let words = self.out.get(begun..).unwrap_or_default();
                // Whom a mention is about stands there already; the address is for programs.
                let unsaid = target.starts_with("mimi:") || !self.marks.targets;
                if words.trim().is_empty() && self.marks.targets {
                    self.say(&target);
                } else if !unsaid && words.trim() != target && format!("mailto:{}", words.trim()) != target {
                    self.say(&format!(" ({target})"));
                }
            }
            end => self.mark(&end),
        }
    }

    fn mark(&mut self, end: &TagEnd) {
        self.say(match end {
            TagEnd::Strong => self.marks.strong,
            TagEnd::Emphasis => self.marks.emphasis,
            TagEnd::Strikethrough => self.marks.strike,
            _ => "",
        });
    }

    /// In an item, the first block is on the marker's line.
    fn begin_block(&mut self) {
        let at_marker =
            matches!(self.around.last(), Some(Around::Item(_))) && self.out.ends_with(' ') && self.due == Due::Nothing;
        if !at_marker {
            self.due(Due::Paragraph);
        }
    }

    fn due(&mut self, due: Due) {
        if due > self.due {
            self.due = due;
        }
    }

    fn say(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        let lines = match std::mem::replace(&mut self.due, Due::Nothing) {
            _ if self.out.is_empty() => 0,
            Due::Nothing => 0,
            Due::Line => 1,
            Due::Paragraph => 2,
        };
        if self.out.is_empty() || lines > 0 {
            for n in 0..lines.max(1) {
                if lines > 0 {
                    self.out.push('\n');
                }
                let before = self.prefix();
                self.out.push_str(if n + 1 < lines { before.trim_end() } else { &before });
            }
        }
        for (n, line) in text.split('\n').enumerate() {
            if n > 0 && line.is_empty() && text.ends_with('\n') && text.split('\n').count() == n + 1 {
                self.due(Due::Line);
                break;
            }
            if n > 0 {
                self.out.push('\n');
                let before = self.prefix();
                self.out.push_str(if line.is_empty() { before.trim_end() } else { &before });
            }
            self.out.push_str(line);
        }
    }

    fn prefix(&self) -> String {
        self.around
            .iter()
            .map(|around| match around {
                Around::Quote => "> ".to_owned(),
                Around::List(_) => String::new(),
                Around::Item(indent) => " ".repeat(*indent),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_stay_and_marks_go() {
        for (markdown, text) in [
            ("**Now** or _never_, `code` and ~~not~~", "Now or never, code and not"),
            ("# Tea\n\none\ntwo\n\nthree", "Tea\n\none\ntwo\n\nthree"),
            ("- a\n- b\n  1. c\n  2. d\n\nend", "• a\n• b\n  1. c\n  2. d\n\nend"),
            ("- [ ] a\n- [x] b", "• [ ] a\n• [x] b"),
            ("> q1\n> q2\n>\n> q3\n\nanswer", "> q1\n> q2\n>\n> q3\n\nanswer"),
            ("```rust\nlet a;\n\nlet b;\n```\nend", "let a;\n\nlet b;\n\nend"),
            ("see [here](https://a.example), <https://b.example>", "see here (https://a.example), https://b.example"),
            ("Kudos to [@Alice](mimi://a.example/u/alice)!", "Kudos to @Alice!"),
            ("a <b>x</b> &lt;", "a <b>x</b> <"),
            ("| a | b |\n|---|---|\n| 1 | 2 |", "a | b\n1 | 2"),
            ("one\n\n---\n\ntwo", "one\n\n---\n\ntwo"),
        ] {
            assert_eq!(to_text(markdown, &Marks::NONE), text, "{markdown}");
        }
    }
}
