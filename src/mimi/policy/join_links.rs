//! join_link_policy and join_links: coming in by a link (R§6.2).

use crate::mimi::tls::{Reader, Tls, WireError, Writer, tls_struct};

/// The `join_link_policy` component; an update is the whole of it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinLinkPolicy {
    pub on_request: bool,
    pub join_link: String,
    pub multiuser: bool,
    /// In seconds.
    pub expiration: u32,
}
tls_struct!(JoinLinkPolicy { on_request, join_link, multiuser, expiration });

/// The `join_links` component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinLinksData(pub Vec<JoinLink>);

impl Tls for JoinLinksData {
    fn write(&self, out: &mut Writer) {
        self.0.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Tls::read(from).map(Self)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinLink {
    pub join_link: String,
}
tls_struct!(JoinLink { join_link });

/// The one update of a policy component that is a difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinLinksUpdate {
    pub removed_indices: Vec<u32>,
    pub added_links: Vec<JoinLink>,
}
tls_struct!(JoinLinksUpdate { removed_indices = "removedIndices", added_links });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{hold, octets};

    #[test]
    fn links_and_their_policy_have_these_octets() {
        let policy = JoinLinkPolicy { on_request: true, join_link: "l".into(), multiuser: false, expiration: 258 };
        hold(&policy, &octets("01 016c 00 00000102"));
        let link = JoinLink { join_link: "l".into() };
        hold(&JoinLinksData(vec![link.clone(), link.clone()]), &octets("04 016c 016c"));
        hold(&JoinLinksUpdate { removed_indices: vec![7], added_links: vec![link] }, &octets("04 00000007 02 016c"));
    }
}
