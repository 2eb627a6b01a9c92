//! Which certificates a site holds, and which of them will soon be worth nothing.
//!
//! In: lines and sinks with the files of their TLS, the time. Out: a sentence for each that has expired or will within 30 days.
//! Invariant: a file that cannot be read is no finding here: who needs it says so.
//! Source: RFC 5280, 6.1.3: a certificate counts only within its validity.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::bus::{Address, LineSettings};
use crate::clock::{Timestamp, certificate};
use crate::forward::{self, Target};
use crate::site::Site;

/// So long before its end a certificate is told of.
const AHEAD: Duration = Duration::from_secs(30 * 86_400);
const DAY: u64 = 86_400;

/// A file with certificates, and who needs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// `line cabinet`, `sink tsdb`.
    pub who: String,
    /// PEM.
    pub path: PathBuf,
    /// Whose they are.
    pub whose: Whose,
}

/// Whose certificates stand in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Ours, with those that lead to its signer: all of them have to hold.
    Ours,
    /// Of those who may sign the other side's: one of them has to hold.
    Authority,
}

/// One that ends soon, or has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// The code of the diagnostic: `certificate-expired` or `certificate-expires`.
    pub code: &'static str,
    /// Which, whose and when.
    pub text: String,
}

/// The files of one line.
pub fn of_line(line: &LineSettings) -> Vec<Held> {
    let Address::Tls(settings) = &line.address else { return Vec::new() };
    let ours = settings.identity.as_ref().map(|identity| &identity.certificate);
    held(&format!("line {}", line.name), Some(&settings.ca), ours)
}

/// The files of one sink.
pub fn of_sink(sink: &forward::Settings) -> Vec<Held> {
    let tls = match &sink.target {
        Target::Influx { tls, .. } => Some(tls),
        Target::Mqtt(broker) => broker.tls.as_ref(),
        _ => None,
    };
    let Some(tls) = tls else { return Vec::new() };
    held(
        &format!("sink {}", sink.name),
        tls.ca.as_ref(),
        tls.identity.as_ref().map(|(certificate, _)| certificate),
    )
}

/// All that ends soon or has ended.
pub fn endings(site: &Site, now: Timestamp) -> Vec<Ending> {
    let lines = site.lines.iter().flat_map(|line| of_line(&line.settings));
    let all = lines.chain(site.sinks.iter().flat_map(of_sink));
    all.filter_map(|held| ending(&held, now)).collect()
}

/// What is to be said of these certificates.
pub fn ending(held: &Held, now: Timestamp) -> Option<Ending> {
    let ends = ends(&held.path)?;
    let ends = match held.whose {
        Whose::Ours => ends.into_iter().min()?,
        Whose::Authority => ends.into_iter().max()?,
    };
    let (who, path) = (&held.who, held.path.display());
    let what = match held.whose {
        Whose::Ours => format!("our certificate {path} of {who}"),
        Whose::Authority => format!("the authority's certificate {path} of {who}"),
    };
    if ends <= now {
        return Some(Ending { code: "certificate-expired", text: format!("{what} has expired: {ends}") });
    }
    let left = ends.since(now);
    let days = left.as_secs() / DAY;
    let text = || format!("{what} expires in {days} days: {ends}");
    (left <= AHEAD).then(|| Ending { code: "certificate-expires", text: text() })
}

fn held(who: &str, ca: Option<&PathBuf>, ours: Option<&PathBuf>) -> Vec<Held> {
    let of = |path: &PathBuf, whose| Held { who: who.to_owned(), path: path.clone(), whose };
    let ca = ca.map(|path| of(path, Whose::Authority));
    ca.into_iter().chain(ours.map(|path| of(path, Whose::Ours))).collect()
}

/// When each certificate of the file ends; `None` when it cannot be read.
fn ends(path: &Path) -> Option<Vec<Timestamp>> {
    let text = std::fs::read(path).ok()?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&text).collect::<Result<_, _>>().ok()?;
    found.iter().map(|der| certificate::ends(der)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A PEM certificate that ends on the first day of March of that year.
    fn pem(year: i32) -> String {
        let mut params = rcgen::CertificateParams::new(vec!["plc-1".to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(year, 3, 1);
        params.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap().pem()
    }

    #[test]
    fn what_ends_within_thirty_days_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let told = |years: &[i32], whose, now: &str| {
            let path = folder.path().join("some.pem");
            std::fs::write(&path, years.iter().map(|year| pem(*year)).collect::<String>()).unwrap();
            let held = Held { who: "line cabinet".to_owned(), path, whose };
            ending(&held, Timestamp::parse(now).unwrap())
        };
        assert_eq!(told(&[2027], Whose::Ours, "2027-01-29T00:00:00Z"), None);
        let soon = told(&[2028, 2027], Whose::Ours, "2027-02-19T12:00:00Z").unwrap();
        assert_eq!(soon.code, "certificate-expires");
        assert!(
            soon.text.contains("of line cabinet expires in 9 days: 2027-03-01T00:00:00"),
            "{}",
            soon.text
        );
        let over = told(&[2027], Whose::Authority, "2027-03-01T00:00:00Z").unwrap();
        assert_eq!(over.code, "certificate-expired");
        assert_eq!(
            told(&[2027, 2028], Whose::Authority, "2027-03-01T00:00:00Z"),
            None,
            "the other one holds"
        );
        assert_eq!(
            ending(
                &Held { who: String::new(), path: "/no".into(), whose: Whose::Ours },
                Timestamp::default()
            ),
            None
        );
    }
}
