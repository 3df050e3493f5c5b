//! Finding somebody by what they are called elsewhere (P§5.8).

use bytes::Bytes;

use super::AppDataDictionary;
use crate::mimi::{
    tls::{Names, Reader, Tls, WireError, Writer, tls_enum, tls_struct},
    uri::IdentifierUri,
};

/// The body of `/identifierQuery`. All its elements have to match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentifierRequest {
    pub query_elements: Vec<QueryElement>,
    pub id_request_extensions: AppDataDictionary,
}
tls_struct!(IdentifierRequest { query_elements, id_request_extensions });

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueryElement {
    pub search: Search,
    pub search_value: String,
}

/// `searchType`, and the name of what is searched where the type leaves that open (D46).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Search {
    Handle,
    Nick,
    Email,
    Phone,
    PartialName,
    WholeProfile,
    /// By `claimName`.
    OidcStdClaim(String),
    /// By `propertyName`.
    VcardField(String),
}

tls_enum! {
    SearchIdentifierType: "SearchIdentifierType" {
        Handle = 1 "handle",
        Nick = 2 "nick",
        Email = 3 "email",
        Phone = 4 "phone",
        PartialName = 5 "partialName",
        WholeProfile = 6 "wholeProfile",
        OidcStdClaim = 7 "oidcStdClaim",
        VcardField = 8 "vcardField",
    }
}

impl Tls for QueryElement {
    fn write(&self, out: &mut Writer) {
        let search_type = match self.search {
            Search::Handle => SearchIdentifierType::Handle,
            Search::Nick => SearchIdentifierType::Nick,
            Search::Email => SearchIdentifierType::Email,
            Search::Phone => SearchIdentifierType::Phone,
            Search::PartialName => SearchIdentifierType::PartialName,
            Search::WholeProfile => SearchIdentifierType::WholeProfile,
            Search::OidcStdClaim(_) => SearchIdentifierType::OidcStdClaim,
            Search::VcardField(_) => SearchIdentifierType::VcardField,
        };
        search_type.write(out);
        if let Search::OidcStdClaim(name) | Search::VcardField(name) = &self.search {
            name.write(out);
        }
        self.search_value.write(out);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        let search = match from.field("searchType")? {
            SearchIdentifierType::Handle => Search::Handle,
            SearchIdentifierType::Nick => Search::Nick,
            SearchIdentifierType::Email => Search::Email,
            SearchIdentifierType::Phone => Search::Phone,
            SearchIdentifierType::PartialName => Search::PartialName,
            SearchIdentifierType::WholeProfile => Search::WholeProfile,
            SearchIdentifierType::OidcStdClaim => Search::OidcStdClaim(from.field("claimName")?),
            SearchIdentifierType::VcardField => Search::VcardField(from.field("propertyName")?),
        };
        Ok(Self { search, search_value: from.field("searchValue")? })
    }
}

/// What `/identifierQuery` answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdentifierResponse {
    pub response_code: IdentifierQueryCode,
    /// Everybody who was found.
    pub uri: Vec<IdentifierUri>,
    /// Of those, who has a profile to be seen (D46).
    pub found_profiles: Vec<UserProfile>,
    pub id_response_extensions: AppDataDictionary,
}
tls_struct!(IdentifierResponse {
    response_code = "responseCode",
    uri,
    found_profiles = "foundProfiles",
    id_response_extensions,
});

/// An IdentifierQueryCode. One we don't know is a failure (D59).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IdentifierQueryCode(pub u8);

impl IdentifierQueryCode {
    pub const SUCCESS: Self = Self(0);
    pub const NOT_FOUND: Self = Self(1);
    pub const AMBIGUOUS: Self = Self(2);
    pub const FORBIDDEN: Self = Self(3);
    pub const UNSUPPORTED_FIELD: Self = Self(4);

    const NAMES: Names =
        &[(0, "success"), (1, "notFound"), (2, "ambiguous"), (3, "forbidden"), (4, "unsupportedField")];
}

impl Tls for IdentifierQueryCode {
    fn write(&self, out: &mut Writer) {
        out.u8(self.0);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, WireError> {
        from.code(Self::NAMES).map(Self)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserProfile {
    pub stable_uri: IdentifierUri,
    pub fields: Vec<ProfileField>,
}
tls_struct!(UserProfile { stable_uri = "stableUri", fields });

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProfileField {
    pub field_source: FieldSource,
    pub field_name: String,
    pub field_value: Bytes,
}
tls_struct!(ProfileField { field_source = "fieldSource", field_name = "fieldName", field_value = "fieldValue" });

tls_enum! {
    /// The numbers are those of the search types (D46).
    FieldSource: "FieldSource" { OidcStdClaim = 7 "oidcStdClaim", VcardField = 8 "vcardField" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mimi::wire::samples::{hold, octets, uri, vector};

    #[test]
    fn a_query_by_handle_and_by_claim() {
        let element = |search, value: &str| QueryElement { search, search_value: value.into() };
        let request = IdentifierRequest {
            query_elements: vec![
                element(Search::Nick, "bob"),
                element(Search::OidcStdClaim("name".into()), "B"),
                element(Search::VcardField("ORG".into()), "C"),
            ],
            id_request_extensions: AppDataDictionary::default(),
        };
        hold(&request, &octets("14 02 03626f62 07 046e616d65 0142 08 034f5247 0143 00"));
        assert!(QueryElement::decode(&octets("00 0142")).is_err());
        assert!(QueryElement::decode(&octets("09 0142")).is_err());
    }

    #[test]
    fn an_answer_with_a_profile() {
        let bob = "mimi://b.example/u/bob";
        let response = IdentifierResponse {
            response_code: IdentifierQueryCode(0),
            uri: vec![bob.parse().unwrap()],
            found_profiles: vec![UserProfile {
                stable_uri: bob.parse().unwrap(),
                fields: vec![ProfileField {
                    field_source: FieldSource::VcardField,
                    field_name: "FN".into(),
                    field_value: Bytes::from_static(b"Bob"),
                }],
            }],
            id_response_extensions: AppDataDictionary::default(),
        };
        let profile = [&uri(bob), "08 08 02464e 03426f62"].concat();
        hold(&response, &octets(&["00", &vector(&uri(bob)), &vector(&profile), "00"].concat()));
    }

    #[test]
    fn an_unknown_answer_is_kept() {
        assert_eq!(IdentifierResponse::decode(&octets("09 00 00 00")).unwrap().response_code, IdentifierQueryCode(9));
    }
}
