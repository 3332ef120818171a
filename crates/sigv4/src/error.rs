//! Why a signature was refused, in the words and under the codes that AWS uses.

/// Why a request's signature was refused.
///
/// Codes and statuses: `shared/api` README, "Errors of the protocol itself". JSON services answer
/// 400 throughout; query services 403 for whoever is not let in, 400 for what cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// No `Authorization` header and no signature in the query string.
    #[error("Missing Authentication Token")]
    Missing,
    /// The signature's parts cannot be read, or some are absent.
    #[error("{0}")]
    Incomplete(String),
    /// No such access key, or a session token that is not the key's.
    #[error("The security token included in the request is invalid.")]
    UnknownKey,
    /// A temporary key whose time is over.
    #[error("The security token included in the request is expired")]
    ExpiredKey,
    /// A date too far off, a scope for something else, or a signature that is not the right one.
    #[error("{0}")]
    Invalid(String),
    /// A presigned request after its `X-Amz-Expires`.
    #[error("{0}")]
    Expired(String),
}

impl VerifyError {
    pub(crate) fn mismatch() -> Self {
        Self::Invalid(
            "The request signature we calculated does not match the signature you provided. Check your AWS Secret \
             Access Key and signing method. Consult the service documentation for details."
                .to_owned(),
        )
    }

    /// Code on JSON protocols (`__type`).
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationTokenException",
            Self::Incomplete(_) => "IncompleteSignatureException",
            Self::UnknownKey => "UnrecognizedClientException",
            Self::ExpiredKey => "ExpiredTokenException",
            Self::Invalid(_) | Self::Expired(_) => "InvalidSignatureException",
        }
    }

    /// Code on query protocols.
    #[must_use]
    pub fn query_code(&self) -> &'static str {
        match self {
            Self::Missing => "MissingAuthenticationToken",
            Self::Incomplete(_) => "IncompleteSignature",
            Self::UnknownKey => "InvalidClientTokenId",
            Self::ExpiredKey => "ExpiredToken",
            Self::Invalid(_) => "SignatureDoesNotMatch",
            Self::Expired(_) => "RequestExpired",
        }
    }

    /// HTTP status on JSON protocols.
    #[must_use]
    pub fn status(&self) -> u16 {
        400
    }

    /// HTTP status on query protocols.
    #[must_use]
    pub fn query_status(&self) -> u16 {
        match self {
            Self::Incomplete(_) | Self::Expired(_) => 400,
            Self::Missing | Self::UnknownKey | Self::ExpiredKey | Self::Invalid(_) => 403,
        }
    }
}
