//! Markdown, written block by block.

use super::inline::{self, Inline};

/// How deep quotations and lists may lie in each other. What lies deeper is on this level.
const DEEPEST: usize = 20;

/// A kind of emphasis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    Strong,
    Emphasis,
    Strike,
}

/// Writes GFM-MIMI. Whatever is opened need not be closed, and what is closed need not be open.
#[derive(Default)]
pub struct Writer {
    out: String,
    around: Vec<Container>,
    /// How many of them the last line lies in too.
    common: usize,
    /// Opened beyond [`DEEPEST`].
    too_deep: usize,
    /// The block that is being written.
    block: Vec<Inline>,
    /// What stands before the block's text.
    heading: usize,
    /// The next block is the next line, without an empty one between.
    tight: bool,
}

enum Container {
    Quote,
    List {
        /// The number of the next item, if they are numbered.
        next: Option<u64>,
        /// How far an item's text is indented. Zero before the first.
        indent: usize,
        /// The item's marker, until its first block is written.
        marker: Option<String>,
    },
}

impl Writer {
    /// Words, as they are. A line feed is a line break.
    pub fn text(&mut self, text: &str) {
        for (n, line) in text.split('\n').enumerate() {
            if n > 0 {
                self.line_break();
            }
            if !line.is_empty() {
                self.block.push(Inline::Text(line.to_owned()));
            }
        }
    }

    pub fn line_break(&mut self) {
        self.block.push(Inline::Break);
    }

    /// What follows is a paragraph of its own.
    pub fn paragraph(&mut self) {
        let inlines = std::mem::take(&mut self.block);
        let heading = std::mem::take(&mut self.heading);
        let mut text = inline::render(&inlines);
        if heading > 0 {
            text = format!("{} {}", "#".repeat(heading), text.replace("\\\n", " "));
        }
        if !text.trim_end_matches(['#', ' ']).is_empty() {
            self.put(&text);
        }
    }

    /// The paragraph that begins is a heading of this level, 1 to 6.
    pub fn heading(&mut self, level: usize) {
        self.paragraph();
        self.heading = level.clamp(1, 6);
    }

    pub fn rule(&mut self) {
        self.paragraph();
        self.put("***");
    }

    pub fn open(&mut self, mark: Mark) {
        self.block.push(Inline::Open(mark));
    }

    pub fn close(&mut self, mark: Mark) {
        self.block.push(Inline::Close(mark));
    }

    /// `target` is one that [may be linked](super::may_be_linked).
    pub fn open_link(&mut self, target: &str) {
        self.block.push(Inline::OpenLink(target.to_owned()));
    }

    pub fn close_link(&mut self) {
        self.block.push(Inline::CloseLink);
    }

    pub fn code(&mut self, code: &str) {
        if !code.trim().is_empty() {
            self.block.push(Inline::Code(code.replace('\n', " ")));
        }
    }

    pub fn code_block(&mut self, language: &str, code: &str) {
        self.paragraph();
        let fence = "`".repeat(inline::longest_run(code, '`').max(2) + 1);
        let language: String = language.chars().filter(|c| c.is_ascii_alphanumeric() || "+-#.".contains(*c)).collect();
        let code = code.strip_suffix('\n').unwrap_or(code);
        self.put(&format!("{fence}{language}\n{code}\n{fence}"));
    }

    pub fn open_quote(&mut self) {
        self.paragraph();
        self.enter(Container::Quote);
    }

    pub fn close_quote(&mut self) {
        self.leave();
    }

    /// Numbered from `first` on, or with bullets.
    pub fn open_list(&mut self, first: Option<u64>) {
        self.paragraph();
        self.tight |= matches!(self.around.last(), Some(Container::List { .. }));
        self.enter(Container::List { next: first.map(|first| first.min(999_999_999)), indent: 0, marker: None });
    }

    /// The next item of the list.
    pub fn item(&mut self) {
        self.paragraph();
        if let Some(Container::List { next, indent, marker }) = self.around.last_mut() {
            self.tight |= *indent > 0;
            let new = match next {
                Some(number) => {
                    let marker = format!("{number}. ");
                    *number = (*number + 1).min(999_999_999);
                    marker
                }
                None => "- ".to_owned(),
            };
            *indent = new.len();
            *marker = Some(new);
        }
    }

    pub fn close_list(&mut self) {
        self.leave();
    }

    /// Everything that was written.
    pub fn finish(mut self) -> String {
        self.paragraph();
        self.out
    }

    fn enter(&mut self, container: Container) {
        if self.around.len() < DEEPEST { self.around.push(container) } else { self.too_deep += 1 }
    }

    fn leave(&mut self) {
        self.paragraph();
        if self.too_deep > 0 {
            self.too_deep -= 1;
        } else {
            self.around.pop();
            self.common = self.common.min(self.around.len());
        }
        self.tight = false;
    }

    /// One block, each line behind what it lies in.
    fn put(&mut self, block: &str) {
        if !self.out.is_empty() {
            self.out.push('\n');
            if !self.tight {
                let empty = prefix(&mut self.around[..self.common], true);
                self.out.push_str(empty.trim_end());
                self.out.push('\n');
            }
        }
        self.tight = false;
        self.common = self.around.len();
        for (n, line) in block.split('\n').enumerate() {
            if n > 0 {
                self.out.push('\n');
            }
            let before = prefix(&mut self.around, false);
            let whole = format!("{before}{line}");
            self.out.push_str(if line.is_empty() { whole.trim_end() } else { &whole });
        }
    }
}

/// What a line begins with. The first of an item has the marker.
fn prefix(around: &mut [Container], empty: bool) -> String {
    let mut out = String::new();
    for container in around {
        match container {
            Container::Quote => out.push_str("> "),
            Container::List { indent, marker, .. } => match marker.take_if(|_| !empty) {
                Some(marker) => out.push_str(&marker),
                None => out.extend(std::iter::repeat_n(' ', *indent)),
            },
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_lie_in_each_other() {
        let mut writer = Writer::default();
        writer.heading(2);
        writer.text("Tea");
        writer.open_list(None);
        writer.item();
        writer.text("green");
        writer.open_list(Some(3));
        writer.item();
        writer.text("cold");
        writer.item();
        writer.text("hot\nvery");
        writer.close_list();
        writer.item();
        writer.text("black");
        writer.close_list();
        writer.open_quote();
        writer.text("Milk?");
        writer.code_block("rust!", "let a = \"```\";\n\nlet b;\n");
        writer.close_quote();
        writer.text("No.");
        writer.rule();
        let expected = "## Tea\n\n- green\n  3. cold\n  4. hot\\\n     very\n- black\n\n> Milk?\n>\n> ````rust\n> let a = \"```\";\n>\n> let b;\n> ````\n\nNo.\n\n***";
        assert_eq!(writer.finish(), expected);
    }

    #[test]
    fn what_is_never_closed_and_what_was_never_open_does_no_harm() {
        let mut writer = Writer::default();
        writer.close_list();
        writer.close_quote();
        writer.item();
        writer.close(Mark::Strong);
        writer.close_link();
        writer.open(Mark::Emphasis);
        writer.text("tea");
        for _ in 0..100 {
            writer.open_quote();
        }
        writer.text("deep");
        assert_eq!(writer.finish(), format!("_tea_\n\n{}deep", "> ".repeat(DEEPEST)));
    }
}
