//! asset_policy: where files are, and how they are fetched (R§6.4).

use crate::mimi::{
    framing::MediaType,
    tls::{tls_enum, tls_struct},
};

/// The `asset_policy` component; an update is the whole of it anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssetPolicy {
    pub asset_upload_location: AssetUploadLocation,
    pub upload_domains: Vec<ProviderAssetUploadDomains>,
    pub download_privacy: DownloadPrivacy,
    /// In octets, as the other three.
    pub max_image: u64,
    pub max_audio: u64,
    pub max_video: u64,
    pub max_attachment: u64,
    pub forbidden_media_types: Vec<MediaType>,
    /// `None` is any, which an empty list is not (D26).
    pub permitted_media_types: Option<Vec<MediaType>>,
}
tls_struct!(AssetPolicy {
    asset_upload_location,
    upload_domains,
    download_privacy,
    max_image,
    max_audio,
    max_video,
    max_attachment,
    forbidden_media_types,
    permitted_media_types,
});

tls_enum! {
    AssetUploadLocation: "AssetUploadLocation" {
        Unspecified = 0 "unspecified",
        LocalProvider = 1 "localProvider",
        Hub = 2 "hub",
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderAssetUploadDomains {
    pub provider: String,
    pub asset_upload_destinations: Vec<String>,
}
tls_struct!(ProviderAssetUploadDomains { provider, asset_upload_destinations });

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownloadPrivacy {
    pub allowed_download_types: Vec<DownloadPrivacyType>,
    pub forbidden_download_types: Vec<DownloadPrivacyType>,
    pub default_download_type: DownloadPrivacyType,
}
tls_struct!(DownloadPrivacy { allowed_download_types, forbidden_download_types, default_download_type });

tls_enum! {
    DownloadPrivacyType: "DownloadPrivacyType" { Direct = 0 "direct", HubProxy = 1 "hubProxy", Ohttp = 2 "ohttp" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{hold, octets};

    #[test]
    fn a_policy_has_these_octets() {
        let policy = AssetPolicy {
            asset_upload_location: AssetUploadLocation::LocalProvider,
            upload_domains: vec![ProviderAssetUploadDomains {
                provider: "a".into(),
                asset_upload_destinations: vec!["c".into()],
            }],
            download_privacy: DownloadPrivacy {
                allowed_download_types: vec![DownloadPrivacyType::HubProxy, DownloadPrivacyType::Ohttp],
                forbidden_download_types: vec![DownloadPrivacyType::Direct],
                default_download_type: DownloadPrivacyType::HubProxy,
            },
            max_image: 1,
            max_audio: 2,
            max_video: 3,
            max_attachment: 4,
            forbidden_media_types: vec![MediaType::new("x/y")],
            permitted_media_types: None,
        };
        let sizes = "0000000000000001 0000000000000002 0000000000000003 0000000000000004";
        let start = ["01 05 0161 02 0163 02 01 02 01 00 01", sizes, "05 03782f79 00"].concat();
        hold(&policy, &octets(&[&start, "00"].concat()));
        let nothing = AssetPolicy { permitted_media_types: Some(Vec::new()), ..policy };
        hold(&nothing, &octets(&[&start, "01 00"].concat()));
    }
}
