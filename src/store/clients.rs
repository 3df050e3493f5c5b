//! The MLS clients we run, and the rows openmls keeps for their leaves.

use super::{StoreError, Tx, seal, tx::column};
use crate::{
    mimi::uri::{ClientUri, UserUri},
    mls::Owner,
};

/// A client as the database has it. It never changes.
#[derive(Clone)]
pub struct ClientRow {
    pub uri: ClientUri,
    pub public_key: Vec<u8>,
    pub private_key: Vec<u8>,
}

impl Tx {
    pub async fn client_of(&mut self, user: &UserUri) -> Result<Option<ClientRow>, StoreError> {
        if let Some(known) = self.known.clients.get(user) {
            return Ok(Some(known));
        }
        let row = sqlx::query("SELECT uri, public_key, private_key FROM client WHERE user_uri = $1")
            .bind(user.as_str())
            .fetch_optional(self.connection())
            .await?;
        let Some(row) = row else { return Ok(None) };
        let client = ClientRow {
            uri: ClientUri::parse(&column::<String>(&row, 0)?).map_err(|e| StoreError::corrupt("client", e))?,
            public_key: seal::open("client", &[user.as_str().as_bytes(), b"public"], column(&row, 1)?)?,
            private_key: seal::open("client", &[user.as_str().as_bytes(), b"private"], column(&row, 2)?)?,
        };
        self.known.clients.keep(user.clone(), client.clone());
        Ok(Some(client))
    }

    pub async fn add_client(&mut self, user: &UserUri, client: &ClientRow) -> Result<(), StoreError> {
        // Another process may have made one meanwhile; then this fails, and the next try finds that.
        sqlx::query("INSERT INTO client (uri, user_uri, public_key, private_key) VALUES ($1, $2, $3, $4)")
            .bind(client.uri.as_str())
            .bind(user.as_str())
            .bind(seal::seal(&[user.as_str().as_bytes(), b"public"], client.public_key.clone()))
            .bind(seal::seal(&[user.as_str().as_bytes(), b"private"], client.private_key.clone()))
            .execute(self.connection())
            .await?;
        Ok(())
    }

    pub async fn new_mls_owner(&mut self, what: &'static str) -> Result<Owner, StoreError> {
        let (id,) = sqlx::query_as::<_, (i64,)>("INSERT INTO mls_owner (what) VALUES ($1) RETURNING id")
            .bind(what)
            .fetch_one(self.connection())
            .await?;
        Ok(id)
    }

    pub async fn mls_rows(&mut self, owner: Owner) -> Result<Vec<(Vec<u8>, Vec<u8>)>, StoreError> {
        let rows = sqlx::query_as::<_, (Vec<u8>, Vec<u8>)>("SELECT key, value FROM mls_row WHERE owner = $1")
            .bind(owner)
            .fetch_all(self.connection())
            .await?;
        let open = |(key, value): (Vec<u8>, Vec<u8>)| {
            let value = seal::open("mls_row", &[&owner.to_be_bytes(), &key], value)?;
            Ok((key, value))
        };
        rows.into_iter().map(open).collect()
    }

    /// Of a row that is saved again in the same commit only the last is written.
    pub fn save_mls_rows(&mut self, owner: Owner, changes: Vec<(Vec<u8>, Option<Vec<u8>>)>) {
        for (key, value) in changes {
            self.behind.mls.put((owner, key), value);
        }
    }
}
