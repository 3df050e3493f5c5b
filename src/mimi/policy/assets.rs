//! asset_policy: where files are, and how they are fetched (R§6.4).

use crate::mimi::{
    framing::MediaType,
    tls::{tls_enum, tls_struct},
    uri::Domain,
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

/// What a room is asked about a file.
#[derive(Clone, Copy, Debug)]
pub struct AssetAsked<'a> {
    /// The provider of who sent it.
    pub provider: &'a Domain,
    /// The host in its URL.
    pub host: &'a Domain,
    /// Type and subtype.
    pub media_type: &'a str,
    pub size: Option<u64>,
}

impl AssetPolicy {
    /// Of a room of ours: everybody keeps their own files, and reads those of others through the hub.
    pub fn ours(hub: &Domain, most: u64) -> Self {
        Self {
            asset_upload_location: AssetUploadLocation::LocalProvider,
            upload_domains: vec![ProviderAssetUploadDomains {
                provider: hub.as_str().into(),
                asset_upload_destinations: vec![hub.as_str().into()],
            }],
            download_privacy: DownloadPrivacy {
                allowed_download_types: vec![DownloadPrivacyType::HubProxy, DownloadPrivacyType::Ohttp],
                forbidden_download_types: vec![DownloadPrivacyType::Direct],
                default_download_type: DownloadPrivacyType::HubProxy,
            },
            max_image: most,
            max_audio: most,
            max_video: most,
            max_attachment: most,
            forbidden_media_types: Vec::new(),
            permitted_media_types: None,
        }
    }

    /// May files of this provider be at this host? A provider that the room has no entry for, because it came after
    /// the policy was written, has its files where it is itself.
    pub fn has_assets_at(&self, provider: &Domain, host: &Domain) -> bool {
        let listed =
            |entry: &ProviderAssetUploadDomains| entry.asset_upload_destinations.iter().any(|it| it == host.as_str());
        let entry = self.upload_domains.iter().find(|entry| entry.provider == provider.as_str());
        match (&self.asset_upload_location, entry) {
            (AssetUploadLocation::Hub, _) => self.upload_domains.iter().any(listed),
            (_, Some(entry)) => listed(entry),
            (_, None) => provider == host,
        }
    }

    /// C-40, C-41, and the room's limits. `Err` says why the room doesn't take the file.
    pub fn check(&self, asked: AssetAsked<'_>) -> Result<(), String> {
        let AssetAsked { provider, host, media_type, size } = asked;
        let anywhere = self.asset_upload_location == AssetUploadLocation::Unspecified;
        if !anywhere && !self.has_assets_at(provider, host) {
            return Err(format!("it is at {host}, and the room takes no files of {provider} from there"));
        }
        let is_it = |listed: &MediaType| listed.media_type.eq_ignore_ascii_case(media_type);
        let permitted = self.permitted_media_types.as_ref().is_none_or(|permitted| permitted.iter().any(is_it));
        if !permitted || self.forbidden_media_types.iter().any(is_it) {
            return Err(format!("the room takes no files of the type {media_type}"));
        }
        let most = self.most(media_type);
        match size {
            Some(size) if size > most => {
                Err(format!("it has {size} octets, and {most} are the most that the room takes"))
            }
            _ => Ok(()),
        }
    }

    /// The largest file of this type, in octets.
    pub fn most(&self, media_type: &str) -> u64 {
        match media_type.split('/').next() {
            Some("image") => self.max_image,
            Some("audio") => self.max_audio,
            Some("video") => self.max_video,
            _ => self.max_attachment,
        }
    }

    /// The ways in which a file may be fetched that we know, the room's default first. Directly is none of ours.
    pub fn ways(&self) -> Vec<DownloadPrivacyType> {
        let DownloadPrivacy { allowed_download_types: allowed, forbidden_download_types: forbidden, .. } =
            &self.download_privacy;
        let may = |way: &DownloadPrivacyType| !forbidden.contains(way) && (allowed.is_empty() || allowed.contains(way));
        let mut ways = vec![DownloadPrivacyType::HubProxy, DownloadPrivacyType::Ohttp];
        ways.retain(may);
        ways.sort_by_key(|way| *way != self.download_privacy.default_download_type);
        ways
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn domain(name: &str) -> Domain {
        Domain::parse(name).unwrap()
    }

    #[test]
    fn a_room_takes_what_its_policy_allows() {
        let (a, b, files) = (domain("a.example"), domain("b.example"), domain("files.b.example"));
        let policy = AssetPolicy::ours(&a, 100);
        let takes = |policy: &AssetPolicy, provider, host, media_type, size| {
            policy.check(AssetAsked { provider, host, media_type, size }).is_ok()
        };
        assert!(takes(&policy, &a, &a, "image/png", Some(100)));
        assert!(takes(&policy, &a, &a, "image/png", None));
        assert!(!takes(&policy, &a, &a, "image/png", Some(101)));
        assert!(!takes(&policy, &a, &b, "image/png", None), "the file of one provider at another");
        assert!(takes(&policy, &b, &b, "image/png", None), "who came later has files where it is");
        assert!(!takes(&policy, &b, &files, "image/png", None));

        let entry = |provider: &str, host: &str| ProviderAssetUploadDomains {
            provider: provider.into(),
            asset_upload_destinations: vec![host.into()],
        };
        let elsewhere = AssetPolicy { upload_domains: vec![entry("b.example", "files.b.example")], ..policy.clone() };
        assert!(takes(&elsewhere, &b, &files, "image/png", None));
        assert!(!takes(&elsewhere, &b, &b, "image/png", None));
        let at_hub = AssetPolicy { asset_upload_location: AssetUploadLocation::Hub, ..policy.clone() };
        assert!(takes(&at_hub, &b, &a, "image/png", None));
        let anywhere = AssetPolicy { asset_upload_location: AssetUploadLocation::Unspecified, ..policy.clone() };
        assert!(takes(&anywhere, &b, &files, "image/png", None));

        let pictures = AssetPolicy { permitted_media_types: Some(vec![MediaType::new("image/png")]), ..policy.clone() };
        assert!(takes(&pictures, &a, &a, "Image/PNG", None));
        assert!(!takes(&pictures, &a, &a, "video/mp4", None));
        let no_films = AssetPolicy { forbidden_media_types: vec![MediaType::new("video/mp4")], max_audio: 5, ..policy };
        assert!(takes(&no_films, &a, &a, "image/png", None));
        assert!(!takes(&no_films, &a, &a, "video/mp4", None));
        assert!(!takes(&no_films, &a, &a, "audio/ogg", Some(6)));
    }

    #[test]
    fn files_are_fetched_by_the_ways_that_the_room_allows_and_its_default_first() {
        use DownloadPrivacyType::{Direct, HubProxy, Ohttp};
        let ours = AssetPolicy::ours(&domain("a.example"), 100);
        let ways = |allowed: &[_], forbidden: &[_], default_download_type| {
            let (allowed_download_types, forbidden_download_types) = (allowed.to_vec(), forbidden.to_vec());
            let download_privacy =
                DownloadPrivacy { allowed_download_types, forbidden_download_types, default_download_type };
            AssetPolicy { download_privacy, ..ours.clone() }.ways()
        };
        assert_eq!(ours.ways(), [HubProxy, Ohttp]);
        assert_eq!(ways(&[HubProxy, Ohttp], &[], Ohttp), [Ohttp, HubProxy]);
        assert_eq!(ways(&[], &[], Direct), [HubProxy, Ohttp]);
        assert_eq!(ways(&[Ohttp], &[Direct, HubProxy], Ohttp), [Ohttp]);
        assert_eq!(ways(&[HubProxy], &[], HubProxy), [HubProxy]);
        assert_eq!(ways(&[], &[Ohttp], Ohttp), [HubProxy]);
        assert_eq!(ways(&[Direct], &[], Direct), []);
    }
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
