//! HTML ⇄ Markdown.
//!
//! HTML comes from strangers, up to a message's size of it. It is read tag by tag, without building a tree: how deep
//! its elements lie in each other is theirs to choose, and nothing here goes down with them.

use std::cell::RefCell;

use html5ever::{
    tendril::StrTendril,
    tokenizer::{
        BufferQueue, Tag as HtmlTag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
        states::RawKind,
    },
};
use pulldown_cmark::{CowStr, Event, LinkType, Tag, TagEnd};

use super::{
    Marks, may_be_linked, read, to_text,
    writer::{Mark, Writer},
};

/// Elements deeper than this are their text.
const DEEPEST: usize = 100;

/// HTML as Markdown. `link` answers where a link leads for people elsewhere, or `None` if it is to be its text.
/// `None` if nothing is said, or if Markdown can't say it in the same words.
pub fn from_html(html: &str, link: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let reader = Reader { link, state: RefCell::default() };
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(html));
    let tokenizer = Tokenizer::new(reader, TokenizerOpts::default());
    let _ = tokenizer.feed(&input);
    tokenizer.end();
    let mut state = tokenizer.sink.state.into_inner();
    // What is never closed ends here.
    for closed in std::mem::take(&mut state.open).into_iter().rev() {
        state.close(&closed);
    }
    let markdown = state.writer.finish();
    // Not every text can be written so that everybody's Markdown reads it as it was. Then the formatting is not worth it.
    let only_words = Marks { targets: false, ..Marks::NONE };
    let same = to_text(&markdown, &only_words).chars().filter(|c| is_word(*c)).eq(state.words.chars());
    (same && !state.words.is_empty()).then_some(markdown)
}

/// Not digits: the numbers of a list are Markdown's.
fn is_word(c: char) -> bool {
    c.is_alphabetic()
}

struct Reader<'a> {
    link: &'a dyn Fn(&str) -> Option<String>,
    state: RefCell<State>,
}

#[derive(Default)]
struct State {
    writer: Writer,
    /// The elements that are open and mean something.
    open: Vec<String>,
    /// The text of a `pre` or `code` that is open, and its language.
    code: Option<(String, String)>,
    /// Inside of this, nothing is said: `script`, `mx-reply`, ….
    unsaid: Option<String>,
    /// Cells in this row so far.
    cells: usize,
    /// What was written, to compare.
    words: String,
}

impl TokenSink for Reader<'_> {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        let state = &mut *self.state.borrow_mut();
        match token {
            Token::CharacterTokens(text) => state.text(&text),
            Token::TagToken(tag) if tag.kind == TagKind::EndTag => state.end(&tag.name),
            Token::TagToken(tag) => return state.start(&tag, self.link),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

impl State {
    fn text(&mut self, text: &str) {
        if self.unsaid.is_some() {
            return;
        }
        if let Some((code, _)) = &mut self.code {
            code.push_str(text);
            return;
        }
        let mut collapsed = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                ' ' | '\n' | '\t' | '\r' | '\x0c' if collapsed.ends_with(' ') => {}
                ' ' | '\n' | '\t' | '\r' | '\x0c' => collapsed.push(' '),
                c => collapsed.push(c),
            }
        }
        self.say(&collapsed);
    }

    fn say(&mut self, text: &str) {
        self.words.extend(text.chars().filter(|c| is_word(*c)));
        self.writer.text(text);
    }

    fn start(&mut self, tag: &HtmlTag, link: &dyn Fn(&str) -> Option<String>) -> TokenSinkResult<()> {
        let name = &*tag.name;
        let attribute = |name: &str| tag.attrs.iter().find(|it| &*it.name.local == name).map(|it| it.value.to_string());
        let raw = match name {
            "script" => Some(RawKind::ScriptData),
            "style" | "xmp" | "iframe" | "noembed" | "noframes" => Some(RawKind::Rawtext),
            "title" | "textarea" => Some(RawKind::Rcdata),
            _ => None,
        };
        let hidden = raw.is_some() || matches!(name, "mx-reply" | "head" | "template" | "object" | "svg" | "math");
        if hidden && self.unsaid.is_none() && !tag.self_closing {
            self.unsaid = Some(name.to_owned());
        }
        if let Some(raw) = raw {
            return TokenSinkResult::RawData(raw);
        }
        if self.unsaid.is_some() || (self.code.is_some() && name != "code") {
            return TokenSinkResult::Continue;
        }
        match name {
            "br" => self.writer.line_break(),
            "hr" => self.writer.rule(),
            "img" => {
                let said = attribute("alt").or_else(|| attribute("title")).unwrap_or_default();
                self.say(&said);
            }
            "code" if self.code.is_some() => {
                // The convention of CommonMark, and of every editor of Matrix.
                let classes = attribute("class").unwrap_or_default();
                let language = classes.split_whitespace().find_map(|class| class.strip_prefix("language-"));
                if let (Some((_, of)), Some(language)) = (&mut self.code, language) {
                    language.clone_into(of);
                }
            }
            _ if self.open.len() < DEEPEST => {
                let mut opens = true;
                match name {
                    "b" | "strong" => self.writer.open(Mark::Strong),
                    "i" | "em" => self.writer.open(Mark::Emphasis),
                    "s" | "del" | "strike" => self.writer.open(Mark::Strike),
                    "code" | "pre" => self.code = Some(Default::default()),
                    "blockquote" => self.writer.open_quote(),
                    "ul" => self.writer.open_list(None),
                    "ol" => {
                        let first = attribute("start").and_then(|start| start.parse().ok());
                        self.writer.open_list(Some(first.unwrap_or(1)));
                    }
                    "li" => self.writer.item(),
                    "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => {
                        self.writer.heading(usize::from(name.as_bytes()[1] - b'0'));
                    }
                    "a" => match attribute("href").and_then(|href| link(&href)).filter(|href| may_be_linked(href)) {
                        Some(target) => self.writer.open_link(&target),
                        None => opens = false,
                    },
                    "tr" => self.cells = 0,
                    "td" | "th" => {
                        if self.cells > 0 {
                            self.say(" | ");
                        }
                        self.cells += 1;
                    }
                    // As people mark it where there is no better way.
                    "span" if tag.attrs.iter().any(|it| &*it.name.local == "data-mx-spoiler") => self.say("||"),
                    "p" | "div" | "table" | "section" | "article" | "details" | "summary" | "figure" | "dl" | "dt"
                    | "dd" | "caption" => self.writer.paragraph(),
                    _ => opens = false,
                }
                if opens {
                    self.open.push(name.to_owned());
                }
            }
            _ => {}
        }
        TokenSinkResult::Continue
    }

    fn end(&mut self, name: &str) {
        if let Some(unsaid) = &self.unsaid {
            if unsaid == name {
                self.unsaid = None;
            }
            return;
        }
        // A closing tag closes what is open inside of its element.
        let Some(at) = self.open.iter().rposition(|open| open == name) else { return };
        for closed in self.open.split_off(at).into_iter().rev() {
            self.close(&closed);
        }
    }

    fn close(&mut self, name: &str) {
        match name {
            "b" | "strong" => self.writer.close(Mark::Strong),
            "i" | "em" => self.writer.close(Mark::Emphasis),
            "s" | "del" | "strike" => self.writer.close(Mark::Strike),
            "code" | "pre" => {
                let (code, language) = self.code.take().unwrap_or_default();
                self.words.extend(code.chars().filter(|c| is_word(*c)));
                match name {
                    "code" => self.writer.code(&code),
                    _ => self.writer.code_block(&language, &code),
                }
            }
            "blockquote" => self.writer.close_quote(),
            "ul" | "ol" => self.writer.close_list(),
            "a" => self.writer.close_link(),
            "tr" => self.writer.line_break(),
            "span" => self.say("||"),
            "td" | "th" => {}
            _ => self.writer.paragraph(),
        }
    }
}

/// Markdown as HTML. `link` as in [`from_html`]. An image is a link to it: nobody's client fetches what a stranger says.
pub fn to_html(markdown: &str, link: &dyn Fn(&str) -> Option<String>) -> String {
    let target = |target: &str| link(target).filter(|target| may_be_linked(target));
    // Whether each link that is open is one.
    let mut links = Vec::new();
    let shown = read(markdown).filter_map(|event| match event {
        Event::Start(Tag::Link { dest_url, .. } | Tag::Image { dest_url, .. }) => {
            let dest_url = target(&dest_url);
            links.push(dest_url.is_some());
            let dest_url = dest_url?.into();
            Some(Event::Start(Tag::Link {
                link_type: LinkType::Inline,
                dest_url,
                title: CowStr::Borrowed(""),
                id: CowStr::Borrowed(""),
            }))
        }
        Event::End(TagEnd::Link | TagEnd::Image) => links.pop().unwrap_or_default().then_some(Event::End(TagEnd::Link)),
        // Who typed a new line wanted one.
        Event::SoftBreak => Some(Event::HardBreak),
        other => Some(other),
    });
    let mut out = String::with_capacity(markdown.len() * 2);
    pulldown_cmark::html::push_html(&mut out, shown);
    out.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_it_is(target: &str) -> Option<String> {
        Some(target.to_owned())
    }

    fn markdown(html: &str) -> String {
        from_html(html, &as_it_is).unwrap_or_default()
    }

    #[test]
    fn what_editors_write_comes_out_as_what_it_is() {
        for (html, expected) in [
            ("Hello <b>you</b>", "Hello **you**"),
            ("<p>one</p>\n<p>two<br>three</p>\n", "one\n\ntwo\\\nthree"),
            ("<strong><em>both</em></strong> and <del>none</del>", "**_both_** and ~~none~~"),
            (
                "<ul>\n<li>tea</li>\n<li>milk\n<ol start=\"2\"><li>cold</li></ol></li>\n</ul>",
                "- tea\n- milk\n  2. cold",
            ),
            ("<blockquote>\n<p>tea?</p>\n</blockquote>\n<p>yes</p>", "> tea?\n\nyes"),
            ("<pre><code class=\"language-rust\">let a = 1 &lt; 2;\n</code></pre>", "```rust\nlet a = 1 < 2;\n```"),
            ("Tea <pre>at four", "Tea\n\n```\nat four\n```"),
            ("Tea <code>at <b>four", "Tea `at four`"),
            ("use <code>a_b</code>", "use `a_b`"),
            ("<h2>Tea</h2>now", "## Tea\n\nnow"),
            ("<a href=\"https://a.example/x\">here</a>", "[here](https://a.example/x)"),
            ("a *star* &lt;b&gt;", r"a \*star\* &lt;b>"),
            ("<mx-reply><blockquote>old</blockquote></mx-reply>new <i>words</i>", "new _words_"),
            ("<span data-mx-spoiler>she did it</span>", r"\|\|she did it\|\|"),
            ("<table><tr><th>a</th><th>b</th></tr><tr><td>1</td><td>2</td></tr></table>", "a \\| b\\\n1 \\| 2"),
            ("שלום <b>עולם</b> 你好", "שלום **עולם** 你好"),
        ] {
            assert_eq!(markdown(html), expected, "{html}");
        }
    }

    #[test]
    fn nothing_that_does_something_passes() {
        for (html, expected) in [
            ("a<script>alert(1)</script>b", "ab"),
            ("a<style>b{}</style><iframe src=x>c</iframe>", "a"),
            ("<a href=\"javascript:alert(1)\">x</a>", "x"),
            ("<a href=\"data:text/html,x\">x</a>", "x"),
            ("<img src=x onerror=alert(1) alt=\"cat\">", "cat"),
            ("<b onclick=x>b</b>", "**b**"),
            ("<p>&lt;script&gt;", "&lt;script>"),
            ("<!-- <b>no</b> -->x", "x"),
            ("<svg><script>1</script></svg>x", "x"),
        ] {
            assert_eq!(markdown(html), expected, "{html}");
        }
    }

    #[test]
    fn elements_as_deep_as_a_message_can_hold_are_read() {
        let deep = format!("{}deep{}", "<blockquote><b>".repeat(5_000), "</b></blockquote>".repeat(5_000));
        assert!(markdown(&deep).ends_with("deep**") || markdown(&deep).ends_with("deep"));
        assert_eq!(markdown(&"<div>".repeat(20_000)), "");
    }

    #[test]
    fn markdown_becomes_html_without_anything_of_its_writers() {
        let html = |markdown| to_html(markdown, &as_it_is);
        assert_eq!(html("a <img src=x> b"), "<p>a &lt;img src=x&gt; b</p>");
        assert_eq!(html("<script>\nalert(1)\n</script>"), "&lt;script&gt;\nalert(1)\n&lt;/script&gt;");
        assert_eq!(html("~~no~~ `<yes>`"), "<p><del>no</del> <code>&lt;yes&gt;</code></p>");
        assert_eq!(
            html("[x](javascript:alert(1)) [y](https://y.example)"),
            "<p>x <a href=\"https://y.example\">y</a></p>"
        );
        assert_eq!(html("![cat](https://c.example/cat.png)"), "<p><a href=\"https://c.example/cat.png\">cat</a></p>");
        assert_eq!(html("one\ntwo"), "<p>one<br />\ntwo</p>");
    }
}
