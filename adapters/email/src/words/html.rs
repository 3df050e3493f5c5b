//! HTML as the lines that its author saw.
//!
//! Mail programs mark what they quote and what they append, each in its own way; here that becomes what
//! [`Line`] has for it. Of the rest only what Markdown can say is kept. Read tag by tag, like in `markup`: how deep
//! elements lie in each other is up to strangers.

use std::cell::RefCell;

use html5ever::{
    tendril::StrTendril,
    tokenizer::{
        BufferQueue, Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts, states::RawKind,
    },
};

use super::lines::{Line, Role, unquoted};

/// Elements that are remembered. What lies deeper is read without.
const DEEPEST: usize = 256;

/// Classes and ids, and what they mean: Gmail, Thunderbird, Outlook (web, mobile), K-9, Apple, Proton, Yahoo, Zimbra.
const MARKS: [(&str, Mark); 20] = [
    ("gmail_attr", Mark::Role(Role::Attribution)),
    ("moz-cite-prefix", Mark::Role(Role::Attribution)),
    ("gmail_signature", Mark::Role(Role::Signature)),
    ("gmail_signature_prefix", Mark::Role(Role::Signature)),
    ("moz-signature", Mark::Role(Role::Signature)),
    ("signature", Mark::Role(Role::Signature)),
    ("x_signature", Mark::Role(Role::Signature)),
    ("ms-outlook-mobile-signature", Mark::Role(Role::Signature)),
    ("applemailsignature", Mark::Role(Role::Signature)),
    ("k9mail-signature", Mark::Role(Role::Signature)),
    ("protonmail_signature_block", Mark::Role(Role::Signature)),
    ("yahoo-signature", Mark::Role(Role::Signature)),
    ("tutanota-signature", Mark::Role(Role::Signature)),
    ("yahoo_quoted", Mark::Quote),
    ("appendonsend", Mark::Role(Role::Divider)),
    ("divrplyfwdmsg", Mark::Role(Role::Divider)),
    ("x_divrplyfwdmsg", Mark::Role(Role::Divider)),
    ("mail-editor-reference-message-container", Mark::Role(Role::Divider)),
    ("ms-outlook-mobile-reference-message", Mark::Role(Role::Divider)),
    ("zwchr", Mark::Role(Role::Divider)),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    Nothing,
    /// What is in it is not shown.
    Hidden,
    Quote,
    Role(Role),
}

/// The lines of a `text/html`.
pub fn read(html: &str) -> Vec<Line> {
    let reader = Reader(RefCell::default());
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(html));
    let tokenizer = Tokenizer::new(reader, TokenizerOpts::default());
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    let mut state = tokenizer.sink.0.into_inner();
    state.end_line(After::Block);
    state.close(0);
    let State { mut lines, line, .. } = state;
    if let Some(last) = lines.last_mut() {
        last.html.push_str(&line.tags);
        last.tags.push_str(&line.tags);
    }
    // Some programs quote here as they do in plain text.
    for line in lines.iter_mut().filter(|line| line.depth == 0) {
        let (depth, text) = unquoted(&line.text, None);
        (line.depth, line.text) = (depth, text.to_owned());
    }
    lines
}

struct Reader(RefCell<State>);

impl TokenSink for Reader {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let state = &mut *self.0.borrow_mut();
        match token {
            Token::CharacterTokens(text) => state.text(&text),
            Token::TagToken(tag) if tag.kind == TagKind::EndTag => state.end(&tag.name),
            Token::TagToken(tag) => return state.start(&tag),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

#[derive(Default)]
struct State {
    lines: Vec<Line>,
    open: Vec<Open>,
    /// How many of the open ones hide what is in them, how many quote it, and how many keep its line breaks.
    hidden: usize,
    depth: usize,
    preformatted: usize,
    /// The line that is being read.
    line: Line,
    /// Whether its first words have been read, so that its depth and role are known.
    begun: bool,
    /// The next words are the first behind a divider.
    divided: bool,
}

struct Open {
    name: String,
    mark: Mark,
    /// It only breaks lines, like `div`.
    bare: bool,
    /// Its tag stays, so its end has to be written too: nobody reads what stands in a `pre` without one.
    kept: bool,
}

/// What ends a line.
#[derive(Clone, Copy, PartialEq)]
enum After {
    /// A `br`: there is a line even if it is empty.
    Break,
    /// A new line, no more.
    Line,
    /// Anything that stands apart, and says so by its tag.
    Block,
}

impl State {
    fn open(&mut self, element: Open) {
        self.count(&element, usize::wrapping_add);
        self.open.push(element);
    }

    /// Closes this element and what is open inside of it, which may not have an end of its own.
    fn close(&mut self, at: usize) {
        for element in self.open.split_off(at).into_iter().rev() {
            self.count(&element, usize::wrapping_sub);
            if element.kept {
                self.tag(&format!("</{}>", element.name));
            }
        }
    }

    fn count(&mut self, element: &Open, one: fn(usize, usize) -> usize) {
        self.hidden = one(self.hidden, usize::from(element.mark == Mark::Hidden));
        self.depth = one(self.depth, usize::from(element.mark == Mark::Quote));
        self.preformatted = one(self.preformatted, usize::from(element.name == "pre"));
    }

    fn text(&mut self, text: &str) {
        if self.hidden > 0 {
            return;
        }
        if self.preformatted > 0 {
            for (n, line) in text.split('\n').enumerate() {
                if n > 0 {
                    self.end_line(After::Break);
                }
                self.say(line.trim_end_matches('\r'));
            }
            return;
        }
        let mut collapsed = String::with_capacity(text.len());
        for c in text.chars() {
            let is_space = matches!(c, ' ' | '\n' | '\t' | '\r' | '\x0c');
            let after_space = match collapsed.chars().next_back() {
                Some(before) => before == ' ',
                None => self.line.text.is_empty() || self.line.text.ends_with(' '),
            };
            match is_space {
                true if after_space => {}
                true => collapsed.push(' '),
                false => collapsed.push(c),
            }
        }
        self.say(&collapsed);
    }

    fn say(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        if !text.trim().is_empty() {
            self.begin();
        }
        self.line.text.push_str(text);
        escape(text, &mut self.line.html);
    }

    /// What is seen first in a line says where the line is.
    fn begin(&mut self) {
        if std::mem::replace(&mut self.begun, true) {
            return;
        }
        self.line.depth = self.depth;
        self.line.role = self.open.iter().rev().find_map(|open| match open.mark {
            Mark::Role(role) => Some(role),
            _ => None,
        });
        if std::mem::take(&mut self.divided) {
            self.line.role = Some(Role::Divider);
        }
    }

    fn picture(&mut self, src: &str, alt: &str) {
        match src.strip_prefix("cid:") {
            // It is one of the mail's files.
            Some(content_id) => {
                self.begin();
                self.line.pictures.push(content_id.to_owned());
            }
            None if src.starts_with("data:") => {}
            None => self.say(alt),
        }
    }

    fn start(&mut self, tag: &Tag) -> TokenSinkResult<()> {
        let name = &*tag.name;
        let attribute = |name: &str| tag.attrs.iter().find(|it| &*it.name.local == name).map(|it| &*it.value);
        let raw = match name {
            "script" => Some(RawKind::ScriptData),
            "style" | "xmp" | "iframe" | "noembed" | "noframes" => Some(RawKind::Rawtext),
            "title" | "textarea" => Some(RawKind::Rcdata),
            _ => None,
        };
        let mut mark = mark(name, &attribute);
        if raw.is_some() || matches!(name, "head" | "template" | "object" | "svg" | "math") {
            mark = Mark::Hidden;
        }
        // `p`, `li` and cells need no end.
        if matches!(name, "p" | "li" | "td" | "th" | "tr") && self.open.last().is_some_and(|open| open.name == name) {
            self.close(self.open.len() - 1);
        }
        let bare = is_bare(name, &attribute);
        match name {
            "br" => self.end_line(After::Break),
            _ if bare => self.end_line(After::Line),
            _ if is_block(name) => self.end_line(After::Block),
            _ => {}
        }
        // What a divider begins has no end, so it is the next line's and not its element's.
        if mark == Mark::Role(Role::Divider) {
            self.divided = true;
            mark = Mark::Nothing;
        }
        // An end that is not written is one only outside of HTML.
        let ended = is_void(name) || (tag.self_closing && matches!(name, "svg" | "math"));
        if !ended && (self.open.len() < DEEPEST || raw.is_some()) {
            let kept = is_kept(name) && !bare && self.hidden == 0 && mark != Mark::Hidden;
            if kept {
                self.tag(&written(name, &attribute));
            }
            self.open(Open { name: name.to_owned(), mark, bare, kept });
        }
        if self.hidden == 0 && mark != Mark::Hidden {
            match name {
                "td" | "th" if self.begun => self.say(" | "),
                "img" => self.picture(attribute("src").unwrap_or_default(), attribute("alt").unwrap_or_default()),
                _ => {}
            }
        }
        raw.map_or(TokenSinkResult::Continue, TokenSinkResult::RawData)
    }

    fn end(&mut self, name: &str) {
        // What is not open in this cell is not closed by what stands in it ("in scope", HTML §13.2.4.2).
        let ends_scope = |open: &Open| match name {
            "table" => false,
            "td" | "th" | "tr" | "tbody" | "thead" | "tfoot" => open.name == "table",
            _ => matches!(&*open.name, "td" | "th" | "caption" | "table"),
        };
        let found = self.open.iter().rposition(|open| open.name == name || ends_scope(open));
        let Some(at) = found.filter(|at| self.open[*at].name == name) else { return };
        match name {
            _ if self.open[at].bare => self.end_line(After::Line),
            _ if is_block(name) => self.end_line(After::Block),
            _ => {}
        }
        self.close(at);
    }

    fn tag(&mut self, tag: &str) {
        self.line.html.push_str(tag);
        self.line.tags.push_str(tag);
    }

    fn end_line(&mut self, after: After) {
        let is_blank = self.line.is_blank();
        // Outlook fills an empty line with a space that does not break.
        let is_nothing = is_blank && self.line.pictures.is_empty() && !self.line.text.contains('\u{a0}');
        if is_nothing && after != After::Break {
            // What has been opened or closed since the last line belongs to the next one.
            self.line.text.clear();
            self.line.html.clone_from(&self.line.tags);
            return;
        }
        let in_code = self.preformatted > 0 && self.open.iter().any(|open| open.name == "pre" && !open.bare);
        let depth = self.depth;
        let mut line = std::mem::take(&mut self.line);
        if !std::mem::take(&mut self.begun) {
            line.depth = depth;
        }
        match after {
            _ if in_code => line.html.push('\n'),
            _ if is_blank => line.html = format!("{}<p></p>", line.tags),
            After::Break | After::Line => line.html.push_str("<br>"),
            After::Block => {}
        }
        self.lines.push(line);
    }
}

/// A tag with those of its attributes that Markdown has too.
fn written<'t>(name: &str, attribute: &impl Fn(&str) -> Option<&'t str>) -> String {
    let kept = match name {
        "a" => "href",
        "ol" => "start",
        _ => return format!("<{name}>"),
    };
    let mut value = String::new();
    escape(attribute(kept).unwrap_or_default(), &mut value);
    format!("<{name} {kept}=\"{value}\">")
}

/// Whether it only breaks lines: `div`, and what some programs use for that.
fn is_bare<'t>(name: &str, attribute: &impl Fn(&str) -> Option<&'t str>) -> bool {
    let class = attribute("class").unwrap_or_default();
    match name {
        "div" | "tr" => true,
        "p" => class.starts_with("Mso") || class.starts_with("x_Mso"),
        "pre" => class.split_whitespace().any(|class| class == "moz-quote-pre"),
        _ => false,
    }
}

fn mark<'t>(name: &str, attribute: &impl Fn(&str) -> Option<&'t str>) -> Mark {
    let style = attribute("style").unwrap_or_default();
    if style.contains("display:none") || style.contains("display: none") || attribute("hidden").is_some() {
        return Mark::Hidden;
    }
    if name == "blockquote" {
        return Mark::Quote;
    }
    let named = |by: &str| attribute(by).unwrap_or_default().to_ascii_lowercase();
    let (class, id) = (named("class"), named("id"));
    class
        .split_whitespace()
        .chain([id.as_str()])
        .find_map(|is| MARKS.iter().find(|(name, _)| *name == is).map(|(_, mark)| *mark))
        .unwrap_or(Mark::Nothing)
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
}

/// Whether Markdown has it too, so that it stays in [`Line::html`].
fn is_kept(name: &str) -> bool {
    matches!(
        name,
        "a" | "b"
            | "blockquote"
            | "code"
            | "del"
            | "em"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "i"
            | "li"
            | "ol"
            | "p"
            | "pre"
            | "s"
            | "strike"
            | "strong"
            | "ul"
    )
}

/// Whether it begins a line and ends one.
fn is_block(name: &str) -> bool {
    matches!(
        name,
        "address"
            | "article"
            | "aside"
            | "blockquote"
            | "body"
            | "center"
            | "dd"
            | "div"
            | "dl"
            | "dt"
            | "fieldset"
            | "figure"
            | "footer"
            | "form"
            | "h1"
            | "h2"
            | "h3"
            | "h4"
            | "h5"
            | "h6"
            | "header"
            | "hr"
            | "li"
            | "main"
            | "ol"
            | "p"
            | "pre"
            | "section"
            | "table"
            | "ul"
    )
}

/// Whether it has no end.
fn is_void(name: &str) -> bool {
    matches!(
        name,
        "area"
            | "base"
            | "br"
            | "col"
            | "embed"
            | "hr"
            | "img"
            | "input"
            | "link"
            | "meta"
            | "param"
            | "source"
            | "wbr"
    )
}
