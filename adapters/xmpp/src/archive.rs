//! A room's archive (XEP-0313), read in pages (XEP-0059).

use minidom::Element;
use uuid::Uuid;
use xmpp_parsers::jid::Jid;

use crate::{
    component::{Failure, Link},
    id::ReadUpTo,
    stanza::{self, ElementExt, ns},
};

/// Servers give less at a time where they want to; Prosody's limit is 50.
const PAGE: &str = "50";

/// A page, oldest message first.
pub struct Page {
    pub messages: Vec<Archived>,
    /// Nothing comes after it.
    pub complete: bool,
}

pub struct Archived {
    pub read: ReadUpTo,
    pub id: String,
    pub message: Element,
}

/// The first page of what came after `read`.
pub async fn after(link: &Link, reader: &Jid, archive: &Jid, read: &ReadUpTo) -> Result<Page, Failure> {
    if let Some(id) = &read.archive_id {
        let set = stanza::element("set", ns::RSM).child(stanza::element("after", ns::RSM).says(id));
        match page(link, reader, archive, None, set).await {
            // The archive has forgotten that message, but perhaps not what came after it.
            Err(Failure::Refused { error, .. }) if error.is("item-not-found") => {}
            answer => return answer,
        }
    }
    page(link, reader, archive, Some(&read.stamp), stanza::element("set", ns::RSM)).await
}

/// The page before the message `id`, or the last one.
pub async fn before(link: &Link, reader: &Jid, archive: &Jid, id: Option<&str>) -> Result<Page, Failure> {
    let before = stanza::element("before", ns::RSM);
    let before = if let Some(id) = id { before.says(id) } else { before };
    page(link, reader, archive, None, stanza::element("set", ns::RSM).child(before)).await
}

async fn page(link: &Link, reader: &Jid, archive: &Jid, start: Option<&str>, set: Element) -> Result<Page, Failure> {
    let id = Uuid::new_v4().to_string();
    let mut query = stanza::element("query", ns::MAM).attribute("queryid", &id);
    if let Some(start) = start {
        query = query.child(since(start));
    }
    let query = query.child(set.child(stanza::element("max", ns::RSM).says(PAGE)));
    let (results, answer) = link.query(reader, archive, &id, query).await?;
    let fin = answer.get_child("fin", ns::MAM);
    let messages = results.iter().filter_map(archived).collect::<Vec<_>>();
    let complete = messages.is_empty() || fin.and_then(|fin| fin.attr("complete")) == Some("true");
    Ok(Page { messages, complete })
}

fn since(start: &str) -> Element {
    let field = |name, value: &str| {
        let field = stanza::element("field", ns::DATA_FORMS).attribute("var", name);
        field.child(stanza::element("value", ns::DATA_FORMS).says(value))
    };
    let form = stanza::element("x", ns::DATA_FORMS).attribute("type", "submit");
    form.child(field("FORM_TYPE", ns::MAM)).child(field("start", start))
}

fn archived(result: &Element) -> Option<Archived> {
    let id = result.attr("id")?.to_owned();
    let forwarded = result.get_child("forwarded", ns::FORWARD)?;
    let stamp = forwarded.get_child("delay", ns::DELAY)?.attr("stamp")?.to_owned();
    let message = forwarded.get_child("message", ns::STANZA)?.clone();
    Some(Archived { read: ReadUpTo { stamp, archive_id: Some(id.clone()) }, id, message })
}
