//! link_preview_policy: what may be looked up about links (R§6.3).

use super::{Optionality, Unless};
use crate::mimi::tls::{Reader, Tls, WireError, Writer, tls_struct};

/// The `link_preview_policy` component; an update is the whole of it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkPreviewPolicy {
    pub autodetect_hyperlinks_in_text: Optionality,
    pub send_link_previews: Optionality,
    pub automatic_link_previews: Optionality,
    pub link_preview_proxy_use: Unless<LinkPreviewProxy>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkPreviewProxy {
    /// One URI, or none (D26).
    pub link_preview_proxy: Vec<String>,
}
tls_struct!(LinkPreviewProxy { link_preview_proxy });

impl Tls for LinkPreviewPolicy {
    fn write(&self, out: &mut Writer) {
        self.autodetect_hyperlinks_in_text.write(out);
        self.send_link_previews.write(out);
        self.automatic_link_previews.write(out);
        self.link_preview_proxy_use.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        Ok(Self {
            autodetect_hyperlinks_in_text: from.field("autodetect_hyperlinks_in_text")?,
            send_link_previews: from.field("send_link_previews")?,
            automatic_link_previews: from.field("automatic_link_previews")?,
            link_preview_proxy_use: Unless::read("link_preview_proxy_use", from)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{hold, octets};

    #[test]
    fn a_policy_has_these_octets() {
        let policy = |link_preview_proxy_use| LinkPreviewPolicy {
            autodetect_hyperlinks_in_text: Optionality::Optional,
            send_link_previews: Optionality::Required,
            automatic_link_previews: Optionality::Forbidden,
            link_preview_proxy_use,
        };
        hold(&policy(Unless::Forbidden), &octets("00 01 02 02"));
        let proxy = |all: &[&str]| LinkPreviewProxy { link_preview_proxy: all.iter().map(|it| (*it).into()).collect() };
        hold(&policy(Unless::Required(proxy(&["p"]))), &octets("00 01 02 01 02 0170"));
        hold(&policy(Unless::Optional(proxy(&[]))), &octets("00 01 02 00 00"));
    }
}
