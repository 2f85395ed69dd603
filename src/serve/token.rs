//! The bearer token that a listener asks for.

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;

use crate::config::Secret;

/// The digest of a token, or none, which lets everybody in.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Token(Option<[u8; 32]>);

impl std::fmt::Debug for Token {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Token(***)")
    }
}

impl Token {
    /// Of a key of the configuration; empty for none.
    #[must_use]
    pub fn new(secret: &Secret) -> Self {
        Self((!secret.is_empty()).then(|| Sha256::digest(secret.expose()).into()))
    }

    /// Whether a request with `headers` may come in: its `authorization` is `Bearer` and the token.
    ///
    /// Digests are compared, of equal length and in constant time: how long it takes depends on
    /// the length of what was sent alone.
    #[must_use]
    pub fn allows(&self, headers: &HeaderMap) -> bool {
        let Some(wanted) = &self.0 else {
            return true;
        };
        let given = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
        let Some((scheme, token)) = given.and_then(|given| given.split_at_checked(7)) else {
            return false;
        };
        let digest: [u8; 32] = Sha256::digest(token.trim_ascii()).into();
        scheme.eq_ignore_ascii_case(b"Bearer ") && digest.ct_eq(wanted).into()
    }
}

#[cfg(test)]
mod tests {
    use super::Token;
    use crate::config::Secret;
    use axum::http::{HeaderMap, HeaderValue, header::AUTHORIZATION};

    fn allows(token: &str, header: Option<&str>) -> bool {
        let value = header.map(|header| HeaderValue::from_str(header).unwrap());
        let headers: HeaderMap = value
            .map(|value| (AUTHORIZATION, value))
            .into_iter()
            .collect();
        Token::new(&Secret::new(token)).allows(&headers)
    }

    #[test]
    fn only_the_same_token_is_the_same() {
        assert!(allows("token", Some("Bearer token")) && allows("token", Some("bearer token")));
        assert!(allows("", None) && allows("", Some("Bearer whatever")));
        for wrong in [
            "",
            "Bearer",
            "Bearer ",
            "Bearer tokem",
            "Bearer toke",
            "Bearer tokens",
        ] {
            assert!(!allows("token", Some(wrong)), "{wrong:?}");
        }
        for wrong in ["token", "Basic token", "Bearer: token"] {
            assert!(!allows("token", Some(wrong)), "{wrong:?}");
        }
        assert!(!allows("token", None));
        assert_eq!(
            format!("{:?}", Token::new(&Secret::new("canary"))),
            "Token(***)"
        );
    }
}
