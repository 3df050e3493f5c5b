//! The component framework of mls-extensions (X§4, X§6), and the DomainList of ratchet-tree-options (T§3).

use bytes::Bytes;

use crate::mimi::{
    component::ComponentId,
    tls::{Reader, Tls, WireError, Writer, tls_enum, tls_struct},
};

/// The proposal app_data_update (X§4.7).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppDataUpdate {
    pub component_id: ComponentId,
    /// `None` removes what the component has.
    pub update: Option<Bytes>,
}

tls_enum! {
    Operation: "AppDataUpdateOperation" { Update = 1 "update", Remove = 2 "remove" }
}

impl Tls for AppDataUpdate {
    fn write(&self, out: &mut Writer) {
        out.u16(self.component_id);
        match &self.update {
            Some(update) => {
                Operation::Update.write(out);
                update.write(out);
            }
            None => Operation::Remove.write(out),
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let component_id = from.field("component_id")?;
        let update = match from.field("op")? {
            Operation::Update => Some(from.field("update")?),
            Operation::Remove => None,
        };
        Ok(Self { component_id, update })
    }
}

/// The proposal app_ephemeral (X§4.8).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppEphemeral {
    pub component_id: ComponentId,
    pub data: Bytes,
}
tls_struct!(AppEphemeral { component_id, data });

/// The components `app_components` and `safe_aad`: which ones there are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ComponentsList {
    pub component_ids: Vec<ComponentId>,
}
tls_struct!(ComponentsList { component_ids });

/// All of the authenticated_data in a group that has `safe_aad` (D50).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SafeAad {
    /// Sorted by component ID, each once.
    aad_items: Vec<SafeAadItem>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct SafeAadItem {
    component_id: ComponentId,
    aad_item_data: Bytes,
}
tls_struct!(SafeAadItem { component_id, aad_item_data });

impl Tls for SafeAad {
    fn write(&self, out: &mut Writer) {
        self.aad_items.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let aad_items = from.field::<Vec<SafeAadItem>>("aad_items")?;
        if !aad_items.is_sorted_by(|one, next| one.component_id < next.component_id) {
            return Err(WireError::Invalid("the items of a SafeAAD are sorted, each once"));
        }
        Ok(Self { aad_items })
    }
}

/// The data of an AppEphemeral for component 0x0005: which messages were received (X§6.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppAck {
    pub received_ranges: Vec<MessageRange>,
}
tls_struct!(AppAck { received_ranges });

/// Of one sender, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageRange {
    /// A leaf index.
    pub sender: u32,
    pub first_generation: u32,
    pub last_generation: u32,
}
tls_struct!(MessageRange { sender, first_generation, last_generation });

/// The GroupContext extension `ratchet_tree_source_domains`: where ratchet trees may be fetched from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DomainList {
    pub domains: Vec<String>,
}
tls_struct!(DomainList { domains });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{hold, octets};

    // The update is the seed vector of the participant list, §5.4, computed independently.
    #[test]
    fn a_component_is_updated_or_removed() {
        let cathy = hex::encode("mimi://c.example/u/cathy");
        let update = octets(&format!("08 00000001 00000003 00 1d 18 {cathy} 00000002"));
        let proposal = AppDataUpdate { component_id: 0x0022, update: Some(update.clone().into()) };
        hold(&proposal, &[&octets("0022 01 28")[..], &update].concat());
        hold(&AppDataUpdate { component_id: 0x0022, update: None }, &octets("0022 02"));
        assert!(AppDataUpdate::decode(&octets("0022 00")).is_err());
    }

    #[test]
    fn the_others_have_these_octets() {
        hold(&AppEphemeral { component_id: 5, data: Bytes::from_static(&[0xaa]) }, &octets("0005 01aa"));
        hold(&ComponentsList { component_ids: vec![0x20, 0x22] }, &octets("04 0020 0022"));
        let range = MessageRange { sender: 1, first_generation: 2, last_generation: 3 };
        hold(&AppAck { received_ranges: vec![range] }, &octets("0c 00000001 00000002 00000003"));
        let domains = DomainList { domains: vec!["a.example".into(), "b".into()] };
        hold(&domains, &octets("0c 09 612e6578616d706c65 0162"));
    }

    #[test]
    fn authenticated_data_is_sorted_and_has_each_component_once() {
        let item = |component_id| SafeAadItem { component_id, aad_item_data: Bytes::from_static(&[1]) };
        hold(&SafeAad { aad_items: Vec::new() }, &octets("00"));
        hold(&SafeAad { aad_items: vec![item(0x20), item(0xf4b0)] }, &octets("08 0020 0101 f4b0 0101"));
        assert!(SafeAad::decode(&octets("08 f4b0 0101 0020 0101")).is_err());
        assert!(SafeAad::decode(&octets("08 0020 0101 0020 0101")).is_err());
    }
}
