//! Somebody at one of the messengers, in one conversation.

use std::sync::atomic::{AtomicU64, Ordering};

use mimi_adapter::{ConversationId, NativeMessageId, NativeUserId, UserUri};
use mimi_loopback::frame::{Act, ClientFrame, Received, Shared, Written};

use crate::messenger::{self, Messenger};

#[derive(Clone)]
pub struct Person {
    pub messenger: Messenger,
    name: NativeUserId,
    uri: UserUri,
    conversation: ConversationId,
    direct: Option<UserUri>,
    thread: Option<NativeMessageId>,
}

impl Person {
    /// Somebody who is in the conversation `tea`, or could be.
    pub fn new(name: &str, provider: &str, messenger: &Messenger) -> Self {
        Self {
            messenger: messenger.clone(),
            name: NativeUserId::new(name),
            uri: format!("mimi://{provider}/u/{name}").parse().unwrap(),
            conversation: ConversationId::new("tea"),
            direct: None,
            thread: None,
        }
    }

    pub fn uri(&self) -> &UserUri {
        &self.uri
    }

    pub fn conversation(&self) -> &ConversationId {
        &self.conversation
    }

    /// The same person in another conversation.
    pub fn at(&self, conversation: &str) -> Self {
        Self { conversation: ConversationId::new(conversation), ..self.clone() }
    }

    /// The same person in the one-to-one conversation with somebody's ghost.
    pub fn with(&self, other: &Person) -> Self {
        let conversation = messenger::direct(self.name.as_str(), &other.uri);
        Self { conversation, direct: Some(other.uri.clone()), ..self.clone() }
    }

    /// The same person in the thread under the message with these words.
    pub fn under(&self, words: &str) -> Self {
        self.under_id(self.find(words))
    }

    pub fn under_id(&self, root: NativeMessageId) -> Self {
        Self { thread: Some(root), ..self.clone() }
    }

    /// Writes, and the gateway takes it.
    pub async fn says(&self, text: &str) {
        self.tries_to_say(text).await.unwrap();
    }

    /// Writes, and the gateway says what it thinks of that.
    pub async fn tries_to_say(&self, text: &str) -> Result<(), String> {
        self.messenger.answered(self.posts(text)).await
    }

    /// Writes, whether or not the gateway is there to take it.
    pub fn posts(&self, text: &str) -> u64 {
        let text = written(text);
        self.act(|act| ClientFrame::Say { act, text, reply_to: None })
    }

    pub async fn replies_to(&self, words: &str, text: &str) {
        self.replies_to_id(self.find(words), text).await;
    }

    pub async fn edits(&self, words: &str, text: &str) {
        self.tries_to_edit(words, text).await.unwrap();
    }

    pub async fn tries_to_edit(&self, words: &str, text: &str) -> Result<(), String> {
        self.tries_to_edit_id(self.find(words), text).await
    }

    pub async fn deletes(&self, words: &str) {
        self.tries_to_delete(words).await.unwrap();
    }

    pub async fn tries_to_delete(&self, words: &str) -> Result<(), String> {
        self.tries_to_delete_id(self.find(words)).await
    }

    pub async fn reacts_to(&self, words: &str, emoji: &str) {
        self.tries_to_react_to_id(self.find(words), emoji).await.unwrap();
    }

    /// Takes somebody from elsewhere out of the conversation.
    pub async fn ousts(&self, other: &Person, banned: bool) {
        let user = other.uri.clone();
        self.does(|act| ClientFrame::Oust { act, user, banned }).await.unwrap();
    }

    /// Asks the gateway itself for something.
    pub async fn asks(&self, words: &str) {
        let words = words.to_owned();
        self.does(|act| ClientFrame::Ask { act, words, manages: false }).await.unwrap();
    }

    /// The same, without waiting.
    pub fn asks_unanswered(&self, words: &str) -> u64 {
        let words = words.to_owned();
        self.act(|act| ClientFrame::Ask { act, words, manages: false })
    }

    /// The same, as somebody who may change the conversation itself.
    pub async fn demands(&self, words: &str) {
        let words = words.to_owned();
        self.does(|act| ClientFrame::Ask { act, words, manages: true }).await.unwrap();
    }

    /// Gives the conversation a name.
    pub async fn names_it(&self, name: &str) {
        let name = name.to_owned();
        self.does(|act| ClientFrame::Name { act, name }).await.unwrap();
    }

    /// The same, whether or not the gateway is there to take it.
    pub fn names_it_offline(&self, name: &str) -> u64 {
        let name = name.to_owned();
        self.act(|act| ClientFrame::Name { act, name })
    }

    pub async fn sets_topic(&self, topic: &str) {
        let topic = topic.to_owned();
        self.does(|act| ClientFrame::Topic { act, topic }).await.unwrap();
    }

    /// Waits until the conversation is called so.
    pub async fn finds_it_called(&self, name: &str) {
        self.messenger.is_described(&self.conversation, "name", name).await;
    }

    /// Takes a reaction back.
    pub async fn unlikes(&self, emoji: &str) {
        let replaces = self.find(emoji);
        self.does(|act| ClientFrame::Unlike { act, replaces }).await.unwrap();
    }

    /// Shares a file, and the gateway takes it.
    pub async fn shares(&self, name: &str, octets: &[u8], caption: Option<&str>) {
        self.tries_to_share(name, octets, caption).await.unwrap();
    }

    pub async fn tries_to_share(&self, name: &str, octets: &[u8], caption: Option<&str>) -> Result<(), String> {
        self.messenger.answered(self.posts_file(name, octets, caption)).await
    }

    /// Shares a file, whether or not the gateway is there to take it.
    pub fn posts_file(&self, name: &str, octets: &[u8], caption: Option<&str>) -> u64 {
        static FILES: AtomicU64 = AtomicU64::new(0);
        let at = format!("shared-{}", FILES.fetch_add(1, Ordering::Relaxed));
        std::fs::write(self.messenger.files().join(&at), octets).unwrap();
        let media_type = if name.ends_with(".jpg") { "image/jpeg" } else { "application/pdf" };
        let (name, media_type, size) = (name.to_owned(), media_type.to_owned(), Some(octets.len() as u64));
        let file = Shared { at, name, media_type, size, attachment: false };
        let caption = caption.map(str::to_owned);
        self.act(|act| ClientFrame::Share { act, file, caption, reply_to: None })
    }

    /// The octets of the file that is called so in the conversation.
    pub fn octets(&self, name: &str) -> Vec<u8> {
        self.messenger.octets(&self.conversation, name)
    }

    // By id, for what has no words here.

    pub async fn replies_to_id(&self, id: NativeMessageId, text: &str) {
        let text = written(text);
        self.does(|act| ClientFrame::Say { act, text, reply_to: Some(id) }).await.unwrap();
    }

    pub async fn tries_to_edit_id(&self, replaces: NativeMessageId, text: &str) -> Result<(), String> {
        let text = written(text);
        self.does(|act| ClientFrame::Edit { act, replaces, text }).await
    }

    pub async fn tries_to_delete_id(&self, replaces: NativeMessageId) -> Result<(), String> {
        self.does(|act| ClientFrame::Delete { act, replaces }).await
    }

    pub async fn tries_to_react_to_id(&self, reply_to: NativeMessageId, emoji: &str) -> Result<(), String> {
        let emoji = emoji.to_owned();
        self.does(|act| ClientFrame::React { act, reply_to, emoji }).await
    }

    /// Has read everything up to the message with these words.
    pub fn reads_up_to(&self, words: &str) {
        self.got(words, true);
    }

    /// Has a device that has got everything up to the message with these words.
    pub fn got_up_to(&self, words: &str) {
        self.got(words, false);
    }

    fn got(&self, words: &str, read: bool) {
        let (conversation, from, up_to) = (self.conversation.clone(), self.name.clone(), self.find(words));
        self.messenger.says_aside(ClientFrame::Receipt(Received { conversation, from, up_to, read }));
    }

    /// Waits until these receipts, and no others, have come to the conversation, in this order.
    pub async fn sees_receipts(&self, wanted: &[&str]) {
        self.messenger.has_receipts(&self.conversation, wanted).await;
    }

    pub async fn joins(&self) {
        self.tries_to_join().await.unwrap();
    }

    /// Is in the conversation, whatever the gateway says to that.
    pub async fn tries_to_join(&self) -> Result<(), String> {
        self.does(ClientFrame::Join).await
    }

    /// Is in the conversation, and waits for nobody.
    pub fn is_here(&self) {
        self.act(ClientFrame::Join);
    }

    /// Leaves, and waits for nobody.
    pub fn goes(&self) {
        self.act(ClientFrame::Leave);
    }

    pub async fn leaves(&self) {
        self.does(ClientFrame::Leave).await.unwrap();
    }

    /// Waits until this line stands in the conversation.
    pub async fn reads(&self, line: &str) {
        let found = |lines: &[String]| lines.iter().any(|it| it == line).then_some(());
        self.messenger.shows(&self.conversation, line, found).await;
    }

    /// Waits until as many lines as these stand in the conversation, and they have to be these.
    pub async fn sees(&self, lines: &[&str]) {
        let enough = |there: &[String]| (there.len() >= lines.len()).then(|| there.to_vec());
        assert_eq!(self.messenger.shows(&self.conversation, &lines.join("\n"), enough).await, lines);
    }

    /// Waits until these ghosts, and no others, are in the conversation.
    pub async fn is_with(&self, ghosts: &[&str]) {
        self.messenger.has_ghosts(&self.conversation, ghosts).await;
    }

    pub fn transcript(&self) -> Vec<String> {
        self.messenger.transcript(&self.conversation)
    }

    pub fn find(&self, words: &str) -> NativeMessageId {
        self.messenger.find(&self.conversation, words)
    }

    async fn does(&self, frame: impl FnOnce(Act) -> ClientFrame) -> Result<(), String> {
        self.messenger.answered(self.act(frame)).await
    }

    fn act(&self, frame: impl FnOnce(Act) -> ClientFrame) -> u64 {
        let act = Act {
            id: NativeMessageId::new(""),
            conversation: self.conversation.clone(),
            from: self.name.clone(),
            direct: self.direct.clone(),
            thread: self.thread.clone(),
        };
        self.messenger.act(act, frame)
    }
}

fn written(text: &str) -> Written {
    Written { text: text.to_owned(), markdown: false }
}
