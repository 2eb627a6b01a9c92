//! Certificates that end soon: `check` warns of them, and the running gateway says so. By the real binary.

#![expect(clippy::disallowed_methods, reason = "processes live in real time")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lifeline_gateway::clock::{Clock, SystemClock, Timestamp};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};

use crate::reload_live::free_port;

/// Ends the process it holds.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Writes a certificate that ends so many days from now, and its key.
fn certify(folder: &Path, name: &str, days: i64) {
    let ends = Timestamp::from_millis(SystemClock::new().now().as_millis() + days * 86_400_000).to_string();
    let [year, month, day]: [&str; 3] = ends[..10].split('-').collect::<Vec<_>>().try_into().unwrap();
    let mut params = CertificateParams::new(vec!["plc-1".to_owned()]).unwrap();
    params.not_after = date_time_ymd(year.parse().unwrap(), month.parse().unwrap(), day.parse().unwrap());
    let key = KeyPair::generate().unwrap();
    std::fs::write(folder.join(format!("{name}.pem")), params.self_signed(&key).unwrap().pem()).unwrap();
    std::fs::write(folder.join(format!("{name}.key")), key.serialize_pem()).unwrap();
}

fn documents(folder: &Path) {
    let path = |file: &str| folder.join(file).display().to_string();
    let site = format!(
        "[[line]]\nname = \"cabinet\"\ntls = {{ to = \"127.0.0.1:1\", ca = \"{}\", certificate = \"{}\", key = \"{}\", name = \"plc-1\" }}\n\
         [[device]]\nname = \"plc\"\nline = \"cabinet\"\nslave = 1\nprofile = \"one\"\nevery = \"1s\"\n",
        path("ca.pem"),
        path("soon.pem"),
        path("soon.key")
    );
    let profile = "[profile]\nname = \"one\"\nclass = \"io\"\nmaker = \"test\"\nsource = \"test\"\n[[point]]\nname = \"x\"\nat = \"holding 0x0010\"\ntype = \"u16\"\n";
    let settings = format!(
        "[site]\nname = \"tls\"\n[journal]\npath = \"journal\"\n[console]\nlisten = \"127.0.0.1:{}\"\n\
         [[sink]]\nname = \"broker\"\nkind = \"mqtt\"\nurl = \"mqtts://127.0.0.1:1\"\ntls = {{ ca = \"{}\", certificate = \"{}\", key = \"{}\" }}\n",
        free_port(),
        path("ca.pem"),
        path("over.pem"),
        path("over.key")
    );
    for (name, text) in
        [("site/site.toml", site.as_str()), ("profiles/one.toml", profile), ("gateway.toml", &settings)]
    {
        std::fs::create_dir_all(folder.join(name).parent().unwrap()).unwrap();
        std::fs::write(folder.join(name), text).unwrap();
    }
}

/// The binary with the documents of `folder`.
pub(crate) fn lifeline(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeline"));
    command.args(["--config", "gateway.toml", "--site", "site", "--profiles", "profiles"]);
    command.current_dir(folder).stderr(Stdio::null());
    command
}

fn said(folder: &Path, arguments: &[&str]) -> String {
    let output = lifeline(folder).args(arguments).stderr(Stdio::piped()).output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[test]
fn certificates_that_end_are_told_by_check_and_by_the_running_gateway() {
    let temporary = tempfile::tempdir().unwrap();
    let folder = temporary.path();
    certify(folder, "ca", 400);
    certify(folder, "soon", 10);
    certify(folder, "over", -3);
    documents(folder);
    let found = said(folder, &["check"]);
    assert!(found.contains("certificate-expires") && found.contains("soon.pem of line cabinet"), "{found}");
    assert!(found.contains("certificate-expired") && found.contains("over.pem of sink broker"), "{found}");
    assert!(!found.contains("ca.pem of"), "{found}");

    let _gateway = Running(lifeline(folder).arg("run").stdout(Stdio::null()).spawn().unwrap());
    let until = Instant::now() + Duration::from_secs(20);
    let mut status = String::new();
    while !status.contains("over.pem of sink broker has expired") {
        assert!(Instant::now() < until, "{status}");
        status = said(folder, &["status"]);
    }
    assert!(status.contains("! our certificate") && status.contains("soon.pem of line cabinet"), "{status}");
    certify(folder, "over", 90);
    // Other documents make it look at once; the renewed file is well.
    let site = std::fs::read_to_string(folder.join("site/site.toml")).unwrap();
    std::fs::write(folder.join("site/site.toml"), site.replace("every = \"1s\"", "every = \"2s\"")).unwrap();
    said(folder, &["reload"]);
    while status.contains("over.pem") {
        assert!(Instant::now() < until, "{status}");
        status = said(folder, &["status"]);
    }
    assert!(status.contains("soon.pem of line cabinet"), "{status}");
}
