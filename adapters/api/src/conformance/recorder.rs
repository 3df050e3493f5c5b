//! A core without rooms: it keeps what it accepts, and refuses when told to.

use std::{
    collections::{BTreeSet, HashMap, HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use async_trait::async_trait;
use tokio::{
    io::AsyncReadExt,
    sync::{mpsc, watch},
};

use super::within;
use crate::{
    Accepted, ConversationId, Core, Cursor, Event, Ghost, Inbound, Inbox, Links, NativeMessageId, NativeUserId, Octets,
    Receipt, Refusal, file::broken_off,
};

/// Stands behind an [`Inbox`] in tests, and keeps the core's rules: what is not linked is rejected, what
/// has been accepted is a duplicate the next time, cursors are remembered.
pub struct Recorder {
    state: Mutex<State>,
    links: watch::Sender<Links>,
    held: watch::Sender<bool>,
    offers: watch::Sender<usize>,
    accepted: mpsc::UnboundedSender<Inbound>,
    receipts: watch::Sender<Vec<Receipt<NativeUserId>>>,
    to_read: tokio::sync::Mutex<mpsc::UnboundedReceiver<Inbound>>,
}

#[derive(Default)]
struct State {
    refusals: VecDeque<Refusal>,
    known: HashSet<(ConversationId, NativeMessageId)>,
    ghosts: HashMap<ConversationId, Vec<Ghost>>,
    cursors: HashMap<ConversationId, Cursor>,
    members: HashMap<ConversationId, BTreeSet<NativeUserId>>,
    not_delivered: Vec<(ConversationId, NativeMessageId, String)>,
}

impl Recorder {
    pub fn new(links: impl IntoIterator<Item = ConversationId>) -> Arc<Self> {
        let (accepted, to_read) = mpsc::unbounded_channel();
        Arc::new(Self {
            state: Mutex::default(),
            links: watch::Sender::new(Arc::new(links.into_iter().collect())),
            held: watch::Sender::new(false),
            offers: watch::Sender::new(0),
            accepted,
            receipts: watch::Sender::default(),
            to_read: tokio::sync::Mutex::new(to_read),
        })
    }

    pub fn inbox(self: &Arc<Self>) -> Inbox {
        Inbox::new(self.clone())
    }

    /// The next event that was accepted as new, in the order of acceptance.
    pub async fn accepted(&self) -> Inbound {
        let mut to_read = self.to_read.lock().await;
        within("the core waits for an event", to_read.recv()).await.expect("the recorder has the sender itself")
    }

    /// Waits for this receipt, whatever others there are.
    pub async fn received(&self, receipt: &Receipt<NativeUserId>) {
        let mut receipts = self.receipts.subscribe();
        let came = receipts.wait_for(|receipts| receipts.contains(receipt));
        within(&format!("the core waits for {receipt:?}"), came).await.expect("the recorder has the sender itself");
    }

    /// Answers the next offer like this; several calls, several offers. Here and below a `Join` or `Leave` is
    /// no offer, since an adapter may report those whenever it connects.
    pub fn refuse_next(&self, refusal: Refusal) {
        self.state().refusals.push_back(refusal);
    }

    /// Lets every offer wait until [`release`](Self::release).
    pub fn hold(&self) {
        self.held.send_replace(true);
    }

    pub fn release(&self) {
        self.held.send_replace(false);
    }

    /// Waits until there have been so many offers since the beginning, whatever their answer.
    pub async fn offered(&self, offers: usize) {
        let mut seen = self.offers.subscribe();
        let offered = seen.wait_for(|so_far| *so_far >= offers);
        within("the core waits to be offered an event", offered).await.expect("the recorder has the sender itself");
    }

    pub fn link(&self, conversation: ConversationId) {
        self.change_links(|links| links.insert(conversation));
    }

    pub fn unlink(&self, conversation: &ConversationId) {
        self.change_links(|links| links.remove(conversation));
    }

    fn change_links(&self, change: impl FnOnce(&mut BTreeSet<ConversationId>) -> bool) {
        self.links.send_if_modified(|links| change(Arc::make_mut(links)));
    }

    /// Who is in the room from elsewhere.
    pub fn set_ghosts(&self, conversation: ConversationId, ghosts: Vec<Ghost>) {
        self.state().ghosts.insert(conversation, ghosts);
    }

    /// What the adapter has reported as not delivered so far: conversation, message and reason.
    pub fn not_delivered_so_far(&self) -> Vec<(ConversationId, NativeMessageId, String)> {
        self.state().not_delivered.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Core for Recorder {
    async fn accept(&self, inbound: Inbound) -> Result<Accepted, Refusal> {
        let comes_or_goes = matches!(inbound.event, Event::Join | Event::Leave);
        if !comes_or_goes {
            self.offers.send_modify(|offers| *offers += 1);
            self.held.subscribe().wait_for(|held| !held).await.expect("the recorder has the sender itself");
        }

        // As the core does: a file is read before its message is accepted.
        let mut inbound = inbound;
        if let Event::File { file, .. } = &mut inbound.event {
            let mut octets = Vec::new();
            let read = file.octets.open().await?.octets.read_to_end(&mut octets).await;
            file.size = Some(read.map_err(broken_off)? as u64);
            file.octets = Octets::new(octets);
        }

        // From here on there is no await: an accept that is cancelled has either happened or not.
        let mut state = self.state();
        if !comes_or_goes && let Some(refusal) = state.refusals.pop_front() {
            return Err(refusal);
        }
        if !self.links.borrow().contains(&inbound.conversation) {
            if inbound.direct.is_none() {
                return Err(Refusal::reject("this conversation is not linked to a room"));
            }
            self.link(inbound.conversation.clone());
        }
        if let Some(cursor) = &inbound.cursor {
            state.cursors.insert(inbound.conversation.clone(), cursor.clone());
        }
        let members = state.members.entry(inbound.conversation.clone()).or_default();
        match inbound.event {
            Event::Leave => members.remove(&inbound.sender),
            _ => members.insert(inbound.sender.clone()),
        };
        if !comes_or_goes && !state.known.insert((inbound.conversation.clone(), inbound.id.clone())) {
            return Ok(Accepted::Duplicate);
        }
        self.accepted.send(inbound).expect("the recorder has the receiver itself");
        Ok(Accepted::New)
    }

    fn links(&self) -> watch::Receiver<Links> {
        self.links.subscribe()
    }

    async fn ghosts(&self, conversation: &ConversationId) -> Result<Vec<Ghost>, Refusal> {
        Ok(self.state().ghosts.get(conversation).cloned().unwrap_or_default())
    }

    async fn cursor(&self, conversation: &ConversationId) -> Result<Option<Cursor>, Refusal> {
        Ok(self.state().cursors.get(conversation).cloned())
    }

    fn receipt(&self, receipt: Receipt<NativeUserId>) {
        self.receipts.send_modify(|receipts| receipts.push(receipt));
    }

    async fn members(&self, conversation: &ConversationId) -> Result<Vec<NativeUserId>, Refusal> {
        Ok(self.state().members.get(conversation).into_iter().flatten().cloned().collect())
    }

    async fn not_delivered(
        &self,
        conversation: &ConversationId,
        message: &NativeMessageId,
        reason: &str,
    ) -> Result<(), Refusal> {
        self.state().not_delivered.push((conversation.clone(), message.clone(), reason.to_owned()));
        Ok(())
    }
}
