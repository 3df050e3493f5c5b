//! A file on its way in: looked at before it is read, read before its message is accepted.

use std::{sync::Arc, time::Duration};

use mimi_adapter::{
    Event, File, Inbound, NativeMessageId, Octets, Refusal,
    file::{AtMost, size_in_words},
};

use super::AdapterDoor;
use crate::{
    assets::{Asset, NotKept, UntilStop},
    core::{Core, Fault},
    event::media_type,
    mimi::policy::AssetAsked,
    store::Tx,
};

/// What comes after a file waits for it. When its octets can't be had for so long, its sender is told.
const PATIENCE: Duration = Duration::from_secs(600);

/// What is found before a file is read.
enum Look {
    /// Its message has been accepted before.
    Duplicate,
    /// It may be this long.
    Most { octets: u64, takes: String },
}

impl AdapterDoor {
    /// Has the octets of a file, if there is one, on our disk. `None` if its message is a duplicate.
    pub(super) async fn keep(&self, inbound: Inbound) -> Result<Option<Inbound<Asset>>, Fault> {
        let (mut asset, mut size) = (Asset::default(), None);
        if let Event::File { file, .. } = &inbound.event {
            let (adapter, looked_at, of) = (self.adapter.clone(), inbound.clone(), file.clone());
            let look = self
                .core
                .write(move |core, tx| Box::pin(async move { core.look_at_file(tx, &adapter, &looked_at, &of).await }));
            let Look::Most { octets, takes } = look.await? else { return Ok(None) };
            let name = format!("{} {} {}", self.adapter, inbound.conversation, inbound.id);
            let kept = self.core.read_file(file, octets, &takes).await;
            let kept = match kept {
                Err(NotKept::Theirs(Refusal::Retry { source, after })) => {
                    if self.core.assets.troubles.last(&name, self.core.now()) > PATIENCE {
                        return Err(Fault::never(format!("the file could not be read: {source}")));
                    }
                    return Err(Fault::Later { problem: source.to_string(), after });
                }
                Err(NotKept::Theirs(refusal) | NotKept::Ours(refusal)) => return Err(refusal.into()),
                Ok(kept) => kept,
            };
            self.core.assets.troubles.end(&name);
            asset = kept.0;
            size = Some(kept.1);
        }
        let Inbound { conversation, direct, id, sender, proof, event, thread, cursor } = inbound;
        let event = event.with_file(|file| File { size, ..file.at(asset) });
        Ok(Some(Inbound { conversation, direct, id, sender, proof, event, thread, cursor }))
    }
}

impl Core {
    async fn read_file(self: &Arc<Self>, file: &File<Octets>, most: u64, takes: &str) -> Result<(Asset, u64), NotKept> {
        let too_large = format!("the file is larger than the {} that {takes}", size_in_words(most));
        let opened = file.octets.open().await.map_err(NotKept::Theirs)?;
        if opened.size.is_some_and(|size| size > most) {
            return Err(NotKept::Theirs(Refusal::reject(too_large)));
        }
        let octets = UntilStop { octets: AtMost::new(opened.octets, most, too_large), core: self.clone() };
        self.assets.keep(Box::pin(octets), self.now()).await
    }

    async fn look_at_file(
        &self,
        tx: &mut Tx,
        adapter: &str,
        inbound: &Inbound,
        file: &File<Octets>,
    ) -> Result<Look, Fault> {
        let mut most = (self.assets.max_size(), "the gateway takes".to_owned());
        if let Some(portal) = tx.portal_of_conversation(adapter, &inbound.conversation).await? {
            let id: &NativeMessageId = &inbound.id;
            if tx.message_of_native(portal.id, id).await?.is_some() {
                return Ok(Look::Duplicate);
            }
            let group = tx.room(&portal.room).await?.and_then(|room| room.group);
            if let Some(group) = group
                && let Some(policy) = self.asset_policy(tx, &group).await?
            {
                let media_type = &media_type(&file.media_type);
                let (provider, host) = (&self.domain, &self.domain);
                policy
                    .check(AssetAsked { provider, host, media_type, size: file.size })
                    .map_err(|refusal| Fault::never(format!("{refusal}, by its policy")))?;
                most = most.min((policy.most(media_type), "the room takes".to_owned()));
            }
        } else if inbound.direct.is_none() {
            return Err(super::not_linked());
        }
        let (octets, takes) = most;
        match file.size {
            Some(size) if size > octets => {
                Err(Fault::never(format!("the file is larger than the {} that {takes}", size_in_words(octets))))
            }
            _ => Ok(Look::Most { octets, takes }),
        }
    }
}
