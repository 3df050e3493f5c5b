//! The keys of our OHTTP gateway: one for each week, kept over restarts and forgotten after the next.
//!
//! Whoever has asked for the keys within a week can still use them; nobody is told for longer than a day that they may
//! keep them. Who asks what, and what they get, is as with `proxyDownload`.

use std::sync::Arc;

use crate::{
    core::{Core, Fault},
    provider::ohttp::{Asked, GatewayKey, Sealing, key_id},
    store::Tx,
};

const WEEK: u64 = 7 * 24 * 3600 * 1000;

/// A week, counted from the epoch, and its key.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Week(u64);

impl Week {
    fn of(now: u64) -> Self {
        Self(now / WEEK)
    }

    fn before(self) -> Self {
        Self(self.0.saturating_sub(1))
    }

    fn key_id(self) -> u8 {
        (self.0 % 256) as u8
    }

    fn purpose(self) -> String {
        format!("ohttp {}", self.0)
    }
}

impl Core {
    /// The key configuration that clients should use now.
    pub async fn ohttp_keys(self: &Arc<Self>) -> Result<Vec<u8>, Fault> {
        self.write(|core, tx| {
            Box::pin(async move {
                let week = Week::of(core.now());
                if let Some(key) = ohttp_key(tx, week).await? {
                    return Ok(key.config());
                }
                tx.add_hub_key(&week.purpose(), &rand::random::<[u8; 32]>(), &[]).await?;
                tx.forget_hub_keys("ohttp ", &[week.purpose(), week.before().purpose()]).await?;
                let key = ohttp_key(tx, week).await?.ok_or_else(|| Fault::later("the key of OHTTP is gone again"))?;
                Ok(key.config())
            })
        })
        .await
    }

    /// What an encapsulated request asks for. `None` if we don't have the key it is for, or it is for none.
    pub async fn opened(self: &Arc<Self>, request: &[u8]) -> Result<Option<(Asked, Sealing)>, Fault> {
        let week = Week::of(self.now());
        let Some(week) = [week, week.before()].into_iter().find(|week| key_id(request) == Some(week.key_id())) else {
            return Ok(None);
        };
        let key = self.write(move |_, tx| Box::pin(ohttp_key(tx, week))).await?;
        Ok(key.and_then(|key| key.open(request).ok()))
    }
}

async fn ohttp_key(tx: &mut Tx, week: Week) -> Result<Option<GatewayKey>, Fault> {
    let Some((material, _)) = tx.hub_key(&week.purpose()).await? else { return Ok(None) };
    let material = material.try_into().map_err(|_| Fault::later("the key of OHTTP is damaged"))?;
    Ok(Some(GatewayKey::derive(week.key_id(), &material)))
}
