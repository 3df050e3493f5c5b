//! Files: put where the server keeps those of its people (XEP-0363), and read from there.
//!
//! What somebody shares here is an address in a message. Anybody can write any address, and whoever fetches it stands
//! inside the organisation; so a file is read only from where this server's own upload service has its files, which
//! its slots tell. Any other address is carried as what it is, a link.

use std::{
    collections::BTreeSet,
    io,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::TryStreamExt;
use mimi_adapter::{
    BoxError, Event, File, NativeMessageId, Octets, Opened, Refusal, Source, Text, async_trait,
    file::{CHUNK, size_in_words},
};
use minidom::Element;
use reqwest::{
    Client, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, EXPIRES, HeaderName},
    redirect,
};
use tokio_util::io::{ReaderStream, StreamReader};
use tracing::{debug, info};
use xmpp_parsers::jid::{BareJid, Jid};

use crate::{
    component::{Failure, Link},
    from_native::Shared,
    stanza::{self, ElementExt, ns},
};

/// How long a file may come. If nothing comes for as long as a request may take, it is over before.
const TRANSFER: Duration = Duration::from_secs(3600);
const PATIENCE: Duration = Duration::from_secs(20);

/// An address that does not answer is asked so often. More would hold up everything that is said in the conversation.
const TRIES: usize = 3;
const PAUSE: Duration = Duration::from_secs(2);

pub struct Files {
    http: Client,
    component: BareJid,
    domains: Vec<BareJid>,
    service: Mutex<Option<Service>>,
}

/// The server's place for files.
#[derive(Clone, Debug)]
struct Service {
    jid: Jid,
    /// The largest file, in octets.
    most: u64,
    /// Where its files are: scheme, host and port.
    origins: BTreeSet<String>,
}

/// Where to put a file, and where it will be.
struct Slot {
    put: Url,
    get: Url,
    headers: Vec<(HeaderName, String)>,
}

/// A file at the upload service, whose headers may have been read already.
struct Uploaded {
    http: Client,
    url: Url,
    looked_at: Mutex<Option<Response>>,
}

impl Files {
    /// Fails if the machine has no working TLS.
    pub fn new(component: BareJid, domains: Vec<BareJid>) -> Result<Self, reqwest::Error> {
        // The server is a neighbour: a proxy from the environment is for the world outside.
        let http = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .connect_timeout(PATIENCE)
            .read_timeout(PATIENCE)
            .timeout(TRANSFER)
            .build()?;
        Ok(Self { http, component, domains, service: Mutex::new(None) })
    }

    /// The largest file, as far as we know.
    pub fn most(&self) -> u64 {
        self.known().as_ref().map_or(u64::MAX, |service| service.most)
    }

    /// What was found out may be different on the next connection.
    pub fn reset(&self) {
        *self.known() = None;
    }

    fn known(&self) -> MutexGuard<'_, Option<Service>> {
        self.service.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the upload service, and where its files are.
    pub async fn learn(&self, link: &Link) {
        match self.service(link).await {
            Ok(service) => info!(service = %service.jid, most = service.most, "Files are kept here."),
            Err(refusal) => info!(%refusal, "Files can't be shared for now."),
        }
    }

    async fn service(&self, link: &Link) -> Result<Service, Refusal> {
        if let Some(known) = self.known().clone() {
            return Ok(known);
        }
        let us = Jid::from(self.component.clone());
        for domain in &self.domains {
            let server = Jid::from(domain.clone());
            let items = link.ask("get", &us, &server, stanza::element("query", ns::DISCO_ITEMS)).await;
            let listed: Vec<Jid> = items
                .iter()
                .flat_map(|it| it.children())
                .flat_map(Element::children)
                .filter_map(|item| item.jid("jid"))
                .collect();
            for jid in std::iter::once(server).chain(listed) {
                let Ok(info) = link.ask("get", &us, &jid, stanza::element("query", ns::DISCO_INFO)).await else {
                    continue;
                };
                let Some(most) = upload_limit(&info) else { continue };
                let mut service = Service { jid, most, origins: BTreeSet::new() };
                // Where its files are, nothing says but a slot.
                let slot = slot(link, &service, &us, "mimi", 1, "text/plain").await?;
                service.origins.insert(origin(&slot.get));
                *self.known() = Some(service.clone());
                return Ok(service);
            }
        }
        Err(Refusal::reject("the XMPP server has no place for files (XEP-0363)"))
    }

    /// Puts a delivery's file where people can fetch it, in the name of `ghost`. Answers its address.
    pub async fn put(&self, link: &Link, ghost: &Jid, file: &File) -> Result<String, Refusal> {
        let service = self.service(link).await?;
        let fits = |size: u64| match size > service.most {
            true => Err(Refusal::reject(format!(
                "it is larger than the {} that the XMPP server takes",
                size_in_words(service.most)
            ))),
            false => Ok(()),
        };
        // What its sender says, before it is fetched; and what it is.
        fits(file.size.unwrap_or_default())?;
        let Opened { size, octets } = file.octets.open().await?;
        let size = size.unwrap_or_default();
        fits(size)?;
        let name = if file.name.is_empty() { "file" } else { &file.name };
        let slot = slot(link, &service, ghost, name, size, &file.media_type).await?;
        mimi_adapter::failpoint!("xmpp.upload");
        let octets = reqwest::Body::wrap_stream(ReaderStream::with_capacity(octets, CHUNK));
        let mut request = self.http.put(slot.put).header(CONTENT_TYPE, &file.media_type).header(CONTENT_LENGTH, size);
        for (name, value) in slot.headers {
            request = request.header(name, value);
        }
        let answer = request.timeout(file.patience()).body(octets).send().await;
        let status = answer.map_err(|e| Refusal::retry(e.without_url()))?.status();
        match status {
            _ if status.is_success() => {}
            StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNSUPPORTED_MEDIA_TYPE => {
                return Err(Refusal::reject(format!("the XMPP server does not take the file ({status})")));
            }
            _ => return Err(Refusal::retry(format!("the XMPP server has answered {status} to a file"))),
        }
        mimi_adapter::failpoint!("xmpp.uploaded");
        if let Some(service) = self.known().as_mut() {
            service.origins.insert(origin(&slot.get));
        }
        Ok(slot.get.into())
    }

    /// An event with a shared file as the core can have it; a file of elsewhere is the link that it is. `Err` says to its
    /// sender why it can't be had.
    pub async fn look_at(
        &self,
        link: Option<&Link>,
        event: Event<NativeMessageId, Shared>,
    ) -> Result<Event<NativeMessageId>, String> {
        let Event::File { file, caption, in_reply_to } = event else {
            return Ok(event.with_file(|file| file.at(Octets::new(Vec::new()))));
        };
        let Some(url) = self.ours(link, &file.octets.0).await else {
            let url = file.octets.0;
            let text = caption.map_or(url.clone(), |caption| format!("{caption}\n{url}"));
            return Ok(Event::Message { text: Text::Plain(text), in_reply_to });
        };
        let mut tries = TRIES;
        let response = loop {
            tries -= 1;
            match get(&self.http, &url).await {
                Ok(response) => break response,
                Err(Refusal::Retry { source, .. }) if tries > 0 => {
                    debug!(problem = %source, "A file could not be read.");
                    tokio::time::sleep(PAUSE).await;
                }
                Err(Refusal::Retry { source, .. }) => return Err(format!("the file could not be read: {source}")),
                Err(Refusal::Reject { reason }) => return Err(reason),
            }
        };
        let said = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media_type = match said {
            Some(said) if file.media_type.is_empty() => said.to_owned(),
            _ => file.media_type.clone(),
        };
        let size = file.size.or(response.content_length());
        let octets = Octets::new(Uploaded { http: self.http.clone(), url, looked_at: Mutex::new(Some(response)) });
        Ok(Event::File { file: File { media_type, size, ..file.at(octets) }, caption, in_reply_to })
    }

    /// The address, if it is of a file at our server. Where nobody can say where that has its files, nothing is.
    async fn ours(&self, link: Option<&Link>, url: &str) -> Option<Url> {
        let url = Url::parse(url).ok()?;
        if !matches!(url.scheme(), "http" | "https") || !url.username().is_empty() || url.password().is_some() {
            return None;
        }
        let known = self.known().clone();
        let service = match (known, link) {
            (Some(known), _) => known,
            (None, Some(link)) => self.service(link).await.ok()?,
            (None, None) => return None,
        };
        service.origins.contains(&origin(&url)).then_some(url)
    }
}

fn origin(url: &Url) -> String {
    url.origin().ascii_serialization()
}

/// The largest file a service takes, if it is one for files at all.
fn upload_limit(info: &Element) -> Option<u64> {
    let query = info.get_child("query", ns::DISCO_INFO)?;
    let offers = query.children().any(|it| it.name() == "feature" && it.attr("var") == Some(ns::UPLOAD));
    let fields = query.children().filter(|form| form.is("x", ns::DATA_FORMS)).flat_map(Element::children);
    let limit = fields
        .filter(|field| field.attr("var") == Some("max-file-size"))
        .find_map(|field| field.get_child("value", ns::DATA_FORMS)?.text().trim().parse().ok());
    offers.then(|| limit.unwrap_or(u64::MAX))
}

async fn slot(
    link: &Link,
    service: &Service,
    from: &Jid,
    name: &str,
    size: u64,
    media_type: &str,
) -> Result<Slot, Refusal> {
    let request = stanza::element("request", ns::UPLOAD)
        .attribute("filename", name)
        .attribute("size", &size.to_string())
        .attribute("content-type", media_type);
    let answer = link.ask("get", from, &service.jid, request).await.map_err(|failure| match failure {
        // Also what it calls a matter of time, like a quota: the conversation can't wait for tomorrow.
        Failure::Refused { error, .. } => {
            Refusal::reject(format!("the XMPP server does not take the file: {}", error.words()))
        }
        later => later.into(),
    })?;
    read_slot(&answer).ok_or_else(|| Refusal::retry(format!("the answer of {} is no slot", service.jid)))
}

fn read_slot(answer: &Element) -> Option<Slot> {
    let slot = answer.get_child("slot", ns::UPLOAD)?;
    let (put, get) = (slot.get_child("put", ns::UPLOAD)?, slot.get_child("get", ns::UPLOAD)?);
    let url = |of: &Element| Url::parse(of.attr("url")?).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    let header = |header: &Element| {
        let name = header.attr("name")?.parse::<HeaderName>().ok()?;
        // XEP-0363 §5: these three, and no line breaks.
        let value = header.text().replace(['\r', '\n'], "");
        [AUTHORIZATION, COOKIE, EXPIRES].contains(&name).then_some((name, value))
    };
    Some(Slot { put: url(put)?, get: url(get)?, headers: put.children().filter_map(header).collect() })
}

async fn get(http: &Client, url: &Url) -> Result<Response, Refusal> {
    let response = http
        .get(url.clone())
        .send()
        .await
        .map_err(|e| Refusal::Retry { after: None, source: BoxError::from(e.without_url()) })?;
    match response.status() {
        StatusCode::OK => Ok(response),
        StatusCode::NOT_FOUND | StatusCode::GONE => Err(Refusal::reject("the file is not there (any more)")),
        status => Err(Refusal::retry(format!("its server answers {status}"))),
    }
}

#[async_trait]
impl Source for Uploaded {
    async fn open(&self) -> Result<Opened, Refusal> {
        let looked_at = self.looked_at.lock().unwrap_or_else(PoisonError::into_inner).take();
        let response = match looked_at {
            Some(response) => response,
            None => get(&self.http, &self.url).await?,
        };
        let size = response.content_length();
        let octets = response.bytes_stream().map_err(|error| io::Error::other(error.without_url()));
        Ok(Opened { size, octets: Box::pin(StreamReader::new(octets)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_says_where_and_with_which_headers() {
        let answer: Element = "<iq xmlns='jabber:component:accept' type='result'><slot xmlns='urn:xmpp:http:upload:0'>\
            <put url='https://up.b.example/1/pot.jpg'><header name='Authorization'>Bearer a\nb</header>\
            <header name='X-Other'>c</header></put><get url='https://files.b.example/1/pot.jpg'/></slot></iq>"
            .parse()
            .unwrap();
        let slot = read_slot(&answer).unwrap();
        assert_eq!(
            (slot.put.as_str(), slot.get.as_str()),
            ("https://up.b.example/1/pot.jpg", "https://files.b.example/1/pot.jpg")
        );
        assert_eq!(slot.headers, [(AUTHORIZATION, "Bearer ab".to_owned())]);
        for bad in
            ["", "<put url='file:///etc/passwd'/><get url='https://b.example'/>", "<put url='https://b.example'/>"]
        {
            let answer =
                format!("<iq xmlns='jabber:component:accept'><slot xmlns='urn:xmpp:http:upload:0'>{bad}</slot></iq>");
            assert!(read_slot(&answer.parse().unwrap()).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_service_says_what_it_takes() {
        let info = |inside: &str| {
            let info = format!(
                "<iq xmlns='jabber:component:accept'><query xmlns='http://jabber.org/protocol/disco#info'>{inside}</query></iq>"
            );
            upload_limit(&info.parse().unwrap())
        };
        let feature = "<feature var='urn:xmpp:http:upload:0'/>";
        let form = "<x xmlns='jabber:x:data' type='result'><field var='FORM_TYPE' type='hidden'><value>urn:xmpp:http:upload:0</value></field>\
            <field var='max-file-size'><value>10485760</value></field></x>";
        assert_eq!(info(&format!("{feature}{form}")), Some(10_485_760));
        assert_eq!(info(feature), Some(u64::MAX));
        assert_eq!(info(form), None);
    }
}
