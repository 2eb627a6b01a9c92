//! The kinds of trouble that a sink may have, and what to do about them.
//!
//! In: errors of sockets, of TLS, of HTTP. Out: a [`Kind`] for metrics, and words that name the remedy.
//! Invariant: the words never hold an address with a password, a token or a secret.
//! Source: RFC 5280, 4.1.2.5 (validity); RFC 6125 (names).

use std::error::Error;
use std::io;

use rustls::{AlertDescription, CertificateError};

use crate::clock::{Clock, Timestamp};
use crate::forward::sink::cut;

/// What kind of trouble. The name is the metric's `kind` label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the name says it")]
pub enum Kind {
    Refused,
    ConnectTimeout,
    NoRoute,
    Dns,
    Timeout,
    LostAck,
    Reset,
    Protocol,
    UnexpectedAnswer,
    Redirect,
    Credentials,
    Missing,
    Mode,
    Full,
    Throttled,
    Server,
    Misfit,
    TlsExpired,
    TlsClock,
    TlsName,
    TlsIssuer,
    Tls,
    ClientId,
    Settings,
    Disk,
}

impl Kind {
    /// The snake_case name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::ConnectTimeout => "connect_timeout",
            Self::NoRoute => "no_route",
            Self::Dns => "dns",
            Self::Timeout => "timeout",
            Self::LostAck => "lost_ack",
            Self::Reset => "reset",
            Self::Protocol => "protocol",
            Self::UnexpectedAnswer => "unexpected_answer",
            Self::Redirect => "redirect",
            Self::Credentials => "credentials",
            Self::Missing => "missing",
            Self::Mode => "mode",
            Self::Full => "full",
            Self::Throttled => "throttled",
            Self::Server => "server",
            Self::Misfit => "misfit",
            Self::TlsExpired => "tls_expired",
            Self::TlsClock => "tls_clock",
            Self::TlsName => "tls_name",
            Self::TlsIssuer => "tls_issuer",
            Self::Tls => "tls",
            Self::ClientId => "client_id",
            Self::Settings => "settings",
            Self::Disk => "disk",
        }
    }

    /// Whether a person has to change something; asking more often than once a minute would not help.
    pub const fn needs_a_person(self) -> bool {
        matches!(
            self,
            Self::Redirect
                | Self::Credentials
                | Self::Missing
                | Self::Mode
                | Self::Full
                | Self::TlsExpired
                | Self::TlsClock
                | Self::TlsName
                | Self::TlsIssuer
                | Self::Tls
                | Self::ClientId
                | Self::Settings
        )
    }
}

/// The first error of type `T` among `error` and its causes, also inside an `io::Error`.
fn find<'e, T: Error + 'static>(error: &'e (dyn Error + 'static)) -> Option<&'e T> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<T>() {
            return Some(found);
        }
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        if let Some(found) = inner.and_then(|inner| find::<T>(inner)) {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// Kind and words of an error on the way to a server; `None` when its kind is none of TLS and sockets.
pub fn transport(error: &(dyn Error + 'static), clock: &dyn Clock) -> Option<(Kind, String)> {
    if let Some(error) = find::<rustls::Error>(error) {
        return Some(tls(error, clock));
    }
    let kind = match find::<io::Error>(error)?.kind() {
        io::ErrorKind::ConnectionRefused => Kind::Refused,
        io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
            Kind::Reset
        }
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkDown => {
            Kind::NoRoute
        }
        io::ErrorKind::UnexpectedEof => Kind::LostAck,
        io::ErrorKind::TimedOut => Kind::ConnectTimeout,
        _ => return None,
    };
    Some((kind, chain(error)))
}

/// The error and its causes, cut.
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        let words = next.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = next.source();
    }
    cut(&text).to_owned()
}

/// What a failed handshake means for the person who has to do something about it.
pub fn tls(error: &rustls::Error, clock: &dyn Clock) -> (Kind, String) {
    let now = clock.now();
    match error {
        rustls::Error::InvalidCertificate(why) => certificate(why, now, clock.trusted()),
        rustls::Error::AlertReceived(
            alert @ (AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateRevoked
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::HandshakeFailure
            | AlertDescription::AccessDenied),
        ) => {
            let why = format!(
                "the server refuses our TLS ({alert:?}); if it asks for a client certificate, set tls.certificate and tls.key, \
                 signed by an authority that it knows"
            );
            (Kind::Tls, why)
        }
        rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)
        | rustls::Error::PeerIncompatible(_) => {
            let why = "the server and we have no version or cipher in common; it must speak TLS 1.2 or 1.3";
            (Kind::Tls, why.to_owned())
        }
        rustls::Error::InvalidMessage(_) => {
            let why = "the server does not speak TLS there; is the port the right one, and https:// or mqtts:// right?";
            (Kind::Tls, why.to_owned())
        }
        other => (Kind::Tls, format!("TLS failed: {other}")),
    }
}

fn certificate(why: &CertificateError, now: Timestamp, trusted: bool) -> (Kind, String) {
    let day = |time: &rustls::pki_types::UnixTime| {
        Timestamp::from_millis(i64::try_from(time.as_secs().saturating_mul(1000)).unwrap_or(i64::MAX))
            .to_string()
    };
    let doubt = if trusted { "" } else { ", and nobody vouches for that clock" };
    match why {
        CertificateError::ExpiredContext { not_after, .. } => {
            let until = day(not_after);
            let why = format!(
                "the server's certificate was valid until {until} and this box's clock says {now}{doubt}; renew the certificate, or set the clock"
            );
            (Kind::TlsExpired, why)
        }
        CertificateError::Expired => {
            let why = format!("the server's certificate has expired; this box's clock says {now}{doubt}");
            (Kind::TlsExpired, why)
        }
        CertificateError::NotValidYetContext { not_before, .. } => {
            let from = day(not_before);
            let why = format!(
                "this box's clock says {now}{doubt}, and the server's certificate begins {from}: set the clock (NTP)"
            );
            (Kind::TlsClock, why)
        }
        CertificateError::NotValidYet => (
            Kind::TlsClock,
            format!(
                "this box's clock says {now}, before the server's certificate begins: set the clock (NTP)"
            ),
        ),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let asked = expected.to_str();
            let found = presented.join(", ");
            let why = format!(
                "the server's certificate is for {found} and not for {asked}; use that name in url, or another certificate"
            );
            (Kind::TlsName, why)
        }
        CertificateError::NotValidForName => {
            (Kind::TlsName, "the server's certificate is for another name than the one in url".to_owned())
        }
        // A signature that does not fit is another authority of the same name.
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            let why = "nobody whom we trust has signed the server's certificate; put the certificate of its authority (PEM) into a file and \
                       name it as tls.ca";
            (Kind::TlsIssuer, why.to_owned())
        }
        other => (Kind::TlsIssuer, format!("the server's certificate is not accepted: {other}")),
    }
}
